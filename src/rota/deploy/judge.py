"""The judge of a rollout: is the candidate worse than allowed, by everything logged since the rollout began?

Each analysis is a test that is valid at every look, with what it allows as its null: it may be evaluated at every step and whenever a person
looks without growing the error. `fail` and `pass` are each wrong with probability at most ALPHA over the whole rollout, and what the data
cannot decide yet is `inconclusive`, with what is missing. Errors and slow answers are compared as counts within each split of the traffic
(`stats.count_evidence`). A prediction that the candidate both answered and mirrored is one observation, its answer's. What a header routed is
compared by no analysis.
"""

import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import polars as pl

from rota.deploy import metric_hours, sample_size, unit_figures
from rota.deploy.decision_rules import ALPHA, ROWS_TUNED_FOR, SLICES_TUNED_FOR, SLOW, judged_errors, judged_loss, judged_slow
from rota.deploy.metric_hours import MetricHours
from rota.manage.models.own_metrics import TeamMetrics
from rota.manage.repositories import Repositories
from rota.manage.signals import labels, prediction_log
from rota.records.check import CheckResult, CheckState, Judgement
from rota.records.release import Analysis, Endpoint, Release, Rollout
from rota.records.time import Micros
from rota.stats import count_evidence, effects, sequential
from rota.stats.count_evidence import ArmCounts

LEAST_ROWS = 30
HOURS_FOR_SPREAD = 10
"""Hours from which on their differences tell how far they spread."""
FIRST_BLOCK, BLOCKS_GROW = 40, 1.5
"""Answers of the stable version after which its 95th percentile is taken for the first time, and how much later each next time."""


def examine(
    repositories: Repositories,
    endpoint: Endpoint,
    rollout: Rollout,
    *,
    now_us: Micros,
    revision: int | None = None,
    team: TeamMetrics | None = None,
) -> list[CheckResult]:
    """The result of each analysis of the endpoint's strategy on the log since the rollout began; without any, whether the candidate answers.

    Where all passed and no prediction reached it since the split of now was set, that is inconclusive beside them. Asked again for an earlier
    moment, and the `revision` of the release of then, it sees what it saw: predictions made and labels received by that moment. `team` has the
    metrics of a team's own that analyses may name, and calls them in a process of its own.
    """
    prediction_log.flush(repositories.journal, repositories.tables, endpoint.name)
    labels.flush(repositories.journal, repositories.tables, endpoint.name)
    rows = labels.joined(repositories.tables, endpoint.name, rollout.started_us, now_us + 1, known_until_us=now_us, features=False).filter(
        pl.col("model") == rollout.model
    )
    begins = splits(repositories, rollout, now_us, revision)
    rows = with_period(rows, begins)
    by_header, rows = rows.filter(pl.col("routed_by").is_not_null()), rows.filter(pl.col("routed_by").is_null())
    rows = unit_figures.with_outcomes(repositories, endpoint.name, rows, endpoint.rollout.analysis, known_until_us=now_us)
    results = [
        _metric(analysis, metric_hours.compared(repositories, rollout, rows, analysis.metric, team))
        if analysis.kind == "metric"
        else examined(analysis, rows, rollout)
        for analysis in endpoint.rollout.analysis
    ] or [_answers(pl.concat([rows, by_header], how="diagonal"), rollout)]
    if all(result.passed for result in results):
        results += _unreached(pl.concat([rows, by_header], how="diagonal").filter(pl.col("period") == len(begins)), rollout)
    return results + _routed_by_header(by_header)


def examined(analysis: Analysis, rows: pl.DataFrame, rollout: Rollout) -> CheckResult:
    """The result of one analysis of rows that have their period and what the analysis is about."""
    return _ANALYSES[analysis.kind](analysis, rows, rollout)


def _routed_by_header(rows: pl.DataFrame) -> list[CheckResult]:
    """How many predictions a header sent to their version: who sent it chose the arm, so no analysis compares them."""
    count = rows["prediction_id"].n_unique()
    message = f"{count} predictions were routed by a header ({', '.join(rows['routed_by'].unique().sort())}) and are not compared"
    return [CheckResult("header_routes", "pass", message, rows=count)] if count else []


def with_period(rows: pl.DataFrame, begins: Sequence[Micros]) -> pl.DataFrame:
    """The rows with how many of these moments were before each."""
    return rows.with_columns(sum((pl.col("at_us") >= since_us for since_us in begins), pl.lit(0)).cast(pl.Int64).alias("period"))


