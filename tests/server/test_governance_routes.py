"""The registry and its governance over HTTP: who acts is whose token it is, and each act has the permission it needs."""

import json

import msgspec
import pytest

from rota.manage.access import tokens
from rota.manage.experiments import artifacts
from rota.ports.metadata import Batch
from rota.records.experiment import ab_test, kpi
from rota.records.model import ModelVersion
from rota.records.release import Canary, Endpoint, OutOfService, Release, Rollout, Route
from rota.records.run import Run, RunQuery
from rota.records.tracking import ExperimentRun
from rota.testing.story import NOON_US

RUN = "a" * 32


@pytest.fixture
def people(platform, stranger):
    """Callers by name: Anna registers, Rosa reviews, Olga releases."""
    roles = {"anna": "data_scientist", "rosa": "reviewer", "olga": "operator", "appl": "application"}
    metadata, now_us = platform.repositories.metadata, platform.access.wall.now_us()
    made = {name: tokens.create(metadata, name, role, actor="owner", now_us=now_us)[1] for name, role in roles.items()}
    return {name: stranger.sending(Authorization=f"Bearer {secret}") for name, secret in made.items()}


def good(answer):
    assert answer.status == 200, answer.text
    return answer.json()


def send(caller, method, path, body=None):
    return caller.ask(method, path, json.dumps(body or {}).encode())


@pytest.fixture
def run(platform):
    r = platform.repositories
    tracked = ExperimentRun(RUN, "0", "trees", "finished", NOON_US)
    r.tracking.create_run(tracked)
    artifacts.store(r, artifacts.run_root(tracked), "model/MLmodel", [b"flavors: {}"])
    return RUN


def test_a_review_ends_in_a_decision_under_the_name_of_the_token(platform, people):
    good(send(people["rosa"], "PUT", "/v1/policies/delay", {"toml": "four_eyes = true\n[[questions]]\nid='bias'\ncategory='legal'\ntext='Who?'"}))
    good(people["anna"].post("/v1/models/delay/2/review", {"comment": "please"}))
    seen = good(people["anna"].get("/v1/models/delay/2/review"))
    assert (seen["review"]["requested_by"], seen["obstacles"]) == ("anna", ["the legal question 'bias' is not answered"])
    good(people["rosa"].post("/v1/models/delay/2/risk", {"question": "bias", "answer": "nobody"}))
    told = {"decision": "approve", "reason": "good", "delivery": {"steps": [10], "hold": "1h"}}
    made = good(people["rosa"].post("/v1/models/delay/2/decision", told))
    assert (made["approval"]["reviewer"], made["version"]["status"]) == ("rosa", "approved")
    shown = good(people["anna"].get("/v1/models/delay/2"))
    assert (shown["approval_status"], shown["released"], shown["missing"]) == ("Approved", True, [])
    assert platform.repositories.metadata.audit(limit=100)[-1].actor == "rosa"
    assert good(people["olga"].post("/v1/models/delay/2/rollout")) == {"runs": ["rollout.delay.2"]}
    assert platform.repositories.runs.find(RunQuery("rollout"))[0].trigger == "person:olga"


def test_nobody_speaks_in_the_name_of_another(people):
    answer = people["rosa"].post("/v1/models/delay/2/decision", {"decision": "approve", "reason": "good", "reviewer": "paul"})
    assert answer.status == 422
    assert "reviewer" in answer.json()["error"]


