"""MLflow's REST API: experiments and runs, as its clients send and read them."""

import json
import math
from typing import Any

import pytest

from rota.ports.tracking import Logged
from rota.records.tracking import ExperimentRun, MetricPoint, RunInput

GONE = "f" * 32


def test_an_experiment_is_created_found_by_id_and_by_name_and_refused_twice(mlflow: Any) -> None:
    made = mlflow.post("experiments/create", name="found twice", tags=[{"key": "team", "value": "blue"}])["experiment_id"]
    by_id = mlflow.get("experiments/get", experiment_id=made)["experiment"]
    assert by_id == mlflow.get("experiments/get-by-name", experiment_name="found twice")["experiment"]
    assert by_id["artifact_location"] == f"mlflow-artifacts:/{made}"
    assert by_id["lifecycle_stage"] == "active"
    assert by_id["tags"] == [{"key": "team", "value": "blue"}]
    assert abs(by_id["creation_time"] - mlflow.platform.repositories.clock.now_us() // 1_000) < 60_000
    assert mlflow.refused("POST", "experiments/create", name="found twice") == (400, "RESOURCE_ALREADY_EXISTS")
    assert mlflow.refused("GET", "experiments/get-by-name", experiment_name="never") == (404, "RESOURCE_DOES_NOT_EXIST")
    assert mlflow.refused("GET", "experiments/get", experiment_id="77") == (404, "RESOURCE_DOES_NOT_EXIST")


def test_the_default_experiment_is_there(mlflow: Any) -> None:
    assert mlflow.get("experiments/get", experiment_id="0")["experiment"]["name"] == "Default"


def test_an_experiment_is_renamed_tagged_deleted_and_restored_with_its_runs(mlflow: Any) -> None:
    made = mlflow.post("experiments/create", name="to be deleted")["experiment_id"]
    run = mlflow.run(made)
    mlflow.post("experiments/update", experiment_id=made, new_name="renamed")
    mlflow.post("experiments/set-experiment-tag", experiment_id=made, key="k", value="v")
    assert mlflow.get("experiments/get", experiment_id=made)["experiment"]["tags"] == [{"key": "k", "value": "v"}]
    mlflow.post("experiments/delete-experiment-tag", experiment_id=made, key="k")
    assert mlflow.refused("POST", "experiments/delete-experiment-tag", experiment_id=made, key="k") == (404, "RESOURCE_DOES_NOT_EXIST")
    mlflow.post("experiments/delete", experiment_id=made)
    assert mlflow.get("experiments/get", experiment_id=made)["experiment"]["lifecycle_stage"] == "deleted"
    assert mlflow.get("runs/get", run_id=run)["run"]["info"]["lifecycle_stage"] == "deleted"
    assert mlflow.post("runs/search", experiment_ids=[made])["runs"] == []
    assert len(mlflow.post("runs/search", experiment_ids=[made], run_view_type="DELETED_ONLY")["runs"]) == 1
    assert mlflow.refused("POST", "runs/create", experiment_id=made) == (400, "INVALID_PARAMETER_VALUE")
    assert mlflow.refused("POST", "experiments/create", name="renamed") == (400, "RESOURCE_ALREADY_EXISTS")
    mlflow.post("experiments/restore", experiment_id=made)
    assert [each["info"]["run_id"] for each in mlflow.post("runs/search", experiment_ids=[made])["runs"]] == [run]


def test_experiments_are_searched_by_name_tag_and_view_in_pages(mlflow: Any) -> None:
    for name in ("page a", "page b", "page c"):
        mlflow.post("experiments/create", name=name, tags=[{"key": "paged", "value": "yes"}])
    first = mlflow.post("experiments/search", filter="tags.paged = 'yes'", order_by=["name ASC"], max_results=2)
    assert [each["name"] for each in first["experiments"]] == ["page a", "page b"]
    rest = mlflow.get("experiments/search", filter="tags.paged = 'yes'", order_by="name ASC", max_results="2", page_token=first["next_page_token"])
    assert [each["name"] for each in rest["experiments"]] == ["page c"]
    assert not rest.get("next_page_token")
    assert mlflow.refused("POST", "experiments/search", filter="nonsense !") == (400, "INVALID_PARAMETER_VALUE")
    assert mlflow.refused("POST", "experiments/search", max_results=0) == (400, "INVALID_PARAMETER_VALUE")


def test_files_of_an_experiment_stay_here_whatever_location_is_asked_for(mlflow: Any) -> None:
    for location in ("file:///etc", "s3://bucket/x", "/tmp/x", "http://169.254.169.254/"):
        assert mlflow.refused("POST", "experiments/create", name="elsewhere", artifact_location=location) == (400, "INVALID_PARAMETER_VALUE")


def test_a_run_keeps_params_metrics_and_tags_and_ends(mlflow: Any) -> None:
    run = mlflow.run(run_name="first", tags=[{"key": "mlflow.user", "value": "ada"}])
    mlflow.post("runs/log-parameter", run_id=run, run_uuid=run, key="depth", value="8")
    mlflow.post("runs/log-metric", run_id=run, run_uuid=run, key="auc", value=0.5, timestamp=10, step=1)
    mlflow.post("runs/log-metric", run_uuid=run, key="auc", value=0.75, timestamp="20", step="2")
    mlflow.post("runs/set-tag", run_id=run, key="stage", value="dev")
    ended = mlflow.post("runs/update", run_id=run, status="FINISHED", end_time=2_000)["run_info"]
    found = mlflow.get("runs/get", run_id=run, run_uuid=run)["run"]
    assert ended["status"] == found["info"]["status"] == "FINISHED"
    assert (found["info"]["start_time"], found["info"]["end_time"]) == (1_000, 2_000)
    assert found["info"]["run_uuid"] == run
    assert found["info"]["user_id"] == "ada"
    assert found["info"]["artifact_uri"] == f"mlflow-artifacts:/0/{run}/artifacts"
    assert found["data"]["params"] == [{"key": "depth", "value": "8"}]
    assert found["data"]["metrics"] == [{"key": "auc", "value": 0.75, "timestamp": 20, "step": 2}]
    assert {each["key"]: each["value"] for each in found["data"]["tags"]} == {"mlflow.user": "ada", "mlflow.runName": "first", "stage": "dev"}


def test_the_run_name_is_a_tag_too_whichever_way_it_is_set(mlflow: Any) -> None:
    def names(run: str) -> tuple[str, str]:
        found = mlflow.get("runs/get", run_id=run)["run"]
        return found["info"]["run_name"], {each["key"]: each["value"] for each in found["data"]["tags"]}["mlflow.runName"]

    run = mlflow.run(tags=[{"key": "mlflow.runName", "value": "by tag"}])
    assert names(run) == ("by tag", "by tag")
    mlflow.post("runs/set-tag", run_id=run, key="mlflow.runName", value="set")
    assert names(run) == ("set", "set")
    mlflow.post("runs/update", run_id=run, run_name="updated")
    assert names(run) == ("updated", "updated")
    assert mlflow.post("runs/search", experiment_ids=["0"], filter="tags.mlflow.runName = 'updated'")["runs"][0]["info"]["run_id"] == run
    both = [{"key": "mlflow.runName", "value": "a"}]
    assert mlflow.refused("POST", "runs/create", experiment_id="0", run_name="b", tags=both) == (400, "INVALID_PARAMETER_VALUE")


def test_a_parameter_is_written_once_and_may_be_repeated(mlflow: Any) -> None:
    run = mlflow.run()
    mlflow.post("runs/log-parameter", run_id=run, key="p", value="1")
    mlflow.post("runs/log-parameter", run_id=run, key="p", value="1")
    assert mlflow.refused("POST", "runs/log-parameter", run_id=run, key="p", value="2") == (400, "INVALID_PARAMETER_VALUE")
    batch = {"params": [{"key": "new", "value": "1"}, {"key": "p", "value": "3"}], "tags": [{"key": "t", "value": "1"}]}
    assert mlflow.refused("POST", "runs/log-batch", run_id=run, **batch) == (400, "INVALID_PARAMETER_VALUE")
    kept = mlflow.get("runs/get", run_id=run)["run"]["data"]
    assert kept["params"] == [{"key": "p", "value": "1"}]
    assert [each["key"] for each in kept["tags"] if each["key"] == "t"] == []


def test_numbers_that_json_has_not_pass_both_ways(mlflow: Any) -> None:
    run = mlflow.run()
    for key, value in (("nan", "NaN"), ("high", "Infinity"), ("low", "-Infinity"), ("tiny", 5e-324), ("text", "1.5")):
        mlflow.post("runs/log-metric", run_id=run, key=key, value=value, timestamp=1)
    shown = {each["key"]: each["value"] for each in mlflow.get("runs/get", run_id=run)["run"]["data"]["metrics"]}
    assert shown == {"nan": "NaN", "high": 1.7976931348623157e308, "low": -1.7976931348623157e308, "tiny": 5e-324, "text": 1.5}
    kept = mlflow.platform.repositories.tracking.run(run).metrics
    assert math.isnan(kept["nan"])
    assert kept["high"] == math.inf


def test_a_batch_is_kept_whole_within_its_limits_and_refused_beyond(mlflow: Any) -> None:
    run = mlflow.run()
    metrics = [{"key": f"m{n % 3}", "value": n, "timestamp": n, "step": n} for n in range(1_000)]
    pairs = [{"key": f"k{n}", "value": str(n)} for n in range(100)]
    mlflow.post("runs/log-batch", run_id=run, metrics=metrics)
    mlflow.post("runs/log-batch", run_id=run, params=pairs, tags=pairs)
    found = mlflow.get("runs/get", run_id=run)["run"]["data"]
    assert {each["key"]: each["value"] for each in found["metrics"]} == {"m0": 999, "m1": 997, "m2": 998}
    assert len(found["params"]) == 100
    for body in (
        {"metrics": [*metrics, metrics[0]]},
        {"params": [*pairs, {"key": "one more", "value": ""}]},
        {"tags": [*pairs, {"key": "one more", "value": ""}]},
        {"metrics": metrics, "tags": pairs[:1]},
        {"params": [pairs[0], pairs[0]]},
    ):
        assert mlflow.refused("POST", "runs/log-batch", run_id=run, **body) == (400, "INVALID_PARAMETER_VALUE")


def test_keys_are_limited_and_clean_and_long_values_are_cut(mlflow: Any) -> None:
    run = mlflow.run()
    for key in ("k" * 251, "a//b", "../up", "/absolute", "a/../b", "semi;colon", "new\nline", ""):
        assert mlflow.refused("POST", "runs/log-metric", run_id=run, key=key, value=1, timestamp=1) == (400, "INVALID_PARAMETER_VALUE")
        assert mlflow.refused("POST", "runs/log-parameter", run_id=run, key=key, value="1") == (400, "INVALID_PARAMETER_VALUE")
        assert mlflow.refused("POST", "runs/set-tag", run_id=run, key=key, value="1") == (400, "INVALID_PARAMETER_VALUE")
    mlflow.post("runs/log-metric", run_id=run, key="val/loss: é", value=1, timestamp=1)
    mlflow.post("runs/log-parameter", run_id=run, key="k" * 250, value="p" * 6_001)
    mlflow.post("runs/set-tag", run_id=run, key="long", value="t" * 8_001)
    kept = mlflow.platform.repositories.tracking.run(run)
    assert len(kept.parameters["k" * 250]) == 6_000
    assert len(kept.tags["long"]) == 8_000
    assert mlflow.refused("POST", "experiments/create", name="n" * 501) == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize(
    "body",
    [
        {"key": "m", "timestamp": 1},
        {"key": "m", "value": "many", "timestamp": 1},
        {"key": "m", "value": 1, "timestamp": -1},
        {"key": "m", "value": 1, "timestamp": 10**30},
        {"key": "m", "value": 1, "timestamp": 1, "step": 2**63},
        {"key": 5, "value": 1, "timestamp": 1},
        {"key": None, "value": 1, "timestamp": 1},
    ],
)
def test_a_metric_with_a_wrong_or_missing_field_is_refused(mlflow: Any, body: dict[str, Any]) -> None:
    run = mlflow.run()
    assert mlflow.refused("POST", "runs/log-metric", run_id=run, **body) == (400, "INVALID_PARAMETER_VALUE")
    assert mlflow.get("runs/get", run_id=run)["run"]["data"]["metrics"] == []


def test_missing_fields_are_named_as_mlflow_names_them(mlflow: Any) -> None:
    answer = mlflow.caller.post("/api/2.0/mlflow/runs/log-parameter", {"key": "p", "value": "v"})
    assert answer.json() == {"error_code": "INVALID_PARAMETER_VALUE", "message": "Missing value for required parameter 'run_id'."}
    answer = mlflow.caller.post("/api/2.0/mlflow/experiments/create", {"name": ""})
    assert answer.json()["message"] == "Missing value for required parameter 'name'."


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"5", b"\xff\xfe", b'"text"', b"[" * 100_000, b'{"experiment_id": {"a": 1}}'])
def test_a_body_that_is_no_request_is_refused(mlflow: Any, body: bytes) -> None:
    answer = mlflow.caller.post("/api/2.0/mlflow/runs/create", body)
    assert (answer.status, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def test_a_nul_character_is_refused_everywhere_and_its_spelling_is_not(mlflow: Any) -> None:
    assert mlflow.refused("GET", "runs/get", run_id="a\x00") == (400, "INVALID_PARAMETER_VALUE")
    assert mlflow.refused("GET", "logged-models/m-%00") == (400, "INVALID_PARAMETER_VALUE")
    assert mlflow.refused("POST", "runs/set-tag", run_id=mlflow.run(), key="k", value="a\x00b") == (400, "INVALID_PARAMETER_VALUE")
    mlflow.post("runs/set-tag", run_id=mlflow.run(), key="k", value="\\u0000")


def test_older_clients_send_nulls_and_json_within_json(mlflow: Any) -> None:
    answer = mlflow.caller.post("/api/2.0/mlflow/runs/create", {"experiment_id": "0", "run_name": None, "start_time": None, "unknown": 1})
    assert answer.status == 200
    twice = json.dumps(json.dumps({"experiment_id": "0", "run_name": "packed twice"})).encode()
    assert mlflow.caller.post("/api/2.0/mlflow/runs/create", twice).json()["run"]["info"]["run_name"] == "packed twice"


def test_a_body_beyond_the_limit_is_refused_in_mlflows_shape(mlflow: Any) -> None:
    answer = mlflow.caller.post("/api/2.0/mlflow/runs/create", b" " * 1_000_001)
    assert answer.status == 413
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"


def test_a_deleted_run_takes_nothing_until_it_is_restored(mlflow: Any) -> None:
    run = mlflow.run()
    mlflow.post("runs/delete", run_id=run)
    mlflow.post("runs/delete", run_id=run)
    assert mlflow.get("runs/get", run_id=run)["run"]["info"]["lifecycle_stage"] == "deleted"
    for path, body in (
        ("runs/log-metric", {"key": "m", "value": 1, "timestamp": 1}),
        ("runs/set-tag", {"key": "t", "value": "v"}),
        ("runs/update", {"status": "FINISHED"}),
        ("runs/log-batch", {"params": [{"key": "p", "value": "v"}]}),
    ):
        assert mlflow.refused("POST", path, run_id=run, **body) == (400, "INVALID_PARAMETER_VALUE")
    mlflow.post("runs/restore", run_id=run)
    mlflow.post("runs/set-tag", run_id=run, key="t", value="v")
    mlflow.post("runs/delete-tag", run_id=run, key="t")
    assert mlflow.refused("POST", "runs/delete-tag", run_id=run, key="t") == (404, "RESOURCE_DOES_NOT_EXIST")
    actions = [entry.action for entry in mlflow.platform.repositories.metadata.audit(limit=10_000) if entry.subject == run]
    assert actions == ["run.delete", "run.restore"]


def test_an_unknown_run_is_not_found_by_any_route(mlflow: Any) -> None:
    for method, path, body in (
        ("GET", "runs/get", {}),
        ("GET", "artifacts/list", {}),
        ("POST", "runs/update", {"status": "FINISHED"}),
        ("POST", "runs/delete", {}),
        ("POST", "runs/restore", {}),
        ("POST", "runs/log-metric", {"key": "m", "value": 1, "timestamp": 1}),
        ("POST", "runs/log-parameter", {"key": "p", "value": "1"}),
        ("POST", "runs/set-tag", {"key": "t", "value": "1"}),
        ("POST", "runs/delete-tag", {"key": "t"}),
        ("POST", "runs/log-batch", {"tags": [{"key": "t", "value": "1"}]}),
        ("POST", "runs/log-inputs", {"datasets": [{"dataset": {"name": "d", "digest": "1", "source_type": "x", "source": "y"}}]}),
    ):
        assert mlflow.refused(method, path, run_id=GONE, **body) == (404, "RESOURCE_DOES_NOT_EXIST"), path


def test_runs_are_searched_ordered_and_paged(mlflow: Any) -> None:
    made = mlflow.post("experiments/create", name="searched")["experiment_id"]
    for n in range(7):
        run = mlflow.run(made, run_name=f"r{n}")
        mlflow.post(
            "runs/log-batch", run_id=run, metrics=[{"key": "auc", "value": n / 10, "timestamp": 1}], params=[{"key": "odd", "value": str(n % 2)}]
        )

    def found(filter: str, **more: Any) -> list[str]:
        return [each["info"]["run_name"] for each in mlflow.post("runs/search", experiment_ids=[made], filter=filter, **more)["runs"]]

    assert found("metrics.auc > 0.25 and params.odd = '1'", order_by=["metrics.auc DESC"]) == ["r5", "r3"]
    assert found("attributes.run_name LIKE 'r_'", order_by=["metrics.auc ASC"], max_results=2) == ["r0", "r1"]
    assert found("attributes.status = 'RUNNING' and metrics.auc <= 0") == ["r0"]
    seen: list[str] = []
    token = ""
    while True:
        page = mlflow.post("runs/search", experiment_ids=[made], order_by=["metrics.auc DESC"], max_results=3, page_token=token)
        seen += [each["info"]["run_name"] for each in page["runs"]]
        token = page.get("next_page_token", "")
        if not token:
            break
    assert seen == [f"r{n}" for n in (6, 5, 4, 3, 2, 1, 0)]
    for body in (
        {"filter": "metrics.auc ~ 1"},
        {"order_by": ["auc sideways"]},
        {"max_results": 50_001},
        {"run_view_type": "SOME"},
        {"page_token": "x"},
    ):
        assert mlflow.refused("POST", "runs/search", experiment_ids=[made], **body) == (400, "INVALID_PARAMETER_VALUE")


def test_a_metrics_history_comes_in_pages_or_whole(mlflow: Any) -> None:
    run = mlflow.run()
    mlflow.post("runs/log-batch", run_id=run, metrics=[{"key": "loss", "value": n, "timestamp": n, "step": n} for n in range(10)])
    whole = mlflow.get("metrics/get-history", run_id=run, metric_key="loss")
    assert [each["value"] for each in whole["metrics"]] == list(range(10))
    assert "next_page_token" not in whole
    first = mlflow.get("metrics/get-history", run_id=run, metric_key="loss", max_results="6")
    rest = mlflow.get("metrics/get-history", run_id=run, metric_key="loss", max_results="6", page_token=first["next_page_token"])
    assert [each["step"] for each in first["metrics"] + rest["metrics"]] == list(range(10))
    assert "next_page_token" not in rest
    assert mlflow.get("metrics/get-history", run_id=run, metric_key="unknown") == {"metrics": []}
    for query in ({"max_results": "0"}, {"max_results": "-1"}, {"page_token": "-5"}, {"page_token": "zzz"}):
        assert mlflow.refused("GET", "metrics/get-history", run_id=run, metric_key="loss", **query) == (400, "INVALID_PARAMETER_VALUE")


def test_inputs_are_kept_once_with_their_context(mlflow: Any) -> None:
    run = mlflow.run()
    data = {"name": "tiny", "digest": "abc", "source_type": "local", "source": "{}", "schema": "{}", "profile": '{"num_rows": 2}'}
    given = [{"dataset": data, "tags": [{"key": "mlflow.data.context", "value": "training"}]}]
    mlflow.post("runs/log-inputs", run_id=run, datasets=given)
    mlflow.post("runs/log-inputs", run_id=run, datasets=given)
    assert mlflow.get("runs/get", run_id=run)["run"]["inputs"]["dataset_inputs"] == [
        {"dataset": data, "tags": [{"key": "mlflow.data.context", "value": "training"}]}
    ]
    assert mlflow.post("runs/search", experiment_ids=["0"], filter="datasets.name = 'tiny'")["runs"][0]["info"]["run_id"] == run
    for wrong in ({**data, "name": "n" * 501}, {**data, "digest": "d" * 37}, {**data, "name": ""}):
        assert mlflow.refused("POST", "runs/log-inputs", run_id=run, datasets=[{"dataset": wrong}]) == (400, "INVALID_PARAMETER_VALUE")


def test_what_mlflow_says_in_tags_becomes_the_runs_fields(mlflow: Any) -> None:
    tags = {"mlflow.parentRunId": "p1", "mlflow.user": "ada", "mlflow.source.git.commit": "c0ffee", "mlflow.source.name": "train.py"}
    run = mlflow.run(tags=[{"key": key, "value": value} for key, value in tags.items()])
    record = mlflow.platform.repositories.tracking.run(run)
    assert (record.parent, record.owner, record.source["commit"]) == ("p1", "ada", "c0ffee")
    children = mlflow.post("runs/search", experiment_ids=["0"], filter="tags.mlflow.parentRunId = 'p1'")["runs"]
    assert [each["info"]["run_id"] for each in children] == [run]


def test_a_run_that_rota_tracked_looks_as_if_mlflow_had(mlflow: Any) -> None:
    tracking = mlflow.platform.repositories.tracking
    tracking.create_run(
        ExperimentRun("own", "0", "deep trees", "finished", 5_000_000, ended_us=6_000_000, owner="bob", parent="p2", source={"commit": "beef"})
    )
    tracking.log(
        "own", Logged([MetricPoint("auc", 0.9, 3, 5_500_000)], {"depth": "8"}, inputs=[RunInput("flights", "d1", node="dataset_version:flights@3")])
    )
    found = mlflow.get("runs/get", run_id="own")["run"]
    tags = {each["key"]: each["value"] for each in found["data"]["tags"]}
    assert tags == {"mlflow.runName": "deep trees", "mlflow.user": "bob", "mlflow.parentRunId": "p2", "mlflow.source.git.commit": "beef"}
    assert (found["info"]["status"], found["info"]["start_time"], found["info"]["end_time"]) == ("FINISHED", 5_000, 6_000)
    assert found["data"]["metrics"] == [{"key": "auc", "value": 0.9, "timestamp": 5_500, "step": 3}]
    assert found["inputs"]["dataset_inputs"][0]["dataset"]["name"] == "flights"
    assert [each["info"]["run_id"] for each in mlflow.post("runs/search", experiment_ids=["0"], filter="tags.mlflow.user = 'bob'")["runs"]] == ["own"]


def test_the_model_history_that_older_clients_send_is_kept_as_their_tag(mlflow: Any) -> None:
    run = mlflow.run()
    model = {"artifact_path": "model", "flavors": {}, "utc_time_created": "now", "run_id": run}
    mlflow.post("runs/log-model", run_id=run, model_json=json.dumps(model))
    mlflow.post("runs/log-model", run_id=run, model_json=json.dumps({**model, "artifact_path": "second"}))
    tags = {each["key"]: each["value"] for each in mlflow.get("runs/get", run_id=run)["run"]["data"]["tags"]}
    assert [each["artifact_path"] for each in json.loads(tags["mlflow.log-model.history"])] == ["model", "second"]
    for wrong in ("{", "[]", json.dumps({"flavors": {}})):
        assert mlflow.refused("POST", "runs/log-model", run_id=run, model_json=wrong) == (400, "INVALID_PARAMETER_VALUE")


def test_an_experiment_s_name_reads_like_no_other_one(mlflow: Any) -> None:
    mlflow.post("experiments/create", name="Spelled")
    other = mlflow.post("experiments/create", name="another")["experiment_id"]
    for name in ("spelled", "SPELLED", "\uff33pelled"):
        assert mlflow.refused("POST", "experiments/create", name=name) == (400, "RESOURCE_ALREADY_EXISTS")
        assert mlflow.refused("POST", "experiments/update", experiment_id=other, new_name=name) == (400, "RESOURCE_ALREADY_EXISTS")
    mlflow.post("experiments/update", experiment_id=other, new_name="ANOTHER")
