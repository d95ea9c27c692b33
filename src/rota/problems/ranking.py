"""Ranking: an answer is a score, by which the rows of a group (a search, a basket, a session) are ordered; the truth is a row's relevance.

Groups come with the rows (`ScoredRows.groups`). Without them no metric is defined, and nothing is judged by it.
"""

from collections.abc import Callable
from typing import Any

from rota.problems import forms
from rota.problems.count import AMOUNT_LABEL
from rota.problems.problem_type import Floats, Metric, ProblemType, ScoredRows
from rota.problems.regression import drift_of_numbers
from rota.records.run import at_least
from rota.stats import ranking_metrics as metrics


def ndcg_loss(rows: ScoredRows) -> Floats:
    """1 - NDCG of the row's whole group: being ranked wrongly is no fault of a row by itself. NaN without groups."""
    return metrics.loss_of_rows(rows.truth, rows.answers, rows.groups)


def _of_groups(function: Callable[[Floats, Floats, Any, Floats | None], float]) -> Callable[[ScoredRows], float]:
    return lambda rows: function(rows.truth, rows.answers, rows.groups, rows.weights)


RANKING = ProblemType(
    name="ranking",
    summary="an order of the rows of a group; the answer is a row's score, higher is further up",
    answer=forms.NUMBER,
    label=AMOUNT_LABEL,
    metrics={
        "ndcg": Metric(_of_groups(metrics.ndcg), True),
        "ndcg_at_10": Metric(_of_groups(metrics.ndcg_at_10), True),
        "reciprocal_rank": Metric(_of_groups(metrics.reciprocal_rank), True),
        "mean_average_precision": Metric(_of_groups(metrics.average_precision), True),
    },
    losses={"ndcg_loss": ndcg_loss},
    excess=ndcg_loss,
    excess_name="loss of NDCG",
    drift=drift_of_numbers,
    main_metric="ndcg",
    always="labelled",
    domain=lambda rows: rows.truth >= 0,
    undefined="rows without groups",
    gates=(at_least("ndcg", 0.5),),
    needs_groups=True,
    slices="a column that all rows of a group share, such as the market or the kind of the search",
)
