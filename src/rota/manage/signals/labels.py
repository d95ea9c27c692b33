"""Labels: the truth about predictions, arriving late, repeated or corrected, joined to the prediction log by prediction id.

For one prediction the label with the latest `at_us` counts, among equal ones the one received last. A label is known from the moment
at which it was received, whatever it is dated: who asks what was known at a moment gets the labels received by then.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from rota.manage.signals import prediction_log
from rota.manage.signals.reported_values import ReportedRow
from rota.manage.signals.signal_stream import ReceivedEntries, SignalStream, mappings
from rota.ports.tables import Tables
from rota.records.signal import Label
from rota.records.time import Micros

COLUMNS: Mapping[str, type[pl.DataType]] = {"prediction_id": pl.String, "value": pl.Float64, "at_us": pl.Int64, "received_us": pl.Int64}
STREAM = SignalStream(
    "labels",
    COLUMNS,
    ReceivedEntries(Label, COLUMNS, noun="label"),
    identity=("prediction_id",),
    order=("at_us", "received_us", "value"),
    keep="last",
)
append, flush = STREAM.append, STREAM.flush


def from_rows(rows: Sequence[Mapping[str, Any]], now_us: Micros) -> list[Label]:
    """Rows with `prediction_id`, `value` and `at_us` or `at` (a time in any form; default: now) as labels; raises `InvalidInput` naming
    the row, all or none."""
    return [_label(position, row, now_us) for position, row in enumerate(mappings(rows, "label"))]


def read(tables: Tables, endpoint: str, *, known_until_us: Micros | None = None, of: pl.LazyFrame | None = None) -> pl.DataFrame:
    """The label that counts of each prediction (of the ids in `of`, or of all), out of those received by `known_until_us` (default: out of all).

    Where `of` has a column `known_until_us`, each prediction is asked about at its own moment.
    """
    return _read(tables, endpoint, known_until_us, of=of).collect()


def joined(tables: Tables, endpoint: str, start_us: Micros, end_us: Micros, *, known_until_us: Micros, features: bool = True) -> pl.DataFrame:
    """Predictions of [start_us, end_us) with their `label` and `label_at_us`, null where no label had been received by `known_until_us`.

    Rows, order and columns of the predictions are those of `prediction_log.read`.
    """
    rows = prediction_log.read(tables, endpoint, start_us, end_us, features=features)
    asked = rows.lazy().select("prediction_id").unique()
    labels = _read(tables, endpoint, known_until_us, of=asked).select("prediction_id", label="value", label_at_us="at_us")
    return rows.lazy().join(labels, on="prediction_id", how="left", maintain_order="left").collect()


def _read(tables: Tables, endpoint: str, known_until_us: Micros | None, *, of: pl.LazyFrame | None = None) -> pl.LazyFrame:
    """The labels that count, of every prediction or (before anything is sorted) only of those in `of`."""
    rows = STREAM.scan(tables, endpoint)
    known = rows if known_until_us is None else rows.filter(pl.col("received_us") <= known_until_us)
    if of is not None and "known_until_us" in of.collect_schema():
        moments = of.select("prediction_id", "known_until_us").unique()
        known = known.join(moments, on="prediction_id").filter(pl.col("received_us") <= pl.col("known_until_us")).drop("known_until_us")
    elif of is not None:
        known = known.join(of, on="prediction_id", how="semi")
    return STREAM.effective(known)


def _label(position: int, row: Mapping[str, Any], now_us: Micros) -> Label:
    reported = ReportedRow(row, "label", position, "prediction_id, value and at_us")
    return Label(reported.prediction_id(), reported.value(), reported.at_us(now_us))
