"""Python values as a column, none of them changed on the way: values of several types stay what they are, to be coerced one by one."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from rota.manage.features.expressions.scalar_functions import INT_MAX, INT_MIN
from rota.records.values import EXACT, plain

_LISTS = (list, tuple)
_DTYPES: dict[type, Any] = {bool: pl.Boolean, int: pl.Int64, float: pl.Float64, str: pl.String}


def column_of(name: str, values: Sequence[Any]) -> pl.Series:
    """Values as a column of their common type; of type Object where they have none, or none that holds each of them exactly."""
    values = list(map(plain, values))
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pl.Series(name, values, pl.Null)
    if kinds == {int, float} and all(type(value) is not int or abs(value) < EXACT for value in values):
        return pl.Series(name, values, pl.Float64, strict=False)
    beyond = kinds == {int} and not all(value is None or INT_MIN <= value <= INT_MAX for value in values)
    if beyond or any(kind in _LISTS or hasattr(kind, "dtype") for kind in kinds):  # numbers of several types in a list would take the first one's
        return pl.Series(name, values, pl.Object)
    if all(issubclass(kind, datetime) for kind in kinds):
        return _of_times(name, values)
    try:
        return pl.Series(name, values, pl.Object if len(kinds) > 1 else _DTYPES.get(next(iter(kinds))))
    except (PolarsError, TypeError, ValueError, OverflowError):
        return pl.Series(name, values, pl.Object)


def shown_values(column: pl.Series) -> pl.Series:
    """Values of several types as texts of their types and values, so that equal texts are equal values."""
    return pl.Series(column.name, [None if value is None else f"{type(value).__name__} {_written(value)}" for value in column.to_list()], pl.String)


def _written(value: Any) -> str:
    """Of an integer its hexadecimal digits, which one of any length has."""
    return f"{value:x}" if isinstance(value, int) else repr(value)


def _of_times(name: str, values: list[Any]) -> pl.Series:
    """Datetimes: in UTC where all of them have an offset; some with and some without are none of one type."""
    known = [value for value in values if value is not None]
    aware = [value.utcoffset() is not None for value in known]
    if any(aware) and not all(aware):
        return pl.Series(name, values, pl.Object)
    zone = "UTC" if all(aware) else None
    fields = [None if value is None else _exact(value) for value in values]
    return pl.Series(name, fields, pl.Datetime("us", zone))


def _exact(value: datetime) -> datetime:
    """A datetime of Python's own class, in UTC if it has an offset."""
    made = datetime(value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond, value.tzinfo, fold=value.fold)
    return made.astimezone(UTC) if made.utcoffset() is not None else made
