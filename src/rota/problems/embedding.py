"""Vectors as answers: a list of numbers without names; the truth, where there is one, is the vector that was wanted."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rota.problems import forms
from rota.problems.problem_type import Floats, Metric, Outputs, ProblemType, ScoredRows
from rota.records.run import at_most
from rota.stats.weighting import mean

DIRECTIONS = 4
"""Directions along which a shift of the mean is looked for."""


def cosine(rows: ScoredRows) -> Floats:
    """1 - the cosine of each row's angle to its truth, in 0..2; 1 where a vector is 0 (scikit-learn's `cosine_distances`)."""
    lengths = np.linalg.norm(rows.truth, axis=1) * np.linalg.norm(rows.answers, axis=1)
    product = np.einsum("ij,ij->i", rows.truth, rows.answers)
    return np.asarray(1 - np.divide(product, lengths, out=np.zeros(len(rows)), where=lengths > 0), dtype=np.float64)


def euclidean(rows: ScoredRows) -> Floats:
    """The distance of each row to its truth."""
    return np.asarray(np.linalg.norm(rows.truth - rows.answers, axis=1), dtype=np.float64)


def _drift(_outputs: Outputs, answers: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
    """The norm, and the components along four fixed directions at random, in which a shift of the mean shows (Johnson and Lindenstrauss, 1984)."""
    found: dict[str, NDArray[Any]] = {"answer.norm": np.linalg.norm(answers, axis=1)}
    directions = np.random.default_rng(0).choice([-1.0, 1.0], size=(answers.shape[1], DIRECTIONS)) / math.sqrt(max(answers.shape[1], 1))
    return found | {f"answer.direction_{place}": column for place, column in enumerate((answers @ directions).T)}


EMBEDDING = ProblemType(
    name="embedding",
    summary="the answer is a vector, a list of numbers",
    answer=forms.NUMBER_LIST,
    label=forms.LIST_LABEL,
    metrics={
        "cosine_distance": Metric(lambda rows: mean(cosine(rows), rows.weights), False, highest=2.0),
        "euclidean_distance": Metric(lambda rows: mean(euclidean(rows), rows.weights), False, highest=math.inf),
    },
    losses={"cosine_distance": cosine, "euclidean_distance": euclidean},
    excess=cosine,
    excess_name="cosine distance",
    drift=_drift,
    main_metric="cosine_distance",
    always="cosine_distance",
    domain=lambda rows: np.full(len(rows), rows.truth.shape == rows.answers.shape),
    gates=(at_most("cosine_distance", 0.5),),
)
