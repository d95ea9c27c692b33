"""Which permission may write which record, checked where a batch is committed: an allowed act has no side effect that another permission guards.

The table WRITERS names every kind of stored record. Who holds none of a record's permissions cannot write it, by whatever route,
command or detour the batch was made. The platform's own processes (workers, the judge) act by their workflows and are not asked.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, cast

import msgspec

from rota.errors import Refused
from rota.manage.access import tokens
from rota.manage.models import registered_models
from rota.manage.repositories import Repositories
from rota.ports.metadata import Batch, Metadata, Put
from rota.ports.runs import Runs
from rota.ports.tracking import Tracking
from rota.records.access import AccessToken, BrowserSession, Identity, Permission
from rota.records.backup import Backup
from rota.records.condition import ProcessReport
from rota.records.data import FeatureService, FeatureView, FeatureViewVersion, OnDemandFeatureView, Source
from rota.records.dataset import Dataset, DatasetVersion
from rota.records.intake import CatalogStamp, Ingestion, Intake, OnlineExtent, SeenFile, StreamClaim, ViewMaterialization
from rota.records.kinds import BY_RECORD, key_of
from rota.records.model import (
    Alias,
    AliasMove,
    Approval,
    ModelCard,
    ModelVersion,
    PickleAllowance,
    RegisteredModel,
    ReleasePolicy,
    ReviewRequest,
    RiskAnswer,
)
from rota.records.project import UseCase
from rota.records.record import Record
from rota.records.release import Endpoint, OutOfService, Release, Rollout, Serving, ServingLogLevel, Unloaded
from rota.records.retention import Hold, Unclaimed
from rota.records.run import Deployed, PipelineRelease, Run
from rota.records.schema import Schema
from rota.records.signal import Alert, ArrivalCount, Cursor, Monitor, MonitorSlice, Note, ScheduleState
from rota.records.tracking import ArtifactFile, LoggedModel

Writers = frozenset[Permission]
ANY: Writers = frozenset()
"""What the platform notes of its own work: whoever may act at all may cause it."""
_DEFINED: Writers = frozenset({"data.write", "pipeline.deploy"})
_DEPLOYED: Writers = frozenset({"pipeline.deploy"})
_REGISTERED: Writers = frozenset({"model.register"})
_APPROVED: Writers = frozenset({"model.approve"})
_RELEASED: Writers = frozenset({"model.release"})
_OPERATED: Writers = frozenset({"platform.operate"})

WRITERS: Mapping[type[Record], Writers] = {
    Source: _DEFINED,
    FeatureView: _DEFINED,
    OnDemandFeatureView: _DEFINED,
    FeatureViewVersion: _DEFINED,
    FeatureService: _DEFINED,
    Dataset: _DEFINED,
    DatasetVersion: _DEFINED | {"train.start", "model.register", "platform.operate"},
    Schema: _DEFINED,
    UseCase: _DEPLOYED,
    PipelineRelease: _DEPLOYED | {"platform.operate"},
    Deployed: _DEPLOYED,
    Endpoint: _DEPLOYED,
    Monitor: _DEPLOYED,
    LoggedModel: frozenset({"experiment.write", "model.register", "platform.operate"}),
    ArtifactFile: frozenset({"experiment.write", "model.register", "platform.operate"}),
    RegisteredModel: _REGISTERED,
    ModelVersion: _REGISTERED | _APPROVED | _RELEASED,
    Alias: _REGISTERED | _RELEASED,
    AliasMove: _REGISTERED | _RELEASED,
    ReviewRequest: _REGISTERED | _APPROVED,
    ModelCard: _REGISTERED,
    RiskAnswer: _APPROVED,
    Approval: _APPROVED,
    ReleasePolicy: _APPROVED,
    PickleAllowance: frozenset({"model.unsafe"}),
    Release: _RELEASED,
    Rollout: _RELEASED,
    OutOfService: _RELEASED,
    Unloaded: _RELEASED,
    ServingLogLevel: _OPERATED,
    Alert: frozenset({"monitor.act"}),
    Note: frozenset({"note.write"}),
    AccessToken: frozenset({"token.manage"}),
    BrowserSession: frozenset({"token.manage"}),
    Hold: _OPERATED,
    Backup: _OPERATED | {"platform.backup"},
    Unclaimed: ANY,
    Intake: ANY,
    SeenFile: ANY,
    Ingestion: ANY,
    StreamClaim: ANY,
    ViewMaterialization: ANY,
    CatalogStamp: ANY,
    OnlineExtent: ANY,
    ArrivalCount: ANY,
    Serving: ANY,
    MonitorSlice: ANY,
    Cursor: ANY,
    ProcessReport: ANY,
    ScheduleState: ANY,
}
"""Each kind of record with the permissions of which one is needed to write it; a kind that is not here nobody writes on behalf of somebody."""
WORKFLOWS: Mapping[str, Writers] = {
    "train": frozenset({"train.start"}),
    "rollout": _RELEASED,
    "monitor": frozenset({"monitor.act"}),
    "adopt": _REGISTERED,
    "materialize": _DEFINED,
}
"""Each durable workflow with the permissions of which one is needed to start it."""
EVENTS: Mapping[str, Writers] = {"version.approved": _APPROVED, "pipeline.deployed": _DEPLOYED}
"""Events that start what only these permissions may start."""
_DECIDED = frozenset({"approved", "rejected", "changes_requested"})
_CARRIED = (ModelVersion, Approval, RiskAnswer, ReviewRequest, ModelCard)
"""What is part of a version, and goes with it to another name unchanged; what was decided for a name (a policy, an allowance) does not."""
_MOMENTS = frozenset({"updated_us"})


def governed(repositories: Repositories, identity: Identity) -> Repositories:
    """The repositories as somebody may change them; the owner may do everything."""
    if all(identity.may(permission) for writers in WRITERS.values() for permission in writers):
        return repositories

    def check(argument: object) -> None:
        if isinstance(argument, Batch):
            check_batch(repositories.metadata, identity, argument)
        elif isinstance(argument, Run):
            _require(identity, WORKFLOWS.get(argument.workflow), f"the run {argument.id!r} of the workflow {argument.workflow!r}")

    return dataclasses.replace(
        repositories,
        metadata=cast("Metadata", CommitCheck(repositories.metadata, check)),
        runs=cast("Runs", CommitCheck(repositories.runs, check)),
        tracking=cast("Tracking", CommitCheck(repositories.tracking, check)),
    )


class CommitCheck:
    """A port of which each verb checks what it is given before it acts: a verb that takes a batch cannot be forgotten here."""

    def __init__(self, port: Any, check: Any) -> None:
        self._port, self._check = port, check

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._port, name)
        if not callable(verb):
            return verb

        def checked(*arguments: Any, **options: Any) -> Any:
            for each in (*arguments, *options.values()):
                self._check(each)
            return verb(*arguments, **options)

        return checked


def check_batch(metadata: Metadata, identity: Identity, batch: Batch) -> None:
    """Raise `Refused`, naming record and permission, when a batch writes or removes something that the identity may not write."""
    retired = {put.record.name for put in batch.puts if isinstance(put.record, RegisteredModel) and put.record.deleted_us is not None}
    for put in (*batch.puts, *(Put(record) for record in batch.removals)):
        if any(put.record == carried for carried in _carried(metadata, put.record, retired)):
            _require(identity, _REGISTERED, _named(put.record))
        else:
            _require(identity, _writers(metadata, put.record), _named(put.record))
    for event in batch.events:
        _require(identity, EVENTS.get(event.kind, ANY), f"the event {event.kind!r} of {event.subject!r}")


def _writers(metadata: Metadata, record: Record) -> Writers | None:
    """The permissions that may write this record as it is: some fields of a record are guarded more than the others."""
    match record:
        case Alias() | AliasMove() if registered_models.is_protected(metadata, record.model, record.alias):
            return _RELEASED
        case ModelVersion() if _is_decision(metadata.get(ModelVersion, record.model, record.number), record):
            return _APPROVED
    return WRITERS.get(type(record))


def _is_decision(before: ModelVersion | None, after: ModelVersion) -> bool:
    """Whether the status that is written says what people decided, or takes that back."""
    if before is None:
        return after.status in _DECIDED
    if after.status in (before.status, "deleted"):
        return False
    return after.status in _DECIDED or before.status in ("approved", "rejected")


def _carried(metadata: Metadata, record: Record, retired: set[str]) -> Iterator[Record]:
    """The record as it would be if it only came from a name that is given up in the same batch."""
    if not isinstance(record, _CARRIED):
        return
    fields = BY_RECORD[type(record)].key
    for name in retired - {record.model}:
        stored = metadata.get(type(record), name, *(getattr(record, field) for field in fields if field != "model"))
        if stored is not None:
            moments = {field: getattr(record, field) for field in _MOMENTS.intersection(record.__struct_fields__)}
            yield msgspec.structs.replace(stored, model=record.model, **moments)


def _require(identity: Identity, writers: Writers | None, what: str) -> None:
    if writers is not None and (writers is ANY or any(identity.may(permission) for permission in writers)):
        return
    if writers is None:
        raise Refused(f"{what} is written by nobody but the platform itself", record=what)
    wanted = sorted(writers)
    raise Refused(
        f"this would change {what}, which takes the permission {' or '.join(map(repr, wanted))}; {identity.name} ({identity.role}) lacks it, "
        f"so let somebody do it who has it: {tokens.holders_of(wanted[0])}",
        permission=wanted[0],
        role=identity.role,
        record=what,
    )


def _named(record: Record) -> str:
    kind = BY_RECORD[type(record)].name.replace("_", " ")
    return f"the {kind} {'@'.join(part.lstrip('0') or part for part in key_of(record))!r}"