def test_models_and_versions_are_made_described_found_compared_and_deleted(people, run):
    anna = people["anna"]
    assert good(anna.post("/v1/models", {"name": "churn", "tags": {"a": "b"}}))["owner"] == "anna"
    made = good(anna.post("/v1/models/churn/versions", {"source": f"runs:/{run}/model", "tags": {"k": "v"}}))
    assert (made["number"], made["registered_by"]) == (1, "anna")
    good(send(anna, "PATCH", "/v1/models/churn/1", {"description": "first", "removed_tags": ["k"]}))
    good(send(anna, "PATCH", "/v1/models/churn", {"owner": "bea"}))
    found = good(anna.get("/v1/model-search", filter="name = 'churn'"))
    assert [(v["description"], v["tags"]) for v in found["versions"]] == [("first", {})]
    assert good(anna.get("/v1/model-search", what="models", filter="owner = 'bea'"))["models"][0]["name"] == "churn"
    assert good(anna.get("/v1/models/churn"))["model"]["owner"] == "bea"
    assert [t["number"] for t in good(anna.get("/v1/models/churn/comparison", version="1"))["series"]] == [1]
    assert good(anna.post("/v1/models/churn/rename", {"name": "leavers"}))["name"] == "leavers"
    good(send(anna, "DELETE", "/v1/models/leavers/1", {"reason": "leak"}))
    good(send(anna, "DELETE", "/v1/models/leavers"))
    assert anna.get("/v1/models/leavers").status == 404
    assert anna.post("/v1/models", {"name": "../x"}).status == 422
    assert anna.post("/v1/models", {"name": "delay"}).status == 409


def test_an_alias_moves_by_register_and_a_protected_one_by_release(people, run):
    anna, olga = people["anna"], people["olga"]
    good(anna.post("/v1/models", {"name": "churn"}))
    good(anna.post("/v1/models/churn/versions", {"source": f"runs:/{run}/model"}))
    good(send(anna, "PUT", "/v1/models/churn/aliases/candidate", {"number": 1}))
    refused = send(anna, "PUT", "/v1/models/churn/aliases/champion", {"number": 1, "reason": "go"})
    assert (refused.status, "model.release" in refused.json()["error"]) == (403, True)
    refused = send(olga, "PUT", "/v1/models/churn/protected-aliases/champion", {"number": 1, "reason": "go"})
    assert "churn@1 is registered" in refused.json()["error"]
    good(people["rosa"].post("/v1/models/churn/1/decision", {"decision": "approve", "reason": "fine", "rollout": False}))
    good(send(olga, "PUT", "/v1/models/churn/protected-aliases/champion", {"number": 1, "reason": "go"}))
    good(send(olga, "PUT", "/v1/models/churn/protected-aliases/champion", {"number": 0, "reason": "retired"}))
    assert [(m["number"], m["actor"]) for m in good(anna.get("/v1/models/churn/aliases/champion"))] == [(1, "olga"), (0, "olga")]
    assert [a["alias"] for a in good(anna.get("/v1/models/churn/aliases"))] == ["candidate"]


def test_going_back_is_an_act_of_the_operator_with_a_reason(people):
    assert people["anna"].post("/v1/endpoints/delay/rollback", {"reason": "r"}).status == 403
    assert people["olga"].post("/v1/endpoints/delay/rollback", {}).status == 422
    assert people["olga"].post("/v1/endpoints/nix/rollback", {"reason": "r"}).status == 404
    answer = people["olga"].post("/v1/endpoints/delay/rollback", {"reason": "complaints"})
    assert (answer.status, "serves nothing" in answer.text or "never had another champion" in answer.text) == (404, True)


def test_a_version_out_of_service_is_returned_by_the_operator_with_a_reason(platform, people):
    path = "/v1/models/delay/1/return"
    assert people["olga"].post(path, {"reason": "r"}).status == 404
    metadata, batch = platform.repositories.metadata, Batch()
    bundle = metadata.get(ModelVersion, "delay", 1).bundle
    batch.put(OutOfService(bundle, "delay", 1, "delay", "serve-0", "hung", NOON_US))
    before = metadata.find(Release, {"endpoint": "delay"}, order="-revision")[0]
    batch.put(msgspec.structs.replace(before, revision=before.revision + 1, rollout="withdrawal:delay@1"))
    metadata.commit(batch)
    assert people["anna"].post(path, {"reason": "r"}).status == 403
    assert people["olga"].post(path, {}).status == 422
    assert people["olga"].post(path, {"reason": " "}).status == 422
    answer = good(people["olga"].post(path, {"reason": "the memory was faulty"}))
    assert (answer["returned"]["returned_by"], [each["rollout"] for each in answer["releases"]]) == ("olga", ["return:olga"])
    assert people["olga"].post(path, {"reason": "again"}).status == 404


