"""XGBoost models in XGBoost's own UBJSON form, predicted through its C library.

The Python package `xgboost` must be installed but is not imported for serving: importing it takes pandas, scipy and scikit-learn
along (2 s and 160 MB more, 2026-11). The C functions and their arguments are those of `xgboost/c_api.h`, version 3.
"""

import ctypes
import importlib
import importlib.metadata
import importlib.util
import json
import weakref
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from rota.backends.models import author_frames
from rota.backends.models.envelope import bare, check_size, unwrapped, wrapped
from rota.backends.models.xgboost_checks import check_model
from rota.errors import Corrupt, InvalidInput, Unavailable
from rota.ports.models import AuthorRows, ConvertedModel, ModelInputs
from rota.problems import output_names

_MAGIC = "rota-xgboost"
_PACKAGES = ("xgboost", "xgboost-cpu")
_TYPES = {"Booster", "XGBModel"}
_REFUSED = {
    "multi:softmax": "answers the number of a class and no probabilities; call its set_param('objective', 'multi:softprob'), its trees stay",
    "survival:": "answers times and risks, which have no problem here yet; train it with objective='reg:squarederror' or 'reg:gamma'",
    "binary:logitraw": "answers raw margins and no probabilities; train it with objective='binary:logistic'",
    "binary:hinge": "answers 0 or 1 and no probabilities; train it with objective='binary:logistic'",
}
_PROBLEMS = {
    "multi:softprob": "multiclass", "binary:logistic": "classification", "count:poisson": "count", "reg:gamma": "positive", "reg:tweedie": "positive",
}  # fmt: skip
"""Problems by objectives; every other objective is a regression's."""
_CONFIG = '{"type": 0, "training": false, "iteration_begin": 0, "iteration_end": 0, "strict_shape": false, "missing": %s, "cache_id": 0}'
_MISSING = "rota.missing"
"""The attribute of a booster that holds the number which its scikit-learn wrapper takes for missing; XGBoost keeps it nowhere."""
_JSON, _UBJ = b'{"format": "json"}', b'{"format": "ubj"}'

if importlib.util.find_spec("xgboost") is None:
    raise ImportError("xgboost is not installed; install the extra: pip install 'rota[xgboost]'")


class XGBoostFormat:
    """ModelFormat (port) for boosters of trees with any objective whose answers are served, as Booster or scikit-learn wrapper."""

    name = "xgboost"
    tolerance = 1e-6

    def accepts(self, model: Any) -> bool:
        return any(base.__module__.partition(".")[0] == "xgboost" and base.__name__ in _TYPES for base in type(model).__mro__)

    def dumps(self, model: Any) -> bytes:
        return self.imported(self.kept(model))

    def imported(self, file: bytes) -> bytes:
        """A file that `save_model` wrote, in UBJSON or JSON."""
        check_size("XGBoost", file)
        try:
            booster = _Booster(bare(_MAGIC, file))
            model = booster.json()
        except Corrupt as error:
            raise InvalidInput(f"this is no XGBoost model: {error}", **error.facts) from error
        _check_answers(model)
        try:
            _categories(model["learner"])
        except Corrupt as error:
            raise InvalidInput(f"this XGBoost model cannot be served: {error}", **error.facts) from error
        return wrapped(_MAGIC, booster.save(_UBJ))

    def loads(self, data: bytes) -> "XGBoostPredictor":
        return XGBoostPredictor(_Booster(unwrapped(_MAGIC, data)))

    def describe(self, data: bytes) -> ModelInputs:
        learner = _Booster(unwrapped(_MAGIC, data)).json()["learner"]
        problem, outputs = _answers(learner)
        width = int(learner["learner_model_param"]["num_feature"])
        texts = {column: each for column, known in _categories(learner).items() if (each := tuple(k for k in known if isinstance(k, str)))}
        missing = learner.get("attributes", {}).get(_MISSING)
        return ModelInputs(
            width,
            tuple(learner["feature_names"]),
            texts,
            problem,
            thresholds=_thresholds(learner),
            sentinels=(float(missing),) if missing else (),
            outputs=outputs,
        )

    def held(self, data: bytes) -> Any:
        package, body = importlib.import_module("xgboost"), unwrapped(_MAGIC, data)
        check_model(body)
        return package.Booster(params={"nthread": 1}, model_file=bytearray(body))

    def author(self, model: Any) -> "XGBoostAuthor":
        data = wrapped(_MAGIC, self.kept(model))
        return XGBoostAuthor(model, self.describe(data), _categories(_Booster(unwrapped(_MAGIC, data)).json()["learner"]))

    def converted(self, data: bytes) -> ConvertedModel:
        """The model as an ONNX graph (ConvertibleFormat)."""
        if any(importlib.util.find_spec(library) is None for library in ("onnx", "onnxruntime")):
            raise InvalidInput("onnx and onnxruntime are not installed where it was registered: pip install 'rota[onnx]'")
        learner = _Booster(unwrapped(_MAGIC, data)).json()["learner"]
        convert = importlib.import_module("rota.backends.models.xgboost_onnx").convert
        found: ConvertedModel = convert(learner, _thresholds(learner), categories=bool(_categories(learner)), several=bool(_answers(learner)[1]))
        return found

    def kept(self, model: Any) -> bytes:
        """The model's UBJSON, whatever it answers."""
        return bytes(_booster(model).save_raw(raw_format="ubj"))

    def libraries(self) -> dict[str, str]:
        packages = [name for name in _PACKAGES if any(importlib.metadata.distributions(name=name))]
        return {"xgboost": importlib.metadata.version(packages[0]), "numpy": importlib.metadata.version("numpy")}


