"""The last good releases on the disk of the machine that serves them: a prediction process starts from them while metadata is away.

HOME/serving/releases.json holds the releases that were served last. Where blobs lie in a bucket, HOME/serving/blobs holds those that
these releases read, under their digests; a home with a directory of blobs needs no second copy. Files are private to the owner of
the home, are written whole and synced, and what no served release reads is removed.
"""

import contextlib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from rota.durable_files import put_in_place
from rota.errors import Corrupt, RotaError
from rota.manage.models.loading import BlobReader
from rota.records.model import ModelBundle
from rota.records.record import decode, digest, encode
from rota.records.release import OutOfService, Release

log = logging.getLogger("rota.serve")


class KeptReleases(msgspec.Struct, frozen=True):
    """What releases.json holds; `format` changes with its meaning.

    `earlier` are the releases that endpoints fall back to when the version served ends processes, `ends` the versions that did so.
    """

    format: int
    releases: list[Release]
    earlier: list[Release] = []
    ends: list[OutOfService] = []


_NOTHING = KeptReleases(1, [])


class ReleaseCache:
    """The releases served last in a folder that several processes of one home share; the last writer's are kept, as all serve the same.

    With `blobs` it also keeps what those releases read, and `get` is answered from disk first. Nothing here raises because the
    disk is full or a file is damaged: what is not kept is read from where it came from.
    """

    def __init__(self, folder: Path, blobs: BlobReader, *, keeps_blobs: bool) -> None:
        self._file, self._folder = folder / "releases.json", folder / "blobs"
        self._blobs = blobs
        self._keeps_blobs = keeps_blobs
        self._failing = False

    def releases(self) -> dict[str, Release]:
        """The releases that were served last, by endpoint; none when none were kept or the file is damaged."""
        return {release.endpoint: release for release in self._read().releases}

    def earlier(self, endpoint: str) -> list[Release]:
        """What an endpoint falls back to when the version that it serves ends processes: one release, or none."""
        return [release for release in self._read().earlier if release.endpoint == endpoint]

    def ends(self) -> dict[str, OutOfService]:
        """The versions that were out of service, or returned to it, when metadata was read last; by bundle."""
        return {end.bundle: end for end in self._read().ends}

    def keep(
        self,
        served: Mapping[str, Release],
        known: Iterable[str],
        *,
        earlier: Mapping[str, Release] = MappingProxyType({}),
        ends: Mapping[str, OutOfService] = MappingProxyType({}),
    ) -> None:
        """From now on these are the last good ones; of `known` endpoints that are not among them an earlier one stays."""
        before = self._read()
        old = {release.endpoint: release for release in before.releases}
        releases = {name: release for name in sorted(known) if (release := served.get(name) or old.get(name)) is not None}
        kept = KeptReleases(1, [*releases.values()], [earlier[name] for name in sorted(earlier)], [ends[bundle] for bundle in sorted(ends)])
        if kept != before:
            self._write(self._file, encode(kept))
        if self._keeps_blobs:
            self._fetch(earlier.values())
            self._remove_all_but(self._read_by([*releases.values(), *earlier.values()]))

    def _read(self) -> KeptReleases:
        try:
            kept = decode(self._file.read_bytes(), KeptReleases)
        except FileNotFoundError:
            return _NOTHING
        except (OSError, Corrupt) as error:
            log.warning("the releases kept on disk cannot be read: %s", error, extra={"action": "keep", "file": str(self._file)})
            return _NOTHING
        return kept if kept.format == 1 else _NOTHING

    def _fetch(self, releases: Iterable[Release]) -> None:
        """Have on disk what an endpoint may fall back to; what cannot be read now is left to the next time."""
        for bundle in {route.bundle for release in releases for route in release.routes}:
            try:
                for name in _blobs_of(decode(self.get(bundle), ModelBundle)):
                    self.get(name)
            except RotaError as error:
                log.warning("what an endpoint may fall back to is not kept: %s", error, extra={"action": "keep", "bundle": bundle})

    def get(self, digest: str) -> bytes:
        """A blob: from disk when it is there and whole, else from where it came from, and kept."""
        if not self._keeps_blobs:
            return self._blobs.get(digest)
        if (kept := self._kept(digest)) is not None:
            return kept
        data = self._blobs.get(digest)
        self._write(self._folder / digest, data)
        return data

    def _kept(self, name: str) -> bytes | None:
        try:
            data = (self._folder / name).read_bytes()
        except OSError:
            return None
        return data if digest(data) == name else None

    def _read_by(self, releases: Iterable[Release]) -> set[str]:
        found = set()
        for bundle in {route.bundle for release in releases for route in release.routes}:
            found.add(bundle)
            if (data := self._kept(bundle)) is not None:
                with contextlib.suppress(Corrupt):
                    found.update(_blobs_of(decode(data, ModelBundle)))
        return found

    def _remove_all_but(self, wanted: set[str]) -> None:
        with contextlib.suppress(OSError):
            for file in self._folder.iterdir():
                if file.name not in wanted and not file.name.startswith("."):
                    file.unlink(missing_ok=True)

    def _write(self, file: Path, data: bytes) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file.parent.chmod(0o700)
            put_in_place(file, data, replace=True, mode=0o600)
        except OSError as error:
            if not self._failing:
                log.warning("what is served cannot be kept for a start without metadata: %s", error, extra={"action": "keep", "file": str(file)})
            self._failing = True
        else:
            self._failing = False


def _blobs_of(bundle: ModelBundle) -> set[str]:
    """What a bundle names: the model's bytes, and its conversion where one serves it."""
    return {bundle.blob} | ({bundle.engine.blob} if bundle.engine is not None and bundle.engine.blob else set())
