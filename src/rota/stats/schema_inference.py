"""Schema inference: expectations that clean data meet, with room for healthy new data."""

from collections.abc import Iterable, Sequence
from math import isfinite

import polars as pl

from rota.errors import InvalidInput
from rota.records.schema import Bins, ColumnSchema, ColumnStatistics, Scalar, Schema, Statistics, Type
from rota.records.value_types import SCALARS
from rota.stats.bins import EDGE_VALUES, RARE_LIMIT, TOP_VALUES, choose_bins
from rota.stats.summarize import summarize
from rota.stats.table_summary import Bound, ColumnSummary, TableSummary

# A text with more distinct values than this names things rather than classes them; new ones are its nature.
DOMAIN_LIMIT = 1_000
RANGE_MARGIN, NULL_MARGIN = 0.1, 0.05
_LEAST_INT, _LARGEST_INT = -(2**63), 2**64 - 1


def infer_schema(name: str, statistics: Statistics, bins: Iterable[Bins], *, version: int = 1, dataset: str = "") -> Schema:
    """Expectations that the data behind `statistics` meet, with room for healthy new data. Not frozen.

    Ranges grow on both sides by a tenth of their width (a column without negative values stays so); the share of nulls may
    be half as large again plus 5 points. Domains come from the `bins`, which know every training value, up to 1,000 values.
    """
    if not statistics.rows:
        raise InvalidInput(f"schema {name!r} cannot be inferred from statistics of 0 rows; give clean data", schema=name)
    kept = tuple(bins)
    known = {one.name: one for one in kept}
    columns = tuple(_of_statistics(name, column, known.get(column.name)) for column in statistics.columns)
    return Schema(name, version, columns, kept, dataset)


def infer_table(name: str, table: pl.DataFrame | TableSummary, *, sample: pl.DataFrame | None = None, dataset: str = "") -> Schema:
    """The same of a whole table, or of the summary of one that is larger than memory and a `sample` of its rows.

    The sample only chooses the bins of numbers; ranges, shares of nulls and domains cover every row. A column of nothing but
    nulls gives no hint of its type and counts as a number.
    """
    seen = summarize(table) if isinstance(table, pl.DataFrame) else table
    if sample is None:
        sample = table.gather_every(max(1, table.height // EDGE_VALUES)) if isinstance(table, pl.DataFrame) else pl.DataFrame()
    if not seen.rows or not seen.columns:
        raise InvalidInput(f"schema {name!r} cannot be inferred from {seen.rows} rows of {len(seen.columns)} columns; give clean data", schema=name)
    types = {column: _type(name, column, observed.type) for column, observed in seen.columns.items()}
    columns = tuple(_of_observed(column, types[column], observed) for column, observed in seen.columns.items())
    bins = tuple(_bins(column, types[column], observed, sample) for column, observed in seen.columns.items())
    return Schema(name, 1, columns, bins, dataset)


def _type(schema: str, name: str, kind: str | None) -> Scalar:
    """The type that a schema expects; raises `InvalidInput` for one that it has no expectation of."""
    found = next((scalar for scalar in SCALARS if scalar == (kind or "float")), None)
    if found is None:
        raise InvalidInput(
            f"schema {schema!r}: column {name!r} holds {kind}, for which there is no expectation; leave it out or cast it",
            schema=schema,
            column=name,
        )
    return found


def _of_observed(name: str, type: Scalar, seen: ColumnSummary) -> ColumnSchema:
    values = [] if seen.cut else [value for value, _ in seen.ranked]
    ends = (seen.minimum, seen.maximum) if type in ("float", "int") else (None, None)
    return _column(name, type, seen.nulls / seen.rows, values, ends)


def _of_statistics(schema: str, column: ColumnStatistics, bins: Bins | None) -> ColumnSchema:
    null_share = column.nulls / column.count if column.count else 0.0
    values = (*bins.values, *bins.rare) if bins and column.type == "string" else ()
    ends = (column.minimum, column.maximum) if column.type in ("float", "int") and not column.infinities else (None, None)
    return _column(column.name, _type(schema, column.name, column.type), null_share, values, ends)


def _column(name: str, type: Scalar, null_share: float, values: Sequence[str], ends: tuple[Bound, Bound]) -> ColumnSchema:
    max_null_share = min(1.0, 1.5 * null_share + NULL_MARGIN)
    if type == "string":
        return ColumnSchema(name, type, max_null_share, domain=tuple(sorted(values)) if 0 < len(values) <= DOMAIN_LIMIT else None)
    low, high = ends
    if low is None or high is None:
        return ColumnSchema(name, type, max_null_share)
    bounds = _whole_range(int(low), int(high)) if type == "int" else _range(float(low), float(high))
    return ColumnSchema(name, type, max_null_share, minimum=bounds[0], maximum=bounds[1])


def _range(low: float, high: float) -> tuple[Bound, Bound]:
    """Where the data reach infinity, or the margin leaves the numbers, there is no bound."""
    margin = RANGE_MARGIN * (high - low) if high > low else 0.0
    least, largest = (max(0.0, low - margin) if low >= 0 else low - margin), high + margin
    return least if isfinite(least) else None, largest if isfinite(largest) else None


def _whole_range(low: int, high: int) -> tuple[Bound, Bound]:
    """Whole numbers all the way, as floats beyond 2^53 would cut off the ends; a bound that no 64-bit number passes is none."""
    margin = -(-(high - low) // 10)
    least, largest = (max(0, low - margin) if low >= 0 else low - margin), high + margin
    return (least if least >= _LEAST_INT else None, largest if largest <= _LARGEST_INT else None)


def _bins(name: str, type: Type, seen: ColumnSummary, sample: pl.DataFrame) -> Bins:
    if type != "string":
        return choose_bins(name, type, sample[name]) if name in sample.columns else Bins(name, type)
    values = [value for value, _ in seen.ranked]
    return Bins(name, type, values=tuple(values[:TOP_VALUES]), rare=tuple(sorted(values[TOP_VALUES : TOP_VALUES + RARE_LIMIT])))
