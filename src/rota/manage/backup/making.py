"""Make a backup of a running platform: what a kill of all its processes at one moment would have left, copied elsewhere.

The moment is found while no table is committed to: metadata in one snapshot, the versions of the tables before and after it (equal, or it is
tried again, with the writers told to wait), and the journal as it was right after. Whatever was acknowledged before is in a journal segment,
in a table or in the metadata; what is in two of them carries the marks by which the platform itself tells, after a kill as after a restore.
The spool is read before: what moves on from it into the metadata is stored once. Copied is afterwards, under a claim that garbage collection
respects.
"""

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from rota.errors import Conflict, Corrupt, NotFound, RotaError, Unavailable
from rota.manage.backup import manifests
from rota.manage.backup.copying import Copier, Report, lacking
from rota.ports.backup import BackupPlace, HomeFiles, MetadataSnapshot, SourceFile, TableFiles
from rota.ports.blobs import Blobs
from rota.ports.clock import Clock
from rota.ports.metadata import Batch, Metadata, transact
from rota.records.backup import BLOBS, FORMAT, HOME, METADATA, SPOOL, Backup, BackupManifest
from rota.records.record import Record
from rota.records.time import SECOND_US, Micros, to_datetime

CLAIM_US = 15 * 60 * SECOND_US
"""How long files stay for a backup that gives no sign of life."""
DERIVED = "history/"
"""How tables begin that housekeeping makes anew from others."""
_TRIES = 10


@dataclass(frozen=True, slots=True)
class About:
    """What a manifest says of the platform; `settings` without secrets, `key` a fingerprint."""

    rota: str
    host: str
    home: str
    engines: Mapping[str, str]
    settings: Mapping[str, Any]
    key: str


@dataclass(frozen=True, slots=True)
class BackedPlatform:
    """The platform that is backed up. `spool` gives the spools of living programs; `wall` is the machine's clock."""

    about: About
    metadata: Metadata
    blobs: Blobs
    tables: TableFiles
    home: HomeFiles
    snapshot: Callable[[], MetadataSnapshot]
    spool: Callable[[], Mapping[str, bytes]]
    wall: Clock


class BackupReport(Record, frozen=True):
    """What a backup came to: the bytes of everything in it, and how many of them had to be copied this time."""

    id: str
    place: str
    moment_us: Micros
    began_us: Micros
    ended_us: Micros
    files: int
    size_bytes: int
    copied_bytes: int
    secrets: tuple[str, ...]
    """Files of the home in it that must stay secret."""
    left_out: tuple[str, ...]
    faults: tuple[str, ...]


def make(subject: BackedPlatform, place: BackupPlace, *, actor: str, report: Report = lambda _: None) -> BackupReport:
    """Back a platform up into a place; what is there already is not copied again.

    What the platform itself lacks or has damaged is named in `faults`, and the rest is backed up. Raises `Refused` for a place that is none,
    `Unavailable` where the platform or the place does not answer: then there is no backup of this id.
    """
    with place.turn():
        claim = _Claim(subject, place, actor)
        try:
            manifest, copied = _copied(subject, place, claim, report)
            place.finish(manifest.id, manifests.encoded(manifest))
        except BaseException as error:
            with suppress(RotaError):  # the first error is the one to be seen
                claim.end(state="failed", error=" ".join(str(error).split())[:500] or type(error).__name__)
            raise
        claim.end(state="complete", moment_us=manifest.moment_us, size_bytes=manifest.size_bytes, copied_bytes=copied)
    return BackupReport(
        manifest.id,
        str(place),
        manifest.moment_us,
        manifest.began_us,
        manifest.ended_us,
        len(manifest.files),
        manifest.size_bytes,
        copied,
        tuple(file.path.removeprefix(HOME) for file in manifest.files if file.path.startswith(HOME)),
        manifest.left_out,
        manifest.faults,
    )


class _Claim:
    """The record of a running backup, renewed as long as it gives signs of life."""

    def __init__(self, subject: BackedPlatform, place: BackupPlace, actor: str) -> None:
        self._metadata, self._wall = subject.metadata, subject.wall
        now_us = self._wall.now_us()
        name = f"{to_datetime(now_us):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(2)}"
        self.record = Backup(name, str(place), now_us, actor, needed_until_us=now_us + CLAIM_US)
        self._lock = threading.Lock()
        batch = Batch()
        batch.create(self.record)
        batch.audit(actor, "backup.begin", f"backup:{name}", now_us, place=str(place))
        for other in self._metadata.find(Backup, {"state": "running"}):
            if not other.needs_files(now_us):
                batch.put(msgspec.structs.replace(other, state="failed", ended_us=now_us, error="it was killed"), replacing=other)
        self._metadata.commit(batch)

    def tick(self) -> None:
        """Renew the claim when a third of it is over; raises `Unavailable` when it has run out: files may be gone."""
        now_us = self._wall.now_us()
        if now_us < self.record.needed_until_us - 2 * CLAIM_US // 3:
            return
        with self._lock:
            if now_us >= self.record.needed_until_us:
                raise Unavailable("the backup was held up for longer than files are kept for it; make it again", id=self.record.id)
            with suppress(Unavailable):  # until the claim has run out, a store that is away for a while does no harm
                self._replace(needed_until_us=now_us + CLAIM_US)

    def end(self, **changes: Any) -> None:
        """Files need not stay any more."""
        with self._lock:
            now_us = self._wall.now_us()
            self._replace(ended_us=now_us, audited=True, **changes)

    def _replace(self, *, audited: bool = False, **changes: Any) -> None:
        def act() -> Backup:
            before = self._metadata.get(Backup, self.record.id)
            after, batch = msgspec.structs.replace(self.record, **changes), Batch()
            batch.put(after, replacing=before)
            if audited:
                facts = {name: value for name, value in changes.items() if name != "state"}
                batch.audit(self.record.actor, f"backup.{after.state}", f"backup:{after.id}", facts.pop("ended_us"), **facts)
            self._metadata.commit(batch)
            return after

        self.record = transact(act)


