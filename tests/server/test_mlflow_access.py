"""MLflow's routes ask for a token like all others, and answer every refusal in MLflow's shape."""

import base64
import json
from typing import Any

import pytest

from rota.manage.access import tokens
from rota.records.access import Role
from rota.server import mlflow as api
from rota.server.mlflow.wire import ABSENT

BASE = "/api/2.0/mlflow"


def token(mlflow: Any, role: Role, **limits: str) -> str:
    repositories = mlflow.platform.repositories
    _, secret = tokens.create(repositories.metadata, f"somebody-{role}", role, actor="owner", now_us=repositories.clock.now_us(), **limits)
    return secret


def test_every_route_but_health_asks_for_a_token(mlflow: Any) -> None:
    stranger = mlflow.caller.sending()
    asked = 0
    for route in api.router.routes:
        path = route.path.replace("{path:path}", "0/r/artifacts/a").replace("{tag_key:path}", "t").replace("{model_id}", "m-1")  # type: ignore[attr-defined]
        for method in route.methods:  # type: ignore[attr-defined]
            answer = stranger.ask(method, path, b"{}")
            assert answer.status == (200 if path == "/health" else 401), (method, path)
            if path.startswith("/api/"):
                assert answer.json()["error_code"] == "UNAUTHENTICATED"
            asked += 1
    assert asked >= 60


def test_a_token_is_taken_as_bearer_and_as_basic_password(mlflow: Any) -> None:
    secret = token(mlflow, "data_scientist")
    basic = base64.b64encode(f"anybody:{secret}".encode()).decode()
    for header in (f"Bearer {secret}", f"Basic {basic}"):
        assert mlflow.caller.sending(Authorization=header).get(f"{BASE}/experiments/get?experiment_id=0").status == 200
    for header in ("Bearer wrong", "Basic %%%", "Basic " + base64.b64encode(b"anybody:wrong").decode(), "Digest x"):
        assert mlflow.caller.sending(Authorization=header).get(f"{BASE}/experiments/get?experiment_id=0").status == 401


@pytest.mark.parametrize(
    ("role", "read", "write", "register"),
    [("auditor", 200, 403, 403), ("reviewer", 200, 403, 403), ("data_scientist", 200, 200, 200), ("application", 403, 403, 403)],
)
def test_a_role_reads_tracks_and_registers_as_the_table_says(mlflow: Any, role: Role, read: int, write: int, register: int) -> None:
    caller = mlflow.caller.sending(Authorization=f"Bearer {token(mlflow, role)}")
    answers = [
        caller.get(f"{BASE}/experiments/get?experiment_id=0"),
        caller.post(f"{BASE}/runs/create", {"experiment_id": "0"}),
        caller.post(f"{BASE}/registered-models/create", {"name": f"by-{role}"}),
    ]
    assert [answer.status for answer in answers] == [read, write, register]
    assert all(answer.json()["error_code"] == "PERMISSION_DENIED" for answer in answers if answer.status == 403)


def test_who_registers_does_not_release(mlflow: Any) -> None:
    scientist = mlflow.caller.sending(Authorization=f"Bearer {token(mlflow, 'data_scientist')}")
    run = scientist.post(f"{BASE}/runs/create", {"experiment_id": "0"}).json()["run"]["info"]
    assert run["user_id"] == "somebody-data_scientist"
    scientist.post(f"{BASE}/registered-models/create", {"name": "released"})
    source = f"runs:/{run['run_id']}/model"
    assert scientist.ask("PUT", f"/api/2.0/mlflow-artifacts/artifacts/0/{run['run_id']}/artifacts/model/MLmodel", b"{}").status == 200
    assert scientist.post(f"{BASE}/model-versions/create", {"name": "released", "source": source}).status == 200
    refusal = scientist.post(f"{BASE}/registered-models/alias", {"name": "released", "alias": "champion", "version": "1"})
    assert (refusal.status, refusal.json()["error_code"]) == (403, "PERMISSION_DENIED")
    assert scientist.post(f"{BASE}/registered-models/alias", {"name": "released", "alias": "candidate", "version": "1"}).status == 200


def test_a_token_of_one_project_sees_only_its_experiments_and_files(mlflow: Any) -> None:
    ours = mlflow.caller.sending(Authorization=f"Bearer {token(mlflow, 'data_scientist', project='blue')}")
    made = ours.post(f"{BASE}/experiments/create", {"name": "of blue"}).json()["experiment_id"]
    run = ours.post(f"{BASE}/runs/create", {"experiment_id": made}).json()["run"]["info"]["run_id"]
    service = "/api/2.0/mlflow-artifacts/artifacts"
    assert ours.ask("PUT", f"{service}/{made}/{run}/artifacts/model/a.txt", b"a").status == 200
    assert ours.get(f"{service}/{made}/{run}/artifacts/model/a.txt").text == "a"
    assert ours.post(f"{BASE}/registered-models/create", {"name": "blue-model"}).status == 200
    version = ours.post(f"{BASE}/model-versions/create", {"name": "blue-model", "source": f"runs:/{run}/model"})
    assert version.status == 200, version.text
    uri = ours.get(f"{BASE}/model-versions/get-download-uri?name=blue-model&version=1").json()["artifact_uri"].removeprefix("mlflow-artifacts:/")
    assert ours.get(f"{service}/{uri}/a.txt").text == "a"
    theirs = mlflow.caller.sending(Authorization=f"Bearer {token(mlflow, 'data_scientist', project='red')}")
    for path in (f"experiments/get?experiment_id={made}", f"runs/get?run_id={run}", "registered-models/get?name=blue-model"):
        assert theirs.get(f"{BASE}/{path}").status in (403, 404), path
    assert theirs.get(f"{service}/{made}/{run}/artifacts/model/a.txt").status in (403, 404)
    assert theirs.get(f"{service}/{uri}/a.txt").status in (403, 404)
    assert theirs.ask("PUT", f"{service}/{made}/{run}/artifacts/model/a.txt", b"b").status in (403, 404)
    found = theirs.post(f"{BASE}/experiments/search", {"max_results": 100}).json()["experiments"]
    assert [each["name"] for each in found if each["experiment_id"] == made] == []


def test_unknown_paths_and_methods_have_mlflows_code(mlflow: Any) -> None:
    for method, path in (("GET", f"{BASE}/never"), ("POST", "/api/3.0/mlflow/traces"), ("GET", f"{BASE}/runs/create"), ("POST", "/api/2.0/x")):
        answer = mlflow.caller.ask(method, path, b"{}")
        assert answer.status in (404, 405)
        assert answer.json()["error_code"] == "ENDPOINT_NOT_FOUND"
        assert f"{method} {path}: " in answer.json()["message"]


@pytest.mark.parametrize("area", ABSENT)
def test_an_absent_area_says_what_is_missing(mlflow: Any, area: str) -> None:
    for path in (f"/api/3.0/mlflow/{area}/search", f"{BASE}/{area}"):
        answer = mlflow.caller.ask("POST", path, b"{}")
        assert (answer.status, answer.json()["message"]) == (404, f"POST {path}: {ABSENT[area]}")


def test_what_clients_ask_a_server_about_itself(mlflow: Any) -> None:
    assert mlflow.caller.get("/version").text == api.VERSION
    assert mlflow.caller.sending().get("/health").text == "OK"
    info = json.loads(mlflow.caller.get("/api/3.0/mlflow/server-info").text)
    assert info["multipart_uploads_enabled"] is False
