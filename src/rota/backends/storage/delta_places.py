"""Where Delta tables lie, and what a place must offer so that writers of one table cannot hurt each other."""

import fcntl
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rota.backends.shared.disk_errors import disk_errors, unavailable_by_text
from rota.backends.storage.delta_commits import LOG, commit_name
from rota.backends.storage.table_folders import LocalFolder, TableFolder
from rota.durable_files import make_directories, sync_directory
from rota.errors import RotaError, Unavailable

TURN_S = 300.0
"""How long a writer waits for another one of the same table: longer than joining files of 100 MB takes on a slow disk."""
_COMMIT = re.compile(r"\d{20}\.(json|checkpoint\..*)")
"""A file that makes a log; one that a killed writer was about to put in place has another name."""
_LOCK = "_rota.lock"
_LOOK_S = 0.005


@dataclass(frozen=True, slots=True)
class Life:
    """A table from its creation until it is dropped; the next table of that name has another life, even at the same address."""

    uri: str
    token: object
    """What tells this life from others; None where there is certainly no table."""


class Place(Protocol):
    """A root below which tables lie, each at the address of its current life."""

    options: Mapping[str, str] | None
    """What deltalake needs to open addresses of this place."""
    scan_options: dict[str, Any] | None
    """What polars needs."""

    def turn(self, table: str) -> AbstractContextManager[object]:
        """Hold back the other writers that this place can hold back: the rest of a writer's safety is the commit itself."""
        ...

    def errors(self, doing: str) -> AbstractContextManager[None]:
        """Translate the place's own errors."""
        ...

    def failed(self, table: str, error: Exception) -> RotaError:
        """What to raise when deltalake failed with the table."""
        ...

    def life(self, table: str) -> Life:
        """The table's current life, be there a table or not."""
        ...

    def has_commit(self, life: Life, version: int) -> bool: ...

    def folder(self, life: Life) -> TableFolder:
        """The files of a life."""
        ...

    def drop(self, table: str) -> None:
        """End the table's life in one step, then remove what it held."""
        ...

    def tables(self) -> Iterator[str]: ...


class Directory:
    """Tables in directories ROOT/<table>; writers of one table take turns by a file lock, which a killed holder gives back.

    Without turns a vacuum would take the file that a writer is about to commit for one that a killed writer left. Readers take no lock.
    A writer waits up to `turn_s` seconds for the others. With `sync` a commit survives a power cut, without only kill -9.
    """

    options: Mapping[str, str] | None = None
    scan_options: dict[str, Any] | None = None

    def __init__(self, root: Path, *, sync: bool = False, turn_s: float = TURN_S) -> None:
        self._root = root.resolve()
        self._sync = sync
        self._turn_s = turn_s
        self._checked: dict[str, tuple[int, int, int]] = {}
        with disk_errors("opening the tables", self._root):
            make_directories(self._root)

    def __str__(self) -> str:
        return str(self._root)

    @contextmanager
    def turn(self, table: str) -> Iterator[None]:
        make_directories(self._root / table)
        path = self._root / table / _LOCK
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._wait(descriptor, table, path)
            yield
        finally:
            os.close(descriptor)

    def _wait(self, descriptor: int, table: str, path: Path) -> None:
        """Take the lock and leave this process's id in the file, for whoever waits in vain."""
        until = time.monotonic() + self._turn_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
                    message = f"table {table!r}: process {holder} has held {path} for {self._turn_s:g} s; end it if it hangs, or retry later"
                    raise Unavailable(message, table=table, path=str(path), holder=holder) from None
                time.sleep(_LOOK_S)
        with suppress(OSError):  # a full disk takes no number, and the lock holds without
            os.pwrite(descriptor, f"{os.getpid():<19}\n".encode(), 0)

    def errors(self, doing: str) -> AbstractContextManager[None]:
        return disk_errors(doing, self._root)

    def failed(self, table: str, error: BaseException) -> RotaError:
        return unavailable_by_text(error, f"work on table {table!r}", self._root)

    def life(self, table: str) -> Life:
        path = self._root / table
        try:
            first = (path / commit_name(0)).stat()
        except FileNotFoundError:
            return Life(str(path), "foreign" if (path / LOG).is_dir() else None)
        return Life(str(path), (first.st_ino, first.st_mtime_ns))

    def folder(self, life: Life) -> TableFolder:
        return LocalFolder(Path(life.uri), self._checked, sync=self._sync)

    def has_commit(self, life: Life, version: int) -> bool:
        return Path(life.uri, commit_name(version)).exists()

    def drop(self, table: str) -> None:
        path = self._root / table
        if not path.is_dir():
            return
        with self.turn(table):
            # The log goes first, in one step: without it there is no table, whatever else a kill leaves lying about.
            with suppress(FileNotFoundError):
                (path / LOG).rename(path / f"_dropped-{uuid.uuid4().hex}")
            if self._sync:
                sync_directory(path)
            for left in path.iterdir():
                if left.suffix == ".parquet":
                    left.unlink()
                elif left.name.startswith("_dropped-"):
                    shutil.rmtree(left)

    def tables(self) -> Iterator[str]:
        for folder, subfolders, _ in os.walk(self._root):
            if LOG in subfolders and any(_COMMIT.fullmatch(path.name) for path in Path(folder, LOG).iterdir()):
                yield Path(folder).relative_to(self._root).as_posix()
            subfolders[:] = [name for name in subfolders if not name.startswith("_")]
