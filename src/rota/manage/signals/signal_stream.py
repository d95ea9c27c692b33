"""Signal streams: predictions, labels and business outcomes on their way from a journal entry to the rows that count.

Whoever reports a signal is answered once a journal entry holds it; `flush` moves entries into the endpoint's table, each once;
readers de-duplicate the rows of one identity. The prediction log, labels and business outcomes each declare one `SignalStream`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, Literal, Protocol, TypeVar

import msgspec
import polars as pl

from rota.errors import Corrupt, InvalidInput
from rota.manage.signals import typed_values
from rota.manage.signals.exactly_once import drain
from rota.ports.journal import Journal
from rota.ports.tables import Tables
from rota.records.record import Record, check_name
from rota.records.time import Micros

S = TypeVar("S")
S_contra = TypeVar("S_contra", contravariant=True)
R = TypeVar("R", bound=Record)
Columns = Mapping[str, type[pl.DataType] | pl.DataType]
TableSchema = Mapping[str, pl.DataType]
_encode = msgspec.msgpack.Encoder().encode


def mappings(rows: object, noun: str) -> Sequence[Mapping[str, Any]]:
    """Rows as somebody reported them; raises `InvalidInput` naming the first that is no mapping of names to values."""
    if not isinstance(rows, Sequence) or isinstance(rows, str | bytes):
        raise InvalidInput(f"{noun}s are a list of rows, each a dict, not {type(rows).__name__}")
    for position, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InvalidInput(f"{noun} {position} is {type(row).__name__}, not a dict of names and values", position=position)
    return rows


class EntryCodec(Protocol[S_contra]):
    """The stored form of a stream: signals as one journal entry, and journal entries as rows of its table."""

    def encode(self, signals: Sequence[S_contra], received_us: Micros, /) -> bytes: ...

    def frame(self, payloads: Sequence[bytes], stored_schema: Callable[[], TableSchema], /) -> pl.DataFrame:
        """The rows of entries; `stored_schema` looks up the table's columns so far. Raises `Corrupt` for bytes that are no entry."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class SignalStream(Generic[S]):
    """One kind of signal: a journal stream and a table `<folder>/<endpoint>`, and which rows count.

    Of the rows that are equal in `identity` (columns or expressions over them), the `keep` one in the order of the columns
    `order` counts; rows that are equal there too keep the order in which they were stored.
    """

    folder: str
    columns: Columns
    codec: EntryCodec[S]
    identity: tuple[str | pl.Expr, ...]
    order: tuple[str, ...]
    keep: Literal["first", "last"]
    unplaced: str = ""
    """The name of the stream and table for the endpoint "", where signals may come without one."""

    def table(self, endpoint: str) -> str:
        """The name of an endpoint's stream and table; raises `InvalidInput` for a name that is not safe."""
        return self.unplaced if self.unplaced and not endpoint else _table(self.folder, endpoint)

    def append(self, journal: Journal, endpoint: str, signals: Sequence[S], received_us: Micros, *, sync: bool = False) -> None:
        """Acknowledge signals in one journal entry; on return they survive kill -9 (with `sync`, a power cut).

        A signal about a prediction that is unknown is kept: the prediction may still be on its way. Raises `Unavailable` when
        the journal cannot be written.
        """
        journal.append(self.table(endpoint), [self.codec.encode(signals, received_us)], sync=sync)

    def flush(self, journal: Journal, tables: Tables, endpoint: str) -> int:
        """Move acknowledged entries into the endpoint's table, each once; returns the number of rows moved."""
        name = self.table(endpoint)

        def stored_schema() -> TableSchema:
            return {} if tables.version(name) is None else tables.scan(name).collect_schema()

        return drain(journal, tables, name, lambda payloads: self.codec.frame(payloads, stored_schema))

    def flush_all(self, journal: Journal, tables: Tables) -> int:
        """`flush` every endpoint that has entries in the journal; returns the number of rows moved.

        Whoever reads tables calls it first: what was acknowledged a moment ago is then there.
        """
        return sum(self.flush(journal, tables, endpoint) for endpoint in self.endpoints(journal))

    def endpoints(self, journal: Journal) -> list[str]:
        """The endpoints that have entries in the journal."""
        names = sorted(name for name in journal.streams() if name == self.unplaced or name.startswith(f"{self.folder}/"))
        return ["" if name == self.unplaced else name.removeprefix(f"{self.folder}/") for name in names]

    def scan(self, tables: Tables, endpoint: str, columns: Sequence[str] | None = None) -> pl.LazyFrame:
        """Every stored row of an endpoint, repetitions included; no rows (of `columns`) where nothing was stored yet."""
        name = self.table(endpoint)
        if tables.version(name) is None:
            return pl.LazyFrame(schema={column: self.columns[column] for column in columns or self.columns})
        there = set(tables.scan(name).collect_schema().names())  # a column that came later is null in a table of before
        lacking = [pl.lit(None, dtype=self.columns[column]).alias(column) for column in columns or self.columns if column not in there]
        if columns is None:
            return tables.scan(name).with_columns(lacking)
        if not lacking:
            return tables.scan(name, columns=columns)
        return tables.scan(name, columns=[column for column in columns if column in there]).with_columns(lacking).select(columns)

    def effective(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """The rows that count, one for each identity, in the order of `order`."""
        return rows.sort(self.order, maintain_order=True).unique(list(self.identity), keep=self.keep, maintain_order=True)


class ReceivedEntries(Generic[R]):
    """An entry is (received_us, records): reports that came in one request. A row is a record's fields and `received_us`.

    The columns of a field named in `typed` are those of `typed_values`. A table has an `optional` column from the first row on in which the
    field has another value than its default; before, and in other rows, it is null.
    """

    def __init__(self, record: type[R], columns: Columns, *, noun: str, typed: str = "", optional: tuple[str, ...] = ()) -> None:
        self._columns = columns
        self._noun = noun
        self._typed = typed
        self._optional = optional
        fields = dict(zip(record.__struct_fields__[::-1], record.__struct_defaults__[::-1], strict=False))
        self._defaults = {name: fields[name] for name in optional}
        self._decoder = msgspec.msgpack.Decoder(tuple[Micros, tuple[record, ...]])  # type: ignore[valid-type]

    def encode(self, signals: Sequence[R], received_us: Micros) -> bytes:
        return _encode((received_us, signals))

    def frame(self, payloads: Sequence[bytes], _stored_schema: Callable[[], TableSchema]) -> pl.DataFrame:
        try:
            entries = [self._decoder.decode(payload) for payload in payloads]
        except msgspec.DecodeError as error:
            raise Corrupt(f"an entry of the {self._noun} journal cannot be read: {error}") from error
        rows = [{**msgspec.structs.asdict(record), "received_us": received_us} for received_us, records in entries for record in records]
        if not self._typed:
            return pl.DataFrame(rows, schema=self._columns, orient="row")
        for row in rows:
            row.update({name: None for name, default in self._defaults.items() if row[name] == default})
        values = typed_values.frame(self._typed, [row.pop(self._typed) for row in rows])
        others = {name: kind for name, kind in self._columns.items() if name not in values.columns}
        whole = pl.DataFrame(rows, schema=others, orient="row").hstack(values).select(list(self._columns))
        return typed_values.without_unused(whole, [*values.columns[1:], *self._optional])


@lru_cache(maxsize=4_096)
def _table(folder: str, endpoint: str) -> str:
    return f"{folder}/{check_name('endpoint', endpoint)}"
