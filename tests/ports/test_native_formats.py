"""ONNX, XGBoost and pickle: the law over each, and what each of them can get wrong."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import xgboost
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.models.onnx_format import OnnxFormat
from rota.backends.models.pickle_format import PickleFormat
from rota.backends.models.skops_format import SkopsFormat
from rota.backends.models.xgboost_format import XGBoostFormat
from rota.errors import Corrupt, InvalidInput, Refused
from rota.manage.models import pickle_signing
from rota.manage.models.pickle_signing import PlatformSeals
from rota.ports.models import AuthorRows, ModelInputs, Predictor
from rota.testing.model_format import ModelFormatContract

Fitted = list[tuple[Any, np.ndarray, np.ndarray]]


def data(rows: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(7)
    matrix = random.normal(size=(rows, 4)).astype(np.float32).astype(np.float64)
    value = matrix[:, 0] * 3 - matrix[:, 1] + random.normal(size=rows) * 0.1
    return matrix, (value > 0.5).astype(int), value


def booster_options(**options: Any) -> dict[str, Any]:
    return {"n_estimators": 15, "n_jobs": 1, "max_depth": 3, "verbosity": 0, **options}


def texts() -> tuple[pd.DataFrame, np.ndarray]:
    random = np.random.default_rng(3)
    frame = pd.DataFrame({"day": random.choice(["sun", "rain", "snow"], 200), "temp": random.normal(10, 5, 200)})
    return frame, ((frame.temp > 10) != (frame.day == "rain")).to_numpy().astype(int)


class TestOnnxFormat(ModelFormatContract):
    @pytest.fixture
    def format(self) -> OnnxFormat:
        return OnnxFormat()

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls) -> Fitted:
        matrix, binary, value = data()
        row = matrix.astype(np.float32)[:1]
        linear = to_onnx(LinearRegression().fit(matrix, value), row, target_opset=17)
        classifier = make_pipeline(StandardScaler(), LogisticRegression()).fit(matrix, binary)
        maps = to_onnx(classifier, row, target_opset=17)
        plain = to_onnx(classifier, row, target_opset=17, options={"zipmap": False})
        trees = to_onnx(RandomForestClassifier(5, max_depth=4, random_state=0).fit(matrix, binary), row, target_opset=17)
        three = RandomForestClassifier(5, max_depth=4, random_state=0).fit(matrix, np.array(list("cab"))[np.arange(len(matrix)) % 3])
        kept = [to_onnx(three, row, target_opset=17, options={"zipmap": zipmap}) for zipmap in (True, False)]
        two = to_onnx(LinearRegression().fit(matrix, np.column_stack([value, -value, value])), row, target_opset=17)
        return [(model, matrix, oracle(model, matrix)) for model in (plain, maps, linear, trees, *kept, two)]


def oracle(model: onnx.ModelProto, matrix: np.ndarray) -> np.ndarray:
    """What the model answers by onnxruntime as a person would call it."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = session.get_inputs()[0]
    given = matrix.astype(np.float64 if wanted.type == "tensor(double)" else np.float32)
    answers = session.run(None, {wanted.name: given})[-1]
    if isinstance(answers, list):
        answers = [[row[key] for key in sorted(row)] for row in answers]
    answers = np.asarray(answers, dtype=np.float64)
    return answers if answers.shape[1] > 2 else answers[:, -1]


