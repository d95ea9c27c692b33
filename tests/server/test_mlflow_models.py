"""MLflow's REST API: logged models, registered models, versions, aliases and stages."""

import json
from typing import Any

import pytest

from rota.manage.governance import decisions
from rota.manage.models import model_versions
from rota.records.model import AliasMove, ModelVersion
from rota.records.tracking import LoggedModel

SERVICE = "/api/2.0/mlflow-artifacts/artifacts"


def logged(mlflow: Any, run: str = "", name: str = "clf") -> dict[str, Any]:
    """A logged model with one file."""
    made = mlflow.post("logged-models", experiment_id="0", name=name, source_run_id=run or mlflow.run(), model_type="sklearn")["model"]["info"]
    path = f"{SERVICE}/0/models/{made['model_id']}/artifacts/MLmodel"
    assert mlflow.caller.ask("PUT", path, b"flavors: {}").status == 200
    found: dict[str, Any] = mlflow.send("PATCH", f"logged-models/{made['model_id']}", status="LOGGED_MODEL_READY")["model"]["info"]
    return found


def version(mlflow: Any, model: str) -> dict[str, Any]:
    """A registered version of a model, which is made when it is new."""
    if mlflow.caller.get(f"/api/2.0/mlflow/registered-models/get?name={model}").status == 404:
        mlflow.post("registered-models/create", name=model)
    info = logged(mlflow)
    source = f"models:/{info['model_id']}"
    found: dict[str, Any] = mlflow.post("model-versions/create", name=model, source=source, run_id=info["source_run_id"])["model_version"]
    return found


def aliases(mlflow: Any, model: str) -> dict[str, str]:
    found = mlflow.get("registered-models/get", name=model)["registered_model"]["aliases"]
    return {each["alias"]: each["version"] for each in found}


def test_a_logged_model_is_pending_until_its_files_are_there(mlflow: Any) -> None:
    run = mlflow.run()
    made = mlflow.post(
        "logged-models", experiment_id="0", name="clf", source_run_id=run, params=[{"key": "depth", "value": "8"}], tags=[{"key": "a", "value": "b"}]
    )["model"]
    identity = made["info"]["model_id"]
    assert made["info"]["status"] == "LOGGED_MODEL_PENDING"
    assert made["info"]["artifact_uri"] == f"mlflow-artifacts:/0/models/{identity}/artifacts"
    assert made["data"]["params"] == [{"key": "depth", "value": "8"}]
    mlflow.post("runs/outputs", run_id=run, models=[{"model_id": identity, "step": 3}])
    mlflow.send("PATCH", f"logged-models/{identity}", status="LOGGED_MODEL_READY")
    mlflow.send("PATCH", f"logged-models/{identity}/tags", tags=[{"key": "c", "value": "d"}])
    mlflow.send("DELETE", f"logged-models/{identity}/tags/a")
    found = mlflow.get(f"logged-models/{identity}")["model"]
    assert found["info"]["status"] == "LOGGED_MODEL_READY"
    assert found["info"]["tags"] == [{"key": "c", "value": "d"}]
    assert mlflow.get("runs/get", run_id=run)["run"]["outputs"]["model_outputs"] == [{"model_id": identity, "step": 3}]
    mlflow.send("DELETE", f"logged-models/{identity}")
    assert mlflow.refused("GET", f"logged-models/{identity}") == (404, "RESOURCE_DOES_NOT_EXIST")
    assert mlflow.get(f"logged-models/{identity}", allow_deleted="true")["model"]["info"]["model_id"] == identity


def test_a_parameter_of_a_logged_model_is_written_once(mlflow: Any) -> None:
    made = mlflow.post("logged-models", experiment_id="0", name="clf", params=[{"key": "lr", "value": "1"}])["model"]["info"]["model_id"]
    mlflow.post(f"logged-models/{made}/params", params=[{"key": "depth", "value": "3"}])
    for again in ([("lr", "1")], [("lr", "9")], [("fresh", "1"), ("depth", "9")], [("a", "1"), ("a", "1")]):
        pairs = [{"key": key, "value": value} for key, value in again]
        assert mlflow.refused("POST", f"logged-models/{made}/params", params=pairs) == (400, "BAD_REQUEST")
    kept = mlflow.get(f"logged-models/{made}")["model"]["data"]["params"]
    assert {pair["key"]: pair["value"] for pair in kept} == {"lr": "1", "depth": "3"}


