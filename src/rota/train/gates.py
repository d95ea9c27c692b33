"""Gate 2: does the candidate hold what the pipeline demands? A pure decision from evaluations to results.

What a gate cannot judge is inconclusive and refuses the candidate, with what is missing and the way out in its message.
"""

from collections.abc import Mapping, Sequence

import msgspec

from rota.problems import registry
from rota.records.check import CheckResult, Judgement
from rota.records.own_metric import OwnMetric
from rota.records.run import Evaluation, Gate

NULL = "null"
"""How rows without a value of the slice column are named among what was not judged."""


def judge(gates: Sequence[Gate], candidate: Evaluation, champion: Evaluation | None, *, own: Sequence[OwnMetric] = ()) -> list[CheckResult]:
    """One result a gate. The champion's evaluation must be of the same rows; without a champion its gates are inconclusive.

    `own` are the metrics of the team's own that the gates may name.
    """
    directions = {metric.name: metric.higher_is_better for metric in own}
    return [_judged(gate, directions, candidate, champion) for gate in gates]


def refusal(gates: Sequence[Gate], results: Sequence[CheckResult], *, first: bool) -> str:
    """Why the candidate is refused, "" when it is not; `results` are those of `judge`. On the `first` version gates that compare refuse nothing."""
    return "; ".join(result.message for gate, result in zip(gates, results, strict=True) if _refuses(gate, result, first=first))


def _refuses(gate: Gate, result: CheckResult, *, first: bool) -> bool:
    if result.outcome == "inconclusive":
        return gate.unjudged == "block" and not (first and result.state == "learning")
    return not result.passed


def _judged(gate: Gate, directions: Mapping[str, bool], candidate: Evaluation, champion: Evaluation | None) -> CheckResult:
    """The result of a gate, whose word becomes the direction of its metric."""
    known = registry.metric_of_any(gate.metric)
    if known is None and gate.metric not in directions:
        names = [*registry.metric_names(), *directions]
        return CheckResult(gate.metric, "fail", f"metric {gate.metric!r} is unknown; known are {names}")
    higher = known.higher_is_better if known is not None else directions[gate.metric]
    return _GATES[gate.kind](msgspec.structs.replace(gate, word="at_least" if higher else "at_most"), candidate, champion)


def _is_higher_better(gate: Gate) -> bool:
    return gate.word == "at_least"


def _threshold(gate: Gate, candidate: Evaluation, champion: Evaluation | None) -> CheckResult:
    known = registry.metric_of_any(gate.metric)
    if known is not None and known.compares and champion is None:
        return _inconclusive(gate.metric, f"{gate.metric}: no champion yet, nothing to compare with", "no champion yet", learning=True)
    return _bound(gate, f"{gate.metric}", candidate.metrics, rows=candidate.rows, within=candidate.intervals)


def _champion(gate: Gate, candidate: Evaluation, champion: Evaluation | None) -> CheckResult:
    name = f"{gate.metric} against champion"
    if champion is None:
        return _inconclusive(name, f"{gate.metric}: no champion yet, nothing to compare with", "no champion yet", learning=True)
    if candidate.dataset != champion.dataset:
        return CheckResult(name, "fail", f"candidate was scored on {candidate.dataset}, champion on {champion.dataset}: not comparable")
    if gate.metric not in candidate.metrics or gate.metric not in champion.metrics:
        return _undefined(name, gate.metric, candidate.rows)
    ours, theirs = candidate.metrics[gate.metric], champion.metrics[gate.metric]
    worse = (theirs - ours) if _is_higher_better(gate) else (ours - theirs)
    passed = worse <= gate.bound
    sign = "not worse" if passed else "worse"
    message = f"{gate.metric}: champion {theirs:.4f}, candidate {ours:.4f}: {sign} (margin {gate.bound:g})"
    low, high = candidate.intervals.get(gate.metric, (None, None))
    return CheckResult(
        name, "pass" if passed else "fail", message + _within(low, high), observed=ours, lower=low, upper=high, bound=theirs, rows=candidate.rows
    )


