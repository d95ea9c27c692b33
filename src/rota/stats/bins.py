"""Bins: where a feature's values are counted. Chosen once on training data, so slices of any later time add up.

Counts are all that drift detection needs: about 20 numbers per feature and slice, whatever the traffic. "Rare" and "never
seen" have bins of their own, because an unseen value hidden among rare ones stays invisible.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rota.errors import InvalidInput
from rota.records.data import Bins, Type

NUMBER_BINS = 20
TOP_VALUES = 30
# Texts beyond this many are not remembered and count as unseen: an id column must not become a record of megabytes.
RARE_LIMIT = 10_000

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
    distinct = np.unique(finite)
    if len(distinct) > NUMBER_BINS:
        distinct = np.unique(np.quantile(finite, np.arange(1, NUMBER_BINS) / NUMBER_BINS, method="inverted_cdf"))
    return Bins(name, type, edges=tuple(distinct.tolist()))


def count(bins: Bins, values: pl.Series) -> Counts:
    """How many values fall in each bin: int64, shape (bins.size,); the counts of two slices add up to those of both together.

    Raises `InvalidInput` when the values are texts where the bins are of numbers, or the other way round.
    """
    return _count_texts(bins, as_texts(bins.name, values)) if bins.type == "string" else _count_numbers(bins, as_numbers(bins.name, values))


def as_numbers(name: str, values: pl.Series) -> NDArray[np.float64]:
    """Float64 with NaN for null; times become microseconds, booleans 0 and 1."""
    dtype = values.dtype
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


def _count_numbers(bins: Bins, numbers: NDArray[np.float64]) -> Counts:
    place = np.searchsorted(np.asarray(bins.edges, dtype=np.float64), numbers, side="left") + 1
    place[np.isnan(numbers)] = 0
    return np.bincount(place, minlength=bins.size).astype(np.int64)


def _count_texts(bins: Bins, texts: pl.Series) -> Counts:
    rare, unseen = len(bins.values) + 1, len(bins.values) + 2
    known = pl.DataFrame(
        {"value": [*bins.values, *bins.rare], "bin": [*range(1, rare), *(rare for _ in bins.rare)]}, schema={"value": pl.String, "bin": pl.Int64}
    )
    seen = pl.DataFrame({"value": texts.drop_nulls()}).group_by("value").len().join(known, on="value", how="left")
    counts = np.zeros(bins.size, dtype=np.int64)
    np.add.at(counts, seen["bin"].fill_null(unseen).to_numpy(), seen["len"].to_numpy())
    counts[0] = texts.null_count()
    return counts
