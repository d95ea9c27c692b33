"""What lies behind the metrics of many rows: recall and precision of each class, who is taken for whom, calibration, the metrics of each target.

Of many classes, labels or targets the MOST_NAMES with most rows are kept; the others are counted in `left_out`, and of classes they stand together
as OTHERS in the confusion.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rota.problems.problem_type import Floats, Metric, ScoredRows
from rota.records.breakdown import OTHERS, Breakdown, CalibrationBin
from rota.stats import multiclass_metrics

MOST_NAMES = 20
BINS = 10


def of_two_classes(rows: ScoredRows) -> Breakdown:
    """Two classes, the second answered where its probability is 0.5 or more; calibration of that probability."""
    names = rows.outputs if len(rows.outputs) == 2 else ("0", "1")
    two = ScoredRows(rows.truth, np.column_stack([rows.answers < 0.5, rows.answers >= 0.5]).astype(np.float64), names, rows.weights)
    counts = multiclass_metrics.confusion(two.truth, two.answers, two.weights)[:2, :2]
    return Breakdown(_of_confusion(counts, names), names, _plain(counts), calibration(rows.answers, rows.truth, rows.weights))


def of_classes(rows: ScoredRows) -> Breakdown:
    """Several classes, the likeliest answered; calibration of how likely it is. Rows of a class that the model does not know are among OTHERS."""
    counts = multiclass_metrics.confusion(rows.truth, rows.answers, rows.weights)
    names, by_class = rows.outputs, _of_confusion(counts[:-1], rows.outputs, counts)
    order = _largest(counts[:-1].sum(axis=1))
    others = [place for place in range(len(names)) if place not in set(order.tolist())]
    groups = [[int(place)] for place in order] + ([[*others, len(names)]] if others or counts[-1].any() else [])
    kept = np.array([[counts[np.ix_(left, right)].sum() for right in groups] for left in groups])
    shown = tuple(names[place] for place in order)
    hit = (rows.answers.argmax(axis=1) == rows.truth).astype(np.float64) if len(rows) else np.empty(0)
    sure = rows.answers.max(axis=1) if len(rows) else np.empty(0)
    labels = (*shown, OTHERS) if len(groups) > len(shown) else shown
    return Breakdown({name: by_class[name] for name in shown}, labels, _plain(kept), calibration(sure, hit, rows.weights), len(others))


def of_labels(rows: ScoredRows) -> Breakdown:
    """Several labels, each true where its probability is 0.5 or more, on the rows that know it."""
    weights = np.ones(len(rows)) if rows.weights is None else rows.weights
    known = ~np.isnan(rows.truth)
    true, said = (rows.truth == 1) & known, (rows.answers >= 0.5) & known
    hits, of_truth, answered = ((mask * weights[:, None]).sum(axis=0) for mask in (true & said, true, said))
    order = _largest(of_truth)
    found = {rows.outputs[place]: _rates(hits[place], of_truth[place], answered[place]) for place in order}
    cells = known.ravel()
    spread = None if rows.weights is None else np.repeat(rows.weights, rows.truth.shape[1])[cells]
    curve = calibration(rows.answers.ravel()[cells], rows.truth.ravel()[cells], spread)
    return Breakdown(found, calibration=curve, left_out=len(rows.outputs) - len(order))


def of_targets(rows: ScoredRows, metrics: Mapping[str, Metric]) -> Breakdown:
    """Each of several targets by the metrics of one, on the rows that know it; nothing of one target, of which the metrics tell all."""
    if rows.truth.ndim == 1:
        return Breakdown()
    known = ~np.isnan(rows.truth)
    order = _largest(known.sum(axis=0).astype(np.float64))
    found = {}
    for place in order:
        inside = known[:, place]
        part = ScoredRows(rows.truth[inside, place], rows.answers[inside, place], (), None if rows.weights is None else rows.weights[inside])
        found[rows.outputs[place]] = {"rows": float(inside.sum()), **_defined({name: each.function(part) for name, each in metrics.items()})}
    return Breakdown(found, left_out=len(rows.outputs) - len(order))


def calibration(answers: Floats, truth: Floats, weights: Floats | None) -> tuple[CalibrationBin, ...]:
    """Ten bins of equal width by the probability that was answered, without empty ones: rows, the mean answer, and the share that came true."""
    if not len(answers):
        return ()
    place = np.minimum((answers * BINS).astype(np.int64), BINS - 1)
    mass = np.ones(len(answers)) if weights is None else weights
    rows, said, came = (np.bincount(place, column, minlength=BINS) for column in (mass, answers * mass, truth * mass))
    return tuple(
        CalibrationBin(
            number / BINS, (number + 1) / BINS, float(rows[number]), float(said[number] / rows[number]), float(came[number] / rows[number])
        )
        for number in np.flatnonzero(rows > 0).tolist()
    )


def _of_confusion(counts: Floats, names: Sequence[str], whole: Floats | None = None) -> dict[str, dict[str, float]]:
    """Recall, precision and F1 of each class out of rows by true and by answered class; `whole` has the rows of unknown classes too."""
    answered = (counts if whole is None else whole).sum(axis=0)
    return {name: _rates(counts[place, place], counts[place].sum(), answered[place]) for place, name in enumerate(names)}


def _rates(hits: float, of_truth: float, answered: float) -> dict[str, float]:
    return {
        "rows": float(of_truth),
        **_defined(
            {
                "recall": float(hits / of_truth) if of_truth else math.nan,
                "precision": float(hits / answered) if answered else math.nan,
                "f1": float(2 * hits / (of_truth + answered)) if of_truth + answered else math.nan,
            }
        ),
    }


def _defined(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if not math.isnan(value)}


def _largest(sizes: Floats) -> NDArray[np.int64]:
    """The places of the MOST_NAMES largest, in their own order."""
    return np.sort(np.argsort(-sizes, kind="stable")[:MOST_NAMES])


def _plain(counts: NDArray[Any]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in counts.tolist())
