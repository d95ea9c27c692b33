"""Tokens of one project or environment: their own things, nobody's things to read, and nothing of anybody else."""

import json
from typing import Any

import msgspec
import pytest

from rota.manage.access import tokens
from rota.manage.models import model_versions
from rota.ports.metadata import Batch
from rota.records.model import RegisteredModel
from rota.records.record import Record
from rota.records.release import Endpoint, Release, Route
from rota.records.run import Run
from rota.records.signal import Alert
from rota.records.tracking import Experiment, ExperimentRun
from rota.server import app
from rota.server.access.permissions import permission_of, routes_of
from rota.testing.story import NOON_US, alert, version

LIMITED = "limited to project"
MINE, THEIRS = "1001", "1002"
RUN, THEIR_RUN = "a" * 32, "b" * 32


@pytest.fixture
def world(platform: Any) -> Any:
    """The story's model "delay" is of project "flights"; beside it stand a model, an endpoint, runs and alerts of "secret"."""
    r = platform.repositories
    foreign: list[Record] = [
        RegisteredModel("delay", "flights"),
        RegisteredModel("fraud", "secret"),
        msgspec.structs.replace(version(1, "registered"), model="fraud"),
        Endpoint("fraud", "fraud"),
        Release("fraud", 1, (Route("fraud", 1, "f" * 64, "stable", 100),), "", NOON_US),
        Alert(**{**msgspec.structs.asdict(alert("last")), "id": "fraud.alert", "endpoint": "fraud"}),
    ]
    batch = Batch()
    for record in foreign:
        batch.put(record)
    batch.link("model_version:fraud@1", ["dataset_version:delay@1"], NOON_US)
    r.metadata.commit(batch)
    r.runs.submit(Run("fraud-run", "monitor", "fraud", {}, NOON_US))
    for number, project, run in ((MINE, "flights", RUN), (THEIRS, "secret", THEIR_RUN)):
        r.tracking.create_experiment(Experiment(number, f"of {project}", project, NOON_US))
        r.tracking.create_run(ExperimentRun(run, number, "first", "running", NOON_US))
    return platform


@pytest.fixture
def limited(world: Any, stranger: Any) -> Any:
    def limited(role: Any, project: str = "flights", **limits: str) -> Any:
        made = tokens.create(world.repositories.metadata, "ana", role, actor="owner", now_us=world.access.wall.now_us(), project=project, **limits)
        return stranger.sending(Authorization=f"Bearer {made[1]}")

    return limited


def test_lists_show_only_the_project_s_own(limited: Any) -> None:
    caller = limited("ml_engineer")
    texts = [
        caller.get(path) for path in ("/v1/models", "/v1/endpoints", "/v1/rollouts", "/v1/runs", "/v1/alerts", "/v1/pipelines", "/models", "/alerts")
    ]
    assert [answer.status for answer in texts] == [200] * len(texts)
    assert "fraud" not in "".join(answer.text for answer in texts)
    assert "delay" in caller.get("/v1/models").text
    assert [each["endpoint"]["name"] for each in caller.get("/v1/endpoints").json()] == ["delay"]
    assert [each["id"] for each in caller.get("/v1/runs").json()] == ["r1"]
    assert caller.get("/v1/alerts").json()


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/fraud/1",
        "/v1/models/fraud/aliases",
        "/v1/endpoints/fraud",
        "/v1/endpoints/fraud/log",
        "/v1/endpoints/fraud/slices",
        "/v1/endpoints/fraud/parity",
        "/v1/runs/fraud-run",
        "/models/fraud/1",
        "/endpoints/fraud",
        "/runs/fraud-run",
        "/v1/lineage/causes/model_version:fraud@1",
        "/v1/lineage/effects/alert:fraud.alert",
    ],
)
def test_another_project_s_thing_is_refused_by_name(limited: Any, path: str) -> None:
    answer = limited("ml_engineer").get(path)
    assert (answer.status, LIMITED in answer.text) == (403, True), answer.text
    assert limited("ml_engineer", "secret").get(path).status != 403


@pytest.mark.parametrize(
    ("role", "path", "body"),
    [
        ("data_scientist", "/v1/pipelines/delay/runs", {}),
        ("ml_engineer", "/v1/alerts/flight-delay.drift.last/acknowledge", {}),
        ("application", "/v1/endpoints/delay/labels", {"labels": []}),
    ],
)
def test_the_same_act_is_refused_to_a_token_of_another_project(limited: Any, world: Any, role: str, path: str, body: Any) -> None:
    path = path.replace("flight-delay.drift.last", alert("last").id)
    refused = limited(role, "secret").post(path, body)
    assert (refused.status, LIMITED in refused.text) == (403, True), refused.text
    assert LIMITED not in limited(role, "flights").post(path, body).text


def test_what_belongs_to_nobody_is_read_and_never_written(limited: Any) -> None:
    engineer = limited("data_engineer")
    for path in ("/v1/sources", "/v1/sources/arrivals", "/v1/features", "/v1/datasets", "/v1/schemas", "/v1/datasets/delay/1"):
        assert engineer.get(path).status == 200, path
    for path, body in (("/v1/sources/arrivals/rows", {"rows": []}), ("/v1/sources/arrivals/ingest", {}), ("/v1/features/materialize", {})):
        refused = engineer.post(path, body)
        assert (refused.status, "reaches beyond projects" in refused.text) == (403, True)


def test_lineage_stops_at_another_project_s_things(limited: Any) -> None:
    path = "/v1/lineage/effects/dataset_version:delay@1"
    assert "fraud" not in limited("auditor").get(path).text
    assert "delay" in limited("auditor").get(path).text
    assert "fraud" in limited("auditor", "secret").get(path).text


