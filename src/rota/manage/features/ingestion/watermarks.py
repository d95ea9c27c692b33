"""Inputs that are read incrementally by a watermark: databases, and the labelled predictions (outcomes) of an endpoint.

Both are read by ascending watermark. Rows with equal watermarks stay in one batch, so that "everything up to this watermark"
is complete.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec
import polars as pl
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from rota.errors import InvalidInput
from rota.manage.features.rows import column_conversion
from rota.manage.features.rows.column_conversion import Raw
from rota.manage.features.rows.file_readers import CHUNK_ROWS
from rota.manage.features.rows.source_table import CREATED
from rota.manage.features.rows.value_columns import column_of
from rota.manage.signals import labels, prediction_log
from rota.ports.inputs import Databases, WatermarkQuery
from rota.ports.journal import Journal
from rota.ports.tables import Tables
from rota.records.data import Source
from rota.records.intake import Rejection

WATERMARK = "_watermark"
OUTCOMES = "outcomes:"
_OWN = ("prediction_id", "asked_at", "labelled_at", "value")
_LOGGED = ("model", "number", "role", "unit", "answer", "latency_us")
_TABLE = r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?"
_WRITES = (exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Create, exp.Drop, exp.Alter, exp.Into, exp.Command, exp.Lock, exp.Set, exp.Pragma)


@dataclass(frozen=True, slots=True)
class WatermarkRange:
    """A range of watermarks: typed rows with their WATERMARK (and, if the input knows it, their CREATED), and rejected rows by watermark."""

    rows: pl.DataFrame
    rejected: list[tuple[int, Rejection]]
    notices: Mapping[str, str] = field(default_factory=dict)

    @property
    def rejections(self) -> list[Rejection]:
        """The rejected rows."""
        return [rejection for _, rejection in self.rejected]

    @property
    def last(self) -> int | None:
        """The newest watermark of the range; None when it is empty."""
        newest = self.rows[WATERMARK].max()
        return max((watermark for watermark in (newest, *(watermark for watermark, _ in self.rejected)) if isinstance(watermark, int)), default=None)


Read = Callable[[int | None, int | None], Iterator[WatermarkRange]]
"""Reads the rows with since <= watermark <= until; an end that is None is open."""


@dataclass(frozen=True, slots=True)
class IncrementalInput:
    """An input that is read by its watermark: the name of its intake, what people see, and how it is read."""

    writer: str
    origin: str
    read: Read


def is_outcomes(source: Source) -> bool:
    """Whether a source is filled by the labelled predictions of an endpoint (path "outcomes:ENDPOINT")."""
    return source.path is not None and source.path.startswith(OUTCOMES)


def watermark(source: Source) -> str:
    """The column by which a database is read incrementally; `InvalidInput` unless it is an int or a timestamp."""
    name = source.watermark or source.created_field or source.timestamp_field
    if source.fields[name] not in ("int", "timestamp"):
        raise InvalidInput(
            f"source {source.name!r}: the watermark {name!r} is {source.fields[name]}; it must be int or timestamp", source=source.name
        )
    return name


def check(source: Source) -> None:
    """Refuse a database that could not be read, or that would be asked for more than reading. For registration too."""
    if source.url is None or source.query is None:
        return
    scheme = source.url.partition(":")[0].partition("+")[0]
    if scheme not in ("sqlite", "postgresql") and not source.url.startswith("${"):
        raise InvalidInput(
            f"source {source.name!r}: databases of kind {scheme!r} are not read; give a sqlite:/// or postgresql:// URL", source=source.name
        )
    address = source.url.partition("://")[2].rpartition("@")[0]
    if ":" in address and not address.partition(":")[2].startswith("${"):
        raise InvalidInput(
            f"source {source.name!r}: its URL holds a password, which would be stored; write ${{NAME}} in its place and set that variable",
            source=source.name,
        )
    watermark(source)
    _check_query(source.name, source.query, "postgres" if scheme == "postgresql" else "sqlite")


def database(databases: Databases, source: Source) -> IncrementalInput:
    """The database of a source, read by its watermark column."""
    check(source)
    assert source.url is not None
    assert source.query is not None
    url, query, column = source.url, source.query, watermark(source)
    identity = hashlib.sha256(repr((url, query, column)).encode()).hexdigest()[:16]

    def read(since: int | None, until: int | None) -> Iterator[WatermarkRange]:
        question = WatermarkQuery(url, query, column, source.fields[column], since, until)
        before = 0
        for batch in databases.batches(question, rows=CHUNK_ROWS):
            watermarks = column_conversion.converted(batch[column], source.fields[column], shown(url))
            yield _range(batch, watermarks, source, shown(url), before)
            before += batch.height

    return IncrementalInput(f"database/{identity}", shown(url), lambda since, until: together(read(since, until)))


def outcomes(tables: Tables, journal: Journal, source: Source) -> IncrementalInput:
    """Labelled predictions of an endpoint; the watermark is when a label was received, which is also when the row is created."""
    endpoint = (source.path or "").removeprefix(OUTCOMES)

    def read(since: int | None, until: int | None) -> Iterator[WatermarkRange]:
        prediction_log.flush(journal, tables, endpoint)
        labels.flush(journal, tables, endpoint)
        before = 0
        for reported in _reported(tables, endpoint, since, until):
            raw = _as_asked(tables, endpoint, source, reported)
            found = _range(raw, raw[WATERMARK], source, source.path or "", before)
            before += raw.height
            yield WatermarkRange(found.rows.with_columns(pl.col(WATERMARK).alias(CREATED)), found.rejected)

    return IncrementalInput(f"outcomes/{endpoint}", source.path or "", lambda since, until: together(read(since, until)))


def shown(url: str) -> str:
    """A database's URL for people: what the environment fills in is not in it, a password never is."""
    head, at, tail = url.rpartition("@")
    return f"{head.rpartition(':')[0] if ':' in head.partition('://')[2] else head}{at}{tail}".partition("?")[0]


