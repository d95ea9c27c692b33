"""Gate 2: does the candidate hold what the pipeline demands? A pure decision from evaluations to results."""

from collections.abc import Mapping, Sequence

from rota.records.run import Evaluation, Gate, GateResult
from rota.stats.metrics import METRICS


def judge(gates: Sequence[Gate], candidate: Evaluation, champion: Evaluation | None) -> list[GateResult]:
    """One result a gate. The champion's evaluation must be of the same rows; without a champion its gates pass."""
    return [_unknown(gate) if gate.metric not in METRICS else _GATES[gate.kind](gate, candidate, champion) for gate in gates]


def _unknown(gate: Gate) -> GateResult:
    return GateResult(gate.metric, False, f"metric {gate.metric!r} is unknown; known are {sorted(METRICS)}")


def _threshold(gate: Gate, candidate: Evaluation, _: Evaluation | None) -> GateResult:
    return _bound(gate, f"{gate.metric}", candidate.metrics)


def _champion(gate: Gate, candidate: Evaluation, champion: Evaluation | None) -> GateResult:
    name = f"{gate.metric} against champion"
    if champion is None:
        return GateResult(name, True, f"{gate.metric}: no champion yet, nothing to compare with")
    if candidate.dataset != champion.dataset:
        return GateResult(name, False, f"candidate was scored on {candidate.dataset}, champion on {champion.dataset}: not comparable")
    if gate.metric not in candidate.metrics or gate.metric not in champion.metrics:
        return GateResult(name, False, f"{gate.metric} is not defined on these test rows")
    ours, theirs = candidate.metrics[gate.metric], champion.metrics[gate.metric]
    worse = (theirs - ours) if METRICS[gate.metric].higher_is_better else (ours - theirs)
    passed = worse <= gate.bound
    sign = "not worse" if passed else "worse"
    return GateResult(name, passed, f"{gate.metric}: champion {theirs:.4f}, candidate {ours:.4f}: {sign} (margin {gate.bound:g})", ours, theirs)


def _slices(gate: Gate, candidate: Evaluation, _: Evaluation | None) -> GateResult:
    name = f"{gate.metric} per {gate.column}"
    slices = {
        value: metrics
        for value, metrics in candidate.slices.get(gate.column or "", {}).items()
        if metrics["rows"] >= gate.min_rows and gate.metric in metrics
    }
    if not slices:
        return GateResult(name, True, f"{name}: no slice has {gate.min_rows} rows, nothing to judge")
    higher = METRICS[gate.metric].higher_is_better
    worst = (min if higher else max)(slices, key=lambda value: slices[value][gate.metric])
    return _bound(gate, f"{gate.metric} of worst {gate.column} {worst!r} ({len(slices)} slices)", slices[worst], name=name)


def _bound(gate: Gate, label: str, metrics: Mapping[str, float], *, name: str = "") -> GateResult:
    if gate.metric not in metrics:
        return GateResult(name or gate.metric, False, f"{label} is not defined on these test rows")
    value = metrics[gate.metric]
    higher = METRICS[gate.metric].higher_is_better
    passed = value >= gate.bound if higher else value <= gate.bound
    word = "at least" if higher else "at most"
    return GateResult(name or gate.metric, passed, f"{label} {value:.4f}, needed {word} {gate.bound:g}", value, gate.bound)


_GATES = {"threshold": _threshold, "champion": _champion, "slice": _slices}