def test_the_versions_that_a_logged_model_names_are_kept_whether_texts_or_numbers(mlflow: Any) -> None:
    info = logged(mlflow)
    known = json.dumps([{"name": "other", "version": 4}, {"name": "third", "version": "1"}])
    mlflow.send("PATCH", f"logged-models/{info['model_id']}/tags", tags=[{"key": "mlflow.modelVersions", "value": known}])
    mlflow.post("registered-models/create", name="clf")
    for _ in range(2):
        mlflow.post("model-versions/create", name="clf", source=f"models:/{info['model_id']}", run_id=info["source_run_id"])
    (tag,) = [each["value"] for each in mlflow.get(f"logged-models/{info['model_id']}")["model"]["info"]["tags"]]
    assert [(each["name"], int(each["version"])) for each in json.loads(tag)] == [("other", 4), ("third", 1), ("clf", 1), ("clf", 2)]


def test_a_logged_model_needs_an_experiment_a_run_and_a_clean_name(mlflow: Any) -> None:
    assert mlflow.refused("POST", "logged-models", experiment_id="77") == (404, "RESOURCE_DOES_NOT_EXIST")
    assert mlflow.refused("POST", "logged-models", experiment_id="0", source_run_id="e" * 32) == (404, "RESOURCE_DOES_NOT_EXIST")
    for name in ("a/b", "a:b", "a.b", "a%b", "a'b"):
        assert mlflow.refused("POST", "logged-models", experiment_id="0", name=name) == (400, "INVALID_PARAMETER_VALUE")
    assert mlflow.refused("PATCH", f"logged-models/{logged(mlflow)['model_id']}", status="LOGGED_MODEL_PENDING") == (400, "INVALID_PARAMETER_VALUE")


def test_metrics_about_a_model_are_kept_with_it_and_found(mlflow: Any) -> None:
    made = mlflow.post("experiments/create", name="judged")["experiment_id"]
    run = mlflow.run(made)
    models = [mlflow.post("logged-models", experiment_id=made, name=f"m{n}", source_run_id=run)["model"]["info"]["model_id"] for n in range(3)]
    for n, model in enumerate(models):
        about = {"model_id": model, "dataset_name": "test", "dataset_digest": "d1"}
        mlflow.post("runs/log-metric", run_id=run, key="auc", value=n / 10, timestamp=1, **about)
        mlflow.post("runs/log-batch", run_id=run, metrics=[{"key": "auc", "value": 0.5 + n / 10, "timestamp": 2, "step": 1, **about}])
    assert mlflow.get(f"logged-models/{models[1]}")["model"]["data"]["metrics"] == [
        {"key": "auc", "value": 0.6, "timestamp": 2, "step": 1, "model_id": models[1], "run_id": run, "dataset_name": "test", "dataset_digest": "d1"}
    ]

    def found(**body: Any) -> list[str]:
        return [each["info"]["name"] for each in mlflow.post("logged-models/search", experiment_ids=[made], **body)["models"]]

    assert found(filter="metrics.auc > 0.55", order_by=[{"field_name": "metrics.auc", "ascending": False}]) == ["m2", "m1"]
    assert found(filter="metrics.auc > 0.55", datasets=[{"dataset_name": "other"}]) == []
    assert found(filter="name = 'm0' and status = 'PENDING'") == ["m0"]
    first = mlflow.post("logged-models/search", experiment_ids=[made], max_results=2, order_by=[{"field_name": "name"}])
    assert [each["info"]["name"] for each in first["models"]] == ["m0", "m1"]
    assert found(max_results=2, order_by=[{"field_name": "name"}], page_token=first["next_page_token"]) == ["m2"]
    assert mlflow.refused("POST", "logged-models/search") == (400, "INVALID_PARAMETER_VALUE")
    unknown = {"key": "auc", "value": 1, "timestamp": 9, "step": 9, "model_id": f"m-{'0' * 32}"}
    assert mlflow.refused("POST", "runs/log-metric", run_id=run, **unknown) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert all(each["step"] != 9 for each in mlflow.get("metrics/get-history", run_id=run, metric_key="auc")["metrics"])


