"""Statistics of one column of one slice, for the data gate, drift detection and the pages."""

import numpy as np
import polars as pl

from rota.records.schema import Bins, ColumnStatistics, Type
from rota.stats.bins import as_numbers, as_texts, count

# Ends, quartiles and enough in between to redraw the distribution.
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
TOP = 30


def column_statistics(name: str, type: Type, values: pl.Series, bins: Bins) -> ColumnStatistics:
    """Counts, and for numbers moments, range and `QUANTILES` of the finite values, for texts the 30 commonest.

    NaN counts as null. `std` divides by the number of values. A column without a finite value has counts only.
    """
    counts = count(bins, values)
    rows, nulls = len(values), int(counts[0])
    if type == "string":
        return ColumnStatistics(name, type, rows, nulls, tuple(counts.tolist()), top=_top(as_texts(name, values)))
    numbers = as_numbers(name, values)
    finite = numbers[np.isfinite(numbers)]
    if not len(finite):
        return ColumnStatistics(name, type, rows, nulls, tuple(counts.tolist()))
    return ColumnStatistics(
        name,
        type,
        rows,
        nulls,
        tuple(counts.tolist()),
        mean=float(finite.mean()),
        std=float(finite.std()),
        minimum=float(finite.min()),
        maximum=float(finite.max()),
        quantiles=tuple(np.quantile(finite, QUANTILES).tolist()),
    )


def _top(texts: pl.Series) -> tuple[tuple[str, int], ...]:
    table = pl.DataFrame({"value": texts.drop_nulls()}).group_by("value").len().sort(["len", "value"], descending=[True, False])
    return tuple((value, int(times)) for value, times in table.head(TOP).iter_rows())