def _slices(gate: Gate, candidate: Evaluation, _: Evaluation | None) -> CheckResult:
    name = f"{gate.metric} per {gate.column}"
    found = candidate.slices.get(gate.column or "", {})
    slices = {value: metrics for value, metrics in found.items() if metrics["rows"] >= gate.min_rows and gate.metric in metrics}
    left = _not_judged(gate, candidate, found)
    if not slices:
        missing = f"no slice with {gate.min_rows} rows{left and f'; there are {left}'}"
        message = f'{name} could not be judged: {missing} (lower min_rows, or let it pass with per_slice(..., unjudged="pass"))'
        return _inconclusive(name, message, missing, subject=gate.column or "")
    higher = _is_higher_better(gate)
    worst = (min if higher else max)(slices, key=lambda value: slices[value][gate.metric])
    label = f"{gate.metric} of worst {gate.column} {worst!r} ({len(slices)} slices{left and f'; not judged: {left}'})"
    within = candidate.slice_intervals.get(gate.column or "", {}).get(worst, {})
    return _bound(gate, label, slices[worst], name=name, rows=int(slices[worst]["rows"]), within=within)


SHOWN_SLICES = 10


def _not_judged(gate: Gate, candidate: Evaluation, found: Mapping[str, Mapping[str, float]]) -> str:
    """The slices that a gate does not judge, and why; "" when it judges every row."""
    why = {value: _why_not(gate, metrics) for value, metrics in found.items()}
    named = [f"{value!r} ({reason})" for value, reason in why.items() if reason]
    without = candidate.rows - int(sum(metrics["rows"] for metrics in found.values()))
    more = [f"and {len(named) - SHOWN_SLICES} more slices"] if len(named) > SHOWN_SLICES else []
    return ", ".join([*named[:SHOWN_SLICES], *more, *([f"{without} rows whose {gate.column} is {NULL}"] if found and without > 0 else [])])


def _why_not(gate: Gate, metrics: Mapping[str, float]) -> str:
    if metrics["rows"] < gate.min_rows:
        return f"{metrics['rows']:.0f} rows"
    return "" if gate.metric in metrics else f"{gate.metric} is not defined on its {metrics['rows']:.0f} rows"


def _bound(
    gate: Gate, label: str, metrics: Mapping[str, float], *, rows: int, name: str = "", within: Mapping[str, tuple[float, float]]
) -> CheckResult:
    if gate.metric not in metrics:
        return _undefined(name or gate.metric, gate.metric, rows)
    value = metrics[gate.metric]
    higher = _is_higher_better(gate)
    passed = value >= gate.bound if higher else value <= gate.bound
    low, high = within.get(gate.metric, (None, None))
    message = f"{label} {value:.4f}, needed {'at least' if higher else 'at most'} {gate.bound:g}{_within(low, high)}"
    outcome: Judgement = "pass" if passed else "fail"
    return CheckResult(name or gate.metric, outcome, message, observed=value, lower=low, upper=high, bound=gate.bound, rows=rows)


def _within(low: float | None, high: float | None) -> str:
    return f" (95 %: {low:.4f} to {high:.4f})" if low is not None and high is not None else ""


def _undefined(name: str, metric: str, rows: int) -> CheckResult:
    missing = f"{metric} is not defined on these test rows"
    known = registry.metric_of_any(metric)
    needed = "answers that differ" if known is not None and known.compares else "labels of every class"
    return _inconclusive(name, f"{missing} ({rows}), so the gate could not judge; they need {needed}", missing, rows=rows)


def _inconclusive(name: str, message: str, missing: str, *, subject: str = "", rows: int = 0, learning: bool = False) -> CheckResult:
    return CheckResult(name, "inconclusive", message, subject, missing, "learning" if learning else "cannot", rows=rows)


_GATES = {"threshold": _threshold, "champion": _champion, "slice": _slices}
