"""Which engine serves a model: conversions answer what the model answers, refuse what it refuses, and a wrong one never serves."""

import logging
import subprocess
import sys
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from rota.backends.inline_compute import InlineCompute
from rota.backends.memory.blobs import MemoryBlobs
from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.runs import MemoryRuns
from rota.backends.memory.tables import MemoryTables
from rota.backends.memory.tracking import MemoryTracking
from rota.backends.models.skops_format import SkopsFormat
from rota.backends.storage.blob_directory import BlobDirectory
from rota.engines import installed_formats
from rota.errors import Interrupted, InvalidInput
from rota.manage.adoption import registration
from rota.manage.adoption.adopt import Adopter
from rota.manage.models import engine_gate, engine_guard, loading
from rota.manage.models.engine_choosing import EngineChooser
from rota.manage.models.engine_gate import EngineOrder
from rota.manage.models.engine_guard import GuardedPredictor
from rota.manage.repositories import Repositories
from rota.ports.models import ConvertibleFormat
from rota.records.model import EngineChoice, ModelBundle, ModelVersion
from rota.records.record import decode, encode
from rota.serve import embedded
from rota.testing.clock import FakeClock

RANDOM = np.random.default_rng(0)
ROWS = 1_200
TABLE = pd.DataFrame(
    {
        "a": RANDOM.normal(3, 50, ROWS),
        "b": RANDOM.normal(size=ROWS).round(2),
        "c": RANDOM.choice(["x", "y", "z"], ROWS),
        "d": RANDOM.choice(["u", "v"], ROWS),
    }
)
HOLES = TABLE.assign(a=TABLE.a.mask(RANDOM.random(ROWS) < 0.1), c=TABLE.c.mask(RANDOM.random(ROWS) < 0.1))
VALUE = (TABLE.a / 50 + TABLE.b**2 + (TABLE.c == "x")).to_numpy()
TWO = np.where(VALUE > 1.5, "yes", "no")
THREE = np.digitize(VALUE, [0.8, 1.8])
NUMBERS = ["a", "b"]
TEXTS = ["c", "d"]


def columns(model: Any, *, imputed: bool = False, encoder: Any = None) -> Pipeline:
    encoder = encoder or OneHotEncoder(handle_unknown="ignore")
    if imputed:
        parts = [make_pipeline(SimpleImputer(), StandardScaler()), make_pipeline(SimpleImputer(strategy="most_frequent"), encoder)]
    else:
        parts = [StandardScaler(), encoder]
    return Pipeline([("columns", ColumnTransformer([("numbers", parts[0], NUMBERS), ("texts", parts[1], TEXTS)])), ("model", model)])


CODES = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
CONVERTED: Mapping[str, tuple[Any, pd.DataFrame, np.ndarray]] = {
    "forest": (columns(RandomForestClassifier(30, max_depth=8, random_state=0)), TABLE, TWO),
    "forest of three classes": (columns(RandomForestClassifier(20, max_depth=8, random_state=0)), TABLE, THREE),
    "forest with imputed nulls": (columns(RandomForestClassifier(20, random_state=0), imputed=True), HOLES, TWO),
    "forest that learnt nulls": (RandomForestClassifier(20, random_state=0), HOLES[NUMBERS], TWO),
    "extra trees": (columns(ExtraTreesClassifier(20, random_state=0)), TABLE, TWO),
    "one tree": (columns(DecisionTreeClassifier(random_state=0)), TABLE, TWO),
    "one leaf": (columns(RandomForestClassifier(3, max_depth=1, min_samples_leaf=900, random_state=0)), TABLE, TWO),
    "regression forest": (columns(RandomForestRegressor(15, random_state=0)), TABLE, VALUE),
    "histogram boosting": (columns(HistGradientBoostingClassifier(max_iter=8)), TABLE, TWO),
    "histogram boosting with nulls": (HistGradientBoostingClassifier(max_iter=8), HOLES[NUMBERS], THREE),
    "histogram boosting of counts": (HistGradientBoostingRegressor(loss="poisson", max_iter=8), TABLE[NUMBERS], np.abs(VALUE)),
    "boosting": (columns(GradientBoostingClassifier(n_estimators=15)), TABLE, TWO),
    "boosting by exponential loss": (columns(GradientBoostingClassifier(loss="exponential", n_estimators=15)), TABLE, TWO),
    "boosting of three classes": (columns(GradientBoostingClassifier(n_estimators=10)), TABLE, THREE),
    "boosted values": (columns(GradientBoostingRegressor(n_estimators=15)), TABLE, VALUE),
    "logistic regression": (columns(LogisticRegression(), imputed=True), HOLES, TWO),
    "logistic regression of three classes": (columns(LogisticRegression()), TABLE, THREE),
    "ridge": (columns(Ridge(), encoder=OneHotEncoder(drop="first")), TABLE, VALUE),
    "counts": (columns(PoissonRegressor()), TABLE, np.abs(VALUE)),
    "codes": (
        columns(RandomForestClassifier(20, random_state=0), encoder=OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)),
        TABLE,
        TWO,
    ),
    "codes of nulls": (columns(HistGradientBoostingClassifier(max_iter=5), encoder=OrdinalEncoder()), HOLES.assign(a=TABLE.a), TWO),
    "two targets": (columns(RandomForestRegressor(10, random_state=0)), TABLE, np.column_stack([VALUE, -VALUE])),
}


