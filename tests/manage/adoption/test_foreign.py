"""Models from elsewhere: what an MLflow directory says, what becomes of it, and what is refused with the reason on the version."""

import json
import operator
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from rota.backends.inline_compute import InlineCompute
from rota.backends.local_processes import LocalProcesses
from rota.backends.memory.blobs import MemoryBlobs
from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.runs import MemoryRuns
from rota.backends.memory.tables import MemoryTables
from rota.backends.memory.tracking import MemoryTracking
from rota.engines import installed_formats
from rota.errors import Interrupted, InvalidInput, NotFound, Refused
from rota.manage.adoption import mlmodel
from rota.manage.adoption import registration as foreign_registration
from rota.manage.adoption.adopt import Adopter
from rota.manage.adoption.registration import Offer
from rota.manage.features.online.reader import OnlineFeatures
from rota.manage.models import loading, model_versions, pickle_signing
from rota.manage.models.pickle_signing import PlatformSeals
from rota.manage.repositories import Repositories
from rota.records.model import ModelBundle, ModelVersion
from rota.records.record import decode
from rota.testing import FakeClock

CONVERT = "rota.wiring:convert_in_child"
RECORDED = Path(__file__).resolve().parents[2] / "fixtures" / "mlflow"
NUMBERS = '[{"name": "temp", "type": "double"}, {"name": "guests", "type": "long"}]'


@dataclass
class Registry:
    """A platform's registry with everything that adopting needs."""

    adopter: Adopter

    @property
    def metadata(self) -> Any:
        return self.adopter.repositories.metadata

    def register(self, files: Mapping[str, bytes | Path], model: str = "ice", **said: Any) -> ModelVersion:
        return foreign_registration.register(self.adopter, model, Offer(files, "test:", **said), actor="ana")

    def loaded(self, version: ModelVersion) -> loading.LoadedModel:
        return loading.load(self.adopter.repositories.blobs, self.adopter.formats, version.bundle)

    def answers(self, version: ModelVersion, rows: list[dict[str, Any]]) -> np.ndarray:
        """What a prediction process answers to rows of the signature's columns."""
        model = self.loaded(version)
        (view,) = model.bundle.features.request_views
        names = {f"{view.name}__{name}": feature.text.strip('"') for name, feature in view.features.items()}
        return model.predictor.predict(model.transformer.matrix([{name: row[column] for name, column in names.items()} for row in rows]))


@pytest.fixture
def registered() -> Registry:
    metadata = MemoryMetadata()
    repositories = Repositories(
        metadata, MemoryRuns(metadata), MemoryBlobs(), MemoryTables(), MemoryOnline(), MemoryJournal(), FakeClock(10**15), MemoryTracking(metadata)
    )
    formats = installed_formats(PlatformSeals(metadata, lambda: b"k" * 32))
    return Registry(Adopter(repositories, formats, InlineCompute(), CONVERT))


def days() -> tuple[pd.DataFrame, np.ndarray]:
    random = np.random.default_rng(5)
    frame = pd.DataFrame(
        {"kind of day": random.choice(["sun", "rain"], 200), "temp": random.normal(20, 8, 200), "guests": random.integers(0, 50, 200)}
    )
    return frame, ((frame.temp > 20) | (frame["kind of day"] == "sun")).to_numpy().astype(int)


def pipeline() -> tuple[Any, pd.DataFrame, np.ndarray]:
    frame, truth = days()
    encoder = ColumnTransformer([("day", OneHotEncoder(handle_unknown="ignore"), ["kind of day"]), ("rest", StandardScaler(), ["temp", "guests"])])
    model = make_pipeline(encoder, LogisticRegression()).fit(frame, truth)
    return model, frame, model.predict_proba(frame)[:, 1]


def recorded(name: str, **more: bytes) -> dict[str, bytes | Path]:
    """The files that a real MLflow wrote, and others in place of them."""
    files: dict[str, bytes | Path] = {path.name: path for path in (RECORDED / name).iterdir()}
    return files | {path.replace("_skops", ".skops").replace("_pkl", ".pkl"): data for path, data in more.items()}


def described(flavour: str = "sklearn", entry: str = "pickled_model: model.skops", inputs: str | None = None, **more: str) -> bytes:
    """The text of an MLmodel."""
    said = f"flavors:\n  {flavour}:\n    {entry}\n"
    said += f"signature:\n  inputs: '{inputs}'\n" if inputs else ""
    return (said + "".join(f"{name}: {value}\n" for name, value in more.items())).encode()