class XGBoostAuthor:
    """AuthorModel (port): a booster or its scikit-learn wrapper, asked through XGBoost's Python package."""

    def __init__(self, model: Any, inputs: ModelInputs, categories: Mapping[int, Sequence[Any]]) -> None:
        self.inputs = author_frames.with_classes(inputs, model)
        self._model = model
        self._categories = categories

    def answers(self, rows: AuthorRows) -> np.ndarray:
        given = (
            author_frames.frame(rows, self.inputs.names, categories=self._categories)
            if self._categories or self.inputs.names
            else author_frames.array(rows)
        )
        if hasattr(self._model, "predict_proba"):
            answers = np.asarray(self._model.predict_proba(given), dtype=np.float64)
            return answers if self.inputs.outputs else answers[:, 1]
        if hasattr(type(self._model), "get_booster"):
            return np.asarray(self._model.predict(given), dtype=np.float64)
        missing = self._model.attr(_MISSING)
        package = importlib.import_module("xgboost")
        matrix = package.DMatrix(given, missing=float(missing) if missing else np.nan, enable_categorical=True, nthread=1)
        return np.asarray(self._model.predict(matrix), dtype=np.float64)


class XGBoostPredictor:
    """A loaded booster. A category that it was not trained with counts as missing."""

    def __init__(self, booster: "_Booster") -> None:
        self._booster = booster
        self.columns = booster.columns()
        learner = booster.json()["learner"]
        self._shape = (len(outputs),) if (outputs := _answers(learner)[1]) else ()
        is_categorical = b"c" in booster.feature_types()
        self._known = {i: len(each) for i, each in _categories(learner).items() if isinstance(each[0], str)} if is_categorical else {}
        self._coded = {i: np.array(each, dtype=np.float64) for i, each in _categories(learner).items() if not isinstance(each[0], str)}
        self._missing = learner.get("attributes", {}).get(_MISSING, "NaN")

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        if matrix.ndim != 2 or matrix.shape[1] != self.columns:
            raise InvalidInput(f"the matrix has shape {matrix.shape}; the model needs (rows, {self.columns})", shape=matrix.shape)
        if not matrix.shape[0]:
            return np.empty((0, *self._shape))
        given = np.array(matrix, dtype=np.float64, order="C")
        for column, known in self._known.items():
            given[given[:, column] >= known, column] = np.nan
        for column, values in self._coded.items():
            given[:, column] = author_frames.positions(given[:, column], values)
        return self._booster.predict(given, self._missing)


