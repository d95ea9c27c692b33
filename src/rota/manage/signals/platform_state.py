"""How a platform is, measured now and then: told as metrics, by `rota status` and on pages."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from rota.durable.lanes import Queue, waiting
from rota.errors import RotaError
from rota.manage.repositories import Repositories
from rota.manage.signals import event_reading, platform_alerts, signal_lag
from rota.manage.signals.signal_lag import SignalLag
from rota.manage.signals.silences import is_heard
from rota.ports.clock import Clock
from rota.records.backup import Backup
from rota.records.condition import Condition, ProcessReport
from rota.records.platform_state import MonitorChecks, PlatformState

T = TypeVar("T")
LOOK_AGAIN_S = 5.0
SIZES_AGAIN_S = 60.0
"""To walk a home costs about a second for 100,000 files."""
_PAGE = 10_000


@dataclass(frozen=True, slots=True)
class Gauges:
    """What other rooms measure: bytes of pushed rows behind (in the table, online) by source, the end of the audit log, conditions of stores, and
    the states of the monitors' checks.
    """

    push_lag: Callable[[], Mapping[str, tuple[int, int]]]
    audit_position: Callable[[], int]
    conditions: Callable[[], Sequence[Condition]]
    monitor_checks: Callable[[], Sequence[MonitorChecks]] = tuple


@dataclass(slots=True)
class PlatformFigures:
    """Measures a platform at most every few seconds, however often it is asked. Thread-safe. What does not answer hides nothing else."""

    home: Path
    repositories: Repositories
    wall: Clock
    gauges: Gauges
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _state: PlatformState | None = None
    _looked_s: float = 0.0
    _sizes: Mapping[str, int] = field(default_factory=dict)
    _sized_s: float = float("-inf")
    _position: int = 0
    _finished: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("succeeded", "blocked", "failed", "cancelled"), 0))

    def measured(self) -> PlatformState:
        """The figures of now, or of a few seconds ago."""
        with self._lock:
            if self._state is None or time.monotonic() - self._looked_s >= LOOK_AGAIN_S:
                self._state = self._measure()
                self._looked_s = time.monotonic()
            return self._state

    def _measure(self) -> PlatformState:
        r, missing = self.repositories, dict[str, str]()

        def tried(part: str, measure: Callable[[], T], otherwise: T) -> T:
            try:
                return measure()
            except (RotaError, OSError) as error:
                missing[part] = f"{type(error).__name__}: {error}"
                return otherwise

        queue = tried("queue", lambda: waiting(r.runs, r.clock.now_us()), dict[str, Queue]())
        streams = tried("journal", lambda: signal_lag.lags(r, r.clock.now_us()), dict[str, SignalLag]())
        pushes: Mapping[str, tuple[int, int]] = tried("pushes", self.gauges.push_lag, {})
        backups = tried("backups", lambda: r.metadata.find(Backup), list[Backup]())
        disk = tried("disk", lambda: shutil.disk_usage(self.home), None)
        done = [each for each in backups if each.state == "complete" and each.ended_us is not None]
        return PlatformState(
            at_us=self.wall.now_us(),
            processes=tuple(tried("processes", lambda: sorted(r.metadata.find(ProcessReport), key=lambda each: each.process), [])),
            conditions=tuple(tried("conditions", self._conditions, [])),
            waiting_runs={lane: each.runs for lane, each in queue.items()},
            oldest_waiting_s={lane: each.oldest_s for lane, each in queue.items()},
            finished_runs=tried("events", self._counted_runs, {}),
            journal_bytes={name: each.size_bytes for name, each in streams.items()} | {f"push/{name}": table for name, (table, _) in pushes.items()},
            journal_oldest_s={name: each.oldest_s for name, each in streams.items()},
            online_behind_bytes={name: online for name, (_, online) in pushes.items()},
            disk_free_bytes=disk.free if disk else None,
            disk_total_bytes=disk.total if disk else None,
            home_bytes=tried("home", self._home_bytes, {}),
            last_backup=max(done, key=lambda each: each.ended_us or 0, default=None),
            backups_running=sum(each.needs_files(self.wall.now_us()) for each in backups),
            audit_position=tried("audit log", self.gauges.audit_position, None),
            monitor_checks=tuple(tried("monitors", self.gauges.monitor_checks, ())),
            unmeasured=missing,
        )

    def _conditions(self) -> list[Condition]:
        """What is alerted of, what processes that are there report, and what this one sees by itself, each once and as it was seen last."""
        metadata, now_us = self.repositories.metadata, self.wall.now_us()
        found = {condition.name: condition for condition in platform_alerts.standing(metadata)}
        reported = {each.name: each for report in metadata.find(ProcessReport) if is_heard(report, now_us) for each in report.conditions}
        own = {condition.name: condition for condition in self.gauges.conditions() if condition.status != "well"}
        return sorted((found | reported | own).values(), key=lambda each: each.name)

    def _home_bytes(self) -> Mapping[str, int]:
        if time.monotonic() - self._sized_s >= SIZES_AGAIN_S:
            self._sizes = sizes(self.home)
            self._sized_s = time.monotonic()
        return self._sizes

    def _counted_runs(self) -> Mapping[str, int]:
        """Ends of runs by status, counted on from the last event that was seen; an event that cannot be read is passed over."""
        for event in event_reading.readable(self.repositories.metadata, self._position, page=_PAGE):
            if event.kind == "run.finished":
                status = str(event.body.get("status"))
                self._finished[status] = self._finished.get(status, 0) + 1
            self._position = event.position
        return dict(self._finished)


def sizes(home: Path) -> dict[str, int]:
    """Bytes below the home, by its first folder, largest first."""
    found: dict[str, int] = {}
    for folder, _, files in os.walk(home):
        first = Path(folder).relative_to(home).parts[:1]
        for name in files:
            try:
                size = (Path(folder) / name).lstat().st_size
            except FileNotFoundError:  # removed meanwhile
                continue
            key = f"{first[0]}/" if first else name
            found[key] = found.get(key, 0) + size
    return dict(sorted(found.items(), key=lambda each: -each[1]))
