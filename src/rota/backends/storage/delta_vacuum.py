"""Vacuum of a Delta table: what no version that may still be read needs leaves the store, data files and commits alike.

Readable stay the newest version, those that were newest at or after a moment, and versions that somebody asked to keep. A version is
given up in a file of the table before anything of it goes, so that who asks for it is told, whatever a kill leaves half done.
What is kept of the log is the newest checkpoint before the readable versions with all commits behind it; a version kept for itself has
a checkpoint of its own. A file that no commit names, as a killed writer leaves, goes when it is an hour older than that.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

import polars as pl
from deltalake import DeltaTable

from rota.backends.storage import delta_commits
from rota.backends.storage.delta_commits import LOG, checkpoint_name, commit_name
from rota.backends.storage.table_folders import StoredFile, TableFolder
from rota.records.time import HOUR_US, Micros

_KEPT = f"{LOG}/_rota_kept.json"
_NAME = re.compile(rf"{LOG}/(\d{{20}})\.(json|checkpoint\.parquet)")
_DATA = re.compile(r"part-[A-Za-z0-9._-]+\.parquet")
"""Data files as Delta's writers name them; what else lies in a table's folder is nobody's to delete."""
_UNFINISHED = re.compile(r"\.[^/]*|_commit_[^/]*\.tmp|[^/]*#\d+")
Changes = tuple[tuple[str, ...], tuple[str, ...]]
"""The files that a commit adds, and those that it removes."""


@dataclass(frozen=True, slots=True)
class Readable:
    """Which versions of a table may be read: all from `since` on, and some of before."""

    since: int = 0
    kept: frozenset[int] = frozenset()

    def __contains__(self, version: object) -> bool:
        return isinstance(version, int) and (version >= self.since or version in self.kept)


def readable(folder: TableFolder) -> Readable:
    """Which versions of a table may be read by now."""
    data = folder.read(_KEPT)
    if data is None:
        return Readable()
    found = json.loads(data)
    return Readable(found["since"], frozenset(found["kept"]))


@dataclass(slots=True)
class Vacuum:
    """One vacuum of a table at its newest version; `at` opens another one, `changes` remembers what commits did, by version."""

    newest: DeltaTable
    folder: TableFolder
    at: Callable[[int], DeltaTable]
    changes: dict[int, Changes]
    _log: dict[str, dict[int, StoredFile]] = field(default_factory=lambda: {"json": {}, "checkpoint.parquet": {}})
    _others: list[StoredFile] = field(default_factory=list)

    def run(self, keep: Collection[int], before_us: Micros) -> int:
        """Give up every version but those newer than `before_us` and those to keep; returns the bytes that were freed."""
        self._list_log()
        since = self._newest_at(before_us)
        old = readable(self.folder)
        now = Readable(max(since, old.since), frozenset(version for version in keep if version in old and version < since))
        stale = [file for file in self.folder.files() if _DATA.fullmatch(file.name) and file.name not in _live(self.newest)]
        log = self._log_before(now, before_us)
        if not stale and not log:
            return 0
        doomed = [*self._unneeded(stale, now, before_us), *log]
        if not doomed:
            return 0
        if now != old:
            self.folder.replace(_KEPT, json.dumps({"since": now.since, "kept": sorted(now.kept)}).encode())
        for version in now.kept if log else ():
            if version not in self._log["checkpoint.parquet"]:
                delta_commits.write_checkpoint(self.at(version), self.folder)
        self.folder.delete([file.name for file in doomed])
        for version in [version for version in self.changes if version < now.since and commit_name(version) in {file.name for file in log}]:
            del self.changes[version]
        return sum(file.size_bytes for file in doomed)

    def _list_log(self) -> None:
        for file in self.folder.files(LOG):
            found = _NAME.fullmatch(file.name)
            if found:
                self._log[found[2]][int(found[1])] = file
            else:
                self._others.append(file)

    def _newest_at(self, before_us: Micros) -> int:
        """The version that was newest at a moment, or the oldest after it whose commit is there."""
        commits, version = self._log["json"], self.newest.version()
        while version in commits and commits[version].written_us > before_us and version - 1 in commits:
            version -= 1
        return version

    def _unneeded(self, stale: Iterable[StoredFile], now: Readable, before_us: Micros) -> list[StoredFile]:
        needed = _live(self.at(now.since)) | _live(self.newest)
        for version in now.kept:
            needed |= _live(self.at(version))
        removed: set[str] = set()
        for version in sorted(self._log["json"]):
            if version > self.newest.version():
                continue
            adds, removes = self._changes(version)
            if version > now.since:
                needed |= set(adds)
            removed |= set(removes)
        abandoned_us = before_us - HOUR_US
        return [file for file in stale if file.name not in needed and (file.name in removed or file.written_us < abandoned_us)]

    def _changes(self, version: int) -> Changes:
        if version not in self.changes:
            actions = delta_commits.read(self.folder, version) or []
            self.changes[version] = (
                tuple(action["add"]["path"] for action in actions if "add" in action),
                tuple(action["remove"]["path"] for action in actions if "remove" in action),
            )
        return self.changes[version]

    def _log_before(self, now: Readable, before_us: Micros) -> list[StoredFile]:
        """Commits and checkpoints that no readable version needs. Behind a kept version the next commit stays too: from its lack a process
        that stands at the kept version would take it for the newest."""
        unfinished = [f for f in self._others if _UNFINISHED.fullmatch(f.name.rpartition("/")[2]) and f.written_us < before_us - HOUR_US]
        if any(".checkpoint." in file.name for file in self._others):  # of another engine: its log is left as it is
            return unfinished
        base = max((version for version in self._log["checkpoint.parquet"] if version <= now.since), default=0)
        kept = {0, *now.kept}
        kept |= {version + 1 for version in kept}
        commits = [file for version, file in self._log["json"].items() if version < base and version not in kept]
        checkpoints = [file for version, file in self._log["checkpoint.parquet"].items() if version < base and version not in now.kept]
        if commits or checkpoints:
            self.folder.settle([checkpoint_name(base)])
        return [*commits, *checkpoints, *unfinished]


def _live(delta: DeltaTable) -> set[str]:
    return set(pl.DataFrame(delta.get_add_actions())["path"].to_list())
