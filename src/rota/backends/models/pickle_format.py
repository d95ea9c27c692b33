"""Pickled Python models with `predict` or `predict_proba`: bytes that run code when they are loaded.

They are loaded only when somebody allowed it for the model and the bytes carry this platform's seal; both are checked before
the first byte is looked at. Classes of a project are kept inside the bytes (cloudpickle), installed packages by their names.
"""

import importlib
import importlib.metadata
import io
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import msgspec
import numpy as np

from rota.backends.models import author_frames
from rota.backends.models.envelope import bare, unwrapped, wrapped
from rota.errors import Corrupt, InvalidInput, Refused
from rota.ports.models import AuthorModel, AuthorRows, ModelInputs, Predictor, Seals
from rota.problems.forms import class_name
from rota.records.record import digest

_MAGIC = "rota-pickle"


class PickleFormat:
    """ModelFormat and SealedFormat (ports) for any model that gives an answer for each row: numbers, texts or any JSON."""

    name = "pickle"
    tolerance = 1e-9

    def __init__(self, seals: Seals | None = None) -> None:
        self._seals = seals

    def accepts(self, model: Any) -> bool:
        return not isinstance(model, type) and any(callable(getattr(model, name, None)) for name in ("predict_proba", "predict"))

    def dumps(self, model: Any) -> bytes:
        if _is_estimator(model):
            _sklearn("answers").check(model)
        return wrapped(_MAGIC, self.kept(model))

    def imported(self, file: bytes) -> bytes:
        return wrapped(_MAGIC, bare(_MAGIC, file))

    def loads(self, data: bytes) -> Predictor:
        unwrapped(_MAGIC, data)
        raise Refused("a pickle runs code when it is loaded; it is only loaded with the seal of its model version")

    def describe(self, data: bytes) -> ModelInputs:
        unwrapped(_MAGIC, data)
        raise Refused("a pickle says nothing of its columns before it is loaded, and it is only loaded with its seal")

    def held(self, data: bytes) -> Any:
        unwrapped(_MAGIC, data)
        raise Refused("a pickle runs code when it is loaded; it is only loaded with the seal of its model version")

    def author(self, model: Any) -> AuthorModel:
        found: AuthorModel = _sklearn("predictor").EstimatorAuthor(model) if _is_estimator(model) else AnyAuthor(model)
        return found

    def kept(self, model: Any) -> bytes:
        """Any Python object as a plain pickle, which only its author should load."""
        try:
            with _by_value(type(model)):
                return bytes(cloudpickle.dumps(model))
        except Exception as error:  # an object's own code takes part, and may raise anything
            raise InvalidInput(f"the {type(model).__name__} cannot be pickled: {type(error).__name__}: {error}") from error

    def libraries(self) -> dict[str, str]:
        held = {name: importlib.metadata.version(name) for name in ("cloudpickle", "numpy")}
        return held | {"python": f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"}

    def sealed(self, model: str, data: bytes) -> str:
        return self._trusted(model).sign(model, digest(data))

    def unlocked(self, model: str, data: bytes, seal: str, *, signed_for: str = "") -> "UnlockedPickle":
        name = digest(data)
        self._trusted(model).check(model, name, seal, signed_for=signed_for)
        return UnlockedPickle(name)

    def _trusted(self, model: str) -> Seals:
        if self._seals is None:
            raise Refused(f"model {model!r} is kept as pickle, which is only loaded inside the platform that sealed it", model=model)
        return self._seals


class UnlockedPickle(PickleFormat):
    """Loads the bytes of one digest, which were recognised."""

    def __init__(self, recognised: str) -> None:
        super().__init__()
        self._recognised = recognised
        self._modules: set[str] = set()

    def libraries(self) -> dict[str, str]:
        """Also the packages that the models loaded by now are made of."""
        packages = importlib.metadata.packages_distributions()
        names = {name.lower().replace("_", "-") for module in self._modules for name in packages.get(module, ())}
        return super().libraries() | {name: importlib.metadata.version(name) for name in sorted(names)}

    def loads(self, data: bytes) -> Predictor:
        return _predictor(self.held(data))

    def describe(self, data: bytes) -> ModelInputs:
        return self.author(self.held(data)).inputs

    def held(self, data: bytes) -> Any:
        if digest(data) != self._recognised:
            raise Refused("these are not the bytes whose seal was checked")
        body = unwrapped(_MAGIC, data)
        try:
            model = _ReferenceScan(body, self._modules).load()  # sealed by this platform, and allowed by a person
        except ModuleNotFoundError as error:
            raise Refused(f"the pickled model needs the module {error.name!r}, which is not installed here; install its package") from error
        except Exception as error:  # a pickle may raise anything
            raise Corrupt(f"the pickled model cannot be loaded: {type(error).__name__}: {error}; register it again") from error
        if not self.accepts(model):
            raise Corrupt(f"the pickle holds a {type(model).__name__}, which has neither predict nor predict_proba")
        return model


class _ReferenceScan(pickle.Unpickler):
    """Notes the top modules of everything that a pickle is made of."""

    def __init__(self, data: bytes, modules: set[str]) -> None:
        super().__init__(io.BytesIO(data))
        self._modules = modules

    def find_class(self, module: str, name: str) -> Any:
        self._modules.add(module.partition(".")[0])
        return super().find_class(module, name)


class AnyPredictor:
    """A model by its own `predict_proba` or `predict`; see `answers_of` for what it may answer."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._classifies = callable(getattr(model, "predict_proba", None))
        self._width = int(getattr(model, "n_features_in_", 0) or 0)

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        if matrix.ndim != 2 or (self._width and matrix.shape[1] != self._width):
            raise InvalidInput(f"the matrix has shape {matrix.shape}; the model needs (rows, {self._width or 'columns'})", shape=matrix.shape)
        rows = matrix.shape[0]
        if not rows:
            return np.empty(0)
        try:
            found = self._model.predict_proba(matrix) if self._classifies else self._model.predict(matrix)
        except (ValueError, TypeError, IndexError) as error:
            raise InvalidInput(f"the {type(self._model).__name__} cannot predict {rows} rows: {error}", shape=matrix.shape) from error
        return answers_of(found, rows, binary=self._classifies, name=type(self._model).__name__)


class AnyAuthor:
    """AuthorModel (port): an object by its own `predict_proba` or `predict`, with a frame when it was fitted on one.

    Its numbers are called as its `classes_` or its `output_names` say.
    """

    def __init__(self, model: Any) -> None:
        names = tuple(str(name) for name in getattr(model, "feature_names_in_", ()))
        width = int(getattr(model, "n_features_in_", 0) or len(names))
        self._classifies = callable(getattr(model, "predict_proba", None))
        classes = [class_name(each) for each in np.ravel(getattr(model, "classes_", ()))] if self._classifies else []
        outputs = tuple(classes if len(classes) > 2 else map(str, getattr(model, "output_names", ())))
        problem = ("multiclass" if len(classes) > 2 else "classification") if self._classifies else None
        self.inputs = ModelInputs(width, names, {}, problem, classes=author_frames.class_names(model) if self._classifies else (), outputs=outputs)
        self._ask, self._name = model.predict_proba if self._classifies else model.predict, type(model).__name__

    def answers(self, rows: AuthorRows) -> np.ndarray:
        given = author_frames.frame(rows, self.inputs.names) if self.inputs.names else author_frames.array(rows)
        return answers_of(self._ask(given), len(rows.cells), binary=self._classifies, name=self._name)


def answers_of(found: Any, rows: int, *, binary: bool, name: str) -> np.ndarray:
    """What an object of any class answered, an answer for each row: numbers as float64 (rows,) or (rows, numbers), else objects (rows,).

    `binary`: two numbers are probabilities, of which the second is taken. Raises `InvalidInput` naming the class where rows are missing, or an
    answer is neither a number, a text nor any JSON.
    """
    array = found.to_numpy() if hasattr(found, "to_numpy") else found if isinstance(found, np.ndarray) else _array(list(found))
    if array.shape[:1] != (rows,):
        raise InvalidInput(f"the {name} answered {array.shape} for {rows} rows; a model gives an answer for each row")
    if array.dtype.kind in "fiub":
        numbers = np.ascontiguousarray(array, dtype=np.float64).reshape(rows, -1)
        if numbers.shape[1] == 1:
            return numbers[:, 0]
        return np.ascontiguousarray(numbers[:, 1]) if binary and numbers.shape[1] == 2 else numbers
    made = np.empty(rows, dtype=object)
    try:
        made[:] = [msgspec.to_builtins(_plain(each)) for each in array.tolist()]
    except TypeError as error:
        raise InvalidInput(f"the {name} answered something that is no number, no text and no JSON: {error}") from error
    return made


def _array(answers: list[Any]) -> np.ndarray:
    """A list as an array of numbers where each answer is a number, or as many numbers; else of objects."""
    try:
        found = np.array(answers)
    except ValueError:  # lists of several lengths
        found = np.empty(0, dtype=object)
    if found.dtype.kind in "fiub":
        return found
    made = np.empty(len(answers), dtype=object)
    made[:] = answers
    return made


def _plain(value: Any) -> Any:
    """numpy's values inside lists and mappings as Python's."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _predictor(model: Any) -> Predictor:
    if not _is_estimator(model):
        return AnyPredictor(model)
    _sklearn("answers").check(model)
    found: Predictor = _sklearn("predictor").EstimatorPredictor(model)
    return found


def _is_estimator(model: Any) -> bool:
    return any(base.__module__ == "sklearn.base" for base in type(model).__mro__)


def _sklearn(part: str) -> Any:
    """scikit-learn is only imported for its own models."""
    return importlib.import_module(f"rota.backends.models.sklearn_{part}")


@contextmanager
def _by_value(kind: type) -> Iterator[None]:
    """A class of the project is kept in the bytes: who loads them cannot import the project."""
    module = sys.modules.get(kind.__module__)
    own = module is not None and module.__name__ != "__main__" and _is_own(module)
    if own:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        if own:
            cloudpickle.unregister_pickle_by_value(module)


def _is_own(module: ModuleType) -> bool:
    """Whether a module is neither installed nor Python's own."""
    file = getattr(module, "__file__", None)
    if file is None or module.__name__.partition(".")[0] in sys.stdlib_module_names:
        return False
    return not any(part in ("site-packages", "dist-packages") for part in Path(file).parts) and not module.__name__.startswith("rota.")
