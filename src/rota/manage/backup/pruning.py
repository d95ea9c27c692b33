"""Prune a backup place: keep the newest backups, and remove the others with the objects that no other one needs."""

from rota.errors import InvalidInput
from rota.manage.backup import manifests
from rota.ports.backup import BackupPlace
from rota.records.record import Record


class Pruned(Record, frozen=True):
    """What was removed."""

    place: str
    kept: tuple[str, ...]
    removed: tuple[str, ...]
    objects: int
    freed_bytes: int


def prune(place: BackupPlace, keep: int) -> Pruned:
    """Keep the `keep` newest backups. Raises `Corrupt`, and removes nothing, when a manifest that stays cannot be read.

    In a bucket no other process may write a backup into the place meanwhile; a directory holds such a process back.
    """
    if keep < 1:
        raise InvalidInput(f"keep = {keep}: at least one backup stays; remove the place itself to have none", keep=keep)
    with place.turn():
        ids = place.ids()
        kept, removed = ids[-keep:], ids[:-keep]
        needed = {name for each in kept for name in manifests.read(place, each).objects}
        for each in removed:
            place.forget(each)  # before its objects: half a removal leaves no backup that lacks something
        idle = {name: size for name, size in place.objects().items() if name not in needed}
        for name in idle:
            place.discard(name)
    return Pruned(str(place), tuple(kept), tuple(removed), len(idle), sum(idle.values()))
