"""What validation looks at in a table: one pass over each column, in slices whose observations merge.

Memory is bounded by the slice and by 10,000 distinct texts a column, whatever the table; only a column with a constraint on its
distinct values costs 8 bytes for each of them. Everything is exact except that distinct values are told apart by 64-bit hashes
where they are constrained, and that beyond 10,000 texts the commonest are kept as seen by the slices.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from math import isfinite
from os import cpu_count

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rota.records.schema import Bins, ColumnSchema, ColumnStatistics, Schema, Statistics
from rota.stats.bins import BLOCK, RARE_LIMIT, TOP_VALUES, Counts, above, as_numbers, count_values, from_above

SLICE = 262_144  # rows; larger ones leave the processor's cache, smaller ones cost more calls than work
VALUES = TOP_VALUES + RARE_LIMIT
_HASHES = np.empty(0, dtype=np.uint64)
_NUMBERS = ("float", "int", "bool", "timestamp")

Bound = float | int | None


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, mean and sum of squared deviations of finite values; two merge by Chan, Golub and LeVeque (1983), eq. 2.1."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def merge(self, other: "Moments") -> "Moments":
        if not self.count or not other.count:
            return self if self.count else other
        total, apart = self.count + other.count, other.mean - self.mean
        with np.errstate(over="ignore", invalid="ignore"):
            squares = self.squares + other.squares + float(np.square(apart)) * self.count * other.count / total
        return Moments(total, self.mean + apart * other.count / total, squares)


@dataclass(frozen=True, slots=True)
class Observed:
    """One column of one slice. `type` is None when nothing but nulls was seen, an engine's own name when Rota has no such type.

    `nulls` include `nans`; `minimum` and `maximum` include infinities, `finite` does not. `below`, `beyond` and `unknown_rows`
    count the rows outside the range and the domain of the column's schema, `counts` those in each of its bins. `values` are
    the commonest texts with their number of rows, in no order, all of them unless `cut`. `fewest` and `most` values stand in a row.
    """

    type: str | None
    rows: int
    nulls: int
    nans: int = 0
    infinities: int = 0
    minimum: Bound = None
    maximum: Bound = None
    finite: tuple[Bound, Bound] = (None, None)
    below: int = 0
    beyond: int = 0
    moments: Moments = Moments()
    counts: Counts | None = None
    values: pl.DataFrame | None = None
    cut: bool = False
    unknown: tuple[str, ...] = ()
    unknown_rows: int = 0
    hashes: tuple[NDArray[np.uint64], ...] | None = None
    known_distinct: int | None = None
    fewest: int | None = None
    most: int | None = None

    @property
    def present(self) -> int:
        return self.rows - self.nulls

    @property
    def ranked(self) -> list[tuple[str, int]]:
        """The texts with their number of rows, commonest first."""
        return [] if self.values is None else _commonest(self.values, VALUES).rows()

    @property
    def distinct(self) -> int | None:
        """Distinct values that are neither null nor NaN; None when they were not counted."""
        if self.hashes is not None:
            return len(np.unique(np.concatenate([_HASHES, *self.hashes])))
        return self.values.height if self.values is not None and not self.cut else self.known_distinct


@dataclass(frozen=True, slots=True)
class Observation:
    """A table, or a part of one."""

    rows: int = 0
    columns: Mapping[str, Observed] = field(default_factory=dict)

    def statistics(self) -> Statistics:
        """The record of it; a column of nothing but nulls counts as numbers, one of a type that Rota does not have is left out."""
        kept = {name: seen for name, seen in self.columns.items() if seen.type in (None, "string", *_NUMBERS)}
        return Statistics(self.rows, tuple(_statistics(name, seen) for name, seen in kept.items()))


def observe(table: pl.DataFrame | Iterable[pl.DataFrame], schema: Schema | None = None, *, histograms: bool = False) -> Observation:
    """Look at a table, or at a stream of its parts, with what `schema` asks of each column in mind.

    Counted in their bins are the columns that have a comparator; with `histograms` all. Slices are looked at side by side on
    all cores, those of a stream on half of them, as whatever reads it has work too. An empty stream is a table without columns.
    """
    parts, cores = ([table], cpu_count() or 1) if isinstance(table, pl.DataFrame) else (table, (cpu_count() or 1) // 2)
    expected = {column.name: column for column in schema.columns} if schema else {}
    bins = {one.name: one for one in schema.bins if histograms or _compared(expected.get(one.name))} if schema else {}
    workers = max(1, cores)
    whole: Observation | None = None
    with ThreadPoolExecutor(workers) as pool:
        slices = (piece for part in parts for piece in (part.iter_slices(SLICE) if part.height else [part]))
        for group in _grouped(slices, workers):
            for seen in pool.map(lambda piece: _observe_slice(piece, expected, bins), group):
                whole = seen if whole is None else merge(whole, seen)
    return whole or Observation()


def merge(left: Observation, right: Observation) -> Observation:
    """The observation of both parts together; their columns are those of either."""
    names = [*left.columns, *(name for name in right.columns if name not in left.columns)]
    return Observation(left.rows + right.rows, {name: _merge_maybe(left, right, name) for name in names})


def observe_column(series: pl.Series, column: ColumnSchema | None = None, bins: Bins | None = None) -> Observed:
    """Look at one column; lists are looked into when the column's schema bounds their lengths."""
    lists = isinstance(series.dtype, pl.List) and column is not None and (column.min_values, column.max_values) != (None, None)
    return _observe_lists(series, column, bins) if lists else _observe_scalars(series, column, bins)


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


