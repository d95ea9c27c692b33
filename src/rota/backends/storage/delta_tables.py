"""Tables as Delta Lake tables, written and read lazily with polars, opened with deltalake, in a directory or in a bucket.

Every commit names the version it follows, and is put in place only where that version is still the newest. Where it is not,
the table is read again before the next try, so that a batch which has come in meanwhile is not stored a second time.
"""

import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, SchemaMismatchError, TableNotFoundError
from polars.exceptions import PolarsError

from rota.backends.shared.engine_panics import EnginePanicked, panics_caught
from rota.backends.shared.safe_names import check_path
from rota.backends.shared.table_frames import check_columns, check_frame
from rota.backends.storage import delta_commits, delta_damage
from rota.backends.storage.delta_commits import COMMIT_ID, Row, scalar_type
from rota.backends.storage.delta_compaction import compact
from rota.backends.storage.delta_places import Directory, Life, Place
from rota.backends.storage.delta_vacuum import Changes, Vacuum, readable
from rota.errors import Corrupt, InvalidInput, NotFound, Unavailable
from rota.records.time import Micros

_COMMIT_TRIES = 100
_AFTER_COMMIT = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)
_EXISTS = "A table already exists"


@dataclass(slots=True)
class _Known:
    """A table as it was read last: never written through, so that a scan of it stays what it was.

    `files`: sizes of its data files. `sequences`: those of writers that were asked for, which deltalake looks up on threads of its own.
    """

    life: Life
    delta: DeltaTable
    files: dict[str, int] | None = None
    sequences: dict[str, int] = field(default_factory=dict)


