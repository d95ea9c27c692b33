"""Nouns of backups: one that was or is being made, as the platform knows it, and the manifest that a backup place keeps of it."""

from collections.abc import Mapping
from typing import Any, Literal

from rota.records.record import Record
from rota.records.time import Micros

FORMAT = 1
"""Version of the manifest. To change it: raise it, and let `manage.backup.manifests` read the older ones."""
METADATA, BLOBS, TABLES, JOURNAL, SPOOL, HOME = "metadata/", "blobs/", "tables/", "log/", "spool/", "home/"
"""How the paths of files in a backup begin."""
BackupState = Literal["running", "complete", "failed"]


class Backup(Record, frozen=True):
    """A backup of this platform. While one is running and `needed_until_us` is not over, no file that was there at its moment may be removed.

    Moments are the machine's, also where the platform follows a replayed clock. `moment_us` is when what it holds was true.
    """

    id: str
    place: str
    began_us: Micros
    actor: str
    state: BackupState = "running"
    needed_until_us: Micros = 0
    moment_us: Micros | None = None
    ended_us: Micros | None = None
    size_bytes: int = 0
    copied_bytes: int = 0
    error: str = ""

    def needs_files(self, now_us: Micros) -> bool:
        """Whether files of the platform have to stay for it."""
        return self.state == "running" and now_us < self.needed_until_us


class BackedFile(Record, frozen=True, array_like=True):
    """A file of a backup: `size` bytes of the object `object` from `offset` on, with the SHA-256 `digest`.

    `stamp` told the file from a changed one when it was read; "" where its path does not say that it never changes.
    """

    path: str
    size: int
    digest: str
    object: str
    offset: int = 0
    stamp: str = ""


class BackupManifest(Record, frozen=True):
    """What a backup holds. `settings` are the values in force, without secrets; `faults` what the platform itself lacked or had damaged."""

    format: int
    id: str
    rota: str
    schema: int
    host: str
    home: str
    actor: str
    began_us: Micros
    moment_us: Micros
    ended_us: Micros
    engines: Mapping[str, str]
    settings: Mapping[str, Any]
    key: str
    """A fingerprint of the key that signs pickled models, "" where there is none."""
    tables: Mapping[str, int]
    """The version of each table."""
    rows: Mapping[str, int]
    """Rows of each table of the metadata."""
    left_out: tuple[str, ...]
    faults: tuple[str, ...]
    objects: Mapping[str, int]
    """The bytes of each object that its files lie in, by the SHA-256 of the object."""
    files: tuple[BackedFile, ...]

    @property
    def size_bytes(self) -> int:
        """The bytes of everything in it, each file counted."""
        return sum(file.size for file in self.files)
