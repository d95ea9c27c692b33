"""LightGBM's trainings log themselves: parameters, every iteration's evaluations, feature importance, the booster.

Both `lightgbm.train` and the scikit-learn wrappers are wrapped; a callback that only listens is added to those of the caller.
"""

import functools
import inspect
import json
from collections.abc import Callable
from typing import Any

import lightgbm
from lightgbm import engine, sklearn

from rota.backends.autolog.instrumentation import Patches, signature
from rota.ports.autolog import FitLog, Fitting

_ESTIMATORS = ("LGBMModel", "LGBMClassifier", "LGBMRegressor", "LGBMRanker")
_EXAMPLE_ROWS = 5


class LightGBMAutologger:
    """Autologger (port)."""

    def install(self, fitting: Fitting) -> Callable[[], None]:
        patches = Patches()
        train = _train(engine.train, fitting)
        patches.replace(engine, "train", train)
        patches.replace(lightgbm, "train", train)
        for name in _ESTIMATORS:
            found = getattr(sklearn, name)
            patches.replace(found, "fit", _fit(vars(found)["fit"], fitting))
        return patches.undo


AUTOLOGGER = LightGBMAutologger()


def _train(original: Callable[..., Any], fitting: Fitting) -> Callable[..., Any]:
    asked = inspect.signature(original)

    @functools.wraps(original)
    def train(*arguments: Any, **options: Any) -> Any:
        with fitting("lightgbm.train") as log:
            if log is None:
                return original(*arguments, **options)
            call = None
            with log.guarded():
                call = _listened(asked, log, arguments, options)
                log.params(_parameters(call))
            booster = original(*arguments, **options) if call is None else original(*call.args, **call.kwargs)
            with log.guarded():
                _after(log, booster)
                log.model(booster)
            return booster

    return train


def _fit(original: Callable[..., Any], fitting: Fitting) -> Callable[..., Any]:
    asked = inspect.signature(original)

    @functools.wraps(original)
    def fit(self: Any, *arguments: Any, **options: Any) -> Any:
        with fitting(type(self).__name__) as log:
            if log is None:
                return original(self, *arguments, **options)
            call = None
            with log.guarded():
                call = _listened(asked, log, (self, *arguments), options)
                log.params({"estimator_name": type(self).__name__, **self.get_params()})
            fitted = original(self, *arguments, **options) if call is None else original(*call.args, **call.kwargs)
            with log.guarded():
                x = asked.bind(self, *arguments, **options).arguments["X"]
                log.data(x, "X")
                _after(log, self.booster_)
                log.model(self, signature(x[:_EXAMPLE_ROWS], self.predict(x[:_EXAMPLE_ROWS])))
            return fitted

    return fit


def _listened(asked: inspect.Signature, log: FitLog, arguments: tuple[Any, ...], options: dict[str, Any]) -> inspect.BoundArguments:
    """The call with one more callback."""
    call = asked.bind(*arguments, **options)

    def listen(environment: Any) -> None:
        for evaluation in environment.evaluation_result_list or ():
            log.metric(f"{evaluation[0]}-{evaluation[1]}", evaluation[2], environment.iteration)

    call.arguments["callbacks"] = [*(call.arguments.get("callbacks") or ()), listen]
    return call


def _parameters(call: inspect.BoundArguments) -> dict[str, Any]:
    rounds = call.arguments.get("num_boost_round", call.signature.parameters["num_boost_round"].default)
    return {"num_boost_round": rounds, **call.arguments["params"]}


def _after(log: FitLog, booster: Any) -> None:
    if booster.best_iteration > 0:
        log.metric("best_iteration", booster.best_iteration)
    for data, scores in booster.best_score.items():
        for name, value in scores.items():
            log.metric(f"best-{data}-{name}", value)
    names = booster.feature_name()
    for kind in ("gain", "split"):
        importance = {name: float(value) for name, value in zip(names, booster.feature_importance(kind), strict=True)}
        log.artifact(f"feature_importance_{kind}.json", json.dumps(importance, indent=2).encode())
