"""Backups of a platform as a program makes them: back up, list, verify, prune, restore. `rota backup` and `rota restore` call these.

with wiring.opened() as platform:
    backups.make(platform, "/var/backups/rota")
backups.verify("/var/backups/rota")
backups.restore("/var/backups/rota", settings.load(home=Path("restored")))
"""

import fcntl
import importlib.metadata
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from rota import engines, record_engines
from rota.develop import spool_copy
from rota.durable_files import sync_directory
from rota.errors import Corrupt, InvalidInput, Refused
from rota.manage.backup import making, manifests, pruning, restoring, verification
from rota.manage.backup.copying import CopyProgress, Report
from rota.manage.backup.making import About, BackedPlatform, BackupReport
from rota.manage.backup.pruning import Pruned
from rota.manage.backup.restoring import RestoreReport, RestoreTarget
from rota.manage.backup.verification import Verification
from rota.manage.features.materialization import stream_state
from rota.ports.backup import BackupPlace
from rota.records.backup import SPOOL, BackupManifest
from rota.records.record import Record, plain
from rota.records.time import Micros
from rota.settings import Settings, descriptions
from rota.wiring import SPOOL as SPOOL_FOLDER
from rota.wiring import Platform

__all__ = ["CopyProgress", "make", "prune", "restore", "stored", "verify"]


class StoredBackup(Record, frozen=True):
    """A finished backup in a place; `problem` says why it cannot be used."""

    id: str
    moment_us: Micros = 0
    ended_us: Micros = 0
    rota: str = ""
    host: str = ""
    home: str = ""
    files: int = 0
    size_bytes: int = 0
    faults: int = 0
    problem: str = ""


def make(platform: Platform, place: str, *, report: Report = lambda _: None) -> BackupReport:
    """Back up an open platform, which may be running, into a directory or to s3://BUCKET/PREFIX.

    Everything acknowledged before the call is in it. What the place has already is not copied again. Raises `Refused` for a directory that
    is no place for backups and not empty, or to which another process writes a backup.
    """
    settings, r = platform.settings, platform.repositories
    home = settings.home.resolve()
    if "://" not in place and Path(place).resolve().is_relative_to(home):
        raise InvalidInput(f"{place} lies in the home that it is to be a backup of; give a place on another disk", place=place)
    subject = BackedPlatform(
        about=_about(settings),
        metadata=r.metadata,
        blobs=r.blobs,
        tables=engines.table_files(settings),
        home=engines.home_files(settings),
        snapshot=partial(engines.metadata_snapshot, settings),
        spool=partial(spool_copy.copies, home / SPOOL_FOLDER),
        wall=platform.access.wall,
    )
    return making.make(subject, engines.backup_place(place), actor=platform.identity.name, report=report)


def stored(place: str) -> list[StoredBackup]:
    """The finished backups of a place, newest first; those whose manifest cannot be read say so."""
    opened = engines.backup_place(place)
    return [_stored(opened, each) for each in reversed(opened.ids())]


def verify(place: str, *, id: str = "", report: Report = lambda _: None) -> Verification:
    """Read a backup back (by default the newest) and name what is missing or not what was written."""
    return verification.verify(engines.backup_place(place), id, report=report)


def prune(place: str, keep: int) -> Pruned:
    """Keep the newest backups of a place and remove the others, with what only they need and what killed backups left."""
    return pruning.prune(engines.backup_place(place), keep)


def restore(place: str, settings: Settings, *, actor: str, id: str = "", report: Report = lambda _: None) -> RestoreReport:
    """Restore a backup (by default the newest) into the stores that the settings name, which must all be empty; the home appears at the end.

    Raises `Refused` for a home that exists and is not empty, a database that has tables, a prefix with blobs or tables, a namespace of
    the online store that another platform uses; `Corrupt` for a file that is not what was backed up: then there is no home.
    """
    opened = engines.backup_place(place)
    manifest = manifests.chosen(opened, id)
    _refuse_used(settings)
    _refuse_foreign_rows(settings, restoring.source_names(opened, manifest))
    with _staging(settings.home.resolve()) as staging:
        staged = msgspec.structs.replace(settings, home=staging)
        blobs, _ = engines.storage(staged)
        target = RestoreTarget(blobs, engines.table_files(staged), engines.home_files(staged), partial(engines.load_metadata, staged))
        restoring.fill(target, opened, manifest, report=report)
        stores = record_engines.record_stores(staged)
        try:
            now_us = record_engines.wall().now_us()
            open_runs = restoring.introduce(stores.metadata, stores.runs, opened, manifest, actor=actor, now_us=now_us)
        finally:
            stores.close()
        key = _fingerprint(staged)
    differing = restoring.differing(manifest, _shown(settings))
    return RestoreReport(
        id=manifest.id,
        place=str(opened),
        home=str(settings.home.resolve()),
        moment_us=manifest.moment_us,
        files=len(manifest.files),
        size_bytes=manifest.size_bytes,
        open_runs=open_runs,
        spools=len({file.path.split("/")[1] for file in manifest.files if file.path.startswith(SPOOL)}),
        differing=differing,
        warnings=tuple(_warnings(manifest, settings, key)),
        left_out=manifest.left_out,
        faults=manifest.faults,
    )


