"""Map a foreign model's signature to what Rota serves: request columns, features, and the model's matrix.

Numbers go into the matrix as they are. A text becomes its place among the texts that the model's own encoder learnt, and goes in
as itself where the model reads words; any other column of texts cannot be served.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rota.errors import InvalidInput
from rota.manage.adoption.mlmodel import Column, Signature
from rota.manage.models import transformation
from rota.manage.models.transformation import RowsTransformer
from rota.ports.models import ModelInputs
from rota.records.data import Feature, FeatureService, OnDemandFeatureView
from rota.records.model import ModelTensor, Transformation, TransformedColumn
from rota.records.schema import Type
from rota.records.values import coerce

VIEW = "request"
GOLDEN_ROWS = 32
WORDS = ("yes", "no", "a text of some words", "another one, with 2 numbers and 1 comma")
"""Texts of golden rows where there is no example and the model reads texts as they are."""
UNNAMED = "input-0"
"""The array of a model that names none, in the word of MLServer."""
_DATATYPES = {
    f"{word}{bits}": f"{short}{bits}"
    for word, short in (("float", "FP"), ("int", "INT"), ("uint", "UINT"))
    for bits in (8, 16, 32, 64)
    if (short, bits) != ("FP", 8)
}
_DATATYPES["bool"] = "BOOL"
_UNSAFE = re.compile(r"[^A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class ServedColumns:
    """How a foreign model's columns are served."""

    columns: tuple[Column, ...]
    features: FeatureService
    transformation: Transformation


def served(model: str, signature: Signature | None, inputs: ModelInputs) -> ServedColumns:
    """The columns in the model's order; raises `InvalidInput` saying what of them cannot be served."""
    columns = _columns(signature, inputs)
    names = _feature_names(columns)
    for place, column in enumerate(columns):
        if column.type == "timestamp":
            raise InvalidInput(f"column {column.name!r} is a time, which models take in no common form; give the model numbers", column=column.name)
        if column.type == "string" and place not in inputs.texts and place not in inputs.free_texts:
            why = inputs.unread.get(place) or "put an encoder with categories (OneHotEncoder, OrdinalEncoder) into the pipeline that is logged"
            raise InvalidInput(f"column {column.name!r} is a text, and nothing in the model says which texts it knows: {why}", column=column.name)
    sql = {name: Feature('"' + column.name.replace('"', '""') + '"') for name, column in zip(names, columns, strict=True)}
    view = OnDemandFeatureView(VIEW, {column.name: column.type for column in columns}, sql)
    kinds: list[Type] = ["string" if column.type == "string" else "float" for column in columns]
    cells = tuple(
        transformation.of_model(TransformedColumn(f"{VIEW}__{name}", kind), place, inputs)
        for place, (name, kind) in enumerate(zip(names, kinds, strict=True))
    )
    return ServedColumns(columns, FeatureService(model, [view]), Transformation(cells))


def tensors(served_columns: ServedColumns, signature: Signature | None, inputs: ModelInputs) -> tuple[ModelTensor, ...]:
    """The arrays that a model without named columns takes: as its bytes name them, else one as the signature says; none of a model of columns."""
    width = len(served_columns.columns)
    if (signature is not None and signature.columns) or any(column.type == "string" for column in served_columns.columns):
        return ()
    if len(inputs.tensors) > 1:
        return inputs.tensors
    if inputs.names:
        return ()
    own = inputs.tensors[0] if inputs.tensors else ModelTensor(UNNAMED, "FP64", (-1, width))
    if signature is not None and signature.dtype and not inputs.tensors:
        own = ModelTensor(signature.tensor or UNNAMED, _DATATYPES.get(signature.dtype, "FP64"), (-1, width))
    return (ModelTensor(own.name, own.datatype, (-1, width)),)


def golden(served_columns: ServedColumns, rows: Sequence[Mapping[str, Any]], *, most: int = GOLDEN_ROWS) -> np.ndarray:
    """The matrix of an example's rows that fit their types; where there are none, of rows drawn from the columns' types."""
    fitting = [fitted for row in rows[:most] if (fitted := _fitting(served_columns, row)) is not None]
    return RowsTransformer(served_columns.transformation).matrix(fitting or _drawn(served_columns))


def _columns(signature: Signature | None, inputs: ModelInputs) -> tuple[Column, ...]:
    width = inputs.width
    if signature is None or not signature.columns:
        asked = signature.width if signature else width
        if not asked:
            raise InvalidInput("it has no signature and does not say how many columns it reads; log it with an input_example")
        _check_width(asked, width)
        names = inputs.names or tuple(f"x{i}" for i in range(asked))
        return tuple(Column(name, "string" if i in inputs.texts or i in inputs.free_texts else "float") for i, name in enumerate(names))
    columns = signature.columns
    _check_width(len(columns), width)
    by_name = {column.name: column for column in columns}
    return tuple(by_name[name] for name in inputs.names) if set(inputs.names) == by_name.keys() else columns


def _check_width(asked: int, width: int) -> None:
    if width and asked != width:
        raise InvalidInput(f"its signature has {asked} columns and the model reads {width}; log it with the signature of what it was fitted on")


def _feature_names(columns: Sequence[Column]) -> list[str]:
    """A name of letters, digits and "_" for each column, no two alike."""
    names: list[str] = []
    for place, column in enumerate(columns):
        clean = _UNSAFE.sub("_", column.name).strip("_")[:100] or f"column_{place}"
        names.append(clean if clean not in names else f"{clean}_{place}")
    return names


def coerced(names: Sequence[str], types: Sequence[Type], row: Mapping[str, Any]) -> list[Any] | None:
    """The cells of an example's row in the types of its columns; None when it does not fit."""
    try:
        return [coerce(kind, row[name]) for name, kind in zip(names, types, strict=True)]
    except (InvalidInput, KeyError):
        return None


def vector(served_columns: ServedColumns, row: Mapping[str, Any]) -> dict[str, Any]:
    """The features of a request's row; raises `InvalidInput` for a value of another type."""
    values = [coerce(column.type, row[column.name]) for column in served_columns.columns]
    return {cell.name: value for cell, value in zip(served_columns.transformation.columns, values, strict=True)}


def _fitting(served_columns: ServedColumns, row: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        return vector(served_columns, row)
    except InvalidInput:
        return None


def _drawn(served_columns: ServedColumns) -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    return [
        {
            cell.name: _value(column.type, cell, random)
            for column, cell in zip(served_columns.columns, served_columns.transformation.columns, strict=True)
        }
        for _ in range(GOLDEN_ROWS)
    ]


def _value(kind: Type, cell: TransformedColumn, random: np.random.Generator) -> Any:
    match kind:
        case "string":
            return str(random.choice(cell.vocabulary or WORDS))
        case "bool":
            return bool(random.integers(2))
        case "int":
            return int(random.integers(10))
        case _:
            return float(random.normal())
