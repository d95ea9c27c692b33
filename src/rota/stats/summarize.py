"""Summarize a table for validation: one pass over each column, in slices whose summaries merge.

Memory is bounded by the slice and by 10,000 distinct texts a column, whatever the table; only a column with a constraint on its
distinct values costs 8 bytes for each of them. Everything is exact except that distinct values are told apart by 64-bit hashes
where they are constrained, and that beyond 10,000 texts the commonest are kept as seen by the slices.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import isfinite
from os import cpu_count

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rota.records.schema import Bins, ColumnSchema, Schema
from rota.stats.bins import BLOCK, above, as_numbers, count_values, from_above
from rota.stats.table_summary import NUMBERS, VALUES, Bound, ColumnSummary, Moments, TableSummary, commonest, kept_texts, merge

SLICE = 262_144  # rows; larger ones leave the processor's cache, smaller ones cost more calls than work


def summarize(table: pl.DataFrame | Iterable[pl.DataFrame], schema: Schema | None = None, *, histograms: bool = False) -> TableSummary:
    """Summarize a table, or a stream of its parts, with the details that `schema` needs of each column.

    Counted in their bins are the columns that have a comparator; with `histograms` all. Slices are looked at side by side on
    all cores, those of a stream on half of them, as whatever reads it has work too. An empty stream is a table without columns.
    """
    parts, cores = ([table], cpu_count() or 1) if isinstance(table, pl.DataFrame) else (table, (cpu_count() or 1) // 2)
    expected = {column.name: column for column in schema.columns} if schema else {}
    bins = {one.name: one for one in schema.bins if histograms or _compared(expected.get(one.name))} if schema else {}
    workers = max(1, cores)
    whole: TableSummary | None = None
    with ThreadPoolExecutor(workers) as pool:
        slices = (piece for part in parts for piece in (part.iter_slices(SLICE) if part.height else [part]))
        for group in _grouped(slices, workers):
            for seen in pool.map(lambda piece: _summarize_slice(piece, expected, bins), group):
                whole = seen if whole is None else merge(whole, seen)
    return whole or TableSummary()


def summarize_column(series: pl.Series, column: ColumnSchema | None = None, bins: Bins | None = None) -> ColumnSummary:
    """Summarize one column; the elements of lists when the column's schema bounds their lengths."""
    lists = isinstance(series.dtype, pl.List) and column is not None and (column.min_values, column.max_values) != (None, None)
    return _summarize_lists(series, column, bins) if lists else _summarize_scalars(series, column, bins)


def type_of(dtype: pl.DataType) -> str | None:
    """Rota's type of a polars type; None for a column of nulls, the engine's own name for what Rota has no type for."""
    if dtype == pl.Null:
        return None
    if dtype.is_float():
        return "float"
    if dtype.is_integer():
        return "int"
    if dtype == pl.Boolean:
        return "bool"
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return "string"
    return "timestamp" if isinstance(dtype, pl.Datetime) else str(dtype)


def _compared(column: ColumnSchema | None) -> bool:
    return column is not None and (column.skew is not None or column.drift is not None)


def _grouped(pieces: Iterable[pl.DataFrame], size: int) -> Iterable[list[pl.DataFrame]]:
    """So many pieces at a time, so that a stream is never read ahead of what is looked at."""
    group: list[pl.DataFrame] = []
    for piece in pieces:
        group.append(piece)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _summarize_slice(frame: pl.DataFrame, expected: Mapping[str, ColumnSchema], bins: Mapping[str, Bins]) -> TableSummary:
    return TableSummary(frame.height, {s.name: summarize_column(s, expected.get(s.name), bins.get(s.name)) for s in frame})


def _summarize_lists(series: pl.Series, column: ColumnSchema | None, bins: Bins | None) -> ColumnSummary:
    present = series.drop_nulls()
    lengths = present.list.len()
    elements = present.filter(lengths > 0).explode().rename(series.name)
    inner = _summarize_scalars(elements, column, bins)
    fewest, most = (int(lengths.min()), int(lengths.max())) if len(lengths) else (None, None)  # type: ignore[arg-type]
    return replace(inner, rows=len(series), nulls=series.null_count(), fewest=fewest, most=most)


def _summarize_scalars(series: pl.Series, column: ColumnSchema | None, bins: Bins | None) -> ColumnSummary:
    kind = type_of(series.dtype)
    if kind == "string":
        return _summarize_texts(series, column, bins)
    if kind in NUMBERS:
        return _summarize_numbers(kind, series, column, bins)
    return _single(ColumnSummary(kind, len(series), series.null_count()))


