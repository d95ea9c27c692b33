"""Metrics of a problem on two tables of labels and answers, and whether the model answers worse on the second one.

Each side's interval is a bootstrap of its rows, of a ranking of its whole groups; the interval of the difference comes of both by MOVER
(Zou and Donner, 2008, eq. 5). Of more than DRAWN_ROWS rows as many are drawn, and the interval is narrowed by the root of the ratio
(m out of n bootstrap: Bickel, Goetze and van Zwet, 1997).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rota.errors import InvalidInput
from rota.problems import registry
from rota.problems.forms import class_name
from rota.problems.problem_type import Outputs, ProblemType, ScoredRows
from rota.records.check import CheckResult
from rota.records.comparison import SIDES, ColumnRole, MetricComparison, Preset
from rota.stats.bootstrap import intervals

PERFORMANCE = "performance"
LEAST_ROWS = 30
DRAWN_ROWS, DRAWS = 5_000, 200
LEVEL = 0.99
WITHOUT_PROBABILITIES = ("log_loss", "brier", "roc_auc_ovr", "top_2_accuracy", "top_3_accuracy", "expected_calibration_error")
"""Metrics of many classes that are not defined for answers which name a class and no probabilities."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """Which columns hold the truth, the answer (several: a probability for each class that they name) and the group of a ranking."""

    label: str = ""
    answer: str | Sequence[str] = ""
    group: str = ""

    @property
    def answers(self) -> tuple[str, ...]:
        return (self.answer,) if isinstance(self.answer, str) else tuple(self.answer)


@dataclass(frozen=True, slots=True)
class ComparedMetrics:
    """The metrics on both sides, the verdicts, and what was left out."""

    problem: str
    metrics: tuple[MetricComparison, ...]
    checks: tuple[CheckResult, ...]
    notes: tuple[str, ...] = ()


def compare_metrics(preset: Preset, reference: pl.DataFrame, current: pl.DataFrame, scoring: Scoring) -> ComparedMetrics:
    """Compare; the problem's main metric and its loss decide. Raises `InvalidInput` for columns that are not there or hold no such answers."""
    _check_columns(preset, reference, current, scoring)
    complete = [frame.drop_nulls([scoring.label, *scoring.answers, *filter(None, [scoring.group])]) for frame in (reference, current)]
    notes = [
        f"{frame.height - kept.height:,} of {frame.height:,} rows of {side} have no label or no answer and are in no metric"
        for side, frame, kept in zip(SIDES, (reference, current), complete, strict=True)
        if kept.height < frame.height
    ]
    problem, outputs = _problem(preset, complete, scoring)
    kind = registry.problem_type(problem)
    without: tuple[str, ...] = ()
    if problem == "multiclass" and len(scoring.answers) == 1:
        without = tuple(name for name in WITHOUT_PROBABILITIES if name in kind.metrics)
        notes.append(f"the answers name classes without probabilities, so these metrics are left out: {', '.join(without)}")
    rows = [_scored(kind, outputs, frame, scoring) for frame in complete]
    sides = [_measured(kind, each, without) for each in rows]
    metrics = tuple(_compared(name, kind, sides) for name in kind.metrics if name not in without and any(name in side.values for side in sides))
    return ComparedMetrics(problem, metrics, _verdicts(kind, metrics, rows), tuple(notes))


@dataclass(frozen=True, slots=True)
class _Side:
    values: Mapping[str, float]
    bounds: Mapping[str, tuple[float, float]]


def _check_columns(preset: Preset, reference: pl.DataFrame, current: pl.DataFrame, scoring: Scoring) -> None:
    wanted = {"label": (scoring.label,), "answer": scoring.answers} | ({"group": (scoring.group,)} if preset == "ranking" else {})
    for option, names in wanted.items():
        if not all(names) or not names:
            raise InvalidInput(f"preset {preset!r} needs {option}=, the column that holds the {option}", preset=preset)
        for side, frame in zip(SIDES, (reference, current), strict=True):
            if missing := [name for name in names if name not in frame.columns]:
                raise InvalidInput(f"{side} has no column {missing[0]!r} to be the {option}; it has {frame.columns[:50]}", column=missing[0])


def _problem(preset: Preset, frames: Sequence[pl.DataFrame], scoring: Scoring) -> tuple[str, Outputs]:
    """The problem and the names of its outputs: two classes where the answers are probabilities of the second, else as many as there are."""
    if preset != "classification":
        return preset, ()
    if len(scoring.answers) > 1:
        return "multiclass", scoring.answers
    label, answer = scoring.label, scoring.answers[0]
    truths = sorted({class_name(each) for frame in frames for each in frame[label].unique().to_list()})
    fractions = any(frame[answer].dtype.is_float() and not (frame[answer] % 1 == 0).all() for frame in frames)
    numbers = all(frame[answer].dtype.is_numeric() or frame[answer].dtype == pl.Boolean for frame in frames)
    if set(truths) <= _TWO_CLASSES and numbers and all(frame[answer].cast(pl.Float64).is_between(0, 1).all() for frame in frames):
        return "classification", ()
    if fractions:
        raise InvalidInput(
            f"the answers in {answer!r} are numbers such as {frames[0][answer].head(1).to_list()}, the labels in {label!r} are {truths[:10]}: "
            "give labels of 0 and 1 to probabilities of the class 1, a column of probabilities for each class, or the preset 'regression'",
            column=answer,
        )
    answered = {class_name(each) for frame in frames for each in frame[answer].unique().to_list()}
    return "multiclass", tuple(sorted({*truths, *answered}))


