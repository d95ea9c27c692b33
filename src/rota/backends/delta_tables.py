"""Tables as Delta Lake directories ROOT/<table>, written with deltalake and read lazily with polars.

Writers of one table take turns by a file lock. deltalake 1.6 needs that: two processes that create one table at once, or
compact it at once, both succeed and the rows are then there twice. Readers take no lock: a version is immutable.
"""

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import polars as pl
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, SchemaMismatchError, TableNotFoundError

from rota.backends.disk_errors import disk_errors
from rota.backends.safe_names import check_path
from rota.backends.table_frames import check_columns, check_frame
from rota.errors import InvalidInput, NotFound, Unavailable

_LOG = "_delta_log"
_LOCK = "_rota.lock"
_COMMIT_TRIES = 5
_CONFIGURATION = {
    # A checkpoint each 20 commits keeps opening a table at some 5 ms; without one it grew to 100 ms in 300 commits.
    "delta.checkpointInterval": "20",
    # Versions stay readable for ever: datasets and model versions name them.
    "delta.enableExpiredLogCleanup": "false",
}
_TYPES: dict[str, pl.DataType] = {"long": pl.Int64(), "double": pl.Float64(), "string": pl.String(), "boolean": pl.Boolean()}
_AFTER_COMMIT = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)


class DeltaTables:
    """Tables (port) on a local file system; other engines (Spark, DuckDB, pandas) may read the same directories.

    A batch's sequence is kept as a Delta application transaction, in the commit that holds its rows. `compact` never
    vacuums. Columns are Int64, Float64, String and Boolean; a Delta table with others is refused by name.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._newest: dict[str, DeltaTable] = {}  # never written through, so that a scan of it stays what it was
        with disk_errors("opening the tables", self._root):
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def append(self, table: str, rows: pl.DataFrame, *, batch: tuple[str, int] | None = None) -> int:
        path = self._path(table)
        check_frame(table, rows, {})
        with disk_errors(f"appending {rows.height} rows to table {table!r}", self._root):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _only_writer(path):
                return self._append_once(table, rows, batch)

    def scan(self, table: str, *, version: int | None = None, columns: Sequence[str] | None = None) -> pl.LazyFrame:
        delta = self._existing(table)
        if version is not None and version != delta.version():
            delta = _at_version(table, delta, version)
        stored = _stored_types(table, delta)
        if columns is None:
            return pl.scan_delta(delta)
        check_columns(table, columns, stored)
        return pl.scan_delta(delta).select(columns)

    def version(self, table: str) -> int | None:
        delta = self._read(table)
        return None if delta is None else delta.version()

    def sequence(self, table: str, writer: str) -> int:
        return _sequence(self._read(table), writer)

    def compact(self, table: str) -> int:
        path = self._path(table)
        self._existing(table)
        with disk_errors(f"compacting table {table!r}", self._root), _only_writer(path):
            delta = self._open(table)
            assert delta is not None
            with _delta_errors(table):
                delta.optimize.compact(post_commithook_properties=_AFTER_COMMIT)
            return self._existing(table).version()

    def drop(self, table: str) -> None:
        path = self._path(table)
        if not (path / _LOG).is_dir():
            return
        with disk_errors(f"dropping table {table!r}", self._root), _only_writer(path):
            self._newest.pop(table, None)
            # The log goes first, in one step: without it there is no table, whatever else a kill leaves lying about.
            gone = path / f"_dropped-{uuid.uuid4().hex}"
            with suppress(FileNotFoundError):
                (path / _LOG).rename(gone)
            for left in path.iterdir():
                if left.suffix == ".parquet":
                    left.unlink()
                elif left.name.startswith("_dropped-"):
                    shutil.rmtree(left)

    def tables(self, prefix: str = "") -> list[str]:
        found = []
        for folder, subfolders, _ in os.walk(self._root):
            if _LOG in subfolders and any((Path(folder) / _LOG).iterdir()):
                found.append(Path(folder).relative_to(self._root).as_posix())
            subfolders[:] = [name for name in subfolders if not name.startswith("_")]
        return sorted(name for name in found if name.startswith(prefix))

    def _append_once(self, table: str, rows: pl.DataFrame, batch: tuple[str, int] | None) -> int:
        """Commit the rows unless their batch is there; a conflict can only come from a writer that is not Rota."""
        for attempt in range(_COMMIT_TRIES):
            delta = self._open(table)
            if delta is not None and batch and batch[1] <= _sequence(delta, batch[0]):
                return delta.version()
            check_frame(table, rows, {} if delta is None else _stored_types(table, delta))
            try:
                with _delta_errors(table):
                    self._write(table, delta, rows, batch)
            except CommitFailedError as error:
                if attempt == _COMMIT_TRIES - 1:
                    raise Unavailable(f"table {table!r}: {_COMMIT_TRIES} commits in a row met another writer's; retry later", table=table) from error
            else:
                if delta is None:
                    return self._existing(table).version()
                self._newest[table] = delta  # it stands at its own commit now, and nothing is written through it again
                return delta.version()
        raise AssertionError("unreachable")

    def _write(self, table: str, delta: DeltaTable | None, rows: pl.DataFrame, batch: tuple[str, int] | None) -> None:
        write_deltalake(
            str(self._path(table)) if delta is None else delta,
            rows,
            mode="append",
            schema_mode=None if delta is None else "merge",
            configuration=_CONFIGURATION if delta is None else None,
            commit_properties=CommitProperties(app_transactions=[Transaction(*batch)] if batch else None, max_commit_retries=0),
            post_commithook_properties=_AFTER_COMMIT,
        )

    def _path(self, table: str) -> Path:
        return self._root / check_path("table", table)

    def _open(self, table: str) -> DeltaTable | None:
        path = self._path(table)
        if not (path / _LOG).is_dir():
            return None
        try:
            with _delta_errors(table):
                return DeltaTable(path)
        except TableNotFoundError:
            return None

    def _read(self, table: str) -> DeltaTable | None:
        """The newest version for reading: the one read last, unless the log has the next version's commit by now."""
        known, log = self._newest.get(table), self._path(table) / _LOG
        if known is not None and (log / f"{known.version():020d}.json").exists() and not (log / f"{known.version() + 1:020d}.json").exists():
            return known
        delta = self._open(table)
        if delta is not None:
            self._newest[table] = delta
        return delta

    def _existing(self, table: str) -> DeltaTable:
        delta = self._read(table)
        if delta is None:
            raise NotFound(f"there is no table {table!r} in {self._root}; append to it first, or see tables()", table=table)
        return delta