def splits(repositories: Repositories, rollout: Rollout, now_us: Micros, revision: int | None) -> list[Micros]:
    """When the rollout's releases began, each with a split of its own: the period of a prediction is how many had begun before it."""
    releases = repositories.metadata.find(Release, {"endpoint": rollout.endpoint})
    own = (release for release in releases if release.rollout == rollout.id and release.since_us <= now_us)
    return sorted(release.since_us for release in own if revision is None or release.revision <= revision)


def _unreached(newest: pl.DataFrame, rollout: Rollout) -> list[CheckResult]:
    """That no prediction reached the candidate in this step, if none did: what earlier steps saw does not speak for this one."""
    if not newest.filter(pl.col("number") == rollout.candidate).is_empty():
        return []
    missing = f"no prediction reached version {rollout.candidate} since this step began"
    result = CheckResult("traffic", "inconclusive", f"not judged: {missing}", "", missing, "learning")
    return [msgspec.structs.replace(result, seen=0, needed=1, counted="predictions of the candidate in this step")]


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
    return CheckResult(
        "answers", "inconclusive", message, "", missing, "learning", rows=candidate.height, seen=0, needed=1, counted="answers of the candidate"
    )


def _error_rate(analysis: Analysis, rows: pl.DataFrame, rollout: Rollout) -> CheckResult:
    """Share of failed predictions of the candidate (canary and shadow) against `ratio` times the stable one's plus `bound`."""
    candidate, stable = _arms(rows, rollout)
    failed = pl.col("error") != ""
    (hits, tried), (misses, asked) = arms = [(int(arm.select(failed.sum()).item()), arm.height) for arm in (candidate, stable)]
    outcome, interval = judged_errors(analysis, ArmCounts(hits, tried, misses, asked), _counts(candidate, stable, failed, failed))
    limit = f"allowed {analysis.bound:g}" if analysis.ratio == 1 else f"allowed {analysis.ratio:g} times that plus {analysis.bound:g}"
    text = f"error rate {_share(arms[0])} against {_share(arms[1])}"
    result = _result(analysis, interval, text, outcome=outcome, allowed=limit, bound=analysis.bound, missing=_few(tried, asked, "predictions"))
    usual, times = (misses + 0.5) / (asked + 1), _times(tried, asked)
    return _with_need(result, tried, "predictions of the candidate", lambda: times and sample_size.to_clear_errors(analysis, rate=usual, times=times))


def _latency(analysis: Analysis, rows: pl.DataFrame, rollout: Rollout) -> CheckResult:
    """How often candidate answers are slower than `bound` times the stable 95th percentile, against how often stable ones exceed it.

    While the candidate answers requests only these are timed: a mirrored prediction waits for nobody and takes other time.
    """
    candidate, stable = (arm.filter(pl.col("error") == "") for arm in _arms(rows, rollout))
    timed = candidate if rollout.state == "shadow" else candidate.filter(pl.col("role") == "canary")
    missing = _few(timed.height, stable.height, "mirrored predictions" if rollout.state == "shadow" else "answers")
    outcome, interval = judged_latency(analysis, timed, stable)
    p95 = [float(arm["latency_us"].quantile(0.95) or 0) / 1_000 for arm in (timed, stable)]
    text = f"latency p95 {p95[0]:.2f} ms against {p95[1]:.2f} ms"
    if np.isfinite(interval.estimate):
        text += f", {interval.estimate:.1%} slower than {analysis.bound:g} times that"
    shown = "inconclusive" if missing else outcome
    result = _result(analysis, interval, text, outcome=shown, allowed=f"allowed {SLOW:g}", bound=SLOW, missing=missing)
    times, slow = _times(timed.height, stable.height), _share_beyond(stable["latency_us"], analysis.bound)
    return _with_need(result, timed.height, "answers of the candidate", lambda: times and sample_size.to_clear_latency(slow=slow, times=times))


