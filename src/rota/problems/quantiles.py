"""Prediction intervals: an answer has a number for each level of probability ("0.1", "0.5", "0.9"), the truth is one number."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rota.problems import forms
from rota.problems.problem_type import AnswerForm, Floats, Metric, Outputs, ProblemType, ScoredRows
from rota.problems.regression import drift_of_numbers
from rota.records.run import at_most
from rota.stats import quantile_metrics as metrics


def level(name: str) -> float:
    """The level that an output is named by, NaN when its name is no number between 0 and 1."""
    try:
        found = float(name)
    except ValueError:
        return math.nan
    return found if 0 < found < 1 else math.nan


def levels(outputs: Outputs) -> Floats:
    """The levels of outputs."""
    return np.array([level(name) for name in outputs], dtype=np.float64)


def _wrong(outputs: Outputs, _answers: NDArray[Any]) -> str:
    odd = [name for name in outputs if math.isnan(level(name))]
    return f'named by {odd}, which are no levels between 0 and 1, such as "0.1", "0.5" and "0.9"' if odd else ""


def pinball(rows: ScoredRows) -> Floats:
    """The pinball loss of each row, the mean over its levels."""
    return metrics.pinball_of_rows(rows.truth, rows.answers, levels(rows.outputs))


def _of_levels(function: Callable[[Floats, Floats, Floats, Floats | None], float]) -> Callable[[ScoredRows], float]:
    return lambda rows: function(rows.truth, rows.answers, levels(rows.outputs), rows.weights)


def _drift(outputs: Outputs, answers: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
    """Each quantile, and the width of the outermost interval."""
    found = dict(drift_of_numbers(outputs, answers))
    if len(outputs) > 1:
        at = levels(outputs)
        found["answer.width"] = answers[:, at.argmax()] - answers[:, at.argmin()]
    return found


QUANTILES = ProblemType(
    name="quantiles",
    summary="quantiles of one number by their levels, a prediction interval; the outputs are named by their levels",
    answer=AnswerForm("a number for each level", forms.NAMED_NUMBERS.plain, forms.by_name, forms.is_named, _wrong),
    label=forms.NUMBER_LABEL,
    metrics={
        "pinball": Metric(_of_levels(metrics.pinball), False, highest=math.inf),
        "coverage": Metric(_of_levels(metrics.coverage), True),
        "coverage_error": Metric(_of_levels(metrics.coverage_error), False),
        "interval_width": Metric(_of_levels(metrics.interval_width), False, lowest=-math.inf, highest=math.inf),
        "crossing": Metric(_of_levels(metrics.crossing), False),
    },
    losses={"pinball": pinball},
    excess=pinball,
    excess_name="pinball loss",
    drift=_drift,
    main_metric="pinball",
    always="pinball",
    gates=(at_most("coverage_error", 0.1), at_most("crossing", 0.05)),
    needs_outputs="always",
)
