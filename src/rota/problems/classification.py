"""Classification with two classes: an answer is the probability of the second one, which is the positive one."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rota.errors import InvalidInput
from rota.problems import breakdown, forms
from rota.problems.problem_type import Floats, LabelForm, Metric, Outputs, ProblemType, ScoredRows, of_columns
from rota.records.run import at_least, at_most
from rota.records.values import measured
from rota.stats import concept_drift, metrics


def _label(outputs: Outputs, value: Any) -> float:
    """0 or 1, or the name of one of the two classes where they have names: the second is 1."""
    if len(outputs) == 2 and isinstance(value, str) and value in outputs:
        return float(outputs.index(value))
    try:
        found = measured(value)
    except InvalidInput:
        found = None
    if found not in (0.0, 1.0):
        named = f", {outputs[0]!r} or {outputs[1]!r}" if len(outputs) == 2 else ""
        raise InvalidInput(f"{value!r} is outside {{0, 1}}{named}: the truth is 1 where what the model predicts came to pass and 0 where it did not")
    return float(found)


def _truth(outputs: Outputs, values: Any) -> Floats:
    places = {name: float(place) for place, name in enumerate(outputs)}
    numbers = [places.get(value, np.nan) if isinstance(value, str) else value for value in values]
    return np.array([np.nan if value is None else value for value in numbers], dtype=np.float64)


def squared(rows: ScoredRows) -> Floats:
    """The Brier loss of each row."""
    return np.asarray((rows.answers - rows.truth) ** 2, dtype=np.float64)


def log_loss(rows: ScoredRows) -> Floats:
    """The negative log-likelihood of each row."""
    sure = np.clip(rows.answers, metrics.LOG_LOSS_CLIP, 1 - metrics.LOG_LOSS_CLIP)
    return np.asarray(-(rows.truth * np.log(sure) + (1 - rows.truth) * np.log1p(-sure)), dtype=np.float64)


def _drift(_outputs: Outputs, answers: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
    """The probability."""
    return {"answer": answers}


CLASSIFICATION = ProblemType(
    name="classification",
    summary="one of two classes; the answer is the probability of the second",
    answer=forms.PROBABILITY,
    label=LabelForm("0 or 1", "{0, 1} and the names of the two classes", _label, _truth, forms.is_number_or_text),
    metrics={
        "roc_auc": Metric(of_columns(metrics.roc_auc), True),
        "average_precision": Metric(of_columns(metrics.average_precision), True),
        "log_loss": Metric(of_columns(metrics.log_loss), False, highest=np.inf),
        "brier": Metric(of_columns(metrics.brier), False),
        "accuracy": Metric(of_columns(metrics.accuracy), True),
        "expected_calibration_error": Metric(of_columns(metrics.expected_calibration_error), False),
    },
    losses={"brier": squared, "log_loss": log_loss},
    excess=lambda rows: concept_drift.excess_loss(rows.answers, rows.truth),
    excess_name="Brier loss",
    drift=_drift,
    main_metric="roc_auc",
    always="brier",
    domain=lambda rows: np.asarray(np.isin(rows.truth, (0.0, 1.0)) & (rows.answers >= 0) & (rows.answers <= 1)),
    together=lambda rows: metrics.ranked_together(rows.truth, rows.answers) if rows.weights is None else {},
    breakdown=breakdown.of_two_classes,
    gates=(at_least("roc_auc", 0.6), at_most("expected_calibration_error", 0.1)),
)