def _about(settings: Settings) -> About:
    kinds = {
        "metadata": "postgresql" if settings.metadata_url else "sqlite",
        "storage": settings.storage_url or "directory",
        "online": _without_password(settings.online_url) or "lmdb",
    }
    return About(_version(), socket.gethostname(), str(settings.home.resolve()), kinds, _shown(settings), _fingerprint(settings))


def _version() -> str:
    return importlib.metadata.version("rota")


def _shown(settings: Settings) -> dict[str, Any]:
    """The values that are no secrets."""
    return {name: plain(str(value) if isinstance(value, Path) else value) for name, value in _values(settings) if not descriptions()[name].secret}


def _values(settings: Settings) -> Iterator[tuple[str, Any]]:
    return ((name, getattr(settings, name)) for name in descriptions())


def _fingerprint(settings: Settings) -> str:
    """What tells the signing key from another one; "" where there is none yet. The key is at least 32 random characters, so it cannot be searched."""
    if not settings.signing_key and not (settings.home.resolve() / "signing.key").exists():
        return ""
    return sha256(b"fingerprint of a signing key:" + engines.signing_key(settings)).hexdigest()[:32]


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or ''}{parts.path}" if url else ""


def _stored(place: BackupPlace, id: str) -> StoredBackup:
    try:
        found = manifests.read(place, id)
    except (Corrupt, Refused) as error:
        return StoredBackup(id, problem=str(error))
    return StoredBackup(
        id, found.moment_us, found.ended_us, found.rota, found.host, found.home, len(found.files), found.size_bytes, len(found.faults)
    )


def _refuse_used(settings: Settings) -> None:
    """Raise `Refused` unless every store of the settings is empty."""
    home = settings.home.resolve()
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise Refused(f"{home} exists and is not empty; restore into a new home, then put that in the old one's place", home=str(home))
    if settings.metadata_url and engines.has_metadata(settings):
        raise Refused("the database of metadata_url is not empty; restore into a new one (`CREATE DATABASE`), and name it in ROTA_METADATA_URL")
    if settings.storage_url:
        blobs, tables = engines.storage(settings)
        if next(blobs.digests(), None) is not None or tables.tables():
            raise Refused(f"{settings.storage_url} holds blobs or tables; restore into a new prefix, and name it in storage_url")


def _refuse_foreign_rows(settings: Settings, sources: list[str]) -> None:
    """Online rows of the original, of after the backup's moment, would be taken for rows of the restored platform."""
    if not settings.online_url or not sources:
        return
    online = engines.online(settings)
    try:
        used = any(state is not None for state in online.read([stream_state.key(source) for source in sources]))
    finally:
        online.close()
    if used:
        raise Refused(
            f"the online store has rows of these sources below {settings.online_namespace!r}; set another online_namespace, or empty that one first",
            namespace=settings.online_namespace,
        )


def _warnings(manifest: BackupManifest, settings: Settings, key: str) -> Iterator[str]:
    if manifest.key and key != manifest.key:
        yield "the signing key is another one: models that are kept as pickle will be refused; set ROTA_SIGNING_KEY to the original's"
    if settings.alert_webhook:
        yield "alert_webhook is set: alerts of this platform are posted there too"
    if manifest.rota != _version():
        yield f"the backup was made by Rota {manifest.rota}, this is {_version()}"


@contextmanager
def _staging(home: Path) -> Iterator[Path]:
    """A folder beside the home that becomes it at the end; what a killed restore left there is removed."""
    home.parent.mkdir(parents=True, exist_ok=True)
    folder = home.with_name(f".{home.name}.restoring")
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"another process restores into {home} at this moment", home=str(home)) from None
        _empty(folder)
        try:
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        os.sync()  # everything is on disk before the home is there
        try:
            folder.rename(home)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise Refused(
                f"{home} came into being while it was restored ({error.strerror}); end what made it, and restore again", home=str(home)
            ) from error
        sync_directory(home.parent)
    finally:
        os.close(descriptor)


def _empty(folder: Path) -> None:
    for left in folder.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()