def judged_latency(analysis: Analysis, candidate: pl.DataFrame, stable: pl.DataFrame) -> tuple[Judgement, sequential.Interval]:
    """The outcome on the columns `period`, `at_us` and `latency_us` of both arms, and the candidate's share of slow answers with its bounds,
    where the stable version's is SLOW. A percentile is that of the stable answers before, so what is held against it does not choose it.

    Where the stable version has become so quick that it exceeds its old percentile no more, counts say nothing: then the share of candidate
    answers above `bound` times the least favourable percentile clears a candidate, by a test of its own that gets half of the error.
    """
    counts = _slow_counts(candidate, stable, analysis.bound)
    outcome, found = judged_slow(counts), count_evidence.rate_ratio(counts, alpha=ALPHA)
    interval = sequential.Interval(SLOW * found.estimate, SLOW * found.lower, SLOW * found.upper, candidate.height)
    if outcome != "inconclusive":
        return outcome, interval
    level = sequential.Level(ALPHA / 2, ROWS_TUNED_FOR, "upper")
    share = sequential.share_slower(candidate["latency_us"].to_numpy(), stable["latency_us"].to_numpy(), ratio=analysis.bound, level=level)
    return "pass" if share.upper <= SLOW else "inconclusive", interval


def _counts(candidate: pl.DataFrame, stable: pl.DataFrame, hit: pl.Expr, stable_hit: pl.Expr, *by: str) -> list[ArmCounts]:
    """Hits and rows of both arms in each period."""
    keys = ["period", *by]
    ours = candidate.group_by(keys).agg(hit.sum().alias("hits"), pl.len().alias("rows"))
    theirs = stable.group_by(keys).agg(stable_hit.sum().alias("stable_hits"), pl.len().alias("stable_rows"))
    both = ours.join(theirs, on=keys, how="inner").sort(keys).select("hits", "rows", "stable_hits", "stable_rows")
    return [ArmCounts(*row) for row in both.iter_rows()]


def _slow_counts(candidate: pl.DataFrame, stable: pl.DataFrame, ratio: float) -> list[ArmCounts]:
    """Slow answers of both arms, in blocks of time that begin with a new percentile of the stable answers before."""
    usual = stable.sort("at_us", maintain_order=True)
    spread = (np.arange(usual.height) * _GOLDEN) % 1.0 - 0.5  # times come in whole microseconds: equal ones are told apart
    times = usual["latency_us"].to_numpy() + spread
    begins, limits = [], []
    size = float(FIRST_BLOCK)
    while size < usual.height:
        begins.append(int(usual["at_us"][int(size)]))
        limits.append(float(np.quantile(times[: int(size)], 1 - SLOW)))
        size *= BLOCKS_GROW
    if not begins:
        return []
    edges, bounds = np.array(begins), np.array([math.inf, *limits])
    own = usual.with_columns(pl.Series("block", np.searchsorted(edges, usual["at_us"].to_numpy(), side="right")), pl.Series("time", times))
    other = candidate.with_columns(pl.Series("block", np.searchsorted(edges, candidate["at_us"].to_numpy(), side="right")))
    own = own.with_columns(pl.Series("limit", bounds[own["block"].to_numpy()])).filter(pl.col("block") > 0)
    other = other.with_columns(pl.Series("limit", bounds[other["block"].to_numpy()])).filter(pl.col("block") > 0)
    return _counts(other, own, pl.col("latency_us") > ratio * pl.col("limit"), pl.col("time") > pl.col("limit"), "block")


def _metric(analysis: Analysis, found: MetricHours) -> CheckResult:
    """Loss or metric of the mirrored candidate against the stable one's on the very same labelled predictions, hour by hour.

    An hour is one observation: the rows of an hour share their weather, and what makes an hour hard for both cancels.
    """
    differences = found.hours["difference"].to_numpy()
    level = sequential.Level(ALPHA / 2, SLICES_TUNED_FOR)
    interval = sequential.paired_difference(differences, np.zeros(len(differences)), level)
    paired = int(found.hours["rows"].sum())
    estimate = f"{interval.estimate:+.4f}" if interval.n else "not known yet"
    beside = f", not defined in {found.undefined} more" if found.undefined else ""
    text = f"{analysis.metric} {estimate} against stable on the same {paired} predictions in {interval.n} hours{beside}"
    if found.unmeasured:
        missing = f"the metric {analysis.metric!r} {found.unmeasured}"
        message = f"{text}: inconclusive, {missing}"
        return CheckResult(analysis.kind, "inconclusive", message, analysis.metric, missing, "cannot", rows=interval.n)
    missing = "" if interval.n >= LEAST_ROWS else f"{interval.n} hours with labels of predictions that both versions made, {LEAST_ROWS} needed"
    outcome = judged_loss(analysis.bound, interval)
    result = _result(analysis, interval, text, outcome=outcome, allowed=f"allowed {analysis.bound:g}", bound=analysis.bound, missing=missing)
    spread = float(differences.std()) if len(differences) >= HOURS_FOR_SPREAD else 0.0
    return _with_need(result, interval.n, "hours with labels", lambda: sample_size.to_clear_loss(analysis, spread=spread))


