"""Counts: an answer is the expected number, above 0, the truth a number of 0 or more; judged by the Poisson deviance."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rota.errors import InvalidInput
from rota.problems import forms
from rota.problems.problem_type import AnswerForm, Floats, LabelForm, Metric, Outputs, ProblemType, ScoredRows, of_columns
from rota.problems.regression import ERRORS, absolute, drift_of_numbers
from rota.records.run import at_most
from rota.stats import deviances


def amount_label(outputs: Outputs, value: Any) -> float:
    """A label that is a finite number of 0 or more."""
    found = forms.number_label(outputs, value)
    if found < 0:
        raise InvalidInput(f"{found:g} is below 0")
    return found


def wrong_amounts(_outputs: Outputs, answers: NDArray[Any]) -> str:
    """What no expectation of an amount may be."""
    beyond = answers[answers <= 0]
    return f"{beyond[0]:.6g}, which is not above 0" if beyond.size else ""


def are_amounts(rows: ScoredRows) -> NDArray[np.bool_]:
    """The rows whose truth is 0 or more and whose answer is above."""
    return np.asarray((rows.truth >= 0) & (rows.answers > 0))


def deviance(rows: ScoredRows) -> Floats:
    """The Poisson deviance of each row."""
    return deviances.poisson_of_rows(rows.truth, rows.answers)


def _excess(rows: ScoredRows) -> Floats:
    """The deviance minus what it is in the mean while the answer is right and the truth a Poisson number."""
    return np.asarray(deviance(rows) - deviances.expected_poisson(rows.answers), dtype=np.float64)


EXPECTATION = AnswerForm("a number above 0", forms.NUMBER.plain, forms.one_number, forms.is_number, wrong_amounts)
AMOUNT_LABEL = LabelForm("a number of 0 or more", "the finite numbers from 0 on", amount_label, forms.one_number, forms.is_number)

COUNT = ProblemType(
    name="count",
    summary="how often something happens; the answer is the expected number, above 0",
    answer=EXPECTATION,
    label=AMOUNT_LABEL,
    metrics={
        "poisson_deviance": Metric(of_columns(deviances.mean_poisson), False, highest=math.inf),
        **ERRORS,
    },
    losses={"poisson_deviance": deviance, "absolute_error": absolute},
    excess=_excess,
    excess_name="Poisson deviance",
    drift=drift_of_numbers,
    main_metric="poisson_deviance",
    always="poisson_deviance",
    domain=are_amounts,
    gates=(at_most("poisson_deviance", 2.0),),
)