def together(ranges: Iterator[WatermarkRange]) -> Iterator[WatermarkRange]:
    """The same rows, with equal watermarks in one range: what has the newest watermark so far is held back until a newer one comes."""
    held: WatermarkRange | None = None
    for each in ranges:
        whole = each if held is None else WatermarkRange(pl.concat([held.rows, each.rows]), held.rejected + each.rejected, each.notices)
        last = whole.last
        held = WatermarkRange(whole.rows.filter(pl.col(WATERMARK) == last), [each for each in whole.rejected if each[0] == last])
        yield WatermarkRange(whole.rows.filter(pl.col(WATERMARK) != last), [each for each in whole.rejected if each[0] != last], whole.notices)
    if held is not None:
        yield held


def _range(batch: pl.DataFrame, watermarks: pl.Series, source: Source, origin: str, before: int) -> WatermarkRange:
    """A batch in the source's types. A row whose watermark cannot be read goes with the rows around it."""
    watermarks = watermarks.fill_null(strategy="forward").fill_null(strategy="backward").fill_null(0)
    found = column_conversion.typed(Raw(batch), source, origin, before=before)
    placed = found.rows.with_columns(watermarks.gather(found.positions - before - 1).alias(WATERMARK))
    return WatermarkRange(placed, [(watermarks[each.row - before - 1], each) for each in found.rejections], found.notices)


def _check_query(source: str, query: str, dialect: str) -> None:
    text = query.strip()
    if exp.to_identifier(text) is not None and pl.Series([text]).str.contains(f"^{_TABLE}$").item():
        return
    try:
        statements = sqlglot.parse(text, read=dialect)
    except (SqlglotError, RecursionError, ValueError) as error:
        raise InvalidInput(f"source {source!r}: its query cannot be read: {str(error).partition(chr(10))[0]}", source=source) from error
    found = [statement for statement in statements if statement is not None]
    if len(found) != 1 or not isinstance(found[0], exp.Query) or found[0].find(*_WRITES):
        raise InvalidInput(f"source {source!r}: its query must be a table's name or one SELECT that only reads, not {query!r:.200}", source=source)


def _reported(tables: Tables, endpoint: str, since: int | None, until: int | None) -> Iterator[pl.DataFrame]:
    """Ids whose label was received in the range, with the newest receipt of each, by ascending receipt."""
    name = f"labels/{endpoint}"
    if tables.version(name) is None:
        return
    found = tables.scan(name, columns=["prediction_id", "received_us"])
    bounds = [pl.col("received_us") >= since] if since is not None else []
    bounds += [pl.col("received_us") <= until] if until is not None else []
    found = found.filter(*bounds) if bounds else found
    newest = found.group_by("prediction_id").agg(pl.col("received_us").max().alias(WATERMARK)).sort(WATERMARK, "prediction_id").collect()
    for start in range(0, newest.height, CHUNK_ROWS):
        yield newest[start : start + CHUNK_ROWS]


def _as_asked(tables: Tables, endpoint: str, source: Source, reported: pl.DataFrame) -> pl.DataFrame:
    """The answered predictions of the reported ids, each with the label that counts; ids without a prediction are left for later."""
    name = f"predictions/{endpoint}"
    if tables.version(name) is None:
        return pl.DataFrame(schema={WATERMARK: pl.Int64})
    log = tables.scan(name)
    there = log.collect_schema().names()
    wanted = [field for field in source.fields if field not in _OWN and (field in _LOGGED or field in there)]
    asked = reported.lazy().select("prediction_id")
    answered = prediction_log.first_rows(
        log.join(asked, on="prediction_id", how="semi").filter((pl.col("role") != "shadow") & (pl.col("error") == ""))
    )
    answered = answered.unique("prediction_id", keep="first", maintain_order=True).select("prediction_id", "request", *wanted, asked_at="at_us")
    known = reported.lazy().select("prediction_id", known_until_us=WATERMARK)  # a label that came since belongs to a later row
    counting = labels.read(tables, endpoint, of=known).select("prediction_id", "value", labelled_at="at_us")
    found = answered.join(counting.lazy(), on="prediction_id").join(reported.lazy(), on="prediction_id").sort(WATERMARK, "prediction_id").collect()
    requested = [field for field in source.fields if field not in (*_OWN, *wanted)]
    requests = [msgspec.json.decode(text) for text in found["request"].to_list()] if requested else []
    return found.drop("request").with_columns(column_of(field, [request.get(field) for request in requests]) for field in requested)
