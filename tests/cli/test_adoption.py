"""Models from elsewhere by commands: registered from a file, allowed, adopted, given a baseline, served, watched."""

import json
import operator
import pickle
import stat
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import rota
from rota.engines import signing_key
from rota.errors import InvalidInput, Refused
from rota.manage.datasets import schemas
from rota.records.model import ModelBundle
from rota.records.record import decode
from rota.settings import Settings

RECORDED = Path(__file__).resolve().parents[1] / "fixtures" / "mlflow"


def asked(rows: int = 300) -> pl.DataFrame:
    random = np.random.default_rng(1)
    return pl.DataFrame(
        {"kind of day": random.choice(["sun", "rain"], rows), "temp": random.normal(20, 8, rows), "guests": random.integers(0, 50, rows)}
    )


def printed(home, *words):
    result = home.rota(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_directory_of_mlflow_becomes_an_endpoint_with_a_monitor(empty, tmp_path):
    version = printed(empty, "models", "register", "tickets", "--file", str(RECORDED / "lightgbm3"))
    assert (version["model"], version["number"], version["format"], version.get("unservable", "")) == ("tickets", 1, "lightgbm", "")
    asked().write_parquet(tmp_path / "reference.parquet")
    schema = printed(empty, "models", "baseline", "tickets@1", "--data", str(tmp_path / "reference.parquet"))
    assert {column["name"] for column in schema["columns"]} == {"request__kind_of_day", "request__temp", "request__guests"}
    assert printed(empty, "endpoints", "create", "tickets", "--model", "tickets", "--steps", "10,50")["rollout"]["steps"] == [10, 50]
    assert printed(empty, "monitor", "create", "tickets", "--schedule", "0 2 * * *")["schedule"] == "0 2 * * *"
    log = asked(40).with_columns(at=pl.lit("2026-01-01T10:00:00Z"), answer=pl.lit(0.25), label=pl.lit(1.0))
    log.write_csv(tmp_path / "log.csv")
    taken = printed(empty, "monitor", "import", "tickets", "--log", str(tmp_path / "log.csv"))
    assert taken == {"endpoint": "tickets", "predictions": 40, "labels": 40}
    with empty.open() as platform:
        assert schemas.active(platform.repositories.metadata, "tickets").dataset == "tickets@1"
        actions = [entry.action for entry in platform.repositories.metadata.audit()]
    assert actions == ["version.register", "version.adopt", "schema.add", "model.baseline", "endpoint.add", "monitor.add"]


def test_a_pickle_is_served_after_somebody_allowed_it_and_no_longer_when_it_was_withdrawn(empty, tmp_path):
    matrix = np.random.default_rng(0).normal(size=(50, 2))
    (tmp_path / "model.pkl").write_bytes(
        pickle.dumps(make_pipeline(FunctionTransformer(operator.neg), LogisticRegression()).fit(matrix, matrix[:, 0] > 0))
    )
    words = [
        "models",
        "register",
        "churn",
        "--file",
        str(tmp_path / "model.pkl"),
        "--signature",
        '[{"name": "a", "type": "double"}, {"name": "b", "type": "double"}]',
    ]
    assert "rota models allow-pickle churn" in printed(empty, *words)["unservable"]
    printed(empty, "models", "allow-pickle", "churn", "--reason", "our own")
    assert printed(empty, "models", "adopt", "churn@1")["format"] == "pickle"
    key = empty.path / "signing.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    printed(empty, "models", "forbid-pickle", "churn", "--reason", "no more")
    refused = empty.rota("models", "forbid-pickle", "churn", "--reason", "again")
    assert (refused.exit_code, "nothing to withdraw" in refused.stderr) == (1, True)


def test_the_signing_key_is_made_once_and_kept_from_others(empty):
    settings = Settings(home=empty.path)
    key = signing_key(settings)
    assert key == signing_key(settings)
    assert len(key) == 64
    assert signing_key(Settings(home=empty.path, signing_key="k" * 32)) == b"k" * 32
    assert "k" * 32 not in repr(Settings(home=empty.path, signing_key="k" * 32))
    with pytest.raises(InvalidInput, match="at least 32"):
        signing_key(Settings(home=empty.path, signing_key="short"))
    (empty.path / "signing.key").chmod(0o644)
    with pytest.raises(Refused, match="chmod 600"):
        signing_key(settings)


def test_a_program_registers_the_model_that_it_fitted(empty):
    matrix = np.random.default_rng(0).normal(size=(50, 2))
    model = LogisticRegression().fit(matrix, matrix[:, 0] > 0)
    version = rota.register_model(
        "churn", model=model, input_example=[{"a": 0.5, "b": 1.0}], home=empty.path, description="by hand", tags={"team": "ops"}
    )
    assert (version.id, version.format, version.description, version.tags) == ("churn@1", "skops", "by hand", {"team": "ops"})
    with empty.open() as platform:
        bundle = decode(platform.repositories.blobs.get(version.bundle), ModelBundle)
    assert bundle.features.request_fields == {"a": "float", "b": "float"}
    np.testing.assert_allclose(bundle.golden_answers, model.predict_proba([[0.5, 1.0]])[:, 1], atol=1e-12)
    with pytest.raises(InvalidInput, match="a run or a fitted model"):
        rota.register_model("churn", home=empty.path)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("models register m --file nix.onnx", "no file or directory"),
        ("models adopt delay@9", "no version 9"),
        ("models allow-pickle m --reason ", "needs a reason"),
        ("models baseline delay@1 --data nix.parquet", "no file nix.parquet"),
        ("endpoints create x --model nix", "nix"),
        ("endpoints create x --model delay --steps five", "5,25,50"),
        ("endpoints create delay --model delay --steps 7", "there is an endpoint 'delay'"),
        ("monitor create nix", "rota endpoints list"),
        ("monitor create delay --schedule never", "never"),
        ("monitor import nix --log nix.parquet", "rota endpoints create nix"),
    ],
)
def test_an_error_says_the_way_on(home, words, hint):
    result = home.rota(*words.split(" "))
    assert (result.exit_code, result.stdout) == (1, "")
    assert hint in result.stderr


def test_a_wrong_use_exits_with_2(home):
    assert home.rota("models", "register", "m").exit_code == 2
    assert home.rota("models", "register", "m", "--file", "a.onnx", "--run", "r").exit_code == 2
    assert home.rota("monitor", "import", "delay").exit_code == 2
