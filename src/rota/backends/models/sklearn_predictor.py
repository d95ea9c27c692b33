"""Predict with a scikit-learn estimator from Rota's matrix: columns by position, texts by their index in the encoder's categories, or as they are."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from rota.backends.models import author_frames, sklearn_answers, sklearn_columns
from rota.backends.models.sklearn_columns import ColumnReading
from rota.errors import InvalidInput
from rota.ports.models import AuthorRows, ModelInputs

UNSEEN = "\x00unseen"
"""What an encoder is given for a text that is none of its categories."""
_OWN = "sklearn."


class EstimatorPredictor:
    """Starts no workers of its own. A pipeline whose encoders know texts is given these texts, any other the plain matrix."""

    def __init__(self, model: Any) -> None:
        self.inputs = describe(model)
        reading = _reading(model)
        for part in _parts(model):
            for name in ("feature_names_in_", "_sklearn_output_config"):  # else scikit-learn warns at each plain matrix, or makes frames of it
                vars(part).pop(name, None)
            if "n_jobs" in vars(part):
                part.n_jobs = None
            if "_n_threads" in vars(part):
                part._n_threads = 1  # noqa: SLF001 - with how many threads clusters are looked for
            _select_by_place(part)
        self.model = self._model = model
        self._ask = sklearn_answers.way(model)
        self._outputs = len(self.inputs.outputs)
        self._words = sorted(self.inputs.free_texts)
        self._texts = {
            column: np.array([*texts, UNSEEN], dtype=object) for column, texts in self.inputs.texts.items() if column not in self.inputs.free_texts
        }
        self._none = sorted(reading.none)
        self._alone = sklearn_columns.is_given_texts(model)

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        if matrix.ndim != 2:
            raise InvalidInput(f"the matrix has shape {matrix.shape}; the model needs (rows, columns)", shape=matrix.shape)
        if not matrix.shape[0]:
            return np.empty((0, self._outputs) if self._outputs else 0)
        try:
            given = self._objects(matrix) if self._texts or self._none or self._words else matrix
            answers = self._ask(given)
        except (ValueError, TypeError, IndexError) as error:
            told = str(error).replace(repr(UNSEEN), "a text that it does not know")
            raise InvalidInput(f"the {type(self._model).__name__} cannot predict {matrix.shape[0]} rows: {told}", shape=matrix.shape) from error
        return _shaped(self._model, answers, matrix.shape[0], self._outputs)

    def _objects(self, matrix: np.ndarray) -> np.ndarray:
        """The matrix with texts for their codes, and a null as the fitted model learnt it: NaN, or None."""
        given = matrix.astype(object)
        for column, texts in self._texts.items():
            codes = matrix[:, column].astype(np.float64)
            known = ~np.isnan(codes)
            given[known, column] = texts[np.minimum(codes[known], len(texts) - 1).astype(int)]
        for column in self._none:
            if column not in self._words:
                given[np.isnan(matrix[:, column].astype(np.float64)), column] = None
        for column in self._words:
            if column not in self._none:
                given[np.array([cell is None for cell in given[:, column]], dtype=bool), column] = np.nan
        return given[:, 0] if self._alone else given


class EstimatorAuthor:
    """AuthorModel (port): an estimator with the frame or the array that it was fitted on, as scikit-learn's users ask it."""

    def __init__(self, model: Any) -> None:
        self.inputs = describe(model)
        self._model, self._ask = model, sklearn_answers.way(model)
        self._names = tuple(str(name) for name in getattr(model, "feature_names_in_", ()))
        reading = _reading(model)
        self._none = reading.none if reading.nan else {*range(self.inputs.width)} if _learnt_none(model) else set()
        self._alone = sklearn_columns.is_given_texts(model)

    def answers(self, rows: AuthorRows) -> np.ndarray:
        given = author_frames.frame(rows, self._names, none=self._none) if self._names else author_frames.array(rows, none=self._none)
        given = given[:, 0] if self._alone and not self._names else given
        return _shaped(self._model, self._ask(given), len(rows.cells), len(self.inputs.outputs))


def describe(model: Any) -> ModelInputs:
    """What a fitted estimator says of its columns."""
    names = tuple(str(name) for name in getattr(model, "feature_names_in_", ()))
    reading = _reading(model)
    answers = sklearn_answers.of(model)
    return ModelInputs(
        _width(model),
        names,
        reading.known_texts,
        answers.problem,
        classes=answers.classes,
        unread=reading.untold,
        sentinels=_sentinels(model),
        outputs=answers.outputs,
        free_texts=reading.words,
    )


def served_part(model: Any) -> Any:
    """A search predicts by its best candidate, which is kept without the other results."""
    best = vars(model).get("best_estimator_")
    return model if best is None else best


def _width(model: Any) -> int:
    if sklearn_columns.is_given_texts(model):
        return 1
    try:
        return int(getattr(model, "n_features_in_", 0) or len(getattr(model, "feature_names_in_", ())))
    except AttributeError:  # scikit-learn's wrappers ask what they hold, which may have none
        return 0


def _reading(model: Any) -> ColumnReading:
    return sklearn_columns.read(model, _width(model))


def _sentinels(model: Any) -> tuple[float, ...]:
    """The numbers that imputers take for missing."""
    found = {getattr(part, "missing_values", None) for part in _parts(model)}
    return tuple(sorted(float(each) for each in found if isinstance(each, int | float) and not isinstance(each, bool) and not np.isnan(each)))


def _learnt_none(model: Any) -> bool:
    """Whether any encoder or imputer inside learnt None for a null."""
    for part in _parts(model):
        if type(part).__name__ == "SimpleImputer" and part.missing_values is None:
            return True
        if any(each is None for learnt in getattr(part, "categories_", ()) for each in learnt):
            return True
    return False


def _shaped(model: Any, answers: np.ndarray, rows: int, outputs: int) -> np.ndarray:
    if answers.size != rows * max(outputs, 1):
        raise InvalidInput(
            f"the {type(model).__name__} answers {answers.size // max(rows, 1)} numbers a row, and {max(outputs, 1)} are expected of it",
            model=str(type(model)),
        )
    return np.ascontiguousarray(answers).reshape((rows, outputs) if outputs else rows)


def _select_by_place(part: Any) -> None:
    """A ColumnTransformer that was fitted on a frame asks for columns by name; the matrix has places."""
    indices = vars(part).get("_transformer_to_input_indices")
    if indices is not None:
        part.transformers_ = [
            (name, transformer, indices[name][0] if isinstance(columns, str | int) else list(indices[name]))
            for name, transformer, columns in part.transformers_
        ]


def _parts(model: Any) -> Iterator[BaseEstimator]:
    """The estimator and every estimator inside it."""
    return (found for found in held_objects(model) if isinstance(found, BaseEstimator))


def held_objects(model: Any) -> Iterator[Any]:
    """The estimator and everything held in its attributes, lists and dicts, also behind scikit-learn's plain objects."""
    pending, seen = [model], set()
    while pending:
        found = pending.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        if isinstance(found, BaseEstimator) or (type(found).__module__.startswith(_OWN) and hasattr(found, "__dict__")):
            pending.extend(vars(found).values())
        elif isinstance(found, dict):
            pending.extend(found.values())
        elif isinstance(found, (list, tuple)) or (isinstance(found, np.ndarray) and found.dtype == object):
            pending.extend(found)