_TWO_CLASSES = {"0", "1", "False", "True"}


def _scored(kind: ProblemType, outputs: Outputs, frame: pl.DataFrame, scoring: Scoring) -> ScoredRows:
    groups = frame[scoring.group].to_numpy() if scoring.group and kind.name == "ranking" else None
    if kind.name != "multiclass":
        truth, answers = (frame[name].cast(pl.Float64).to_numpy() for name in (scoring.label, scoring.answers[0]))
        return registry.checked(kind.name, truth, answers, groups=groups)
    truth = kind.label.array(outputs, frame[scoring.label].to_list())
    if len(scoring.answers) > 1:
        answers = frame.select(pl.col(name).cast(pl.Float64) for name in scoring.answers).to_numpy()
    else:
        places = kind.label.array(outputs, frame[scoring.answers[0]].to_list()).astype(np.int64)
        answers = np.eye(len(outputs))[places]
    return registry.checked(kind.name, truth, answers, outputs=outputs)


def _measured(kind: ProblemType, rows: ScoredRows, without: Sequence[str]) -> _Side:
    if not len(rows):
        return _Side({}, {})
    values = {name: value for name, value in kind.evaluate(rows).items() if name not in without}
    drawn = len(rows) if rows.groups is not None else min(len(rows), DRAWN_ROWS)
    narrowed = math.sqrt(drawn / len(rows))
    sample = rows if drawn == len(rows) else rows.at(np.linspace(0, len(rows) - 1, drawn).astype(np.int64))

    def statistics(places: NDArray[np.int64], blocks: NDArray[np.int64]) -> Mapping[str, float]:
        return kind.evaluate(_regrouped(sample.at(places), blocks))

    middle = values if drawn == len(rows) else kind.evaluate(sample)
    found = intervals(statistics, len(sample), blocks=sample.groups, level=LEVEL, draws=DRAWS)
    bounds = {
        name: (values[name] + narrowed * (low - middle[name]), values[name] + narrowed * (high - middle[name]))
        for name, (low, high) in found.items()
        if name in values and name in middle
    }
    return _Side(values, bounds)


def _regrouped(rows: ScoredRows, blocks: NDArray[np.int64]) -> ScoredRows:
    """A group that was drawn twice is two groups."""
    return rows if rows.groups is None else ScoredRows(rows.truth, rows.answers, rows.outputs, rows.weights, blocks)


def _compared(name: str, kind: ProblemType, sides: Sequence[_Side]) -> MetricComparison:
    values, bounds = [side.values.get(name) for side in sides], [side.bounds.get(name) for side in sides]
    lower = upper = None
    if values[0] is not None and values[1] is not None and bounds[0] is not None and bounds[1] is not None:
        difference = values[1] - values[0]
        lower = difference - math.hypot(values[1] - bounds[1][0], bounds[0][1] - values[0])
        upper = difference + math.hypot(bounds[1][1] - values[1], values[0] - bounds[0][0])
    return MetricComparison(name, values[0], values[1], kind.metrics[name].higher_is_better, lower, upper, LEVEL)


def _verdicts(kind: ProblemType, metrics: Sequence[MetricComparison], rows: Sequence[ScoredRows]) -> tuple[CheckResult, ...]:
    """The problem's main metric and its loss decide, where they are defined for such answers."""
    known = {metric.name: metric for metric in metrics}
    wanted = [name for name in dict.fromkeys((kind.main_metric, kind.loss)) if name in known] or [
        kind.always if kind.always in known else kind.main_metric
    ]
    return tuple(_verdict(name, known.get(name), [len(each) for each in rows], kind.undefined) for name in wanted)


def _verdict(name: str, found: MetricComparison | None, counts: Sequence[int], undefined: str) -> CheckResult:
    """Worse when the interval of the difference lies on the worse side of no change."""
    if min(counts) < LEAST_ROWS:
        missing = f"{counts[0]} labelled rows in reference and {counts[1]} in current, {LEAST_ROWS} needed in each"
        return CheckResult(PERFORMANCE, "inconclusive", f"could not be judged: {missing}", name, missing, "cannot", rows=counts[1])
    if found is None or found.difference is None or found.lower is None or found.upper is None:
        missing = f"{name} is not defined on both tables ({undefined})"
        return CheckResult(PERFORMANCE, "inconclusive", f"could not be judged: {missing}", name, missing, "cannot", rows=counts[1])
    worse = found.upper < 0 if found.higher_is_better else found.lower > 0
    span = f"{found.lower:+.4g} to {found.upper:+.4g} with {found.level:.0%} confidence"
    return CheckResult(
        PERFORMANCE,
        "fail" if worse else "pass",
        f"{name} {found.current:.4g}, {found.reference:.4g} before ({span})",
        name,
        observed=found.difference,
        lower=found.lower,
        upper=found.upper,
        bound=0.0,
        rows=counts[1],
    )


def roles(scoring: Scoring) -> dict[str, ColumnRole]:
    """The role of each named column."""
    return {scoring.label: "label", scoring.group: "group", **dict.fromkeys(scoring.answers, "answer")}