def test_a_sklearn_pipeline_over_named_columns_and_texts_answers_as_it_did(registered: Registry) -> None:
    model, frame, truth = pipeline()
    version = registered.register(recorded("sklearn3", model_skops=skops.io.dumps(model)))
    assert (version.format, version.unservable, version.status) == ("skops", "", "registered")
    np.testing.assert_allclose(registered.answers(version, frame.to_dict("records")), truth, atol=1e-12)
    bundle = registered.loaded(version).bundle
    assert bundle.features.request_fields == {"kind of day": "string", "temp": "float", "guests": "int"}
    assert [column.name for column in bundle.transformation.columns] == ["request__kind_of_day", "request__temp", "request__guests"]
    assert (bundle.problem, len(bundle.golden_rows)) == ("classification", 5)
    assert json.loads(version.signature)["inputs"].startswith('[{"type": "string", "name": "kind of day"')
    blobs = registered.adopter.repositories.blobs
    assert json.loads(blobs.get(version.input_example))["columns"] == ["kind of day", "temp", "guests"]
    assert b"scikit-learn==" in blobs.get(version.requirements)
    assert [entry.action for entry in registered.metadata.audit()] == ["version.register", "version.adopt"]


def test_a_text_that_the_model_never_saw_and_one_that_is_missing_are_answered(registered: Registry) -> None:
    model = pipeline()[0]
    version = registered.register(recorded("sklearn3", model_skops=skops.io.dumps(model)))
    rows = [{"kind of day": text, "temp": 21.0, "guests": 3} for text in ("fog", "sun")]
    expected = model.predict_proba(pd.DataFrame(rows))[:, 1]
    np.testing.assert_allclose(registered.answers(version, rows), expected, atol=1e-12)
    assert np.isfinite(registered.answers(version, [{"kind of day": None, "temp": 21.0, "guests": 3}])).all()


@pytest.mark.parametrize(("name", "fields"), [("lightgbm3", {"kind of day", "temp", "guests"}), ("xgboost3", {"temp", "guests"})])
def test_boosters_that_mlflow_wrote_are_served_in_their_own_format(registered: Registry, name: str, fields: set[str]) -> None:
    version = registered.register(recorded(name))
    assert (version.format, version.unservable) == (name[:-1], "")
    assert registered.loaded(version).bundle.features.request_fields.keys() == fields
    rows = [{"kind of day": "sun", "temp": temp, "guests": 4} for temp in (2.0, 35.0)]
    cold, warm = registered.answers(version, rows)
    assert 0 < cold < warm < 1


def test_a_pickle_waits_until_it_is_allowed_and_what_it_holds_is_kept_safely(registered: Registry) -> None:
    model, frame, truth = pipeline()
    version = registered.register(recorded("sklearn2", model_pkl=pickle.dumps(model)) | {"requirements.txt": b"mlflow==2.22.5\n"})
    assert version.bundle == ""
    assert "`rota models allow-pickle ice --reason ...`, then `rota models adopt ice@1`" in version.unservable
    pickle_signing.allow(registered.metadata, "ice", actor="eve", reason="ours", now_us=1)
    version = registered.adopter.adopt("ice", 1, actor="ana")
    assert (version.format, version.unservable, version.seal) == ("skops", "", ""), "what it holds is kept without code"
    np.testing.assert_allclose(registered.answers(version, frame.to_dict("records")), truth, atol=1e-12)


def test_a_pickle_that_no_other_format_keeps_carries_a_seal_and_needs_its_allowance_for_good(registered: Registry) -> None:
    frame, truth = days()
    model = make_pipeline(FunctionTransformer(operator.neg), LogisticRegression()).fit(frame[["temp"]], truth)
    files = {"model.pkl": pickle.dumps(model), "requirements.txt": b"mlflow==2.22.5\n"}
    pickle_signing.allow(registered.metadata, "ice", actor="eve", reason="ours", now_us=1)
    version = registered.register(files, signature='[{"name": "temp", "type": "double"}]')
    assert (version.format, version.unservable, len(version.seal)) == ("pickle", "", 64)
    np.testing.assert_allclose(registered.answers(version, frame.to_dict("records")), model.predict_proba(frame[["temp"]])[:, 1], atol=1e-12)
    dependencies = registered.loaded(version).bundle.dependencies
    assert dependencies.keys() >= {"scikit-learn", "python"}
    assert "mlflow" not in dependencies
    pickle_signing.forbid(registered.metadata, "ice", actor="eve", reason="no more", now_us=2)
    with pytest.raises(Refused, match="nobody allowed"):
        registered.loaded(version)


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


