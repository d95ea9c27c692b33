"""Models trained on frames are served as their authors ask them: texts, words, categories, nulls; and weights, groups, validation of a training."""

import importlib.util
import pickle
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.utils.class_weight import compute_class_weight

import rota
from rota.errors import InvalidInput
from rota.manage.models import loading
from rota.operationalize import plan_checks
from rota.ports.metadata import Batch
from rota.records.model import ModelBundle, ModelVersion
from rota.records.record import decode, encode
from rota.records.run import Deployed, TrainingPipeline
from rota.records.time import DAY_US, HOUR_US
from rota.train import training_rows

PROJECT = """
import pickle

import lightgbm
import numpy as np
import rota
import xgboost
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder

tickets = rota.Source(
    "tickets",
    fields={
        "id": "string", "asked_at": "timestamp", "known_at": "timestamp", "plan": "string", "size": "int", "paid": "bool", "line": "string",
        "amount": "float", "since": "timestamp", "answer": "float", "importance": "float", "query": "string",
    },
    timestamp_field="known_at",
    id_field="id",
)
inputs = {"plan": "string", "size": "int", "paid": "bool", "line": "string", "amount": "float", "since": "timestamp"}
request = rota.OnDemandFeatureView("r", inputs=inputs, features={name: rota.sql(name) for name in inputs})
features = rota.FeatureService("tickets", [request])
OTHERS = ["r__size", "r__amount"]


def kept(model, out):
    with open(out, "wb") as file:
        pickle.dump(model, file)
    return model


def encoded(encoder, last):
    steps = [("texts", encoder, ["r__plan"]), ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), OTHERS)]
    return make_pipeline(ColumnTransformer(steps), last)


@rota.step
def one_hot(data: rota.TrainingData, out: str = ""):
    return kept(encoded(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()).fit(data.train.to_pandas(), data.train.y), out)


@rota.step
def ordinal_of_polars(data: rota.TrainingData, out: str = ""):
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return kept(encoded(encoder, LogisticRegression()).fit(data.train.frame, data.train.y), out)


@rota.step
def target_encoder(data: rota.TrainingData, out: str = ""):
    frame = data.train.to_pandas()[["r__amount", "r__plan", "r__size"]]
    return kept(encoded(TargetEncoder(), LogisticRegression()).fit(frame, data.train.y), out)


@rota.step
def words(data: rota.TrainingData, out: str = ""):
    steps = [("words", TfidfVectorizer(), "r__line"), ("texts", OneHotEncoder(handle_unknown="ignore"), ["r__plan"])]
    return kept(make_pipeline(ColumnTransformer(steps), LogisticRegression()).fit(data.train.to_pandas(), data.train.y), out)


@rota.step
def lightgbm_categories(data: rota.TrainingData, out: str = ""):
    frame = data.train.to_pandas()[["r__amount", "r__plan"]].astype({"r__plan": "category"})
    model = lightgbm.LGBMClassifier(n_estimators=8, min_child_samples=5, n_jobs=1, verbose=-1)
    return kept(model.fit(frame, data.train.y), out)


@rota.step
def xgboost_categories(data: rota.TrainingData, out: str = ""):
    frame = data.train.to_pandas()[["r__plan", "r__size"]].astype({"r__plan": "category"})
    return kept(xgboost.XGBClassifier(n_estimators=8, n_jobs=1, enable_categorical=True).fit(frame, data.train.y), out)


@rota.step
def with_the_label(data: rota.TrainingData, out: str = ""):
    return LogisticRegression().fit(data.frame.select("r__size", data.target), data.train.y)


@rota.step
def one_column_of_words(data: rota.TrainingData, out: str = ""):
    return make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(data.train.frame["r__line"].to_numpy(), data.train.y)


@rota.step
def two_columns(data: rota.TrainingData, out: str = ""):
    return LogisticRegression().fit(np.nan_to_num(data.train.x[:, :2]), data.train.y)


@rota.step
def weighted(data: rota.TrainingData, out: str = ""):
    kept((data.train.weight, data.train.group, data.train.group_sizes, data.class_weights, data.train.y), out)
    return HistGradientBoostingClassifier(max_iter=2).fit(data.train.x, data.train.y, sample_weight=data.train.weight)


@rota.step
def stopped_early(data: rota.TrainingData, out: str = ""):
    held = data.validation
    model = lightgbm.LGBMClassifier(n_estimators=400, learning_rate=0.5, min_child_samples=2, n_jobs=1, verbose=-1)
    stop = lightgbm.early_stopping(3, verbose=False)
    model.fit(data.train.x, data.train.y, eval_X=held.x, eval_y=held.y, callbacks=[stop])
    moments = {"train": data.train.frame["r__since"].max(), "held": held.frame["r__since"].min()}
    kept({**moments, "rows": (len(data.train), len(held)), "rounds": model.best_iteration_}, out)
    return model


@rota.step
def seen(data: rota.TrainingData, out: str = ""):
    told = {
        "schema": {name: str(kind) for name, kind in data.frame.schema.items()},
        "nulls": dict(zip(data.features, data.train.frame.null_count().row(0))),
        "truth": data.frame["label"].to_list() == data.train.y.tolist(),
        "target": data.target, "columns": data.columns, "categorical": data.categorical,
        "pandas": {name: str(kind) for name, kind in data.train.to_pandas().dtypes.items()}, "shape": data.train.x.shape,
        "others": (data.validation, data.train.weight, data.train.group, data.train.group_sizes),
    }
    kept(told, out)
    return HistGradientBoostingClassifier(max_iter=2).fit(data.train.x, data.train.y)


pipeline = rota.TrainingPipeline(
    "tickets",
    train=one_hot,
    dataset=rota.DatasetDefinition(features, labels=tickets, label=rota.sql("answer"), timestamp="asked_at", window="9d", split=rota.TimeSplit("1d")),
    gates=[rota.at_most("log_loss", 9.0)],
)
"""
LINES = ("it works", "never again", "slow, and then nothing", "Thank you", "where is my parcel", "été 42", "")
PLANS = ("basic", "gold", "pro", None)
HOURS = 24 * 8


