"""Rows as they come in, each value in its declared type by the one coercion for every way in (`rota.records.values`, docs/types.md).

A text is never taken for a number, nor a number for a text: only a cell of CSV, where everything is text, is read as what it says.
`column_conversion` does the same to whole columns, value for value.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from re import compile as pattern
from typing import Any

import msgspec
import polars as pl

from rota.errors import InvalidInput
from rota.manage.features.expressions.operators import DTYPES
from rota.manage.features.expressions.scalar_functions import INT_MAX, INT_MIN, text_to_float, text_to_int
from rota.records.data import FeatureService, Source
from rota.records.schema import Type
from rota.records.time import FIRST_US, LAST_US, parse_time
from rota.records.value_types import SCALARS, family
from rota.records.values import COERCIONS, coerce, is_encodable, shown

TEXT_BOOLS: Mapping[str, bool] = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
TEXT_SPACES = " \t\r\n"
"""What may stand around a cell that is no string."""
TEXT_MICROS = r"^[+-]?[0-9]{9,19}(\.0*)?$"
"""Fewer than nine digits are a date (20130715), or nothing."""
TEXT_INFINITE = r"^[+-]?[iI][nN][fF]([iI][nN][iI][tT][yY])?$"
_micros, _infinite = pattern(TEXT_MICROS), pattern(TEXT_INFINITE)
Row = Mapping[str, Any]


def check_events(source: Source, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows of a source, complete and coerced; an absent field is null.

    Raises `InvalidInput` naming field, value and row for a wrong type, an unknown field, a null timestamp or a null id.
    """
    needed = {source.timestamp_field, *filter(None, (source.id_field,))}
    declared = source.fields.keys()
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InvalidInput(f"row {index} of source {source.name!r} is {row!r}; give an object with the fields {list(source.fields)}", row=index)
        if not row.keys() <= declared:
            names = sorted(map(str, row.keys() - declared))
            raise InvalidInput(
                f"row {index} has fields that source {source.name!r} does not declare: {names}; its fields are {list(source.fields)}",
                row=index,
                field=names[0],
            )
    columns = [[row.get(name) for row in rows] for name in source.fields]
    try:
        made = [_coerced(column, kind) for column, kind in zip(columns, source.fields.values(), strict=True)]
    except InvalidInput:
        made = []
    if not made or any(None in column for name, column in zip(source.fields, made, strict=True) if name in needed):
        return [_coerce(row, index, source.fields, needed) for index, row in enumerate(rows)]  # says which row and field it is
    return [dict(zip(source.fields, values, strict=True)) for values in zip(*made, strict=True)]


def check_requests(service: FeatureService, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Request rows with the fields that the service needs, coerced; other fields are left out, absent ones are null.

    Raises `InvalidInput` naming field, value and row.
    """
    fields = service.request_fields
    return [_coerce(row, index, fields, ()) for index, row in enumerate(rows)]


def frame(rows: Sequence[Row], fields: Mapping[str, Type]) -> pl.DataFrame:
    """Checked rows as columns."""
    return pl.DataFrame({name: [row.get(name) for row in rows] for name in fields}, schema=dtypes(fields))


def dtypes(fields: Mapping[str, Type]) -> dict[str, pl.DataType]:
    return {name: DTYPES[kind] for name, kind in fields.items()}


def cell(kind: Type, text: str) -> Any:
    """A text of a form that has nothing but texts (a CSV cell, a word of a command line) in a declared type.

    A number is treated as the number that it writes ("1001.0" is an int), "nan" is a null float, a time is ISO 8601 or microseconds in nine
    or more digits. Raises `InvalidInput` with the reason only.
    """
    if kind == "string":
        return coerce(kind, text)
    bare = text.strip(TEXT_SPACES)
    if kind not in SCALARS:
        return coerce(kind, _list_of(text, kind) if family(kind) == "list" else bare if family(kind) in ("decimal", "bytes", "blob") else text)
    if kind == "float" and bare.lower() == "nan":
        return None
    if kind == "timestamp":
        return coerce(kind, int(bare.partition(".")[0]) if "." not in bare else float(bare)) if _is(_micros, bare) else parse_time(text)
    if kind == "bool" and bare in TEXT_BOOLS:
        return TEXT_BOOLS[bare]
    integer = text_to_int(bare) if kind != "float" else None
    number = text_to_float(bare) if integer is None else integer
    if number is None and _is(_infinite, bare):
        number = float(bare)
    elif number is None or math.isinf(number):
        raise InvalidInput(f"{shown(text)} is no {kind}")
    return coerce(kind, number)


def _coerce(row: Row, index: int, fields: Mapping[str, Type], needed: Collection[str]) -> dict[str, Any]:
    made = {}
    for name, kind in fields.items():
        value = row.get(name)
        if value is not None:
            try:
                value = coerce(kind, value)
            except InvalidInput as error:
                raise InvalidInput(f"row {index}, field {name!r}: {error}", row=index, field=name, value=shown(value)) from None
        if value is None and name in needed:
            raise InvalidInput(f"row {index}, field {name!r} is null or absent; every row needs it", row=index, field=name)
        made[name] = value
    return made


def _coerced(column: list[Any], kind: Type) -> list[Any]:
    """`coerce` of a whole column: as it is where all of its values are plain and fit."""
    kinds = set(map(type, column))
    kinds.discard(type(None))
    if not kinds or (kinds == {_PLAIN.get(kind)} and _fits(column, kind)):
        return column
    convert = COERCIONS[kind]
    return [None if value is None else convert(value) for value in column]


def _fits(column: list[Any], kind: Type) -> bool:
    """Whether every value of the plain type is a value of the declared type."""
    known = [value for value in column if value is not None] if None in column else column
    if kind == "float":
        return not any(map(math.isnan, known))
    if kind in ("int", "timestamp"):
        low, high = (INT_MIN, INT_MAX) if kind == "int" else (FIRST_US, LAST_US)
        return bool(low <= min(known) and max(known) <= high)
    return kind == "bool" or is_encodable("".join(known))


def _list_of(text: str, kind: Type) -> Any:
    """A list in a cell is JSON: [0.5, -1]."""
    try:
        return msgspec.json.decode(text, type=list[Any])
    except (msgspec.DecodeError, RecursionError):
        raise InvalidInput(f"{shown(text)} is no {kind}; a list in a cell is written as JSON, [0.5, -1]") from None


def _is(form: Any, text: str) -> bool:
    return form.match(text) is not None and not text.endswith("\n")


_PLAIN: dict[str, type] = {"float": float, "int": int, "bool": bool, "string": str, "timestamp": int}
