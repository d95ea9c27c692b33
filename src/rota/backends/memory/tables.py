"""Tables in memory: the reference that says what every table store does."""

import threading
import time
from collections.abc import Collection, Sequence

import polars as pl

from rota.backends.shared.safe_names import check_path
from rota.backends.shared.table_frames import check_columns, check_frame
from rota.errors import NotFound
from rota.records.time import Micros


class MemoryTables:
    """Tables (port) of one process, gone with it. Every version is a frame of its own; polars shares their columns."""

    def __init__(self) -> None:
        self._versions: dict[str, list[pl.DataFrame]] = {}
        self._stored_us: dict[str, list[Micros]] = {}
        self._given_up: dict[str, set[int]] = {}
        self._sequences: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def append(self, table: str, rows: pl.DataFrame, *, batch: tuple[str, int] | None = None) -> int:
        with self._lock:
            versions = self._versions.get(check_path("table", table), [])
            if batch and batch[1] <= self._sequences.get((table, batch[0]), -1):
                return len(versions) - 1
            check_frame(table, rows, versions[-1].schema if versions else {})
            versions.append(pl.concat([versions[-1], rows], how="diagonal") if versions else rows.clone())
            self._versions[table] = versions
            self._stored_us.setdefault(table, []).append(time.time_ns() // 1_000)
            if batch:
                self._sequences[table, batch[0]] = batch[1]
            return len(versions) - 1

    def scan(self, table: str, *, version: int | None = None, columns: Sequence[str] | None = None) -> pl.LazyFrame:
        versions = self._versions.get(check_path("table", table))
        if versions is None:
            raise NotFound(f"there is no table {table!r}; append to it first, or see tables()", table=table)
        number = len(versions) - 1 if version is None else version
        if not 0 <= number < len(versions):
            raise NotFound(f"table {table!r} has no version {version}; its newest is {len(versions) - 1}", table=table, version=version)
        if number in self._given_up.get(table, ()):
            raise NotFound(f"version {number} of table {table!r} was given up by housekeeping", table=table, version=number)
        frame = versions[number]
        if columns is None:
            return frame.lazy()
        check_columns(table, columns, frame.schema)
        return frame.lazy().select(columns)

    def version(self, table: str) -> int | None:
        versions = self._versions.get(check_path("table", table))
        return None if versions is None else len(versions) - 1

    def sequence(self, table: str, writer: str) -> int:
        return self._sequences.get((check_path("table", table), writer), -1)

    def compact(self, table: str) -> int:
        version = self.version(table)
        if version is None:
            raise NotFound(f"there is no table {table!r} to compact; append to it first, or see tables()", table=table)
        return version

    def vacuum(self, table: str, *, keep: Collection[int] = (), before_us: Micros) -> int:
        with self._lock:
            versions = self._versions.get(check_path("table", table), [])
            since = max((number for number, at_us in enumerate(self._stored_us.get(table, ())) if at_us <= before_us), default=0)
            gone = {number for number in range(since) if number not in keep} | self._given_up.get(table, set())
            for number in gone:
                versions[number] = versions[-1].clear()
            self._given_up[table] = gone
        return 0

    def drop(self, table: str) -> None:
        with self._lock:
            self._versions.pop(check_path("table", table), None)
            self._stored_us.pop(table, None)
            self._given_up.pop(table, None)
            for key in [key for key in self._sequences if key[0] == table]:
                del self._sequences[key]

    def tables(self, prefix: str = "") -> list[str]:
        return sorted(name for name in list(self._versions) if name.startswith(prefix))
