"""What a fitted scikit-learn estimator answers: the problem that it solves, how its outputs are called, and by which method it is asked.

All of it follows from the object: a classifier gives probabilities, a regressor numbers, an outlier detector a score, a clusterer the
name of a cluster. An estimator whose answers no problem takes is refused, with what to use instead.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.utils import get_tags

from rota.backends.models import author_frames
from rota.errors import InvalidInput
from rota.problems import output_names
from rota.problems.forms import class_name

_OWN = "sklearn."
_POWERS = {"PoissonRegressor": 1, "GammaRegressor": 2}
"""Variances by the power of the mean (Tweedie)."""
_INNER = ("best_estimator_", "regressor_")
_REFUSED = {
    "transformer": "a transformer, which answers no question about a row; put an estimator with predict behind it, in one pipeline",
    "density_estimator": "a density estimator without predict; use a GaussianMixture, or an IsolationForest for scores of anomalies",
}


@dataclass(frozen=True, slots=True)
class EstimatorAnswers:
    """The problem that an estimator solves, the names of its two classes where they have any, and of its outputs where it has several."""

    problem: str
    classes: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


def of(model: Any) -> EstimatorAnswers:
    """What a fitted estimator answers."""
    if is_classifier(model):
        return _of_classifier(model)
    match _kind(model):
        case "outlier_detector":
            return EstimatorAnswers("anomaly")
        case "clusterer" | "density_estimator":
            return EstimatorAnswers("clustering")
        case _:
            outputs = output_names.numbered("regression", _targets(model))
            return EstimatorAnswers("regression" if outputs else _problem_of_loss(final(model)), (), outputs)


def check(model: Any) -> None:
    """Raise `InvalidInput` unless the estimator's answers are those of a problem."""
    name, kind = type(model).__name__, _kind(model)
    if is_classifier(model):
        _check_classifier(model)
    elif kind == "outlier_detector":
        if not hasattr(model, "score_samples"):
            raise InvalidInput(
                f"the {name} gives no scores of new rows; fit a LocalOutlierFactor with novelty=True, or an IsolationForest", model=name
            )
    elif kind in ("clusterer", "density_estimator") and hasattr(model, "predict"):
        return
    elif kind == "clusterer":
        raise InvalidInput(
            f"the {name} only says the clusters of the rows that it was fitted on; use a KMeans, or fit a classifier on its labels_", model=name
        )
    elif not is_regressor(model) and (kind or type(model).__module__.startswith(_OWN)):
        known = kind or ("transformer" if hasattr(model, "transform") else "")
        what = _REFUSED.get(known, "neither a classifier, a regressor, an outlier detector nor a clusterer; register one of these, which are served")
        raise InvalidInput(f"the {name} is {what}", model=name)


def way(model: Any) -> Callable[[Any], np.ndarray]:
    """How the estimator is asked: a function of rows that gives numbers or, of clusters, names.

    Of two classes it gives the probability of the second, of labels that of each; a score of anomalies is higher the more unusual a row is.
    """
    if is_classifier(model):
        return (lambda given: _of_labels(model, model.predict_proba(given))) if _labels(model) else (lambda given: _of_classes(model, given))
    match _kind(model):
        case "outlier_detector":
            return lambda given: np.asarray(-model.score_samples(given), dtype=np.float64)
        case "clusterer" | "density_estimator":
            return lambda given: np.array([class_name(each) for each in model.predict(given)], dtype=object)
        case _:
            return lambda given: np.asarray(model.predict(given), dtype=np.float64)


def final(model: Any) -> Any:
    """The estimator that answers: the last one of a pipeline, the best one of a search, the one behind a transformed target or a robust fit."""
    while True:
        held = _vars(model)
        names = _INNER if "estimators_" in held else (*_INNER, "estimator_")  # beside a list of fitted ones it is the one to copy
        inner = [held[name] for name in names if held.get(name) is not None] + [step for _, step in held.get("steps", ())[-1:]]
        if not inner:
            return model
        model = inner[0]