def test_a_version_is_registered_from_a_logged_model_and_found_by_its_alias(mlflow: Any) -> None:
    made = version(mlflow, "churn")
    assert (made["version"], made["status"], made["current_stage"], made["aliases"]) == ("1", "READY", "None", [])
    assert version(mlflow, "churn")["version"] == "2"
    mlflow.post("registered-models/alias", name="churn", alias="candidate", version="2")
    assert mlflow.get("registered-models/alias", name="churn", alias="candidate")["model_version"]["version"] == "2"
    assert mlflow.get("model-versions/get", name="churn", version="2")["model_version"]["aliases"] == ["candidate"]
    assert aliases(mlflow, "churn") == {"candidate": "2"}
    mlflow.send("DELETE", "registered-models/alias", name="churn", alias="candidate")
    mlflow.send("DELETE", "registered-models/alias", name="churn", alias="candidate")
    assert mlflow.refused("GET", "registered-models/alias", name="churn", alias="candidate") == (400, "INVALID_PARAMETER_VALUE")
    assert mlflow.refused("GET", "registered-models/alias", name="none", alias="candidate") == (404, "RESOURCE_DOES_NOT_EXIST")
    note = mlflow.get(f"logged-models/{made['source'].removeprefix('models:/')}")["model"]["info"]["tags"]
    assert json.loads(note[0]["value"]) == [{"name": "churn", "version": "1"}]


def test_a_version_keeps_its_own_copy_of_the_files_which_nobody_changes(mlflow: Any) -> None:
    made = version(mlflow, "frozen")
    identity = made["source"].removeprefix("models:/")
    uri = mlflow.get("model-versions/get-download-uri", name="frozen", version="1")["artifact_uri"]
    own = f"{SERVICE}/{uri.removeprefix('mlflow-artifacts:/')}/MLmodel"
    assert mlflow.caller.ask("PUT", f"{SERVICE}/0/models/{identity}/artifacts/MLmodel", b"evil").status == 200
    assert mlflow.caller.get(own).text == "flavors: {}"
    for method in ("PUT", "DELETE"):
        refusal = mlflow.caller.ask(method, own, b"evil")
        assert (refusal.status, refusal.json()["error_code"]) == (403, "PERMISSION_DENIED")
    assert mlflow.caller.ask("DELETE", f"{SERVICE}/0/models/{identity}/artifacts/MLmodel").status == 200
    assert mlflow.caller.get(own).text == "flavors: {}"
    assert mlflow.post("model-versions/create", name="frozen", source="models:/frozen/1")["model_version"]["version"] == "2"


@pytest.mark.parametrize(
    "source",
    [
        "file:///etc/passwd",
        "/etc/passwd",
        "etc/passwd",
        "http://169.254.169.254/latest/meta-data",
        "https://example.com/model",
        "ftp://example.com/x",
        "s3://bucket/model",
        "dbfs:/x",
        "runs:/../../etc",
        "runs:/RUN/../../other",
        "runs:/RUN/%2e%2e/x",
        "runs://host/RUN/model",
        "mlflow-artifacts:/../../etc",
        "mlflow-artifacts://example.com/0/RUN/artifacts",
        "mlflow-artifacts:/0/RUN/artifacts/../../x",
        "mlflow-artifacts:/0/RUN/artifacts%00",
        "models:/m-" + "0" * 32,
        "models:/m-x/../..",
        "models:/unknown/1",
        "prompt-template",
        "$(touch /tmp/x)",
        "x" * 10_000,
    ],
)
def test_a_source_outside_this_platform_is_refused(mlflow: Any, source: str) -> None:
    version(mlflow, "sourced")
    before = len(mlflow.platform.repositories.metadata.find(ModelVersion, {"model": "sourced"}))
    refusal = mlflow.refused("POST", "model-versions/create", name="sourced", source=source.replace("RUN", mlflow.run()))
    assert refusal == (400, "INVALID_PARAMETER_VALUE")
    assert len(mlflow.platform.repositories.metadata.find(ModelVersion, {"model": "sourced"})) == before


def test_a_version_cannot_claim_another_run_than_its_files_come_from(mlflow: Any) -> None:
    mlflow.post("registered-models/create", name="claimed")
    info = logged(mlflow)
    for claim in ({"run_id": mlflow.run()}, {"model_id": f"m-{'0' * 32}"}):
        source = f"models:/{info['model_id']}"
        assert mlflow.refused("POST", "model-versions/create", name="claimed", source=source, **claim) == (400, "INVALID_PARAMETER_VALUE")


