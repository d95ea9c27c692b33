"""The judge of an experiment: which version wins, by everything logged since it began.

The primary figure decides once, by a planned group-sequential test or by an always-valid confidence sequence; guardrails have one-sided confidence
sequences, which share ALPHA. A bandit decides by what is believed of the arms. A sample ratio mismatch, or units that came into several arms,
block every conclusion: then something is wrong with the assignment, and no figure of the arms can be trusted.

(primary, guardrails)                      -> outcome
any, assignment in doubt                   -> inconclusive, held with an alert
an arm wins, none of its guardrails open   -> pass, with the arm that is best of these
each arm lost, or a guardrail of it failed -> fail
last planned look without a winner         -> fail: no winner
else                                       -> inconclusive
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from rota.deploy import judge, row_losses, unit_figures
from rota.deploy.decision_rules import ALPHA, judged_loss
from rota.errors import InvalidInput
from rota.manage.repositories import Repositories
from rota.manage.signals import labels, prediction_log
from rota.records.check import CheckResult, Judgement, from_stored, waiting_for
from rota.records.release import Analysis, Endpoint, Release, Rollout, TrafficTest
from rota.records.time import Micros, micros
from rota.stats import effects, group_sequential, sample_ratio, sequential, thompson
from rota.stats.effects import Effect

ASSIGNMENT = "assignment"
MOST_CONTAMINATED = 0.01
"""The share of units that may be seen in several arms of a fixed split."""
TUNED_FOR = 5_000
"""Units at which confidence sequences are narrowest."""
LOOKS = "planned looks"
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ExperimentLook:
    """One look at an experiment: the results, what follows of them, the version that won, and of a bandit the split from now on."""

    results: tuple[CheckResult, ...]
    outcome: Judgement
    reason: str
    winner: int = 0
    is_blocked: bool = False
    split: Mapping[int, int] | None = None


@dataclass(frozen=True, slots=True)
class _Observed:
    """What a look sees: units with their figures (guardrails first, then the primary one), by arm, the control last."""

    test: TrafficTest
    rollout: Rollout
    units: pl.DataFrame
    rows: pl.DataFrame
    guardrails: tuple[Analysis, ...]
    now_us: Micros

    @property
    def primary(self) -> int:
        """The place of the primary figure."""
        return len(self.guardrails)

    def level(self, *, one_sided: bool, share: int = 1) -> sequential.Level:
        """The error of one arm's comparison: all arms, and `share` of these, have it together."""
        count = len(self.rollout.candidates) * max(share, 1)
        return sequential.Level((ALPHA if one_sided else self.test.alpha) / count, TUNED_FOR, "both")


