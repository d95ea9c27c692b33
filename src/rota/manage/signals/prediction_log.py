"""The prediction log: what each endpoint answered, with the features the model saw.

A prediction process appends one journal entry for each batch of requests before it answers them; `flush` moves entries into
the table `predictions/<endpoint>`, where monitoring, the judge of rollouts and lineage read them. Rows of the table:
`COLUMNS`, then one column for each feature: Float64 for numbers, bools and timestamps, String for texts, List(Float64) for lists of
numbers, Decimal and Binary for what is that. An answer lies in the columns that
`typed_values` says. `missing` is JSON, or "" where
every stored feature had a value; it is null in rows of before it was kept. `group`, the name of the rows that a row was ranked together with, and
`routed_by`, what sent a row past the weights, are columns of a table from the first row on that has one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
import polars as pl

from rota.errors import Corrupt, NotFound
from rota.manage.signals import typed_values
from rota.manage.signals.signal_stream import SignalStream, TableSchema
from rota.manage.signals.typed_values import ValueColumns
from rota.ports.journal import Journal
from rota.ports.tables import Tables
from rota.records.signal import Prediction
from rota.records.time import Micros

COLUMNS: Mapping[str, type[pl.DataType] | pl.DataType] = {
    "prediction_id": pl.String,
    "at_us": pl.Int64,
    "day": pl.String,
    "model": pl.String,
    "number": pl.Int64,
    "role": pl.String,
    "revision": pl.Int64,
    "unit": pl.String,
    **typed_values.columns("answer"),
    "latency_us": pl.Int64,
    "error": pl.String,
    "request": pl.String,
    "missing": pl.String,
    "group": pl.String,
    "routed_by": pl.String,
}
FORMAT, NUMBERS = 2, 1
"""Versions of a journal entry; one whose answers are numbers is written, and read by older releases, as the version before.

To change it: raise it, and let `_decoded` read the old form until every journal is drained."""


_ANSWER = typed_values.columns("answer")
_NOTES = ("group", "routed_by")
"""Columns that a table has from the first row on that has a value of theirs."""


class _LoggedRow(msgspec.Struct, array_like=True, frozen=True):
    prediction_id: str
    at_us: Micros
    model: str
    number: int
    role: str
    revision: int
    unit: str
    answer: Any
    latency_us: int
    error: str
    request: str
    names: int
    features: tuple[Any, ...]


class _NotedRow(_LoggedRow, array_like=True, frozen=True):
    """Features without a value, the group, what routed it: most rows have none of these, and keep the form that earlier releases read."""

    missing: str = ""
    group: str = ""
    routed_by: str = ""


class _LogEntry(msgspec.Struct, array_like=True, frozen=True):
    """`names` holds each distinct list of feature names once; a row refers to its list by position."""

    format: int
    names: tuple[tuple[str, ...], ...]
    rows: tuple[_NotedRow, ...]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_LogEntry, ext_hook=lambda _, digits: Decimal(str(digits, "ascii")))
_DECIMAL = 1
"""The code of a decimal in MessagePack: its digits as ASCII, which no other value is."""
_json = msgspec.json.Encoder()
_FORMS: Mapping[type, str] = {str: "string", list: "list", bytes: "bytes", Decimal: "decimal"}
"""What a value is logged as that is no number."""
_DTYPES: Mapping[str, pl.DataType] = {"float": pl.Float64(), "string": pl.String(), "list": pl.List(pl.Float64()), "bytes": pl.Binary()}


class _LogCodec:
    """An entry holds the predictions of one batch of requests, their feature names once."""

    def encode(self, signals: Sequence[Prediction], _received_us: Micros) -> bytes:
        names: dict[tuple[str, ...], int] = {}
        format_ = NUMBERS if all(p.answer is None or type(p.answer) is float for p in signals) else FORMAT
        rows = [
            (
                p.prediction_id,
                p.at_us,
                p.model,
                p.number,
                p.role,
                p.revision,
                p.unit,
                p.answer if format_ == NUMBERS else typed_values.bounded(p.answer),
                p.latency_us,
                p.error,
                _json.encode(p.request).decode(),
                names.setdefault(tuple(p.features), len(names)),
                _cells(p.features.values()),
                *_notes(p),
            )
            for p in signals
        ]
        return _encoder.encode((format_, tuple(names), rows))

    def frame(self, payloads: Sequence[bytes], stored_schema: Callable[[], TableSchema]) -> pl.DataFrame:
        entries = [_decoded(payload) for payload in payloads]
        rows = [row for entry in entries for row in entry.rows]
        plain = {name: kind for name, kind in COLUMNS.items() if name != "day" and name not in _ANSWER}
        fixed = {name: [getattr(row, name) for row in rows] for name in plain}
        fixed |= {name: [note or None for note in fixed[name]] for name in _NOTES}
        day = pl.from_epoch("at_us", "us").dt.strftime("%Y-%m-%d").alias("day")
        frame = pl.DataFrame(fixed, schema=plain).with_columns(day).hstack(typed_values.frame("answer", [row.answer for row in rows]))
        known = typed_values.without_unused(frame.select(list(COLUMNS)), [*list(_ANSWER)[1:], *_NOTES])
        return known.hstack(_feature_columns(entries, len(rows), stored_schema()))


STREAM = SignalStream(
    "predictions",
    COLUMNS,
    _LogCodec(),
    identity=("prediction_id", pl.col("role") == "shadow", pl.col("error") != ""),
    order=("at_us", "revision", "number", "latency_us"),
    keep="first",
)
flush, flush_all, first_rows = STREAM.flush, STREAM.flush_all, STREAM.effective


def append(journal: Journal, endpoint: str, predictions: Sequence[Prediction], *, sync: bool = False) -> None:
    """Log predictions in one journal entry; on return they survive kill -9 (with `sync`, a power cut). Raises `Unavailable` when it cannot."""
    STREAM.append(journal, endpoint, predictions, 0, sync=sync)  # each row has its own `at_us`


def read(tables: Tables, endpoint: str, start_us: Micros, end_us: Micros, *, features: bool = True) -> pl.DataFrame:
    """The log rows with start_us <= at_us < end_us, oldest first, each prediction once.

    A client may ask twice with one prediction id; the first row wins. A prediction has at most one answered and one failed
    row (a canary that failed and the stable model that answered instead), and the same again for a shadow. A feature
    that was null ever since has no column yet; one whose type changed has its newer type in the column "<feature>:<type>".
    """
    rows = STREAM.scan(tables, endpoint, None if features else list(COLUMNS))
    return first_rows(rows.filter((pl.col("at_us") >= start_us) & (pl.col("at_us") < end_us))).collect()


def with_features(rows: pl.DataFrame, names: Iterable[str]) -> pl.DataFrame:
    """Rows of the log with a column for each feature that was asked for: one that was null in every row so far has none of its own yet."""
    return rows.with_columns(pl.lit(None).alias(name) for name in names if name not in rows.columns)


def find(tables: Tables, prediction_id: str, *, endpoint: str = "") -> Prediction | None:
    """The prediction as its caller got it, in one endpoint's log or (endpoint "") in all; a failed one only if none was answered."""
    for name in [STREAM.table(endpoint)] if endpoint else tables.tables(f"{STREAM.folder}/"):
        try:
            rows = tables.scan(name).filter((pl.col("prediction_id") == prediction_id) & (pl.col("role") != "shadow")).pipe(first_rows).collect()
        except NotFound:
            continue
        if not rows.is_empty():
            return _prediction(name, rows.sort(pl.col("error") != "", maintain_order=True).row(0, named=True))
    return None


