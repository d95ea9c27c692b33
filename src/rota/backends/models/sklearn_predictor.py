"""Predict with a scikit-learn estimator from Rota's matrix: columns by position, texts by their index in the encoder's categories, or as they are."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.utils import get_tags

from rota.backends.models import author_frames, sklearn_columns
from rota.backends.models.sklearn_columns import ColumnReading
from rota.errors import InvalidInput
from rota.ports.models import AuthorRows, ModelInputs
from rota.problems.forms import class_name

UNSEEN = "\x00unseen"
"""What an encoder is given for a text that is none of its categories."""
_OWN = "sklearn."
_KINDS = {
    "clusterer": "a clusterer",
    "outlier_detector": "an outlier detector",
    "density_estimator": "a density estimator",
    "transformer": "a transformer",
}


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
            _select_by_place(part)
        self._model = model
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
            answers = _asked(self._model, given)
        except (ValueError, TypeError, IndexError) as error:
            told = str(error).replace(repr(UNSEEN), "a text that it does not know")
            raise InvalidInput(f"the {type(self._model).__name__} cannot predict {matrix.shape[0]} rows: {told}", shape=matrix.shape) from error
        return _numbers(self._model, answers, matrix.shape[0], self._outputs)

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
        self._model = model
        self._names = tuple(str(name) for name in getattr(model, "feature_names_in_", ()))
        reading = _reading(model)
        self._none = reading.none if reading.nan else {*range(self.inputs.width)} if _learnt_none(model) else set()
        self._alone = sklearn_columns.is_given_texts(model)

    def answers(self, rows: AuthorRows) -> np.ndarray:
        given = author_frames.frame(rows, self._names, none=self._none) if self._names else author_frames.array(rows, none=self._none)
        given = given[:, 0] if self._alone and not self._names else given
        return _numbers(self._model, _asked(self._model, given), len(rows.cells), len(self.inputs.outputs))


def check_answers(model: Any) -> None:
    """Classifiers with probabilities and regressors can be served."""
    name = type(model).__name__
    if is_classifier(model):
        if not hasattr(model, "predict_proba"):
            raise InvalidInput(
                f"the {name} gives no probabilities; use a classifier with predict_proba, or wrap it in CalibratedClassifierCV", model=name
            )
        classes = getattr(model, "classes_", None)
        if classes is None:
            raise InvalidInput(f"the {name} is not fitted; call fit before it is registered", model=name)
        if isinstance(classes, list):
            raise InvalidInput(
                f"the {name} answers {len(classes)} labels a row with classes of their own; train a model for each label, or a MultiOutputClassifier "
                "of labels that are 0 or 1",
                model=name,
            )
        if len(classes) < 2:
            raise InvalidInput(f"the {name} knows {len(classes)} class, so it has nothing to tell apart; give it rows of two", model=name)
    elif not is_regressor(model):
        kind = _KINDS.get(get_tags(model).estimator_type or "", "")
        if kind or type(model).__module__.startswith(_OWN):
            what = kind or "neither a classifier nor a regressor"
            raise InvalidInput(f"the {name} is {what}; only binary classifiers and regressors are served", model=name)


def describe(model: Any) -> ModelInputs:
    """What a fitted estimator says of its columns."""
    names = tuple(str(name) for name in getattr(model, "feature_names_in_", ()))
    reading = _reading(model)
    problem, classes, outputs = answer_names(model)
    return ModelInputs(
        _width(model),
        names,
        reading.known_texts,
        problem,
        classes=classes,
        unread=reading.untold,
        sentinels=_sentinels(model),
        outputs=outputs,
        free_texts=reading.words,
    )


def answer_names(model: Any) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """The problem that a fitted estimator solves, the names of its two classes where they have any, and of its outputs where it has several."""
    if not is_classifier(model):
        return "regression", (), tuple(f"y{place}" for place in range(_targets(model)) if _targets(model) > 1)
    classes = getattr(model, "classes_", ())
    if isinstance(classes, list) or len(classes) <= 2:
        return "classification", author_frames.class_names(model), ()
    return "multiclass", (), tuple(class_name(each) for each in classes)


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


def _asked(model: Any, given: Any) -> Any:
    """What the estimator answers: a classifier the probability of its second class, or of each where it knows more."""
    if not is_classifier(model):
        return model.predict(given)
    answers = model.predict_proba(given)
    return answers[:, 1] if answers.shape[1] == 2 else answers


def _numbers(model: Any, answers: Any, rows: int, outputs: int) -> np.ndarray:
    found = np.asarray(answers, dtype=np.float64)
    if found.size != rows * max(outputs, 1):
        raise InvalidInput(
            f"the {type(model).__name__} answers {found.size // max(rows, 1)} numbers a row, and {max(outputs, 1)} are expected of it",
            model=str(type(model)),
        )
    return np.ascontiguousarray(found).reshape((rows, outputs) if outputs else rows)


def _targets(model: Any) -> int:
    """How many numbers a regressor answers: asked of what it learnt, or of the last part of a pipeline."""
    for part in (model, getattr(model, "regressor_", None), *(step for _, step in reversed(getattr(model, "steps", ())))):
        for name in ("n_outputs_", "n_targets_"):
            if isinstance(found := getattr(part, name, None), int | np.integer):
                return int(found)
        if isinstance(estimators := getattr(part, "estimators_", None), list) and "MultiOutput" in type(part).__name__:
            return len(estimators)
        coefficients = getattr(part, "coef_", None)
        if isinstance(coefficients, np.ndarray) and coefficients.ndim == 2:
            return int(coefficients.shape[0])
    return 1


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
