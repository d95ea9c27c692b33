"""No allowed act has a side effect that another permission guards: every operation, with a token that holds one permission and no other.

GUARDED is the test's own table of what decides about releases and access, with the permissions that may change it; the platform's
table (`rota.manage.access.governed_records`) is another one, made elsewhere.
"""

import dataclasses
import json

import msgspec
import pytest

from rota.errors import Conflict, Refused
from rota.manage.access import governed_records, tokens
from rota.manage.experiments import artifacts
from rota.manage.models import pickle_signing, registered_models
from rota.ports.metadata import Batch
from rota.ports.tracking import Logged, RunChange
from rota.records import access
from rota.records.access import AccessToken, Identity
from rota.records.kinds import KINDS, node
from rota.records.model import (
    Alias,
    Approval,
    ModelVersion,
    PickleAllowance,
    RegisteredModel,
    ReleasePolicy,
    RiskAnswer,
)
from rota.records.release import Endpoint, Release, Rollout
from rota.records.retention import Hold
from rota.records.run import Deployed, PipelineRelease, Run, RunQuery
from rota.records.signal import Event, Monitor
from rota.records.tracking import ExperimentRun
from rota.testing.story import NOON_US

GUARDED = {
    ReleasePolicy: {"model.approve"},
    PickleAllowance: {"model.unsafe"},
    Approval: {"model.approve"},
    RiskAnswer: {"model.approve"},
    Endpoint: {"pipeline.deploy"},
    Monitor: {"pipeline.deploy"},
    Deployed: {"pipeline.deploy"},
    PipelineRelease: {"pipeline.deploy"},
    Release: {"model.release"},
    Rollout: {"model.release"},
    AccessToken: {"token.manage"},
    Hold: {"platform.operate"},
}
DECIDED = {"approved", "rejected", "changes_requested"}
RUN = "b" * 32
M = "/api/2.0/mlflow"
OPERATIONS = [
    ("POST", "/v1/models", {"name": "fresh"}),
    ("POST", "/v1/models/lax/versions", {"source": f"runs:/{RUN}/model", "tags": {"status": "approved"}}),
    ("POST", "/v1/models/lax/versions", {"source": "models:/lax/1"}),
    ("PATCH", "/v1/models/lax", {"owner": "me", "tags": {"level": "automatic"}}),
    ("PATCH", "/v1/models/lax/1", {"owner": "me", "tags": {"status": "approved"}}),
    ("PUT", "/v1/models/lax/aliases/candidate", {"number": 1}),
    ("PUT", "/v1/models/lax/aliases/champion", {"number": 1, "reason": "r"}),
    ("PUT", "/v1/models/lax/aliases/Champion", {"number": 1, "reason": "r"}),
    ("PUT", "/v1/models/lax/protected-aliases/champion", {"number": 1, "reason": "r"}),
    ("POST", f"{M}/registered-models/alias", {"name": "lax", "alias": "CHAMPION", "version": "1"}),
    ("POST", f"{M}/model-versions/transition-stage", {"name": "lax", "version": "1", "stage": "Production", "archive_existing_versions": True}),
    ("POST", f"{M}/model-versions/set-tag", {"name": "lax", "version": "1", "key": "approval_status", "value": "Approved"}),
    ("POST", f"{M}/registered-models/set-tag", {"name": "lax", "key": "policy", "value": "automatic"}),
    ("POST", f"{M}/model-versions/create", {"name": "lax", "source": f"runs:/{RUN}/model"}),
    ("POST", f"{M}/runs/set-tag", {"run_id": RUN, "key": "mlflow.user", "value": "owner"}),
    ("POST", f"{M}/runs/delete", {"run_id": RUN}),
    ("POST", f"{M}/runs/restore", {"run_id": RUN}),
    ("POST", "/v1/models/lax/1/review", {"comment": "please"}),
    ("DELETE", "/v1/models/lax/1/review", {}),
    ("POST", "/v1/models/lax/1/risk", {"question": "bias", "answer": "none"}),
    ("POST", "/v1/models/lax/1/decision", {"decision": "approve", "reason": "r", "rollout": False}),
    ("POST", "/v1/models/lax/1/card", {"section": "limits", "text": "t"}),
    ("POST", "/v1/models/lax/1/rollout", {}),
    ("POST", "/v1/models/lax/1/adopt", {}),
    ("PUT", "/v1/models/other/pickle", {"reason": "r"}),
    ("PUT", "/v1/policies/other", {"toml": "level = 'automatic'"}),
    ("PUT", "/v1/endpoints/second", {"model": "delay"}),
    ("PUT", "/v1/endpoints/second/monitor", {"schedule": "0 3 * * *"}),
    ("POST", "/v1/endpoints/delay/rollback", {"reason": "r"}),
    ("POST", "/v1/models/delay/1/return", {"reason": "r"}),
    ("POST", "/v1/pipelines/delay/runs", {}),
    ("POST", "/v1/holds", {"node": "model_version:delay@1", "reason": "r"}),
    ("POST", "/v1/holds/lift", {"node": "model_version:delay@1", "reason": "r"}),
    ("POST", "/v1/gc", {}),
    ("POST", "/v1/tokens", {"holder": "eve", "role": "owner", "expires": "1d"}),
    ("POST", "/v1/notes", {"node": "model_version:delay@1", "text": "t"}),
    ("POST", "/v1/models/lax/rename", {"name": "strict"}),
    ("POST", "/v1/models/lax/rename", {"name": "free"}),
    ("POST", "/v1/models/plain/rename", {"name": "strict"}),
    ("POST", "/v1/models/plain/rename", {"name": "STRICT"}),
    ("POST", f"{M}/registered-models/rename", {"name": "plain", "new_name": "simple"}),
    ("POST", f"{M}/registered-models/rename", {"name": "simple", "new_name": "plain"}),
    ("DELETE", "/v1/models/lax/1", {"reason": "r"}),
    ("DELETE", "/v1/models/lax", {"reason": "r"}),
    ("POST", "/v1/models", {"name": "lax"}),
    ("DELETE", "/v1/models/lax/pickle", {"reason": "r"}),
]