def repositories(blobs: Any = None) -> Repositories:
    metadata = MemoryMetadata()
    return Repositories(
        metadata,
        MemoryRuns(metadata),
        blobs or MemoryBlobs(),
        MemoryTables(),
        MemoryOnline(),
        MemoryJournal(),
        FakeClock(10**15),
        MemoryTracking(metadata),
    )


@pytest.fixture(scope="module")
def adopter() -> Adopter:
    return adopting()


def adopting(compute: Any = None, blobs: Any = None) -> Adopter:
    chooser = EngineChooser(compute or InlineCompute(), "rota.wiring:choose_engine_in_child")
    return Adopter(repositories(blobs), installed_formats(), InlineCompute(), "rota.wiring:convert_in_child", engines=chooser)


def registered(adopter: Adopter, model: Any, table: pd.DataFrame, target: np.ndarray | None) -> ModelVersion:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        offer = registration.of_model(model.fit(table, target) if target is not None else model.fit(table), "m", adopter, input_example=table)
        return registration.register(adopter, "m", offer, actor="ana")


@pytest.mark.parametrize("name", CONVERTED)
def test_a_conversion_answers_and_refuses_what_the_model_does(name: str, tmp_path: Path, counted: None) -> None:
    model, table, target = CONVERTED[name]
    format_, formats = SkopsFormat(), installed_formats()
    data = format_.dumps(model.fit(table, target))
    slow, inputs = format_.loads(data), format_.describe(data)
    rows = matrix(table, inputs.texts)
    (tmp_path / "model").write_bytes(data)
    np.save(tmp_path / "rows.npy", rows)
    vocabularies = tuple(inputs.texts.get(place, ()) for place in range(inputs.width))
    found = engine_gate.choose(EngineOrder(str(tmp_path), "skops", inputs.problem or "regression", inputs.outputs, vocabularies), formats)
    assert found.engine == "onnxruntime", found.sentence
    assert found.compared >= 1_000
    assert found.difference < 1e-9
    assert found.guard is not None
    fast = GuardedPredictor.of(formats["converted"].loads((tmp_path / "converted").read_bytes()), found.guard)
    drawn = rows[np.random.default_rng(7).permutation(len(rows))[:200]] + np.array([0.125, 0.125, 0, 0])[: inputs.width]
    np.testing.assert_allclose(fast.predict(drawn[:150]), slow.predict(drawn[:150]), rtol=1e-9, atol=1e-12) if table is TABLE else None
    drawn[::2, 0] = np.nan
    drawn[::3, -1] = 9.0
    for row in drawn[:24]:
        expected, answer = (asked(each, row) for each in (slow, fast))
        assert (expected is None) == (answer is None), (row, expected, answer)
        if expected is not None:
            np.testing.assert_allclose(answer, expected, rtol=1e-9, atol=1e-12)


