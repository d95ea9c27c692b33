"""Tables as Delta Lake tables, written with deltalake and read lazily with polars, in a directory or in a bucket.

Every commit names the version it follows, and is put in place only where that version is still the newest. Where it is not,
the table is read again before the next try, so that a batch which has come in meanwhile is not stored a second time.
"""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, SchemaMismatchError, TableNotFoundError

from rota.backends.shared.safe_names import check_path
from rota.backends.shared.table_frames import check_columns, check_frame
from rota.backends.storage.delta_places import AFTER_COMMIT, CONFIGURATION, Directory, Life, Place
from rota.errors import Corrupt, InvalidInput, NotFound, Unavailable

_COMMIT_TRIES = 100
_COMMIT_ID = "rota.commit"
_TYPES: dict[str, pl.DataType] = {
    "long": pl.Int64(), "double": pl.Float64(), "float": pl.Float32(), "string": pl.String(), "boolean": pl.Boolean(),
}  # fmt: skip
_EXISTS = "A table already exists"


class DeltaTables:
    """Tables (port) below a directory or another place; other engines (Spark, DuckDB, pandas) may read the same tables.

    A batch's sequence is kept as a Delta application transaction, in the commit that holds its rows. `compact` never
    vacuums. Columns are Int64, Float64, Float32, String and Boolean; a Delta table with others, with deletion vectors or with mapped
    column names is refused by name.
    """

    def __init__(self, place: Path | Place) -> None:
        self._place = Directory(place) if isinstance(place, Path) else place
        self._newest: dict[str, tuple[Life, DeltaTable]] = {}  # never written through, so that a scan of it stays what it was

    def append(self, table: str, rows: pl.DataFrame, *, batch: tuple[str, int] | None = None) -> int:
        check_path("table", table)
        check_frame(table, rows, {})
        commit_id = uuid.uuid4().hex
        with self._place.errors(f"appending {rows.height} rows to table {table!r}"), self._place.turn(table):
            for _ in range(_COMMIT_TRIES):
                life = self._place.life(table)
                try:
                    version = self._append_once(table, life, rows, batch, commit_id)
                except (Corrupt, Unavailable):
                    if self._place.life(table) == life:
                        raise
                    continue
                # Rows that went into a table which was dropped meanwhile belong into the next one of that name.
                if version is not None and self._place.life(table).uri == life.uri:
                    return version
        raise _overtaken(table)

    def scan(self, table: str, *, version: int | None = None, columns: Sequence[str] | None = None) -> pl.LazyFrame:
        delta = self._existing(table)
        if version is not None and version != delta.version():
            delta = self._at_version(table, delta, version)
        stored = _stored_types(table, delta)
        frame = pl.scan_delta(delta, storage_options=self._place.scan_options)
        if columns is None:
            return frame
        check_columns(table, columns, stored)
        return frame.select(columns)

    def version(self, table: str) -> int | None:
        delta = self._read(table)
        return None if delta is None else delta.version()

    def sequence(self, table: str, writer: str) -> int:
        return _sequence(self._read(table), writer)

    def compact(self, table: str) -> int:
        self._existing(table)
        with self._place.errors(f"compacting table {table!r}"), self._place.turn(table):
            for _ in range(_COMMIT_TRIES):
                life = self._place.life(table)
                delta = self._open(table, life)
                if delta is None:
                    break
                try:
                    with self._delta_errors(table):
                        self._place.compact(delta)
                except CommitFailedError:
                    continue
                except (Corrupt, Unavailable):
                    if self._place.life(table) == life:
                        raise
                    continue
                return self._existing(table).version()
            else:
                raise _overtaken(table)
        return self._existing(table).version()  # it was dropped meanwhile: not found, or new and small

    def drop(self, table: str) -> None:
        check_path("table", table)
        self._newest.pop(table, None)
        with self._place.errors(f"dropping table {table!r}"):
            self._place.drop(table)

    def tables(self, prefix: str = "") -> list[str]:
        with self._place.errors("listing the tables"):
            return sorted(name for name in self._place.tables() if name.startswith(prefix))

    def _append_once(self, table: str, life: Life, rows: pl.DataFrame, batch: tuple[str, int] | None, commit_id: str) -> int | None:
        """Commit the rows unless they or their batch are there; None where another writer was faster."""
        delta = self._open(table, life)
        if delta is not None and batch and batch[1] <= _sequence(delta, batch[0]):
            return delta.version()
        check_frame(table, rows, {} if delta is None else _stored_types(table, delta))
        try:
            with self._delta_errors(table):
                self._write(delta, life, rows, batch, commit_id)
        except CommitFailedError:
            return self._version_of(table, life, commit_id)
        if delta is None:
            return 0
        self._newest[table] = (life, delta)  # it stands at its own commit now, and nothing is written through it again
        return delta.version()

    def _write(self, delta: DeltaTable | None, life: Life, rows: pl.DataFrame, batch: tuple[str, int] | None, commit_id: str) -> None:
        write_deltalake(
            life.uri if delta is None else delta,
            rows,
            mode="error" if delta is None else "append",
            schema_mode=None if delta is None else "merge",
            configuration=CONFIGURATION if delta is None else None,
            storage_options=_options(self._place) if delta is None else None,
            commit_properties=CommitProperties(
                app_transactions=[Transaction(*batch)] if batch else None, max_commit_retries=0, custom_metadata={_COMMIT_ID: commit_id}
            ),
            post_commithook_properties=AFTER_COMMIT,
        )

    def _version_of(self, table: str, life: Life, commit_id: str) -> int | None:
        """A refused commit may be there all the same: its first request was carried out, the answer lost, the second refused."""
        delta = self._open(table, life)
        if delta is not None:
            for commit in delta.history(_COMMIT_TRIES):
                if commit.get(_COMMIT_ID) == commit_id:
                    return int(commit["version"])
        return None

    def _open(self, table: str, life: Life) -> DeltaTable | None:
        if life.token is None:
            return None
        try:
            with self._delta_errors(table):
                delta = DeltaTable(life.uri, storage_options=_options(self._place))
        except TableNotFoundError:
            return None
        _check_features(table, delta)
        return delta

    def _read(self, table: str) -> DeltaTable | None:
        """The newest version for reading: the one read last, unless the log has the next version's commit by now."""
        check_path("table", table)
        with self._place.errors(f"reading table {table!r}"):
            life = self._place.life(table)
            known = self._newest.get(table)
            if known is not None and known[0] == life and not self._place.has_commit(life, known[1].version() + 1):
                return known[1]
            try:
                delta = self._open(table, life)
            except (Corrupt, Unavailable):
                if self._place.life(table) == life:
                    raise
                return self._read(table)  # it was dropped while it was being opened
        if delta is not None:
            self._newest[table] = (life, delta)
        return delta

    def _existing(self, table: str) -> DeltaTable:
        delta = self._read(table)
        if delta is None:
            raise NotFound(f"there is no table {table!r} in {self._place}; append to it first, or see tables()", table=table)
        return delta

    def _at_version(self, table: str, newest: DeltaTable, version: int) -> DeltaTable:
        if not 0 <= version < newest.version():
            raise NotFound(f"table {table!r} has no version {version}; its newest is {newest.version()}", table=table, version=version)
        with self._delta_errors(table):
            return DeltaTable(newest.table_uri, version=version, storage_options=_options(self._place))

    @contextmanager
    def _delta_errors(self, table: str) -> Iterator[None]:
        """Translate what deltalake raises, apart from the two that steer this module."""
        try:
            yield
        except (CommitFailedError, TableNotFoundError):
            raise
        except SchemaMismatchError as error:
            raise InvalidInput(f"the rows do not fit table {table!r}: {error}", table=table) from error
        except DeltaError as error:
            if _EXISTS in str(error):
                raise CommitFailedError(str(error)) from error
            raise self._place.failed(table, error) from error
        except OSError as error:
            raise self._place.failed(table, error) from error