@pytest.fixture
def tickets(world: Any, tmp_path: Path) -> Any:
    file = tmp_path / "tickets" / "project.py"
    file.parent.mkdir()
    file.write_text(PROJECT)
    world.platform.projects.apply(file)
    random, begin, rows = np.random.default_rng(3), world.clock.now_us(), []
    for place in range(HOURS):
        at, plan, line = begin + place * HOUR_US, PLANS[random.integers(4)], LINES[random.integers(len(LINES))]
        rows.append(
            {
                "id": f"t{place}", "asked_at": at, "known_at": at + 1, "plan": plan, "size": int(random.integers(5)), "line": line,
                "paid": None if place % 7 == 0 else bool(place % 2), "amount": None if place % 5 == 0 else float(random.normal()), "since": at,
                "answer": float((plan == "gold") ^ ("n" in line) ^ (place % 9 == 0)), "importance": float(place % 3), "query": f"q{place // 6 % 20}",
            }
        )  # fmt: skip
    world.clock.advance(begin + HOURS * HOUR_US + DAY_US)
    world.platform.features.push("tickets", rows)
    return world


def redeploy(world: Any, **changes: Any) -> None:
    before = world.metadata.get(Deployed, "tickets", "prod")
    batch = Batch()
    batch.put(msgspec.structs.replace(before, definition=msgspec.structs.replace(before.definition, **changes)))
    world.metadata.commit(batch)


def train(world: Any, out: Path, function: str, **changes: Any) -> Any:
    before = world.metadata.get(Deployed, "tickets", "prod").definition.train
    redeploy(world, train=f"{before.partition(':')[0]}:{function}", parameters={"out": str(out)}, **changes)
    world.clock.advance(world.clock.now_us() + 1)
    run_id = world.platform.pipelines.start("tickets")
    world.settle()
    return world.platform.repositories.runs.get(run_id)


def versions(world: Any) -> list[ModelVersion]:
    found: list[ModelVersion] = world.metadata.find(ModelVersion, {"model": "tickets"})
    return found


def loaded(world: Any) -> loading.LoadedModel:
    (version,) = versions(world)
    return loading.load(world.platform.repositories.blobs, world.platform.formats, version.bundle)


ASKED = [
    {"r__plan": plan, "r__size": size, "r__line": line, "r__amount": amount, "r__paid": None, "r__since": None}
    for plan in (*PLANS, "platinum")
    for size, line, amount in ((1, "never again", 0.5), (3, "words that nobody wrote", None), (0, "", -2.0))
]


def asked_as_a_frame(model: Any) -> pd.DataFrame:
    names = list(model.feature_names_in_)
    return pd.DataFrame({name: pd.Series([row[name] for row in ASKED], dtype=object if name in ("r__plan", "r__line") else float) for name in names})


@pytest.mark.parametrize("function", ["one_hot", "words"])
def test_a_model_that_was_trained_on_a_frame_is_served_as_its_author_asks_it(tickets: Any, tmp_path: Path, function: str) -> None:
    served_as_the_author_asks(tickets, tmp_path / "model", function)


@pytest.mark.slow
@pytest.mark.parametrize("function", ["ordinal_of_polars", "target_encoder", "lightgbm_categories", "xgboost_categories"])
def test_other_encoders_and_frameworks_on_frames_are_served_as_their_authors_ask_them(tickets: Any, tmp_path: Path, function: str) -> None:
    served_as_the_author_asks(tickets, tmp_path / "model", function)


