"""Data quality of a dataset in six dimensions, five of them computed without a second source of truth.

Completeness, validity, uniqueness and consistency are simple ratios, 1 - undesirable / total (Pipino, Lee and Wang, Data
quality assessment, 2002; the dimensions as in ISO/IEC 25012 and Batini and Scannapieco, 2006). Timeliness is Ballou, Wang,
Pazer and Tayi (1998), max(0, 1 - currency / volatility). Accuracy is not scored: it needs the true values. `overall` is the
mean with equal weights (Pipino et al.'s weighted average); it hides a single bad dimension, so look at the weakest too. A dimension
of which nothing could be counted has no score and no part in the mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from rota.records.profile import ColumnProfile, Dimension
from rota.records.schema import ColumnSchema
from rota.records.time import DAY_US, HOUR_US, Micros
from rota.stats.bins import as_numbers

OVERALL = "overall"
DIMENSIONS = ("completeness", "validity", "uniqueness", "consistency", "timeliness")


@dataclass(frozen=True, slots=True)
class Validity:
    """How many of a column's values break an expectation, and the expectations that are broken."""

    broken: int
    reason: str = ""


def validity_of(values: pl.Series, expected: ColumnSchema | None) -> Validity:
    """Values that are not finite, outside the expected range or outside the expected domain; nulls are completeness's business."""
    if expected is not None and expected.domain is not None and values.dtype in (pl.String, pl.Categorical, pl.Enum):
        broken = int((~values.cast(pl.String).is_in(list(expected.domain))).fill_null(value=False).sum())
        return Validity(broken, f"{broken} outside the domain" if broken else "")
    if not (values.dtype.is_numeric() or values.dtype == pl.Boolean):
        return Validity(0)
    numbers = as_numbers(values.name, values)
    wrong = np.isinf(numbers)
    reasons = [f"{int(wrong.sum())} infinite"] if wrong.any() else []
    if expected is not None and expected.minimum is not None:
        below = numbers < expected.minimum
        wrong |= below
        reasons += [f"{int(below.sum())} below {expected.minimum:g}"] if below.any() else []
    if expected is not None and expected.maximum is not None:
        above = numbers > expected.maximum
        wrong |= above
        reasons += [f"{int(above.sum())} above {expected.maximum:g}"] if above.any() else []
    return Validity(int(wrong.sum()), ", ".join(reasons))


def completeness(columns: Sequence[ColumnProfile]) -> Dimension:
    """1 - missing cells / cells."""
    cells, missing = sum(column.count for column in columns), sum(column.nulls for column in columns)
    gappy = sum(column.nulls > 0 for column in columns)
    return Dimension("completeness", _ratio(missing, cells), f"{missing:,} of {cells:,} cells are missing, in {gappy} of {len(columns)} columns")


def validity(columns: Sequence[ColumnProfile], expectations: int) -> Dimension:
    """1 - values that break an expectation / values; `expectations` is how many columns have a schema or contract."""
    values = sum(column.count - column.nulls for column in columns)
    broken = sum(round((1 - column.validity) * (column.count - column.nulls)) for column in columns)
    held = f"{expectations} columns have a schema or contract" if expectations else "no schema or contract yet, so only infinite numbers count"
    return Dimension("validity", _ratio(broken, values), f"{broken:,} of {values:,} values break an expectation; {held}")


def uniqueness(rows: int, repeated: int, same_moment: int | None) -> Dimension:
    """1 - rows that repeat an earlier one / rows, for the worse of: all fields but the id; entity and moment alone."""
    worst = max(repeated, same_moment or 0)
    reason = f"{repeated:,} of {rows:,} rows repeat an earlier one in every field but the id"
    if same_moment is not None:
        reason += f", {same_moment:,} in entity and moment"
    return Dimension("uniqueness", _ratio(worst, rows), reason)


def consistency(rows: int, broken: int, rules: Sequence[tuple[str, int]]) -> Dimension:
    """1 - rows that break a rule between their fields / rows; `rules` are (rule, rows that break it)."""
    if not rules:
        return Dimension("consistency", None, "could not be judged: no rule between fields applies; declare some with checks=[...]")
    worst = [f"{count:,} break {rule!r}" for rule, count in rules if count]
    return Dimension("consistency", _ratio(broken, rows), "; ".join(worst) or f"all rows meet {', '.join(repr(rule) for rule, _ in rules)}")


def timeliness(age_us: Micros, freshness_us: Micros | None, shelf_life_us: Micros) -> Dimension:
    """max(0, 1 - currency / volatility): the newest row's age over the dataset's window, beyond which a row is worth nothing to it.

    We depart from Ballou et al. by not counting the age that the contract's freshness allows.
    """
    late_us = max(0, age_us - (freshness_us or 0))
    score = max(0.0, 1 - late_us / shelf_life_us) if shelf_life_us else 0.0
    allowed = f", {_duration(freshness_us)} are allowed" if freshness_us is not None else ""
    return Dimension("timeliness", score, f"the newest row is {_duration(age_us)} old{allowed}; the window is {_duration(shelf_life_us)}")


def overall(dimensions: Sequence[Dimension]) -> float | None:
    """The mean of the scores; None when there is none."""
    scores = [dimension.score for dimension in dimensions if dimension.score is not None]
    return sum(scores) / len(scores) if scores else None


def _ratio(undesirable: int, total: int) -> float | None:
    return 1 - undesirable / total if total else None


def _duration(us: Micros) -> str:
    return f"{us / DAY_US:.1f} days" if us >= 2 * DAY_US else f"{us / HOUR_US:.1f} hours"