def test_no_code_of_a_model_runs_before_it_is_allowed_whatever_its_file_is_called(registered: Registry, tmp_path: Path) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "mark"))
    unsafe = make_pipeline(StandardScaler(), LogisticRegression()).fit(*(days()[0][["temp"]], days()[1]))
    unsafe.steps[0][1].hook = os.system
    for name in ("model.pkl", "model.skops", "model.onnx", "model.ubj", "model.lgb"):
        version = registered.register({name: bomb}, signature=NUMBERS)
        assert version.unservable, name
    assert "not loaded for safety" in registered.register({"MLmodel": described(), "model.skops": skops.io.dumps(unsafe)}).unservable
    evil = b"flavors: !!python/object/apply:os.system ['touch " + str(tmp_path / "mark").encode() + b"']\n"
    assert "cannot be read as YAML" in registered.register({"MLmodel": evil}).unservable
    assert not (tmp_path / "mark").exists()


def test_a_pickle_of_another_major_version_is_refused_by_name(registered: Registry) -> None:
    model, _, _ = pipeline()
    pickle_signing.allow(registered.metadata, "ice", actor="eve", reason="ours", now_us=1)
    version = registered.register(recorded("sklearn2", model_pkl=pickle.dumps(model)) | {"requirements.txt": b"scikit-learn==0.24.2\n"})
    assert "it was built with scikit-learn 0.24.2, and 1." in version.unservable


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"MLmodel": b"\xff"}, "cannot be read as YAML"),
        ({"MLmodel": b"- a\n- b\n"}, "names no flavors"),
        ({"MLmodel": b"[" * 5_000}, "cannot be read as YAML"),
        ({"MLmodel": b"a: b\n" * 300_000}, "it may have 1000000"),
        ({"MLmodel": described("pytorch", "model_data: data")}, "none of its flavours ['pytorch'] is understood"),
        ({"MLmodel": described(entry="pickled_model: ../../../etc/passwd")}, "../../../etc/passwd"),
        ({"MLmodel": described(entry="pickled_model: other.skops"), "model.skops": b"x"}, "is not among its files"),
        ({"MLmodel": described(inputs='[{"name": "at", "type": "binary"}]'), "model.skops": b"x"}, "of type 'binary'"),
        (
            {"MLmodel": described(inputs='[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2, 2]}}]'), "model.skops": b"x"},
            "shape",
        ),
        ({"MLmodel": described(inputs='[{"name": "a", "type": "long"}, {"name": "a", "type": "long"}]'), "model.skops": b"x"}, "twice"),
        ({"MLmodel": described(inputs="nonsense"), "model.skops": b"x"}, "no JSON"),
        ({"MLmodel": described(), "model.skops": b"x"}, "no readable skops model"),
        ({"MLmodel": described(), "model.skops": b""}, "0 bytes"),
        ({"notes.md": b"x"}, "hold no MLmodel, and 0 files"),
        ({"a.onnx": b"x", "b.onnx": b"y"}, "2 files that could be a model"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_served_says_why_and_the_version_exists(registered: Registry, files: dict[str, bytes], reason: str) -> None:
    version = registered.register(files)
    assert (version.bundle, version.number) == ("", 1)
    assert reason in version.unservable
    assert model_versions.get(registered.metadata, "ice", 1) == version


def test_columns_that_do_not_fit_the_model_are_told(registered: Registry) -> None:
    frame, truth = days()
    numbers = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame[["temp", "guests"]], truth)
    kept = skops.io.dumps(numbers)
    one = registered.register({"model.skops": kept}, signature='[{"name": "temp", "type": "double"}]')
    assert "has 1 columns and the model reads 2" in one.unservable
    text = registered.register({"model.skops": kept}, signature='[{"name": "temp", "type": "string"}, {"name": "guests", "type": "long"}]')
    assert "column 'temp' is a text, and nothing in the model says which texts it knows" in text.unservable
    time = registered.register({"model.skops": kept}, signature='[{"name": "temp", "type": "datetime"}, {"name": "guests", "type": "long"}]')
    assert "column 'temp' is a time" in time.unservable