def served_as_the_author_asks(world: Any, out: Path, function: str) -> None:
    run = train(world, out, function)
    assert run.status == "succeeded", run.error
    model, author = loaded(world), pickle.loads(out.read_bytes())
    frame = asked_as_a_frame(author)
    if "categories" in function:
        known = sorted(plan for plan in PLANS if plan)
        frame["r__plan"] = pd.Categorical(frame["r__plan"].where(frame["r__plan"].isin(known)), categories=known)
    answers = model.predictor.predict(model.transformer.matrix(ASKED))
    np.testing.assert_allclose(answers, author.predict_proba(frame)[:, 1], atol=2e-6)
    assert len(set(answers.round(6))) > 5
    (version,) = versions(world)
    assert version.parity.compared > 50
    assert version.parity.left_out == ""


def test_the_frame_holds_texts_nulls_bools_and_moments_as_they_are_and_the_label(tickets: Any, tmp_path: Path) -> None:
    run = train(tickets, tmp_path / "told", "seen")
    assert run.status == "succeeded", run.error
    told = pickle.loads((tmp_path / "told").read_bytes())
    types = {
        "r__plan": "String", "r__size": "Int64", "r__paid": "Boolean", "r__line": "String", "r__amount": "Float64",
        "r__since": "Datetime(time_unit='us', time_zone='UTC')",
    }  # fmt: skip
    assert told["schema"] == types | {"label": "Float64"}
    assert (told["target"], told["columns"], told["categorical"], told["truth"]) == ("label", tuple(sorted(types)), (1, 3), True)
    assert {name: count > 10 for name, count in told["nulls"].items()} == {name: name in ("r__plan", "r__paid", "r__amount") for name in types}
    kinds = {name: kind.partition("[")[0] for name, kind in told["pandas"].items()}
    assert kinds == dict(zip(types, ("object", "int64", "object", "object", "float64", "datetime64"), strict=True))
    assert told["others"] == (None, None, None, [])


def test_weights_and_groups_reach_the_training_and_change_model_and_metrics(tickets: Any, tmp_path: Path) -> None:
    plain = train(tickets, tmp_path / "plain", "weighted")
    assert plain.status == "succeeded", plain.error
    run = train(tickets, tmp_path / "told", "weighted", weight=rota.sql("importance"), group="query")
    assert run.status == "succeeded", run.error
    weight, group, sizes, balanced, truth = pickle.loads((tmp_path / "told").read_bytes())
    assert set(weight) == {0.0, 1.0, 2.0}
    assert [name for name, size in zip(dict.fromkeys(group), sizes, strict=True) for _ in range(size)] == group.tolist()
    expected = compute_class_weight("balanced", classes=np.array([0.0, 1.0]), y=truth, sample_weight=weight)
    np.testing.assert_allclose([balanced[0.0], balanced[1.0]], expected)
    one, two = (decode(tickets.platform.repositories.blobs.get(each.bundle), ModelBundle) for each in versions(tickets))
    assert one.golden_answers != two.golden_answers
    assert versions(tickets)[0].metrics != versions(tickets)[1].metrics


@pytest.mark.slow
def test_weights_count_in_the_evaluation_of_a_model_that_was_trained_without_them(tickets: Any, tmp_path: Path) -> None:
    assert train(tickets, tmp_path / "model", "one_hot").status == "succeeded"
    assert train(tickets, tmp_path / "model", "one_hot", weight=rota.sql("importance")).status == "succeeded"
    plain, weighted = versions(tickets)
    one, two = (decode(tickets.platform.repositories.blobs.get(each.bundle), ModelBundle) for each in (plain, weighted))
    assert one.golden_answers == two.golden_answers
    assert plain.metrics["log_loss"] != weighted.metrics["log_loss"]


def test_rows_held_out_by_time_stop_a_training_early(tickets: Any, tmp_path: Path) -> None:
    run = train(tickets, tmp_path / "told", "stopped_early", validation=0.2)
    assert run.status == "succeeded", run.error
    told = pickle.loads((tmp_path / "told").read_bytes())
    assert told["train"] < told["held"]
    assert told["rows"][1] == round(sum(told["rows"]) * 0.2)
    assert told["rounds"] < 100
    assert train(tickets, tmp_path / "told", "stopped_early", validation="2d").status == "succeeded"
    again = pickle.loads((tmp_path / "told").read_bytes())
    assert again["rows"] == (sum(told["rows"]) - 48, 48)
    run = train(tickets, tmp_path / "told", "stopped_early", validation="30d")
    assert "validation = '30d' holds out" in run.error
    run = train(tickets, tmp_path / "told", "weighted", validation=None, weight=rota.sql("importance - 1"))
    assert "weight 'importance - 1': " in run.error
    assert "have one that is null, negative or infinite" in run.error


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        ("with_the_label", r"fitted on the columns \['label'\], which are no features"),
        ("two_columns", "it reads 2 columns, and the pipeline has the 6 features"),
        ("one_column_of_words", "it reads 1 columns, and the pipeline has the 6 features"),
    ],
)
def test_a_model_of_columns_that_are_not_there_when_it_is_asked_is_refused(tickets: Any, tmp_path: Path, function: str, sentence: str) -> None:
    run = train(tickets, tmp_path / "told", function)
    assert run.status == "failed"
    assert re.search(sentence, run.error)


