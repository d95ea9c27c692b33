"""Compare the served path of a foreign model with its author's object: rows of its columns, coerced as requests are, both ways.

The author's object is the one whose answers were recorded when the model was logged or registered; where none were, the
framework's own object, read anew from the file.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from rota.manage.adoption import column_mapping, mlmodel
from rota.manage.adoption.column_mapping import ServedColumns
from rota.manage.models import parity, probe_rows
from rota.manage.models.parity import AuthorAnswers
from rota.manage.models.transformation import RowsTransformer
from rota.ports.models import AuthorModel, ModelFormat, ModelInputs, Predictor
from rota.records.model import RegistrationParity
from rota.records.run import Problem
from rota.records.schema import Type

log = logging.getLogger("rota.manage")


def compared(
    opened: ModelFormat,
    data: bytes,
    served: ServedColumns,
    example: Sequence[Mapping[str, Any]],
    predictor: Predictor,
    *,
    recorded: AuthorAnswers | None,
    problem: Problem,
    outputs: tuple[str, ...] = (),
) -> RegistrationParity:
    """What was compared; raises `InvalidInput` with the rows that are answered differently. `outputs` name the numbers of an answer as served."""

    def beside(truth: AuthorAnswers) -> RegistrationParity:
        truth = msgspec.structs.replace(truth, outputs=outputs)
        return parity.compare(truth, _Served(served, truth.names, predictor), tolerance=opened.tolerance, problem=problem)

    found = beside(recorded) if recorded else RegistrationParity(left_out="no object of its framework lies in its file, and none was asked before")
    held = None if found.compared else opened.held(data)
    if held is None:
        return found
    names, types = tuple(column.name for column in served.columns), tuple(column.type for column in served.columns)
    return beside(recorded_answers(opened.author(held), _class(held), names, types, example))


def recorded_answers(
    author: AuthorModel, name: str, names: Sequence[str], types: Sequence[Type], example: Sequence[Mapping[str, Any]]
) -> AuthorAnswers:
    """What an author's object answers to the rows of its example and to those made to probe it."""
    fitting = [values for row in example if (values := column_mapping.coerced(names, types, row)) is not None]
    rows = probe_rows.rows(probe_rows.columns(names, types, author.inputs, fitting), fitting)
    return parity.ask(author, name, rows, examples=min(len(fitting), probe_rows.MOST_EXAMPLES))


def recorded(format_: ModelFormat, model: Any, signature: str, example: Sequence[Mapping[str, Any]]) -> AuthorAnswers | None:
    """The answers of an author's object that is registered or logged now; None when its columns cannot be known, or it cannot be asked at all."""
    try:
        author = format_.author(model)
        columns = mlmodel.signature(json.loads(signature)).columns if signature else ()
        names, types = (tuple(c.name for c in columns), tuple(c.type for c in columns)) if columns else own_columns(author.inputs)
        return recorded_answers(author, parity.named(model), names, types, example) if names else None
    except Exception as error:  # noqa: BLE001 - an author's object may raise anything; the adoption says that nothing was recorded
        log.info("a model's own answers are not recorded: %s: %s", type(error).__name__, error, extra={"action": "record"})
        return None


def own_columns(inputs: ModelInputs) -> tuple[tuple[str, ...], tuple[Type, ...]]:
    """The columns by a model's own word: texts where it knows texts or reads them as they are, else numbers."""
    names = inputs.names or tuple(f"x{place}" for place in range(inputs.width))
    types: tuple[Type, ...] = tuple("string" if place in inputs.texts or place in inputs.free_texts else "float" for place in range(len(names)))
    return names, types


class _Served:
    """Rows through the coercion of requests, the transformation and the predictor, as a prediction process does."""

    def __init__(self, served: ServedColumns, names: Sequence[str], predictor: Predictor) -> None:
        self._served, self._names, self._predictor = served, names, predictor
        self._transformer = RowsTransformer(served.transformation)

    def __call__(self, cells: Sequence[Sequence[Any]]) -> np.ndarray:
        rows = [column_mapping.vector(self._served, dict(zip(self._names, row, strict=True))) for row in cells]
        return self._predictor.predict(self._transformer.matrix(rows))


def _class(held: Any) -> str:
    return "ONNX model" if isinstance(held, bytes) else parity.named(held)
