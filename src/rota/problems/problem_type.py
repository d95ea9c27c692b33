"""ProblemType: everything that the rest of Rota asks of a kind of problem, in one table; `ScoredRows` is what its metrics are given."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rota.records.breakdown import Breakdown
from rota.records.run import Gate

Floats = NDArray[np.float64]
Outputs = tuple[str, ...]
"""Names of the numbers of one answer: classes, targets, levels. Empty: an answer is one number, or no number."""


def as_matrix(array: NDArray[Any]) -> NDArray[Any]:
    """An array of (rows,) as (rows, 1); one of (rows, outputs) as it is."""
    return array[:, None] if array.ndim == 1 else array


@dataclass(frozen=True, slots=True)
class ScoredRows:
    """Labelled rows with what a model answered to them, as the forms of the problem make arrays of them.

    `answers` is float64 (rows,) or (rows, outputs), for texts and other values an object array (rows,). `truth` is what the problem's
    label form gives: (rows,) or (rows, outputs), NaN where that part is not known yet. `weights` and `groups` are (rows,), where there are any.
    """

    truth: NDArray[Any]
    answers: NDArray[Any]
    outputs: Outputs = ()
    weights: Floats | None = None
    groups: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.truth)

    def where(self, chosen: NDArray[np.bool_]) -> "ScoredRows":
        """The rows that are true in a mask."""
        return self.at(np.flatnonzero(chosen))

    def at(self, places: NDArray[np.int64]) -> "ScoredRows":
        """The rows at these places, in their order and as often as they are named."""
        return ScoredRows(
            self.truth[places],
            self.answers[places],
            self.outputs,
            None if self.weights is None else self.weights[places],
            None if self.groups is None else self.groups[places],
        )


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's function of scored rows (NaN: not defined on them), which direction is better, and between which ends its values lie.

    `compares`: it measures the answers of two models to the same rows, by `ProblemType.agreement`, and none of one model's rows.
    """

    function: Callable[[ScoredRows], float]
    higher_is_better: bool
    lowest: float = 0.0
    highest: float = 1.0
    compares: bool = False

    @property
    def best(self) -> float:
        return self.highest if self.higher_is_better else self.lowest


AGREEMENT = "agreement"
"""The metric of the answers of a candidate and its champion to the same rows."""
AGREES = Metric(lambda _rows: math.nan, True, lowest=-1.0, compares=True)


def of_columns(function: Callable[[Any, Any, Floats | None], float]) -> Callable[[ScoredRows], float]:
    """A function of truth, answers and weights as one of scored rows."""
    return lambda rows: function(rows.truth, rows.answers, rows.weights)


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """How an answer looks to its caller, in the prediction log, and to metrics.

    `plain` makes of a predictor's array the answers of its rows, as a caller gets them and the log keeps them: a number, a text, a mapping
    of names to numbers, a list of numbers or any JSON. `array` is the inverse, of values that it `fits`. `wrong` says of an array what no
    answer may be ("": nothing): it is asked of what an author's object answered. `is_list`: an array is (rows, numbers) without names.
    """

    name: str
    plain: Callable[[Outputs, NDArray[Any]], list[Any]]
    array: Callable[[Outputs, Sequence[Any]], NDArray[Any]]
    fits: Callable[[Any], bool]
    wrong: Callable[[Outputs, NDArray[Any]], str] = lambda _outputs, _answers: ""
    are_probabilities: bool = False
    """Whether an answer is made of probabilities, which it is for any row, also for one that no author has seen."""
    is_list: bool = False
    are_texts: bool = False
    """Whether a tensor of answers is one of texts: texts, names, or JSON written as one."""