def test_files_of_a_run_are_registered_by_either_address(mlflow: Any) -> None:
    mlflow.post("registered-models/create", name="addressed")
    run = mlflow.run()
    mlflow.caller.ask("PUT", f"{SERVICE}/0/{run}/artifacts/model/MLmodel", b"flavors: {}")
    for source in (f"runs:/{run}/model", f"mlflow-artifacts:/0/{run}/artifacts/model"):
        made = mlflow.post("model-versions/create", name="addressed", source=source)["model_version"]
        assert (made["run_id"], made["source"]) == (run, source)
        uri = mlflow.get("model-versions/get-download-uri", name="addressed", version=made["version"])["artifact_uri"]
        assert mlflow.caller.get(f"{SERVICE}/{uri.removeprefix('mlflow-artifacts:/')}/MLmodel").text == "flavors: {}"


def test_models_and_versions_are_described_tagged_and_searched(mlflow: Any) -> None:
    version(mlflow, "described")
    mlflow.send("PATCH", "registered-models/update", name="described", description="about it")
    mlflow.send("PATCH", "model-versions/update", name="described", version="1", description="the first")
    mlflow.post("registered-models/set-tag", name="described", key="team", value="blue")
    mlflow.post("model-versions/set-tag", name="described", version="1", key="note", value="n" * 100_000)
    assert mlflow.refused("POST", "model-versions/set-tag", name="described", version="1", key="note", value="n" * 100_001)[0] == 400
    found = mlflow.post("registered-models/search", filter="tags.team = 'blue' and tag.`mlflow.prompt.is_prompt` != 'true'")["registered_models"]
    assert [(each["name"], each["description"], each["latest_versions"][0]["version"]) for each in found] == [("described", "about it", "1")]
    found = mlflow.get("model-versions/search", filter="name = 'described'", max_results="10")["model_versions"]
    assert [(each["version"], each["description"], len(each["tags"][0]["value"])) for each in found] == [("1", "the first", 100_000)]
    mlflow.send("DELETE", "registered-models/delete-tag", name="described", key="team")
    mlflow.send("DELETE", "model-versions/delete-tag", name="described", version="1", key="note")
    assert mlflow.get("registered-models/get", name="described")["registered_model"]["tags"] == []
    assert mlflow.get("model-versions/get", name="described", version="1")["model_version"]["tags"] == []
    assert mlflow.post("registered-models/search", filter="name LIKE 'nobody%'") == {"registered_models": []}
    for path in ("registered-models/search", "model-versions/search"):
        assert mlflow.refused("POST", path, filter="what ever") == (400, "INVALID_PARAMETER_VALUE")


def test_unknown_and_taken_names_have_mlflows_codes(mlflow: Any) -> None:
    version(mlflow, "taken")
    assert mlflow.refused("POST", "registered-models/create", name="taken") == (400, "RESOURCE_ALREADY_EXISTS")
    for name in ("a/b", "a:b", "", "..", "a\x00"):
        assert mlflow.refused("POST", "registered-models/create", name=name) == (400, "INVALID_PARAMETER_VALUE")
    prompt = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    assert mlflow.refused("POST", "registered-models/create", name="prompt", tags=prompt) == (400, "INVALID_PARAMETER_VALUE")
    for method, path, body in (
        ("GET", "registered-models/get", {"name": "none"}),
        ("PATCH", "registered-models/update", {"name": "none"}),
        ("POST", "registered-models/rename", {"name": "none", "new_name": "other"}),
        ("DELETE", "registered-models/delete", {"name": "none"}),
        ("POST", "registered-models/get-latest-versions", {"name": "none"}),
        ("POST", "model-versions/create", {"name": "none", "source": f"runs:/{mlflow.run()}/model"}),
        ("GET", "model-versions/get", {"name": "taken", "version": "9"}),
        ("GET", "model-versions/get-download-uri", {"name": "taken", "version": "9"}),
        ("DELETE", "model-versions/delete", {"name": "taken", "version": "9"}),
        ("POST", "registered-models/alias", {"name": "taken", "alias": "a", "version": "9"}),
    ):
        assert mlflow.refused(method, path, **body) == (404, "RESOURCE_DOES_NOT_EXIST"), path
    assert mlflow.refused("GET", "model-versions/get", name="taken", version="one") == (400, "INVALID_PARAMETER_VALUE")


