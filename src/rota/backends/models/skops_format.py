"""scikit-learn models in the skops format: no pickle, and only types from the lists below are ever built.

skops trusts scikit-learn's estimators and plain numpy and scipy data by itself. `_TRUSTED` adds the parts that fitted estimators of
scikit-learn 1.9 hold besides. It lists names, not prefixes: "numpy" or "scipy" as a whole contain functions that run code.
"""

import importlib
import importlib.metadata
import importlib.util
import io
import zipfile
from typing import Any

import skops.io
from sklearn.base import BaseEstimator
from skops.io.exceptions import UnsupportedTypeException, UntrustedTypesFoundException

from rota import foreign_archives
from rota.backends.models import sklearn_answers, sklearn_predictor
from rota.backends.models.envelope import LARGEST, check_size
from rota.backends.models.sklearn_checks import check_archive, check_estimator
from rota.backends.models.sklearn_predictor import EstimatorAuthor, EstimatorPredictor, describe, served_part
from rota.errors import Corrupt, InvalidInput
from rota.ports.models import ConvertedModel, ModelInputs

_TRUSTED = frozenset(
    {
        "functools.partial",
        "numpy.bool_",
        "numpy.dtype",
        "numpy.floating",
        "numpy.integer",
        "numpy.number",
        "numpy.object_",
        "scipy._lib.array_api_compat.numpy._aliases.asarray",
        "scipy.interpolate._bsplines.BSpline",
        "scipy.interpolate._bsplines._BSpline",
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
        "sklearn.compose._column_transformer.make_column_selector",
        "sklearn.feature_selection._univariate_selection.chi2",
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
        "sklearn.metrics._scorer._PassthroughScorer",
        "sklearn.metrics._scorer._Scorer",
        "sklearn.model_selection._split.KFold",
        "sklearn.model_selection._split.StratifiedKFold",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
        "sklearn.utils._metadata_requests.MetadataRequest",
        "sklearn.utils._metadata_requests.MethodMetadataRequest",
        "sklearn.utils.validation.check_array",
    }
)
_ASKED = ("predict", "fit_predict")


class SkopsFormat:
    """ModelFormat (port) for scikit-learn's own classifiers, regressors, outlier detectors, clusterers and pipelines of them.

    Of a search the best candidate is kept.
    """

    name = "skops"
    tolerance = 1e-9

    def accepts(self, model: Any) -> bool:
        kind = type(model)
        return issubclass(kind, BaseEstimator) and kind.__module__.partition(".")[0] == "sklearn" and any(hasattr(kind, name) for name in _ASKED)

    def dumps(self, model: Any) -> bytes:
        sklearn_answers.check(model)
        data = self.kept(served_part(model))
        unknown = _unknown_types(data)
        if unknown:
            raise InvalidInput(
                f"the {type(model).__name__} holds types that are not loaded for safety: {unknown}; use scikit-learn's own estimators",
                unknown=unknown,
            )
        return data

    def imported(self, file: bytes) -> bytes:
        check_size("skops", file)
        try:
            sklearn_answers.check(self._model(file))
        except Corrupt as error:
            raise InvalidInput(f"this skops file cannot be served: {error}", **error.facts) from error
        return file

    def loads(self, data: bytes) -> EstimatorPredictor:
        return EstimatorPredictor(self._model(data))

    def describe(self, data: bytes) -> ModelInputs:
        return describe(self._model(data))

    def libraries(self) -> dict[str, str]:
        return {name: importlib.metadata.version(name) for name in ("scikit-learn", "skops", "numpy", "scipy")}

    def held(self, data: bytes) -> Any:
        return self._model(data)

    def author(self, model: Any) -> EstimatorAuthor:
        return EstimatorAuthor(model)

    def converted(self, data: bytes) -> ConvertedModel:
        """The model as an ONNX graph (ConvertibleFormat); needs skl2onnx."""
        if any(importlib.util.find_spec(library) is None for library in ("skl2onnx", "onnxruntime")):
            raise InvalidInput("skl2onnx and onnxruntime are not installed where it was registered: pip install 'rota[onnx]'")
        predictor = self.loads(data)
        found: ConvertedModel = importlib.import_module("rota.backends.models.sklearn_onnx").convert(predictor.model, predictor.inputs)
        return found

    def kept(self, model: Any) -> bytes:
        """Any estimator as skops writes it, whatever it answers; it is loaded only when all of its types are on the list."""
        try:
            data: bytes = skops.io.dumps(model)
        except UnsupportedTypeException as error:
            raise InvalidInput(f"the {type(model).__name__} cannot be kept as skops: {error}; use another estimator", unknown=[str(error)]) from error
        return data

    def _model(self, data: bytes) -> Any:
        try:
            _check_unpacked(data)
            _check_types(data)
            model = skops.io.loads(data, trusted=sorted(_TRUSTED))
            check_estimator(sklearn_predictor.held_objects(model))
        except UntrustedTypesFoundException as error:
            raise Corrupt(f"the skops model holds types that are not loaded for safety: {error}") from error
        except Corrupt:
            raise
        except Exception as error:  # skops and the parts it calls raise many kinds on bytes that are no skops file or a damaged one
            raise Corrupt(f"these bytes are no readable skops model ({type(error).__name__}: {error}); restore the blob") from error
        if not self.accepts(model):
            raise Corrupt(f"the skops file holds a {type(model).__name__}, not a scikit-learn model")
        return model


def _unknown_types(data: bytes) -> list[str]:
    return sorted(set(skops.io.get_untrusted_types(data=data)) - _TRUSTED)


def _check_types(data: bytes) -> None:
    unknown = _unknown_types(data)
    if unknown:
        raise Corrupt(f"the skops model holds types that are not loaded for safety: {unknown}", unknown=unknown)


def _check_unpacked(data: bytes) -> None:
    """A small archive may unpack to more than the memory holds."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        raise Corrupt("these bytes are no readable skops model (they are no ZIP archive); restore the blob")
    with foreign_archives.opened(data, "the skops model", most_bytes=LARGEST) as archive:
        check_archive(archive)
