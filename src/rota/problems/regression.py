"""Regression of one target, whose answer is a number, or of several, whose answer is a number for each by name."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rota.problems import breakdown, forms
from rota.problems.problem_type import AnswerForm, Floats, LabelForm, Metric, Outputs, ProblemType, ScoredRows
from rota.records.run import at_least
from rota.stats import metrics
from rota.stats.weighting import chosen, mean_of_known


def _plain(outputs: Outputs, array: NDArray[Any]) -> list[Any]:
    return (forms.NAMED_NUMBERS if outputs else forms.NUMBER).plain(outputs, array)


def _array(outputs: Outputs, values: Any) -> Floats:
    """A value of the other form counts as unknown: a model may have had one target before."""
    if outputs:
        return forms.by_name(outputs, [value if forms.is_named(value) else {} for value in values])
    return forms.one_number(outputs, [value if forms.is_number(value) else None for value in values])


def _label(outputs: Outputs, value: Any) -> Any:
    return forms.named_numbers_label(outputs, value) if outputs else forms.number_label(outputs, value)


def of_targets(metric: Callable[[Floats, Floats, Floats | None], float]) -> Callable[[ScoredRows], float]:
    """A metric of one target, or its plain mean over several; each is measured on the rows whose truth of it is known."""

    def measured(rows: ScoredRows) -> float:
        if rows.truth.ndim == 1:
            return metric(rows.truth, rows.answers, rows.weights)
        known = ~np.isnan(rows.truth).T
        each = [metric(rows.truth[where, place], rows.answers[where, place], chosen(rows.weights, where)) for place, where in enumerate(known)]
        defined = [value for value in each if not math.isnan(value)]
        return float(np.mean(defined)) if defined else math.nan

    return measured


def squared(rows: ScoredRows) -> Floats:
    """The squared error of each row; of several targets the mean over those that are known."""
    found = (rows.answers - rows.truth) ** 2
    return np.asarray(found if found.ndim == 1 else mean_of_known(found), dtype=np.float64)


def absolute(rows: ScoredRows) -> Floats:
    """The absolute error of each row; of several targets the mean over those that are known."""
    found = np.abs(rows.answers - rows.truth)
    return np.asarray(found if found.ndim == 1 else mean_of_known(found), dtype=np.float64)


def drift_of_numbers(outputs: Outputs, answers: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
    """Each number of an answer."""
    return {f"answer.{name}": answers[:, place] for place, name in enumerate(outputs)} if outputs else {"answer": answers}


def _fits(value: Any) -> bool:
    return forms.is_number(value) or forms.is_named(value)


ANSWER = AnswerForm("a number, or a number for each target", _plain, _array, _fits)
LABEL = LabelForm(
    "a number, or numbers by target",
    "the finite numbers; of several targets by their names, as they become known",
    _label,
    _array,
    _fits,
    is_partial=True,
)

ERRORS: Mapping[str, Metric] = {
    "rmse": Metric(of_targets(metrics.rmse), False, highest=math.inf),
    "mae": Metric(of_targets(metrics.mae), False, highest=math.inf),
    "r2": Metric(of_targets(metrics.r2), True, lowest=-math.inf),
}
"""Metrics of the distance to a number, of whatever kind the number is."""

REGRESSION = ProblemType(
    name="regression",
    summary="one number, or one for each of several targets",
    answer=ANSWER,
    label=LABEL,
    metrics=ERRORS,
    losses={"squared_error": squared, "absolute_error": absolute},
    excess=squared,
    excess_name="squared error",
    drift=drift_of_numbers,
    main_metric="rmse",
    always="rmse",
    gates=(at_least("r2", 0.0),),
    breakdown=lambda rows: breakdown.of_targets(rows, ERRORS),
    needs_outputs="maybe",
)