def _of_classifier(model: Any) -> EstimatorAnswers:
    if labels := _labels(model):
        return EstimatorAnswers("multilabel", (), output_names.numbered("multilabel", labels))
    classes = model.classes_
    if len(classes) <= 2:
        return EstimatorAnswers("classification", author_frames.class_names(model))
    return EstimatorAnswers("multiclass", (), tuple(class_name(each) for each in classes))


def _check_classifier(model: Any) -> None:
    name = type(model).__name__
    if not hasattr(model, "predict_proba"):
        raise InvalidInput(
            f"the {name} gives no probabilities; use a classifier with predict_proba, or wrap it in CalibratedClassifierCV", model=name
        )
    classes = getattr(model, "classes_", None)
    if classes is None:
        raise InvalidInput(f"the {name} is not fitted; call fit before it is registered", model=name)
    if isinstance(classes, list):
        if any(set(np.asarray(each).tolist()) - {0, 1} for each in classes):
            raise InvalidInput(
                f"the {name} answers {len(classes)} labels a row with classes of their own; train a model for each, or make labels of them that are "
                "0 or 1",
                model=name,
            )
    elif len(classes) < 2 and not _labels(model):
        raise InvalidInput(f"the {name} knows {len(classes)} class, so it has nothing to tell apart; give it rows of two", model=name)


def _of_classes(model: Any, given: Any) -> np.ndarray:
    answers = model.predict_proba(given)
    return np.asarray(answers[:, 1] if answers.shape[1] == 2 else answers, dtype=np.float64)


def _labels(model: Any) -> int:
    """How many labels a classifier answers of which any number may be true; 0 where one of its classes is."""
    classes, last = model.classes_, final(model)
    if isinstance(classes, list):
        return len(classes)
    of_binarizer = getattr(getattr(last, "_label_binarizer", None), "y_type_", "")
    return len(classes) if getattr(last, "multilabel_", False) or of_binarizer == "multilabel-indicator" else 0


def _of_labels(model: Any, answers: Any) -> np.ndarray:
    """The probability of each label; scikit-learn gives a matrix of them, or for each label those of its classes."""
    if not isinstance(answers, list):
        return np.asarray(answers, dtype=np.float64)
    columns = []
    for classes, each in zip(model.classes_, answers, strict=True):
        places = np.flatnonzero(np.asarray(classes) == 1)
        columns.append(each[:, places[0]] if places.size else np.zeros(len(each)))
    return np.column_stack(columns).astype(np.float64)


def _targets(model: Any) -> int:
    """How many numbers a regressor answers, by what it learnt."""
    part = final(model)
    for name in ("n_outputs_", "n_targets_"):
        if isinstance(found := getattr(part, name, None), int | np.integer):
            return int(found)
    if isinstance(members := getattr(part, "estimators_", None), list) and type(part).__name__ in ("MultiOutputRegressor", "RegressorChain"):
        return len(members)
    if "estimators_features_" in _vars(part):  # bags: each answers as all do
        return _targets(part.estimators_[0])
    for name, axis in (("coef_", 0), ("dual_coef_", 1), ("_y", 1), ("y_train_", 1)):
        if isinstance(found := getattr(part, name, None), np.ndarray) and found.ndim == 2 and not hasattr(part, "support_"):
            return int(found.shape[axis])
    return 1


def _problem_of_loss(part: Any) -> str:
    """A regressor of counts or of positive numbers was fitted by their deviance."""
    kind, loss = type(part).__name__, getattr(part, "loss", "")
    power = getattr(part, "power", 0) if kind == "TweedieRegressor" else _POWERS.get(kind, 0)
    if power == 1 or loss == "poisson":
        return "count"
    return "positive" if power > 1 or loss == "gamma" else "regression"


def _kind(model: Any) -> str:
    return get_tags(model).estimator_type or ""


def _vars(model: Any) -> dict[str, Any]:
    return getattr(model, "__dict__", {})