@dataclass(frozen=True, slots=True)
class _Moment:
    """The platform at one moment: what is read of it later does not change any more."""

    at_us: Micros
    snapshot: MetadataSnapshot
    versions: Mapping[str, int]
    files: list[SourceFile]


def _copied(subject: BackedPlatform, place: BackupPlace, claim: _Claim, report: Report) -> tuple[BackupManifest, int]:
    known = None
    with suppress(NotFound, Corrupt):
        known = manifests.chosen(place)
    with closing(Copier(place, known, claim.tick, report)) as copier, _moment(subject) as moment:
        for file in moment.files:
            copier.add(file)
        for file in _metadata_files(moment.snapshot):
            copier.add(file)
        files = list(_large_files(subject, moment, copier))
        copier.total_bytes = sum(file.size_bytes for file in files)
        for file in files:
            copier.add(file)
        done, objects = copier.finish()
        about = subject.about
        manifest = BackupManifest(
            format=FORMAT,
            id=claim.record.id,
            rota=about.rota,
            schema=moment.snapshot.schema,
            host=about.host,
            home=about.home,
            actor=claim.record.actor,
            began_us=claim.record.began_us,
            moment_us=moment.at_us,
            ended_us=subject.wall.now_us(),
            engines=about.engines,
            settings=about.settings,
            key=about.key,
            tables=moment.versions,
            rows=dict(moment.snapshot.counts),
            left_out=_left_out(subject),
            faults=tuple(sorted(copier.faults)),
            objects=objects,
            files=done,
        )
        claim.tick()
        if gone := lacking(place, manifest.objects):
            raise Conflict(f"{len(gone)} objects of {place} were removed while the backup was made; make it again", objects=gone[:10])
        return manifest, copier.copied_bytes


@contextmanager
def _moment(subject: BackedPlatform) -> Iterator[_Moment]:
    """Find a moment at which nothing was committed to a table."""
    for _ in range(_TRIES):
        files = [_in_memory(f"{SPOOL}{path}", data) for path, data in sorted(subject.spool().items())]
        with subject.tables.standing():
            before = subject.tables.versions()
            snapshot = subject.snapshot()
            try:
                at_us = subject.wall.now_us()
                files += subject.home.journal() + subject.home.others()
                after = subject.tables.versions()
            except BaseException:
                snapshot.close()
                raise
        with closing(snapshot):
            if before == after:
                kept = {table: version for table, version in before.items() if not table.startswith(DERIVED)}
                yield _Moment(at_us, snapshot, kept, files)
                return
    raise Unavailable(f"tables were written at each of {_TRIES} looks, so no moment was found that fits all of them; try again when less is flushed")


def _metadata_files(snapshot: MetadataSnapshot) -> Iterator[SourceFile]:
    numbers: dict[str, int] = {}
    for table, part in snapshot.parts():
        number = numbers[table] = numbers.get(table, 0) + 1
        yield _in_memory(f"{METADATA}{table}/{number:06d}.parquet", part)


def _large_files(subject: BackedPlatform, moment: _Moment, copier: Copier) -> Iterator[SourceFile]:
    for table, version in moment.versions.items():
        files, missing = subject.tables.files(table, version)
        copier.faults += [f"tables/{table}/{name}: the file is missing, and version {version} needs it" for name in missing]
        yield from files
    for digest in subject.blobs.digests():
        size = copier.known_size(digest)
        with suppress(NotFound):  # collected meanwhile, by a collection that had begun before
            yield SourceFile(BLOBS + digest, subject.blobs.size(digest) if size is None else size, _blob(subject.blobs, digest), digest)


def _blob(blobs: Blobs, digest: str) -> Callable[[], Iterator[bytes]]:
    return lambda: blobs.stream(digest)


def _in_memory(path: str, data: bytes) -> SourceFile:
    return SourceFile(path, len(data), lambda: iter((data,)))


def _left_out(subject: BackedPlatform) -> tuple[str, ...]:
    return (*subject.home.left_out(), f"{DERIVED}: sorted copies of sources, made again by housekeeping")
