"""The files of one table, in a directory or in a bucket: written whole, listed with their ages, synced where a power cut matters.

The name of a data file in a directory holds the CRC-32 of its bytes, so that damage is found wherever the file is used.
"""

import re
import uuid
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rota.durable_files import make_directories, put_in_place, sync_directory, sync_file
from rota.records.time import Micros

WRITING = ".writing-"
"""What the name of a data file begins with until it is whole."""
DAMAGED = "_damaged"
"""The folder of a table into which damaged files are moved."""
_CHECKED = re.compile(r"part-([0-9a-f]{8})-[0-9a-f-]{36}\.zstd\.parquet")
_PIECE = 1_048_576


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file by its name within the table's folder; `written_us` is by the clock of whoever stores it."""

    name: str
    size_bytes: int
    written_us: Micros


class TableFolder(Protocol):
    """Where the files of one table lie; a name is a path within it."""

    scan_options: dict[str, Any] | None
    """What polars needs to read and write addresses of this folder."""

    def address(self, name: str) -> str:
        """What engines call a file that they read or write by themselves."""
        ...

    def store(self, write: Callable[[str], object]) -> tuple[str, int]:
        """Let an engine write a data file to the address it is given; the file's name and size, once it is whole and durable."""
        ...

    def damage(self, files: Mapping[str, int]) -> str:
        """What is wrong with the first of these data files (with their sizes in bytes) that is not what was stored; "" for none."""
        ...

    def read(self, name: str) -> bytes | None: ...

    def create(self, name: str, data: bytes) -> bool:
        """Store a file whole unless there is one, in one step and durably; whether it was stored."""
        ...

    def replace(self, name: str, data: bytes) -> None:
        """Store a file whole, in place of what was there."""
        ...

    def settle(self, names: Sequence[str]) -> None:
        """Return once files that an engine wrote would survive a power cut."""
        ...

    def files(self, within: str = "") -> list[StoredFile]:
        """The files directly within the folder, or within one of its folders."""
        ...

    def delete(self, names: Sequence[str]) -> None:
        """Delete files; a missing one is no error."""
        ...

    def set_aside(self, name: str) -> None:
        """Move a damaged file into the folder `_damaged`, where somebody may look at it."""
        ...


class LocalFolder:
    """A directory; with `sync` what it holds survives a power cut, without only kill -9.

    `checked` remembers which files were seen whole, by path and what tells a file from a changed one.
    """

    scan_options: dict[str, Any] | None = None

    def __init__(self, root: Path, checked: dict[str, tuple[int, int, int]], *, sync: bool) -> None:
        self._root = root
        self._checked = checked
        self._sync = sync

    def address(self, name: str) -> str:
        return str(self._root / name)

    def store(self, write: Callable[[str], object]) -> tuple[str, int]:
        number = uuid.uuid4()
        temporary = self._root / f"{WRITING}{number}"
        try:
            write(str(temporary))
            if self._sync:
                sync_file(temporary)
            name = f"part-{_crc(temporary):08x}-{number}.zstd.parquet"
            size = temporary.stat().st_size
            temporary.rename(self._root / name)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        if self._sync:
            sync_directory(self._root)
        return name, size

    def damage(self, files: Mapping[str, int]) -> str:
        for name, size in files.items():
            path = self._root / name
            try:
                seen = path.stat()
            except FileNotFoundError:
                return f"its file {path} is missing"
            if seen.st_size != size:
                return f"its file {path} has {seen.st_size} bytes and had {size}"
            stamp = (seen.st_ino, seen.st_mtime_ns, seen.st_size)
            found = _CHECKED.fullmatch(name)
            if found and self._checked.get(str(path)) != stamp:
                if _crc(path) != int(found[1], 16):
                    return f"the bytes of its file {path} are not those that were stored"
                self._checked[str(path)] = stamp
        return ""

    def read(self, name: str) -> bytes | None:
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None

    def create(self, name: str, data: bytes) -> bool:
        path = self._root / name
        make_directories(path.parent)
        return put_in_place(path, data, replace=False, sync=self._sync)

    def replace(self, name: str, data: bytes) -> None:
        put_in_place(self._root / name, data, replace=True, sync=self._sync)

    def settle(self, names: Sequence[str]) -> None:
        if self._sync:
            paths = [self._root / name for name in names]
            for path in paths:
                sync_file(path)
            for folder in dict.fromkeys(path.parent for path in paths):
                sync_directory(folder)

    def files(self, within: str = "") -> list[StoredFile]:
        folder, found = self._root / within, []
        if folder.is_dir():
            for path in folder.iterdir():
                try:
                    seen = path.stat()
                except FileNotFoundError:
                    continue
                if not path.is_dir():
                    found.append(StoredFile(path.relative_to(self._root).as_posix(), seen.st_size, seen.st_mtime_ns // 1_000))
        return found

    def delete(self, names: Sequence[str]) -> None:
        for name in names:
            path = self._root / name
            path.unlink(missing_ok=True)
            self._checked.pop(str(path), None)

    def set_aside(self, name: str) -> None:
        path = self._root / name
        target = self._root / DAMAGED / path.name
        make_directories(target.parent)
        path.replace(target)


def _crc(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            found = zlib.crc32(piece, found)
    return found