def test_a_rollout_under_way_is_paused_resumed_and_aborted_by_the_operator(platform, people):
    batch = Batch()
    batch.put(Rollout("rollout.delay.2", "delay", "delay", 2, 1, "canary", 1, NOON_US))
    platform.repositories.metadata.commit(batch)
    platform.repositories.runs.submit(Run("rollout.delay.2", "rollout", "delay", {}, NOON_US))
    path = "/v1/rollouts/rollout.delay.2"
    assert people["anna"].post(f"{path}/abort", {"reason": "r"}).status == 403
    assert people["olga"].post(f"{path}/dance", {"reason": "r"}).status in {404, 422}
    assert people["olga"].post(f"{path}/resume", {}).status == 403
    assert people["olga"].post("/v1/rollouts/none/abort", {"reason": "r"}).status == 404
    assert [each["verb"] for each in good(people["olga"].post(f"{path}/pause", {"reason": "late labels"}))["commands"]] == ["pause"]
    assert [each["verb"] for each in good(people["olga"].post(f"{path}/resume", {}))["commands"]] == ["pause", "resume"]
    assert people["olga"].post(f"{path}/abort", {}).status == 422
    assert good(people["olga"].post(f"{path}/abort", {"reason": "enough"}))["commands"][-1]["actor"] == "olga"


def test_a_plan_is_read_by_whoever_may_read_models(people):
    found = good(people["anna"].get("/v1/endpoints/delay/rollout-plan"))
    assert (found["endpoint"], found["decides"]) == ("delay", True)
    assert good(people["anna"].get("/v1/endpoints/delay/rollout-plan?model=delay@1"))["needs"] == []
    assert people["anna"].get("/v1/endpoints/nix/rollout-plan").status == 404


def test_an_experiment_is_planned_started_shown_and_stopped(platform, people):
    metadata, batch = platform.repositories.metadata, Batch()
    delay = metadata.get(Endpoint, "delay")
    assert (
        people["anna"].get("/v1/endpoints/delay/experiment-plan").status == 403
        or "delivers by" in people["anna"].get("/v1/endpoints/delay/experiment-plan").json["error"]
    )
    strategy = ab_test(kpi("revenue"), units=500)
    batch.put(msgspec.structs.replace(delay, rollout=strategy))
    batch.put(Rollout("experiment.delay.1", "delay", "delay", 2, 1, "canary", 0, NOON_US, strategy=strategy, arms=(3,)))
    batch.put(Release("delay", 9, (Route("delay", 1, "b", "stable", 50), Route("delay", 2, "b", "canary", 50)), "", NOON_US, "experiment.delay.1"))
    metadata.commit(batch)
    platform.repositories.runs.submit(Run("experiment.delay.1", "rollout", "delay", {}, NOON_US))
    found = good(people["anna"].get("/v1/endpoints/delay/experiment-plan"))
    assert (found["units"], found["decides"], found["figure"]) == (500, False, "revenue_per_prediction")
    assert people["anna"].get("/v1/endpoints/delay/experiment-plan?arms=0").status == 422
    shown = good(people["anna"].get("/v1/rollouts/experiment.delay.1/experiment"))
    assert (shown["state"], shown["split"], shown["rollout"]["arms"]) == ("progressing", {"1": 50, "2": 50}, [3])
    assert people["anna"].get("/v1/rollouts/nix/experiment").status == 404
    assert people["anna"].post("/v1/endpoints/delay/experiments", {"versions": [2]}).status == 403
    assert people["olga"].post("/v1/endpoints/delay/experiments", {"versions": []}).status == 422
    assert people["olga"].post("/v1/endpoints/delay/experiments", {"versions": [99]}).status == 404
    assert good(people["olga"].post("/v1/rollouts/experiment.delay.1/abort", {"reason": "enough"}))["commands"][-1]["verb"] == "abort"


