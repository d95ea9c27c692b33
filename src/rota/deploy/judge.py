"""The judge of a rollout: is the candidate worse than allowed, by everything logged since the rollout began?

Each analysis compares candidate and stable by a one-sided confidence sequence with a bound, so it may be evaluated at every step
and whenever a person looks without growing the error: `fail` and `pass` are each wrong with probability at most ALPHA over the
whole rollout, and what the data cannot decide yet is `inconclusive`, with what is missing. A prediction that the candidate both
answered and mirrored is one observation, its answer's.
"""

import numpy as np
import polars as pl

from rota.errors import InvalidInput
from rota.manage.repositories import Repositories
from rota.manage.signals import labels, prediction_log
from rota.records.check import CheckResult, CheckState, Judgement
from rota.records.release import Analysis, Endpoint, Rollout
from rota.records.time import HOUR_US, Micros
from rota.stats import sequential
from rota.stats.losses import LOSSES

ALPHA = 0.05
ROWS_TUNED_FOR = 2_000
SLICES_TUNED_FOR = 72
LEAST_ROWS = 30


def examine(repositories: Repositories, endpoint: Endpoint, rollout: Rollout, *, now_us: Micros) -> list[CheckResult]:
    """The result of each analysis of the endpoint's strategy on the log since the rollout began; without any, whether the candidate answers.

    Asked again for an earlier moment it sees what it saw then: predictions made and labels received by that moment.
    """
    prediction_log.flush(repositories.journal, repositories.tables, endpoint.name)
    labels.flush(repositories.journal, repositories.tables, endpoint.name)
    rows = labels.joined(repositories.tables, endpoint.name, rollout.started_us, now_us + 1, known_until_us=now_us, features=False).filter(
        pl.col("model") == rollout.model
    )
    return [_ANALYSES[analysis.kind](analysis, rows, rollout) for analysis in endpoint.rollout.analysis] or [_answers(rows, rollout)]


def _answers(rows: pl.DataFrame, rollout: Rollout) -> CheckResult:
    """Whether the candidate answered anything at all: all that can be asked where no analysis is declared."""
    candidate = _arms(rows, rollout)[0]
    answered = int((candidate["error"] == "").sum())
    if answered:
        return CheckResult(
            "answers", "pass", f"version {rollout.candidate} answered {answered} of {candidate.height} predictions", rows=candidate.height
        )
    if candidate.height >= LEAST_ROWS:
        return CheckResult("answers", "fail", f"version {rollout.candidate} failed all of {candidate.height} predictions", rows=candidate.height)
    missing = f"none of {candidate.height} predictions was answered" if candidate.height else "no prediction reached it"
    message = f"version {rollout.candidate} could not be judged: {missing} (a strategy without steps delivers without a canary)"
    return CheckResult("answers", "inconclusive", message, "", missing, "learning", rows=candidate.height)


def _error_rate(analysis: Analysis, rows: pl.DataFrame, rollout: Rollout) -> CheckResult:
    """Share of failed predictions, candidate (canary and shadow) minus stable."""
    arms = [(int((arm["error"] != "").sum()), arm.height) for arm in _arms(rows, rollout)]
    level = sequential.Level(ALPHA / 2, ROWS_TUNED_FOR)
    interval = sequential.difference_of_proportions(arms[0], arms[1], level)
    text = f"error rate {_share(arms[0])} against {_share(arms[1])}"
    return _result(analysis, interval, text, allowed=analysis.bound, missing=_few(arms[0][1], arms[1][1], "predictions"))


def _latency(analysis: Analysis, rows: pl.DataFrame, rollout: Rollout) -> CheckResult:
    """Share of candidate answers slower than `bound` times the stable 95th percentile; five in a hundred are allowed.

    While the candidate answers requests only these are timed: a mirrored prediction waits for nobody and takes other time.
    """
    candidate, stable = (arm.filter(pl.col("error") == "") for arm in _arms(rows, rollout))
    timed = candidate if rollout.state == "shadow" else candidate.filter(pl.col("role") == "canary")
    interval = sequential.share_slower(
        timed["latency_us"].to_numpy(), stable["latency_us"].to_numpy(), ratio=analysis.bound, level=sequential.Level(ALPHA, ROWS_TUNED_FOR)
    )
    p95 = [float(arm["latency_us"].quantile(0.95) or 0) / 1_000 for arm in (timed, stable)]
    text = f"latency p95 {p95[0]:.2f} ms against {p95[1]:.2f} ms"
    if np.isfinite(interval.estimate):
        text += f", {interval.estimate:.1%} slower than {analysis.bound:g} times that"
    what = "mirrored predictions" if rollout.state == "shadow" else "answers"
    return _result(analysis, interval, text, allowed=0.05, missing=_few(timed.height, stable.height, what))


def _metric(analysis: Analysis, rows: pl.DataFrame, rollout: Rollout) -> CheckResult:
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
    missing = "" if interval.n >= LEAST_ROWS else f"{interval.n} hours with labels of predictions that both versions made, {LEAST_ROWS} needed"
    return _result(analysis, interval, text, allowed=analysis.bound, missing=missing)


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
    """One row for each prediction of the candidate, as its caller got it before as it was mirrored, and of the stable version."""
    candidate = rows.filter(pl.col("number") == rollout.candidate).sort(pl.col("role") == "shadow", pl.col("error") == "", maintain_order=True)
    stable = rows.filter((pl.col("number") == rollout.champion) & (pl.col("role") == "stable"))
    return candidate.unique("prediction_id", keep="first", maintain_order=True), stable


def _few(candidate: int, stable: int, what: str) -> str:
    """What is missing for a comparison of two arms; "" when both have enough."""
    return "" if min(candidate, stable) >= LEAST_ROWS else f"{candidate} {what} of the candidate and {stable} of stable, {LEAST_ROWS} needed of each"


def _result(analysis: Analysis, interval: sequential.Interval, text: str, *, allowed: float, missing: str) -> CheckResult:
    outcome: Judgement = "fail" if interval.lower > allowed else "pass" if interval.upper <= allowed else "inconclusive"
    observed, lower, upper = (float(bound) if np.isfinite(bound) else None for bound in (interval.estimate, interval.lower, interval.upper))
    shown = f" (interval {lower:+.4f} to {upper:+.4f}, allowed {allowed:g})" if lower is not None and upper is not None else ""
    state: CheckState = "learning" if missing else "watching"
    if outcome != "inconclusive":
        missing, state = "", "watching"
    why = missing or f"the interval holds the allowed {allowed:g}" if outcome == "inconclusive" else ""
    message = f"{text}{shown}: {outcome}{missing and f', {missing}'}"
    return CheckResult(analysis.kind, outcome, message, analysis.metric, why, state, observed, lower, upper, allowed, interval.n)


def _share(arm: tuple[int, int]) -> str:
    return f"{arm[0]}/{arm[1]}"


_ANALYSES = {"error_rate": _error_rate, "latency_p95": _latency, "metric": _metric}