def test_a_model_without_a_signature_is_served_by_the_columns_it_was_fitted_on(registered: Registry) -> None:
    frame, truth = days()
    named = registered.register({"model.skops": skops.io.dumps(LogisticRegression().fit(frame[["temp", "guests"]], truth))})
    assert registered.loaded(named).bundle.features.request_fields == {"temp": "float", "guests": "float"}
    plain = registered.register({"model.skops": skops.io.dumps(GradientBoostingRegressor(n_estimators=3).fit(frame[["temp"]].to_numpy(), truth))})
    assert registered.loaded(plain).bundle.features.request_fields == {"x0": "float"}
    assert registered.loaded(plain).bundle.problem == "regression"


def test_the_signature_may_name_the_columns_in_another_order(registered: Registry) -> None:
    frame, truth = days()
    model = LogisticRegression().fit(frame[["temp", "guests"]], truth)
    swapped = '[{"name": "guests", "type": "long"}, {"name": "temp", "type": "double"}]'
    version = registered.register({"model.skops": skops.io.dumps(model)}, signature=swapped)
    rows = frame[["temp", "guests"]].head(9)
    np.testing.assert_allclose(registered.answers(version, rows.to_dict("records")), model.predict_proba(rows)[:, 1], atol=1e-12)


def test_hostile_column_names_stay_names(registered: Registry) -> None:
    frame, truth = days()
    names = ['a"b', "select 1; --", "ключ", "a b", "a_b"]
    model = LogisticRegression().fit(np.column_stack([frame.temp] * 5), truth)
    signature = json.dumps([{"name": name, "type": "double"} for name in names])
    version = registered.register({"model.skops": skops.io.dumps(model)}, signature=signature)
    assert version.unservable == ""
    bundle = registered.loaded(version).bundle
    assert set(bundle.features.request_fields) == set(names)
    assert len(set(bundle.features.feature_names)) == 5
    row = dict(zip(names, [1.0, 2.0, 3.0, 4.0, 5.0], strict=True))
    (vector,) = OnlineFeatures(MemoryOnline(), bundle.features).vectors([row], 0)
    assert [vector[column.name] for column in bundle.transformation.columns] == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_adopting_twice_changes_nothing(registered: Registry) -> None:
    version = registered.register(recorded("xgboost3"))
    entries = len(registered.metadata.audit())
    assert registered.adopter.adopt("ice", 1, actor="ana") == version
    assert len(registered.metadata.audit()) == entries
    hopeless = registered.register({"notes.md": b"x"})
    assert registered.adopter.adopt("ice", 2, actor="ana") == hopeless


def test_a_file_that_kills_its_reader_kills_nothing_else(registered: Registry, tmp_path: Path) -> None:
    (tmp_path / "deadly.py").write_text("import os\ndef die(arguments):\n    os.abort()\n")

    class Deadly(LocalProcesses):
        def run(self, function: str, arguments: Any, **options: Any) -> Any:
            return super().run("deadly:die", arguments, path=tmp_path, **options)

    compute = Deadly()
    try:
        registered.adopter = Adopter(registered.adopter.repositories, registered.adopter.formats, compute, CONVERT)
        version = registered.register(recorded("xgboost3"))
    finally:
        compute.close()
    assert "the process that read its file died" in version.unservable


def test_a_real_process_reads_the_file(registered: Registry) -> None:
    compute = LocalProcesses()
    try:
        registered.adopter = Adopter(registered.adopter.repositories, registered.adopter.formats, compute, CONVERT)
        version = registered.register(recorded("xgboost3"))
    finally:
        compute.close()
    assert version.format == "xgboost"
    assert len(registered.loaded(version).bundle.golden_rows) == 5


def test_a_reader_that_takes_too_long_is_an_error_that_may_be_retried(registered: Registry) -> None:
    class Slow(InlineCompute):
        def run(self, function: str, arguments: Any, **options: Any) -> Any:
            raise Interrupted("it was ended after 600 s", cause="timeout")

    adopter = registered.adopter
    registered.adopter = Adopter(adopter.repositories, adopter.formats, Slow(), CONVERT)
    with pytest.raises(Interrupted, match="600 s"):
        registered.register(recorded("xgboost3"))
    assert model_versions.get(registered.metadata, "ice", 1).bundle == ""
    assert adopter.adopt("ice", 1, actor="ana").format == "xgboost"


