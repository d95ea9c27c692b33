"""Registration parity: what is served beside the author's own object, over many estimators and data with categories, nulls and sentinels.

The oracle is the object that the test fitted, asked with the frame that it was fitted on; the served side is the bundle, loaded.
"""

import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from onnx import TensorProto, helper
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest, chi2
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from rota.backends.inline_compute import InlineCompute
from rota.backends.memory.blobs import MemoryBlobs
from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.runs import MemoryRuns
from rota.backends.memory.tables import MemoryTables
from rota.backends.memory.tracking import MemoryTracking
from rota.engines import installed_formats
from rota.errors import InvalidInput
from rota.manage.adoption import registration
from rota.manage.adoption.adopt import Adopter
from rota.manage.features.online.reader import OnlineFeatures
from rota.manage.models import loading, pickle_signing
from rota.manage.models.pickle_signing import PlatformSeals
from rota.manage.repositories import Repositories
from rota.records.model import ModelVersion
from rota.serve import row_failures
from rota.serve.requests import check_rows
from rota.testing import FakeClock

N = 120
BOOST = {"n_estimators": 8, "n_jobs": 1}
LGB = BOOST | {"min_child_samples": 5, "verbose": -1}
XGB = BOOST | {"max_depth": 3, "verbosity": 0}
WORDS = ("very good", "Late again", "never!", "été 42", "it broke, and nobody came", "fine")
Case = Callable[[], tuple[Any, Any, Any]]


