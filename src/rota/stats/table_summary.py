"""Mergeable summaries of tables: exact counts, moments, ranges and the commonest texts of each column; two parts merge into their whole.

At most 10,000 distinct texts a column are kept; beyond them the commonest, as the slices saw them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rota.records.schema import ColumnStatistics, Statistics
from rota.stats.bins import RARE_LIMIT, TOP_VALUES, Counts

VALUES = TOP_VALUES + RARE_LIMIT
"""So many distinct texts of a column are kept."""
NUMBERS = ("float", "int", "bool", "timestamp")
_HASHES = np.empty(0, dtype=np.uint64)

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
class ColumnSummary:
    """The summary of one column of one slice. `type` is None when nothing but nulls was seen, an engine's own name when Rota has no such type.

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
        return [] if self.values is None else commonest(self.values, VALUES).rows()

    @property
    def distinct(self) -> int | None:
        """Distinct values that are neither null nor NaN; None when they were not counted."""
        if self.hashes is not None:
            return len(np.unique(np.concatenate([_HASHES, *self.hashes])))
        return self.values.height if self.values is not None and not self.cut else self.known_distinct


@dataclass(frozen=True, slots=True)
class TableSummary:
    """The summary of a table, or of a part of one: its rows and the summary of each column."""

    rows: int = 0
    columns: Mapping[str, ColumnSummary] = field(default_factory=dict)

    def statistics(self) -> Statistics:
        """The stored record; a column of nothing but nulls counts as numbers, one of a type that Rota does not have is left out."""
        kept = {name: seen for name, seen in self.columns.items() if seen.type in (None, "string", *NUMBERS)}
        return Statistics(self.rows, tuple(_statistics(name, seen) for name, seen in kept.items()))


def merge(left: TableSummary, right: TableSummary) -> TableSummary:
    """The summary of both parts together; their columns are those of either."""
    names = [*left.columns, *(name for name in right.columns if name not in left.columns)]
    return TableSummary(left.rows + right.rows, {name: _merge_maybe(left, right, name) for name in names})


def kept_texts(table: pl.DataFrame) -> pl.DataFrame:
    """At most VALUES texts, sorted only when some are cut off: most slices are merged unsorted."""
    return commonest(table, VALUES) if table.height > VALUES else table


def commonest(table: pl.DataFrame, limit: int) -> pl.DataFrame:
    """The texts with most rows first; ties by the alphabet, so that equal data give equal summaries."""
    return table.sort(["len", "value"], descending=[True, False]).head(limit)


def _merge_maybe(left: TableSummary, right: TableSummary, name: str) -> ColumnSummary:
    """A column that a part lacks is null there."""
    one, other = left.columns.get(name), right.columns.get(name)
    return _merge(one or ColumnSummary(None, left.rows, left.rows), other or ColumnSummary(None, right.rows, right.rows))


def _merge(left: ColumnSummary, right: ColumnSummary) -> ColumnSummary:
    values = _merge_values(left.values, right.values)
    return ColumnSummary(
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
        values=None if values is None else kept_texts(values),
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


def _merge_counts(left: ColumnSummary, right: ColumnSummary) -> Counts | None:
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


def _statistics(name: str, seen: ColumnSummary) -> ColumnStatistics:
    numeric, moments = seen.type != "string", seen.moments
    std = float(np.sqrt(moments.squares / moments.count)) if moments.count else 0.0
    return ColumnStatistics(
        name,
        seen.type or "float",
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
