"""The known problem types by name; a new one is a file of this room and a line here (CONTRIBUTING.md says how)."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from rota.errors import InvalidInput
from rota.problems import forms
from rota.problems.anomaly import ANOMALY
from rota.problems.classification import CLASSIFICATION
from rota.problems.clustering import CLUSTERING
from rota.problems.count import COUNT
from rota.problems.custom import CUSTOM
from rota.problems.embedding import EMBEDDING
from rota.problems.forecast import FORECAST
from rota.problems.multiclass import MULTICLASS
from rota.problems.multilabel import MULTILABEL
from rota.problems.positive import POSITIVE
from rota.problems.problem_type import Floats, Metric, Outputs, ProblemType, ScoredRows, as_matrix
from rota.problems.quantiles import QUANTILES
from rota.problems.ranking import RANKING
from rota.problems.regression import REGRESSION
from rota.problems.text import TEXT
from rota.records.own_metric import OwnMetric

PROBLEMS: Mapping[str, ProblemType] = {
    each.name: each
    for each in (
        CLASSIFICATION,
        MULTICLASS,
        MULTILABEL,
        REGRESSION,
        QUANTILES,
        COUNT,
        POSITIVE,
        FORECAST,
        RANKING,
        ANOMALY,
        CLUSTERING,
        TEXT,
        EMBEDDING,
        CUSTOM,
    )
}


def problem_type(name: str) -> ProblemType:
    """The table of a problem; raises `InvalidInput` with those that are known."""
    if name not in PROBLEMS:
        raise InvalidInput(f"the problem {name!r} is unknown; known are {sorted(PROBLEMS)}", problem=name)
    return PROBLEMS[name]


def metric(problem: str, name: str) -> Metric | None:
    """A metric of a problem; None for one that is not among its own."""
    return problem_type(problem).metrics.get(name)


def own_metric(own: OwnMetric) -> Metric:
    """A team's own metric among the others: its direction and ends. Its function is called where the project can be imported, and NaN here."""
    return Metric(lambda _rows: math.nan, own.higher_is_better, *own.ends)


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


def evaluate(
    problem: str,
    truth: ArrayLike,
    answers: ArrayLike,
    *,
    outputs: Outputs = (),
    weights: ArrayLike | None = None,
    groups: ArrayLike | None = None,
) -> dict[str, float]:
    """Every metric of the problem that is defined on these rows; `truth` and `answers` are arrays of the problem's forms, weights and groups (rows,).

    Raises `InvalidInput` when they differ in length, hold NaN where no part may lack, an infinity, or what no answer or label of the
    problem is.

    >>> evaluate("regression", [1.0, 2.0], [1.0, 3.0])["mae"]
    0.5
    """
    return problem_type(problem).evaluate(checked(problem, truth, answers, outputs=outputs, weights=weights, groups=groups))


def checked(
    problem: str,
    truth: ArrayLike,
    answers: ArrayLike,
    *,
    outputs: Outputs = (),
    weights: ArrayLike | None = None,
    groups: ArrayLike | None = None,
) -> ScoredRows:
    """Truth and answers as rows that metrics may be asked of; raises as `evaluate` says."""
    kind = problem_type(problem)
    rows = _in_form(
        kind, ScoredRows(np.asarray(truth), np.asarray(answers), outputs, _weights(weights), None if groups is None else np.asarray(groups))
    )
    widths = ((), (len(outputs),)) if not kind.answer.is_list else ((), rows.answers.shape[1:])
    lengths = {len(column) for column in (rows.truth, rows.answers, rows.weights, rows.groups) if column is not None}
    if rows.answers.ndim not in (1, 2) or len(lengths) > 1 or rows.answers.shape[1:] not in widths:
        raise InvalidInput(f"truth has shape {rows.truth.shape} and answers {rows.answers.shape}; give two columns of the same length")
    missing = _missing(kind, rows)
    if missing:
        raise InvalidInput(f"{missing} of {len(rows)} rows have no truth or no answer; drop them before the metrics", rows=len(rows), missing=missing)
    if rows.answers.dtype == object:
        return rows
    if not (_are_finite(rows.answers) and _are_finite(rows.truth)) and (np.isinf(rows.answers).any() or np.isinf(rows.truth).any()):
        raise InvalidInput("a truth or an answer is infinite; no metric is defined with it")
    if len(rows) and (wrong := kind.answer.wrong(outputs, rows.answers)):
        raise InvalidInput(f"an answer of a {kind.name} is {wrong}")
    odd = int((~kind.domain(rows)).sum())
    if odd:
        raise InvalidInput(
            f"{odd} of {len(rows)} rows have a truth that a {kind.name} does not have: its labels are {kind.label.allowed}; map them, or declare "
            "another problem"
        )
    return rows


def _in_form(kind: ProblemType, rows: ScoredRows) -> ScoredRows:
    """Numbers as float64; where a problem's truth is names or other values, numbers that a predictor answered become such as well."""
    if rows.answers.dtype == object:
        return rows
    if rows.truth.dtype.kind in "OUS":
        return replace(rows, answers=kind.answer.array(rows.outputs, kind.answer.plain(rows.outputs, rows.answers)))
    return replace(rows, truth=rows.truth.astype(np.float64, copy=False), answers=rows.answers.astype(np.float64, copy=False))


def _missing(kind: ProblemType, rows: ScoredRows) -> int:
    """How many rows lack their answer, or their truth: of several parts that may come later each of them."""
    if rows.answers.dtype == object:
        return int((~kind.allowed(rows)).sum())
    if _are_finite(rows.answers) and _are_finite(rows.truth):
        return 0
    lacking = as_matrix(np.isnan(rows.answers)).any(axis=1)
    unknown = as_matrix(np.isnan(rows.truth))
    return int((lacking | (unknown.all(axis=1) if kind.label.is_partial else unknown.any(axis=1))).sum())


def _are_finite(values: NDArray[Any]) -> bool:
    """Whether all numbers are finite, or False where their sum does not tell it; a tenth of the cost of a look at each."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum()))


def _weights(weights: ArrayLike | None) -> Floats | None:
    found = None if weights is None else np.asarray(weights, dtype=np.float64)
    if found is not None and (found.ndim != 1 or not np.isfinite(found).all() or (found < 0).any()):
        raise InvalidInput("weights are one finite number of 0 or more for each row")
    return found


def truth_of(problem: str, outputs: Outputs, labels: pl.Series) -> NDArray[Any]:
    """A column of labels as the truth of metrics; numbers are taken as they are where a label is a number."""
    kind = problem_type(problem)
    if labels.dtype.is_numeric() and kind.label.array is not forms.class_positions:
        return labels.cast(pl.Float64).to_numpy()
    if labels.dtype == pl.List and kind.label.fits({"name": 1.0}) and labels.dtype.inner.is_numeric():  # type: ignore[attr-defined]
        return np.array(labels.to_list(), dtype=np.float64)
    return kind.label.array(outputs, labels.to_list())