def world(seed: int = 0) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Columns of every kind: texts, texts with None and with NaN, numbers with nulls and with a sentinel, bools, numbers as texts."""
    random = np.random.default_rng(seed)
    plan, x, size = random.choice(["basic", "gold", "pro", "zed"], N), random.normal(size=N).round(3), random.integers(0, 4, N)
    holes = np.arange(N) % 3 == 0
    frame = pd.DataFrame({"plan": plan, "x": x, "size": size, "ten": size * 10, "yes": size % 2 == 0})
    frame["none"] = pd.Series([None if hole else text for hole, text in zip(holes, plan, strict=True)], dtype=object)
    frame["nan"] = pd.Series([np.nan if hole else text for hole, text in zip(holes, plan, strict=True)], dtype=object)
    frame["hole"] = np.where(np.arange(N) % 5 == 0, np.nan, x)
    frame["sentinel"] = np.where(np.arange(N) % 4 == 0, -999.0, x)
    frame["line"] = [f"{random.choice(WORDS)} {text} {random.choice(WORDS)}" for text in plan]
    frame["digits"] = pd.Series([str(each) for each in size], dtype=object)
    truth = ((x > 0) ^ (plan == "gold") ^ holes).astype(int)
    return frame, truth, x * 2 + (plan == "zed") * 3 + holes


DATA, BINARY, VALUE = world()
KEPT = np.where(BINARY == 1, "kept", "churned")


def pipe(last: Any, *, encoder: Any = None, text: str = "plan", number: str = "x") -> Any:
    """A pipeline that encodes one column of texts and scales one of numbers."""
    steps = [("text", encoder or OneHotEncoder(handle_unknown="ignore"), [text]), ("number", StandardScaler(), [number])]
    return make_pipeline(ColumnTransformer(steps), last)


def ordinal() -> OrdinalEncoder:
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)


def category(*columns: str, texts: str) -> pd.DataFrame:
    return DATA[list(columns)].astype({texts: "category"})


def of(*columns: str) -> pd.DataFrame:
    return DATA[list(columns)]


def logistic() -> LogisticRegression:
    return LogisticRegression(max_iter=200)


SERVED: Mapping[str, Case] = {
    "one-hot": lambda: (pipe(logistic()), of("plan", "x"), BINARY),
    "one-hot learnt None": lambda: (pipe(logistic(), text="none"), of("none", "x"), BINARY),
    "one-hot learnt NaN": lambda: (pipe(logistic(), text="nan"), of("nan", "x"), BINARY),
    "None in one column, NaN in another": lambda: (
        make_pipeline(ColumnTransformer([("t", OneHotEncoder(handle_unknown="ignore"), ["none", "nan"])]), logistic()),
        of("none", "nan"),
        BINARY,
    ),
    "ordinal learnt None": lambda: (pipe(logistic(), encoder=ordinal(), text="none"), of("none", "x"), BINARY),
    "target encoder learnt None": lambda: (pipe(logistic(), encoder=TargetEncoder(), text="none"), of("none", "x"), BINARY),
    "bools, whole numbers and digits as categories": lambda: (
        make_pipeline(ColumnTransformer([("t", OneHotEncoder(handle_unknown="ignore"), ["yes", "ten", "digits"])]), logistic()),
        of("yes", "ten", "digits"),
        BINARY,
    ),
    "infrequent categories": lambda: (
        pipe(logistic(), encoder=OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=30)),
        of("plan", "x"),
        BINARY,
    ),
    "an encoder that refuses what it does not know": lambda: (pipe(logistic(), encoder=OneHotEncoder()), of("plan", "x"), BINARY),
    "calibrated": lambda: (CalibratedClassifierCV(pipe(logistic()), cv=2), of("plan", "x"), BINARY),
    "calibrated isotonic over a search": lambda: (
        CalibratedClassifierCV(GridSearchCV(pipe(logistic()), {"logisticregression__C": [0.1, 1]}, cv=2), cv=2, method="isotonic"),
        of("plan", "x"),
        BINARY,
    ),
    "vote": lambda: (
        VotingClassifier([("a", pipe(logistic())), ("b", pipe(DecisionTreeClassifier(max_depth=3))), ("c", "drop")], voting="soft"),
        of("plan", "x"),
        BINARY,
    ),
    "vote of regressors": lambda: (VotingRegressor([("a", pipe(Ridge())), ("b", pipe(DecisionTreeRegressor()))]), of("plan", "x"), VALUE),
    "stack": lambda: (StackingClassifier([("a", pipe(logistic())), ("b", pipe(DecisionTreeClassifier(max_depth=3)))], cv=2), of("plan", "x"), BINARY),
    "transformed target": lambda: (TransformedTargetRegressor(pipe(Ridge()), func=np.log1p, inverse_func=np.expm1), of("plan", "x"), VALUE**2),
    "search": lambda: (GridSearchCV(pipe(logistic()), {"logisticregression__C": [0.1, 1]}, cv=2), of("plan", "x"), BINARY),
    "random search": lambda: (RandomizedSearchCV(pipe(Ridge()), {"ridge__alpha": [0.1, 1]}, n_iter=2, cv=2), of("plan", "x"), VALUE),
    "tuned threshold": lambda: (TunedThresholdClassifierCV(pipe(logistic()), cv=2), of("plan", "x"), BINARY),
    "imputer of None with indicator, then encoder": lambda: (
        pipe(
            logistic(),
            encoder=make_pipeline(
                SimpleImputer(strategy="most_frequent", missing_values=None, add_indicator=True), OneHotEncoder(handle_unknown="ignore")
            ),
            text="none",
        ),
        of("none", "x"),
        BINARY,
    ),
    "imputer of NaN with indicator, then encoder": lambda: (
        pipe(
            logistic(),
            encoder=make_pipeline(SimpleImputer(strategy="most_frequent", add_indicator=True), OneHotEncoder(handle_unknown="ignore")),
            text="nan",
        ),
        of("nan", "x"),
        BINARY,
    ),
    "imputer of a sentinel": lambda: (make_pipeline(SimpleImputer(missing_values=-999), logistic()), of("sentinel", "x"), BINARY),
    "union of encoders": lambda: (
        make_pipeline(FeatureUnion([("a", OneHotEncoder(handle_unknown="ignore")), ("b", ordinal())]), logistic()),
        of("plan", "digits"),
        BINARY,
    ),
    "columns behind a passthrough": lambda: (
        make_pipeline(ColumnTransformer([("p", "passthrough", ["plan"])]), OneHotEncoder(handle_unknown="ignore"), logistic()),
        of("x", "plan"),
        BINARY,
    ),
    "nested transformers": lambda: (
        make_pipeline(
            ColumnTransformer(
                [("p", ColumnTransformer([("t", OneHotEncoder(handle_unknown="ignore"), ["plan"])], remainder="passthrough"), ["plan", "size"])],
                remainder="passthrough",
            ),
            logistic(),
        ),
        of("x", "plan", "size"),
        BINARY,
    ),
    "selected columns": lambda: (
        make_pipeline(
            ColumnTransformer(
                [
                    ("t", OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude=np.number)),
                    ("n", StandardScaler(), make_column_selector(dtype_include=np.number)),
                ]
            ),
            SelectKBest(k=2),
            logistic(),
        ),
        of("plan", "x"),
        BINARY,
    ),
    "frames between the steps": lambda: (
        pipe(logistic(), encoder=OneHotEncoder(handle_unknown="ignore", sparse_output=False)).set_output(transform="pandas"),
        of("plan", "x"),
        BINARY,
    ),
    "histogram boosting on categories": lambda: (
        HistGradientBoostingClassifier(max_iter=5),
        category("none", "hole", texts="none"),
        BINARY,
    ),
    "histogram boosting with nulls": lambda: (HistGradientBoostingRegressor(max_iter=5), of("hole", "size"), VALUE),
    "forest with nulls": lambda: (RandomForestClassifier(8, random_state=0), of("hole", "size"), BINARY),
    "text classes": lambda: (pipe(logistic()), of("plan", "x"), KEPT),
    "words": lambda: (make_pipeline(TfidfVectorizer(), logistic()), DATA["line"], BINARY),
    "words, calibrated": lambda: (CalibratedClassifierCV(make_pipeline(TfidfVectorizer(), logistic()), cv=2), DATA["line"], BINARY),
    "words counted and hashed": lambda: (
        make_pipeline(FeatureUnion([("c", CountVectorizer(ngram_range=(1, 2))), ("h", HashingVectorizer(n_features=16))]), logistic()),
        DATA["line"],
        KEPT,
    ),
    "words of one column": lambda: (
        make_pipeline(ColumnTransformer([("w", TfidfVectorizer(), "line")], remainder="passthrough"), logistic()),
        of("x", "line", "size"),
        BINARY,
    ),
    "words beside categories with nulls": lambda: (
        make_pipeline(
            ColumnTransformer(
                [
                    ("w", TfidfVectorizer(), "line"),
                    ("t", OneHotEncoder(handle_unknown="ignore"), ["none", "plan"]),
                    ("n", make_pipeline(SimpleImputer(), StandardScaler()), ["hole"]),
                ]
            ),
            logistic(),
        ),
        of("hole", "none", "line", "plan"),
        BINARY,
    ),
    "words that are categories too": lambda: (
        make_pipeline(
            ColumnTransformer([("w", TfidfVectorizer(), "line"), ("t", OneHotEncoder(handle_unknown="ignore"), ["line"])]),
            logistic(),
        ),
        of("line", "x"),
        BINARY,
    ),
    "bags of features": lambda: (BaggingClassifier(logistic(), 4, max_features=0.5), of("x", "size"), BINARY),
    "one column of targets": lambda: (LinearRegression(), of("x", "size"), VALUE.reshape(-1, 1)),
    "lightgbm": lambda: (lightgbm.LGBMClassifier(**LGB), of("x", "hole", "size"), BINARY),
    "lightgbm on categories": lambda: (lightgbm.LGBMClassifier(**LGB), category("none", "hole", texts="none"), KEPT),
    "lightgbm on whole numbers as categories": lambda: (lightgbm.LGBMClassifier(**LGB), category("ten", "x", texts="ten"), BINARY),
    "lightgbm on bools as categories": lambda: (lightgbm.LGBMClassifier(**LGB), category("yes", "x", texts="yes"), BINARY),
    "lightgbm, zero is missing": lambda: (lightgbm.LGBMRegressor(**LGB, zero_as_missing=True), of("hole", "size"), VALUE),
    "lightgbm, nothing is missing": lambda: (lightgbm.LGBMRegressor(**LGB, use_missing=False), of("hole", "size"), VALUE),
    "lightgbm of linear leaves": lambda: (lightgbm.LGBMRegressor(**LGB, linear_tree=True), of("x", "size"), VALUE),
    "lightgbm DART": lambda: (lightgbm.LGBMRegressor(**LGB, boosting_type="dart"), of("x", "size"), VALUE),
    "xgboost": lambda: (xgboost.XGBClassifier(**XGB), of("x", "hole", "size"), BINARY),
    "xgboost, a sentinel is missing": lambda: (xgboost.XGBClassifier(**XGB, missing=-999), of("sentinel", "x"), BINARY),
    "xgboost, zero is missing": lambda: (xgboost.XGBRegressor(**XGB, missing=0), of("size", "x"), VALUE),
    "xgboost on categories": lambda: (xgboost.XGBClassifier(**XGB, enable_categorical=True), category("none", "hole", texts="none"), BINARY),
    "xgboost on whole numbers as categories": lambda: (
        xgboost.XGBClassifier(**XGB, enable_categorical=True),
        category("ten", "x", texts="ten"),
        BINARY,
    ),
    "xgboost on digits as categories": lambda: (
        xgboost.XGBClassifier(**XGB, enable_categorical=True, booster="dart"),
        category("digits", "x", texts="digits"),
        BINARY,
    ),
    "xgboost DART": lambda: (xgboost.XGBRegressor(**XGB, booster="dart", rate_drop=0.3), of("x", "size"), VALUE),
    "xgboost with a base score": lambda: (xgboost.XGBClassifier(**XGB, base_score=0.3), of("x", "size"), BINARY),
    "xgboost forest": lambda: (
        xgboost.XGBRegressor(**XGB | {"n_estimators": 1, "num_parallel_tree": 20, "subsample": 0.8, "learning_rate": 1}),
        of("x", "size"),
        VALUE,
    ),
    "neighbours": lambda: (make_pipeline(KNNImputer(), KNeighborsClassifier()), of("hole", "size"), BINARY),
    "machine": lambda: (CalibratedClassifierCV(SVC(), cv=2), of("x", "size"), BINARY),
    "boosted stumps": lambda: (AdaBoostClassifier(n_estimators=4), of("x", "size"), BINARY),
    "gradient boosting": lambda: (GradientBoostingClassifier(n_estimators=4), of("x", "size"), BINARY),
    "bins": lambda: (make_pipeline(KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf"), logistic()), of("x", "size"), BINARY),
    "splines and products": lambda: (make_pipeline(PolynomialFeatures(2), SplineTransformer(), Ridge()), of("x", "size"), VALUE),
    "a function of numpy": lambda: (make_pipeline(FunctionTransformer(np.abs), logistic()), of("x", "size"), BINARY),
    "one for each class": lambda: (OneVsRestClassifier(pipe(logistic())), of("plan", "x"), BINARY),
    "chi-squared choice": lambda: (
        make_pipeline(OneHotEncoder(handle_unknown="ignore"), SelectKBest(chi2, k=2), logistic()),
        of("plan", "digits"),
        BINARY,
    ),
}


@pytest.fixture(scope="module")
def platform() -> Adopter:
    metadata = MemoryMetadata()
    repositories = Repositories(
        metadata, MemoryRuns(metadata), MemoryBlobs(), MemoryTables(), MemoryOnline(), MemoryJournal(), FakeClock(10**15), MemoryTracking(metadata)
    )
    return Adopter(repositories, installed_formats(PlatformSeals(metadata, lambda: b"k" * 32)), InlineCompute(), "rota.wiring:convert_in_child")


def requests(given: pd.DataFrame | pd.Series) -> list[dict[str, Any]]:
    """The frame's rows as JSON has them."""
    frame = given.to_frame() if isinstance(given, pd.Series) else given
    return [{name: _plain(cell) for name, cell in row.items()} for row in frame.astype(object).to_dict("records")]