class TestXGBoostFormat(ModelFormatContract):
    @pytest.fixture
    def format(self) -> XGBoostFormat:
        return XGBoostFormat()

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls) -> Fitted:
        matrix, binary, value = data()
        matrix[::17, 2] = np.nan
        classifier = xgboost.XGBClassifier(**booster_options()).fit(matrix, binary)
        regressor = xgboost.XGBRegressor(**booster_options()).fit(matrix, value)
        booster = xgboost.train({"objective": "binary:logistic", "nthread": 1}, xgboost.DMatrix(matrix, binary), 10)
        stopped = xgboost.XGBRegressor(**booster_options(n_estimators=50, early_stopping_rounds=2)).fit(
            matrix, value, eval_set=[(matrix[:50], -value[:50])], verbose=False
        )
        assert stopped.best_iteration < 49
        three = xgboost.XGBClassifier(**booster_options()).fit(matrix, np.arange(300) % 3)
        softmax = xgboost.XGBClassifier(**booster_options(objective="multi:softmax")).fit(matrix, np.arange(300) % 3)
        several = [
            xgboost.XGBRegressor(**booster_options(**options)).fit(matrix, np.column_stack([value, -value]))
            for options in ({}, {"multi_strategy": "multi_output_tree"}, {"booster": "dart"})
        ]
        levels = xgboost.XGBRegressor(**booster_options(objective="reg:quantileerror", quantile_alpha=[0.1, 0.9])).fit(matrix, value)
        ranker = xgboost.XGBRanker(**booster_options()).fit(matrix, binary, group=[150, 150])
        return [
            *((model, matrix, model.predict_proba(matrix)) for model in (three, softmax)),
            *((model, matrix, model.predict(matrix)) for model in (*several, levels, ranker)),
            (classifier, matrix, classifier.predict_proba(matrix)[:, 1]),
            (regressor, matrix, regressor.predict(matrix)),
            (booster, matrix, booster.predict(xgboost.DMatrix(matrix))),
            (stopped, matrix, stopped.predict(matrix)),
        ]


class Allowed:
    """Seals of a platform on which everything was allowed and recognised."""

    def sign(self, model: str, digest: str) -> str:
        return digest

    def check(self, model: str, digest: str, seal: str, *, signed_for: str = "") -> None:
        assert seal == digest


class UnlockedFormat(PickleFormat):
    """Loads whatever was sealed, so that the law of all formats can be held against what lies behind the lock."""

    def loads(self, data: bytes) -> Predictor:
        return self.unlocked("any", data, self.sealed("any", data)).loads(data)


class TestPickleFormat(ModelFormatContract):
    @pytest.fixture
    def format(self) -> PickleFormat:
        return UnlockedFormat(Allowed())

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls) -> Fitted:
        matrix, binary, value = data()
        classifier = make_pipeline(StandardScaler(), LogisticRegression()).fit(matrix, binary)
        regressor = LinearRegression().fit(matrix, value)
        return [(classifier, matrix, classifier.predict_proba(matrix)[:, 1]), (regressor, matrix, regressor.predict(matrix))]


FORMATS: list[Any] = [OnnxFormat(), XGBoostFormat(), SkopsFormat()]


def kept() -> list[bytes]:
    matrix, binary, value = data(60)
    classifier = LogisticRegression().fit(matrix, binary)
    return [
        OnnxFormat().dumps(to_onnx(classifier, matrix.astype(np.float32)[:1], target_opset=17)),
        XGBoostFormat().dumps(xgboost.XGBRegressor(**booster_options(n_estimators=2)).fit(matrix, value)),
        SkopsFormat().dumps(classifier),
    ]


@pytest.mark.parametrize("place", range(3), ids=lambda place: FORMATS[place].name)
def test_a_flipped_bit_is_seen_or_harmless(place: int) -> None:
    format_, good = FORMATS[place], kept()[place]
    row = data(60)[0][:2]
    answer = format_.loads(good).predict(row)
    random = np.random.default_rng(place)
    for _ in range(40):
        damaged = bytearray(good)
        damaged[random.integers(len(damaged))] ^= 1 << random.integers(8)
        try:
            found = format_.loads(bytes(damaged)).predict(row)
        except Corrupt:
            continue
        np.testing.assert_array_equal(found, answer)


class Bomb:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


def test_every_format_takes_the_bytes_of_another_and_a_pickle_for_corrupt_and_runs_nothing(tmp_path: Path) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "mark"))
    for format_ in FORMATS:
        for found in [*(other for other, of in zip(kept(), FORMATS, strict=True) if of is not format_), bomb, b"PK\x03\x04" + bomb]:
            with pytest.raises(Corrupt):
                format_.loads(found)
            with pytest.raises(InvalidInput):
                format_.imported(found)
    assert not (tmp_path / "mark").exists()


