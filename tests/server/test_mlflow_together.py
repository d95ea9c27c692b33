"""Several clients of MLflow's routes at the same moment."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

BASE = "/api/2.0/mlflow"
CLIENTS = 8


def together(act: Callable[[int], Any]) -> list[Any]:
    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(act, range(CLIENTS)))


def test_of_several_who_create_one_experiment_one_does(mlflow: Any) -> None:
    answers = together(lambda _: mlflow.caller.post(f"{BASE}/experiments/create", {"name": "wanted by all"}))
    assert sorted(answer.status for answer in answers) == [200] + [400] * (CLIENTS - 1)
    assert {answer.json()["error_code"] for answer in answers if answer.status == 400} == {"RESOURCE_ALREADY_EXISTS"}


def test_no_tag_is_lost(mlflow: Any) -> None:
    made = mlflow.post("experiments/create", name="tagged by all")["experiment_id"]
    run = mlflow.run(made)
    model = mlflow.post("logged-models", experiment_id=made, source_run_id=run)["model"]["info"]["model_id"]

    def tag(n: int) -> None:
        mlflow.post("experiments/set-experiment-tag", experiment_id=made, key=f"k{n}", value="v")
        mlflow.post("runs/set-tag", run_id=run, key=f"k{n}", value="v")
        mlflow.send("PATCH", f"logged-models/{model}/tags", tags=[{"key": f"k{n}", "value": "v"}])
        mlflow.post("runs/log-metric", run_id=run, key=f"m{n}", value=n, timestamp=n, model_id=model)

    together(tag)
    expected = {f"k{n}" for n in range(CLIENTS)}
    found = mlflow.get(f"logged-models/{model}")["model"]
    assert {each["key"] for each in mlflow.get("experiments/get", experiment_id=made)["experiment"]["tags"]} == expected
    assert {each["key"] for each in mlflow.get("runs/get", run_id=run)["run"]["data"]["tags"]} >= expected
    assert {each["key"] for each in found["info"]["tags"]} == expected
    assert {each["key"] for each in found["data"]["metrics"]} == {f"m{n}" for n in range(CLIENTS)}


def test_every_version_has_a_number_of_its_own(mlflow: Any) -> None:
    run = mlflow.run()
    assert mlflow.caller.ask("PUT", f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/model/MLmodel", b"{}").status == 200
    mlflow.post("registered-models/create", name="popular")
    made = together(lambda _: mlflow.post("model-versions/create", name="popular", source=f"runs:/{run}/model")["model_version"]["version"])
    assert sorted(map(int, made)) == list(range(1, CLIENTS + 1))


def test_of_several_values_of_one_parameter_one_is_kept(mlflow: Any) -> None:
    run = mlflow.run()
    answers = together(lambda n: mlflow.caller.post(f"{BASE}/runs/log-parameter", {"run_id": run, "key": "p", "value": str(n)}))
    won = [n for n, answer in enumerate(answers) if answer.status == 200]
    assert len(won) == 1
    assert mlflow.get("runs/get", run_id=run)["run"]["data"]["params"] == [{"key": "p", "value": str(won[0])}]
    assert {answer.json()["error_code"] for answer in answers if answer.status != 200} == {"INVALID_PARAMETER_VALUE"}


def test_one_file_sent_by_several_is_one_of_theirs(mlflow: Any) -> None:
    path = f"/api/2.0/mlflow-artifacts/artifacts/0/{mlflow.run()}/artifacts/shared.bin"
    together(lambda n: mlflow.caller.ask("PUT", path, str(n).encode() * 300_000))
    text = mlflow.caller.get(path).text
    assert text in {str(n) * 300_000 for n in range(CLIENTS)}
