"""Verify a backup: read every byte of it back, and name what is missing or not what was written."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Literal

from rota.errors import NotFound
from rota.manage.backup import manifests
from rota.manage.backup.copying import CopyProgress, Report
from rota.ports.backup import BackupPlace
from rota.records.backup import BackedFile
from rota.records.record import Record


class Damage(Record, frozen=True):
    """What is wrong with one file of a backup; `path` is "" where an object is damaged at bytes that this backup does not use."""

    path: str
    object: str
    problem: Literal["missing", "damaged"]


class Verification(Record, frozen=True):
    """What a verification found. `faults` are those that the backup itself tells: the platform lacked them already."""

    id: str
    place: str
    files: int
    objects: int
    size_bytes: int
    damages: tuple[Damage, ...]
    faults: tuple[str, ...]


def verify(place: BackupPlace, id: str = "", *, report: Report = lambda _: None) -> Verification:
    """Read back a backup, by default the newest one that can be read. Raises `Corrupt` when its manifest is not what was written."""
    manifest = manifests.chosen(place, id)
    sizes = place.objects()
    by_object: dict[str, list[BackedFile]] = {}
    for file in manifest.files:
        by_object.setdefault(file.object, []).append(file)
    total, done = sum(sizes.get(name, 0) for name in by_object), 0
    damages: list[Damage] = []
    for name, files in sorted(by_object.items()):
        damages += _damages(place, name, files, sizes)
        done += sizes.get(name, 0)
        report(CopyProgress(done, total))
    return Verification(manifest.id, str(place), len(manifest.files), len(by_object), total, tuple(damages), manifest.faults)


def _damages(place: BackupPlace, name: str, files: list[BackedFile], sizes: Mapping[str, int]) -> Iterator[Damage]:
    if name not in sizes:
        yield from (Damage(file.path, name, "missing") for file in files)
        return
    try:
        if _digest(place, name, 0, sizes[name]) == name:
            return
        damaged = [file for file in files if _digest(place, name, file.offset, file.size) != file.digest]
    except NotFound:
        yield from (Damage(file.path, name, "missing") for file in files)
        return
    yield from (Damage(file.path, name, "damaged") for file in damaged)
    if not damaged:
        yield Damage("", name, "damaged")


def _digest(place: BackupPlace, name: str, offset: int, size: int) -> str:
    found = hashlib.sha256()
    for piece in place.read(name, offset, size):
        found.update(piece)
    return found.hexdigest()
