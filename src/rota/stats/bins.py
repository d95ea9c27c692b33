"""Histogram bins of features: chosen once on training data, so that counts of any later slices add up.

Counts are all that drift detection needs: about 20 numbers per feature and slice, whatever the traffic. "Rare" and "never
seen" have bins of their own, because an unseen value hidden among rare ones stays invisible.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rota.errors import InvalidInput
from rota.records.schema import Bins, Type

NUMBER_BINS = 20
TOP_VALUES = 30
# Texts beyond this many are not remembered and count as unseen: an id column must not become a record of megabytes.
RARE_LIMIT = 10_000
# Values from which edges are taken; of more, as many evenly spread ones. The standard error of a quantile's rank is at most 0.1 points.
EDGE_VALUES = 250_000
BLOCK = 65_536  # values that stay in the processor's cache while they are compared with every edge

Counts = NDArray[np.int64]


def choose_bins(name: str, type: Type, values: pl.Series) -> Bins:
    """Bins of a feature out of its training values.

    Numbers get up to 20 quantile bins whose edges are values that occur (up to 20 distinct values get a bin each); texts
    get one for each of their 30 commonest values. Nulls, NaN included, have their own bin always.
    """
    if type == "string":
        ranked = _ranked(as_texts(name, values))
        return Bins(name, type, values=tuple(ranked[:TOP_VALUES]), rare=tuple(sorted(ranked[TOP_VALUES : TOP_VALUES + RARE_LIMIT])))
    numbers = as_numbers(name, values)
    finite = numbers[np.isfinite(numbers)]
    finite = finite[:: max(1, len(finite) // EDGE_VALUES)]
    distinct = np.unique(finite)
    if len(distinct) > NUMBER_BINS:
        distinct = np.unique(np.quantile(finite, np.arange(1, NUMBER_BINS) / NUMBER_BINS, method="inverted_cdf"))
    return Bins(name, type, edges=tuple(distinct.tolist()))


def count(bins: Bins, values: pl.Series) -> Counts:
    """How many values fall in each bin: int64, shape (bins.size,); the counts of two slices add up to those of both together.

    Raises `InvalidInput` when the values are texts where the bins are of numbers, or the other way round.
    """
    if bins.type == "string":
        table = as_texts(bins.name, values).alias("value").value_counts(name="len")
        return count_values(bins, table)
    numbers = as_numbers(bins.name, values)
    present = len(numbers) - int(np.count_nonzero(np.isnan(numbers)))
    return from_above(len(numbers) - present, present, above(np.asarray(bins.edges, dtype=np.float64), numbers))


def count_values(bins: Bins, table: pl.DataFrame) -> Counts:
    """Counts of a text feature out of its distinct values: columns `value` (null allowed) and `len`."""
    placed = _placed(bins, table)
    return np.bincount(placed["bin"].to_numpy(), weights=placed["len"].to_numpy(), minlength=bins.size).astype(np.int64)


def above(edges: NDArray[np.float64], numbers: NDArray[np.float64]) -> Counts:
    """How many numbers lie above each edge; NaN lies above none. A fifth of the cost of searching each number's place."""
    found = np.zeros(len(edges), dtype=np.int64)
    beyond = np.empty(BLOCK, dtype=np.bool_)
    for start in range(0, len(numbers), BLOCK):
        block = numbers[start : start + BLOCK]
        out = beyond[: len(block)]
        for position, edge in enumerate(edges):
            found[position] += np.count_nonzero(np.greater(block, edge, out=out))
    return found


def from_above(nulls: int, present: int, beyond: Counts) -> Counts:
    """Bin counts out of how many numbers lie above each edge."""
    return np.concatenate([[nulls], -np.diff(np.concatenate([[present], beyond, [0]]))]).astype(np.int64)


def place(bins: Bins, values: pl.Series) -> Counts:
    """The bin of each value: int64, shape (rows,), each in 0 .. bins.size - 1. Raises as `count` does."""
    return _place_texts(bins, as_texts(bins.name, values)) if bins.type == "string" else _place_numbers(bins, as_numbers(bins.name, values))


def as_numbers(name: str, values: pl.Series) -> NDArray[np.float64]:
    """Float64 with NaN for null; times become microseconds, booleans 0 and 1."""
    dtype = values.dtype
    if dtype == pl.Float64:  # the common case, ten times cheaper than an expression
        return values.to_numpy()
    if isinstance(dtype, pl.Datetime):
        values = values.dt.epoch("us")
    elif not (dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)):
        raise InvalidInput(f"feature {name!r} holds {dtype} where numbers are expected; cast it, or declare its type as 'string'", feature=name)
    return values.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def as_texts(name: str, values: pl.Series) -> pl.Series:
    """Strings with nulls."""
    if values.dtype not in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        raise InvalidInput(f"feature {name!r} holds {values.dtype} where texts are expected; cast it, or declare another type", feature=name)
    return values.cast(pl.String)


def _ranked(texts: pl.Series) -> list[str]:
    """Distinct texts, commonest first; ties by the alphabet, so the same data give the same bins."""
    table = pl.DataFrame({"value": texts.drop_nulls()}).group_by("value").len().sort(["len", "value"], descending=[True, False])
    return table["value"].head(TOP_VALUES + RARE_LIMIT).to_list()


def _place_numbers(bins: Bins, numbers: NDArray[np.float64]) -> Counts:
    found = np.searchsorted(np.asarray(bins.edges, dtype=np.float64), numbers, side="left").astype(np.int64) + 1
    found[np.isnan(numbers)] = 0
    return found


def _place_texts(bins: Bins, texts: pl.Series) -> Counts:
    return _placed(bins, texts.alias("value").to_frame())["bin"].to_numpy()


def _placed(bins: Bins, table: pl.DataFrame) -> pl.DataFrame:
    """The table with the bin of each `value`, in its order."""
    rare, unseen = len(bins.values) + 1, len(bins.values) + 2
    known = dict(zip(bins.values, range(1, rare), strict=True)) | dict.fromkeys(bins.rare, rare)
    bin_of = pl.DataFrame({"value": [None, *known], "bin": [0, *known.values()]}, schema={"value": pl.String, "bin": pl.Int64})
    return table.join(bin_of, on="value", how="left", nulls_equal=True, maintain_order="left").with_columns(pl.col("bin").fill_null(unseen))