@contextmanager
def _only_writer(path: Path) -> Iterator[None]:
    """Wait for the table's writer lock; a killed holder gives it back."""
    descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _delta_errors(table: str) -> Iterator[None]:
    """Translate what deltalake raises, apart from the two that steer this module."""
    try:
        yield
    except (CommitFailedError, TableNotFoundError):
        raise
    except SchemaMismatchError as error:
        raise InvalidInput(f"the rows do not fit table {table!r}: {error}", table=table) from error
    except (DeltaError, OSError) as error:
        raise Unavailable(
            f"table {table!r}: the Delta engine failed: {error}; check the disk's free space and the table's files", table=table
        ) from error


def _at_version(table: str, newest: DeltaTable, version: int) -> DeltaTable:
    if not 0 <= version < newest.version():
        raise NotFound(f"table {table!r} has no version {version}; its newest is {newest.version()}", table=table, version=version)
    with _delta_errors(table):
        return DeltaTable(newest.table_uri, version=version)


def _sequence(delta: DeltaTable | None, writer: str) -> int:
    found = None if delta is None else delta.transaction_version(writer)
    return -1 if found is None else found


def _stored_types(table: str, delta: DeltaTable) -> dict[str, pl.DataType]:
    types = {}
    for field in delta.schema().fields:
        type_ = _TYPES.get(getattr(field.type, "type", ""))
        if type_ is None:
            raise InvalidInput(f"column {field.name!r} of table {table!r} has the Delta type {field.type}, which Rota does not store", table=table)
        types[field.name] = type_
    return types