def test_a_pickle_is_loaded_only_with_an_allowance_and_the_seal_of_this_platform(tmp_path: Path) -> None:
    metadata = MemoryMetadata()
    format_ = PickleFormat(PlatformSeals(metadata, lambda: b"k" * 32))
    bomb = format_.imported(pickle.dumps(Bomb(tmp_path / "mark")))
    with pytest.raises(Refused, match="only loaded with the seal"):
        format_.loads(bomb)
    with pytest.raises(Refused, match="rota models allow-pickle churn"):
        format_.sealed("churn", bomb)
    pickle_signing.allow(metadata, "churn", actor="ana", reason="ours", now_us=1)
    seal = format_.sealed("churn", bomb)
    elsewhere = PickleFormat(PlatformSeals(metadata, lambda: b"j" * 32))
    pickle_signing.allow(metadata, "other", actor="ana", reason="ours", now_us=1)
    for refused, model, given, with_seal in (
        (format_, "churn", bomb, ""),
        (format_, "churn", bomb, "0" * 64),
        (format_, "churn", bomb + b" ", seal),
        (format_, "other", bomb, seal),
        (format_, "third", bomb, seal),
        (elsewhere, "churn", bomb, seal),
        (PickleFormat(), "churn", bomb, seal),
    ):
        with pytest.raises(Refused):
            refused.unlocked(model, given, with_seal)
    pickle_signing.forbid(metadata, "churn", actor="ana", reason="no more", now_us=2)
    with pytest.raises(Refused, match="allow-pickle"):
        format_.unlocked("churn", bomb, seal)
    assert not (tmp_path / "mark").exists()
    assert [entry.action for entry in metadata.audit()] == ["pickle.allow", "pickle.allow", "pickle.forbid"]


def test_what_was_unlocked_loads_these_bytes_and_no_others() -> None:
    format_ = PickleFormat(Allowed())
    matrix, binary, _ = data(60)
    one, other = (format_.dumps(LogisticRegression(C=c).fit(matrix, binary)) for c in (1.0, 2.0))
    unlocked = format_.unlocked("m", one, format_.sealed("m", one))
    assert unlocked.loads(one).predict(matrix).shape == (60,)
    with pytest.raises(Refused, match="not the bytes"):
        unlocked.loads(other)
    assert {"scikit-learn", "numpy", "cloudpickle", "python"} <= unlocked.libraries().keys()


MODULE = """
class Half:
    def predict(self, matrix):
        return matrix[:, 0] / 2
"""


def test_a_pickle_holds_the_classes_of_a_project_and_names_a_module_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "ours.py").write_text(MODULE)
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import ours; from rota.backends.models.pickle_format import PickleFormat; "
        f"open({str(tmp_path / 'out')!r}, 'wb').write(PickleFormat().dumps(ours.Half()))"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    kept = (tmp_path / "out").read_bytes()
    np.testing.assert_array_equal(UnlockedFormat(Allowed()).loads(kept).predict(np.array([[3.0], [5.0]])), [1.5, 2.5])
    gone = PickleFormat().imported(b"cnowhere_to_be_found\nThing\n.")
    with pytest.raises(Refused, match="needs the module 'nowhere_to_be_found'"):
        UnlockedFormat(Allowed()).loads(gone)


def test_xgboost_refuses_what_gives_no_probability_of_one_class() -> None:
    matrix, binary, _ = data(90)
    softmax = xgboost.train({"objective": "multi:softmax", "num_class": 3, "nthread": 1}, xgboost.DMatrix(matrix, np.arange(90) % 3), 2)
    with pytest.raises(InvalidInput, match=r"set_param.*multi:softprob"):
        XGBoostFormat().dumps(softmax)
    softmax.set_param("objective", "multi:softprob")
    assert XGBoostFormat().loads(XGBoostFormat().dumps(softmax)).predict(matrix).shape == (90, 3)
    with pytest.raises(InvalidInput, match="logitraw"):
        XGBoostFormat().dumps(xgboost.train({"objective": "binary:logitraw", "nthread": 1}, xgboost.DMatrix(matrix, binary), 2))
    with pytest.raises(InvalidInput, match="not fitted"):
        XGBoostFormat().dumps(xgboost.XGBRegressor())