def _plain(cell: Any) -> Any:
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):
        return None
    return cell.item() if isinstance(cell, np.generic) else cell


def fitted(case: Case) -> tuple[Any, pd.DataFrame]:
    model, frame, target = case()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(frame, target) if target is not None else model.fit(frame), frame


def register(platform: Adopter, model: Any, example: list[dict[str, Any]], **options: Any) -> ModelVersion:
    offer = registration.of_model(model, "m", platform, input_example=example, **options)
    return registration.register(platform, "m", offer, actor="ana")


def served(platform: Adopter, version: ModelVersion, rows: list[dict[str, Any]]) -> np.ndarray:
    """The answers of a prediction process: requests checked, features read, matrix made, predictor asked."""
    assert version.bundle, version.unservable
    model = loading.load(platform.repositories.blobs, platform.formats, version.bundle)
    checked = check_rows(rows, model.bundle.features.request_fields)
    vectors = OnlineFeatures(MemoryOnline(), model.bundle.features).vectors(checked, 0)
    return model.predictor.predict(model.transformer.matrix(vectors))


def own(model: Any, frame: pd.DataFrame) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answers = model.predict_proba(frame)[:, 1] if hasattr(model, "predict_proba") else model.predict(frame)
    return np.asarray(answers, dtype=np.float64).ravel()


