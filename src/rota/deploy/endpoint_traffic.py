"""What an endpoint's traffic of the last days was like: how many predictions, how many failed, how slow, and how late their labels came."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from rota.deploy.decision_rules import ALPHA, SLICES_TUNED_FOR, SLOW
from rota.manage.repositories import Repositories
from rota.manage.signals import labels, prediction_log
from rota.ports.metadata import Metadata
from rota.records.check import from_stored
from rota.records.release import Rollout
from rota.records.time import DAY_US, HOUR_US, Micros
from rota.stats import sequential

DAYS = 7
BAD_ANSWERS = 1.5
"""How many times as slow as is allowed a bad candidate is."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """The traffic of the last `days`, or since the first prediction in them.

    `slow` is the share of answers above a multiple of their 95th percentile, by multiple; `bad_slow` that of a candidate BAD_ANSWERS times as slow as
    is allowed. `hours_a_day` had predictions; `label_delay_hours` is when nine in ten labels had come (None: no label did). `spreads` are the
    standard deviations of hourly differences of losses, by loss, where an earlier rollout saw some.
    """

    days: float
    rows_an_hour: float
    error_rate: float = 0.0
    slow: Mapping[str, float] = field(default_factory=dict)
    bad_slow: float = 0.0
    hours_a_day: float = 0.0
    labelled: float = 0.0
    label_delay_hours: float | None = None
    spreads: Mapping[str, float] = field(default_factory=dict)


def observed(repositories: Repositories, endpoint: str, ratios: Sequence[float], *, now_us: Micros) -> Traffic:
    """The traffic of an endpoint up to a moment, with the shares of slow answers for these ratios of the 95th percentile."""
    prediction_log.flush(repositories.journal, repositories.tables, endpoint)
    labels.flush(repositories.journal, repositories.tables, endpoint)
    log = prediction_log.STREAM.scan(repositories.tables, endpoint, ["prediction_id", "at_us", "role", "error", "latency_us"])
    rows = log.filter((pl.col("role") != "shadow") & (pl.col("at_us") >= now_us - DAYS * DAY_US) & (pl.col("at_us") <= now_us))
    hour = pl.col("at_us") // HOUR_US
    counted = rows.select(
        pl.len().alias("rows"), pl.col("at_us").min().alias("first"), (pl.col("error") != "").mean(), hour.n_unique().alias("hours")
    )
    count, first_us, error_rate, hours = counted.collect().row(0)
    if not count:
        return Traffic(DAYS, 0.0)
    span_us = max(now_us - first_us, HOUR_US)
    slow, bad_slow = _slow(rows.filter(pl.col("error") == ""), ratios)
    labelled, delay = _labels(repositories, endpoint, rows)
    return Traffic(
        days=span_us / DAY_US,
        rows_an_hour=count * HOUR_US / span_us,
        error_rate=max(float(error_rate), 0.5 / (count + 1)),
        slow=slow,
        bad_slow=bad_slow,
        hours_a_day=min(24.0, hours * DAY_US / span_us),
        labelled=labelled,
        label_delay_hours=delay,
        spreads=_spreads(repositories.metadata, endpoint),
    )


def multiple(ratio: float) -> str:
    """A multiple of the 95th percentile as a name, which JSON needs."""
    return f"{ratio:g}"


def _slow(answered: pl.LazyFrame, ratios: Sequence[float]) -> tuple[dict[str, float], float]:
    taken = pl.col("latency_us")
    p95 = answered.select(taken.quantile(1 - SLOW)).collect().item()
    if p95 is None:
        return {}, 0.0
    shares = [(taken > ratio * p95).mean().alias(str(number)) for number, ratio in enumerate(ratios)]
    *found, bad = answered.select(*shares, (taken > p95 / BAD_ANSWERS).mean().alias("bad")).collect().row(0)
    return {multiple(ratio): float(share) for ratio, share in zip(ratios, found, strict=True)}, float(bad)


def _labels(repositories: Repositories, endpoint: str, rows: pl.LazyFrame) -> tuple[float, float | None]:
    """The share of predictions that have a label, and after how many hours nine in ten of these had come."""
    known = labels.STREAM.scan(repositories.tables, endpoint, ["prediction_id", "received_us"])
    first = known.group_by("prediction_id").agg(pl.col("received_us").min())
    asked = rows.group_by("prediction_id").agg(pl.col("at_us").min())
    late = (pl.col("received_us") - pl.col("at_us")).clip(0)
    share, delay_us = (
        asked.join(first, on="prediction_id", how="left").select(late.is_not_null().mean(), late.quantile(0.9).alias("late")).collect().row(0)
    )
    return float(share or 0.0), None if delay_us is None else float(delay_us) / HOUR_US


def _spreads(metadata: Metadata, endpoint: str) -> dict[str, float]:
    """Out of the intervals of the newest rollout that compared a loss: their width is the spread times what is known of the hours."""
    found: dict[str, float] = {}
    for rollout in metadata.page(Rollout, {"endpoint": endpoint}, order="-started_us", limit=20).items:
        for entry in reversed(rollout.history):
            for verdict in map(from_stored, entry["verdicts"]):
                if verdict.check == "metric" and verdict.lower is not None and verdict.upper is not None and verdict.subject not in found:
                    width = sequential.half_width(verdict.rows, sequential.Level(ALPHA / 2, SLICES_TUNED_FOR))
                    found[verdict.subject] = (verdict.upper - verdict.lower) / 2 / width
    return found
