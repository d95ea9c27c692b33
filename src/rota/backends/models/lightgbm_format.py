"""LightGBM models as their own text format, predicted through LightGBM's C library.

The Python package `lightgbm` must be installed but is not imported: importing it takes pandas and scikit-learn along (cold 5 s
where the C library alone loaded in 0.05 s, 2026-11), which a prediction process does not need. The C functions and their
arguments are those of `LightGBM/c_api.h`, version 4.
"""

import ctypes
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import threading
import weakref
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from rota.backends.models import author_frames
from rota.backends.models.author_frames import positions
from rota.backends.models.envelope import check_size
from rota.backends.models.lightgbm_checks import check_text
from rota.errors import Corrupt, InvalidInput, RotaError, Unavailable
from rota.ports.models import AuthorRows, ModelInputs
from rota.problems import output_names

_TYPES = {"Booster", "LGBMClassifier", "LGBMRanker", "LGBMRegressor"}
_ARCHIVED = frozenset({"collections.OrderedDict", "lightgbm.basic.Booster", *(f"lightgbm.sklearn.{name}" for name in _TYPES - {"Booster"})})
_PROBLEMS = {
    "binary": "classification", "multiclass": "multiclass", "lambdarank": "ranking", "rank_xendcg": "ranking", "poisson": "count",
    "gamma": "positive", "tweedie": "positive",
}  # fmt: skip
"""Problems by objectives; every other objective is a regression's."""
_SEAL = "rota_sha256="
_FLOAT64, _NORMAL, _ROW_MAJOR, _ALL = 1, 0, 1, -1  # C_API_DTYPE_FLOAT64, C_API_PREDICT_NORMAL, row-major, every iteration
_PARAMETERS = b"num_threads=1"

if importlib.util.find_spec("lightgbm") is None:
    raise ImportError("lightgbm is not installed; install the extra: pip install 'rota[lightgbm]'")


class LightGBMFormat:
    """ModelFormat (port) for boosters of any objective that the library knows, as Booster or scikit-learn wrapper.

    The bytes are LightGBM's model text with one more header line, the SHA-256 of the rest; LightGBM itself reads them too.
    """

    name = "lightgbm"
    tolerance = 1e-9

    def accepts(self, model: Any) -> bool:
        return any(base.__module__.partition(".")[0] == "lightgbm" and base.__name__ in _TYPES for base in type(model).__mro__)

    def dumps(self, model: Any) -> bytes:
        booster = model if hasattr(type(model), "model_to_string") else _fitted_booster(model)
        text = booster.model_to_string()
        _check_categories(text)
        _check_objective(_header(text))
        return _sealed(text)

    def imported(self, file: bytes) -> bytes:
        """A file that `save_model` wrote, or the skops archive of a scikit-learn wrapper (MLflow 3 writes one)."""
        check_size("LightGBM", file)
        if file.startswith(b"PK"):
            return self.dumps(_unpacked(file))
        try:
            text = file.decode()
            check_text(text)
            LightGBMPredictor(file)
        except (Corrupt, UnicodeDecodeError) as error:
            raise InvalidInput(f"this is no LightGBM model: {error}", **getattr(error, "facts", {})) from error
        _check_objective(_header(text))
        _check_categories(text)
        return _sealed("\n".join(line for line in text.split("\n") if not line.startswith(_SEAL)))

    def loads(self, data: bytes) -> "LightGBMPredictor":
        return LightGBMPredictor(_unsealed(data))

    def describe(self, data: bytes) -> ModelInputs:
        """Texts are told for pandas' category columns when the model says which columns are categorical."""
        text = _unsealed(data).decode()
        header = _header(text)
        names = tuple(header.get("feature_names", "").split(" "))
        named = () if names == tuple(f"Column_{i}" for i in range(len(names))) else names
        return ModelInputs(len(names), named, _texts(text), _problem(header), thresholds=_thresholds(text), outputs=_outputs(header))

    def held(self, data: bytes) -> Any:
        text = _unsealed(data).decode()
        check_text(text)
        return importlib.import_module("lightgbm").Booster(model_str=text)

    def author(self, model: Any) -> "LightGBMAuthor":
        kept = self.kept(model)
        return LightGBMAuthor(model, self.describe(kept), _categories(_unsealed(kept).decode()))

    def kept(self, model: Any) -> bytes:
        """The model's text, whatever it answers."""
        booster = model if hasattr(type(model), "model_to_string") else _fitted_booster(model)
        return _sealed(booster.model_to_string())

    def libraries(self) -> dict[str, str]:
        return {name: importlib.metadata.version(name) for name in ("lightgbm", "numpy")}


