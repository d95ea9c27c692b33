"""The rows of an online read, as dicts or as columns, brought into checked columns at the cost of a comparison per value."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rota.errors import InvalidInput
from rota.manage.features.expressions.scalar_functions import INT_MAX, INT_MIN
from rota.manage.features.rows import table_adapters
from rota.records.schema import Type
from rota.records.values import coerce, shown

EntityRows = Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]]


def checked(fields: Mapping[str, Type], entity_rows: EntityRows) -> tuple[dict[str, list[Any]], int]:
    """The columns of the fields and how many rows there are; what is not among the fields is left out.

    Raises `InvalidInput` naming field, value and row for a field that is not there (an unknown value is None) and for a value that
    is not of the declared type.
    """
    if table_adapters.is_frame(entity_rows):
        frame = table_adapters.columns(entity_rows, what="the entity rows")
        entity_rows = {name: frame[name].to_list() for name in frame.columns}
    if isinstance(entity_rows, Mapping):
        columns, count = _of_columns(fields, entity_rows)
    elif isinstance(entity_rows, Iterable) and not isinstance(entity_rows, str | bytes):
        listed = list(entity_rows)
        columns, count = _of_rows(fields, listed), len(listed)
    else:
        raise InvalidInput(f"entity rows are {entity_rows!r:.100}; give a list of dicts, a dict with a list of values for each field, or a table")
    return {name: _typed(column, name, fields[name]) for name, column in columns.items()}, count


def _of_rows(fields: Mapping[str, Type], rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    try:
        return {name: [row[name] for row in rows] for name in fields}
    except (KeyError, TypeError, IndexError):
        for index, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise InvalidInput(f"entity row {index} is {row!r:.100}; give an object with the fields {list(fields)}", row=index) from None
            for name in fields:
                if name not in row:
                    raise InvalidInput(
                        f"entity row {index} lacks the field {name!r} ({fields[name]}); it has {[*row]!r:.200}; an unknown value is sent as null",
                        row=index,
                        field=name,
                    ) from None
        raise


def _of_columns(fields: Mapping[str, Type], given: Mapping[str, Sequence[Any]]) -> tuple[dict[str, list[Any]], int]:
    columns = {}
    for name, kind in fields.items():
        column = given.get(name)
        if column is None:
            raise InvalidInput(f"the entity columns lack the field {name!r} ({kind}); they are {[*given]!r:.200}", field=name)
        if not isinstance(column, Iterable) or isinstance(column, str | bytes | Mapping):
            raise InvalidInput(f"entity column {name!r} is {column!r:.100}; give a list with a value for each row", field=name)
        columns[name] = list(column)
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InvalidInput(f"the entity columns have different lengths: {lengths}; each needs one value for each row", lengths=lengths)
    return columns, next(iter(lengths.values()), 0)


def _typed(column: list[Any], name: str, kind: Type) -> list[Any]:
    if kind == "int":
        if all(type(value) is int and INT_MIN <= value <= INT_MAX for value in column):
            return column
    elif kind == "string" and all(type(value) is str and value.isascii() for value in column):
        return column
    return [_value(value, index, name, kind) for index, value in enumerate(column)]


def _value(value: Any, index: int, name: str, kind: Type) -> Any:
    try:
        return coerce(kind, value)
    except InvalidInput as error:
        raise InvalidInput(f"entity row {index}, field {name!r} ({kind}): {error}", row=index, field=name, value=shown(value)) from None