@pytest.fixture
def governed(platform, stranger):
    """A model with a lax policy and an allowance, a name with a strict policy, a plain model, and the caller of a role's token."""
    r = platform.repositories
    tracked = ExperimentRun(RUN, "0", "trees", "finished", NOON_US)
    r.tracking.create_run(tracked)
    artifacts.store(r, artifacts.run_root(tracked), "model/MLmodel", [b"flavors: {}"])
    for name in ("lax", "plain"):
        registered_models.create(r.metadata, RegisteredModel(name), actor="anna", now_us=NOON_US)
        batch = Batch()
        batch.create(ModelVersion(name, 1, "", "", "", "", "", NOON_US, registered_by="anna"))
        r.metadata.commit(batch)
    batch = Batch()
    batch.create(ReleasePolicy("lax", "automatic", protected=()))
    batch.create(ReleasePolicy("strict", "manual", four_eyes=True, approvals=2))
    r.metadata.commit(batch)
    pickle_signing.allow(r.metadata, "lax", actor="rosa", reason="ours", now_us=NOON_US)
    return platform


def guarded(metadata):
    """Every guarded record by its node, and what decides in the others: protected aliases, decisions on versions."""
    found = {node(record): (record, permissions) for kind, permissions in GUARDED.items() for record in metadata.find(kind)}
    found |= {node(alias): (alias, {"model.release"}) for alias in metadata.find(Alias) if alias.alias.lower() == "champion" and alias.model != "lax"}
    decided = [version for version in metadata.find(ModelVersion) if version.status in DECIDED]
    return found | {f"decided:{version.id}": (version.status, {"model.approve"}) for version in decided}


def changed(before, after):
    return {key for key in before.keys() | after.keys() if before.get(key, (None,))[0] != after.get(key, (None,))[0]}


def _permissions():
    """Those that change something; the others are asked in the slow tests too."""
    return [pytest.param(each, marks=pytest.mark.slow if each.endswith(".read") else ()) for each in sorted(access.PERMISSIONS)]


@pytest.mark.parametrize("permission", _permissions())
def test_a_token_with_one_permission_changes_nothing_that_another_one_guards(permission, governed, stranger, monkeypatch):
    metadata = governed.repositories.metadata
    monkeypatch.setitem(access.ROLES, "application", frozenset({permission}))
    _, secret = tokens.create(metadata, "solo", "application", actor="owner", now_us=governed.access.wall.now_us())
    caller = stranger.sending(Authorization=f"Bearer {secret}")
    before = guarded(metadata)
    for method, path, body in OPERATIONS:
        answer = caller.ask(method, path, json.dumps(body).encode())
        assert answer.status < 500, (method, path, answer.text)
        if answer.status >= 300:
            continue
        after = guarded(metadata)
        for key in changed(before, after):
            writers = (after.get(key) or before[key])[1]
            assert permission in writers or (permission == "model.register" and key == "decided:lax@1"), (method, path, body, key)
        before = after
    assert not changed(before, guarded(metadata))


