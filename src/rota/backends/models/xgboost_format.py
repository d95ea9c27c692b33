"""XGBoost models in XGBoost's own UBJSON form, predicted through its C library.

The Python package `xgboost` must be installed but is not imported for serving: importing it takes pandas, scipy and scikit-learn
along (2 s and 160 MB more, 2026-11). The C functions and their arguments are those of `xgboost/c_api.h`, version 3.
"""

import ctypes
import importlib.metadata
import importlib.util
import json
import weakref
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from rota.backends.models.envelope import bare, check_size, unwrapped, wrapped
from rota.errors import Corrupt, InvalidInput, Unavailable
from rota.ports.models import ModelInputs

_MAGIC = "rota-xgboost"
_PACKAGES = ("xgboost", "xgboost-cpu")
_TYPES = {"Booster", "XGBModel"}
_REFUSED = ("multi:", "rank:", "survival:", "binary:logitraw", "binary:hinge")
_CONFIG = b'{"type": 0, "training": false, "iteration_begin": 0, "iteration_end": 0, "strict_shape": false, "missing": NaN, "cache_id": 0}'
_JSON, _UBJ = b'{"format": "json"}', b'{"format": "ubj"}'

if importlib.util.find_spec("xgboost") is None:
    raise ImportError("xgboost is not installed; install the extra: pip install 'rota[xgboost]'")


class XGBoostFormat:
    """ModelFormat (port) for binary and regression boosters, as Booster or scikit-learn wrapper."""

    name = "xgboost"
    tolerance = 1e-6

    def accepts(self, model: Any) -> bool:
        return any(base.__module__.partition(".")[0] == "xgboost" and base.__name__ in _TYPES for base in type(model).__mro__)

    def dumps(self, model: Any) -> bytes:
        return self.imported(bytes(_booster(model).save_raw(raw_format="ubj")))

    def imported(self, file: bytes) -> bytes:
        """A file that `save_model` wrote, in UBJSON or JSON."""
        check_size("XGBoost", file)
        try:
            booster = _Booster(bare(_MAGIC, file))
        except Corrupt as error:
            raise InvalidInput(f"this is no XGBoost model: {error}") from error
        _check_answers(booster.json())
        return wrapped(_MAGIC, booster.save(_UBJ))

    def loads(self, data: bytes) -> "XGBoostPredictor":
        return XGBoostPredictor(_Booster(unwrapped(_MAGIC, data)))

    def describe(self, data: bytes) -> ModelInputs:
        learner = _Booster(unwrapped(_MAGIC, data)).json()["learner"]
        problem = "classification" if learner["objective"]["name"].startswith("binary:") else "regression"
        width = int(learner["learner_model_param"]["num_feature"])
        return ModelInputs(width, tuple(learner["feature_names"]), _texts(learner), problem)  # type: ignore[arg-type]

    def libraries(self) -> dict[str, str]:
        packages = [name for name in _PACKAGES if any(importlib.metadata.distributions(name=name))]
        return {"xgboost": importlib.metadata.version(packages[0]), "numpy": importlib.metadata.version("numpy")}


class XGBoostPredictor:
    """A loaded booster. A text that it was not trained with counts as missing."""

    def __init__(self, booster: "_Booster") -> None:
        self._booster = booster
        self.columns = booster.columns()
        self._known = {i: len(texts) for i, texts in _texts(booster.json()["learner"]).items()} if b"c" in booster.feature_types() else {}

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        if matrix.ndim != 2 or matrix.shape[1] != self.columns:
            raise InvalidInput(f"the matrix has shape {matrix.shape}; the model needs (rows, {self.columns})", shape=matrix.shape)
        if not matrix.shape[0]:
            return np.empty(0)
        given = np.array(matrix, dtype=np.float64, order="C")
        for column, known in self._known.items():
            given[given[:, column] >= known, column] = np.nan
        return self._booster.predict(given)


class _Booster:
    """A handle of the C library."""

    def __init__(self, data: bytes) -> None:
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

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Float64 answers of a C-ordered float64 matrix; the library keeps its answer until this thread's next call."""
        shape, dimensions, found = ctypes.POINTER(ctypes.c_uint64)(), ctypes.c_uint64(), ctypes.POINTER(ctypes.c_float)()
        described = json.dumps({**matrix.__array_interface__, "strides": None}).encode()
        out = (ctypes.byref(shape), ctypes.byref(dimensions), ctypes.byref(found))
        status = _library().XGBoosterPredictFromDense(self._handle, described, _CONFIG, None, *out)
        if status:
            raise InvalidInput(f"XGBoost cannot predict {matrix.shape[0]} rows: {_last_error()[:300]}", shape=matrix.shape)
        lengths = [shape[i] for i in range(dimensions.value)]
        return np.ctypeslib.as_array(found, (int(np.prod(lengths)),)).astype(np.float64)


def _booster(model: Any) -> Any:
    """The fitted booster; of a scikit-learn wrapper that stopped early, the rounds that it predicts with."""
    if not hasattr(type(model), "get_booster"):
        return model
    try:
        booster = model.get_booster()
    except Exception as error:
        raise InvalidInput(f"the {type(model).__name__} is not fitted; call fit before it is registered") from error
    best = booster.attr("best_iteration")
    return booster if best is None else booster[: int(best) + 1]


def _check_answers(model: Mapping[str, Any]) -> None:
    learner = model["learner"]
    objective, classes = learner["objective"]["name"], int(learner["learner_model_param"]["num_class"])
    if classes > 1 or int(learner["learner_model_param"].get("num_target", 1)) > 1 or objective.startswith(_REFUSED):
        raise InvalidInput(
            f"the XGBoost model has the objective {objective!r} with {max(classes, 1)} outputs a row; only binary:logistic and regression are served",
            objective=objective,
        )


def _texts(learner: Mapping[str, Any]) -> dict[int, tuple[str, ...]]:
    """The categories of each column of texts, by position; XGBoost keeps them since 3.1 as Arrow does, offsets into bytes."""
    encoded = learner["gradient_booster"].get("model", {}).get("cats", {}).get("enc", [])
    found = {}
    for position, column in enumerate(encoded):
        offsets = column.get("offsets") or []
        if len(offsets) > 1:
            held = bytes(value % 256 for value in column["values"])
            found[position] = tuple(held[start:end].decode() for start, end in pairwise(offsets))
    return found


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
