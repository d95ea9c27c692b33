"""Classification with three classes or more: an answer is the likeliest class with the probability of each."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rota.problems import breakdown, forms
from rota.problems.problem_type import Floats, Metric, Outputs, ProblemType, ScoredRows, of_columns
from rota.records.run import at_least, at_most
from rota.stats import multiclass_metrics as metrics


def squared(rows: ScoredRows) -> Floats:
    """The Brier loss of each row over all classes, in 0..2; a class that the model does not know costs the whole of its answer."""
    return metrics.brier_of_rows(rows.truth, rows.answers)


def log_loss(rows: ScoredRows) -> Floats:
    """The negative log-likelihood of each row's class."""
    return metrics.log_loss_of_rows(rows.truth, rows.answers)


def _excess(rows: ScoredRows) -> Floats:
    """The Brier loss minus what the answer itself promises: with probabilities p it expects sum p (1 - p), which a calibrated model loses."""
    return np.asarray(squared(rows) - (rows.answers * (1 - rows.answers)).sum(axis=1), dtype=np.float64)


def _drift(outputs: Outputs, answers: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
    """The shares of the likeliest classes, and how likely these are."""
    named = np.array(outputs, dtype=object)
    return {"answer.class": named[answers.argmax(axis=1)], "answer.confidence": answers.max(axis=1)}


MULTICLASS = ProblemType(
    name="multiclass",
    summary="one of several classes; the answer is the likeliest class with the probability of each",
    answer=forms.CLASS,
    label=forms.CLASS_LABEL,
    metrics={
        "accuracy": Metric(of_columns(metrics.accuracy), True),
        "balanced_accuracy": Metric(of_columns(metrics.balanced_accuracy), True),
        "f1_macro": Metric(of_columns(metrics.f1_macro), True),
        "log_loss": Metric(of_columns(metrics.log_loss), False, highest=np.inf),
        "brier": Metric(of_columns(metrics.brier), False, highest=2.0),
        "roc_auc_ovr": Metric(of_columns(metrics.roc_auc_ovr), True),
    },
    losses={"brier": squared, "log_loss": log_loss},
    excess=_excess,
    excess_name="Brier loss",
    drift=_drift,
    main_metric="log_loss",
    always="balanced_accuracy",
    gates=(at_least("balanced_accuracy", 0.5), at_most("log_loss", 2.0)),
    together=lambda rows: metrics.together(rows.truth, rows.answers, rows.weights),
    breakdown=breakdown.of_classes,
    needs_outputs="always",
)
