"""Labels: the truth about predictions, arriving late, repeated or corrected, joined to the prediction log by prediction id.

For one prediction the label with the latest `at_us` counts, among equal ones the one received last. A label is known from the moment
at which it was received, whatever it is dated: who asks what was known at a moment gets the labels received by then.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from rota.manage.signals import prediction_log, typed_values
from rota.manage.signals.reported_values import ReportedRow
from rota.manage.signals.signal_stream import ReceivedEntries, SignalStream, mappings
from rota.ports.tables import Tables
from rota.records.signal import Label
from rota.records.time import Micros

COLUMNS: Mapping[str, type[pl.DataType] | pl.DataType] = {
    "prediction_id": pl.String,
    **typed_values.columns("value"),
    "at_us": pl.Int64,
    "weight": pl.Float64,
    "withdrawn": pl.Boolean,
    "received_us": pl.Int64,
}
JOINED = {name.replace("value", "label", 1): name for name in typed_values.columns("value")} | {"label_at_us": "at_us", "label_weight": "weight"}
"""How the columns of a label are called beside its prediction."""
STREAM = SignalStream(
    "labels",
    COLUMNS,
    ReceivedEntries(Label, COLUMNS, noun="label", typed="value", optional=("weight", "withdrawn")),
    identity=("prediction_id",),
    order=("at_us", "received_us", "value"),
    keep="last",
)
append, flush = STREAM.append, STREAM.flush


def from_rows(rows: Sequence[Mapping[str, Any]], now_us: Micros) -> list[Label]:
    """Rows with `prediction_id`, `value` and `at_us` or `at` (a time in any form; default: now) as labels; raises `InvalidInput` naming
    the row, all or none. A row may have `weight`, and `withdrawn` in the place of `value`. Whether a value fits its problem is not looked at."""
    return [_label(position, row, now_us) for position, row in enumerate(mappings(rows, "label"))]


def read(tables: Tables, endpoint: str, *, known_until_us: Micros | None = None, of: pl.LazyFrame | None = None) -> pl.DataFrame:
    """The label that counts of each prediction (of the ids in `of`, or of all), out of those received by `known_until_us` (default: out of all).

    Where `of` has a column `known_until_us`, each prediction is asked about at its own moment.
    """
    return _read(tables, endpoint, known_until_us, of=of)


def joined(tables: Tables, endpoint: str, start_us: Micros, end_us: Micros, *, known_until_us: Micros, features: bool = True) -> pl.DataFrame:
    """Predictions of [start_us, end_us) with their label (columns JOINED), null where none had been received by `known_until_us`.

    `label_at_us` is null exactly where there is no label. Rows, order and columns of the predictions are those of `prediction_log.read`.
    """
    rows = prediction_log.read(tables, endpoint, start_us, end_us, features=features)
    asked = rows.lazy().select("prediction_id").unique()
    labels = _read(tables, endpoint, known_until_us, of=asked).select("prediction_id", **{name: pl.col(own) for name, own in JOINED.items()})
    return rows.join(labels, on="prediction_id", how="left", maintain_order="left")


def _read(tables: Tables, endpoint: str, known_until_us: Micros | None, *, of: pl.LazyFrame | None = None) -> pl.DataFrame:
    """The labels that count, of every prediction or (before anything is sorted) only of those in `of`."""
    rows = STREAM.scan(tables, endpoint)
    known = rows if known_until_us is None else rows.filter(pl.col("received_us") <= known_until_us)
    if of is not None and "known_until_us" in of.collect_schema():
        moments = of.select("prediction_id", "known_until_us").unique()
        known = known.join(moments, on="prediction_id").filter(pl.col("received_us") <= pl.col("known_until_us")).drop("known_until_us")
    elif of is not None:
        known = known.join(of, on="prediction_id", how="semi")
    newest = STREAM.effective(known).collect()
    if newest["value_names"].null_count() < newest.height:
        newest = _completed(newest, known)
    return newest.filter(~pl.col("withdrawn").fill_null(False)).drop("withdrawn").with_columns(pl.col("weight").fill_null(1.0))


def _completed(newest: pl.DataFrame, known: pl.LazyFrame) -> pl.DataFrame:
    """Labels that name some outputs, with what earlier ones said of the others; a withdrawn label is forgotten with all before it."""
    parts = known.filter(pl.col("value_names").is_not_null() | pl.col("withdrawn")).sort(STREAM.order, maintain_order=True)
    since = pl.col("withdrawn").fill_null(False).cast(pl.Int64).cum_sum().over("prediction_id")
    parts = parts.with_columns(since.alias("since")).filter(pl.col("since") == pl.col("since").max().over("prediction_id"))
    each = (
        parts.filter(pl.col("value_names").is_not_null())
        .select("prediction_id", "value_names", "value_values")
        .explode("value_names", "value_values")
    )
    last = each.unique(["prediction_id", "value_names"], keep="last", maintain_order=True)
    whole = last.group_by("prediction_id", maintain_order=True).agg("value_names", "value_values").collect()
    named = newest.filter(pl.col("value_names").is_not_null()).drop("value_names", "value_values")
    filled = named.join(whole, on="prediction_id", how="left", maintain_order="left").select(newest.columns)
    return pl.concat([newest.filter(pl.col("value_names").is_null()), filled])


def _label(position: int, row: Mapping[str, Any], now_us: Micros) -> Label:
    reported = ReportedRow(row, "label", position, "prediction_id, value and at_us")
    if row.get("withdrawn"):
        return Label(reported.prediction_id(), None, reported.at_us(now_us), withdrawn=True)
    weight = reported.weight() if "weight" in row else 1.0
    return Label(reported.prediction_id(), reported.any_value(), reported.at_us(now_us), weight)
