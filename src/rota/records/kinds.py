"""The table of stored nouns: under which key each is kept and by which fields it can be found.

A new noun costs one struct and one row here; every metadata store and every migration follows from this table.
"""

from dataclasses import dataclass

from rota.records.access import AccessToken, BrowserSession
from rota.records.backup import Backup
from rota.records.condition import ProcessReport
from rota.records.data import FeatureService, FeatureView, FeatureViewVersion, OnDemandFeatureView, Source
from rota.records.dataset import Dataset, DatasetVersion
from rota.records.intake import CatalogStamp, Ingestion, Intake, OnlineExtent, SeenFile, StreamClaim, ViewMaterialization
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
from rota.records.run import Deployed, PipelineRelease
from rota.records.schema import Schema
from rota.records.signal import Alert, ArrivalCount, Cursor, Monitor, MonitorSlice, Note, ScheduleState
from rota.records.tracking import ArtifactFile, LoggedModel


@dataclass(frozen=True, slots=True)
class Kind:
    """`key` fields name a record for good; `index` fields are kept as columns so that `find` can filter and order by them."""

    name: str
    record: type[Record]
    key: tuple[str, ...]
    index: tuple[str, ...] = ()


KINDS: tuple[Kind, ...] = (
    Kind("source", Source, ("name",)),
    Kind("intake", Intake, ("source", "writer")),
    Kind("seen_file", SeenFile, ("source", "file")),
    Kind("ingestion", Ingestion, ("source", "number"), ("status", "at_us")),
    Kind("stream_claim", StreamClaim, ("source", "segment")),
    Kind("view_materialization", ViewMaterialization, ("view", "definition")),
    Kind("online_extent", OnlineExtent, ("source",)),
    Kind("catalog_stamp", CatalogStamp, ("catalog",)),
    Kind("feature_view", FeatureView, ("name",)),
    Kind("on_demand_feature_view", OnDemandFeatureView, ("name",)),
    Kind("feature_view_version", FeatureViewVersion, ("name", "number"), ("created_us",)),
    Kind("feature_service", FeatureService, ("name",)),
    Kind("dataset", Dataset, ("name",)),
    Kind("schema", Schema, ("name", "version"), ("frozen_us",)),
    Kind("dataset_version", DatasetVersion, ("name", "number"), ("created_us",)),
    Kind("pipeline_release", PipelineRelease, ("digest",), ("project", "created_us")),
    Kind("deployed", Deployed, ("pipeline", "environment"), ("since_us",)),
    Kind("logged_model", LoggedModel, ("id",), ("experiment", "run", "created_us")),
    Kind("artifact_file", ArtifactFile, ("root", "path"), ("digest",)),
    Kind("registered_model", RegisteredModel, ("name",), ("project", "owner", "updated_us")),
    Kind("model_version", ModelVersion, ("model", "number"), ("created_us", "status", "run", "owner", "experiment_run")),
    Kind("alias", Alias, ("model", "alias"), ("since_us",)),
    Kind("alias_move", AliasMove, ("model", "alias", "move"), ("at_us", "number")),
    Kind("review_request", ReviewRequest, ("model", "number", "at_us"), ("state",)),
    Kind("risk_answer", RiskAnswer, ("model", "number", "question", "at_us")),
    Kind("model_card", ModelCard, ("model", "number")),
    Kind("pickle_allowance", PickleAllowance, ("model",)),
    Kind("approval", Approval, ("model", "number", "at_us"), ("decision",)),
    Kind("release_policy", ReleasePolicy, ("model",)),
    Kind("endpoint", Endpoint, ("name",), ("model",)),
    Kind("release", Release, ("endpoint", "revision"), ("since_us",)),
    Kind("serving", Serving, ("endpoint", "process"), ("at_us",)),
    Kind("unloaded", Unloaded, ("endpoint",)),
    Kind("serving_log_level", ServingLogLevel, ("name",)),
    Kind("out_of_service", OutOfService, ("bundle",), ("model",)),
    Kind("rollout", Rollout, ("id",), ("endpoint", "state", "started_us")),
    Kind("alert", Alert, ("id",), ("endpoint", "kind", "status", "raised_us")),
    Kind("monitor", Monitor, ("endpoint.name",)),
    Kind("monitor_slice", MonitorSlice, ("endpoint", "start_us"), ("end_us",)),
    Kind("note", Note, ("node", "at_us", "author")),
    Kind("access_token", AccessToken, ("id",), ("hash", "holder")),
    Kind("session", BrowserSession, ("id",), ("hash", "token", "created_us")),
    Kind("use_case", UseCase, ("name",)),
    Kind("hold", Hold, ("node", "at_us")),
    Kind("unclaimed", Unclaimed, ("table",)),
    Kind("arrival_count", ArrivalCount, ("pipeline", "source")),
    Kind("cursor", Cursor, ("consumer",)),
    Kind("process_report", ProcessReport, ("process",)),
    Kind("backup", Backup, ("id",), ("state", "began_us")),
    Kind("schedule_state", ScheduleState, ("name",), ("last_us",)),
)
BY_RECORD = {kind.record: kind for kind in KINDS}
BY_NAME = {kind.name: kind for kind in KINDS}


def key_of(record: Record) -> tuple[str, ...]:
    """The key parts of a record as texts; numbers are zero-padded so that keys sort as their numbers do."""
    return key_parts(*(_follow(record, path) for path in BY_RECORD[type(record)].key))


def key_parts(*parts: object) -> tuple[str, ...]:
    """Key parts as the stores keep them."""
    return tuple(f"{part:020d}" if isinstance(part, int) else str(part) for part in parts)


def node(record: Record) -> str:
    """The lineage node of a record, for example "model_version:flights@2"."""
    kind = BY_RECORD[type(record)]
    return f"{kind.name}:" + "@".join(str(_follow(record, path)) for path in kind.key)


def _follow(record: object, path: str) -> object:
    for name in path.split("."):
        record = getattr(record, name)
    return record
