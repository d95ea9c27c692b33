"""Kinds of models by what they answer, on tables that scikit-learn ships: registered, loaded and asked as the author's own object is.

The oracle is the object itself, asked with the frame that it was fitted on by a function of the test.
"""

import json
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import catboost
import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn import datasets
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import DBSCAN, KMeans, MeanShift
from sklearn.covariance import EllipticEnvelope
from sklearn.ensemble import (
    BaggingRegressor,
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.linear_model import GammaRegressor, LinearRegression, LogisticRegression, PoissonRegressor, Ridge, RidgeClassifier, TweedieRegressor
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor, RegressorChain
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, LocalOutlierFactor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC, OneClassSVM

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
from rota.problems import registry
from rota.records.model import ModelVersion
from rota.serve import row_failures
from rota.serve.requests import check_rows
from rota.testing import FakeClock

BOOST = {"n_estimators": 6, "n_jobs": 1}
LGB = BOOST | {"min_child_samples": 5, "verbose": -1}
CAT = {"iterations": 8, "depth": 3, "verbose": 0, "thread_count": 1, "allow_writing_files": False}
XGB = BOOST | {"max_depth": 3}


def framed(loaded: Any, columns: int) -> pd.DataFrame:
    return pd.DataFrame(loaded.data[:, :columns], columns=[f"x{place}" for place in range(columns)])


WINE, WINES = framed(datasets.load_wine(), 5), datasets.load_wine().target
NAMED = np.array([f"class_{each}" for each in WINES])
LABELS = np.column_stack([WINES == 0, WINE.x0 > 13, WINES != 1]).astype(int)
DIABETES, PROGRESS = framed(datasets.load_diabetes(), 6)[:200], datasets.load_diabetes().target[:200]
BODIES, EXERCISES = pd.DataFrame(datasets.load_linnerud().data, columns=list("abc")), datasets.load_linnerud().target


@dataclass(frozen=True)
class Kind:
    """One model, its table and target, what it must be registered as, and how its author asks it."""

    make: Callable[[], Any]
    problem: str
    table: pd.DataFrame
    target: Any = None
    outputs: tuple[str, ...] = ()
    ask: Callable[[Any, pd.DataFrame], Any] = lambda model, frame: model.predict(frame)
    options: Mapping[str, Any] | None = None


def of_classes(model: Any, frame: pd.DataFrame) -> Any:
    return model.predict_proba(frame)


def of_labels(model: Any, frame: pd.DataFrame) -> Any:
    return np.column_stack([each[:, 1] for each in model.predict_proba(frame)])


def score(model: Any, frame: pd.DataFrame) -> Any:
    return -model.score_samples(frame)


def clusters(model: Any, frame: pd.DataFrame) -> Any:
    return np.array([str(each) for each in model.predict(frame)], dtype=object)


def classes(make: Callable[[], Any], target: Any = NAMED) -> Kind:
    return Kind(make, "multiclass", WINE, target, tuple(str(each) for each in np.unique(target)), of_classes)


def labels(make: Callable[[], Any], ask: Callable[[Any, pd.DataFrame], Any] = of_classes) -> Kind:
    return Kind(make, "multilabel", WINE, LABELS, ("l0", "l1", "l2"), ask)


def targets(make: Callable[[], Any]) -> Kind:
    return Kind(make, "regression", BODIES, EXERCISES, ("y0", "y1", "y2"))


def value(make: Callable[[], Any], problem: str = "regression") -> Kind:
    return Kind(make, problem, DIABETES, PROGRESS)


def scaled(model: Any) -> Any:
    return make_pipeline(StandardScaler(), model)


RANKED = {"group": [50, 50, 100]}
SERVED: Mapping[str, Kind] = {
    "LightGBM, three classes": classes(lambda: lightgbm.LGBMClassifier(**LGB)),
    "LightGBM, three classes by number": classes(lambda: lightgbm.LGBMClassifier(**LGB), WINES),
    "LightGBM ranker": Kind(lambda: lightgbm.LGBMRanker(**LGB), "ranking", DIABETES, PROGRESS.astype(int) // 90, options=RANKED),
    "LightGBM quantile": value(lambda: lightgbm.LGBMRegressor(**LGB, objective="quantile", alpha=0.9)),
    "LightGBM poisson": value(lambda: lightgbm.LGBMRegressor(**LGB, objective="poisson"), "count"),
    "LightGBM gamma": value(lambda: lightgbm.LGBMRegressor(**LGB, objective="gamma"), "positive"),
    "LightGBM tweedie": value(lambda: lightgbm.LGBMRegressor(**LGB, objective="tweedie"), "positive"),
    "XGBoost, three classes": classes(lambda: xgboost.XGBClassifier(**XGB), WINES),
    "XGBoost, softmax": classes(lambda: xgboost.XGBClassifier(**XGB, objective="multi:softmax"), WINES),
    "XGBoost, labels": labels(lambda: xgboost.XGBClassifier(**XGB)),
    "XGBoost, a tree for each target": targets(lambda: xgboost.XGBRegressor(**XGB)),
    "XGBoost, leaves of several targets": targets(lambda: xgboost.XGBRegressor(**XGB, multi_strategy="multi_output_tree")),
    "XGBoost, quantiles": Kind(
        lambda: xgboost.XGBRegressor(**XGB, objective="reg:quantileerror", quantile_alpha=[0.1, 0.5, 0.9]),
        "quantiles",
        DIABETES,
        PROGRESS,
        ("0.1", "0.5", "0.9"),
    ),
    "XGBoost, one quantile": value(lambda: xgboost.XGBRegressor(**XGB, objective="reg:quantileerror", quantile_alpha=0.9)),
    "CatBoost, three classes": classes(lambda: catboost.CatBoostClassifier(**CAT), WINES),
    "CatBoost, several targets": targets(lambda: catboost.CatBoostRegressor(**CAT, loss_function="MultiRMSE")),
    "CatBoost counts": value(lambda: catboost.CatBoostRegressor(**CAT, loss_function="Poisson"), "count"),
    "XGBoost ranker": Kind(lambda: xgboost.XGBRanker(**XGB), "ranking", DIABETES, PROGRESS.astype(int) // 90, options=RANKED),
    "XGBoost counts": value(lambda: xgboost.XGBRegressor(**XGB, objective="count:poisson"), "count"),
    "XGBoost gamma": value(lambda: xgboost.XGBRegressor(**XGB, objective="reg:gamma"), "positive"),
    "XGBoost tweedie": value(lambda: xgboost.XGBRegressor(**XGB, objective="reg:tweedie"), "positive"),
    "logistic regression": classes(lambda: scaled(LogisticRegression())),
    "neighbours": classes(lambda: scaled(KNeighborsClassifier())),
    "calibrated machine": classes(lambda: CalibratedClassifierCV(scaled(SVC()), cv=2)),
    "histogram boosting": classes(lambda: HistGradientBoostingClassifier(max_iter=5)),
    "search": classes(lambda: GridSearchCV(RandomForestClassifier(4, random_state=0), {"max_depth": [2, 3]}, cv=2)),
    "a classifier for each label": labels(lambda: scaled(MultiOutputClassifier(LogisticRegression())), of_labels),
    "a chain of labels": labels(lambda: scaled(ClassifierChain(LogisticRegression()))),
    "one against the rest of labels": labels(lambda: scaled(OneVsRestClassifier(LogisticRegression()))),
    "forest of labels": labels(lambda: RandomForestClassifier(4, random_state=0), of_labels),
    "trees of labels in a search": labels(lambda: GridSearchCV(ExtraTreesClassifier(3, random_state=0), {"max_depth": [2, 3]}, cv=2), of_labels),
    "neighbours of labels": labels(KNeighborsClassifier, of_labels),
    "network of labels": labels(lambda: scaled(MLPClassifier((4,), max_iter=20, random_state=0))),
    "a regressor for each target": targets(lambda: MultiOutputRegressor(HistGradientBoostingRegressor(max_iter=4, min_samples_leaf=3))),
    "a chain of targets": targets(lambda: scaled(RegressorChain(Ridge()))),
    "targets in a search": targets(lambda: GridSearchCV(scaled(Ridge()), {"ridge__alpha": [0.1, 1.0]}, cv=2)),
    "bags of targets": targets(lambda: BaggingRegressor(n_estimators=3, random_state=0)),
    "neighbours of targets": targets(KNeighborsRegressor),
    "forest of targets": targets(lambda: RandomForestRegressor(4, random_state=0)),
    "quantile boosting": value(lambda: HistGradientBoostingRegressor(max_iter=5, loss="quantile", quantile=0.9)),
    "poisson": value(lambda: make_pipeline(MinMaxScaler(), PoissonRegressor()), "count"),
    "poisson boosting": value(lambda: HistGradientBoostingRegressor(max_iter=5, loss="poisson"), "count"),
    "gamma": value(lambda: make_pipeline(MinMaxScaler(), GammaRegressor()), "positive"),
    "tweedie": value(lambda: make_pipeline(MinMaxScaler(), TweedieRegressor(power=1.5)), "positive"),
    "isolation forest": Kind(lambda: IsolationForest(n_estimators=5, random_state=0), "anomaly", WINE, ask=score),
    "isolation forest of some columns": Kind(lambda: IsolationForest(n_estimators=5, max_features=2, random_state=0), "anomaly", WINE, ask=score),
    "outlier factor": Kind(lambda: scaled(LocalOutlierFactor(novelty=True)), "anomaly", WINE, ask=score),
    "one-class machine": Kind(lambda: scaled(OneClassSVM()), "anomaly", WINE, ask=score),
    "elliptic envelope": Kind(lambda: EllipticEnvelope(random_state=0), "anomaly", WINE, ask=score),
    "clusters": Kind(lambda: scaled(KMeans(3, n_init=1, random_state=0)), "clustering", WINE, ask=clusters),
    "clusters of their own number": Kind(MeanShift, "clustering", WINE, ask=clusters),
    "mixture": Kind(lambda: scaled(GaussianMixture(3, random_state=0)), "clustering", WINE, ask=clusters),
}


@pytest.fixture(scope="module")
def platform() -> Adopter:
    metadata = MemoryMetadata()
    repositories = Repositories(
        metadata, MemoryRuns(metadata), MemoryBlobs(), MemoryTables(), MemoryOnline(), MemoryJournal(), FakeClock(10**15), MemoryTracking(metadata)
    )
    return Adopter(repositories, installed_formats(PlatformSeals(metadata, lambda: b"k" * 32)), InlineCompute(), "rota.wiring:convert_in_child")


def fitted(kind: Kind) -> Any:
    given = (kind.table,) if kind.target is None else (kind.table, kind.target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind.make().fit(*given, **(kind.options or {}))


def register(platform: Adopter, model: Any, table: pd.DataFrame, **options: Any) -> ModelVersion:
    problem, group = options.pop("problem", None), options.pop("group", "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        offer = replace(registration.of_model(model, "m", platform, input_example=table[:20], problem=problem, **options), group=group)
        return registration.register(platform, "m", offer, actor="ana")


def asked(platform: Adopter, version: ModelVersion, table: pd.DataFrame) -> tuple[np.ndarray, list[Any]]:
    """What a prediction process answers: the predictor's array, and the answers as callers get them."""
    assert version.bundle, version.unservable
    model = loading.load(platform.repositories.blobs, platform.formats, version.bundle)
    checked = check_rows(table.to_dict("records"), model.bundle.features.request_fields)
    vectors = OnlineFeatures(MemoryOnline(), model.bundle.features).vectors(checked, 0)
    return model.predictor.predict(model.transformer.matrix(vectors)), row_failures.answered(model, vectors)


@pytest.mark.parametrize("name", SERVED)
def test_what_is_served_is_what_the_object_answers_by_its_problem(platform: Adopter, name: str) -> None:
    kind = SERVED[name]
    model = fitted(kind)
    version = register(platform, model, kind.table)
    array, answers = asked(platform, version, kind.table)
    expected = np.asarray(kind.ask(model, kind.table))
    if expected.dtype == object:
        assert array.tolist() == expected.tolist()
    else:
        np.testing.assert_allclose(array, expected, atol=2e-6)
    assert (version.problem, version.outputs) == (kind.problem, kind.outputs)
    assert version.parity is not None
    assert version.parity.compared > 30
    assert version.parity.unanswered == 0
    form = registry.problem_type(version.problem).answer
    assert len(answers) == len(kind.table)
    assert all(form.fits(answer) for answer in answers)


REFUSED: Mapping[str, tuple[Kind, str]] = {
    "hard vote": (
        classes(lambda: VotingClassifier([("a", scaled(LogisticRegression()))])),
        "gives no probabilities; use a classifier with predict_proba",
    ),
    "machine": (classes(lambda: scaled(SVC())), "or wrap it in CalibratedClassifierCV"),
    "ridge of labels": (labels(RidgeClassifier), "gives no probabilities"),
    "labels of three classes": (
        Kind(lambda: RandomForestClassifier(2), "multilabel", WINE, np.column_stack([WINES, WINES])),
        "make labels of them that are 0 or 1",
    ),
    "outlier factor of its own rows": (Kind(LocalOutlierFactor, "anomaly", WINE), "novelty=True, or an IsolationForest"),
    "clusters of its own rows": (Kind(DBSCAN, "clustering", WINE), "use a KMeans, or fit a classifier on its labels_"),
    "transformer": (
        Kind(lambda: make_pipeline(StandardScaler(), MinMaxScaler()), "", WINE),
        "put an estimator with predict behind it, in one pipeline",
    ),
    "LightGBM, one against the rest": (classes(lambda: lightgbm.LGBMClassifier(**LGB, objective="multiclassova")), "objective='multiclass'"),
    "CatBoost, one against the rest": (
        classes(lambda: catboost.CatBoostClassifier(**CAT, loss_function="MultiClassOneVsAll")),
        "loss_function='MultiClass'",
    ),
    "XGBoost of margins": (
        Kind(lambda: xgboost.XGBClassifier(**XGB, objective="binary:logitraw"), "", WINE, WINES > 0),
        "objective='binary:logistic'",
    ),
    "XGBoost of 0 and 1": (Kind(lambda: xgboost.XGBClassifier(**XGB, objective="binary:hinge"), "", WINE, WINES > 0), "objective='binary:logistic'"),
    "XGBoost of survival": (Kind(lambda: xgboost.XGBRegressor(**XGB, objective="survival:cox"), "", DIABETES, PROGRESS), "train it with objective="),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_served_is_refused_naming_the_way_out(platform: Adopter, name: str) -> None:
    kind, reason = REFUSED[name]
    model = fitted(kind)
    with pytest.raises(InvalidInput, match=re.escape(reason)):
        register(platform, model, kind.table)


def test_an_objects_loss_says_its_problem_and_the_registration_may_say_another(platform: Adopter) -> None:
    kind = SERVED["poisson boosting"]
    assert register(platform, fitted(kind), kind.table, problem="regression").problem == "regression"
    refused = register(platform, fitted(SERVED["clusters"]), WINE, problem="multiclass")
    assert "multiclass" in refused.unservable


def test_the_group_of_a_ranking_is_a_field_of_its_requests_and_of_no_other_model(platform: Adopter) -> None:
    kind = SERVED["LightGBM ranker"]
    version = register(platform, fitted(kind), kind.table, group="search")
    bundle = loading.load(platform.repositories.blobs, platform.formats, version.bundle).bundle
    assert (version.group, bundle.group) == ("search", "search")
    assert bundle.request_fields == {**bundle.features.request_fields, "search": "string"}
    other = SERVED["poisson boosting"]
    assert "register it without group='search'" in register(platform, fitted(other), other.table, group="search").unservable


def test_the_outputs_of_a_signature_name_what_the_model_only_numbers(platform: Adopter) -> None:
    def said(table: pd.DataFrame, *names: str) -> str:
        inputs = [{"name": name, "type": "double"} for name in table.columns]
        return json.dumps({"inputs": json.dumps(inputs), "outputs": json.dumps([{"name": each, "type": "double"} for each in names]), "params": None})

    model = LinearRegression().fit(BODIES, EXERCISES)
    version = register(platform, model, BODIES, signature=said(BODIES, "weight", "waist", "pulse"))
    assert version.outputs == ("weight", "waist", "pulse")
    assert asked(platform, version, BODIES)[1][0].keys() == {"weight", "waist", "pulse"}
    assert "'weight', 'waist', 'pulse'" in version.answer
    assert register(platform, model, BODIES, signature=said(BODIES, "weight", "waist")).outputs == ("y0", "y1", "y2")
    assert register(platform, model, BODIES, outputs=("weight", "waist", "pulse")).outputs == ("weight", "waist", "pulse")
    with pytest.raises(InvalidInput, match=r"outputs = \['weight', 'waist'\] cannot be the names of what the model answers: \['y0', 'y1', 'y2'\]"):
        register(platform, model, BODIES, outputs=("weight", "waist"))
    forest = RandomForestClassifier(3).fit(WINE, NAMED)
    assert register(platform, forest, WINE, signature=said(WINE, "p0", "p1", "p2")).outputs == ("class_0", "class_1", "class_2")


class Plain:
    """A class of a team's own: `what` says what it answers."""

    def __init__(self, what: str) -> None:
        self.what = what

    def predict(self, matrix: Any) -> Any:
        first = np.asarray(matrix, dtype=float)[:, 0]
        made = {
            "numbers": lambda: np.column_stack([first, first * 2]),
            "lists": lambda: [[x, x + 1, x + 2] for x in first.tolist()],
            "texts": lambda: ["high" if x > 0 else "low" for x in first],
            "JSON": lambda: [{"span": [np.float64(x), None], "words": ["a"] * int(x > 0)} for x in first],
            "objects": lambda: [object() for _ in first],
        }
        return made[self.what]()


class Levels(Plain):
    output_names = ("0.1", "0.5", "0.9")


@pytest.mark.parametrize(
    ("model", "problem", "registered", "outputs", "first"),
    [
        (Plain("numbers"), None, "regression", ("y0", "y1"), {"y0": 1.5, "y1": 3.0}),
        (Plain("lists"), "embedding", "embedding", (), [1.5, 2.5, 3.5]),
        (Levels("lists"), "quantiles", "quantiles", ("0.1", "0.5", "0.9"), {"0.1": 1.5, "0.5": 2.5, "0.9": 3.5}),
        (Plain("texts"), None, "text", (), "high"),
        (Plain("texts"), "clustering", "clustering", (), "high"),
        (Plain("JSON"), None, "custom", (), {"span": [1.5, None], "words": ["a"]}),
    ],
)
def test_a_plain_class_answers_numbers_texts_or_any_json(
    platform: Adopter, model: Any, problem: str | None, registered: str, outputs: tuple[str, ...], first: Any
) -> None:
    pickle_signing.allow(platform.repositories.metadata, "m", actor="eve", reason="ours", now_us=1)
    try:
        table = pd.DataFrame({"a": [1.5, -2.0, 0.25]})
        version = register(platform, model, table, problem=problem)
        assert (version.problem, version.outputs) == (registered, outputs)
        assert asked(platform, version, table)[1][0] == first
        assert version.parity is not None
        assert version.parity.compared > 5
        assert "no number, no text and no JSON" in register(platform, Plain("objects"), table).unservable
    finally:
        pickle_signing.forbid(platform.repositories.metadata, "m", actor="eve", reason="done", now_us=2)
