"""What lies in a home beside its stores: the journal, the secrets and keys, the replayed clock."""

import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from rota.backends.shared.disk_errors import disk_errors
from rota.ports.backup import SourceFile
from rota.records.backup import HOME, JOURNAL

STORES = frozenset({"metadata.db", "metadata.db-wal", "metadata.db-shm", "blobs", "tables", "log", "spool"})
"""What a backup takes from the stores themselves."""
REBUILT = {
    "online": "feature rows for serving, brought online again from the tables",
    "releases": "unpacked projects, unpacked again from the blobs",
    "environments": "environments of reproduced runs, made again",
}
"""Folders of a home that are derived from others."""
_PASSING = (".json", ".log", ".lock", ".sock", ".pid", ".new")
_LARGEST = 16_000_000
_PIECE = 1_048_576


class HomeDirectory:
    """HomeFiles (port): HOME/log, and every other file of the home that is neither a store nor of a running process only."""

    def __init__(self, home: Path) -> None:
        self._home = home.resolve()

    def journal(self) -> list[SourceFile]:
        """Of each segment, the bytes that it has now; files are open from now on, so they can be read when they are dropped."""
        with disk_errors("reading the journal", self._home):
            found = (_opened(path) for path in sorted((self._home / "log").rglob("*")))
            return [SourceFile(JOURNAL + held.path.relative_to(self._home / "log").as_posix(), held.size, held.read) for held in found if held]

    def others(self) -> list[SourceFile]:
        with disk_errors("reading the home", self._home):
            return [
                SourceFile(f"{HOME}{path.name}", path.stat().st_size, partial(_whole, path))
                for path in self._entries()
                if path.is_file() and not path.is_symlink() and not _is_passing(path) and path.stat().st_size <= _LARGEST
            ]

    def left_out(self) -> list[str]:
        """Folders that are rebuilt, and what is not known, with why."""
        with disk_errors("reading the home", self._home):
            taken = {file.path.removeprefix(HOME) for file in self.others()}
            rest = [path for path in self._entries() if path.name not in taken and not _is_passing(path)]
            return [f"{path.name}: {REBUILT.get(path.name, 'not a part of a platform')}" for path in rest]

    def write(self, path: str, chunks: Iterable[bytes]) -> None:
        target = self._home / path
        with disk_errors(f"restoring {path}", self._home):
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.writelines(chunks)

    def _entries(self) -> list[Path]:
        return sorted(path for path in self._home.iterdir() if path.name not in STORES and not path.name.startswith("metadata.db."))


class _Held:
    """An open file and how many bytes it had."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self._descriptor = path, descriptor
        self.size = os.fstat(descriptor).st_size

    def read(self) -> Iterator[bytes]:
        at = 0
        while at < self.size and (piece := os.pread(self._descriptor, min(_PIECE, self.size - at), at)):
            yield piece
            at += len(piece)

    def __del__(self) -> None:
        os.close(self._descriptor)


def _opened(path: Path) -> _Held | None:
    if path.is_dir():
        return None
    try:
        return _Held(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except FileNotFoundError:
        return None  # dropped since it was listed, so what it held is in a table


def _is_passing(path: Path) -> bool:
    return path.name.startswith(".") or path.suffix in _PASSING


def _whole(path: Path) -> Iterator[bytes]:
    yield path.read_bytes()