class _Booster:
    """A handle of the C library."""

    def __init__(self, data: bytes) -> None:
        check_model(data)
        library, handle = _library(), ctypes.c_void_p()
        _check(library.XGBoosterCreate(None, ctypes.c_uint64(0), ctypes.byref(handle)))
        weakref.finalize(self, library.XGBoosterFree, ctypes.c_void_p(handle.value))
        self._handle = handle
        buffer = (ctypes.c_char * len(data)).from_buffer_copy(data)
        if library.XGBoosterLoadModelFromBuffer(handle, buffer, ctypes.c_uint64(len(data))):
            raise Corrupt(f"the XGBoost model cannot be read: {_last_error()[:300]}; restore its blob")
        _check(library.XGBoosterSetParam(handle, b"nthread", b"1"))

    def columns(self) -> int:
        found = ctypes.c_uint64()
        _check(_library().XGBoosterGetNumFeature(self._handle, ctypes.byref(found)))
        return found.value

    def feature_types(self) -> list[bytes]:
        length, found = ctypes.c_uint64(), ctypes.POINTER(ctypes.c_char_p)()
        _check(_library().XGBoosterGetStrFeatureInfo(self._handle, b"feature_type", ctypes.byref(length), ctypes.byref(found)))
        return [found[i] or b"" for i in range(length.value)]

    def save(self, config: bytes) -> bytes:
        length, found = ctypes.c_uint64(), ctypes.POINTER(ctypes.c_char)()
        _check(_library().XGBoosterSaveModelToBuffer(self._handle, config, ctypes.byref(length), ctypes.byref(found)))
        return ctypes.string_at(found, length.value)

    def json(self) -> Any:
        return json.loads(self.save(_JSON))

    def predict(self, matrix: np.ndarray, missing: str) -> np.ndarray:
        """Float64 answers of a C-ordered float64 matrix; the library keeps its answer until this thread's next call."""
        shape, dimensions, found = ctypes.POINTER(ctypes.c_uint64)(), ctypes.c_uint64(), ctypes.POINTER(ctypes.c_float)()
        described = json.dumps({**matrix.__array_interface__, "strides": None}).encode()
        out = (ctypes.byref(shape), ctypes.byref(dimensions), ctypes.byref(found))
        status = _library().XGBoosterPredictFromDense(self._handle, described, (_CONFIG % missing).encode(), None, *out)
        if status:
            raise InvalidInput(f"XGBoost cannot predict {matrix.shape[0]} rows: {_last_error()[:300]}", shape=matrix.shape)
        lengths = [shape[i] for i in range(dimensions.value)]
        return np.ctypeslib.as_array(found, tuple(lengths)).astype(np.float64)


def _booster(model: Any) -> Any:
    """The fitted booster; of a scikit-learn wrapper that stopped early, the rounds that it predicts with."""
    if not hasattr(type(model), "get_booster"):
        return model
    try:
        booster = model.get_booster()
    except Exception as error:
        raise InvalidInput(f"the {type(model).__name__} is not fitted; call fit before it is registered") from error
    best = booster.attr("best_iteration")
    booster = booster.copy() if best is None else booster[: int(best) + 1]
    missing = model.missing
    if missing is not None and not np.isnan(missing):
        booster.set_attr(**{_MISSING: repr(float(missing))})
    if model.objective == "multi:softmax" and hasattr(model, "predict_proba"):  # whose predict_proba gives what this objective answers
        booster.set_param("objective", "multi:softprob")
    return booster


def _check_answers(model: Mapping[str, Any]) -> None:
    learner = model["learner"]
    objective = learner["objective"]["name"]
    if learner["gradient_booster"]["name"] == "gblinear":
        raise InvalidInput("the XGBoost model is linear (gblinear), which its library does not predict in place; use a linear model of scikit-learn")
    for name, why in _REFUSED.items():
        if objective.startswith(name):
            raise InvalidInput(f"the XGBoost model has the objective {objective!r}, which {why}", objective=objective)


