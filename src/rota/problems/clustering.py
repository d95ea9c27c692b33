"""Clustering: an answer is the name of a cluster, a text; where the kind of a row is known or found out, the two partitions are compared."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rota.errors import InvalidInput
from rota.problems import forms
from rota.problems.problem_type import AGREEMENT, AGREES, AnswerForm, Floats, LabelForm, Metric, Outputs, ProblemType, ScoredRows
from rota.records.run import at_least
from rota.stats import clustering_metrics as metrics


def _names(_outputs: Outputs, array: NDArray[Any]) -> list[Any]:
    """Clusters by name: a number is written as a text."""
    return [forms.class_name(each) for each in array.tolist()]


def _array(outputs: Outputs, values: Sequence[Any]) -> NDArray[Any]:
    return forms.objects(outputs, [forms.class_name(each) for each in values])


def _label(_outputs: Outputs, value: Any) -> str:
    """The kind of a row by any name or whole number."""
    if not forms.is_number_or_text(value) or value == "":
        raise InvalidInput(f"{str(value)[:100]!r} is no name of the kind that the row is of")
    return forms.class_name(value)


def impurity(rows: ScoredRows) -> Floats:
    """Of each row the share of rows in its cluster that have another label."""
    return metrics.impurity_of_rows(rows.truth, rows.answers)


def _drift(outputs: Outputs, answers: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
    """The shares of the clusters."""
    return {"answer": np.array(_names(outputs, answers), dtype=object)}


CLUSTERING = ProblemType(
    name="clustering",
    summary="which rows are alike; the answer is the name of a cluster",
    answer=AnswerForm("the name of a cluster", _names, _array, forms.is_number_or_text, are_texts=True),
    label=LabelForm("a name of the kind that a row is of, if there is one", "texts and whole numbers", _label, _array, forms.is_number_or_text),
    metrics={
        "adjusted_rand": Metric(lambda rows: metrics.adjusted_rand(rows.truth, rows.answers), True, lowest=-1.0),
        "normalized_mutual_information": Metric(lambda rows: metrics.normalized_mutual_information(rows.truth, rows.answers), True),
        "purity": Metric(lambda rows: metrics.purity(rows.truth, rows.answers), True),
        AGREEMENT: AGREES,
    },
    losses={"impurity": impurity},
    excess=impurity,
    excess_name="impurity",
    drift=_drift,
    main_metric="adjusted_rand",
    always="purity",
    gates=(at_least("adjusted_rand", 0.1),),
    agreement=metrics.adjusted_rand,
)
