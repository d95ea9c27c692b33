"""Manifests in a backup place: written with a digest of their own, so that a damaged one is not taken for a backup."""

import hashlib
from collections.abc import Iterator

from rota.errors import Corrupt, NotFound, Refused
from rota.foreign_archives import name_fault
from rota.ports.backup import BackupPlace
from rota.records.backup import FORMAT, BackedFile, BackupManifest
from rota.records.record import decode, digest, encode

_HEAD = b'{"sha256":"'
_BODY = b'","manifest":'


def encoded(manifest: BackupManifest) -> bytes:
    """The stored bytes."""
    body = encode(manifest)
    return _HEAD + digest(body).encode() + _BODY + body + b"}"


def read(place: BackupPlace, id: str) -> BackupManifest:
    """A manifest; raises `NotFound` where there is none, `Corrupt` where it is not what was written, `Refused` for one of a newer Rota."""
    data = place.manifest(id)
    start = len(_HEAD) + 64 + len(_BODY)
    body = data[start:-1]
    if not data.startswith(_HEAD) or data[start - len(_BODY) : start] != _BODY or digest(body).encode() != data[len(_HEAD) : len(_HEAD) + 64]:
        raise Corrupt(f"the manifest of backup {id} in {place} is not what was written; verify and restore another one", id=id)
    found = decode(body, BackupManifest)
    for file in found.files:
        for name in (file.path, file.object):
            if fault := name_fault(name):
                raise Corrupt(f"the manifest of backup {id} in {place} names {name[:100]!r}, which {fault}; restore another one", id=id)
    if found.format > FORMAT:
        raise Refused(f"backup {id} was made by Rota {found.rota}; this version cannot read its format {found.format}", id=id, format=found.format)
    return found


def chosen(place: BackupPlace, id: str = "") -> BackupManifest:
    """The backup of this id, or the newest one that can be read."""
    if id:
        return read(place, id)
    ids = place.ids()
    for each in reversed(ids):
        try:
            return read(place, each)
        except Corrupt:
            continue
    seen = f"none of its {len(ids)} manifests can be read" if ids else "it holds no finished one"
    raise NotFound(f"there is no backup in {place}: {seen}; `rota backup {place}` makes one", place=str(place))


def contents(place: BackupPlace, file: BackedFile) -> Iterator[bytes]:
    """The bytes of a file in pieces; raises `Corrupt` at the end when they are not what was backed up."""
    found = hashlib.sha256()
    for piece in place.read(file.object, file.offset, file.size):
        found.update(piece)
        yield piece
    if found.hexdigest() != file.digest:
        raise Corrupt(f"{file.path}: object {file.object} in {place} is damaged; `rota backup verify {place}` says what else is", path=file.path)
