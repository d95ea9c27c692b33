"""Predict with a scikit-learn estimator from Rota's matrix: columns by position, texts by their index in the encoder's categories."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, is_classifier

from rota.errors import InvalidInput
from rota.ports.models import ModelInputs

UNSEEN = "\x00unseen"
"""What an encoder is given for a text that is none of its categories."""
_KEEPS_COLUMNS = {"SimpleImputer", "FunctionTransformer"}


class EstimatorPredictor:
    """Starts no workers of its own. A pipeline whose encoders know texts is given these texts, any other the plain matrix."""

    def __init__(self, model: Any) -> None:
        self.inputs = describe(model)
        for part in _estimators(model):
            vars(part).pop("feature_names_in_", None)  # else scikit-learn warns at each plain matrix
            if "n_jobs" in vars(part):
                part.n_jobs = None
            _select_by_place(part)
        self._model = model
        self._classifies = is_classifier(model)
        self._texts = {column: np.array([*texts, UNSEEN], dtype=object) for column, texts in self.inputs.texts.items()}

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        if matrix.ndim != 2:
            raise InvalidInput(f"the matrix has shape {matrix.shape}; the model needs (rows, columns)", shape=matrix.shape)
        if not matrix.shape[0]:
            return np.empty(0)
        try:
            given = self._with_texts(matrix) if self._texts else matrix
            answers = self._model.predict_proba(given)[:, 1] if self._classifies else self._model.predict(given)
        except (ValueError, TypeError, IndexError) as error:
            raise InvalidInput(f"the {type(self._model).__name__} cannot predict {matrix.shape[0]} rows: {error}", shape=matrix.shape) from error
        return np.ascontiguousarray(answers, dtype=np.float64).reshape(matrix.shape[0])

    def _with_texts(self, matrix: np.ndarray) -> np.ndarray:
        given = matrix.astype(object)
        for column, texts in self._texts.items():
            codes = matrix[:, column]
            known = ~np.isnan(codes)
            given[known, column] = texts[np.minimum(codes[known], len(texts) - 1).astype(int)]
        return given


def check_answers(model: Any) -> None:
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


def describe(model: Any) -> ModelInputs:
    """What a fitted estimator says of its columns."""
    names = tuple(str(name) for name in getattr(model, "feature_names_in_", ()))
    width = int(getattr(model, "n_features_in_", 0) or len(names))
    texts: dict[int, list[str]] = {}
    for column, categories in _categories(model, range(width)):
        texts.setdefault(column, []).extend(str(each) for each in categories if isinstance(each, str))
    known = {column: tuple(dict.fromkeys(found)) for column, found in sorted(texts.items()) if found}
    return ModelInputs(width, names, known, "classification" if is_classifier(model) else "regression")


def _categories(part: Any, columns: Sequence[int]) -> Iterator[tuple[int, Sequence[Any]]]:
    """The categories that encoders learnt of columns which reach them unchanged."""
    indices: Mapping[str, Any] = getattr(part, "_transformer_to_input_indices", {})
    if hasattr(part, "steps"):
        for _, step in part.steps:
            yield from _categories(step, columns)
            if type(step).__name__ not in _KEEPS_COLUMNS and step != "passthrough":
                return
    elif indices:
        for name, transformer, _ in part.transformers_:
            yield from _categories(transformer, [columns[i] for i in indices[name]])
    elif hasattr(part, "transformer_list"):
        for _, transformer in part.transformer_list:
            yield from _categories(transformer, columns)
    elif len(getattr(part, "categories_", ())) == len(columns):
        yield from zip(columns, part.categories_, strict=True)


def _select_by_place(part: Any) -> None:
    """A ColumnTransformer that was fitted on a frame asks for columns by name; the matrix has places."""
    indices = vars(part).get("_transformer_to_input_indices")
    if indices is not None:
        part.transformers_ = [
            (name, transformer, indices[name][0] if isinstance(columns, str) else list(indices[name]))
            for name, transformer, columns in part.transformers_
        ]


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