def _options(place: Place) -> dict[str, str] | None:
    """A dictionary of its own for each call: deltalake writes into what it is given."""
    return None if place.options is None else dict(place.options)


def _overtaken(table: str) -> Unavailable:
    return Unavailable(f"table {table!r}: {_COMMIT_TRIES} commits in a row met another writer's; retry later", table=table)


def _sequence(delta: DeltaTable | None, writer: str) -> int:
    found = None if delta is None else delta.transaction_version(writer)
    return -1 if found is None else found


def _check_features(table: str, delta: DeltaTable) -> None:
    """Rota reads the live files as they are; where their rows are not the table's rows, that would be wrong."""
    named = set(delta.protocol().reader_features or ()) & {"deletionVectors", "columnMapping"}
    if delta.metadata().configuration.get("delta.columnMapping.mode", "none") != "none":
        named.add("columnMapping")
    if named:
        raise InvalidInput(
            f"table {table!r} uses {sorted(named)}, which Rota does not read; rewrite it without them", table=table, features=sorted(named)
        )


def _stored_types(table: str, delta: DeltaTable) -> dict[str, pl.DataType]:
    types = {}
    for field in delta.schema().fields:
        type_ = _TYPES.get(getattr(field.type, "type", ""))
        if type_ is None:
            raise InvalidInput(f"column {field.name!r} of table {table!r} has the Delta type {field.type}, which Rota does not store", table=table)
        types[field.name] = type_
    return types
