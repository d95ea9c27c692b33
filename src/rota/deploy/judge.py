"""The judge of a rollout: is the candidate worse than allowed, by everything logged since the rollout began?

Each analysis compares candidate and stable by a one-sided confidence sequence with a bound, so it may be evaluated at every step
and whenever a person looks without growing the error: `fail` and `pass` are each wrong with probability at most ALPHA over the
whole rollout, and what the data cannot decide yet is `inconclusive`.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from rota.errors import InvalidInput
from rota.manage.repositories import Repositories
from rota.manage.signals import labels, prediction_log
from rota.records.release import Analysis, Endpoint, Judgement, Rollout, Verdict
from rota.records.time import HOUR_US, Micros
from rota.stats import sequential
from rota.stats.losses import LOSSES

ALPHA = 0.05
ROWS_TUNED_FOR = 2_000
SLICES_TUNED_FOR = 72
LEAST_ROWS = 30


def examine(repositories: Repositories, endpoint: Endpoint, rollout: Rollout, *, now_us: Micros) -> list[Verdict]:
    """One verdict for each analysis of the endpoint's strategy, on the log since the rollout began and the labels received by `now_us`.

    Asked again for an earlier moment it sees what it saw then: predictions made and labels received by that moment.
    """
    prediction_log.flush(repositories.journal, repositories.tables, endpoint.name)
    labels.flush(repositories.journal, repositories.tables, endpoint.name)
    rows = labels.joined(repositories.tables, endpoint.name, rollout.started_us, now_us + 1, known_until_us=now_us, features=False).filter(
        pl.col("model") == rollout.model
    )
    return [_ANALYSES[analysis.kind](analysis, rows, rollout) for analysis in endpoint.rollout.analysis]


def combine(verdicts: Sequence[Verdict]) -> tuple[Judgement, str]:
    """One failure fails; everything must pass to pass."""
    failed = [verdict.message for verdict in verdicts if verdict.outcome == "fail"]
    if failed:
        return "fail", "; ".join(failed)
    open_ = [verdict.message for verdict in verdicts if verdict.outcome == "inconclusive"]
    if open_:
        return "inconclusive", "; ".join(open_)
    return "pass", "; ".join(verdict.message for verdict in verdicts) or "nothing to analyse"


def _error_rate(analysis: Analysis, rows: pl.DataFrame, rollout: Rollout) -> Verdict:
    """Share of failed predictions, candidate (canary and shadow) minus stable."""
    arms = [(int((arm["error"] != "").sum()), arm.height) for arm in _arms(rows, rollout)]
    level = sequential.Level(ALPHA / 2, ROWS_TUNED_FOR)
    interval = sequential.difference_of_proportions(arms[0], arms[1], level)
    text = f"error rate {_share(arms[0])} against {_share(arms[1])}"
    return _verdict(analysis, interval, text, allowed=analysis.bound)


def _latency(analysis: Analysis, rows: pl.DataFrame, rollout: Rollout) -> Verdict:
    """Share of candidate answers slower than `bound` times the stable 95th percentile; five in a hundred are allowed."""
    candidate, stable = (arm.filter(pl.col("error") == "") for arm in _arms(rows, rollout))
    canary = candidate.filter(pl.col("role") == "canary")
    timed = canary if canary.height >= LEAST_ROWS else candidate
    interval = sequential.share_slower(
        timed["latency_us"].to_numpy(), stable["latency_us"].to_numpy(), ratio=analysis.bound, level=sequential.Level(ALPHA, ROWS_TUNED_FOR)
    )
    p95 = [float(arm["latency_us"].quantile(0.95) or 0) / 1_000 for arm in (timed, stable)]
    text = f"latency p95 {p95[0]:.2f} ms against {p95[1]:.2f} ms, {interval.estimate:.1%} slower than {analysis.bound:g} times that"
    return _verdict(analysis, interval, text, allowed=0.05)


def _metric(analysis: Analysis, rows: pl.DataFrame, rollout: Rollout) -> Verdict:
    """Loss of the mirrored candidate minus the stable one's on the very same labelled predictions, hour by hour.

    An hour is one observation: the rows of an hour share their weather, and what makes an hour hard for both cancels.
    """
    if analysis.metric not in LOSSES:
        raise InvalidInput(f"analysis metric {analysis.metric!r} is unknown; a rollout can be judged by {sorted(LOSSES)}", metric=analysis.metric)
    hourly = paired_hours(rows, rollout, analysis.metric)
    differences = hourly["difference"].to_numpy()
    level = sequential.Level(ALPHA / 2, SLICES_TUNED_FOR)
    interval = sequential.paired_difference(differences, np.zeros(len(differences)), level)
    paired = int(hourly["rows"].sum())
    estimate = f"{interval.estimate:+.4f}" if interval.n else "not known yet"
    text = f"{analysis.metric} {estimate} against stable on the same {paired} predictions in {interval.n} hours"
    return _verdict(analysis, interval, text, allowed=analysis.bound)


def paired_hours(rows: pl.DataFrame, rollout: Rollout, loss: str) -> pl.DataFrame:
    """Columns `hour`, `rows`, `difference`: mean loss of the candidate's shadow minus stable's, for each hour with labels."""
    answered = rows.filter((pl.col("error") == "") & pl.col("label").is_not_null())
    shadow = answered.filter((pl.col("role") == "shadow") & (pl.col("number") == rollout.candidate))
    stable = answered.filter((pl.col("role") == "stable") & (pl.col("number") == rollout.champion))
    pairs = stable.join(shadow.select("prediction_id", candidate="answer"), on="prediction_id", how="inner")
    of = LOSSES[loss].of
    difference = of(pl.col("candidate"), pl.col("label")) - of(pl.col("answer"), pl.col("label"))
    hour = (pl.col("at_us") // HOUR_US).alias("hour")
    return pairs.select(hour, difference.alias("difference")).group_by("hour").agg(pl.len().alias("rows"), pl.col("difference").mean()).sort("hour")


def _arms(rows: pl.DataFrame, rollout: Rollout) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of the candidate in whatever role, and of the stable version."""
    return rows.filter(pl.col("number") == rollout.candidate), rows.filter((pl.col("number") == rollout.champion) & (pl.col("role") == "stable"))


def _verdict(analysis: Analysis, interval: sequential.Interval, text: str, *, allowed: float) -> Verdict:
    outcome: Judgement = "fail" if interval.lower > allowed else "pass" if interval.upper <= allowed else "inconclusive"
    bounds = [float(bound) if np.isfinite(bound) else None for bound in (interval.estimate, interval.lower, interval.upper)]
    shown = "" if bounds[1] is None or bounds[2] is None else f" (interval {bounds[1]:+.4f} to {bounds[2]:+.4f}, allowed {allowed:g})"
    kind = f"{analysis.kind} {analysis.metric}".strip()
    return Verdict(kind, outcome, f"{text}{shown}: {outcome}", bounds[0], bounds[1], bounds[2], allowed, interval.n)


def _share(arm: tuple[int, int]) -> str:
    return f"{arm[0]}/{arm[1]}"


_ANALYSES = {"error_rate": _error_rate, "latency_p95": _latency, "metric": _metric}
