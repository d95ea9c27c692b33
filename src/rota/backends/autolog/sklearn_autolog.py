"""scikit-learn's fits log themselves: parameters, scores on the training data, signature, the search's results, the fitted model.

Every estimator class with a `fit` of its own is wrapped, those that are imported later when they are made. What cannot predict
(a scaler, a vectorizer) is no model and is not logged. The scores cost one prediction of the training data.
"""

import functools
import json
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import numpy as np
from sklearn import metrics
from sklearn.base import BaseEstimator, is_classifier, is_regressor

from rota.backends.autolog.instrumentation import Patches, signature
from rota.ports.autolog import FitLog, Fitting

_EXAMPLE_ROWS = 5
_FOREIGN = ("lightgbm", "xgboost")
"""Libraries with estimators for which another autologger speaks, or none."""


class SklearnAutologger:
    """Autologger (port)."""

    def install(self, fitting: Fitting) -> Callable[[], None]:
        patches = Patches()
        for found in _descendants(BaseEstimator):
            _wrap(found, patches, fitting)
        had = "__init_subclass__" in vars(BaseEstimator)
        original: Any = BaseEstimator.__init_subclass__.__func__  # its base class defines one

        def later(cls: type[Any], /, **options: Any) -> None:
            original(cls, **options)
            _wrap(cls, patches, fitting)

        if had:
            patches.replace(BaseEstimator, "__init_subclass__", classmethod(later))
        else:
            BaseEstimator.__init_subclass__ = classmethod(later)

        def undo() -> None:
            if not had:
                del BaseEstimator.__init_subclass__
            patches.undo()

        return undo


AUTOLOGGER = SklearnAutologger()


def _descendants(cls: type) -> Iterator[type]:
    pending, seen = [cls], set()
    while pending:
        found = pending.pop()
        if found not in seen:
            seen.add(found)
            pending.extend(found.__subclasses__())
            yield found


def _wrap(cls: type, patches: Patches, fitting: Fitting) -> None:
    original = vars(cls).get("fit")
    if not isinstance(original, FunctionType) or cls.__module__.partition(".")[0] in _FOREIGN:
        return

    @functools.wraps(original)
    def fit(self: Any, *arguments: Any, **options: Any) -> Any:
        if not hasattr(self, "predict"):
            return original(self, *arguments, **options)
        with fitting(type(self).__name__) as log:
            if log is None:
                return original(self, *arguments, **options)
            with log.guarded():
                _before(log, self)
            fitted = original(self, *arguments, **options)
            with log.guarded():
                _after(log, self, *_data(arguments, options))
            return fitted

    patches.replace(cls, "fit", fit)


def _before(log: FitLog, estimator: Any) -> None:
    is_search = hasattr(estimator, "refit") and hasattr(estimator, "cv")
    log.params({"estimator_name": type(estimator).__name__, **estimator.get_params(deep=not is_search)})


def _data(arguments: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, Any]:
    x = arguments[0] if arguments else options.get("X")
    y = arguments[1] if len(arguments) > 1 else options.get("y")
    return x, y


def _after(log: FitLog, estimator: Any, x: Any, y: Any) -> None:
    log.data(x, "X")
    best = getattr(estimator, "best_estimator_", None)
    if hasattr(estimator, "cv_results_"):
        with log.guarded():
            _search_results(log, estimator)
    if not hasattr(estimator, "predict"):
        return
    answers = None
    with log.guarded():
        answers = estimator.predict(x)
        _scores(log, estimator, x, y, answers)
    described = ""
    if answers is not None:
        with log.guarded():
            described = signature(x[:_EXAMPLE_ROWS], answers[:_EXAMPLE_ROWS])
    log.model(estimator if best is None else best, described)


def _scores(log: FitLog, estimator: Any, x: Any, y: Any, answers: Any) -> None:
    """Under MLflow's names."""
    if y is None:
        return
    with log.guarded():
        log.metric("training_score", float(estimator.score(x, y)))
    if is_classifier(estimator):
        log.metric("training_accuracy_score", float(metrics.accuracy_score(y, answers)))
        for name, score in (("precision", metrics.precision_score), ("recall", metrics.recall_score), ("f1", metrics.f1_score)):
            log.metric(f"training_{name}_score", float(score(y, answers, average="weighted", zero_division=0)))
        if hasattr(estimator, "predict_proba"):
            probabilities = estimator.predict_proba(x)
            log.metric("training_log_loss", float(metrics.log_loss(y, probabilities, labels=estimator.classes_)))
            if probabilities.shape[1] == 2:
                log.metric("training_roc_auc", float(metrics.roc_auc_score(y, probabilities[:, 1])))
    elif is_regressor(estimator):
        squared = float(metrics.mean_squared_error(y, answers))
        log.metric("training_mean_squared_error", squared)
        log.metric("training_root_mean_squared_error", squared**0.5)
        log.metric("training_mean_absolute_error", float(metrics.mean_absolute_error(y, answers)))
        log.metric("training_r2_score", float(metrics.r2_score(y, answers)))


def _search_results(log: FitLog, search: Any) -> None:
    """The best candidate as parameters and score; every candidate in a file."""
    log.params({f"best_{name}": value for name, value in getattr(search, "best_params_", {}).items()})
    if hasattr(search, "best_score_"):
        log.metric("best_cv_score", float(search.best_score_))
    columns = {name: [_plain(value) for value in values] for name, values in search.cv_results_.items()}
    log.artifact("cv_results.json", json.dumps(columns, indent=2).encode())


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if value is np.ma.masked:
        return None
    return (
        value
        if isinstance(value, str | int | float | bool | None)
        else {k: str(v) for k, v in value.items()}
        if isinstance(value, dict)
        else str(value)
    )
