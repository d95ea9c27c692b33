"""Float arithmetic over columns as IEEE 754 has it, and so as Python does it for a row, where Polars' is other."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl


def is_one_zero(column: pl.Expr, literal: Any) -> bool:
    """Whether floats are one value for all rows, and perhaps zero: Polars leaves x + 0.0 as it is, and makes 0.0 - x of it -x, which
    have another sign where x is zero."""
    return not literal if literal is not None else not column.meta.root_names()


def positive_zero(column: pl.Expr) -> pl.Expr:
    """Floats with 0.0 in the place of -0.0: neither is less, so of several values either may be picked."""
    return pl.when(column == 0).then(pl.lit(0.0)).otherwise(column)


def divided(a: pl.Expr, b: pl.Expr | float) -> pl.Expr:
    """The IEEE 754 quotient of floats, as Python divides.

    Polars multiplies a column by the reciprocal of a divisor that is one value for all rows, which has another last digit:
    7.0 / 10 becomes 0.7000000000000001, and floor(x / 0.1) another whole number.
    """
    divisor = b if isinstance(b, pl.Expr) else pl.lit(b, dtype=pl.Float64)
    return a / divisor if divisor.meta.root_names() else by_numpy(np.divide, a, divisor)


def by_numpy(function: Callable[..., np.ndarray], *columns: pl.Expr) -> pl.Expr:
    """A numpy function of float columns, value by value; null where one of them is null."""

    def over(values: Sequence[pl.Series]) -> pl.Series:
        rows = 0 if any(each.is_empty() for each in values) else max(map(len, values))
        with np.errstate(all="ignore"):
            found = function(*(np.broadcast_to(each.to_numpy(), (rows,)) if len(each) == 1 else each.to_numpy() for each in values))
        made = pl.Series(values[0].name, found, dtype=pl.Float64)
        for each in values:
            if each.null_count():
                made = made.clear(rows) if len(each) == 1 else made.set(each.is_null(), None)
        return made

    return pl.map_batches(list(columns), over, return_dtype=pl.Float64, is_elementwise=True)


def raised(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """C's pow; for one exponent of 0.5 numpy would take the square root, which is nan where pow(-inf, 0.5) is inf."""
    raised: np.ndarray = np.power(a, np.ascontiguousarray(b))
    return raised
