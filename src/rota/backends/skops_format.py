"""scikit-learn models in the skops format: no pickle, and only types from the lists below are ever built.

skops trusts scikit-learn's estimators and plain numpy and scipy data by itself. `_TRUSTED` adds the parts that fitted estimators of
scikit-learn 1.9 hold besides. It lists names, not prefixes: "numpy" or "scipy" as a whole contain functions that run code.
"""

import importlib.metadata
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import skops.io
from sklearn.base import BaseEstimator, is_classifier
from skops.io.exceptions import UnsupportedTypeException, UntrustedTypesFoundException

from rota.errors import Corrupt, InvalidInput

_TRUSTED = frozenset(
    {
        "numpy.dtype",
        "scipy.interpolate._bsplines.BSpline",
        "sklearn._loss.link.IdentityLink",
        "sklearn._loss.link.Interval",
        "sklearn._loss.link.LogLink",
        "sklearn._loss.link.LogitLink",
        "sklearn._loss.loss.AbsoluteError",
        "sklearn._loss.loss.HalfBinomialLoss",
        "sklearn._loss.loss.HalfGammaLoss",
        "sklearn._loss.loss.HalfPoissonLoss",
        "sklearn._loss.loss.HalfSquaredError",
        "sklearn._loss.loss.HalfTweedieLoss",
        "sklearn._loss.loss.HalfTweedieLossIdentity",
        "sklearn._loss.loss.HuberLoss",
        "sklearn._loss.loss.PinballLoss",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.feature_selection._univariate_selection.f_regression",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.gaussian_process.kernels.Sum",
        "sklearn.gaussian_process.kernels.WhiteKernel",
        "sklearn.metrics._classification.balanced_accuracy_score",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.metrics._dist_metrics.ManhattanDistance64",
        "sklearn.metrics._dist_metrics.MinkowskiDistance64",
        "sklearn.metrics._scorer._CurveScorer",
        "sklearn.metrics._scorer._Scorer",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
        "sklearn.utils._metadata_requests.MetadataRequest",
        "sklearn.utils._metadata_requests.MethodMetadataRequest",
    }
)
# What skops and the parts it calls raise on bytes that are no skops file or a damaged one.
_UNREADABLE = (
    zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, KeyError, IndexError, TypeError, ValueError, AttributeError, ImportError,
    NotImplementedError, RecursionError, RuntimeError, UnsupportedTypeException,
)  # fmt: skip


class SkopsFormat:
    """ModelFormat (port) for scikit-learn's own binary classifiers, regressors and pipelines of them."""

    name = "skops"

    def accepts(self, model: Any) -> bool:
        return issubclass(type(model), BaseEstimator) and type(model).__module__.partition(".")[0] == "sklearn" and hasattr(type(model), "predict")

    def dumps(self, model: Any) -> bytes:
        _check_answers(model)
        try:
            data: bytes = skops.io.dumps(model)
        except UnsupportedTypeException as error:
            raise InvalidInput(
                f"the {type(model).__name__} cannot be kept as skops: {error}; use another estimator", model=type(model).__name__
            ) from error
        unknown = _unknown_types(data)
        if unknown:
            raise InvalidInput(
                f"the {type(model).__name__} holds types that are not loaded for safety: {unknown}; use scikit-learn's own estimators",
                unknown=unknown,
            )
        return data

    def loads(self, data: bytes) -> "SkopsPredictor":
        try:
            unknown = _unknown_types(data)
            if unknown:
                raise Corrupt(f"the skops model holds types that are not loaded for safety: {unknown}", unknown=unknown)
            model = skops.io.loads(data, trusted=sorted(_TRUSTED))
        except UntrustedTypesFoundException as error:
            raise Corrupt(f"the skops model holds types that are not loaded for safety: {error}") from error
        except _UNREADABLE as error:
            raise Corrupt(f"these bytes are no readable skops model ({type(error).__name__}: {error}); restore the blob") from error
        if not self.accepts(model):
            raise Corrupt(f"the skops file holds a {type(model).__name__}, not a scikit-learn model")
        return SkopsPredictor(model)

    def libraries(self) -> dict[str, str]:
        return {name: importlib.metadata.version(name) for name in ("scikit-learn", "skops", "numpy", "scipy")}


class SkopsPredictor:
    """A loaded estimator that starts no workers of its own and takes columns by position."""

    def __init__(self, model: Any) -> None:
        for part in _estimators(model):
            vars(part).pop("feature_names_in_", None)  # else scikit-learn warns at each plain matrix
            if "n_jobs" in vars(part):
                part.n_jobs = None
        self._model = model
        self._classifies = is_classifier(model)

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        if matrix.ndim != 2:
            raise InvalidInput(f"the matrix has shape {matrix.shape}; the model needs (rows, columns)", shape=matrix.shape)
        if not matrix.shape[0]:
            return np.empty(0)
        try:
            answers = self._model.predict_proba(matrix)[:, 1] if self._classifies else self._model.predict(matrix)
        except (ValueError, TypeError) as error:
            raise InvalidInput(f"the {type(self._model).__name__} cannot predict {matrix.shape[0]} rows: {error}", shape=matrix.shape) from error
        return np.ascontiguousarray(answers, dtype=np.float64).reshape(matrix.shape[0])


def _check_answers(model: Any) -> None:
    """Only models that give one number a row can be served."""
    name = type(model).__name__
    if is_classifier(model):
        if not hasattr(model, "predict_proba"):
            raise InvalidInput(
                f"the {name} gives no probabilities; use a classifier with predict_proba, or wrap it in CalibratedClassifierCV", model=name
            )
        classes = getattr(model, "classes_", None)
        if classes is None:
            raise InvalidInput(f"the {name} is not fitted; call fit before it is registered", model=name)
        if len(classes) != 2:
            raise InvalidInput(f"the {name} knows {len(classes)} classes; only binary classifiers and regressors are served", model=name)


def _unknown_types(data: bytes) -> list[str]:
    return sorted(set(skops.io.get_untrusted_types(data=data)) - _TRUSTED)


def _estimators(model: Any) -> Iterator[BaseEstimator]:
    """The estimator and every estimator held in its attributes, lists and dicts."""
    pending, seen = [model], set()
    while pending:
        found = pending.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, BaseEstimator):
            yield found
            pending.extend(vars(found).values())
        elif isinstance(found, dict):
            pending.extend(found.values())
        elif isinstance(found, (list, tuple)) or (isinstance(found, np.ndarray) and found.dtype == object):
            pending.extend(found)
