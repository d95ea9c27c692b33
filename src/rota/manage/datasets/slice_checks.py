"""What daily slices let a monitor or the data gate see of each feature: results of the checks for drift and for known faults.

A feature that cannot be judged by its days (too few of them, or too few rows in them) is compared with its baseline by
`rota.stats.early_drift` meanwhile; the result says which of both judged, and what the other lacks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rota.manage.datasets.daily_slices import FAULT_DAYS, FAULT_REFERENCE_DAYS, Days, FeatureFinding, Window, examine
from rota.records.check import CheckResult, CheckState, Judgement
from rota.records.schema import Bins
from rota.records.time import Micros
from rota.stats.drift import DriftVerdict
from rota.stats.early_drift import LEAST_BASELINE, LEAST_SLICES, MOST_SLICES, POOLED_ROWS, EarlyVerdict, early_drift
from rota.stats.faults import LEAST_REFERENCE, LEAST_VALUES

DRIFT, FAULT = "drift", "distribution_skew"
SERVED_SLICES = 30
"""Newest served days that `early_drift` is given: the pooled ones, and those that show how much days differ."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """Counts (slices, bins) of each feature in the data that are taken for normal, and how many of the newest days were served.

    `undated` rows have no moments, so their slices are none of days.
    """

    counts: Mapping[str, np.ndarray] = field(default_factory=dict)
    served: int = 0
    undated: bool = False


@dataclass(frozen=True, slots=True)
class Watched:
    """What was found of each feature that days judge, the verdicts against the baseline of the others, and the results of all checks."""

    findings: tuple[FeatureFinding, ...]
    early: Mapping[str, EarlyVerdict]
    results: tuple[CheckResult, ...]


def watch(bins: Sequence[Bins], days: Days, window: Window, baseline: Baseline, *, left_out: Mapping[str, frozenset[Micros]]) -> Watched:
    """Check every feature of the bins for drift and known faults in the newest of `days`; `left_out` as for `daily_slices.examine`."""
    findings = examine(bins, days, window, left_out=left_out)
    verdicts = early(bins, days, window, findings, baseline)
    known, results = {finding.feature: finding for finding in findings}, []
    for b in bins:
        if b.name not in known:
            results += [_uncounted(kind, b.name) for kind in (DRIFT, FAULT)]
            continue
        usable = days.usable(left_out.get(b.name, frozenset()))
        results.append(drift_result(known[b.name].drift, b.name, verdicts.get(b.name), undated=baseline.undated))
        results.append(fault_result(b, days, known[b.name], usable, undated=baseline.undated))
    return Watched(tuple(findings), verdicts, tuple(results))


def _uncounted(kind: str, feature: str) -> CheckResult:
    missing = "no day was counted on its bins yet"
    return CheckResult(kind, "inconclusive", f"could not be judged: {missing}", feature, missing, "learning")


def early(bins: Sequence[Bins], days: Days, window: Window, findings: Sequence[FeatureFinding], baseline: Baseline) -> dict[str, EarlyVerdict]:
    """The verdict against the baseline of each feature that its days do not judge."""
    wanted = {finding.feature for finding in findings if finding.drift.state == "learning"}
    verdicts = {}
    for b in bins:
        if b.name in wanted:
            known = baseline.counts.get(b.name, np.zeros((0, b.size)))
            served = days.counts[b.name][max(0, len(days.starts_us) - baseline.served) :][-SERVED_SLICES:]
            verdicts[b.name] = early_drift(
                np.asarray(known).reshape(-1, b.size).sum(axis=0, keepdims=True) if baseline.undated else known,
                served,
                ordered=b.type != "string",
                features=len(bins),
                days_between_false_alarms=window.days_between_false_alarms,
            )
    return verdicts


def drift_result(verdict: DriftVerdict, feature: str, before: EarlyVerdict | None = None, *, undated: bool = False) -> CheckResult:
    """Of one feature: judged by its days, or by its baseline as long as days cannot."""
    if verdict.state != "learning":
        message = f"{verdict.effect:.0f} of 100 rows lie elsewhere than in the {verdict.slices} days before"
        outcome: Judgement = "fail" if verdict.alarm else "pass"
        return CheckResult(DRIFT, outcome, message, feature, observed=verdict.distance, bound=verdict.distance_limit, rows=verdict.rows)
    state, lack = lacking(verdict, undated=undated)
    if before is None or before.state == "learning":
        missing = lack if before is None else f"{lack}; for the comparison with the baseline {_early_lack(before)}"
        return CheckResult(DRIFT, "inconclusive", f"could not be judged: {missing}", feature, missing, state, rows=verdict.rows)
    share = f"{before.effect:.0f} of 100 rows lie elsewhere than in the {before.baseline_rows} rows of the baseline"
    message = f"{share}, in the newest {before.slices} days with {before.rows} rows (p {before.p_value:.1g}; day by day: {state}, {lack})"
    judged: Judgement = "fail" if before.alarm else "inconclusive" if before.state == "undecided" else "pass"
    missing = f"the newest {before.rows} rows do not decide, more days do" if judged == "inconclusive" else ""
    return CheckResult(DRIFT, judged, message, feature, missing, observed=before.p_value, bound=before.p_needed, rows=before.rows)


def fault_result(bins: Bins, days: Days, finding: FeatureFinding, usable: Sequence[int], *, undated: bool = False) -> CheckResult:
    """Whether a known fault explains a feature's newest days, or why that could not be asked."""
    if finding.fault is not None:
        return CheckResult(FAULT, "fail", finding.fault.message, bins.name)
    sizes = _sizes(bins, days)
    newest = [int(size) for size in sizes[-FAULT_DAYS:]]
    reference = [position for position in usable if position < len(sizes) - FAULT_DAYS][-FAULT_REFERENCE_DAYS:]
    before = sum(1 for position in reference if sizes[position] >= LEAST_VALUES)
    if len(newest) < FAULT_DAYS or min(newest) < LEAST_VALUES:
        missing = f"{min(newest, default=0)} rows a day, {LEAST_VALUES} needed in each of the newest {FAULT_DAYS} days"
        return _cannot(bins.name, missing, rows=sum(newest))
    if before < LEAST_REFERENCE:
        missing = f"{before} of {LEAST_REFERENCE} days before with {LEAST_VALUES} rows" + (" (the baseline has no timestamps)" if undated else "")
        return CheckResult(FAULT, "inconclusive", f"could not be judged: {missing}", bins.name, missing, "learning", rows=sum(newest))
    return CheckResult(FAULT, "pass", f"no known fault explains its newest {FAULT_DAYS} days", bins.name, rows=sum(newest))


