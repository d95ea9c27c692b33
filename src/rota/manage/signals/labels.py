"""Labels: the truth about predictions, arriving late, repeated or corrected, joined to the prediction log by prediction id.

As predictions, labels are acknowledged by a journal entry and moved to the table `labels/<endpoint>` afterwards. For one
prediction the label with the latest `at_us` counts, among equal ones the one received last.
"""

from collections.abc import Mapping, Sequence

import msgspec
import polars as pl

from rota.errors import Corrupt
from rota.manage.signals import prediction_log
from rota.manage.signals.journal_drain import drain
from rota.ports.journal import Journal
from rota.ports.tables import Tables
from rota.records.record import check_name
from rota.records.signal import Label
from rota.records.time import Micros

COLUMNS: Mapping[str, type[pl.DataType]] = {"prediction_id": pl.String, "value": pl.Float64, "at_us": pl.Int64, "received_us": pl.Int64}
_Entry = tuple[Micros, tuple[Label, ...]]
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Entry)


def append(journal: Journal, endpoint: str, labels: Sequence[Label], received_us: Micros, *, sync: bool = False) -> None:
    """Acknowledge labels; on return they survive kill -9. An id that no prediction has is kept: its prediction may still be on the way."""
    journal.append(_name(endpoint), [_encoder.encode((received_us, labels))], sync=sync)


def flush(journal: Journal, tables: Tables, endpoint: str) -> int:
    """Move acknowledged labels into the endpoint's table, each entry once, and return the number of rows moved."""
    return drain(journal, tables, _name(endpoint), _frame)


def read(tables: Tables, endpoint: str, *, known_until_us: Micros | None = None, of: pl.LazyFrame | None = None) -> pl.DataFrame:
    """The label that counts of each prediction (of the ids in `of`, or of all), out of those known at `known_until_us` (default: out of all)."""
    return _read(tables, endpoint, known_until_us, of=of).collect()


def joined(tables: Tables, endpoint: str, start_us: Micros, end_us: Micros, *, known_until_us: Micros, features: bool = True) -> pl.DataFrame:
    """Predictions of [start_us, end_us) with their `label` and `label_at_us`, null where no label was known at `known_until_us`.

    Rows, order and columns of the predictions are those of `predictions.read`.
    """
    rows = prediction_log.read(tables, endpoint, start_us, end_us, features=features)
    asked = rows.lazy().select("prediction_id").unique()
    labels = _read(tables, endpoint, known_until_us, of=asked).select("prediction_id", label="value", label_at_us="at_us")
    return rows.lazy().join(labels, on="prediction_id", how="left", maintain_order="left").collect()


def _name(endpoint: str) -> str:
    return f"labels/{check_name('endpoint', endpoint)}"


def _read(tables: Tables, endpoint: str, known_until_us: Micros | None, *, of: pl.LazyFrame | None = None) -> pl.LazyFrame:
    """The labels that count, of every prediction or (before anything is sorted) only of those in `of`."""
    name = _name(endpoint)
    rows = pl.LazyFrame(schema=COLUMNS) if tables.version(name) is None else tables.scan(name)
    known = rows if known_until_us is None else rows.filter(pl.col("at_us") <= known_until_us)
    if of is not None:
        known = known.join(of, on="prediction_id", how="semi")
    return known.sort("at_us", "received_us", "value").unique("prediction_id", keep="last", maintain_order=True)


def _frame(payloads: Sequence[bytes]) -> pl.DataFrame:
    try:
        entries = [_decoder.decode(payload) for payload in payloads]
    except msgspec.DecodeError as error:
        raise Corrupt(f"an entry of the label journal cannot be read: {error}") from error
    rows = [(label.prediction_id, label.value, label.at_us, received_us) for received_us, labels in entries for label in labels]
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")