def test_xgboost_reads_its_own_files_in_both_forms_and_xgboost_reads_ours(tmp_path: Path) -> None:
    matrix, binary, _ = data(90)
    model = xgboost.XGBClassifier(**booster_options()).fit(pd.DataFrame(matrix, columns=list("abcd")), binary)
    for ending in ("ubj", "json"):
        model.save_model(tmp_path / f"m.{ending}")
        kept = XGBoostFormat().imported((tmp_path / f"m.{ending}").read_bytes())
        np.testing.assert_allclose(XGBoostFormat().loads(kept).predict(matrix), model.predict_proba(matrix)[:, 1], atol=1e-7)
        assert XGBoostFormat().describe(kept) == ModelInputs(4, tuple("abcd"), {}, "classification")
        assert XGBoostFormat().imported(kept) == kept
    body = kept.split(b"\n", 1)[1]
    np.testing.assert_array_equal(xgboost.Booster(model_file=bytearray(body)).num_features(), 4)


def test_xgboost_knows_the_texts_of_its_categories_and_takes_another_for_missing() -> None:
    frame, truth = texts()
    frame = frame.assign(day=frame.day.astype("category"))
    model = xgboost.XGBClassifier(**booster_options(enable_categorical=True)).fit(frame, truth)
    kept = XGBoostFormat().dumps(model)
    found = XGBoostFormat().describe(kept)
    assert (found.names, found.texts) == (("day", "temp"), {0: ("rain", "snow", "sun")})
    codes = np.column_stack([frame.day.cat.codes, frame.temp])
    predictor = XGBoostFormat().loads(kept)
    np.testing.assert_allclose(predictor.predict(codes), model.predict_proba(frame)[:, 1], atol=1e-9)
    np.testing.assert_array_equal(predictor.predict(np.array([[3.0, 12.0]])), predictor.predict(np.array([[np.nan, 12.0]])))


def test_serving_xgboost_does_not_import_its_python_package() -> None:
    script = (
        "import sys; from rota.backends.models.xgboost_format import _library; _library()\nprint('xgboost' in sys.modules, 'pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split() == ["False", "False"]


def graph(output: Any, node: Any, *, initializer: Any = (), inputs: Any = None) -> onnx.ModelProto:
    given = inputs or [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])]
    made = helper.make_graph([node] if not isinstance(node, list) else node, "g", given, [output], initializer=initializer)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_onnx_refuses_what_gives_no_numbers_for_each_row() -> None:
    def answering(shape: Any, kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
        value = helper.make_tensor_value_info("y", kind, shape)
        return graph(value, helper.make_node("Cast", ["x"], ["y"], to=kind))

    with pytest.raises(InvalidInput, match="no numbers to serve"):
        OnnxFormat().dumps(answering(["n", 2], TensorProto.INT64))
    fixed = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])]
    with pytest.raises(InvalidInput, match="cannot predict 3 rows"):
        OnnxFormat().dumps(
            graph(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2]), helper.make_node("Identity", ["x"], ["y"]), inputs=fixed)
        )
    half = [helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["n", 1])]
    with pytest.raises(InvalidInput, match=r"is a tensor\(float16\); numbers and texts are served"):
        OnnxFormat().dumps(
            graph(helper.make_tensor_value_info("y", TensorProto.FLOAT16, ["n", 1]), helper.make_node("Identity", ["x"], ["y"]), inputs=half)
        )
    text = [helper.make_tensor_value_info("x", TensorProto.STRING, ["n", 1])]
    with pytest.raises(InvalidInput, match="no numbers to serve"):
        OnnxFormat().dumps(
            graph(helper.make_tensor_value_info("y", TensorProto.STRING, ["n", 1]), helper.make_node("Identity", ["x"], ["y"]), inputs=text)
        )
    wide = [helper.make_tensor_value_info("x", TensorProto.STRING, ["n", "m"])]
    coded = helper.make_node("LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", keys_strings=["a"], values_floats=[1.0])
    made = graph(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "m"]), coded, inputs=wide)
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 2))
    with pytest.raises(InvalidInput, match="does not say how many columns"):
        OnnxFormat().dumps(made)