class DeltaTables:
    """Tables (port) below a directory or another place; other engines (Spark, DuckDB, pandas) may read the same tables.

    A batch's sequence is kept as a Delta application transaction, in the commit that holds its rows. Data files and commits are
    checked when a process uses them first. Columns are Int64, Float64, Float32,
    String, Boolean,
    lists of one of them, Binary and Decimal; a Delta table with others, with deletion vectors or with mapped column names is refused by name.
    """

    def __init__(self, place: Path | Place) -> None:
        self._place = Directory(place) if isinstance(place, Path) else place
        self._newest: dict[str, _Known] = {}
        self._commits_checked: dict[str, tuple[Life, int]] = {}
        self._changes: dict[str, dict[int, Changes]] = {}

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
        known = self._existing(table)
        if version is not None and version != known.delta.version():
            known = self._at_version(table, known, version)
        delta = known.delta
        self._check_files(table, known)
        stored = _stored_types(table, delta)
        frame = pl.scan_delta(delta, storage_options=self._place.scan_options)
        if columns is None:
            return frame
        check_columns(table, columns, stored)
        return frame.select(columns)

    def version(self, table: str) -> int | None:
        known = self._read(table)
        return None if known is None else known.delta.version()

    def sequence(self, table: str, writer: str) -> int:
        known = self._read(table)
        if known is None:
            return -1
        if writer not in known.sequences:
            known.sequences[writer] = _sequence(known.delta, writer)
        return known.sequences[writer]

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
                        self._check_files(table, _Known(life, delta))
                        compact(delta, self._place.folder(life))
                except CommitFailedError:
                    continue
                except (Corrupt, Unavailable):
                    if self._place.life(table) == life:
                        raise
                    continue
                return self._existing(table).delta.version()
            else:
                raise _overtaken(table)
        return self._existing(table).delta.version()  # it was dropped meanwhile: not found, or new and small

    def vacuum(self, table: str, *, keep: Collection[int] = (), before_us: Micros) -> int:
        if self._read(table) is None:
            return 0
        with self._place.errors(f"vacuuming table {table!r}"), self._place.turn(table):
            life = self._place.life(table)
            delta = self._open(table, life)
            if delta is None or not delta_commits.is_plain(delta):
                return 0

            def at(version: int) -> DeltaTable:
                return delta if version == delta.version() else DeltaTable(life.uri, version=version, storage_options=_options(self._place))

            with self._delta_errors(table):
                return Vacuum(delta, self._place.folder(life), at, self._changes.setdefault(life.uri, {})).run(keep, before_us)

    def drop(self, table: str) -> None:
        check_path("table", table)
        self._newest.pop(table, None)
        self._changes.pop(self._place.life(table).uri, None)
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
        version = 0 if delta is None else delta.version() + 1
        try:
            with self._delta_errors(table):
                if delta is not None and not delta_commits.is_plain(delta):
                    _write_foreign(delta, rows, batch, commit_id)
                    return delta.version()
                if not self._commit(life, version, delta, rows, batch, commit_id):
                    return self._version_of(table, life, commit_id)
                if delta is not None:
                    delta.update_incremental()
                    if delta.version() == version:
                        delta_commits.checkpoint(delta, self._place.folder(life), version)
                    self._newest[table] = _Known(life, delta)
        except CommitFailedError:
            return self._version_of(table, life, commit_id)
        return version

    def _commit(self, life: Life, version: int, delta: DeltaTable | None, rows: pl.DataFrame, batch: tuple[str, int] | None, commit_id: str) -> bool:
        """Write the rows and put the commit that names them in place; False where that version is taken."""
        folder = self._place.folder(life)
        actions: list[Row] = [delta_commits.information("WRITE", **{COMMIT_ID: commit_id})]
        actions += delta_commits.creation(rows) if delta is None else delta_commits.widening(delta, rows)
        actions += [delta_commits.sequence_of(batch)] if batch else []
        return delta_commits.put(folder, version, actions + delta_commits.written(folder, rows))

    def _version_of(self, table: str, life: Life, commit_id: str) -> int | None:
        """A refused commit may be there all the same: its first request was carried out, the answer lost, the second refused."""
        delta = self._open(table, life)
        if delta is not None:
            for commit in delta.history(_COMMIT_TRIES):
                if commit.get(COMMIT_ID) == commit_id:
                    return int(commit["version"])
        return None

    def _open(self, table: str, life: Life) -> DeltaTable | None:
        if life.token is None:
            return None
        try:
            with self._delta_errors(table):
                delta = delta_damage.opened(self._place.folder(life), lambda: DeltaTable(life.uri, storage_options=_options(self._place)))
                self._check_commits(table, life, delta)
        except TableNotFoundError:
            return None
        _check_features(table, delta)
        return delta

    def _check_commits(self, table: str, life: Life, delta: DeltaTable) -> None:
        """Commits are checked once by each process: a flipped byte could let an engine pass over a file without a word."""
        newest = delta.version()
        checked = self._commits_checked.get(table)
        first = checked[1] + 1 if checked is not None and checked[0] == life else newest - newest % delta_commits.CHECKPOINT_EVERY
        for version in range(max(first, 0), newest + 1):
            delta_commits.read(self._place.folder(life), version)
        self._commits_checked[table] = (life, newest)

    def _read(self, table: str) -> _Known | None:
        """The newest version for reading: the one read last, unless the log has the next version's commit by now, or no longer its own."""
        check_path("table", table)
        with self._place.errors(f"reading table {table!r}"):
            life = self._place.life(table)
            known = self._newest.get(table)
            if known is not None and known.life == life and self._is_newest(known):
                return known
            try:
                delta = self._open(table, life)
            except (Corrupt, Unavailable):
                if self._place.life(table) == life:
                    raise
                return self._read(table)  # it was dropped while it was being opened
        if delta is None:
            return None
        known = self._newest[table] = _Known(life, delta)
        return known

    def _is_newest(self, known: _Known) -> bool:
        version = known.delta.version()
        return not self._place.has_commit(known.life, version + 1) and self._place.has_commit(known.life, version)

    def _existing(self, table: str) -> _Known:
        known = self._read(table)
        if known is None:
            raise NotFound(f"there is no table {table!r} in {self._place}; append to it first, or see tables()", table=table)
        return known

    def _at_version(self, table: str, newest: _Known, version: int) -> _Known:
        if not 0 <= version < newest.delta.version():
            raise NotFound(f"table {table!r} has no version {version}; its newest is {newest.delta.version()}", table=table, version=version)
        with self._place.errors(f"reading table {table!r}"), self._delta_errors(table):
            there = readable(self._place.folder(newest.life))
            if version not in there:
                message = f"version {version} of table {table!r} was given up by housekeeping; every version from {there.since} on can be read"
                raise NotFound(message, table=table, version=version)
            return _Known(newest.life, DeltaTable(newest.delta.table_uri, version=version, storage_options=_options(self._place)))

    def _check_files(self, table: str, known: _Known) -> None:
        if known.files is None:
            found = pl.DataFrame(known.delta.get_add_actions())
            known.files = dict(zip(found["path"].to_list(), found["size_bytes"].to_list(), strict=True))
        with self._place.errors(f"reading table {table!r}"):
            wrong = self._place.folder(known.life).damage(known.files)
        if wrong:
            message = f"table {table!r} is damaged: {wrong}; restore that file from a backup, or drop the table if its rows can be had again"
            raise Corrupt(message, table=table)

    @contextmanager
    def _delta_errors(self, table: str) -> Iterator[None]:
        """Translate what the engines raise, apart from the two that steer this module."""
        try:
            with panics_caught():
                yield
        except (CommitFailedError, TableNotFoundError):
            raise
        except SchemaMismatchError as error:
            raise InvalidInput(f"the rows do not fit table {table!r}: {error}", table=table) from error
        except DeltaError as error:
            if _EXISTS in str(error):
                raise CommitFailedError(str(error)) from error
            raise self._place.failed(table, error) from error
        except (OSError, PolarsError, EnginePanicked) as error:
            raise self._place.failed(table, error) from error


def _write_foreign(delta: DeltaTable, rows: pl.DataFrame, batch: tuple[str, int] | None, commit_id: str) -> None:
    """Append to a table whose rules deltalake's writer keeps."""
    write_deltalake(
        delta,
        rows,
        mode="append",
        schema_mode="merge",
        commit_properties=CommitProperties(
            app_transactions=[Transaction(*batch)] if batch else None, max_commit_retries=0, custom_metadata={COMMIT_ID: commit_id}
        ),
        post_commithook_properties=_AFTER_COMMIT,
    )


def _options(place: Place) -> dict[str, str] | None:
    """A dictionary of its own for each call: deltalake writes into what it is given."""
    return None if place.options is None else dict(place.options)


def _overtaken(table: str) -> Unavailable:
    return Unavailable(f"table {table!r}: {_COMMIT_TRIES} commits in a row met another writer's; retry later", table=table)


def _sequence(delta: DeltaTable, writer: str) -> int:
    found = delta.transaction_version(writer)
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
    for column in delta.schema().fields:
        element = getattr(column.type, "element_type", None)
        scalar = scalar_type(getattr(column.type if element is None else element, "type", ""))
        type_ = scalar if scalar is None or element is None else pl.List(scalar)
        if type_ is None:
            raise InvalidInput(f"column {column.name!r} of table {table!r} has the Delta type {column.type}, which Rota does not store", table=table)
        types[column.name] = type_
    return types
