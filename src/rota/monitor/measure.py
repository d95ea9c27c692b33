"""One day of an endpoint in numbers: counts per feature, performance per version by the declared problem, efficiency."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from msgspec.structs import replace

from rota.manage.signals import label_domain
from rota.manage.signals.label_domain import DeclaredProblem
from rota.problems.problem_type import ScoredRows
from rota.records.schema import Bins
from rota.records.signal import MonitorSlice
from rota.records.time import DAY_US, Micros
from rota.stats import weighting
from rota.stats.bins import count

ALL = "all"


def day_slice(endpoint: str, day: Micros, rows: pl.DataFrame, bins: Sequence[Bins], *, run: str, problem: DeclaredProblem) -> MonitorSlice:
    """The slice of a day out of its rows as callers got them; performance under "all" and under each version's number.

    Failed predictions count in the efficiency only: nothing is known of their answers.
    """
    given = answered(rows)
    measured, set_apart, performance = performances(given, problem)
    return MonitorSlice(
        endpoint=endpoint,
        start_us=day,
        end_us=day + DAY_US,
        rows=given.height,
        labelled=measured,
        counts={b.name: tuple(count(b, _column(given, b)).tolist()) for b in bins},
        performance=performance,
        efficiency=efficiency(rows),
        run=run,
        set_apart=set_apart,
    )


def with_newer_labels(slice_: MonitorSlice, rows: pl.DataFrame, *, run: str, problem: DeclaredProblem, now_us: Micros) -> MonitorSlice:
    """The slice measured again with the labels known now, itself when they change nothing; what was counted of the features stays."""
    measured, set_apart, performance = performances(answered(rows), problem)
    again = replace(slice_, labelled=measured, set_apart=set_apart, performance=performance)
    return slice_ if again == slice_ else replace(again, run=run, revisions=slice_.revisions + 1, revised_us=now_us)


def answered(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with an answer."""
    return rows.filter(pl.col("error") == "")


def performances(rows: pl.DataFrame, problem: DeclaredProblem) -> tuple[int, int, dict[str, dict[str, float]]]:
    """How many answered rows are measured, how many labelled ones are set apart because their label or answer is outside of the problem's
    domain, and the performance of all versions together and of each."""
    labelled = int(rows["label_at_us"].count())
    measured, scored = label_domain.measured(rows, problem)
    numbers = measured["number"].to_numpy()
    groups = {ALL: scored} | {str(number): scored.where(numbers == number) for number in sorted(set(numbers.tolist()))}
    found = {name: performance(group, problem) for name, group in groups.items() if len(group)}
    return measured.height, labelled - measured.height, found


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