def _answers(learner: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The problem that a booster solves, and the names of its numbers where an answer has several: XGBoost keeps none but the levels of quantiles."""
    parameters, objective = learner["learner_model_param"], learner["objective"]["name"]
    problem = "ranking" if objective.startswith("rank:") else _PROBLEMS.get(objective, "regression")
    width = max(int(parameters["num_class"]), int(parameters.get("num_target", 1)))
    if width < 2 or objective == "multi:softmax":
        return problem, ()
    if objective == "reg:quantileerror":
        levels = str(learner["objective"]["quantile_loss_param"]["quantile_alpha"]).strip("[]").split(",")
        return "quantiles", tuple(f"{float(level):g}" for level in levels)
    problem = {"classification": "multilabel", "multiclass": "multiclass"}.get(problem, "regression")
    return problem, output_names.numbered(problem, width)


def _categories(learner: Mapping[str, Any]) -> dict[int, tuple[Any, ...]]:
    """The categories of each categorical column, texts or whole numbers, by position; XGBoost keeps them since 3.1 as Arrow does."""
    encoded = _trees(learner).get("cats", {}).get("enc", [])
    return {position: known for position, column in enumerate(encoded) if (known := _learnt(position, column))}


def _trees(learner: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a booster of trees holds; DART keeps it one level deeper, and a linear one holds no trees."""
    booster = learner["gradient_booster"]
    found: Mapping[str, Any] = booster.get("gbtree", booster).get("model", {})
    return found


def _learnt(position: int, column: Mapping[str, Any]) -> tuple[Any, ...]:
    """Whole numbers as they are, or texts by offsets into their bytes.

    XGBoost 3.2 counts the offsets of texts in characters and cuts the bytes there, so one letter beyond ASCII moves every later
    category and loses the end of the last: which texts they were cannot be known any more.
    """
    if "offsets" not in column:
        return tuple(int(value) for value in column["values"])
    offsets, held = list(column["offsets"]), bytes(value % 256 for value in column["values"])
    if len(offsets) < 2:
        return ()
    if offsets[0] or offsets[-1] != len(held) or sorted(offsets) != offsets or not held.isascii():
        raise Corrupt(
            f"the categories of column {position} hold letters beyond ASCII or do not fill their bytes ({offsets[-1]} of {len(held)}), so which "
            "texts they are cannot be known from the model; train it with categories in ASCII, or put an encoder of scikit-learn before it",
            column=position,
        )
    return tuple(held[start:end].decode() for start, end in pairwise(offsets))


def _thresholds(learner: Mapping[str, Any]) -> dict[int, tuple[float, ...]]:
    """The numbers at which trees split, by column; XGBoost compares them as float32."""
    found: dict[int, set[float]] = {}
    for tree in _trees(learner).get("trees", []):
        kinds = tree.get("split_type") or [0] * len(tree["split_indices"])
        for column, bound, left, kind in zip(tree["split_indices"], tree["split_conditions"], tree["left_children"], kinds, strict=True):
            if left != -1 and not kind:
                found.setdefault(int(column), set()).add(float(bound))
    return {column: tuple(sorted(bounds)) for column, bounds in found.items()}


@cache
def _library() -> ctypes.CDLL:
    """XGBoost's C library, loaded at first use; it says what goes wrong by return codes, and prints nothing."""
    spec = importlib.util.find_spec("xgboost")
    folders = [Path(folder) for folder in (spec.submodule_search_locations if spec else None) or []]
    files = [file for folder in folders for file in (folder / "lib" / "libxgboost.so", folder / "lib" / "libxgboost.dylib") if file.exists()]
    if not files:
        raise Unavailable(f"the C library of xgboost is not in {[str(folder) for folder in folders]}; reinstall xgboost from its wheel")
    library = ctypes.CDLL(str(files[0]))
    library.XGBGetLastError.restype = ctypes.c_char_p
    library.XGBSetGlobalConfig(b'{"verbosity": 0}')
    return library


def _check(status: int) -> None:
    if status:
        raise InvalidInput(f"XGBoost refused: {_last_error()[:300]}")


def _last_error() -> str:
    return (_library().XGBGetLastError() or b"").decode(errors="replace")
