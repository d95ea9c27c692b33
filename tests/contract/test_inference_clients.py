"""The Open Inference Protocol as its clients speak it, unmodified: tritonclient over HTTP and KServe's REST client, against `rota up`.

The environment is made by `make peers` from requirements/inference.txt; ROTA_TEST_INFERENCE names another interpreter.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

import rota
from rota.backends.sql.metadata import SqlMetadata
from rota.ports.metadata import Batch
from rota.records.release import Endpoint, Release, Route

pytestmark = pytest.mark.slow
NEAR = pytest.approx([10.0, 0.0], abs=1e-9)


def put_models(home: Path) -> None:
    """Endpoint `sum` of a model of a matrix of four numbers, its second version ten times as much; `columns` the same of named columns."""
    x = np.random.default_rng(0).normal(size=(200, 4))
    total, named = x.sum(axis=1), [dict(zip("abcd", row, strict=True)) for row in x.tolist()]
    first = rota.register_model("sum", model=LinearRegression().fit(x, total), problem="regression", home=home)
    second = rota.register_model("sum", model=LinearRegression().fit(x, 10 * total), problem="regression", home=home)
    columns = rota.register_model("columns", model=LinearRegression().fit(x, total), input_example=named[:5], problem="regression", home=home)
    metadata, batch = SqlMetadata(home / "metadata.db"), Batch()
    routes = (Route("sum", 1, first.bundle, "stable", 100), Route("sum", 2, second.bundle, "canary", 0))
    for endpoint, its in (("sum", routes), ("columns", (Route("columns", 1, columns.bundle, "stable", 100),))):
        batch.put(Endpoint(endpoint, endpoint))
        batch.put(Release(endpoint, 1, its, "", 0))
    metadata.commit(batch)
    metadata.close()


@pytest.fixture(scope="module")
def seen(inference_client: Any, rota_up: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The transcript of both clients, by call."""
    folder = tmp_path_factory.mktemp("inference")
    home, out = folder / "home", folder / "seen.json"
    put_models(home)
    with rota_up(home) as url:
        inference_client(out, url, (home / "token").read_text().strip())
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_health_and_metadata_are_read_by_tritonclient(seen: dict[str, Any]) -> None:
    assert [seen[call] for call in ("is_server_live", "is_server_ready", "is_model_ready")] == [True] * 3
    assert seen["is_model_ready of a version"] == [True, True, False]
    assert seen["get_server_metadata"]["name"] == "rota"
    assert "binary_tensor_data" in seen["get_server_metadata"]["extensions"]
    metadata, config = seen["get_model_metadata"], seen["get_model_config"]
    assert (metadata["name"], metadata["versions"]) == ("sum", ["1", "2"])
    assert metadata["inputs"] == [{"name": "input-0", "datatype": "FP64", "shape": [-1, 4]}]
    assert [each["name"] for each in seen["get_model_metadata of columns"]["inputs"]] == list("abcd")
    assert (config["max_batch_size"], config["input"]) == (0, [{"name": "input-0", "data_type": "TYPE_FP64", "dims": [-1, 4]}])
    assert seen["get_model_repository_index"] == [
        {"name": name, "version": version, "state": "READY", "reason": ""} for name, version in (("columns", "1"), ("sum", "1"), ("sum", "2"))
    ]


def test_tensors_are_answered_in_every_form_that_tritonclient_sends(seen: dict[str, Any]) -> None:
    assert seen["infer in JSON"] == [NEAR, "r7", True]
    assert seen["infer in bytes"] == [NEAR, 16]
    for call in ("infer by columns", "infer packed with gzip", "infer packed with deflate", "async_infer"):
        assert seen[call] == NEAR, call
    assert seen["infer of a version"] == pytest.approx([100.0, 0.0], abs=1e-9)
    assert len(seen["infer of each datatype"]) == 11
    assert all(found == pytest.approx([10.0]) for found in seen["infer of each datatype"].values())


def test_an_endpoint_is_unloaded_and_loaded_and_counted(seen: dict[str, Any]) -> None:
    assert seen["unload_model, load_model"] == [False, [["UNAVAILABLE", True]], ["503", True], True, NEAR]
    assert seen["get_inference_statistics"] == [["1", True, True], ["2", True, True]]
    assert seen["get_inference_statistics of all"] == ["columns", "sum"]
    before, louder, after = seen["log settings"]
    assert (before["log_verbose_level"], louder["log_verbose_level"], after) == (0, 1, before)


@pytest.mark.parametrize(
    ("call", "status", "words"),
    [
        ("an unknown model", "404", "'nowhere' does not exist"),
        ("an unknown version", "404", "does not serve version '9'"),
        ("an unknown input", "422", "there is no input 'input-1'; the model takes ['input-0']"),
        ("an input twice", "422", "'input-0' 2 times"),
        ("an unknown output", "422", "there is no output 'nothing'; the model answers ['answer']"),
        ("another shape", "422", "has shape [2, 3]; its shape must be [rows, 4]"),
        ("80 MB", "413", "the body is larger than 16000000 bytes"),
        ("250,000 rows", "422", "at most 100000 rows"),
        ("without a token", "401", "a token is needed"),
        ("files to load", "422", "models are not loaded from a request"),
        ("gzip that is none", "400", "cannot be unpacked"),
        ("packed otherwise", "415", "gzip or deflate"),
    ],
)
def test_a_refusal_is_read_by_tritonclient(seen: dict[str, Any], call: str, status: str, words: str) -> None:
    assert seen[call]["raised"] == status
    assert words in seen[call]["error"]
    assert seen["after these"] == NEAR


def test_the_calls_of_kserve(seen: dict[str, Any]) -> None:
    assert [seen[f"kserve: {call}"] for call in ("live", "ready", "model ready", "an unknown model is not ready")] == [True, True, True, False]
    for call in ("infer in JSON", "infer in bytes"):
        assert seen[f"kserve: {call}"] == [NEAR, "r8", "sum"]
    assert "the same number of rows" in seen["kserve: an error"]["error"]