class LightGBMAuthor:
    """AuthorModel (port): a booster or its scikit-learn wrapper, asked through LightGBM's Python package."""

    def __init__(self, model: Any, inputs: ModelInputs, categories: Mapping[int, Sequence[Any]]) -> None:
        self._categories = categories
        self.inputs = author_frames.with_classes(inputs, model)
        self._model = model

    def answers(self, rows: AuthorRows) -> np.ndarray:
        framed = self._categories or hasattr(self._model, "feature_names_in_")
        given = author_frames.frame(rows, self.inputs.names, categories=self._categories) if framed else author_frames.array(rows)
        if hasattr(self._model, "predict_proba"):
            answers = np.asarray(self._model.predict_proba(given), dtype=np.float64)
            return (
                answers[:, 1] if answers.shape[1:] == (2,) and not self.inputs.outputs else answers
            )  # an objective of the author's own gives one number
        return np.asarray(self._model.predict(given), dtype=np.float64)


class LightGBMPredictor:
    """A loaded booster. A category that it was not trained with counts as missing, as for LightGBM's own package.

    Single rows go through LightGBM's prepared single-row call, one preparation for each thread.
    """

    def __init__(self, text: bytes) -> None:
        try:
            decoded = text.decode()
        except UnicodeDecodeError as error:
            raise Corrupt(f"the LightGBM model is no text: {error}; restore its blob") from error
        check_text(decoded)
        library, handle, iterations = _library(), ctypes.c_void_p(), ctypes.c_int()
        if library.LGBM_BoosterLoadModelFromString(text, ctypes.byref(iterations), ctypes.byref(handle)):
            raise Corrupt(f"the LightGBM model cannot be read: {_last_error()}; restore its blob")
        self._booster = handle
        weakref.finalize(handle, library.LGBM_BoosterFree, ctypes.c_void_p(handle.value))
        columns = ctypes.c_int()
        _check(library.LGBM_BoosterGetNumFeature(handle, ctypes.byref(columns)))
        self.columns = columns.value
        outputs = ctypes.c_int()
        _check(library.LGBM_BoosterGetNumClasses(handle, ctypes.byref(outputs)))
        self._shape = (outputs.value,) if outputs.value > 1 else ()
        if any(column >= self.columns for column in _categories(decoded)):
            raise Corrupt("the LightGBM model has categories of a column that it does not have; restore its blob")
        self._known = {column: len(texts) for column, texts in _texts(decoded).items()}
        self._coded = {column: np.array(each, dtype=np.float64) for column, each in _categories(decoded).items() if column not in self._known}
        self._threads = threading.local()

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        if matrix.ndim != 2 or matrix.shape[1] != self.columns:
            raise InvalidInput(f"the matrix has shape {matrix.shape}; the model needs (rows, {self.columns})", shape=matrix.shape)
        if self._known or self._coded:
            matrix = np.array(matrix, dtype=np.float64)
            for column, known in self._known.items():
                matrix[matrix[:, column] >= known, column] = np.nan
            for column, values in self._coded.items():
                matrix[:, column] = positions(matrix[:, column], values)
        if matrix.shape[0] == 1:
            return self._one_row().predict(matrix)
        answers = np.empty((matrix.shape[0], *self._shape))
        if matrix.shape[0]:
            self._predict_many(np.ascontiguousarray(matrix, dtype=np.float64), answers)
        return answers

    def _predict_many(self, matrix: np.ndarray, answers: np.ndarray) -> None:
        rows, columns = matrix.shape
        shape = (_FLOAT64, ctypes.c_int32(rows), ctypes.c_int32(columns), _ROW_MAJOR)
        out = (ctypes.byref(ctypes.c_int64()), ctypes.c_void_p(answers.ctypes.data))
        data = ctypes.c_void_p(matrix.ctypes.data)
        _check(_library().LGBM_BoosterPredictForMat(self._booster, data, *shape, _NORMAL, 0, _ALL, _PARAMETERS, *out))

    def _one_row(self) -> "_OneRow":
        try:
            found: _OneRow = self._threads.one_row
        except AttributeError:
            found = self._threads.one_row = _OneRow(self._booster, self.columns, self._shape)
        return found