@dataclass(frozen=True, slots=True)
class LabelForm:
    """How a label looks: `check` gives the label in its kept form or raises `InvalidInput` (saying what is allowed), `array` the truth of metrics
    out of labels that it `fits`.

    `allowed` says in words what a label may be. `is_partial`: a label may name some outputs now and others later.
    """

    name: str
    allowed: str
    check: Callable[[Outputs, Any], Any]
    array: Callable[[Outputs, Sequence[Any]], NDArray[Any]]
    fits: Callable[[Any], bool]
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One kind of problem.

    `metrics` are by name; `losses` give one loss a row, smaller is better, NaN where it is not defined; the first is the one by which
    champion and challenger are compared unless another is named. `excess` is the loss corrected for how hard the row was: 0 in the mean
    while the model is calibrated, or the plain loss where nothing is known of the difficulty (`excess_name` names it for people). `drift`
    gives of the answers the columns in which a shift of them would show, floats or texts, named "answer" or "answer.NAME" (none: nobody can
    know). `gates` are what a pipeline of this kind may start from. `slices` says which slices of the rows make sense. `always` is a metric that
    is defined on any row: performance without it was measured by another problem ("labelled", the number of rows, where there is no such metric).
    """

    name: str
    summary: str
    answer: AnswerForm
    label: LabelForm
    metrics: Mapping[str, Metric]
    losses: Mapping[str, Callable[[ScoredRows], Floats]]
    excess: Callable[[ScoredRows], Floats]
    excess_name: str
    drift: Callable[[Outputs, NDArray[Any]], Mapping[str, NDArray[Any]]]
    main_metric: str
    always: str
    gates: tuple[Gate, ...] = ()
    slices: str = "a column of few values: a category, a region, a customer group"
    domain: Callable[[ScoredRows], NDArray[np.bool_]] = lambda rows: np.ones(len(rows), dtype=bool)
    """A mask of the rows whose numbers lie where the problem has them, besides being finite."""
    undefined: str = "too few rows"
    """When the excess of labelled rows is NaN, in words."""
    targets: Callable[[Outputs], Outputs] = lambda outputs: outputs
    """The names of the truth's numbers, where it has several: those of the answer, unless an answer has several for each."""
    together: Callable[[ScoredRows], Mapping[str, float]] | None = None
    """Metrics that share work, all at once: what their functions give one by one, from one confusion, or one sorting, of the rows."""
    breakdown: Callable[[ScoredRows], Breakdown] = lambda _rows: Breakdown()
    """What lies behind the metrics: each class, label or target, the confusion, the calibration; nothing where there is no such thing."""
    needs_outputs: Literal["never", "always", "maybe"] = "never"
    """Whether its answers are several numbers: a classifier of many classes always, a regression of one or several targets maybe."""
    agreement: Callable[[NDArray[Any], NDArray[Any]], float] | None = None
    """How far two models agree about the same rows, by their answers alone: what is left to compare them by where nothing is known of the rows.
    1 is the same judgement of each row, 0 chance. Given where a model of the problem learns without labels; else rows without one train nothing."""
    needs_groups: bool = False
    """Whether rows are judged together with others, those of their group: a requested row names it, and the log keeps it."""

    def takes(self, outputs: Outputs) -> bool:
        """Whether answers of these outputs (none: one number) are such as the problem has."""
        return self.needs_outputs == "maybe" or bool(outputs) == (self.needs_outputs == "always")

    def allowed(self, rows: ScoredRows) -> NDArray[np.bool_]:
        """A mask (rows,): whose truth and answer are such as the problem allows; of several outputs some may not be known yet."""
        if rows.answers.dtype == object:
            return np.array([left is not None and right is not None for left, right in zip(rows.truth, rows.answers, strict=True)], dtype=bool)
        known, given = as_matrix(np.isfinite(rows.truth)), as_matrix(np.isfinite(rows.answers))
        right = given.all(axis=1) & (known.any(axis=1) if self.label.is_partial else known.all(axis=1))
        return np.asarray(right & self.domain(rows), dtype=bool)

    @property
    def loss(self) -> str:
        """The loss by which champion and challenger are compared unless another is named."""
        return next(iter(self.losses), "")

    def evaluate(self, rows: ScoredRows) -> dict[str, float]:
        """Every metric that is defined on these rows."""
        shared = self.together(rows) if self.together is not None else {}
        values = {name: shared[name] if name in shared else metric.function(rows) for name, metric in self.metrics.items()}
        return {name: value for name, value in values.items() if not math.isnan(value)}
