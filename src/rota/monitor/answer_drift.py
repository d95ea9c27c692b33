"""Answer drift, which others call prediction drift: do the answers of a version spread otherwise than in its own days before?

What a shift of answers shows in is said by the problem type (`ProblemType.drift`): the number itself, the class and how sure it is, each target or
level, the share of each cluster, the length of a text, the norm and direction of a vector. Each of these columns is counted on bins that are
chosen on the first day with LEAST_ANSWERS answers of a version, and judged as a feature is. Days of other versions are no reference: a new version
may answer otherwise. A day counts for the version that gave most of its answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from msgspec.structs import replace
from numpy.typing import NDArray

from rota.manage.datasets import daily_slices, slice_checks
from rota.manage.datasets.slice_checks import Baseline
from rota.manage.signals import typed_values
from rota.manage.signals.alerts import Breach
from rota.manage.signals.label_domain import DeclaredProblem
from rota.monitor.breaches import Checked, plain_verdict
from rota.monitor.slice_history import NEWEST_DAYS
from rota.monitor.status import ANSWER
from rota.problems import forms
from rota.records.check import CheckResult
from rota.records.schema import Bins
from rota.records.signal import Monitor, MonitorSlice
from rota.stats.bins import choose_bins, count

LEAST_ANSWERS = 50
MOST_COLUMNS = 50
"""Numbers of an answer that are watched: of more the first ones, and the results say so."""


@dataclass(frozen=True, slots=True)
class DayAnswers:
    """The answers of the version that gave most of a day, in the columns in which a shift shows; `columns` is how many there are of these."""

    number: int
    columns: int
    values: Mapping[str, pl.Series]


def answers_of(rows: pl.DataFrame, number: int, problem: DeclaredProblem) -> DayAnswers:
    """The columns of the answers of one version; answers that are none of its problem are left out."""
    own = rows.filter(pl.col("number") == number)
    array = _array(own, problem)
    if not len(array):
        return DayAnswers(number, 1, {})
    found = problem.kind.drift(problem.names, array)
    kept = dict(list(found.items())[:MOST_COLUMNS])
    return DayAnswers(number, len(found), {name: _series(name, column) for name, column in kept.items()})


def busiest(rows: pl.DataFrame) -> int:
    """The number of the version that gave most answers of some rows, the newest among equals; 0 without any."""
    if rows.is_empty():
        return 0
    counts = rows.group_by("number").len().sort(["len", "number"], descending=True)
    return int(counts["number"][0])


def counted(slice_: MonitorSlice, answers: DayAnswers, served: Sequence[MonitorSlice]) -> MonitorSlice:
    """The slice with the counts of its answers, on the bins that an earlier slice of the version chose, or on its own where none did."""
    founding = _founding(served, answers.number, answers.values)
    bins = founding.answer_columns if founding is not None else _chosen(answers.values)
    if not bins:
        return replace(slice_, answered_by=answers.number)
    return replace(
        slice_,
        answered_by=answers.number,
        answers={b.name: tuple(count(b, answers.values[b.name]).tolist()) for b in bins},
        answer_bins=founding.start_us if founding is not None else slice_.start_us,
        answer_columns=() if founding is not None else bins,
    )


def check(monitor: Monitor, slices: Sequence[MonitorSlice], problem: DeclaredProblem, *, columns: int) -> Checked:
    """Whether the answers of the newest of `slices` drift; `columns` is how many its answers have."""
    newest = slices[-1]
    if not newest.rows:
        return _unjudged("no answered prediction on the day", "cannot")
    if not columns:
        return _unjudged(
            f"nothing is known of which shift matters in the answers of a {problem.problem}: they are any JSON; watch them by a metric of the "
            "team's own (@rota.metric)",
            "cannot",
        )
    own = [s for s in slices if s.answered_by == newest.answered_by and s.answer_bins == newest.answer_bins and s.answers]
    if not own or not newest.answers:
        return _unjudged(f"no day with {LEAST_ANSWERS} answers of version {newest.answered_by} yet", "learning", rows=newest.rows)
    bins = next(s.answer_columns for s in own if s.answer_columns)
    counts = {b.name: np.array([s.answers[b.name] for s in own]) for b in bins}
    days = daily_slices.Days(tuple(s.start_us for s in own), counts, {})
    window = daily_slices.Window(monitor.reference_days, monitor.gap_days, monitor.expected_days_between_false_alarms)
    earlier = {name: of_days[: max(0, len(own) - NEWEST_DAYS)] for name, of_days in counts.items()}
    watched = slice_checks.watch(bins, days, window, Baseline(earlier, len(own)), left_out={})
    results = [_of_version(result, newest.answered_by) for result in watched.results if result.check == slice_checks.DRIFT]
    breaches = tuple(_breach(monitor, newest, result, watched) for result in results if result.outcome == "fail")
    if columns > len(bins):
        missing = f"the first {len(bins)} of {columns} numbers of an answer are watched"
        results.append(CheckResult(slice_checks.DRIFT, "inconclusive", f"not all could be judged: {missing}", ANSWER, missing, "cannot"))
    return Checked(tuple(results), breaches)


def _of_version(result: CheckResult, number: int) -> CheckResult:
    return replace(result, message=f"{result.message} (answers of version {number})")


def _breach(monitor: Monitor, newest: MonitorSlice, result: CheckResult, watched: slice_checks.Watched) -> Breach:
    verdict = next(finding.drift for finding in watched.findings if finding.feature == result.subject)
    before = watched.early.get(result.subject)
    evidence = {"day_us": newest.start_us, "answered_by": newest.answered_by, **plain_verdict(verdict)}
    evidence |= {} if before is None else {"rule": "early", **plain_verdict(before)}
    return Breach("drift", result.subject, "warning", f"answers of {monitor.endpoint.name}, {result.subject}: {result.message}", evidence)


def _founding(served: Sequence[MonitorSlice], number: int, values: Mapping[str, Any]) -> MonitorSlice | None:
    """The newest slice on which bins for the answers of a version were chosen, as long as these have the columns."""
    found = [s for s in served if s.answered_by == number and s.answer_columns and {b.name for b in s.answer_columns} <= set(values)]
    return found[-1] if found else None


def _chosen(values: Mapping[str, pl.Series]) -> tuple[Bins, ...]:
    if not values or min(map(len, values.values())) < LEAST_ANSWERS:
        return ()
    return tuple(choose_bins(name, "string" if column.dtype == pl.String else "float", column) for name, column in values.items())


def _array(rows: pl.DataFrame, problem: DeclaredProblem) -> NDArray[Any]:
    """The answers as the problem's form makes an array of them; numbers alone are taken as they lie in their column."""
    form, names = problem.kind.answer, problem.names
    if form is forms.PROBABILITY or form is forms.NUMBER:
        return rows["answer"].drop_nulls().to_numpy()
    return form.array(names, [value for value in typed_values.of(rows, "answer") if value is not None and form.fits(value)])


def _series(name: str, column: NDArray[Any]) -> pl.Series:
    return pl.Series(name, column.tolist(), dtype=pl.String) if column.dtype == object else pl.Series(name, column, dtype=pl.Float64)


def _unjudged(missing: str, state: Any, *, rows: int = 0) -> Checked:
    message = f"could not be judged: {missing}"
    return Checked((CheckResult(slice_checks.DRIFT, "inconclusive", message, ANSWER, missing, state, rows=rows),))