def _observe_slice(frame: pl.DataFrame, expected: Mapping[str, ColumnSchema], bins: Mapping[str, Bins]) -> Observation:
    return Observation(frame.height, {s.name: observe_column(s, expected.get(s.name), bins.get(s.name)) for s in frame})


def _observe_lists(series: pl.Series, column: ColumnSchema | None, bins: Bins | None) -> Observed:
    present = series.drop_nulls()
    lengths = present.list.len()
    elements = present.filter(lengths > 0).explode().rename(series.name)
    inner = _observe_scalars(elements, column, bins)
    fewest, most = (int(lengths.min()), int(lengths.max())) if len(lengths) else (None, None)  # type: ignore[arg-type]
    return replace(inner, rows=len(series), nulls=series.null_count(), fewest=fewest, most=most)


def _observe_scalars(series: pl.Series, column: ColumnSchema | None, bins: Bins | None) -> Observed:
    kind = type_of(series.dtype)
    if kind == "string":
        return _observe_texts(series, column, bins)
    if kind in _NUMBERS:
        return _observe_numbers(kind, series, column, bins)
    return _single(Observed(kind, len(series), series.null_count()))


def _observe_texts(series: pl.Series, column: ColumnSchema | None, bins: Bins | None) -> Observed:
    table = (series if series.dtype == pl.String else series.cast(pl.String)).alias("value").value_counts(name="len")
    seen = Observed("string", len(series), series.null_count())
    if bins is not None and bins.type == "string":
        seen = replace(seen, counts=count_values(bins, table))
    table = table.filter(pl.col("value").is_not_null()) if seen.nulls else table
    if column is not None and column.domain is not None:
        outside = table.filter(~pl.col("value").is_in(list(column.domain)))
        seen = replace(seen, unknown=tuple(_commonest(outside, 5)["value"]), unknown_rows=int(outside["len"].sum())) if outside.height else seen
    seen = _with_hashes(seen, table["value"], column)
    return _single(replace(seen, values=_kept(table), cut=table.height > VALUES))


def _observe_numbers(kind: str, series: pl.Series, column: ColumnSchema | None, bins: Bins | None) -> Observed:
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


def _with_range(seen: Observed, numbers: pl.Series, column: ColumnSchema) -> Observed:
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


def _swept(numbers: NDArray[np.float64]) -> Observed:
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
    return Observed(None, len(numbers), nans, nans, infinities, *ends, finite, moments=moments)


def _with_hashes(seen: Observed, values: pl.Series, column: ColumnSchema | None) -> Observed:
    if column is None or (column.min_unique, column.max_unique) == (None, None):
        return seen
    values = values.drop_nulls()
    values = values.drop_nans() if values.dtype.is_float() else values
    return replace(seen, hashes=(values.hash().unique().to_numpy(),))


def _single(seen: Observed) -> Observed:
    """Of scalars: a row has one value or none."""
    return replace(seen, fewest=1, most=1) if seen.rows > seen.nulls - seen.nans else seen