def test_the_shares_of_converted_trees_are_probabilities() -> None:
    """Doubles such as 1/49 add up to a little more than one; scikit-learn divides once."""
    random = np.random.default_rng(2)
    rows = random.normal(size=(600, 3))
    for classes in (np.arange(600) % 3, np.arange(600) % 2):
        sure = RandomForestClassifier(49, random_state=0).fit(rows + classes[:, None] * 9, classes)
        format_ = SkopsFormat()
        converted = installed_formats()["converted"].loads(format_.converted(format_.dumps(sure)).data)
        answers = converted.predict(rows + classes[:, None] * 9)
        assert 0 <= answers.min() < answers.max() == 1


def matrix(table: pd.DataFrame, texts: Mapping[int, tuple[str, ...]]) -> np.ndarray:
    """The rows as a transformation makes them: texts by their places, a null as NaN."""
    cells = [
        [np.nan if not isinstance(text, str) else texts[place].index(text) for text in table[name]] if place in texts else table[name]
        for place, name in enumerate(table.columns)
    ]
    return np.column_stack(cells).astype(float)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by which every conversion is the faster one."""
    monkeypatch.setattr(engine_gate, "_row_us", lambda model, row: 1.0 if isinstance(model, GuardedPredictor) else 9.0)


def asked(predictor: Any, row: np.ndarray) -> np.ndarray | None:
    try:
        return np.asarray(predictor.predict(row[None, :]))
    except InvalidInput:
        return None


BOOSTERS: Mapping[str, tuple[Any, np.ndarray]] = {
    "two classes": (xgboost.XGBClassifier(n_estimators=20, max_depth=4), (TWO == "yes").astype(int)),
    "three classes": (xgboost.XGBClassifier(n_estimators=10), THREE),
    "values": (xgboost.XGBRegressor(n_estimators=10), VALUE),
    "counts": (xgboost.XGBRegressor(objective="count:poisson", n_estimators=10), np.abs(VALUE)),
    "two targets": (xgboost.XGBRegressor(n_estimators=5), np.column_stack([VALUE, -VALUE])),
}


@pytest.mark.parametrize("name", BOOSTERS)
def test_boosters_are_converted_within_the_rounding_of_float32(name: str, tmp_path: Path, counted: None) -> None:
    model, target = BOOSTERS[name]
    format_, rows = installed_formats()["xgboost"], HOLES[NUMBERS].to_numpy()
    data = format_.dumps(model.fit(rows, target))
    inputs = format_.describe(data)
    (tmp_path / "model").write_bytes(data)
    np.save(tmp_path / "rows.npy", rows)
    found = engine_gate.choose(EngineOrder(str(tmp_path), "xgboost", inputs.problem or "regression", inputs.outputs), installed_formats())
    assert found.engine == "onnxruntime", found.sentence
    assert found.difference <= 1e-5
    fast = installed_formats()["converted"].loads((tmp_path / "converted").read_bytes())
    np.testing.assert_allclose(fast.predict(rows), format_.loads(data).predict(rows), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (xgboost.XGBRegressor(booster="dart", rate_drop=0.5, n_estimators=3, verbosity=0), "a booster dart"),
        (xgboost.XGBRegressor(missing=0.0, n_estimators=3), "the number that it takes for a missing value"),
    ],
    ids=["dart", "zero is missing"],
)
def test_boosters_that_are_not_converted_say_why(model: Any, why: str) -> None:
    format_ = installed_formats()["xgboost"]
    assert isinstance(format_, ConvertibleFormat)
    with pytest.raises(InvalidInput, match=why):
        format_.converted(format_.dumps(model.fit(TABLE[NUMBERS].to_numpy(), VALUE)))


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (IsolationForest(n_estimators=10, random_state=0), "anomalies"),
        (make_pipeline(FunctionTransformer(np.log1p), Ridge()), "skl2onnx cannot convert it"),
    ],
    ids=["scores of anomalies", "a function"],
)
def test_what_cannot_be_converted_is_served_as_it_is_and_says_why(adopter: Adopter, model: Any, why: str) -> None:
    table = TABLE[NUMBERS].abs()
    version = registered(adopter, model, table, None if isinstance(model, IsolationForest) else VALUE)
    assert version.bundle or "safety" in version.unservable
    if version.bundle:
        assert version.engine is not None
        assert version.engine.engine == "scikit-learn"
        assert why in version.engine.why


class WrongFormat(SkopsFormat):
    """Converts into another model of the same columns."""

    def __init__(self, other: Any) -> None:
        self._other = other

    def converted(self, data: bytes) -> Any:
        del data
        return SkopsFormat().converted(SkopsFormat().dumps(self._other))


def gate(folder: Path, model: Any, format_: SkopsFormat, rows: np.ndarray, problem: Any = "classification") -> EngineChoice:
    (folder / "model").write_bytes(SkopsFormat().dumps(model))
    np.save(folder / "rows.npy", rows)
    formats = {**installed_formats(), "skops": format_}
    return engine_gate.choose(EngineOrder(str(folder), "skops", problem), formats)


def test_a_conversion_that_answers_otherwise_is_refused_with_a_row(tmp_path: Path) -> None:
    rows = TABLE[NUMBERS].to_numpy()
    own, other = (RandomForestClassifier(10, max_depth=5, random_state=seed).fit(rows, TWO) for seed in (0, 1))
    found = gate(tmp_path, own, WrongFormat(other), rows)
    assert found.engine == "scikit-learn"
    assert "rows are answered differently, for example [" in found.why
    assert not (tmp_path / "converted").exists()


def test_a_conversion_wrong_at_one_threshold_alone_is_refused(tmp_path: Path) -> None:
    """The real rows lie on no threshold; the rows that are made beside them do."""
    rows = TABLE[["a"]].to_numpy()
    own = DecisionTreeClassifier(max_depth=1, random_state=0).fit(rows, TWO)
    other = DecisionTreeClassifier(max_depth=1, random_state=0).fit(rows, TWO)
    state = other.tree_.__getstate__()
    state["nodes"]["threshold"][0] = np.nextafter(np.float32(state["nodes"]["threshold"][0]), np.float32(1e9))
    other.tree_.__setstate__(state)
    assert (own.predict(rows) == other.predict(rows)).all()
    found = gate(tmp_path, own, WrongFormat(other), rows)
    assert "rows are answered differently" in found.why


def test_a_class_that_flips_within_the_tolerance_is_refused() -> None:
    own, found = np.array([0.5, 0.2]), np.array([0.5 - 1e-7, 0.2])
    with pytest.raises(InvalidInput, match="1 of 2 rows are given another class"):
        engine_gate._check(own, found, np.zeros((2, 1)), EngineOrder("", "skops", "classification"))
    assert engine_gate._check(own, found, np.zeros((2, 1)), EngineOrder("", "skops", "regression")) < 1e-6


def test_a_conversion_that_is_not_faster_does_not_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_gate, "_row_us", lambda model, row: 50.0)
    rows = TABLE[NUMBERS].to_numpy()
    found = gate(tmp_path, Ridge().fit(rows, VALUE), SkopsFormat(), rows, "regression")
    assert found.why == "not converted: converted, a row takes 50 us, and 50 us as it is"


def test_few_rows_of_an_example_are_filled_up_to_a_thousand(tmp_path: Path, counted: None) -> None:
    rows = TABLE[NUMBERS].to_numpy()
    found = gate(tmp_path, LogisticRegression().fit(rows, TWO), SkopsFormat(), rows[:5])
    assert (found.engine, found.sampled) == ("onnxruntime", 5)
    assert found.compared >= 1_000


class Dying(InlineCompute):
    def run(self, function: str, arguments: Mapping[str, Any], **options: Any) -> Any:
        del function, arguments, options
        raise Interrupted("it died", cause="died")


def test_a_conversion_that_kills_its_process_is_a_reason_and_no_failed_registration() -> None:
    version = registered(adopting(Dying()), Ridge(), TABLE[NUMBERS], VALUE)
    assert version.bundle
    assert version.engine is not None
    assert version.engine.sentence == "scikit-learn: not converted: the process that converts ended (it died)"


def test_a_conversion_that_cannot_serve_here_leaves_the_model_to_its_library(adopter: Adopter, counted: None, caplog: Any) -> None:
    version = registered(adopter, Ridge(), TABLE[NUMBERS], VALUE)
    without = {name: each for name, each in adopter.formats.items() if name != "converted"}
    with caplog.at_level(logging.WARNING):
        loaded = loading.load(adopter.repositories.blobs, without, version.bundle)
    assert loaded.engine.startswith("scikit-learn, because its conversion cannot serve here: ")
    assert "is served by scikit-learn" in caplog.text
    blobs = adopter.repositories.blobs
    bundle = decode(blobs.get(version.bundle), ModelBundle)
    assert bundle.engine is not None
    other = blobs.put(encode(msgspec.structs.replace(bundle, golden_answers=tuple(99.0 for _ in bundle.golden_answers))))
    with pytest.raises(Exception, match="does not answer its golden rows"):
        loading.load(blobs, adopter.formats, other)


def test_an_exported_model_is_the_authors_and_runs_without_its_conversion(adopter: Adopter, counted: None, tmp_path: Path) -> None:
    version = registered(adopter, Ridge(), TABLE[NUMBERS], VALUE)
    assert version.engine is not None
    assert version.engine.blob
    embedded.save(tmp_path / "m.rota", adopter.repositories.blobs, version.bundle)
    opened = embedded.open_file(tmp_path / "m.rota", adopter.formats)
    assert opened.model.engine == "scikit-learn"
    np.testing.assert_allclose(opened.predict(TABLE[NUMBERS]), Ridge().fit(TABLE[NUMBERS], VALUE).predict(TABLE[NUMBERS]))


def test_a_bundle_of_before_engines_were_chosen_is_served(adopter: Adopter) -> None:
    version = registered(replace(adopter, engines=None), Ridge(), TABLE[NUMBERS], VALUE)
    assert version.engine is None
    plain = msgspec.json.decode(adopter.repositories.blobs.get(version.bundle))
    del plain["engine"]
    loaded = loading.load(adopter.repositories.blobs, adopter.formats, adopter.repositories.blobs.put(encode(plain)))
    assert loaded.engine == "scikit-learn"


@pytest.mark.filterwarnings("ignore:overflow")
def test_nulls_and_numbers_are_refused_in_the_words_of_the_model() -> None:
    rows = TABLE[NUMBERS].to_numpy()
    model = SkopsFormat().loads(SkopsFormat().dumps(RandomForestRegressor(3, random_state=0).fit(rows, VALUE)))
    guard = engine_guard.learnt(model, rows[0], {})
    assert guard.nulls == (True, True)
    assert guard.high == (engine_guard.NARROW, engine_guard.NARROW)
    linear = SkopsFormat().loads(SkopsFormat().dumps(Ridge().fit(rows, VALUE)))
    guard = engine_guard.learnt(linear, rows[0], {})
    assert guard.nulls == (False, False)
    guarded = GuardedPredictor.of(linear, guard)
    with pytest.raises(InvalidInput, match="contains NaN"):
        guarded.predict(np.array([[1.0, np.nan]]))
    with pytest.raises(InvalidInput, match="infinity"):
        guarded.predict(np.array([[1.0, np.inf]]))
    assert guarded.predict(np.array([[1.0, 2.0]])).shape == (1,)


SERVING = """
import sys
from pathlib import Path
from rota.backends.storage.blob_directory import BlobDirectory
from rota.engines import installed_formats
from rota.manage.models import loading
model = loading.load(BlobDirectory(Path({folder!r})), installed_formats(), {bundle!r})
print(model.engine, model.predictor.predict(model.transformer.matrix([{{c.name: 1.0 for c in model.bundle.transformation.columns}}])).shape)
print(sorted(name for name in ("sklearn", "skops", "scipy", "onnx", "pandas") if name in sys.modules))
"""


def test_a_process_that_serves_a_conversion_never_imports_scikit_learn(tmp_path: Path, counted: None) -> None:
    adopter = adopting(blobs=BlobDirectory(tmp_path))
    version = registered(adopter, RandomForestRegressor(5, random_state=0), TABLE[NUMBERS], VALUE)
    code = SERVING.format(folder=str(tmp_path), bundle=version.bundle).replace(
        f"BlobDirectory({str(tmp_path)!r})", f"BlobDirectory(Path({str(tmp_path)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", "from pathlib import Path\n" + code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["onnxruntime (1,)", "[]"], done.stderr
