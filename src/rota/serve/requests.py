"""Checking what a caller sent before anything is computed: every field there, of its type, and every id usable."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rota.errors import InvalidInput
from rota.records.schema import Type
from rota.records.values import coerce, plain

Row = Mapping[str, Any]
LONGEST_ID = 128
_INFINITE = frozenset((math.inf, -math.inf))
_KINDS: Mapping[type, Type] = {str: "string", bool: "bool", int: "int", float: "float"}


def check_rows(rows: Sequence[Row], fields: Mapping[str, Type]) -> list[dict[str, Any]]:
    """The rows with every field in its type (a timestamp in microseconds); raises `InvalidInput` naming field and row.

    Fields beyond the declared ones are kept for the log and for routing when they are plain values. Any field may be null.
    """
    return [_check_row(row, index, fields) for index, row in enumerate(rows)]


def check_group(rows: Sequence[Row], field: str) -> None:
    """Raises `InvalidInput` for a row that names no group: it could be ranked, and never be judged."""
    for index, row in enumerate(rows):
        if row[field] is None or row[field] == "":
            raise InvalidInput(
                f"row {index}: field {field!r} names no group; the answers of a group are ranked together, so give all rows of one search its id",
                row=index,
                field=field,
            )


def check_ids(ids: Sequence[str], rows: int) -> None:
    """Raises `InvalidInput` unless there is one distinct, printable id of at most 128 characters for each row."""
    if len(ids) != rows:
        raise InvalidInput(f"{len(ids)} ids came with {rows} rows; send one id for each row, or none", ids=len(ids), rows=rows)
    for index, each in enumerate(ids):
        if not isinstance(each, str) or not 0 < len(each) <= LONGEST_ID or not each.isprintable():
            raise InvalidInput(f"id {str(each)[:LONGEST_ID]!r} of row {index} is not allowed; use 1-{LONGEST_ID} printable characters", row=index)
    if len(set(ids)) != len(ids):
        raise InvalidInput("two rows of one request have the same id; each prediction needs its own")


def _check_row(row: Row, index: int, fields: Mapping[str, Type]) -> dict[str, Any]:
    """The common case in one pass; only a row that does not fit is gone through again, to name the field."""
    try:
        checked = {name: coerce(kind, row[name]) for name, kind in fields.items()}
    except (KeyError, InvalidInput):
        checked = {name: _field(row, name, kind, index) for name, kind in fields.items()}
    if len(row) > len(checked):
        checked.update([(_value("string", name, name, index), _plain(row[name], name, index)) for name in row if name not in checked])
    if _has_infinite(checked):
        name = next(name for name, value in checked.items() if type(value) is float and value in _INFINITE)
        raise InvalidInput(f"row {index}: field {name!r} is infinite; send a finite number or null", row=index, field=name)
    return checked


def _has_infinite(checked: Mapping[str, Any]) -> bool:
    try:
        return not _INFINITE.isdisjoint(checked.values())
    except TypeError:  # lists, whose numbers are finite
        return any(type(value) is float and value in _INFINITE for value in checked.values())


def _field(row: Row, name: str, kind: Type, index: int) -> Any:
    if name not in row:
        raise InvalidInput(f"row {index} lacks the field {name!r} ({kind}); an unknown value is sent as null", row=index, field=name)
    return _value(kind, row[name], name, index)


def _plain(value: Any, name: str, index: int) -> Any:
    value = plain(value)
    kind = _KINDS.get(type(value))
    if value is not None and kind is None:
        raise InvalidInput(f"row {index}: field {name!r} is not a plain value; only texts, numbers, bools and nulls are kept", row=index, field=name)
    return None if kind is None else _value(kind, value, name, index)


def _value(kind: Type, value: Any, name: str, index: int) -> Any:
    try:
        return coerce(kind, value)
    except InvalidInput as error:
        raise InvalidInput(f"row {index}: field {name!r} ({kind}): {error}", row=index, field=name, expected=kind) from None