def _summarize_texts(series: pl.Series, column: ColumnSchema | None, bins: Bins | None) -> ColumnSummary:
    table = (series if series.dtype == pl.String else series.cast(pl.String)).alias("value").value_counts(name="len")
    seen = ColumnSummary("string", len(series), series.null_count())
    if bins is not None and bins.type == "string":
        seen = replace(seen, counts=count_values(bins, table))
    table = table.filter(pl.col("value").is_not_null()) if seen.nulls else table
    if column is not None and column.domain is not None:
        outside = table.filter(~pl.col("value").is_in(list(column.domain)))
        seen = replace(seen, unknown=tuple(commonest(outside, 5)["value"]), unknown_rows=int(outside["len"].sum())) if outside.height else seen
    seen = _with_hashes(seen, table["value"], column)
    return _single(replace(seen, values=kept_texts(table), cut=table.height > VALUES))


def _summarize_numbers(kind: str, series: pl.Series, column: ColumnSchema | None, bins: Bins | None) -> ColumnSummary:
    numbers = as_numbers(series.name, series.drop_nulls() if series.null_count() else series)
    swept = _swept(numbers)
    seen = replace(swept, type=kind, rows=len(series), nulls=series.null_count() + swept.nans)
    if kind in ("int", "timestamp"):  # exact beyond 2^53, where a float is not
        whole = series.dt.epoch("us") if kind == "timestamp" else series
        low, high = whole.min(), whole.max()
        seen = replace(seen, minimum=low, maximum=high, finite=(low, high))  # type: ignore[arg-type]
    if bins is not None and bins.type != "string":
        edges = np.asarray(bins.edges, dtype=np.float64)
        seen = replace(seen, counts=from_above(seen.nulls, seen.present, above(edges, numbers)))
    if column is not None and kind != "bool":
        seen = _with_range(seen, series if kind in ("int", "float") else series.dt.epoch("us"), column)
    return _single(_with_hashes(seen, series, column))


def _with_range(seen: ColumnSummary, numbers: pl.Series, column: ColumnSchema) -> ColumnSummary:
    """Rows outside the range are counted only when there are any."""
    below = column.minimum is not None and seen.minimum is not None and seen.minimum < column.minimum
    beyond = column.maximum is not None and seen.maximum is not None and seen.maximum > column.maximum
    if not below and not beyond:
        return seen
    numbers = numbers.fill_nan(None) if numbers.dtype.is_float() else numbers
    if not column.allow_inf and numbers.dtype.is_float():
        numbers = numbers.filter(numbers.is_finite())
    return replace(
        seen,
        below=int((numbers < column.minimum).sum() or 0) if below else 0,
        beyond=int((numbers > column.maximum).sum() or 0) if beyond else 0,
    )


def _swept(numbers: NDArray[np.float64]) -> ColumnSummary:
    """Everything about the numbers that one sweep through the processor's cache tells."""
    low, high, nans, infinities, moments = np.inf, -np.inf, 0, 0, Moments()
    least, greatest = np.inf, -np.inf
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(numbers), BLOCK):
            block = numbers[start : start + BLOCK]
            found, total = len(block), float(block.sum())
            if not isfinite(total):  # an overflow, or not every number is finite: rare, and the only time that it costs a look
                is_finite = np.isfinite(block)
                found = int(np.count_nonzero(is_finite))
                missing = int(np.count_nonzero(np.isnan(block)))
                nans, infinities = nans + missing, infinities + len(block) - found - missing
                if missing < len(block):
                    least, greatest = min(least, float(np.fmin.reduce(block))), max(greatest, float(np.fmax.reduce(block)))
                block = block[is_finite]
                total = float(block.sum())
            if found:
                low, high = min(low, float(block.min())), max(high, float(block.max()))
                mean = total / found
                apart = block - mean
                squares = np.einsum("i,i->", apart, apart)  # not a dot product: BLAS would start threads of its own beside ours
                moments = moments.merge(Moments(found, mean, float(squares)))
    finite: tuple[Bound, Bound] = (low, high) if low <= high else (None, None)
    least, greatest = min(least, low), max(greatest, high)
    ends: tuple[Bound, Bound] = (least, greatest) if nans < len(numbers) else (None, None)
    return ColumnSummary(None, len(numbers), nans, nans, infinities, *ends, finite, moments=moments)


def _with_hashes(seen: ColumnSummary, values: pl.Series, column: ColumnSchema | None) -> ColumnSummary:
    if column is None or (column.min_unique, column.max_unique) == (None, None):
        return seen
    values = values.drop_nulls()
    values = values.drop_nans() if values.dtype.is_float() else values
    return replace(seen, hashes=(values.hash().unique().to_numpy(),))


def _single(seen: ColumnSummary) -> ColumnSummary:
    """Of scalars: a row has one value or none."""
    return replace(seen, fewest=1, most=1) if seen.rows > seen.nulls - seen.nans else seen
