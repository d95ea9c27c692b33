"""Rows as they come in: every value checked against its declared type and brought into the one form Rota computes with.

float (nan is null), int (64 bits), bool, string (valid Unicode) and timestamp: ISO 8601 text, datetime, or integer
microseconds, kept as integer microseconds of the years 1 to 9999.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl

from rota.errors import InvalidInput
from rota.manage.features.expressions.operators import DTYPES
from rota.manage.features.expressions.scalar_functions import FIRST_US, INT_MAX, INT_MIN, LAST_US
from rota.records.data import FeatureService, Source
from rota.records.schema import Type
from rota.records.time import Micros, from_datetime, parse_time

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


def conform(columns: pl.DataFrame, fields: Mapping[str, Type], *, what: str) -> pl.DataFrame:
    """The named columns of a frame in their declared types; an absent column raises `InvalidInput`, a value that does not fit too."""
    missing = [name for name in fields if name not in columns.columns]
    if missing:
        raise InvalidInput(f"{what} lacks the columns {missing}; it has {columns.columns}", columns=missing)
    return columns.select(conformed(columns.schema[name], name, kind, what=what) for name, kind in fields.items())


def conformed(found: pl.DataType, name: str, kind: Type, *, what: str) -> pl.Expr:
    """The expression that brings one column of the type `found` into its declared type."""
    column = pl.col(name)
    if kind == "timestamp" and isinstance(found, pl.Datetime):
        return column.dt.epoch("us")
    if kind == "timestamp" and found == pl.Date:
        return column.cast(pl.Datetime("us")).dt.epoch("us")
    if found == pl.Null or (kind == "string" and isinstance(found, pl.Categorical | pl.Enum)):
        return column.cast(DTYPES[kind])
    if kind == "float" and (found.is_numeric()):
        return column.cast(pl.Float64).fill_nan(None)
    if found == DTYPES[kind] or (kind in ("int", "timestamp") and found.is_integer()):
        return column.cast(DTYPES[kind])
    raise InvalidInput(f"column {name!r} of {what} has the type {found}, which is no {kind}", column=name, found=str(found))


def coerce(kind: Type, value: Any) -> Any:
    """One value in its declared type; raises `InvalidInput` with the reason only."""
    return None if value is None else _COERCE[kind](value)


def _coerce(row: Row, index: int, fields: Mapping[str, Type], needed: Collection[str]) -> dict[str, Any]:
    made = {}
    for name, kind in fields.items():
        value = row.get(name)
        if value is not None:
            try:
                value = _COERCE[kind](value)
            except InvalidInput as error:
                raise InvalidInput(f"row {index}, field {name!r}: {error}", row=index, field=name, value=repr(value)[:200]) from None
        elif name in needed:
            raise InvalidInput(f"row {index}, field {name!r} is null or absent; every row needs it", row=index, field=name)
        made[name] = value
    return made


def _coerced(column: list[Any], kind: Type) -> list[Any]:
    """`coerce` of a whole column: as it is where all of its values are plain and fit."""
    kinds = set(map(type, column))
    kinds.discard(type(None))
    if not kinds or (kinds == {_PLAIN[kind]} and _fits(column, kind)):
        return column
    convert = _COERCE[kind]
    return [None if value is None else convert(value) for value in column]


def _fits(column: list[Any], kind: Type) -> bool:
    """Whether every value of the plain type is a value of the declared type."""
    known = [value for value in column if value is not None] if None in column else column
    if kind == "float":
        return not any(map(math.isnan, known))
    if kind in ("int", "timestamp"):
        low, high = (INT_MIN, INT_MAX) if kind == "int" else (FIRST_US, LAST_US)
        return bool(low <= min(known) and max(known) <= high)
    return kind == "bool" or _encodable("".join(known))


def _float(value: Any) -> float | None:
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    raise InvalidInput(f"{_shown(value)} is no number")


def _int(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and INT_MIN <= value <= INT_MAX:
        return int(value)
    raise InvalidInput(f"{_shown(value)} is no integer of 64 bits")


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise InvalidInput(f"{_shown(value)} is neither true nor false")


def _string(value: Any) -> str:
    if isinstance(value, str) and (value.isascii() or _encodable(value)):
        return value
    raise InvalidInput(f"{_shown(value)} is no text of valid Unicode")


def _timestamp(value: Any) -> Micros:
    if isinstance(value, str):
        return parse_time(value)
    if isinstance(value, datetime):
        return from_datetime(value)
    if isinstance(value, int) and not isinstance(value, bool) and FIRST_US <= value <= LAST_US:
        return int(value)
    raise InvalidInput(f"{_shown(value)} is no time; give ISO 8601 text or microseconds since 1970-01-01 UTC")


def _encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:100] + "..."


_PLAIN: dict[str, type] = {"float": float, "int": int, "bool": bool, "string": str, "timestamp": int}
_COERCE: dict[str, Callable[[Any], Any]] = {"float": _float, "int": _int, "bool": _bool, "string": _string, "timestamp": _timestamp}
