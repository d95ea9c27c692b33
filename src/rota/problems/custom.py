"""Any JSON as an answer, for what no other problem type is: only whether it is equal to its truth is known, all else say metrics of a team's own."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rota.problems import forms
from rota.problems.problem_type import Floats, Metric, Outputs, ProblemType, ScoredRows
from rota.stats.weighting import mean


def mismatch(rows: ScoredRows) -> Floats:
    """1 of each row whose answer is not equal to its truth, else 0."""
    return np.array([left != right for left, right in zip(rows.truth.tolist(), rows.answers.tolist(), strict=True)], dtype=np.float64)


def _drift(_outputs: Outputs, _answers: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
    """Nothing that Rota knows of: which shift of any JSON matters is known to the team alone, and a monitor says that it cannot judge it."""
    return {}


CUSTOM = ProblemType(
    name="custom",
    summary="the answer is any JSON; its metrics are a team's own (`@rota.metric`), besides whether it is the truth exactly",
    answer=forms.ANY_JSON,
    label=forms.JSON_LABEL,
    metrics={"exact_match": Metric(lambda rows: mean(1 - mismatch(rows), rows.weights), True)},
    losses={"mismatch": mismatch},
    excess=mismatch,
    excess_name="share that is not equal",
    drift=_drift,
    main_metric="exact_match",
    always="exact_match",
)
