"""Restore a backup into stores that hold nothing yet, and tell the platform that arises what it is.

Runs and rollouts stand where they stood at the backup's moment; nobody works on them, and they go on when the restored platform is
brought up. What the original did after that moment, the restored platform does not know.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import polars as pl

from rota.errors import Corrupt
from rota.manage.backup import manifests
from rota.manage.backup.copying import CopyProgress, Report
from rota.ports.backup import BackupPlace, HomeFiles, TableFiles
from rota.ports.blobs import Blobs
from rota.ports.metadata import Batch, Metadata
from rota.ports.runs import Runs
from rota.records.backup import BLOBS, HOME, JOURNAL, METADATA, SPOOL, TABLES, BackedFile, Backup, BackupManifest
from rota.records.record import Record
from rota.records.run import ENDED
from rota.records.time import Micros


@dataclass(frozen=True, slots=True)
class RestoreTarget:
    """The empty stores of a platform that is being restored. `load` makes the metadata store of (table, part) pairs in one transaction."""

    blobs: Blobs
    tables: TableFiles
    home: HomeFiles
    load: Callable[[int, Iterable[tuple[str, bytes]]], None]


class RestoreReport(Record, frozen=True):
    """What was restored, and what whoever brings it up has to know. `differing` are settings that were others: name -> (backup's, here)."""

    id: str
    place: str
    home: str
    moment_us: Micros
    files: int
    size_bytes: int
    open_runs: int
    spools: int
    differing: Mapping[str, tuple[Any, Any]]
    warnings: tuple[str, ...]
    left_out: tuple[str, ...]
    faults: tuple[str, ...]


def fill(target: RestoreTarget, place: BackupPlace, manifest: BackupManifest, *, report: Report = lambda _: None) -> None:
    """Put everything into the target's stores, the metadata last. Raises `Corrupt` for the first file that is not what was backed up."""
    done, total = 0, manifest.size_bytes
    parts = [file for file in manifest.files if file.path.startswith(METADATA)]
    for file in manifest.files:
        if not file.path.startswith(METADATA):
            _put(target, file, manifests.contents(place, file), manifest.tables)
            done += file.size
            report(CopyProgress(done, total, done))
    target.load(manifest.schema, _parts(place, parts))
    report(CopyProgress(total, total, total))


def introduce(metadata: Metadata, runs: Runs, place: BackupPlace, manifest: BackupManifest, *, actor: str, now_us: Micros) -> int:
    """Note in the audit log that this platform was restored, and from which moment; returns how many runs are open."""
    opened = sum(run.status not in ENDED for run in runs.find())
    batch = Batch()
    for backup in metadata.find(Backup, {"state": "running"}):
        state = "complete" if backup.id == manifest.id else "failed"
        ended = msgspec.structs.replace(backup, state=state, ended_us=manifest.ended_us, moment_us=manifest.moment_us)
        batch.put(ended, replacing=backup)
    facts = {"place": str(place), "moment_us": manifest.moment_us, "host": manifest.host, "home": manifest.home, "open_runs": opened}
    batch.audit(actor, "restore", f"backup:{manifest.id}", now_us, **facts)
    metadata.commit(batch)
    return opened


def source_names(place: BackupPlace, manifest: BackupManifest) -> list[str]:
    """The names of the sources that the backup holds."""
    parts = [file for file in manifest.files if file.path.startswith(f"{METADATA}source/")]
    return [name for _, part in _parts(place, parts) for name in pl.read_parquet(io.BytesIO(part), columns=["name"])["name"]]


def differing(manifest: BackupManifest, settings: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The settings that are others here than they were there, apart from the home."""
    names = sorted((manifest.settings.keys() | settings.keys()) - {"home"})
    found = {name: (manifest.settings.get(name), settings.get(name)) for name in names}
    return {name: values for name, values in found.items() if values[0] != values[1]}


def _put(target: RestoreTarget, file: BackedFile, data: Iterator[bytes], tables: Mapping[str, int]) -> None:
    path = file.path
    if path.startswith(BLOBS):
        stored, _ = target.blobs.put_stream(data)
        if stored != path.removeprefix(BLOBS):
            raise Corrupt(f"{path} of the backup holds the bytes of {stored}", path=path)
    elif path.startswith(TABLES):
        table, name = _table_of(path.removeprefix(TABLES), tables)
        target.tables.write(table, name, data)
    elif path.startswith(HOME):
        target.home.write(path.removeprefix(HOME), data)
    elif path.startswith((JOURNAL, SPOOL)):
        target.home.write(path, data)
    else:
        raise Corrupt(f"the backup holds {path!r}, and this Rota does not know what that is", path=path)


def _table_of(path: str, tables: Mapping[str, int]) -> tuple[str, str]:
    """The table of a file, and its path in it: a table may lie in the folder of another."""
    for name in sorted(tables, key=len, reverse=True):
        if path.startswith(f"{name}/"):
            return name, path.removeprefix(f"{name}/")
    raise Corrupt(f"the backup holds {path!r} of a table that it does not name", path=path)


def _parts(place: BackupPlace, files: Iterable[BackedFile]) -> Iterator[tuple[str, bytes]]:
    for file in files:
        buffer = io.BytesIO()
        buffer.writelines(manifests.contents(place, file))
        yield file.path.removeprefix(METADATA).partition("/")[0], buffer.getvalue()
