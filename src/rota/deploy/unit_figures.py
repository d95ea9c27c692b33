"""What each unit did in an arm: numerators and denominators of figures out of the prediction log, labels and business outcomes.

A prediction belongs to the arm that it was assigned to: where a canary failed and the stable version answered instead, to the canary.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rota.manage.repositories import Repositories
from rota.manage.signals import business_outcomes
from rota.records.release import Analysis
from rota.records.time import Micros
from rota.stats import effects


def loss_column(loss: str) -> str:
    """The name of a column of losses."""
    return f"loss {loss}"


def with_outcomes(
    repositories: Repositories, endpoint: str, rows: pl.DataFrame, analyses: Sequence[Analysis], *, known_until_us: Micros, window_us: Micros = 0
) -> pl.DataFrame:
    """The rows with a column for each outcome that the analyses name: 0 where none was reported by then, dated within its prediction's window."""
    names = sorted({name for each in analyses if each.kind == "kpi" for name in (each.metric, each.per) if name not in ("", "unit")})
    if not names:
        return rows
    for reported_for in (endpoint, ""):
        business_outcomes.flush(repositories.journal, repositories.tables, reported_for)
    found = business_outcomes.read(repositories.tables, endpoint, known_until_us=known_until_us)
    made = rows.group_by("prediction_id").agg(pl.col("at_us").min().alias("made_us"))
    known = found.join(made, on="prediction_id", how="inner")
    if window_us:
        known = known.filter(pl.col("at_us") <= pl.col("made_us") + window_us)
    for name in names:
        own = known.filter(pl.col("name") == name).select("prediction_id", pl.col("value").alias(_outcome(name)))
        rows = rows.join(own, on="prediction_id", how="left", maintain_order="left").with_columns(pl.col(_outcome(name)).fill_null(0.0))
    return rows


def assigned(rows: pl.DataFrame) -> pl.DataFrame:
    """One row for each prediction, of the arm that it was assigned to."""
    heard = rows.filter(pl.col("role") != "shadow")
    return heard.sort("at_us", pl.col("role") == "stable", maintain_order=True).unique("prediction_id", keep="first", maintain_order=True)


def of_units(rows: pl.DataFrame, analyses: Sequence[Analysis], covariate: str = "") -> pl.DataFrame:
    """Columns period, number, unit, first_us, rows, covariate, and `over <n>`, `under <n>` for each analysis: one row for each unit of an arm.

    `rows` have the columns of `row_losses.losses` and `with_outcomes`. The covariate is a feature's value at the first prediction of the unit.
    """
    figures = [expression for number, each in enumerate(analyses) for expression in _figures(number, each)]
    known = pl.col(covariate).cast(pl.Float64, strict=False) if covariate and covariate in rows.columns else pl.lit(None, dtype=pl.Float64)
    made = assigned(rows).with_columns(known.alias("covariate"))
    first = (pl.col("at_us").min().alias("first_us"), pl.len().alias("rows"), pl.col("covariate").first())
    return made.group_by("period", "number", "unit").agg(*first, *figures).sort("first_us", "unit", "number")


def values(figures: pl.DataFrame, number: int, analysis: int = 0) -> NDArray[np.float64]:
    """One value for each unit of an arm, in the order of the figures, whose mean is the arm's figure."""
    own = figures.filter(pl.col("number") == number)
    return effects.linearized(own[f"over {analysis}"].to_numpy(), own[f"under {analysis}"].to_numpy())


def _figures(number: int, analysis: Analysis) -> tuple[pl.Expr, pl.Expr]:
    over, under = f"over {number}", f"under {number}"
    if analysis.kind == "metric":
        lost = pl.col(loss_column(analysis.metric))
        return lost.sum().cast(pl.Float64).alias(over), lost.count().cast(pl.Float64).alias(under)
    if analysis.kind == "kpi":
        per = {"": pl.len(), "unit": pl.lit(1)}.get(analysis.per, pl.col(_outcome(analysis.per)).sum())
        return pl.col(_outcome(analysis.metric)).sum().alias(over), per.cast(pl.Float64).alias(under)
    return (pl.col("error") != "").sum().cast(pl.Float64).alias(over), pl.len().cast(pl.Float64).alias(under)


def _outcome(name: str) -> str:
    return f"outcome {name}"
