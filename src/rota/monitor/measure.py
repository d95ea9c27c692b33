"""One day of an endpoint in numbers: counts per feature, performance per version, efficiency."""

from collections.abc import Sequence

import msgspec
import numpy as np
import polars as pl

from rota.records.schema import Bins
from rota.records.signal import MonitorSlice
from rota.records.time import DAY_US, Micros
from rota.stats.bins import count
from rota.stats.concept_drift import excess_loss
from rota.stats.metrics import evaluate

LEAST_LABELLED = 20
ALL = "all"


def day_slice(endpoint: str, day: Micros, rows: pl.DataFrame, bins: Sequence[Bins], *, run: str) -> MonitorSlice:
    """The slice of a day out of its answered rows; performance under "all" and under each version's number."""
    return MonitorSlice(
        endpoint=endpoint,
        start_us=day,
        end_us=day + DAY_US,
        rows=rows.height,
        labelled=int(rows["label"].is_not_null().sum()),
        counts={b.name: tuple(count(b, _column(rows, b)).tolist()) for b in bins},
        performance=performances(rows),
        efficiency=efficiency(rows),
        run=run,
    )


def with_newer_labels(slice_: MonitorSlice, rows: pl.DataFrame, *, run: str) -> MonitorSlice:
    """The slice with its performance measured again; what was counted of the features cannot have changed."""
    labelled = int(rows["label"].is_not_null().sum())
    return msgspec.structs.replace(slice_, labelled=labelled, performance=performances(rows), run=run)


def performances(rows: pl.DataFrame) -> dict[str, dict[str, float]]:
    """Performance on the labelled rows, of all versions together and of each."""
    labelled = rows.filter(pl.col("label").is_not_null())
    versions = sorted(labelled["number"].unique().to_list())
    groups = {ALL: labelled} | {str(number): labelled.filter(pl.col("number") == number) for number in versions}
    return {name: performance(group) for name, group in groups.items() if group.height}


def performance(labelled: pl.DataFrame) -> dict[str, float]:
    """Metrics of labelled rows, their number, and the mean excess loss that concept drift shows in."""
    truth, answers = labelled["label"].to_numpy(), labelled["answer"].to_numpy()
    binary = bool(np.isin(truth, (0.0, 1.0)).all()) and bool(((answers >= 0) & (answers <= 1)).all())
    excess = excess_loss(answers, truth) if binary else (answers - truth) ** 2
    measured = evaluate("classification" if binary else "regression", truth, answers)
    return {**measured, "labelled": float(labelled.height), "excess": float(excess.mean())}


def efficiency(rows: pl.DataFrame) -> dict[str, float]:
    """Answers and latency percentiles in milliseconds."""
    if rows.is_empty():
        return {"answers": 0.0}
    latency = rows["latency_us"] / 1_000
    return {"answers": float(rows.height), "latency_p50_ms": float(latency.quantile(0.5) or 0), "latency_p95_ms": float(latency.quantile(0.95) or 0)}


def _column(rows: pl.DataFrame, bins: Bins) -> pl.Series:
    if bins.name in rows.columns:
        return rows[bins.name]
    return pl.Series(bins.name, [None] * rows.height, dtype=pl.String if bins.type == "string" else pl.Float64)