class _OneRow:
    """One thread's prepared single-row call, with its own input and output buffers; freed with the thread or the model."""

    def __init__(self, booster: ctypes.c_void_p, columns: int, shape: tuple[int, ...]) -> None:
        library, config = _library(), ctypes.c_void_p()
        _check(
            library.LGBM_BoosterPredictForMatSingleRowFastInit(
                booster, _NORMAL, 0, _ALL, _FLOAT64, ctypes.c_int32(columns), _PARAMETERS, ctypes.byref(config)
            )
        )
        weakref.finalize(self, library.LGBM_FastConfigFree, config)
        self._booster = booster  # outlives what was prepared for it
        self._row = np.empty((1, columns))
        self._answer = np.empty((1, *shape))
        self._length = ctypes.c_int64()
        self._call = library.LGBM_BoosterPredictForMatSingleRowFast
        self._arguments = (
            config,
            ctypes.c_void_p(self._row.ctypes.data),
            ctypes.byref(self._length),
            ctypes.c_void_p(self._answer.ctypes.data),
        )

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        self._row[:] = matrix
        _check(self._call(*self._arguments))
        return self._answer.copy()


def _unpacked(archive: bytes) -> Any:
    """The wrapper in a skops archive that holds nothing but LightGBM's own types and plain data."""
    if importlib.util.find_spec("skops") is None:
        raise InvalidInput("the LightGBM model lies in a skops archive; install the extra that reads it: pip install 'rota[sklearn]'")
    skops = importlib.import_module("skops.io")
    try:
        unknown = sorted(set(skops.get_untrusted_types(data=archive)) - _ARCHIVED)
        model = None if unknown else skops.loads(archive, trusted=sorted(_ARCHIVED))
    except Exception as error:  # skops and the parts it calls raise many kinds on bytes that are no skops file
        raise InvalidInput(f"this is no LightGBM model: its archive cannot be read ({type(error).__name__}: {error})") from error
    if unknown:
        raise InvalidInput(f"the skops archive holds types that are not loaded for safety: {unknown}", unknown=unknown)
    if not LightGBMFormat().accepts(model):
        raise InvalidInput(f"the skops archive holds a {type(model).__name__}, not a LightGBM model")
    return model


def _fitted_booster(model: Any) -> Any:
    try:
        return model.booster_
    except Exception as error:
        raise InvalidInput(f"the {type(model).__name__} is not fitted; call fit before it is registered") from error


def _check_categories(text: str) -> None:
    """The categories of a pandas column are its texts, or its numbers; served is each one's position among them."""
    for column, found in _categories(text).items():
        if not all(isinstance(each, str) for each in found) and not all(isinstance(each, int | float) for each in found):
            raise InvalidInput(
                f"the LightGBM model was trained on a pandas category column (column {column}) with categories {list(found)[:5]}; "
                "train it with categories that are all texts or all numbers",
                categories=json.dumps(found, default=str)[:200],
            )
    if _listed_categories(text) and not _categories(text):
        raise InvalidInput(
            "the LightGBM model was trained on pandas category columns and does not say which columns they are; train it on unordered "
            "categories and without categorical_feature: LightGBM takes ordered ones for numbers"
        )


def _check_objective(header: Mapping[str, str]) -> None:
    objective = header.get("objective", "").partition(" ")[0]
    if objective == "multiclassova":
        raise InvalidInput(
            "the LightGBM model answers each class by itself (multiclassova), and these numbers do not add up to 1; "
            "train it with objective='multiclass'",
            objective=objective,
        )