def test_every_kind_of_record_has_its_writers():
    assert set(governed_records.WRITERS) == {kind.record for kind in KINDS}
    for kind, permissions in GUARDED.items():
        assert permissions <= set(governed_records.WRITERS[kind])
    from_workers = {"train", "rollout", "monitor", "adopt", "materialize"}
    assert set(governed_records.WORKFLOWS) == from_workers


def scientist(platform):
    return governed_records.governed(platform.repositories, Identity("anna", "data_scientist"))


def test_a_rename_takes_no_policy_and_no_allowance_to_another_name(governed):
    mine, all_ = scientist(governed).metadata, governed.repositories.metadata
    with pytest.raises(Refused, match=r"model\.(approve|unsafe)"):
        registered_models.rename(mine, "lax", "free", actor="anna", now_us=NOON_US + 1)
    for name in ("strict", "STRICT"):
        with pytest.raises(Conflict, match=r"release policy of 'strict'|decision about a model, 'strict'"):
            registered_models.rename(all_, "plain", name, actor="rosa", now_us=NOON_US + 1)
    assert all_.get(ReleasePolicy, "strict").level == "manual"
    assert registered_models.rename(mine, "plain", "simple", actor="anna", now_us=NOON_US + 1).name == "simple"


def test_a_renamed_models_pickle_is_allowed_under_one_name(governed):
    metadata = governed.repositories.metadata
    registered_models.rename(metadata, "lax", "free", actor="owner", now_us=NOON_US + 1)
    assert [pickle_signing.is_allowed(metadata, name) for name in ("lax", "free")] == [False, True]
    assert metadata.get(ReleasePolicy, "free").level == "automatic"


def test_what_people_decided_of_versions_goes_along_unchanged_and_nothing_else_does(governed):
    metadata = governed.repositories.metadata
    batch = Batch()
    batch.put(msgspec.structs.replace(metadata.get(ModelVersion, "plain", 1), status="approved"))
    batch.create(Approval("plain", 1, "approve", "rosa", "good", {}, NOON_US))
    metadata.commit(batch)
    registered_models.rename(scientist(governed).metadata, "plain", "simple", actor="anna", now_us=NOON_US + 1)
    assert metadata.get(ModelVersion, "simple", 1).status == "approved"
    forged = Batch()
    forged.put(msgspec.structs.replace(metadata.get(RegisteredModel, "simple"), deleted_us=NOON_US + 2))
    forged.create(Approval("third", 1, "approve", "rosa", "good", {"more": 1}, NOON_US))
    with pytest.raises(Refused, match=r"approval 'third@1@.*model.approve"):
        scientist(governed).metadata.commit(forged)


def test_whatever_carries_a_batch_is_checked(governed):
    mine, batch = scientist(governed), Batch()
    batch.create(ReleasePolicy("other"))
    run = Run("monitor.x", "train", "delay", {}, NOON_US)
    acts = [
        lambda: mine.metadata.commit(batch),
        lambda: mine.runs.submit(run, batch),
        lambda: mine.tracking.log(RUN, Logged(), batch),
        lambda: mine.tracking.change_run(RUN, RunChange(name="x"), batch=batch),
        lambda: mine.runs.submit(msgspec.structs.replace(run, workflow="rollout")),
        lambda: mine.runs.submit(msgspec.structs.replace(run, workflow="unheard")),
        lambda: mine.metadata.commit(Batch(events=[Event("version.approved", "delay@1", NOON_US)])),
        lambda: mine.metadata.commit(Batch(removals=[governed.repositories.metadata.get(ReleasePolicy, "strict")])),
    ]
    for act in acts:
        with pytest.raises(Refused, match=r"permission|nobody but the platform"):
            act()
    assert governed.repositories.metadata.get(ReleasePolicy, "other") is None
    assert governed.repositories.runs.find(RunQuery("rollout")) == []


def test_the_owner_is_not_asked(governed):
    assert governed_records.governed(governed.repositories, tokens.OWNER) is governed.repositories
    assert dataclasses.is_dataclass(governed.acting(Identity("anna", "auditor")).repositories)