def acknowledged(journal: Journal, tables: Tables, prediction_id: str) -> Prediction | None:
    """`find`, also for a prediction that was answered a moment ago: what the journal holds is flushed before it counts as unknown."""
    found = find(tables, prediction_id)
    if found is None and flush_all(journal, tables):
        found = find(tables, prediction_id)
    return found


def covered(tables: Tables, endpoint: str) -> tuple[Micros, Micros]:
    """The first and the last moment in an endpoint's log; (0, -1) while it is empty."""
    moments = STREAM.scan(tables, endpoint, ["at_us"]).select(pl.col("at_us").min(), pl.col("at_us").max().alias("last"))
    first, last = moments.collect().row(0)
    return (0, -1) if first is None else (int(first), int(last))


@dataclass(frozen=True, slots=True)
class VersionPredictions:
    """How many predictions a version made at an endpoint, from when to when, and the ids of the first ones."""

    count: int
    first_us: Micros = 0
    last_us: Micros = 0
    examples: tuple[str, ...] = ()


def of_version(tables: Tables, endpoint: str, number: int, *, examples: int = 5) -> VersionPredictions:
    """The predictions that a version answered, without those it only mirrored."""
    rows = STREAM.scan(tables, endpoint, ["prediction_id", "at_us", "number", "role"])
    once = rows.filter((pl.col("number") == number) & (pl.col("role") != "shadow")).group_by("prediction_id").agg(pl.col("at_us").min())
    counted = once.select(pl.len(), pl.col("at_us").min(), pl.col("at_us").max().alias("last")).collect().row(0)
    if not counted[0]:
        return VersionPredictions(0)
    first = once.sort("at_us", "prediction_id").head(examples).collect()["prediction_id"].to_list()
    return VersionPredictions(counted[0], counted[1], counted[2], tuple(first))


