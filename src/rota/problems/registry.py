"""The known problem types by name; a new one is a file of this room and a line here (CONTRIBUTING.md says how)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from rota.errors import InvalidInput
from rota.problems import forms
from rota.problems.classification import CLASSIFICATION
from rota.problems.multiclass import MULTICLASS
from rota.problems.problem_type import Metric, Outputs, ProblemType, ScoredRows, as_matrix
from rota.problems.regression import REGRESSION

PROBLEMS: Mapping[str, ProblemType] = {each.name: each for each in (CLASSIFICATION, MULTICLASS, REGRESSION)}


def problem_type(name: str) -> ProblemType:
    """The table of a problem; raises `InvalidInput` with those that are known."""
    if name not in PROBLEMS:
        raise InvalidInput(f"the problem {name!r} is unknown; known are {sorted(PROBLEMS)}", problem=name)
    return PROBLEMS[name]


def metric(problem: str, name: str) -> Metric | None:
    """A metric of a problem; None for one that is not among its own."""
    return problem_type(problem).metrics.get(name)


def metric_of_any(name: str) -> Metric | None:
    """The first metric of this name, where the problem is not known: one name means the same direction in every problem."""
    return next((each.metrics[name] for each in PROBLEMS.values() if name in each.metrics), None)


def metric_names() -> list[str]:
    """The metrics of all problems."""
    return sorted({name for each in PROBLEMS.values() for name in each.metrics})


def loss_problems(loss: str) -> list[str]:
    """The problems that know a loss by this name."""
    return [each.name for each in PROBLEMS.values() if loss in each.losses]


def loss_names() -> list[str]:
    """The losses of all problems."""
    return sorted({name for each in PROBLEMS.values() for name in each.losses})


def evaluate(problem: str, truth: ArrayLike, answers: ArrayLike, *, outputs: Outputs = ()) -> dict[str, float]:
    """Every metric of the problem that is defined on these rows; `truth` and `answers` are arrays of the problem's forms.

    Raises `InvalidInput` when they differ in length, hold NaN where no part may lack, or hold what no answer or label of the problem is.

    >>> evaluate("regression", [1.0, 2.0], [1.0, 3.0])["mae"]
    0.5
    """
    return problem_type(problem).evaluate(checked(problem, truth, answers, outputs=outputs))


def checked(problem: str, truth: ArrayLike, answers: ArrayLike, *, outputs: Outputs = ()) -> ScoredRows:
    """Truth and answers as rows that metrics may be asked of; raises as `evaluate` says."""
    kind = problem_type(problem)
    rows = ScoredRows(np.asarray(truth), np.asarray(answers), outputs)
    if rows.answers.dtype != object:
        rows = ScoredRows(rows.truth.astype(np.float64), rows.answers.astype(np.float64), outputs)
    if rows.answers.ndim not in (1, 2) or rows.truth.shape[:1] != rows.answers.shape[:1] or rows.answers.shape[1:] not in ((), (len(outputs),)):
        raise InvalidInput(f"truth has shape {rows.truth.shape} and answers {rows.answers.shape}; give two columns of the same length")
    if rows.answers.dtype == object:
        return rows
    lacking = as_matrix(np.isnan(rows.answers)).any(axis=1)
    unknown = as_matrix(np.isnan(rows.truth))
    missing = int((lacking | (unknown.all(axis=1) if kind.label.is_partial else unknown.any(axis=1))).sum())
    if missing:
        raise InvalidInput(f"{missing} of {len(rows)} rows have no truth or no answer; drop them before the metrics", rows=len(rows), missing=missing)
    if len(rows) and (wrong := kind.answer.wrong(outputs, rows.answers)):
        raise InvalidInput(f"an answer of a {kind.name} is {wrong}")
    if kind.name == "classification" and not np.isin(rows.truth, (0.0, 1.0)).all():
        raise InvalidInput("a classification's truth holds values other than 0 and 1; declare the problem as 'regression' or map the label")
    return rows


def truth_of(problem: str, outputs: Outputs, labels: pl.Series) -> NDArray[Any]:
    """A column of labels as the truth of metrics; numbers are taken as they are where a label is a number."""
    kind = problem_type(problem)
    if labels.dtype.is_numeric() and kind.label.array is not forms.class_positions:
        return labels.cast(pl.Float64).to_numpy()
    if labels.dtype == pl.List:
        return np.array(labels.to_list(), dtype=np.float64)
    return kind.label.array(outputs, labels.to_list())


def scored(problem: str, outputs: Outputs, labels: Sequence[Any], answers: Sequence[Any]) -> ScoredRows:
    """Plain labels and answers of the log as rows that metrics may be asked of."""
    kind = problem_type(problem)
    return ScoredRows(kind.label.array(outputs, labels), kind.answer.array(outputs, answers), outputs)
