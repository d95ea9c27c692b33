"""Which frames a table takes: numbers, texts, bools and lists of them, bytes and decimals, and how a frame must fit the columns already there."""

from collections.abc import Mapping, Sequence

import polars as pl

from rota.errors import InvalidInput

SCALARS: tuple[pl.DataType, ...] = (pl.Int64(), pl.Float64(), pl.Float32(), pl.String(), pl.Boolean())
TYPES: tuple[pl.DataType, ...] = (*SCALARS, *(pl.List(scalar) for scalar in SCALARS), pl.Binary())
"""Beside decimals."""
_MAX_COLUMN_NAME = 200


def check_frame(table: str, rows: pl.DataFrame, stored: Mapping[str, pl.DataType]) -> None:
    """Raise `InvalidInput` when the frame's columns have other types than TYPES and decimals, or than those `stored`."""
    if not rows.columns:
        raise InvalidInput(f"a frame without columns cannot be appended to table {table!r}; give it at least one column", table=table)
    folded = {name.casefold(): name for name in stored}
    for name, type_ in rows.schema.items():
        _check_column_name(table, name)
        if type_ not in TYPES and not isinstance(type_, pl.Decimal):
            raise InvalidInput(
                f"column {name!r} for table {table!r} has type {type_}; cast it to Int64 (times: microseconds), Float64, String, Boolean, "
                "a list of one of them, Binary or Decimal",
                table=table,
                column=name,
                type=str(type_),
            )
        if name in stored and stored[name] != type_:
            raise InvalidInput(
                f"column {name!r} of table {table!r} has type {stored[name]}, the appended rows have {type_}; cast them or use a new column name",
                table=table,
                column=name,
                type=str(type_),
            )
        other = folded.setdefault(name.casefold(), name)
        if other != name:
            raise InvalidInput(f"table {table!r} cannot hold columns {other!r} and {name!r}, which differ in case only", table=table, column=name)


def check_columns(table: str, columns: Sequence[str], stored: Mapping[str, pl.DataType]) -> None:
    """Raise `InvalidInput` when one of the asked columns is not there."""
    unknown = [name for name in columns if name not in stored]
    if unknown:
        raise InvalidInput(f"table {table!r} has no columns {unknown} in this version; it has {sorted(stored)}", table=table, unknown=unknown)


def _check_column_name(table: str, name: str) -> None:
    if not 0 < len(name) <= _MAX_COLUMN_NAME or not name.isprintable():
        raise InvalidInput(
            f"column name {name[:50]!r} for table {table!r} is not allowed; use 1-{_MAX_COLUMN_NAME} printable characters", table=table, column=name
        )
