"""Backup: where backups are kept, and the files and rows of a platform as they stand at one moment."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to be backed up. `size_bytes` is what is expected, `read` gives its bytes, `digest` is their SHA-256 where it is known (then
    `read` checks it).

    A file of a path and stamp that were seen before holds what it held then; without a stamp it is always read.
    """

    path: str
    size_bytes: int
    read: Callable[[], Iterator[bytes]]
    digest: str = ""
    stamp: str = ""


class BackupPlace(Protocol):
    """A place that holds backups: objects named by the SHA-256 of their bytes, and a manifest for each backup.

    Law: `write` stores an object whole or not at all and returns (digest, size); writing what is there is harmless. `read` gives `size`
    bytes from `offset` on, `NotFound` where there is no such object, fewer bytes where it is shorter. `finish` puts a manifest in place in
    one step, after everything written before is on stable storage: a backup that was killed has none. `ids` are those of the manifests, in
    order. `turn` holds back other writers where the place can do so (`Refused` when another one is at work). Thread-safe.
    """

    def turn(self) -> AbstractContextManager[None]: ...

    def objects(self) -> dict[str, int]:
        """The objects there are, with their sizes."""
        ...

    def write(self, chunks: Iterable[bytes], *, digest: str = "") -> tuple[str, int]: ...

    def read(self, digest: str, offset: int, size: int) -> Iterator[bytes]: ...

    def discard(self, digest: str) -> None: ...

    def ids(self) -> list[str]: ...

    def manifest(self, id: str) -> bytes: ...

    def finish(self, id: str, manifest: bytes) -> None: ...

    def forget(self, id: str) -> None:
        """Remove a manifest."""
        ...


class TableFiles(Protocol):
    """The files of the tables of a platform.

    Law: `standing` gives a context in which writers of tables are held back, at the latest after some contexts in which they were at work, and
    `versions` the newest version of each table: equal before and after something else was read, they belong to it. `files` gives the log up to
    a version, and the data files that it and the versions before it name, as far as they are there; and the names of files that the version
    needs and that are gone. `write` puts a file of a table into a platform that is being restored.
    """

    def standing(self) -> AbstractContextManager[None]: ...

    def versions(self) -> dict[str, int]: ...

    def files(self, table: str, version: int) -> tuple[list[SourceFile], list[str]]: ...

    def write(self, table: str, path: str, chunks: Iterable[bytes]) -> None: ...


class MetadataSnapshot(Protocol):
    """The metadata store as it stood at one moment, until it is closed.

    `schema` is the number of its layout. `parts` gives (name of a SQL table, some of its rows as Parquet), each table at least once; a table to which
    rows were only added gives the same parts as before and new ones. `counts` are complete when the parts were read.
    """

    @property
    def schema(self) -> int: ...

    @property
    def counts(self) -> Mapping[str, int]: ...

    def parts(self) -> Iterator[tuple[str, bytes]]: ...

    def close(self) -> None: ...


class HomeFiles(Protocol):
    """The files of a home that lie in no other repository.

    `journal` gives the segments of the journal as they are now, readable also after they were dropped. `others` gives secrets, keys and
    the replayed clock; `left_out` names what is not to be backed up.
    """

    def journal(self) -> list[SourceFile]: ...

    def others(self) -> list[SourceFile]: ...

    def left_out(self) -> list[str]: ...

    def write(self, path: str, chunks: Iterable[bytes]) -> None: ...