def answers(tables: Tables, endpoint: str, start_us: Micros, end_us: Micros) -> pl.LazyFrame:
    """The predictions of [start_us, end_us), each once as its caller got it: prediction_id and number; a failed one counts for who failed."""
    rows = STREAM.scan(tables, endpoint, ["prediction_id", "at_us", "number", "role", "error"])
    answered = rows.filter((pl.col("role") != "shadow") & (pl.col("at_us") >= start_us) & (pl.col("at_us") < end_us))
    return answered.sort(pl.col("error") != "", "at_us").select("prediction_id", "number").unique("prediction_id", keep="first")


def ids(tables: Tables, endpoint: str) -> pl.LazyFrame:
    """The prediction ids of an endpoint's log, some of them repeatedly."""
    return STREAM.scan(tables, endpoint, ["prediction_id"])


def _notes(prediction: Prediction) -> tuple[str, ...]:
    """The notes of a row, up to the last that there is."""
    missing = _json.encode(prediction.missing).decode() if prediction.missing else ""
    if prediction.routed_by:
        return missing, prediction.group, prediction.routed_by
    return (missing, prediction.group) if prediction.group else (missing,) if missing else ()


def _cells(values: Iterable[Any]) -> tuple[Any, ...]:
    """Values as they are encoded."""
    cells = tuple(values)
    if Decimal not in set(map(type, cells)):
        return cells
    return tuple([msgspec.msgpack.Ext(_DECIMAL, str(cell).encode()) if isinstance(cell, Decimal) else cell for cell in cells])


def _decoded(payload: bytes) -> _LogEntry:
    try:
        entry = _decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise Corrupt(f"an entry of the prediction log cannot be read: {error}") from error
    if entry.format not in (NUMBERS, FORMAT):
        raise Corrupt(
            f"an entry of the prediction log has format {entry.format}, this version reads up to {FORMAT}; flush it with the version that wrote it"
        )
    return entry


def _feature_columns(entries: Sequence[_LogEntry], height: int, schema: TableSchema) -> list[pl.Series]:
    columns: dict[tuple[str, str], list[Any]] = {}
    for names, places, rows in _by_names(entries):
        for name, values in zip(names, zip(*rows, strict=True), strict=True):
            found = {_FORMS.get(kind, "float") for kind in set(map(type, values)) - {type(None)}}
            for form in found:
                read = _of_form(form, values, alone=len(found) == 1)
                _fill(columns.setdefault((name, form), [None] * height), places, read)
    made: list[pl.Series] = []
    taken = dict(schema)
    for name, form in sorted(columns, key=lambda column: column[1] != "float"):  # a number keeps the feature's own name
        dtype = _dtype(form, columns[name, form])
        column = pl.Series(_column(name, form, dtype, taken), columns[name, form], dtype)
        taken[column.name] = column.dtype
        made.append(column)
    return made


def _of_form(form: str, values: Sequence[Any], *, alone: bool) -> Sequence[Any]:
    if form == "float":
        return [None if value is None or type(value) in _FORMS else float(value) for value in values]
    return values if alone else [value if _FORMS.get(type(value)) == form else None for value in values]


def _dtype(form: str, values: Sequence[Any]) -> pl.DataType:
    if form == "decimal":
        return pl.Decimal(38, max(-int(value.as_tuple().exponent) for value in values if value is not None))
    return _DTYPES[form]


def _by_names(entries: Sequence[_LogEntry]) -> Iterator[tuple[tuple[str, ...], list[int], list[tuple[Any, ...]]]]:
    """Rows of equal feature names together, with their places in the frame: a column at a time is four times as fast as a cell."""
    groups: dict[tuple[str, ...], tuple[list[int], list[tuple[Any, ...]]]] = {}
    for place, (names, row) in enumerate((entry.names[row.names], row) for entry in entries for row in entry.rows):
        places, rows = groups.setdefault(names, ([], []))
        places.append(place)
        rows.append(row.features)
    return ((names, places, rows) for names, (places, rows) in groups.items())


def _fill(column: list[Any], places: Sequence[int], values: Sequence[Any]) -> None:
    for place, value in zip(places, values, strict=True):
        column[place] = value


def _column(name: str, form: str, dtype: pl.DataType, schema: TableSchema) -> str:
    """A feature may change its type from one model version to the next; the log goes on under a name of its own."""
    return name if schema.get(name, dtype) == dtype else f"{name}:{form}"


def _prediction(table: str, row: dict[str, Any]) -> Prediction:
    answer = typed_values.joined(ValueColumns(*(row.pop(name, None) for name in _ANSWER)))
    fixed = {name: row.pop(name, None) for name in COLUMNS if name not in _ANSWER}
    fixed["group"] = fixed["group"] or ""
    fixed.pop("day")
    fixed["routed_by"] = fixed["routed_by"] or ""
    request = msgspec.json.decode(fixed.pop("request"))
    missing = msgspec.json.decode(fixed.pop("missing") or "{}")
    return Prediction(endpoint=table.removeprefix(f"{STREAM.folder}/"), request=request, features=row, answer=answer, missing=missing, **fixed)