def _problem(header: Mapping[str, str]) -> str:
    """The problem that an objective solves; one of the author's own gives plain numbers."""
    return _PROBLEMS.get(header.get("objective", "").partition(" ")[0], "regression")


def _outputs(header: Mapping[str, str]) -> tuple[str, ...]:
    """The numbers of the classes, where there are several; LightGBM keeps no other names of them."""
    outputs = int(header.get("num_tree_per_iteration", "1"))
    return output_names.numbered(_problem(header), outputs)


def _thresholds(text: str) -> dict[int, tuple[float, ...]]:
    """The numbers at which trees split, by column."""
    found: dict[int, set[float]] = {}
    lines = dict[str, str]()
    for line in text.split("\n"):
        name, separator, value = line.partition("=")
        if name in ("split_feature", "threshold", "decision_type") and separator:
            lines[name] = value
        if len(lines) == 3:
            for column, bound, kind in zip(*(lines[each].split() for each in ("split_feature", "threshold", "decision_type")), strict=False):
                if not int(kind) & 1:  # a split by categories has no threshold
                    found.setdefault(int(column), set()).add(float(bound))
            lines = {}
    return {column: tuple(sorted(bounds)) for column, bounds in found.items()}


def _header(text: str) -> dict[str, str]:
    """The lines "name=value" before the first tree."""
    head = text.partition("\nTree=")[0]
    return dict(line.split("=", 1) for line in head.split("\n") if "=" in line)


def _categories(text: str) -> dict[int, tuple[Any, ...]]:
    """The categories of pandas' category columns, by the columns that were categorical in training."""
    _, _, numbers = text.partition("\n[categorical_feature: ")
    columns = [int(number) for number in numbers.partition("]")[0].split(",") if number.strip().isdecimal()]
    categories = _listed_categories(text)
    if len(columns) != len(categories):
        return {}
    return {column: tuple(found) for column, found in zip(columns, categories, strict=True) if found}


def _listed_categories(text: str) -> list[list[Any]]:
    _, _, listed = text.rpartition("\npandas_categorical:")
    try:
        return json.loads(listed.partition("\n")[0] or "[]") or []
    except ValueError:
        return []


def _texts(text: str) -> dict[int, tuple[str, ...]]:
    """Those of them that are texts."""
    return {column: found for column, found in _categories(text).items() if all(isinstance(each, str) for each in found)}


def _sealed(text: str) -> bytes:
    first, _, rest = text.partition("\n")
    return f"{first}\n{_SEAL}{hashlib.sha256(rest.encode()).hexdigest()}\n{rest}".encode()


def _unsealed(data: bytes) -> bytes:
    first, seal, rest = [*bytes(data).split(b"\n", 2), b"", b""][:3]
    if first != b"tree" or seal != (_SEAL + hashlib.sha256(rest).hexdigest()).encode():
        raise Corrupt("these bytes are no LightGBM model that Rota wrote, or they are damaged; restore the blob")
    return first + b"\n" + rest


@cache
def _library() -> ctypes.CDLL:
    """LightGBM's C library, loaded at first use."""
    spec = importlib.util.find_spec("lightgbm")
    folders = [Path(folder) for folder in (spec.submodule_search_locations if spec else None) or []]
    files = [file for folder in folders for file in (folder / "lib" / "lib_lightgbm.so", folder / "lib" / "lib_lightgbm.dylib") if file.exists()]
    if not files:
        raise Unavailable(f"the C library of lightgbm is not in {[str(folder) for folder in folders]}; reinstall lightgbm from its wheel")
    library = ctypes.CDLL(str(files[0]))
    library.LGBM_GetLastError.restype = ctypes.c_char_p
    return library


def _check(status: int) -> None:
    if status:
        raise _failed()


def _failed() -> RotaError:
    return InvalidInput(f"LightGBM refused: {_last_error()}")


def _last_error() -> str:
    return (_library().LGBM_GetLastError() or b"").decode(errors="replace")