@pytest.mark.parametrize("name", SERVED)
def test_what_is_served_is_what_the_object_answers_and_the_version_says_so(platform: Adopter, name: str) -> None:
    model, frame = fitted(SERVED[name])
    rows = requests(frame)
    version = register(platform, model, rows[:20])
    np.testing.assert_allclose(served(platform, version, rows), own(model, frame), atol=2e-6)
    assert version.parity is not None
    assert version.parity.compared > 30
    assert version.parity.author.endswith(type(model).__qualname__)
    assert version.parity.unanswered == 0


REFUSED: Mapping[str, tuple[Case, str]] = {
    "hard vote": (lambda: (VotingClassifier([("a", logistic())]), of("x", "size"), BINARY), "gives no probabilities"),
    "xgboost on letters beyond ASCII": (
        lambda: (
            xgboost.XGBClassifier(**XGB, enable_categorical=True),
            of("plan", "x").replace({"plan": {"pro": "très"}}).astype({"plan": "category"}),
            BINARY,
        ),
        "letters beyond ASCII",
    ),
    "linear xgboost": (
        lambda: (xgboost.XGBRegressor(n_estimators=3, booster="gblinear", updater="coord_descent"), of("x", "size"), VALUE),
        "gblinear",
    ),
    "xgboost of raw margins": (lambda: (xgboost.XGBClassifier(**XGB, objective="binary:logitraw"), of("x", "size"), BINARY), "logitraw"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_served_is_refused_saying_what_it_is(platform: Adopter, name: str) -> None:
    case, reason = REFUSED[name]
    model, frame = fitted(case)
    rows = requests(frame)
    try:
        told = register(platform, model, rows[:20]).unservable
    except InvalidInput as error:
        told = str(error)
    assert re.search(reason, told)


def test_text_classes_say_which_of_them_an_answer_means(platform: Adopter) -> None:
    model, frame = fitted(SERVED["text classes"])
    version = register(platform, model, requests(frame)[:5])
    assert version.classes == ("churned", "kept")
    assert version.answer == "the probability of 'kept' (the other class is 'churned')"
    bundle = loading.load(platform.repositories.blobs, platform.formats, version.bundle).bundle
    assert (bundle.classes, bundle.problem) == (("churned", "kept"), "classification")
    plain, frame = fitted(SERVED["one-hot"])
    assert register(platform, plain, requests(frame)[:5]).classes == ()


def test_early_stopping_answers_with_the_rounds_that_the_wrapper_uses(platform: Adopter) -> None:
    frame = of("x", "size")
    held = [(frame[:30], -VALUE[:30])]
    stopped = xgboost.XGBRegressor(**XGB | {"n_estimators": 40}, early_stopping_rounds=2).fit(frame, VALUE, eval_set=held, verbose=False)
    light = lightgbm.LGBMRegressor(**LGB | {"n_estimators": 40}).fit(
        frame, VALUE, eval_X=held[0][0], eval_y=held[0][1], callbacks=[lightgbm.early_stopping(2, verbose=False)]
    )
    for model in (stopped, light):
        version = register(platform, model, requests(frame)[:9])
        np.testing.assert_allclose(served(platform, version, requests(frame)), own(model, frame), atol=2e-6)


class Moody(BaseEstimator):
    """Answers otherwise once it was pickled."""

    def fit(self, frame: Any, target: Any) -> "Moody":
        self.n_features_in_, self.mood_ = 2, 0.0
        return self

    def predict(self, matrix: Any) -> np.ndarray:
        return np.asarray(matrix, dtype=float)[:, 0] + self.mood_

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "mood_": 0.25}


def test_a_model_that_answers_otherwise_is_refused_with_rows_and_both_answers(platform: Adopter) -> None:
    pickle_signing.allow(platform.repositories.metadata, "m", actor="eve", reason="ours", now_us=1)
    try:
        version = register(platform, Moody().fit(None, None), [{"a": 2.0, "b": 1.0}])
    finally:
        pickle_signing.forbid(platform.repositories.metadata, "m", actor="eve", reason="done", now_us=2)
    assert version.bundle == ""
    assert "rows differ, for example {'a': 2.0, 'b': 1.0}: the author's" in version.unservable
    assert "Moody answers 2, served would be 2.25" in version.unservable


def test_an_unknown_text_that_an_encoder_refuses_is_named_with_row_and_field(platform: Adopter) -> None:
    model, frame = fitted(SERVED["an encoder that refuses what it does not know"])
    version = register(platform, model, requests(frame)[:9])
    loaded = loading.load(platform.repositories.blobs, platform.formats, version.bundle)
    vectors = [{"request__plan": plan, "request__x": 0.5} for plan in ("basic", "platinum", "gold")]
    with pytest.raises(InvalidInput) as refused:
        row_failures.answered(loaded, vectors)
    first, told, last = row_failures.one_by_one(loaded, vectors, refused.value)
    expected = own(model, pd.DataFrame({"plan": ["basic", "gold"], "x": 0.5}))
    np.testing.assert_allclose([first, last], expected, atol=1e-12)
    assert isinstance(told, tuple)
    assert row_failures.blamed(loaded, vectors[1], 1, told[0]).startswith("row 1: field 'plan' is 'platinum', which the model does not take")
    assert "a text that it does not know" in told[0]


def test_a_model_whose_answers_depend_on_float32_says_so(platform: Adopter) -> None:
    frame = of("x", "hole").astype("float32")
    model = make_pipeline(StandardScaler(), RandomForestRegressor(8, random_state=0)).fit(frame, VALUE)
    apart = np.abs(model.predict(frame) - model.predict(frame.astype("float64")))
    assert apart.max() > 0.01
    version = register(platform, model, [requests(frame)[int(apart.argmax())], *requests(frame)[:20]])
    assert version.parity is not None
    assert version.parity.narrow_difference > 0.001
    assert "given float32 instead of the float64 that is served" in version.parity.sentence
    linear = register(platform, make_pipeline(StandardScaler(), Ridge()).fit(of("x", "size"), VALUE), requests(of("x", "size"))[:20])
    assert linear.parity is not None
    assert linear.parity.narrow_difference == 0


def test_a_booster_from_a_file_is_compared_with_the_frameworks_own_object(platform: Adopter, tmp_path: Any) -> None:
    model, frame = fitted(SERVED["xgboost on categories"])
    model.save_model(tmp_path / "m.ubj")
    offer = registration.of_path(tmp_path / "m.ubj")
    version = registration.register(platform, "m", offer, actor="ana")
    assert version.parity is not None
    assert (version.parity.author, version.parity.compared > 30) == ("xgboost.Booster", True)
    np.testing.assert_allclose(served(platform, version, requests(frame)), own(model, frame), atol=2e-6)


def test_a_whole_number_of_an_onnx_model_takes_no_null_and_no_fraction(platform: Adopter) -> None:
    inputs = [helper.make_tensor_value_info(name, kind, ["n", 1]) for name, kind in (("age", TensorProto.INT64), ("fare", TensorProto.DOUBLE))]
    nodes = [helper.make_node("Cast", ["age"], ["real"], to=TensorProto.DOUBLE), helper.make_node("Sub", ["real", "fare"], ["y"])]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["n", 1])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    version = register(platform, model, [{"age": 7, "fare": 2.5}])
    np.testing.assert_array_equal(served(platform, version, [{"age": 7, "fare": 2.5}]), [4.5])
    with pytest.raises(InvalidInput, match="'age' takes int64, and was given null"):
        served(platform, version, [{"age": None, "fare": 2.5}])
    assert version.parity is not None
    assert version.parity.refused > 0


