"""Business outcomes: what came of predictions, reported under a name (a sale, a cost, a click) and counted for each model version.

Outcomes reported without an endpoint are kept under `unplaced_outcomes` and count wherever their prediction was made. For one
prediction and name the outcome with the latest `at_us` counts, among equal ones the one received last. An outcome is known from the
moment at which it was received, whatever it is dated.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from rota.errors import InvalidInput
from rota.manage.repositories import Repositories
from rota.manage.signals import prediction_log
from rota.manage.signals.reported_values import ReportedRow
from rota.manage.signals.signal_stream import ReceivedEntries, SignalStream, mappings
from rota.ports.tables import Tables
from rota.records.record import Record, check_name
from rota.records.signal import Outcome
from rota.records.time import DAY_US, Micros

COLUMNS: Mapping[str, type[pl.DataType]] = {
    "prediction_id": pl.String,
    "name": pl.String,
    "value": pl.Float64,
    "at_us": pl.Int64,
    "received_us": pl.Int64,
}
WINDOW_DAYS = 90
LARGEST = 1e100
"""A larger value is a mistake, and a sum of such would not be a number any more."""
_FIELDS = frozenset({"prediction_id", "name", "value", "at_us", "at"})
STREAM = SignalStream(
    "outcomes",
    COLUMNS,
    ReceivedEntries(Outcome, COLUMNS, noun="outcome"),
    identity=("prediction_id", "name"),
    order=("at_us", "received_us", "value"),
    keep="last",
    unplaced="unplaced_outcomes",
)
append, flush = STREAM.append, STREAM.flush


class Kpi(Record, frozen=True):
    """One named figure of a version: how many of its predictions had it reported, its sum, its mean over those, and over all predictions."""

    name: str
    count: int
    total: float
    mean: float
    per_prediction: float


class VersionOutcomes(Record, frozen=True):
    """What came of the predictions that a version answered in a window."""

    number: int
    predictions: int
    kpis: tuple[Kpi, ...] = ()


class OutcomeReport(Record, frozen=True):
    """Outcomes of the predictions that an endpoint made in [start_us, end_us), by version, newest first.

    `unmatched` counts outcomes reported for this endpoint whose prediction is not in its log (yet), whatever the window.
    """

    endpoint: str
    start_us: Micros
    end_us: Micros
    versions: tuple[VersionOutcomes, ...] = ()
    unmatched: int = 0

    def of(self, number: int) -> VersionOutcomes | None:
        """What came of one version's predictions."""
        return next((each for each in self.versions if each.number == number), None)


def from_rows(rows: Sequence[Mapping[str, Any]], now_us: Micros) -> list[Outcome]:
    """Rows with `prediction_id`, `name`, `value` and `at_us` or `at` (a time in any form; default: now) as outcomes.

    Raises `InvalidInput` naming the row that does not fit: all or none.
    """
    return [_outcome(position, row, now_us) for position, row in enumerate(mappings(rows, "outcome"))]


def read(tables: Tables, endpoint: str, *, known_until_us: Micros | None = None) -> pl.DataFrame:
    """The outcome that counts of each prediction and name, unplaced ones among them, out of those received by `known_until_us` (default: of all)."""
    return _read(tables, endpoint, known_until_us).collect()


def report(
    repositories: Repositories, endpoint: str, *, days: float = WINDOW_DAYS, end_us: Micros | None = None, known_until_us: Micros | None = None
) -> OutcomeReport:
    """Outcomes by version of the predictions of the `days` before `end_us` (default: now); what was acknowledged is stored first.

    Only outcomes received by `known_until_us` count (default: all, also those that came after `end_us`).
    """
    journal, tables = repositories.journal, repositories.tables
    end_us = repositories.clock.now_us() + 1 if end_us is None else end_us
    start_us = end_us - round(days * DAY_US)
    for reported_for in (endpoint, ""):
        flush(journal, tables, reported_for)
    if not _is_any(tables, endpoint):
        return OutcomeReport(endpoint, start_us, end_us)
    prediction_log.flush(journal, tables, endpoint)
    within = prediction_log.answers(tables, endpoint, start_us, end_us).collect()
    counting = _read(tables, endpoint, known_until_us).join(within.lazy(), on="prediction_id", how="inner")
    kpis = counting.group_by("number", "name").agg(pl.len().alias("count"), pl.col("value").sum().alias("total")).collect()
    made = within.group_by("number").len()
    versions = [
        VersionOutcomes(number, count, tuple(_kpi(row, count) for row in kpis.filter(pl.col("number") == number).sort("name").iter_rows(named=True)))
        for number, count in made.sort("number", descending=True).iter_rows()
    ]
    return OutcomeReport(endpoint, start_us, end_us, tuple(versions), _unmatched(tables, endpoint, known_until_us))


def of_version(repositories: Repositories, endpoint: str, number: int) -> VersionOutcomes | None:
    """What came lately of a version's predictions at an endpoint; None when nothing was reported for them."""
    found = report(repositories, endpoint).of(number)
    return found if found is not None and found.kpis else None


def _outcome(position: int, row: Mapping[str, Any], now_us: Micros) -> Outcome:
    if unknown := sorted(row.keys() - _FIELDS):
        raise InvalidInput(f"outcome {position} has the unknown fields {unknown}; it has prediction_id, name, value and at_us", position=position)
    reported = ReportedRow(row, "outcome", position, "prediction_id, name, value and at_us")
    name = check_name(f"outcome {position}:", reported.given("name"))
    return Outcome(reported.prediction_id(), name, reported.value(largest=LARGEST), reported.at_us(now_us))


def _is_any(tables: Tables, endpoint: str) -> bool:
    return any(tables.version(STREAM.table(reported_for)) is not None for reported_for in (endpoint, ""))


def _read(tables: Tables, endpoint: str, known_until_us: Micros | None) -> pl.LazyFrame:
    return STREAM.effective(pl.concat([_known(tables, reported_for, known_until_us) for reported_for in (endpoint, "")]))


def _known(tables: Tables, endpoint: str, known_until_us: Micros | None) -> pl.LazyFrame:
    rows = STREAM.scan(tables, endpoint).select(list(COLUMNS))
    return rows if known_until_us is None else rows.filter(pl.col("received_us") <= known_until_us)


def _unmatched(tables: Tables, endpoint: str, known_until_us: Micros | None) -> int:
    """Outcomes reported for the endpoint itself whose prediction is not in its log."""
    missing = _known(tables, endpoint, known_until_us).join(prediction_log.ids(tables, endpoint), on="prediction_id", how="anti")
    found: int = missing.select("prediction_id", "name").unique().select(pl.len()).collect().item()
    return found


def _kpi(row: Mapping[str, Any], predictions: int) -> Kpi:
    return Kpi(row["name"], row["count"], row["total"], row["total"] / row["count"], row["total"] / predictions)