def test_a_protected_alias_obeys_the_gate(mlflow: Any) -> None:
    version(mlflow, "gated")
    answer = mlflow.caller.post("/api/2.0/mlflow/registered-models/alias", {"name": "gated", "alias": "champion", "version": "1"})
    assert (answer.status, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")
    assert "approve" in answer.json()["message"]
    stage = {"name": "gated", "version": "1", "stage": "Production"}
    assert mlflow.refused("POST", "model-versions/transition-stage", **stage) == (403, "PERMISSION_DENIED")
    assert aliases(mlflow, "gated") == {}
    decision = decisions.ReviewDecision("approve", "rita", "good on every slice")
    decisions.decide(mlflow.platform.repositories, "gated", 1, decision)
    mlflow.post("registered-models/alias", name="gated", alias="champion", version="1")
    assert aliases(mlflow, "gated") == {"champion": "1"}
    moves = mlflow.platform.repositories.metadata.find(AliasMove, {"model": "gated", "alias": "champion"})
    assert [(move.number, move.actor) for move in moves] == [(1, "owner")]


def test_stages_are_a_view_of_aliases(mlflow: Any) -> None:
    for _ in range(2):
        version(mlflow, "staged")

    def to(number: int, stage: str, **more: Any) -> str:
        body = {"name": "staged", "version": str(number), "stage": stage, **more}
        found: str = mlflow.post("model-versions/transition-stage", **body)["model_version"]["current_stage"]
        return found

    def latest(*stages: str) -> list[tuple[str, str]]:
        found = mlflow.post("registered-models/get-latest-versions", name="staged", stages=list(stages))["model_versions"]
        return [(each["current_stage"], each["version"]) for each in found]

    assert to(1, "staging") == "Staging"
    assert aliases(mlflow, "staged") == {"challenger": "1"}
    assert latest() == [("None", "2"), ("Staging", "1")]
    assert to(2, "Staging", archive_existing_versions=True) == "Staging"
    assert latest("Staging") == [("Staging", "2")]
    assert latest("Archived") == [("Archived", "1")]
    assert mlflow.get("model-versions/get", name="staged", version="1")["model_version"]["tags"] == []
    assert to(2, "None") == "None"
    assert aliases(mlflow, "staged") == {}
    assert to(1, "None") == "None"
    wrong = {"name": "staged", "version": "1", "stage": "Somewhere"}
    assert mlflow.refused("POST", "model-versions/transition-stage", **wrong) == (400, "INVALID_PARAMETER_VALUE")


def test_a_deleted_version_takes_its_aliases_along_and_its_number_stays_taken(mlflow: Any) -> None:
    version(mlflow, "shrinking")
    mlflow.post("registered-models/alias", name="shrinking", alias="old", version="1")
    mlflow.send("DELETE", "model-versions/delete", name="shrinking", version="1")
    assert aliases(mlflow, "shrinking") == {}
    assert mlflow.refused("GET", "model-versions/get", name="shrinking", version="1") == (404, "RESOURCE_DOES_NOT_EXIST")
    assert mlflow.post("model-versions/search", filter="name = 'shrinking'") == {"model_versions": []}
    assert version(mlflow, "shrinking")["version"] == "2"


def test_a_model_is_renamed_with_its_versions_and_deleted(mlflow: Any) -> None:
    version(mlflow, "before")
    mlflow.post("registered-models/rename", name="before", new_name="after")
    assert mlflow.refused("GET", "registered-models/get", name="before") == (404, "RESOURCE_DOES_NOT_EXIST")
    uri = mlflow.get("model-versions/get-download-uri", name="after", version="1")["artifact_uri"]
    assert mlflow.caller.get(f"{SERVICE}/{uri.removeprefix('mlflow-artifacts:/')}/MLmodel").status == 200
    mlflow.send("DELETE", "registered-models/delete", name="after")
    assert mlflow.refused("GET", "registered-models/get", name="after") == (404, "RESOURCE_DOES_NOT_EXIST")


def test_lineage_leads_from_a_version_to_the_logged_model_and_its_run(mlflow: Any) -> None:
    made = version(mlflow, "traced")
    metadata = mlflow.platform.repositories.metadata
    identity = made["source"].removeprefix("models:/")
    causes = {edge.cause for edge in metadata.edges(["model_version:traced@1"], "causes")}
    assert causes == {f"logged_model:{identity}", f"experiment_run:{made['run_id']}"}
    run = metadata.get(LoggedModel, identity).run
    assert [edge.cause for edge in metadata.edges([f"logged_model:{identity}"], "causes")] == [f"experiment_run:{run}"]
    assert model_versions.get(metadata, "traced", 1).registered_by == "owner"
