"""Anomaly scores: an answer is a number, higher is more anomalous; a label (1: it was one) may come late or never."""

import math
from typing import Any

import numpy as np

from rota.errors import InvalidInput
from rota.problems import forms
from rota.problems.problem_type import AGREEMENT, AGREES, Floats, LabelForm, Metric, Outputs, ProblemType, ScoredRows, of_columns
from rota.problems.regression import drift_of_numbers
from rota.records.run import at_least
from rota.stats import metrics
from rota.stats.ranking_metrics import rank_correlation
from rota.stats.weighting import total


def _label(outputs: Outputs, value: Any) -> float:
    found = forms.number_label(outputs, value)
    if found not in (0.0, 1.0):
        raise InvalidInput(f"{value!r} is outside {{0, 1}}: 1 for an anomaly, 0 for what was none")
    return found


def precision_at_share(truth: Floats, answers: Floats, weights: Floats | None = None) -> float:
    """Share of anomalies among as many rows with the highest scores as there are anomalies; rows of equal scores share the last places.

    It is recall at the same time (the break-even point of precision and recall). NaN without anomalies.
    """
    counted = np.ones(len(truth)) if weights is None else weights
    positives = total(truth, weights)
    if not positives:
        return math.nan
    order = np.argsort(-answers, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(answers[order])), len(order) - 1)
    seen, hits = (np.concatenate([[0.0], np.cumsum(each[order])[last_of_tie]]) for each in (counted, counted * truth))
    return float(np.interp(positives, seen, hits)) / positives


def rank_loss(rows: ScoredRows) -> Floats:
    """Of each row the share of rows with the other label that its score puts on the wrong side, ties half; NaN where all have one label.

    Scores have no scale that two models share, so only their order is compared: the mean over the anomalies, and over the others, is 1 - AUC.
    """
    positive = rows.truth == 1
    above, below = np.sort(rows.answers[positive]), np.sort(rows.answers[~positive])
    if not len(above) or not len(below):
        return np.full(len(rows), np.nan)
    found = np.empty(len(rows))
    found[positive] = 1 - _share_below(below, rows.answers[positive])
    found[~positive] = _share_below(above, rows.answers[~positive])
    return found


def _share_below(others: Floats, values: Floats) -> Floats:
    return np.asarray((np.searchsorted(others, values, "left") + np.searchsorted(others, values, "right")) / 2 / len(others), dtype=np.float64)


ANOMALY = ProblemType(
    name="anomaly",
    summary="how unusual a row is; the answer is a score, higher is more anomalous",
    answer=forms.NUMBER,
    label=LabelForm("0 or 1, late or never", "{0, 1}: 1 for an anomaly", _label, forms.one_number, forms.is_number),
    metrics={
        "roc_auc": Metric(of_columns(metrics.roc_auc), True),
        "average_precision": Metric(of_columns(metrics.average_precision), True),
        "precision_at_share": Metric(of_columns(precision_at_share), True),
        AGREEMENT: AGREES,
    },
    losses={"rank_loss": rank_loss},
    excess=rank_loss,
    excess_name="rank loss",
    drift=drift_of_numbers,
    main_metric="roc_auc",
    always="labelled",
    domain=lambda rows: np.isin(rows.truth, (0.0, 1.0)),
    undefined="all labels are 0, or all are 1",
    gates=(at_least("roc_auc", 0.6),),
    agreement=rank_correlation,
)