def test_mlflow_s_routes_know_the_limits_too(limited: Any) -> None:
    mine, base = limited("data_scientist"), "/api/2.0/mlflow"
    assert mine.get(f"{base}/experiments/get", experiment_id=MINE).status == 200
    assert mine.get(f"{base}/runs/get", run_id=RUN).status == 200
    for answer in (
        mine.get(f"{base}/experiments/get", experiment_id=THEIRS),
        mine.get(f"{base}/experiments/get-by-name", experiment_name="of secret"),
        mine.get(f"{base}/runs/get", run_id=THEIR_RUN),
        mine.get(f"{base}/metrics/get-history", run_id=THEIR_RUN, metric_key="m"),
        mine.get(f"{base}/artifacts/list", run_id=THEIR_RUN),
        mine.get(f"{base}/registered-models/get", name="fraud"),
        mine.get(f"{base}/model-versions/get", name="fraud", version="1"),
        mine.get(f"/api/2.0/mlflow-artifacts/artifacts/{THEIRS}/{THEIR_RUN}/artifacts/x"),
        mine.post(f"{base}/runs/search", {"experiment_ids": [THEIRS]}),
        mine.post(f"{base}/runs/search", {"experiment_ids": [MINE, THEIRS]}),
        mine.post(f"{base}/runs/create", {"experiment_id": THEIRS}),
        mine.post(f"{base}/runs/create", {"experiment_id": "0"}),
        mine.post(f"{base}/runs/log-batch", {"run_id": THEIR_RUN, "tags": [{"key": "k", "value": "v"}]}),
        mine.post(f"{base}/runs/log-metric", {"run_id": THEIR_RUN, "key": "m", "value": 1, "timestamp": 1}),
        mine.post(f"{base}/runs/update", {"run_id": THEIR_RUN, "status": "FINISHED"}),
        mine.post(f"{base}/runs/delete", {"run_id": THEIR_RUN}),
        mine.post(f"{base}/experiments/delete", {"experiment_id": THEIRS}),
        mine.post(f"{base}/model-versions/create", {"name": "fraud", "source": f"runs:/{RUN}/model"}),
        mine.post(f"{base}/registered-models/alias", {"name": "fraud", "alias": "best", "version": "1"}),
        mine.post(f"{base}/logged-models", {"experiment_id": THEIRS, "name": "m"}),
        mine.ask("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{THEIRS}/{THEIR_RUN}/artifacts/x", b"x"),
    ):
        assert (answer.status in (400, 403), LIMITED in answer.text) == (True, True), answer.text
    assert "secret" not in mine.post(f"{base}/experiments/search", {"max_results": 100}).text
    assert "fraud" not in mine.get(f"{base}/registered-models/search").text
    assert "fraud" not in mine.get(f"{base}/model-versions/search").text


def test_what_a_limited_token_makes_is_its_project_s(limited: Any, world: Any) -> None:
    mine, base = limited("data_scientist"), "/api/2.0/mlflow"
    made = mine.post(f"{base}/experiments/create", {"name": "new"}).json()["experiment_id"]
    assert world.repositories.tracking.experiment(made).project == "flights"
    assert mine.post(f"{base}/runs/create", {"experiment_id": made}).status == 200
    assert mine.post(f"{base}/registered-models/create", {"name": "taxi"}).status == 200
    assert world.repositories.metadata.get(RegisteredModel, "taxi").project == "flights"
    assert mine.post("/v1/models", {"name": "bus"}).json()["project"] == "flights"
    assert LIMITED in limited("data_scientist", "secret").get("/v1/models/bus").text


def test_a_trained_model_belongs_to_the_project_whose_release_trained_it(platform: Any) -> None:
    metadata, batch = platform.repositories.metadata, Batch()
    model_versions.register(batch, metadata, msgspec.structs.replace(version(1, "registered"), model="tram", release="d" * 64))
    metadata.commit(batch)
    assert metadata.get(RegisteredModel, "tram").project == "flights"


def test_routes_that_cannot_be_placed_are_closed_to_limited_tokens(limited: Any) -> None:
    """Default deny: with every permission there is, a token of one project gets nothing that names something unknown."""
    owner = limited("owner", "nothing-is-here")
    for room in app.ROUTERS:
        for route in routes_of(room.router.routes):
            permission = permission_of(route)
            for method in route.methods or ():
                if permission is None or permission.endswith(".read"):
                    continue
                path = route.path.replace("{number}", "1").replace("{version}", "1")
                for parameter, value in (("model", "delay"), ("endpoint", "delay"), ("name", "delay"), ("pipeline", "delay"), ("run_id", "r1")):
                    path = path.replace("{" + parameter + "}", value)
                path = path.partition("{")[0] + "nix" if "{" in path else path
                answer = owner.ask(method, path, b"{}")
                assert answer.status >= 400, (method, path, answer.text)


def test_a_limited_token_does_not_reach_beyond_projects(limited: Any) -> None:
    owner = limited("owner")
    for path in ("/v1/audit", "/v1/events", "/v1/loop", "/v1/tokens", "/"):
        assert owner.get(path).status == 403, path
    assert owner.post("/v1/tokens", {"holder": "m", "role": "owner", "expires": "1d"}).status == 403
    assert owner.post("/v1/clock", {"to_us": 1}).status == 403
    assert json.loads(owner.get("/v1/whoami").text)["project"] == "flights"


def test_a_token_of_another_environment_is_refused_everywhere(limited: Any) -> None:
    assert limited("owner", "", environment="staging").get("/v1/models").status == 401
    assert limited("owner", "", environment="prod").get("/v1/models").status == 200