def test_a_fitted_model_in_memory_is_registered_with_its_example(registered: Registry) -> None:
    model, frame, truth = pipeline()
    example = frame.head(3).to_dict("records")
    offer = foreign_registration.of_model(model, "ice", registered.adopter, input_example=example)
    version = foreign_registration.register(registered.adopter, "ice", offer, actor="ana")
    assert (version.format, version.source.partition(":")[0]) == ("skops", "memory")
    np.testing.assert_allclose(registered.answers(version, frame.to_dict("records")), truth, atol=1e-12)
    golden = decode(registered.adopter.repositories.blobs.get(version.bundle), ModelBundle).golden_answers
    np.testing.assert_allclose(golden, truth[:3], atol=1e-12)


class Constant:
    def predict(self, matrix: np.ndarray) -> np.ndarray:
        return np.full(len(matrix), 0.5)


def test_a_model_of_no_framework_is_kept_only_when_pickle_is_allowed(registered: Registry) -> None:
    def offer() -> Offer:
        return foreign_registration.of_model(Constant(), "half", registered.adopter, input_example=[{"a": 1.0}])

    with pytest.raises(InvalidInput, match="rota models allow-pickle"):
        offer()
    pickle_signing.allow(registered.metadata, "half", actor="eve", reason="ours", now_us=1)
    version = foreign_registration.register(registered.adopter, "half", offer(), actor="ana")
    assert version.format == "pickle"
    np.testing.assert_array_equal(registered.answers(version, [{"a": 7.0}]), [0.5])


def test_signatures_follow_from_example_rows() -> None:
    rows = [{"a": 1, "b": None, "c": "x", "d": True}, {"a": 1.5, "b": 2, "c": None, "d": False}]
    said = mlmodel.signature(json.loads(foreign_registration.signature_of(rows)))
    assert [(column.name, column.type) for column in said.columns] == [("a", "float"), ("b", "int"), ("c", "string"), ("d", "bool")]
    with pytest.raises(InvalidInput, match="has one type"):
        foreign_registration.signature_of([{"a": 1}, {"a": "x"}])
    with pytest.raises(InvalidInput, match="at least one row"):
        foreign_registration.signature_of([])


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('{"columns": ["b", "a"], "data": [[1, 2], [3, 4]]}', [{"b": 1, "a": 2}, {"b": 3, "a": 4}]),
        ('{"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]]}}', [{"a": 1, "b": 2}]),
        ("[[1, 2]]", [{"a": 1, "b": 2}]),
        ('[{"a": 1, "b": 2}]', [{"a": 1, "b": 2}]),
        ('{"a": 1, "b": 2}', [{"a": 1, "b": 2}]),
        ('{"inputs": [[1, 2]]}', []),
        ("[[1]]", []),
        ('"text"', []),
        ("[" * 100_000, []),
        ("", []),
    ],
    ids=lambda value: str(value)[:30],
)
def test_input_examples_are_read_in_each_of_their_forms(text: str, rows: list[dict[str, int]]) -> None:
    columns = (mlmodel.Column("a", "int"), mlmodel.Column("b", "int"))
    assert mlmodel.example_rows(text.encode(), columns) == rows


def test_only_exact_pins_say_what_a_model_was_built_with() -> None:
    text = "mlflow==3.17.2\nnumpy==2.4.6 # c\nScikit_Learn==1.9.1 ; python_version > '3'\npandas>=2\n-r other.txt\nhttps://x/y.whl\nevil==1; rm\n"
    assert mlmodel.pins(text) == {"mlflow": "3.17.2", "numpy": "2.4.6", "scikit-learn": "1.9.1", "evil": "1"}


def test_a_path_that_is_no_model_is_refused_before_anything_is_stored(registered: Registry, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nix"):
        foreign_registration.of_path(tmp_path / "nix")
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(InvalidInput, match="is no model"):
        foreign_registration.of_path(tmp_path / "notes.md")
    (tmp_path / "model.onnx").symlink_to("/etc/passwd")
    with pytest.raises(InvalidInput, match="is no model"):
        foreign_registration.of_path(tmp_path)
    with pytest.raises(InvalidInput, match=r"\.\."):
        registered.register({"../model.onnx": b"x"})
    assert registered.metadata.find(ModelVersion) == []