def test_onnx_is_given_texts_as_they_are_and_refuses_a_null_among_them() -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"a": random.normal(size=200), "kind": random.choice(["x", "y", "z"], 200), "b": random.normal(size=200)})
    encode = ColumnTransformer([("k", OneHotEncoder(handle_unknown="ignore"), ["kind"]), ("n", StandardScaler(), ["a", "b"])])
    fitted = make_pipeline(encode, LogisticRegression()).fit(frame, (frame.a > 0) ^ (frame.kind == "x"))
    numbers = FloatTensorType([None, 1])
    types = [("a", numbers), ("kind", StringTensorType([None, 1])), ("b", numbers)]
    file = to_onnx(fitted, initial_types=types, target_opset=17, options={"zipmap": False})
    kept = OnnxFormat().dumps(file)
    inputs = OnnxFormat().describe(kept)
    assert (inputs.names, inputs.free_texts) == (("a", "kind", "b"), {1: ("x", "y", "z")})
    matrix = np.empty((3, 3), dtype=object)
    matrix[:] = [[0.5, "x", 1.0], [-0.5, "an unseen one", 2.0], [1.0, "y", 0.0]]
    expected = fitted.predict_proba(pd.DataFrame({"a": [0.5, -0.5, 1.0], "kind": matrix[:, 1], "b": [1.0, 2.0, 0.0]}))[:, 1]
    np.testing.assert_allclose(OnnxFormat().loads(kept).predict(matrix), expected, atol=1e-6)
    author = OnnxFormat().author(file).answers(AuthorRows(inputs.names, ("float", "string", "float"), matrix.tolist()))
    np.testing.assert_allclose(author, expected, atol=1e-6)
    matrix[1, 1] = None
    with pytest.raises(InvalidInput, match="input 'kind' takes texts, and was given null"):
        OnnxFormat().loads(kept).predict(matrix)


def test_onnx_names_classes_as_the_graph_does_and_two_numbers_are_read_as_the_problem_says() -> None:
    matrix, binary, value = data(60)
    row = matrix.astype(np.float32)[:1]
    named = np.array(["no", "yes"])[binary]
    for zipmap in (True, False):
        three = LogisticRegression().fit(matrix, np.array(["ten", "one", "two"])[np.arange(60) % 3])
        kept = OnnxFormat().dumps(to_onnx(three, row, target_opset=17, options={"zipmap": zipmap}))
        found = OnnxFormat().describe(kept)
        assert (found.problem, found.outputs) == ("multiclass", ("one", "ten", "two"))
        np.testing.assert_allclose(OnnxFormat().loads(kept).predict(matrix), three.predict_proba(matrix), atol=1e-6)
        two = OnnxFormat().describe(OnnxFormat().dumps(to_onnx(LogisticRegression().fit(matrix, named), row, options={"zipmap": zipmap})))
        assert (two.problem, two.classes, two.outputs) == ("classification", ("no", "yes"), ())
    both = OnnxFormat().dumps(to_onnx(LinearRegression().fit(matrix, np.column_stack([value, -value])), row, target_opset=17))
    assert (OnnxFormat().describe(both).problem, OnnxFormat().loads(both).predict(matrix).shape) == ("classification", (60,))
    as_targets = OnnxFormat().read_as("regression")
    assert (as_targets.describe(both).problem, as_targets.describe(both).outputs) == ("regression", ("y0", "y1"))
    np.testing.assert_allclose(as_targets.loads(both).predict(matrix), np.column_stack([value, -value]), atol=0.5)
    assert OnnxFormat().read_as("embedding").describe(both).outputs == ()


def test_onnx_takes_several_outputs_of_a_number_each_by_their_names() -> None:
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1]) for name in ("low", "high")]
    nodes = [helper.make_node("ReduceMin", ["x"], ["low"], axes=[1]), helper.make_node("ReduceMax", ["x"], ["high"], axes=[1])]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])]
    made = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    kept = OnnxFormat().dumps(made)
    assert OnnxFormat().describe(kept).outputs == ("low", "high")
    np.testing.assert_array_equal(OnnxFormat().loads(kept).predict(np.array([[7.0, 2.5], [1.0, 3.0]])), [[2.5, 7.0], [1.0, 3.0]])