def lacking(verdict: DriftVerdict, *, undated: bool = False) -> tuple[CheckState, str]:
    """Why days cannot judge a feature yet ("learning"), or not with this traffic ("cannot")."""
    where = " (the baseline has no timestamps)" if undated else ""
    if verdict.usual_rows < verdict.needed_rows:
        return "cannot", f"{verdict.usual_rows:.0f} rows a day, {verdict.needed_rows} needed{where}"
    if verdict.slices < verdict.needed:
        return "learning", f"{verdict.slices} of {verdict.needed} reference days{where}"
    return "learning", f"{verdict.rows} rows on the newest day, {verdict.needed_rows} needed"


def _early_lack(verdict: EarlyVerdict) -> str:
    if verdict.baseline_rows < LEAST_BASELINE:
        return f"{verdict.baseline_rows} rows of the baseline are kept, {LEAST_BASELINE} needed"
    if verdict.slices < LEAST_SLICES:
        return f"{verdict.slices} of {LEAST_SLICES} served days"
    return f"{verdict.rows} rows in the newest {verdict.slices} days, {POOLED_ROWS} needed in {MOST_SLICES} at most"


def _cannot(feature: str, missing: str, *, rows: int) -> CheckResult:
    return CheckResult(FAULT, "inconclusive", f"could not be judged: {missing}", feature, missing, "cannot", rows=rows)


def _sizes(bins: Bins, days: Days) -> list[int]:
    """Rows of each day by which faults are judged: of a number the sampled values, none where they were not kept."""
    if bins.type == "string":
        return [int(size) for size in days.counts[bins.name].sum(axis=1)]
    values = days.values.get(bins.name, ())
    return [0] * (len(days.starts_us) - len(values)) + [len(each) for each in values]
