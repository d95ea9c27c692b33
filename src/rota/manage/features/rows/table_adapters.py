"""Tables of users as columns and back: polars, pandas, anything that speaks Arrow's C stream interface, or a list of dicts."""

import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from rota.errors import InvalidInput, Unavailable
from rota.manage.features.rows.column_conversion import conform
from rota.manage.features.rows.value_columns import column_of


def columns(table: Any, *, what: str) -> pl.DataFrame:
    """A table as a polars frame; `what` names it in the error of one that cannot be read."""
    try:
        if isinstance(table, pl.LazyFrame):
            return table.collect()
        if isinstance(table, pl.DataFrame):
            return table
        if type(table).__module__.partition(".")[0] == "pandas":
            return _from_pandas(table)
        if hasattr(table, "__arrow_c_stream__"):
            return pl.DataFrame(table)
        if isinstance(table, Mapping):
            return pl.DataFrame([_column(str(name), values) for name, values in table.items()])
        if isinstance(table, Sequence) and not isinstance(table, str | bytes):
            return _from_rows([dict(row) for row in table])
    except (PolarsError, TypeError, ValueError, OverflowError, ImportError) as error:
        raise InvalidInput(f"{what} cannot be read as a table: {type(error).__name__}: {error}") from error
    raise InvalidInput(f"{what} is a {type(table).__name__}; give a polars, pandas or Arrow table, or a list of dicts")


def is_frame(table: Any) -> bool:
    """Whether something is a table of a library: polars, pandas or one with Arrow's C stream interface."""
    return type(table).__module__.partition(".")[0] in ("pandas", "polars") or hasattr(table, "__arrow_c_stream__")


def timed(frame: pl.DataFrame, names: Iterable[str], *, what: str) -> pl.DataFrame:
    """The frame with texts in the named columns read as ISO 8601 times; one without an offset is UTC. `InvalidInput` names one that is no time."""
    texts = [name for name in names if frame.schema.get(name) in (pl.String, pl.Object)]
    moments = conform(frame, dict.fromkeys(texts, "timestamp"), what=what)
    return frame.with_columns(moments[name].cast(pl.Datetime("us", "UTC")) for name in texts)


def rows(table: Any, *, what: str) -> Sequence[Mapping[str, Any]]:
    """A table as rows; a list of dicts is its own rows."""
    if isinstance(table, Sequence) and not isinstance(table, str | bytes):
        return table
    return columns(table, what=what).to_dicts()


def pandas(frame: pl.DataFrame) -> Any:
    """The frame as a pandas one, made through numpy: integers and booleans with nulls become floats and objects, as pandas has it."""
    try:
        library = importlib.import_module("pandas")
    except ImportError as error:
        raise Unavailable("pandas is not installed; use .to_polars(), or `pip install pandas`") from error
    return library.DataFrame({column.name: _naive(column).to_numpy() for column in frame})


def _naive(column: pl.Series) -> pl.Series:
    return column.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if getattr(column.dtype, "time_zone", None) else column


def _from_pandas(table: Any) -> pl.DataFrame:
    """Column by column through numpy, so that pyarrow is not needed; a time is brought to UTC, a missing value of any kind is null."""
    made = []
    twice = sorted({str(name) for name in table.columns if list(map(str, table.columns)).count(str(name)) > 1})
    if twice:
        raise InvalidInput(f"the pandas table has several columns called {twice}; give each its own name", columns=twice)
    for name in table.columns:
        column = table[name]
        kind = getattr(column.dtype, "kind", "O")
        if kind == "M":
            made.append(pl.Series(str(name), column.to_numpy(dtype="datetime64[us]")))
        elif kind in "iufb" and not column.isna().any():
            made.append(pl.Series(str(name), column.to_numpy()))
        else:
            made.append(column_of(str(name), column.tolist()))
    return pl.DataFrame(made)


def _from_rows(rows: list[dict[str, Any]]) -> pl.DataFrame:
    names = dict.fromkeys(str(name) for row in rows for name in row)
    return pl.DataFrame([column_of(name, [row.get(name) for row in rows]) for name in names])


def _column(name: str, values: Any) -> pl.Series:
    """One column of a mapping: a list, an array, or a column of another library."""
    if isinstance(values, list | tuple):
        return column_of(name, values)
    if type(values).__module__.partition(".")[0] == "pandas":
        return _from_pandas(values.to_frame(name))[name]
    return pl.Series(name, values)