def _kept(table: pl.DataFrame) -> pl.DataFrame:
    """Ordered only when something is cut off: most slices are looked at once, and merged."""
    return _commonest(table, VALUES) if table.height > VALUES else table


def _commonest(table: pl.DataFrame, limit: int) -> pl.DataFrame:
    """Most rows first; ties by the alphabet, so that the same data are told in the same words."""
    return table.sort(["len", "value"], descending=[True, False]).head(limit)


def _merge_maybe(left: Observation, right: Observation, name: str) -> Observed:
    """A column that a part lacks is null there."""
    one, other = left.columns.get(name), right.columns.get(name)
    return _merge(one or Observed(None, left.rows, left.rows), other or Observed(None, right.rows, right.rows))


def _merge(left: Observed, right: Observed) -> Observed:
    values = _merge_values(left.values, right.values)
    return Observed(
        type=_common_type(left.type, right.type),
        rows=left.rows + right.rows,
        nulls=left.nulls + right.nulls,
        nans=left.nans + right.nans,
        infinities=left.infinities + right.infinities,
        minimum=_least(left.minimum, right.minimum),
        maximum=_greatest(left.maximum, right.maximum),
        finite=(_least(left.finite[0], right.finite[0]), _greatest(left.finite[1], right.finite[1])),
        below=left.below + right.below,
        beyond=left.beyond + right.beyond,
        moments=left.moments.merge(right.moments),
        counts=_merge_counts(left, right),
        values=None if values is None else _kept(values),
        cut=left.cut or right.cut or (values is not None and values.height > VALUES),
        unknown=tuple(dict.fromkeys((*left.unknown, *right.unknown)))[:5],
        unknown_rows=left.unknown_rows + right.unknown_rows,
        hashes=None if left.hashes is None and right.hashes is None else (*(left.hashes or ()), *(right.hashes or ())),
        fewest=_least(left.fewest, right.fewest),  # type: ignore[arg-type]
        most=_greatest(left.most, right.most),  # type: ignore[arg-type]
    )


def _merge_values(left: pl.DataFrame | None, right: pl.DataFrame | None) -> pl.DataFrame | None:
    if left is None or right is None:
        return right if left is None else left
    whole = (part.with_columns(pl.col("len").cast(pl.Int64)) if part["len"].dtype != pl.Int64 else part for part in (left, right))
    return pl.concat(whole).group_by("value").agg(pl.col("len").sum())


def _merge_counts(left: Observed, right: Observed) -> Counts | None:
    """Bin 0 takes the rows of a part in which the column is all null and was not counted."""
    if left.counts is None or right.counts is None:
        counted, other = (left, right) if left.counts is not None else (right, left)
        if counted.counts is None or other.nulls < other.rows:
            return None
        nulls = np.zeros_like(counted.counts)
        nulls[0] = other.rows
        return np.asarray(counted.counts + nulls)
    return np.asarray(left.counts + right.counts)


def _common_type(left: str | None, right: str | None) -> str | None:
    if left is None or right is None or left == right:
        return left if right is None else right
    return "float" if {left, right} == {"int", "float"} else f"{left} and {right}"


def _least(left: Bound, right: Bound) -> Bound:
    return right if left is None else left if right is None else min(left, right)


def _greatest(left: Bound, right: Bound) -> Bound:
    return right if left is None else left if right is None else max(left, right)


def _statistics(name: str, seen: Observed) -> ColumnStatistics:
    numeric, moments = seen.type != "string", seen.moments
    std = float(np.sqrt(moments.squares / moments.count)) if moments.count else 0.0
    return ColumnStatistics(
        name,
        seen.type or "float",  # type: ignore[arg-type]
        seen.rows,
        seen.nulls,
        () if seen.counts is None else tuple(seen.counts.tolist()),
        mean=moments.mean if numeric and moments.count and np.isfinite(moments.mean) else None,
        std=std if numeric and moments.count and np.isfinite(std) else None,
        minimum=seen.finite[0],
        maximum=seen.finite[1],
        top=tuple(seen.ranked[:TOP_VALUES]),
        nans=seen.nans,
        infinities=seen.infinities,
        distinct=seen.distinct,
    )
