"""One day of an endpoint in numbers: counts per feature, performance per version by the declared problem, efficiency."""

from collections.abc import Sequence

import polars as pl
from msgspec.structs import replace

from rota.manage.signals import label_domain
from rota.records.run import Problem
from rota.records.schema import Bins
from rota.records.signal import MonitorSlice
from rota.records.time import DAY_US, Micros
from rota.stats.bins import count
from rota.stats.concept_drift import excess_loss
from rota.stats.metrics import evaluate

ALL = "all"


def day_slice(endpoint: str, day: Micros, rows: pl.DataFrame, bins: Sequence[Bins], *, run: str, problem: Problem) -> MonitorSlice:
    """The slice of a day out of its rows as callers got them; performance under "all" and under each version's number.

    Failed predictions count in the efficiency only: nothing is known of their answers.
    """
    given = answered(rows)
    measured, set_apart = _labelled(given, problem)
    return MonitorSlice(
        endpoint=endpoint,
        start_us=day,
        end_us=day + DAY_US,
        rows=given.height,
        labelled=measured.height,
        counts={b.name: tuple(count(b, _column(given, b)).tolist()) for b in bins},
        performance=performances(measured, problem),
        efficiency=efficiency(rows),
        run=run,
        set_apart=set_apart,
    )


def with_newer_labels(slice_: MonitorSlice, rows: pl.DataFrame, *, run: str, problem: Problem, now_us: Micros) -> MonitorSlice:
    """The slice measured again with the labels known now, itself when they change nothing; what was counted of the features stays."""
    measured, set_apart = _labelled(answered(rows), problem)
    again = replace(slice_, labelled=measured.height, set_apart=set_apart, performance=performances(measured, problem))
    return slice_ if again == slice_ else replace(again, run=run, revisions=slice_.revisions + 1, revised_us=now_us)


def answered(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with an answer."""
    return rows.filter(pl.col("error") == "")


def performances(labelled: pl.DataFrame, problem: Problem) -> dict[str, dict[str, float]]:
    """Performance on the labelled rows, of all versions together and of each."""
    versions = sorted(labelled["number"].unique().to_list())
    groups = {ALL: labelled} | {str(number): labelled.filter(pl.col("number") == number) for number in versions}
    return {name: performance(group, problem) for name, group in groups.items() if group.height}


def performance(labelled: pl.DataFrame, problem: Problem) -> dict[str, float]:
    """The problem's metrics of labelled rows, their number, and the mean excess loss that concept drift shows in."""
    truth, answers = labelled["label"].to_numpy(), labelled["answer"].to_numpy()
    excess = excess_loss(answers, truth) if problem == "classification" else (answers - truth) ** 2
    return {**evaluate(problem, truth, answers), "labelled": float(labelled.height), "excess": float(excess.mean())}


def efficiency(rows: pl.DataFrame) -> dict[str, float]:
    """Answers, predictions that failed for their callers, and latency percentiles of the answers in milliseconds."""
    given = answered(rows)
    failed = rows.join(given, on="prediction_id", how="anti")["prediction_id"].n_unique()
    counts = {"answers": float(given.height), "failed": float(failed)}
    if given.is_empty():
        return counts
    latency = given["latency_us"] / 1_000
    return {**counts, "latency_p50_ms": float(latency.quantile(0.5) or 0), "latency_p95_ms": float(latency.quantile(0.95) or 0)}


def _labelled(rows: pl.DataFrame, problem: Problem) -> tuple[pl.DataFrame, int]:
    """The rows to measure, and how many labelled ones are set apart because their label or answer is outside of the problem's domain."""
    known = rows.filter(pl.col("label").is_not_null())
    inside = known.filter(label_domain.allowed(problem))
    return inside, known.height - inside.height


def _column(rows: pl.DataFrame, bins: Bins) -> pl.Series:
    if bins.name in rows.columns:
        return rows[bins.name]
    return pl.Series(bins.name, [None] * rows.height, dtype=pl.String if bins.type == "string" else pl.Float64)
