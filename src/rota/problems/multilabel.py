"""Classification with several labels, of which any number may be true of a row: an answer is the probability of each."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rota.errors import InvalidInput
from rota.problems import breakdown, forms
from rota.problems.problem_type import Floats, LabelForm, Metric, Outputs, ProblemType, ScoredRows, of_columns
from rota.problems.regression import drift_of_numbers
from rota.records.run import at_least, at_most
from rota.stats import multilabel_metrics as metrics
from rota.stats.weighting import mean_of_known


def squared(rows: ScoredRows) -> Floats:
    """The Brier loss of each row: its mean over the labels that are known."""
    return mean_of_known((rows.answers - rows.truth) ** 2)


def log_loss(rows: ScoredRows) -> Floats:
    """The negative log-likelihood of each row: its mean over the labels that are known."""
    return metrics.log_loss_of_rows(rows.truth, rows.answers)


def _excess(rows: ScoredRows) -> Floats:
    """The Brier loss minus p (1 - p), which a calibrated model loses, as the mean over the labels that are known."""
    return mean_of_known((rows.answers - rows.truth) ** 2 - rows.answers * (1 - rows.answers))


def _label(outputs: Outputs, value: Any) -> dict[str, float]:
    """Names of what is true (everything else is not: the whole truth), or 0 and 1 by name for those that are known."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        names = [forms.class_name(each) for each in value]
        unknown = [name[:100] for name in names if name not in outputs]
        if unknown:
            raise InvalidInput(f"it names {unknown}, and the labels are {forms.shown(outputs)}")
        return {name: float(name in names) for name in outputs}
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{str(value)[:100]!r} is no list of names and no mapping of names to 0 or 1; the names are {forms.shown(outputs)}")
    found = forms.named_numbers_label(outputs, value)
    odd = {name: number for name, number in found.items() if number not in (0.0, 1.0)}
    if odd:
        raise InvalidInput(f"{odd} is outside {{0, 1}}: 1 for a label that is true, 0 for one that is not; leave out what is not known")
    return found


def _truth(outputs: Outputs, values: Sequence[Any]) -> Floats:
    whole = [{name: float(name in value) for name in outputs} if isinstance(value, list) else value for value in values]
    return forms.by_name(outputs, whole)


def _fits(value: Any) -> bool:
    return forms.is_named(value) or (isinstance(value, list) and all(isinstance(each, str) for each in value))


MULTILABEL = ProblemType(
    name="multilabel",
    summary="several labels, of which any number may be true; the answer is the probability of each",
    answer=forms.NAMED_PROBABILITIES,
    label=LabelForm(
        "the names of what is true, or 0 and 1 by name",
        "lists of the names that are true (then the others are not), and mappings of names to 0 or 1, as they become known",
        _label,
        _truth,
        _fits,
        is_partial=True,
    ),
    metrics={
        "subset_accuracy": Metric(of_columns(metrics.subset_accuracy), True),
        "hamming_loss": Metric(of_columns(metrics.hamming_loss), False),
        "f1_micro": Metric(of_columns(metrics.f1_micro), True),
        "f1_macro": Metric(of_columns(metrics.f1_macro), True),
        "roc_auc": Metric(of_columns(metrics.roc_auc), True),
        "log_loss": Metric(of_columns(metrics.log_loss), False, highest=np.inf),
        "brier": Metric(of_columns(metrics.brier), False),
    },
    losses={"brier": squared, "log_loss": log_loss},
    excess=_excess,
    excess_name="Brier loss",
    drift=drift_of_numbers,
    main_metric="f1_micro",
    always="brier",
    domain=lambda rows: _are_cells(rows.truth) & ((rows.answers >= 0) & (rows.answers <= 1)).all(axis=1),
    gates=(at_least("f1_micro", 0.5), at_most("hamming_loss", 0.2)),
    breakdown=breakdown.of_labels,
    needs_outputs="always",
)


def _are_cells(truth: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray((np.isin(truth, (0.0, 1.0)) | np.isnan(truth)).all(axis=1))