def _kpi(analysis: Analysis, rows: pl.DataFrame, rollout: Rollout) -> CheckResult:
    """The candidate's business figure against the stable one's, by units: within each split of the traffic, then together."""
    figures = unit_figures.of_units(rows, [analysis])
    periods = [[unit_figures.values(each, number) for number in (rollout.candidate, rollout.champion)] for each in figures.partition_by("period")]
    effect = effects.stratified([(ours, theirs) for ours, theirs in periods])
    interval = effects.always_valid(effect, sequential.Level(ALPHA, ROWS_TUNED_FOR))
    worse = sequential.Interval(*sorted_bounds(analysis, interval), interval.n)
    outcome = judged_loss(analysis.bound, worse)
    text = f"{analysis.subject} {effect.treatment:.6g} against {effect.control:.6g} of {effect.units} units, worse by"
    missing = "" if effect.units >= effects.LEAST_UNITS and np.isfinite(worse.upper) else "business outcomes of units of both versions that vary"
    return _result(analysis, worse, text, outcome=outcome, allowed=f"allowed {analysis.bound:g}", bound=analysis.bound, missing=missing)


def sorted_bounds(analysis: Analysis, interval: sequential.Interval) -> tuple[float, float, float]:
    """How much worse the candidate is, by the figure's direction: estimate, lower and upper bound."""
    if analysis.higher_is_better:
        return -interval.estimate, -interval.upper, -interval.lower
    return interval.estimate, interval.lower, interval.upper


def _arms(rows: pl.DataFrame, rollout: Rollout) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One row for each prediction of the candidate, as its caller got it before as it was mirrored, and of the stable version."""
    candidate = rows.filter(pl.col("number") == rollout.candidate).sort(pl.col("role") == "shadow", pl.col("error") == "", maintain_order=True)
    stable = rows.filter((pl.col("number") == rollout.champion) & (pl.col("role") == "stable"))
    return candidate.unique("prediction_id", keep="first", maintain_order=True), stable


def _with_need(result: CheckResult, seen: int, counted: str, needed: Callable[[], int | float | None]) -> CheckResult:
    """The result, and where it is inconclusive how much of what it counts there is, and how much tells an equal candidate."""
    if result.outcome != "inconclusive":
        return result
    need = needed()
    return msgspec.structs.replace(result, seen=seen, needed=max(int(need), LEAST_ROWS) if need else None, counted=counted)


def _times(candidate: int, stable: int) -> float:
    """Rows of the stable version to one of the candidate's; 0 where one of them has none."""
    return stable / candidate if candidate else 0.0


def _share_beyond(latency_us: pl.Series, ratio: float) -> float:
    """The share of latencies above `ratio` times their own 95th percentile."""
    limit = ratio * float(latency_us.quantile(1 - SLOW) or 0)
    return float((latency_us > limit).sum()) / len(latency_us) if len(latency_us) else 0.0


def _few(candidate: int, stable: int, what: str) -> str:
    """What is missing for a comparison of two arms; "" when both have enough."""
    return "" if min(candidate, stable) >= LEAST_ROWS else f"{candidate} {what} of the candidate and {stable} of stable, {LEAST_ROWS} needed of each"


def _result(
    analysis: Analysis, interval: sequential.Interval, text: str, *, outcome: Judgement, allowed: str, bound: float, missing: str
) -> CheckResult:
    observed, lower, upper = (float(each) if np.isfinite(each) else None for each in (interval.estimate, interval.lower, interval.upper))
    shown = f" (interval {lower:+.4f} to {upper:+.4f}, {allowed})" if lower is not None and upper is not None else ""
    state: CheckState = "learning" if missing else "watching"
    if outcome != "inconclusive":
        missing, state = "", "watching"
    why = missing or f"the data speak neither for nor against what is {allowed}" if outcome == "inconclusive" else ""
    message = f"{text}{shown}: {outcome}{missing and f', {missing}'}"
    return CheckResult(analysis.kind, outcome, message, analysis.subject, why, state, observed, lower, upper, bound, interval.n)


def _share(arm: tuple[int, int]) -> str:
    return f"{arm[0]}/{arm[1]}"


_GOLDEN = (math.sqrt(5) - 1) / 2
_ANALYSES = {"error_rate": _error_rate, "latency_p95": _latency, "kpi": _kpi}
