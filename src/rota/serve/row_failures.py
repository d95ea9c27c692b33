"""Rows that a model refuses are found alone, so that their neighbours are answered, and the refusal names the row, its field and the value.

A batch that failed is asked again in halves, a bounded number of times. Of a row that is refused, one cell after the other is replaced by that
of a golden row, which the model answers: the cell without which the row is answered is the one to name.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rota.errors import InvalidInput, Refused
from rota.manage.models.loading import LoadedModel
from rota.manage.models.transformation import matrix_of_golden
from rota.problems import registry
from rota.records.model import ModelBundle

MOST_CALLS = 128
"""Calls of the model for one failed batch; rows that were not answered by then keep the batch's error."""
MOST_FIELDS = 64
"""Fields of a refused row that are tried."""
Failure = tuple[str, bool]
"""What went wrong, and whether the model refused the row (else it is the model that failed)."""


def one_by_one(model: LoadedModel, vectors: Sequence[Mapping[str, Any]], failed: Exception) -> list[Any | Failure]:
    """An answer for each row, or what went wrong with it, after the whole batch failed with `failed`."""
    found: list[Any | Failure] = [_failure(failed)] * len(vectors)
    if len(vectors) == 1:
        return found
    middle = len(vectors) // 2
    pending, calls = [range(middle, len(vectors)), range(middle)], 0
    while pending and calls < MOST_CALLS:
        places = pending.pop()
        if not len(places):
            continue
        calls += 1
        try:
            answers = answered(model, [vectors[place] for place in places])
        except Exception as error:  # noqa: BLE001 - a model may raise anything, and its row's caller learns of it
            if len(places) > 1:
                middle = len(places) // 2
                pending += [places[middle:], places[:middle]]
            else:
                found[places[0]] = _failure(error)
        else:
            for place, answer in zip(places, answers, strict=True):
                found[place] = answer
    return found


def answered(model: LoadedModel, vectors: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The model's answers to feature vectors as callers get them, or a failure for a row whose numbers are none; raises what the model raises."""
    answers, outputs = model.predictor.predict(model.transformer.matrix(vectors)), model.bundle.outputs
    form = registry.problem_type(model.bundle.problem).answer
    wanted = answers.shape[1:2] if form.is_list else (len(outputs),) if outputs else ()
    if answers.shape != (len(vectors), *wanted) or (form.is_list and answers.ndim != 2):
        raise Refused(f"the model gave answers of shape {answers.shape} for {len(vectors)} rows{(outputs and f' of {len(outputs)} outputs') or ''}")
    if not wanted and answers.dtype != object:
        plain: list[Any] = np.asarray(answers, dtype=np.float64).tolist()
        return plain
    found = form.plain(outputs, answers)
    if answers.dtype != object and not np.isfinite(answers).all():
        for place in np.flatnonzero(~np.isfinite(answers).all(axis=1)):
            column = int(np.flatnonzero(~np.isfinite(answers[place]))[0])
            found[place] = (f"the model answered {answers[place, column]} for {(outputs or range(answers.shape[1]))[column]!r}", False)
    return found


def blamed(model: LoadedModel, vector: Mapping[str, Any], row: int, error: str) -> str:
    """The refusal of one row with its number, and the field and value that the model does not take where one alone is to blame."""
    feature = _feature(model, vector)
    if feature is None:
        return f"row {row}: {error}"
    value = vector[feature]
    field = plain_fields(model.bundle).get(feature, feature)
    return f"row {row}: field {field!r} is {'null' if value is None else repr(value)}, which the model does not take: {error}"


def _feature(model: LoadedModel, vector: Mapping[str, Any]) -> str | None:
    if not model.bundle.golden_rows:
        return None
    row = model.transformer.matrix([vector])
    golden = matrix_of_golden(model.bundle.transformation, model.bundle.golden_rows[:1])[0]
    columns = [column.source for column in model.bundle.transformation.columns]
    for place, name in enumerate(columns[:MOST_FIELDS]):
        if row[0, place] == golden[place]:
            continue
        tried = row.copy()
        tried[0, place] = golden[place]
        try:
            model.predictor.predict(tried)
        except Exception:  # noqa: BLE001, S112 - another cell is to blame, or several
            continue
        return name
    return None


def plain_fields(bundle: ModelBundle) -> dict[str, str]:
    """The features that are a field of the request as it is, with that field."""
    found = {}
    for view in bundle.features.request_views:
        for name, expression in view.features.items():
            plain = expression.text.strip('"').replace('""', '"')
            if plain in bundle.features.request_fields:
                found[f"{view.name}__{name}"] = plain
    return found


def _failure(error: Exception) -> Failure:
    return (str(error), True) if isinstance(error, InvalidInput) else (f"{type(error).__name__}: {error}", False)
