"""Amounts that are never negative and spread with their size (claims, revenue, durations): judged by the Tweedie and the Gamma deviance."""

import math

from rota.problems.count import AMOUNT_LABEL, EXPECTATION, are_amounts
from rota.problems.problem_type import Floats, Metric, ProblemType, ScoredRows, of_columns
from rota.problems.regression import ERRORS, absolute, drift_of_numbers
from rota.records.run import at_least
from rota.stats import deviances


def tweedie(rows: ScoredRows) -> Floats:
    """The Tweedie deviance of each row, of the power 1.5."""
    return deviances.tweedie_of_rows(rows.truth, rows.answers)


def gamma(rows: ScoredRows) -> Floats:
    """The Gamma deviance of each row; NaN where the truth is 0."""
    return deviances.gamma_of_rows(rows.truth, rows.answers)


POSITIVE = ProblemType(
    name="positive",
    summary="an amount of 0 or more that spreads with its size; the answer is its expectation, above 0",
    answer=EXPECTATION,
    label=AMOUNT_LABEL,
    metrics={
        "tweedie_deviance": Metric(of_columns(deviances.mean_tweedie), False, highest=math.inf),
        "gamma_deviance": Metric(of_columns(deviances.mean_gamma), False, highest=math.inf),
        **ERRORS,
    },
    losses={"tweedie_deviance": tweedie, "gamma_deviance": gamma, "absolute_error": absolute},
    excess=tweedie,
    excess_name="Tweedie deviance",
    drift=drift_of_numbers,
    main_metric="tweedie_deviance",
    always="tweedie_deviance",
    domain=are_amounts,
    gates=(at_least("r2", 0.0),),
)