def test_the_decisions_of_a_rollout_are_computed_again_for_whoever_may_read_models(platform, people):
    batch = Batch()
    verdict = {"check": "answers", "outcome": "pass", "message": "version 1 answered 9 of 9 predictions", "rows": 9}
    entry = {"at_us": NOON_US, "stage": "0 canary 50%", "outcome": "pass", "verdicts": [verdict]}
    strategy = Canary(steps=[50])
    batch.put(Rollout("rollout.delay.1", "delay", "delay", 1, 0, "promoted", 1, NOON_US, NOON_US, "r", history=(entry,), strategy=strategy))
    platform.repositories.metadata.commit(batch)
    found = good(people["anna"].get("/v1/rollouts/rollout.delay.1/explanation"))
    assert (found["agrees"], found["decisions"][0]["stored"]["outcome"], found["decisions"][0]["again"]["outcome"]) == (False, "pass", "inconclusive")
    assert people["anna"].get("/v1/rollouts/nix/explanation").status == 404


def test_a_rollout_that_ended_is_retried_and_a_promotion_undone_by_the_operator(platform, people):
    batch = Batch()
    batch.put(Rollout("rollout.delay.1", "delay", "delay", 1, 0, "rolled_back", 1, NOON_US, NOON_US, "more errors"))
    platform.repositories.metadata.commit(batch)
    platform.repositories.runs.submit(Run("rollout.delay.1", "rollout", "delay", {"endpoint": "delay", "model": "delay", "number": 1}, NOON_US))
    path = "/v1/rollouts/rollout.delay.1"
    assert people["anna"].post(f"{path}/retry", {"reason": "r"}).status == 403
    assert people["olga"].post(f"{path}/retry", {}).status == 422
    refused = people["olga"].post(f"{path}/undo", {"reason": "r"})
    assert (refused.status, "undo is for one that is promoted; this one can retry" in refused.text) == (403, True)
    assert good(people["olga"].post(f"{path}/retry", {"reason": "it was the gateway"})) == {"runs": ["rollout.delay.1.retry-1"]}
    listed = good(people["anna"].get("/v1/rollouts?endpoint=delay"))
    assert (listed[0]["id"], listed[0]["state"]) == ("rollout.delay.1.retry-1", "waiting")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/rollouts/rollout.delay.2/abort"),
        ("POST", "/v1/models"),
        ("PATCH", "/v1/models/delay"),
        ("DELETE", "/v1/models/delay"),
        ("POST", "/v1/models/delay/versions"),
        ("POST", "/v1/models/delay/rename"),
        ("PUT", "/v1/models/delay/aliases/candidate"),
        ("PUT", "/v1/models/delay/protected-aliases/champion"),
        ("PATCH", "/v1/models/delay/1"),
        ("DELETE", "/v1/models/delay/1"),
        ("GET", "/v1/models/delay/1/review"),
        ("POST", "/v1/models/delay/1/review"),
        ("DELETE", "/v1/models/delay/1/review"),
        ("POST", "/v1/models/delay/1/decision"),
        ("POST", "/v1/models/delay/1/risk"),
        ("POST", "/v1/models/delay/1/rollout"),
        ("POST", "/v1/endpoints/delay/rollback"),
        ("POST", "/v1/models/delay/1/return"),
        ("GET", "/v1/policies/delay"),
        ("PUT", "/v1/policies/delay"),
        ("GET", "/v1/model-search"),
    ],
)
def test_an_application_may_do_none_of_it_and_a_stranger_is_not_even_answered(people, stranger, method, path):
    assert send(people["appl"], method, path).status == 403
    assert send(stranger, method, path).status == 401


@pytest.mark.parametrize(
    ("toml", "why"),
    [("level = 'sometimes'", "does not fit"), ("levle = 'manual'", "unknown keys"), ("model = 'churn'", "not for 'delay'"), ("=", "not valid TOML")],
)
def test_a_policy_that_does_not_fit_is_refused(people, toml, why):
    answer = send(people["rosa"], "PUT", "/v1/policies/delay", {"toml": toml})
    assert (answer.status, why in answer.json()["error"]) == (422, True)