def test_a_definition_says_what_is_wrong_with_weight_group_and_validation(tickets: Any) -> None:
    definition = tickets.metadata.get(Deployed, "tickets", "prod").definition
    assert decode(encode(definition), TrainingPipeline) == definition
    before = {name: value for name, value in msgspec.json.decode(encode(definition)).items() if name not in ("weight", "group", "validation")}
    assert decode(msgspec.json.encode(before), TrainingPipeline) == definition
    assert TrainingPipeline("p", "m:f", definition.dataset, weight="importance").weight == rota.sql("importance")
    for change, sentence in (
        ({"group": "nobody"}, "group 'nobody' is no field"),
        ({"validation": 1.5}, "validation = 1.5; give a share"),
        ({"validation": "0s"}, "validation = '0s'"),
        ({"validation": True}, "validation = True"),
    ):
        with pytest.raises(InvalidInput, match=sentence):
            TrainingPipeline("p", "m:f", definition.dataset, **change)
    for text, sentence in (("plan", "is a text; a weight is a number"), ("nobody", "nobody")):
        faults = plan_checks._weight(msgspec.structs.replace(definition, weight=rota.sql(text)))
        assert sentence in " ".join(faults)


@pytest.mark.slow
@pytest.mark.parametrize("dies_at", range(1, 9))
def test_a_training_on_frames_that_is_killed_goes_on_and_registers_once(
    tickets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    runs = tickets.platform.repositories.runs
    count, record, now = [0], runs.record, [0.0]
    monkeypatch.setattr(runs, "_monotonic", lambda: now[0])

    def dying(*step: Any) -> None:
        count[0] += 1
        if count[0] == dies_at:
            raise KeyboardInterrupt
        record(*step)

    monkeypatch.setattr(runs, "record", dying)
    with pytest.raises(KeyboardInterrupt):
        train(tickets, tmp_path / "told", "stopped_early", validation=0.2, weight=rota.sql("importance + 1"))
    now[0] += 60
    tickets.settle()
    assert [version.number for version in versions(tickets)] == [1]
    assert pickle.loads((tmp_path / "told").read_bytes())["rows"][1] > 10


def test_groups_lie_together_and_on_one_side_of_the_validation(tickets: Any) -> None:
    definition = msgspec.structs.replace(tickets.metadata.get(Deployed, "tickets", "prod").definition, group="query", validation=0.3)
    rows = pl.DataFrame({"at_us": [1, 2, 3, 4, 5, 6], "query": ["a", "b", "a", "c", "b", "c"], "row": range(6)})
    parts = training_rows.parts(definition, rows)
    assert parts.train["query"].to_list() == ["a", "a", "b", "b"]
    assert parts.validation["query"].to_list() == ["c", "c"]
    with pytest.raises(InvalidInput, match="1 of 6 training rows have no 'query'"):
        training_rows.parts(definition, rows.with_columns(pl.when(pl.col("row") > 0).then("query").alias("query")))


def test_rows_of_a_matrix_have_a_frame_and_rows_of_a_frame_a_matrix() -> None:
    data = rota.TrainingData(rota.Rows(np.array([[1.0, np.nan]]), np.array(["late"])), ("a", "b"), ())
    assert data.frame.to_dicts() == [{"a": 1.0, "b": None, "label": "late"}]
    several = rota.TrainingData(rota.Rows(frame=pl.DataFrame({"t": ["u"]}), y=np.array([[1.0, 2.0]])), target=("h", "w"))
    assert several.frame.to_dicts() == [{"t": "u", "h": 1.0, "w": 2.0}]
    assert (several.columns, several.categorical, several.train.x.tolist()) == (("t",), (0,), [[0.0]])
    with pytest.raises(InvalidInput, match="neither was given"):
        rota.Rows()


@pytest.mark.parametrize("name", ["pandas", "pyarrow", "torch"])
def test_a_conversion_names_the_package_that_it_needs(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    rows = rota.Rows(np.ones((2, 2)), np.ones(2))
    convert = {"pandas": rows.to_pandas, "pyarrow": rows.to_arrow, "torch": rows.to_torch}[name]
    with pytest.raises(InvalidInput, match=f"needs {name}, which is not installed here"):
        convert()