@pytest.mark.slow
def test_worlds_drawn_at_random_are_served_as_their_objects_answer(fuzz: Callable[[Callable[[int], object]], None], platform: Adopter) -> None:
    """One served case after the other over other data."""
    fuzz(lambda seed: drawn_world_is_served(platform, seed))


def typed_as(drawn: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """The columns of a frame out of others, in its types; categories are those that were drawn."""
    kinds = frame.dtypes.to_dict()
    categories = {column for column, kind in kinds.items() if str(kind) == "category"}
    plain = {column: kind for column, kind in kinds.items() if column not in categories}
    return drawn[list(kinds)].astype(plain).astype(dict.fromkeys(categories, "category"))


def drawn_world_is_served(platform: Adopter, seed: int) -> None:
    """A case, drawn by the seed, over data that are drawn by it."""
    drawn, binary, value = world(seed)
    targets = {id(BINARY): binary, id(VALUE): value, id(KEPT): np.where(binary == 1, "kept", "churned")}
    name = list(SERVED)[seed % len(SERVED)]
    model, frame, target = SERVED[name]()
    if id(target) not in targets:
        return
    fresh = drawn[frame.name] if isinstance(frame, pd.Series) else typed_as(drawn, frame)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(fresh, targets[id(target)])
    rows = requests(fresh)
    version = register(platform, model, rows[:20])
    np.testing.assert_allclose(served(platform, version, rows), own(model, fresh), atol=2e-6, err_msg=f"{name}, seed {seed}")
