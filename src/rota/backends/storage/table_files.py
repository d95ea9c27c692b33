"""The files that Delta tables consist of, in a directory: what a backup copies, and where a restore puts it.

Data files and commits are never changed. Copied are the commits and checkpoints up to a version, and every data file that lies there:
those of older versions too, which datasets name.
"""

import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from rota.backends.shared.disk_errors import disk_errors
from rota.backends.storage.delta_commits import LOG
from rota.backends.storage.delta_places import Directory, Place
from rota.errors import NotFound
from rota.ports.backup import SourceFile
from rota.records.backup import TABLES

_LOGGED = re.compile(r"(\d{20})\.(json|checkpoint\..*)")
KEPT = "_rota_kept.json"
"""A file of the log: which versions a vacuum has left readable."""
_COMMIT = re.compile(r"(\d{20})\.json")
_PIECE = 1_048_576


class DirectoryTableFiles:
    """TableFiles (port) below a directory. While it is standing, it has the turn of every table, so no other process commits."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._place = Directory(root)
        self._stood_ns = 0

    @contextmanager
    def standing(self) -> Iterator[None]:
        with disk_errors("holding the tables", self._root), ExitStack() as held:
            for table in sorted(self._place.tables()):
                held.enter_context(self._place.turn(table))
            self._stood_ns = time.time_ns()
            yield

    def versions(self) -> dict[str, int]:
        with disk_errors("listing the tables", self._root):
            found = {table: newest(path.name for path in (self._root / table / LOG).iterdir()) for table in self._place.tables()}
        return {table: version for table, version in found.items() if version is not None}

    def files(self, table: str, version: int) -> tuple[list[SourceFile], list[str]]:
        folder, live = self._root / table, live_files(self._place, table, version)
        found = {entry.name: entry for entry in os.scandir(folder) if entry.is_file() and entry.name.endswith(".parquet")}
        # What came after that moment and is not of the version belongs to a later one.
        kept = [entry for name, entry in found.items() if name in live or entry.stat().st_mtime_ns < self._stood_ns]
        logged = [entry for entry in os.scandir(folder / LOG) if belongs(entry.name, version)]
        files = [_source(table, folder, Path(entry.path), entry.stat()) for entry in (*logged, *kept)]
        return files, sorted(live - found.keys())

    def write(self, table: str, path: str, chunks: Iterable[bytes]) -> None:
        target = self._root / table / path
        with disk_errors(f"restoring {target.name} of table {table!r}", self._root):
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with target.open("xb") as file:
                file.writelines(chunks)


def newest(names: Iterable[str]) -> int | None:
    """The newest version that has a commit among these files of a log."""
    return max((int(match[1]) for name in names if (match := _COMMIT.fullmatch(name))), default=None)


def belongs(name: str, version: int) -> bool:
    """Whether a file of the log says something about a version: a later checkpoint would, of a later one."""
    match = _LOGGED.fullmatch(name)
    return name == KEPT or (match is not None and int(match[1]) <= version)


def live_files(place: Place, table: str, version: int) -> set[str]:
    """The data files of a version."""
    life = place.life(table)
    try:
        delta = DeltaTable(life.uri, version=version, storage_options=None if place.options is None else dict(place.options))
        return set(pl.DataFrame(delta.get_add_actions(flatten=True))["path"])
    except (DeltaError, OSError) as error:
        raise place.failed(table, error) from error


def _source(table: str, folder: Path, path: Path, found: os.stat_result) -> SourceFile:
    name = path.relative_to(folder).as_posix()
    stamp = "" if path.name == KEPT else str(found.st_mtime_ns)
    return SourceFile(f"{TABLES}{table}/{name}", found.st_size, partial(_pieces, path), stamp=stamp)


def _pieces(path: Path) -> Iterator[bytes]:
    with disk_errors(f"reading {path.name}", path.parent):
        try:
            file = path.open("rb", buffering=0)
        except FileNotFoundError:
            raise NotFound(f"{path} is gone", path=str(path)) from None
        with file:
            while piece := file.read(_PIECE):
                yield piece
