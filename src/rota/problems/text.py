"""Texts as answers, as a generating or an extracting model gives them; the truth is the text that was wanted."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rota.problems import forms
from rota.problems.problem_type import Floats, Metric, Outputs, ProblemType, ScoredRows, of_columns
from rota.records.run import at_least
from rota.stats import text_metrics as metrics


def lost_words(rows: ScoredRows) -> Floats:
    """1 - F1 of the words of each row."""
    return np.asarray(1 - metrics.token_f1_of_rows(rows.truth, rows.answers), dtype=np.float64)


def mismatch(rows: ScoredRows) -> Floats:
    """1 of each row whose text is not the one that was wanted, else 0."""
    return np.asarray(1 - metrics.exact_of_rows(rows.truth, rows.answers), dtype=np.float64)


def _drift(_outputs: Outputs, answers: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
    """How many characters and how many words a text has."""
    return {"answer.characters": metrics.lengths(answers), "answer.words": metrics.words(answers)}


TEXT = ProblemType(
    name="text",
    summary="the answer is a text",
    answer=forms.TEXT,
    label=forms.TEXT_LABEL,
    metrics={
        "exact_match": Metric(of_columns(metrics.exact_match), True),
        "token_f1": Metric(of_columns(metrics.token_f1), True),
        "length_ratio_error": Metric(of_columns(metrics.length_ratio_error), False, highest=math.inf),
    },
    losses={"token_f1_loss": lost_words, "mismatch": mismatch},
    excess=lost_words,
    excess_name="loss of words (1 - F1)",
    drift=_drift,
    main_metric="token_f1",
    always="token_f1",
    gates=(at_least("token_f1", 0.5),),
    slices="a column of few values: the language, the kind of the request",
)