def split(test: TrafficTest, champion: int, candidates: Sequence[int]) -> dict[int, int]:
    """Percent of the traffic by version at the start: the test's weight shared equally, of a bandit the same for each."""
    arms = len(candidates)
    weight = 100 - 100 // (arms + 1) if test.is_bandit else test.weight
    shares = {number: weight // arms + (place < weight % arms) for place, number in enumerate(candidates)}
    return {**shares, champion: 100 - weight}


def check_arms(test: TrafficTest, arms: int) -> None:
    """Raises `InvalidInput` where so many candidates cannot each have a share of the traffic."""
    if test.is_bandit and test.floor * (arms + 1) > 100:
        raise InvalidInput(f"a floor of {test.floor} percent for each of {arms} candidates and the champion is more than 100; lower the floor")
    if not test.is_bandit and test.weight < arms:
        raise InvalidInput(f"weight = {test.weight} percent cannot be shared by {arms} candidates, of which each needs 1; give more")


def examine(repositories: Repositories, endpoint: Endpoint, rollout: Rollout, *, now_us: Micros, revision: int | None = None) -> ExperimentLook:
    """Look at an experiment by what was logged and reported up to a moment; asked again for an earlier one it sees what it saw.

    `rollout` has the looks before in its history: a planned look is taken once, at the first `units / looks` units more.
    """
    test = endpoint.rollout.experiment
    assert test is not None
    seen = _seen(repositories, endpoint, rollout, test, now_us=now_us, revision=revision)
    assignment = _assignment(repositories, seen, revision)
    guardrails = {arm: _guardrails(seen, arm) for arm in rollout.candidates}
    if test.is_bandit:
        return _bandit(repositories, seen, assignment, guardrails, revision)
    primary = {arm: _primary(seen, arm) for arm in rollout.candidates}
    return _concluded(assignment, primary, guardrails)


def is_planned_look(entry: Mapping[str, Any]) -> bool:
    """Whether an entry of a history is kept for good: a planned look was taken in it, or the split moved after it."""
    taken = any(verdict.get("check") == "primary" and "; look " in verdict["message"] for verdict in entry["verdicts"])
    return taken or any(verdict.get("check") == "bandit" for verdict in entry["verdicts"])


def _seen(repositories: Repositories, endpoint: Endpoint, rollout: Rollout, test: TrafficTest, *, now_us: Micros, revision: int | None) -> _Observed:
    prediction_log.flush(repositories.journal, repositories.tables, endpoint.name)
    labels.flush(repositories.journal, repositories.tables, endpoint.name)
    rows = labels.joined(repositories.tables, endpoint.name, rollout.started_us, now_us + 1, known_until_us=now_us, features=bool(test.cuped))
    periods = {release.revision: place for place, release in enumerate(_releases(repositories, rollout, now_us, revision), 1)}
    rows = rows.with_columns(pl.col("revision").replace_strict(periods, default=0, return_dtype=pl.Int64).alias("period"))
    rows = rows.filter((pl.col("model") == rollout.model) & pl.col("routed_by").is_null() & (pl.col("period") > 0))
    rows = rows.filter(pl.col("number").is_in([*rollout.candidates, rollout.champion]))
    analyses = (*endpoint.rollout.analysis, test.primary)
    for loss in {each.metric for each in analyses if each.kind == "metric"}:
        rows = rows.hstack([row_losses.losses(repositories, rollout, rows, loss)])
    window_us = micros(test.window)
    rows = unit_figures.with_outcomes(repositories, endpoint.name, rows, analyses, known_until_us=now_us, window_us=window_us)
    closed = rows.filter(pl.col("at_us") <= now_us - window_us) if window_us else rows
    units = unit_figures.of_units(closed, analyses, test.cuped)
    return _Observed(test, rollout, units, rows, tuple(endpoint.rollout.analysis), now_us)


def _assignment(repositories: Repositories, seen: _Observed, revision: int | None) -> CheckResult:
    """Whether units came into the arms in the planned shares: each unit where it was seen first, by the weights of then."""
    assigned = unit_figures.assigned(seen.rows)
    first = assigned.sort("at_us", maintain_order=True).unique("unit", keep="first", maintain_order=True)
    arms = [*seen.rollout.candidates, seen.rollout.champion]
    evidence = 0.0
    for weights, period in zip(_weights(repositories, seen, revision), _by_period(first), strict=False):
        counts = [int((period["number"] == arm).sum()) for arm in arms]
        evidence += sample_ratio.sample_ratio(counts, [weights.get(arm, 0) for arm in arms]).log_evidence
    counted = ", ".join(f"version {arm} {int((first['number'] == arm).sum()):,}" for arm in arms)
    text = f"units: {counted}"
    if evidence >= math.log(1 / seen.test.srm_alpha):
        why = f"a sample ratio mismatch (evidence {math.exp(min(evidence, 700)):.3g} to 1 against the planned split)"
        return _blocked(f"{text}: {why}; nothing is concluded from arms that were not assigned as planned", why, first.height)
    if not seen.test.is_bandit and first.height:
        several = assigned.group_by("unit").agg(pl.col("number").n_unique()).filter(pl.col("number") > 1).height
        if several > max(MOST_CONTAMINATED * first.height, 1):
            why = f"{several} of {first.height} units were seen in several arms"
            return _blocked(f"{text}: {why}; name a unit that callers send with each request", why, first.height)
    return CheckResult(ASSIGNMENT, "pass", f"{text}, as planned", rows=first.height)


def _blocked(message: str, why: str, rows: int) -> CheckResult:
    return CheckResult(ASSIGNMENT, "inconclusive", message, "", why, "cannot", rows=rows)


def _weights(repositories: Repositories, seen: _Observed, revision: int | None) -> list[dict[int, int]]:
    """The split of each of the experiment's releases, in order."""
    releases = _releases(repositories, seen.rollout, seen.now_us, revision)
    return [{route.number: route.weight for route in each.routes if route.role != "shadow"} for each in releases]


def _releases(repositories: Repositories, rollout: Rollout, now_us: Micros, revision: int | None) -> list[Release]:
    """The experiment's releases, in order. A prediction is of the split of the release that answered it, however late a process took that up."""
    found = repositories.metadata.find(Release, {"endpoint": rollout.endpoint}, order="revision")
    own = [each for each in found if each.rollout == rollout.id and each.since_us <= now_us]
    return [each for each in own if revision is None or each.revision <= revision]


def _by_period(rows: pl.DataFrame) -> list[pl.DataFrame]:
    last = int(rows["period"].max() or 0) if rows.height else 0  # type: ignore[arg-type]
    return [rows.filter(pl.col("period") == period) for period in range(1, last + 1)]


def _guardrails(seen: _Observed, arm: int) -> list[CheckResult]:
    found = []
    for place, analysis in enumerate(seen.guardrails):
        if analysis.kind == "latency_p95":
            rollout = msgspec.structs.replace(seen.rollout, candidate=arm, state="canary")
            result = judge.examined(analysis, seen.rows, rollout)
            found.append(msgspec.structs.replace(result, subject=_subject(analysis, arm)))
        else:
            found.append(_non_inferior(seen, analysis, place, arm))
    return found


def _non_inferior(seen: _Observed, analysis: Analysis, place: int, arm: int) -> CheckResult:
    """Whether an arm is worse by at most the margin: fail and pass each by a bound that holds at every look."""
    effect = _effect(seen, seen.units, place, arm, "")[0]
    level = seen.level(one_sided=True, share=len(seen.guardrails))
    no_failure = analysis.kind == "error_rate" and effect.control == effect.treatment == 0.0 and effect.standard_error == 0.0
    if no_failure:  # what never failed has no variance, and yet enough of it shows that it fails seldom
        treated, control = (int((seen.units["number"] == each).sum()) for each in (arm, seen.rollout.champion))
        interval = effects.without_events(treated, control, level)
    else:
        interval = effects.always_valid(effect, level)
    worse = sequential.Interval(*judge.sorted_bounds(analysis, interval), interval.n)
    outcome = judged_loss(analysis.bound, worse)
    missing = "" if outcome != "inconclusive" else _still_open(effect, worse, analysis.bound) if no_failure else _few(effect)
    return _result(f"guardrail {analysis.kind}", _subject(analysis, arm), effect, worse, outcome=outcome, bound=analysis.bound, missing=missing)


def _primary(seen: _Observed, arm: int) -> CheckResult:
    """The primary figure of an arm: decided before, at a planned look that is due, or by its confidence sequence; how much better it is."""
    before = _decided_before(seen.rollout, _subject(seen.test.primary, arm))
    if before is not None and before.outcome != "inconclusive":
        return before
    effect, shrunk = _effect(seen, seen.units, seen.primary, arm, seen.test.cuped)
    interval = _better(seen, effects.always_valid(effect, seen.level(one_sided=False)))
    told = f", CUPED takes {shrunk:.0%} of the variance" if seen.test.cuped else ""
    if seen.test.design == "always_valid":
        outcome: Judgement = "pass" if interval.lower > 0 else "fail" if interval.upper < 0 else "inconclusive"
        return _result("primary", _subject(seen.test.primary, arm), effect, interval, outcome=outcome, bound=0.0, missing=_few(effect), told=told)
    return _planned(seen, arm, before, (effect, interval), told)


def _planned(seen: _Observed, arm: int, before: CheckResult | None, now: tuple[Effect, sequential.Interval], told: str) -> CheckResult:
    """The planned look that is due, on the units that came first; between two looks only the confidence sequence is shown, and nothing decided."""
    test, subject = seen.test, _subject(seen.test.primary, arm)
    taken = before.seen or 0 if before is not None else 0
    count = seen.units["unit"].n_unique() if seen.units.height else 0
    due = min(test.looks, int(count * test.looks / test.units)) if test.units else 0
    if due <= taken:
        missing = f"{count:,} of {test.units:,} units; look {taken + 1} of {test.looks} is at {math.ceil((taken + 1) * test.units / test.looks):,}"
        result = _result("primary", subject, *now, outcome="inconclusive", bound=0.0, missing=missing, told=told)
        return msgspec.structs.replace(result, seen=taken, needed=test.looks, counted=LOOKS)
    first = seen.units.filter(pl.col("unit").is_in(_first_units(seen.units, math.ceil(due * test.units / test.looks)).implode()))
    effect, _ = _effect(seen, first, seen.primary, arm, test.cuped)
    bound = group_sequential.boundaries(test.looks, test.alpha / len(seen.rollout.candidates))[due - 1]
    z = test.primary.sign * effect.z
    is_last = due == test.looks
    outcome: Judgement = "pass" if z > bound else "fail" if z < -bound or is_last else "inconclusive"
    named = {"pass": "wins", "fail": "loses" if z < -bound else "no winner"}.get(outcome, "goes on")
    told = f"{told}; look {due} of {test.looks}: z {z:+.3f}, boundary {bound:.3f}: {named}"
    missing = f"look {due + 1} of {test.looks} is at {math.ceil((due + 1) * test.units / test.looks):,} units" if outcome == "inconclusive" else ""
    result = _result("primary", subject, effect, now[1], outcome=outcome, bound=bound, missing=missing, told=told)
    return msgspec.structs.replace(result, seen=due, needed=test.looks, counted=LOOKS)


def _first_units(units: pl.DataFrame, count: int) -> pl.Series:
    """So many units, of all arms, that came first."""
    return units.sort("first_us", "unit").unique("unit", keep="first", maintain_order=True).head(count)["unit"]


def _effect(seen: _Observed, units: pl.DataFrame, place: int, arm: int, cuped: str) -> tuple[Effect, float]:
    """The effect on a figure of an arm against the control, within each split of the traffic, and the share of variance that CUPED takes."""
    periods, shares = [], []
    for period in units.partition_by("period", maintain_order=True) if units.height else []:
        both = [unit_figures.values(period, number, place) for number in (arm, seen.rollout.champion)]
        if cuped and all(map(len, both)):
            known = [
                period.filter(pl.col("number") == number)["covariate"].cast(pl.Float64).fill_null(math.nan).to_numpy()
                for number in (arm, seen.rollout.champion)
            ]
            both, share = effects.adjusted(both, known)
            shares.append(share)
        periods.append((both[0], both[1]))
    return effects.stratified(periods), float(np.mean(shares)) if shares else 0.0


def _better(seen: _Observed, interval: sequential.Interval) -> sequential.Interval:
    if seen.test.primary.higher_is_better:
        return interval
    return sequential.Interval(-interval.estimate, -interval.upper, -interval.lower, interval.n)


def _concluded(assignment: CheckResult, primary: Mapping[int, CheckResult], guardrails: Mapping[int, Sequence[CheckResult]]) -> ExperimentLook:
    results = (assignment, *primary.values(), *(each for arm in guardrails.values() for each in arm))
    if not assignment.passed:
        return ExperimentLook(results, "inconclusive", assignment.message, is_blocked=True)
    won = [arm for arm, result in primary.items() if result.passed and all(each.passed for each in guardrails[arm])]
    if won:
        winner = max(won, key=lambda arm: primary[arm].observed or 0.0)
        return ExperimentLook(results, "pass", "; ".join(each.message for each in (primary[winner], *guardrails[winner])), winner)
    lost = [[each.message for each in (primary[arm], *guardrails[arm]) if each.outcome == "fail"] for arm in primary]
    if all(lost):
        return ExperimentLook(results, "fail", "; ".join(message for arm in lost for message in arm))
    return ExperimentLook(results, "inconclusive", waiting_for(results))


def _bandit(
    repositories: Repositories, seen: _Observed, assignment: CheckResult, guardrails: Mapping[int, Sequence[CheckResult]], revision: int | None
) -> ExperimentLook:
    """What is believed of the arms by predictions whose window has closed; from the end of the burn-in on the split follows it."""
    test, arms = seen.test, [*seen.rollout.candidates, seen.rollout.champion]
    shown = tuple(each for arm in guardrails.values() for each in arm)
    counts = [int((seen.units["number"] == arm).sum()) for arm in arms]
    if not assignment.passed:
        return ExperimentLook((assignment, *shown), "inconclusive", assignment.message, is_blocked=True)
    periods = [[unit_figures.values(period, arm, seen.primary) for arm in arms] for period in _by_period(seen.units)]
    estimates = effects.period_weighted(periods)
    if min(counts) < test.burn_in or not estimates:
        missing = f"burn-in: {min(counts):,} of {test.burn_in:,} units of each arm whose window has closed"
        result = CheckResult("bandit", "inconclusive", f"equal split, {missing}", test.primary.subject, missing, "learning", rows=sum(counts))
        result = msgspec.structs.replace(result, seen=min(counts), needed=test.burn_in, counted="units of each arm")
        return ExperimentLook((assignment, result, *shown), "inconclusive", missing)
    believed = thompson.belief([(test.primary.sign * mean, variance) for mean, variance in estimates], seed=_seed(seen))
    failed = {arm for arm, results in guardrails.items() if any(each.outcome == "fail" for each in results)}
    leader = arms[believed.leader]
    scale = abs(estimates[believed.leader][0])
    known = thompson.is_known(believed, probability=test.probability, loss=test.loss * scale)
    results = (assignment, *_beliefs(test, arms, counts, estimates, believed, known), *shown)
    if len(failed) == len(seen.rollout.candidates) or (known and (leader == seen.rollout.champion or leader in failed)):
        why = f"version {leader} is the best" if not failed else f"guardrails failed for {sorted(failed)}"
        return ExperimentLook(results, "fail", f"{why}; {'; '.join(each.message for each in results if each.outcome != 'pass')}")
    if known and all(each.passed for each in guardrails[leader]):
        return ExperimentLook(results, "pass", results[1 + believed.leader].message, leader)
    weights = thompson.weights(believed, floor=test.floor, top_two=test.design == "top_two")
    wanted = dict(zip(arms, weights, strict=True))
    for arm in failed:  # what harms keeps nothing; the control takes it
        wanted[seen.rollout.champion] += wanted[arm] - 1
        wanted[arm] = 1
    now = _weights(repositories, seen, revision)
    return ExperimentLook(results, "inconclusive", waiting_for(results), split=wanted if not now or now[-1] != wanted else None)


def _beliefs(
    test: TrafficTest, arms: Sequence[int], counts: Sequence[int], estimates: Sequence[tuple[float, float]], believed: thompson.Belief, known: bool
) -> list[CheckResult]:
    found = []
    for arm, count, (mean, variance), best, loss in zip(arms, counts, estimates, believed.best, believed.loss, strict=True):
        message = f"{test.primary.subject} {mean:.6g} of {count:,} units: the best with {best:.1%}, expected to lose {loss:.3g}"
        missing = "" if known else f"no arm is the best with {test.probability:.0%} and a loss within {test.loss:.1%}"
        error = 1.96 * math.sqrt(variance)
        outcome: Judgement = "pass" if known else "inconclusive"
        result = CheckResult("bandit", outcome, message, f"version {arm}", missing, "watching", mean, mean - error, mean + error, rows=count)
        found.append(result)
    return found


def _seed(seen: _Observed) -> int:
    """Of a look and its rollout: the same draws whenever it is computed again."""
    return int.from_bytes(hashlib.blake2b(f"{seen.rollout.id}@{seen.now_us}".encode(), digest_size=8).digest())


def _decided_before(rollout: Rollout, subject: str) -> CheckResult | None:
    """The newest result of a planned look, or of any that decided."""
    for entry in reversed(rollout.history):
        for result in map(from_stored, entry["verdicts"]):
            if result.check == "primary" and result.subject == subject and (result.seen or result.outcome != "inconclusive"):
                return result
    return None


def _subject(analysis: Analysis, arm: int) -> str:
    return f"{analysis.subject or analysis.kind} of version {arm}"


def _still_open(effect: Effect, worse: sequential.Interval, bound: float) -> str:
    return f"none of {effect.units:,} units failed, which bounds the difference by {worse.upper:.2g}, {bound:g} is allowed; more units lower it"


def _few(effect: Effect) -> str:
    if effect.units >= effects.LEAST_UNITS and effect.standard_error > 0:
        return "the data speak neither for nor against it"
    return f"{effect.units} units of both arms whose figures vary, {effects.LEAST_UNITS} needed"


def _result(
    check: str,
    subject: str,
    effect: Effect,
    interval: sequential.Interval,
    *,
    outcome: Judgement,
    bound: float,
    missing: str,
    told: str = "",
) -> CheckResult:
    observed, lower, upper = (float(each) if math.isfinite(each) else None for each in (interval.estimate, interval.lower, interval.upper))
    figures = f"{effect.treatment:.6g} against {effect.control:.6g}" if math.isfinite(effect.estimate) else "not known yet"
    relative = f", {effect.relative:+.2%}" if math.isfinite(effect.relative) else ""
    shown = f" (confidence sequence {lower:+.4g} to {upper:+.4g})" if lower is not None and upper is not None else ""
    message = f"{subject}: {figures}{relative} in {effect.units:,} units{shown}{told}"
    missing = missing if outcome == "inconclusive" else ""
    return CheckResult(check, outcome, message, subject, missing, "learning" if missing else "watching", observed, lower, upper, bound, effect.units)