def test_onnx_takes_an_input_for_each_column_in_their_order() -> None:
    inputs = [helper.make_tensor_value_info(name, kind, ["n", 1]) for name, kind in (("age", TensorProto.INT64), ("fare", TensorProto.DOUBLE))]
    nodes = [helper.make_node("Cast", ["age"], ["real"], to=TensorProto.DOUBLE), helper.make_node("Sub", ["real", "fare"], ["y"])]
    kept = OnnxFormat().dumps(graph(helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["n", 1]), nodes, inputs=inputs))
    np.testing.assert_array_equal(OnnxFormat().loads(kept).predict(np.array([[7.0, 2.5], [1.0, 3.0]])), [4.5, -2.0])
    assert OnnxFormat().describe(kept).names == ("age", "fare")


def test_onnx_reads_no_file_that_a_model_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_bytes(np.ones(2, dtype=np.float32).tobytes())
    outside = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="secret")
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])
    direct = graph(output, helper.make_node("Add", ["x", "w"], ["y"]), initializer=[outside])
    branch = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["z"])], "b", [], [helper.make_tensor_value_info("z", TensorProto.FLOAT, [2])], initializer=[outside]
    )
    yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    nested = graph(
        output,
        [helper.make_node("If", ["yes"], ["v"], then_branch=branch, else_branch=branch), helper.make_node("Add", ["x", "v"], ["y"])],
        initializer=[yes],
    )
    for model in (direct, nested):
        with pytest.raises(InvalidInput, match="weights in other files"):
            OnnxFormat().dumps(model)


def test_onnx_accepts_bytes_and_files_of_models_and_nothing_else(tmp_path: Path) -> None:
    model = kept()[0].split(b"\n", 1)[1]
    (tmp_path / "m.onnx").write_bytes(model)
    assert OnnxFormat().accepts(model)
    assert OnnxFormat().dumps(tmp_path / "m.onnx") == kept()[0]
    assert not OnnxFormat().accepts(b"\x08\x01no model")
    assert not OnnxFormat().accepts(b"")


def test_skops_gives_encoders_the_texts_behind_the_codes() -> None:
    frame, truth = texts()
    one_hot = ColumnTransformer(
        [("day", OneHotEncoder(handle_unknown="ignore"), ["day"]), ("temp", make_pipeline(SimpleImputer(), StandardScaler()), ["temp"])]
    )
    ordinal = ColumnTransformer(
        [("temp", "passthrough", ["temp"]), ("day", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["day"])]
    )
    for encoder in (one_hot, ordinal):
        model = make_pipeline(encoder, LogisticRegression()).fit(frame, truth)
        kept = SkopsFormat().dumps(model)
        found = SkopsFormat().describe(kept)
        assert (found.width, found.names, found.texts) == (2, ("day", "temp"), {0: ("rain", "snow", "sun")})
        codes = np.column_stack([frame.day.map({"rain": 0, "snow": 1, "sun": 2}), frame.temp])
        predictor = SkopsFormat().loads(kept)
        np.testing.assert_allclose(predictor.predict(codes), model.predict_proba(frame)[:, 1], atol=1e-12)
        unseen = model.predict_proba(pd.DataFrame({"day": ["fog"], "temp": [11.0]}))[:, 1]
        np.testing.assert_allclose(predictor.predict(np.array([[3.0, 11.0]])), unseen, atol=1e-12)


def test_skops_says_an_unknown_text_that_the_model_refuses() -> None:
    frame, truth = texts()
    model = make_pipeline(ColumnTransformer([("day", OneHotEncoder(), ["day"])]), LogisticRegression()).fit(frame, truth)
    with pytest.raises(InvalidInput, match="unknown categories"):
        SkopsFormat().loads(SkopsFormat().dumps(model)).predict(np.array([[3.0, 1.0]]))
