"""One day of an endpoint in numbers: counts per feature, performance per version by the declared problem, efficiency."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from msgspec.structs import replace
from numpy.typing import NDArray

from rota.manage.models.own_metrics import PartMeasured
from rota.manage.signals import label_domain
from rota.manage.signals.label_domain import DeclaredProblem
from rota.problems.intervals import metric_intervals
from rota.problems.problem_type import ScoredRows
from rota.records.schema import Bins, VectorMoments
from rota.records.signal import MonitorSlice
from rota.records.time import DAY_US, HOUR_US, Micros
from rota.stats import embedding_drift, sketches, weighting
from rota.stats.bins import count

ALL = "all"
DRAWS = 100
"""Of the bootstrap behind the intervals of a day."""


Own = Callable[[Sequence[ScoredRows]], Sequence[PartMeasured]]
"""What measures parts of the rows by metrics of a team's own."""


@dataclass(frozen=True, slots=True)
class DayPerformance:
    """How many answered rows were `measured`, how many labelled ones are `set_apart` because their label or answer is outside of the problem's
    domain, the performance of all versions together and of each, and why a metric of a team's own has no value of all together. `scored` are the
    measured rows, and `moments_us` when they were predicted."""

    measured: int
    set_apart: int
    by_version: dict[str, dict[str, float]]
    not_measured: dict[str, str] = field(default_factory=dict)
    scored: ScoredRows | None = None
    moments_us: NDArray[np.int64] | None = None

    def beside(self, problem: DeclaredProblem) -> dict[str, Any]:
        """The fields of a slice that say how sure its metrics are, and what lies behind them."""
        if self.scored is None:
            return {"intervals": {}, "breakdown": None}
        bounds = metric_intervals(problem.kind, self.scored, moments_us=self.moments_us, draws=DRAWS, block_us=HOUR_US)
        return {"intervals": bounds, "breakdown": problem.kind.breakdown(self.scored)}


def no_own_metrics(parts: Sequence[ScoredRows]) -> Sequence[PartMeasured]:
    """What measures nothing besides the metrics of the problem."""
    return [PartMeasured() for _ in parts]


def day_slice(
    endpoint: str, day: Micros, rows: pl.DataFrame, bins: Sequence[Bins], *, run: str, problem: DeclaredProblem, own: Own = no_own_metrics
) -> MonitorSlice:
    """The slice of a day out of its rows as callers got them; performance under "all" and under each version's number.

    Failed predictions count in the efficiency only: nothing is known of their answers.
    """
    given = sketches.sketched(answered(rows), bins=bins)
    found = performances(given, problem, own)
    return MonitorSlice(
        endpoint=endpoint,
        start_us=day,
        end_us=day + DAY_US,
        rows=given.height,
        labelled=found.measured,
        counts={b.name: tuple(count(b, _column(given, b)).tolist()) for b in bins},
        performance=found.by_version,
        efficiency=efficiency(rows),
        run=run,
        set_apart=found.set_apart,
        not_measured=found.not_measured,
        vectors=vector_moments(given, bins),
        **found.beside(problem),
    )


def vector_moments(rows: pl.DataFrame, bins: Sequence[Bins]) -> dict[str, VectorMoments]:
    """The moments of the features that the bins have as lists of one length, in six digits; one without vectors is left out."""
    names = sketches.vector_names([b.name for b in bins])
    found = {name: embedding_drift.moments(sketches.vectors(rows, name)) for name in names}
    return {name: replace(each, mean=tuple(float(f"{x:.6g}") for x in each.mean)) for name, each in found.items() if each.count}


def with_newer_labels(
    slice_: MonitorSlice, rows: pl.DataFrame, *, run: str, problem: DeclaredProblem, now_us: Micros, own: Own = no_own_metrics
) -> MonitorSlice:
    """The slice measured again with the labels known now, itself when they change nothing; what was counted of the features stays."""
    found = performances(answered(rows), problem, own)
    again = replace(
        slice_,
        labelled=found.measured,
        set_apart=found.set_apart,
        performance=found.by_version,
        not_measured=found.not_measured,
    )
    if again == slice_:
        return slice_
    return replace(again, run=run, revisions=slice_.revisions + 1, revised_us=now_us, **found.beside(problem))


def answered(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with an answer."""
    return rows.filter(pl.col("error") == "")


def performances(rows: pl.DataFrame, problem: DeclaredProblem, own: Own = no_own_metrics) -> DayPerformance:
    """The performance on some answered rows, by the problem's metrics and those of the team's own."""
    labelled = int(rows["label_at_us"].count())
    measured, scored = label_domain.measured(rows, problem)
    numbers = measured["number"].to_numpy()
    groups = {ALL: scored} | {str(number): scored.where(numbers == number) for number in sorted(set(numbers.tolist()))}
    groups = {name: group for name, group in groups.items() if len(group)}
    by_team = dict(zip(groups, own(list(groups.values())), strict=True))
    found = {name: {**performance(group, problem), **by_team[name].values} for name, group in groups.items()}
    if not groups:
        return DayPerformance(0, labelled, {})
    moments = measured["at_us"].to_numpy()
    return DayPerformance(measured.height, labelled - measured.height, found, dict(by_team[ALL].failed), scored, moments)


def performance(scored: ScoredRows, problem: DeclaredProblem) -> dict[str, float]:
    """The problem's metrics of labelled rows, their number, and the mean excess loss that concept drift shows in, where it is defined."""
    kind = problem.kind
    excess = kind.excess(scored)
    known = ~np.isnan(excess)
    found = {**kind.evaluate(scored), "labelled": float(len(scored))}
    return found | ({"excess": weighting.mean(excess[known], weighting.chosen(scored.weights, known))} if known.any() else {})


def efficiency(rows: pl.DataFrame) -> dict[str, float]:
    """Answers, predictions that failed for their callers, and latency percentiles of the answers in milliseconds."""
    given = answered(rows)
    failed = rows.join(given, on="prediction_id", how="anti")["prediction_id"].n_unique()
    counts = {"answers": float(given.height), "failed": float(failed)}
    if given.is_empty():
        return counts
    latency = given["latency_us"] / 1_000
    return {**counts, "latency_p50_ms": float(latency.quantile(0.5) or 0), "latency_p95_ms": float(latency.quantile(0.95) or 0)}


def _column(rows: pl.DataFrame, bins: Bins) -> pl.Series:
    if bins.name in rows.columns:
        return rows[bins.name]
    return pl.Series(bins.name, [None] * rows.height, dtype=pl.String if bins.type == "string" else pl.Float64)
