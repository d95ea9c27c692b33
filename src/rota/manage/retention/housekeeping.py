"""Housekeeping: what workers do now and then beside their runs, and garbage collection with the platform's retention rules."""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec

from rota.errors import Conflict, is_engine_panic
from rota.manage.features.join import compaction
from rota.manage.features.materialization.upkeep import Upkeep
from rota.manage.features.writer import Feed
from rota.manage.lineage import audit_chain
from rota.manage.repositories import Repositories
from rota.manage.retention import collect, table_upkeep
from rota.manage.retention.expiry import Rules
from rota.manage.signals import drains, platform_alerts, process_reports, silences
from rota.manage.signals.free_space import free_space
from rota.manage.signals.hosts import Host
from rota.ports.clock import Clock
from rota.records.condition import Condition
from rota.records.data import Source
from rota.records.time import HOUR_US, SECOND_US, Micros

logger = logging.getLogger("rota.manage")

VACUUM_EVERY_US = 900 * SECOND_US
_PARTS = frozenset({"upkeep", "spool", "journal", "journal damage", "history", "table", "disk", "process reports"})
RESORT_TAIL = 0.1
"""The share of a history that may lie unsorted behind its sorted copy before a worker sorts it anew."""


@dataclass(slots=True)
class Housekeeping:
    """Keeps a home tidy.

    `drain_spool` stores what killed programs had logged; `handled` gives the position of the last event that was reacted to;
    `wall` is the machine's clock, also where the platform follows a replayed one. `home` is the directory whose disk is watched.
    """

    repositories: Repositories
    feed: Feed
    rules: Rules
    wall: Clock
    drain_spool: Callable[[], object]
    handled: Callable[[], int]
    upkeep: Upkeep
    home: Path
    host: Host
    head_keepers: Sequence[Callable[[int, str, Micros], None]] = ()
    head_every_us: Micros = HOUR_US
    _head_logged_us: Micros = 0
    _vacuumed_us: Micros = 0
    _tables_ill: tuple[Condition, ...] = ()
    _logged: frozenset[str] = frozenset()
    _streams_read: set[str] = field(default_factory=set)
    _small: compaction.SmallTables = field(default_factory=dict)
    process: str = ""
    """The process in which it runs, by the name of its reports: what others report as ill is not well because this one finds it so."""
    conditions: tuple[Condition, ...] = ()
    """What the last round found: what is not well, and the online store."""

    def run(self) -> tuple[Condition, ...]:
        """Store what killed programs had logged, flush pushed rows and signals into tables, see to what is not online, sort long histories,
        and let go what was replaced.

        What fails keeps nothing else from it: it is returned as a condition that is not well, and an alert of the platform tells of it. A part
        that is not named is well; those of the online store are named always.
        """
        r = self.repositories
        ill: list[Condition] = []
        self._contained(ill, "upkeep", self.upkeep.submit)
        ill += drains.drain_all(r, self._streams_read)
        self._contained(ill, "spool", self.drain_spool)
        self._contained(ill, "journal:push", self.feed.pushes.flush_all)
        for source in r.metadata.find(Source):
            sort = partial(compaction.compact, r.tables, r.metadata, source, least_tail=RESORT_TAIL, small=self._small)
            self._contained(ill, f"history:{source.name}", sort)
        if abs(self.wall.now_us() - self._vacuumed_us) >= VACUUM_EVERY_US:  # also where the clock was set back
            self._tables_ill = table_upkeep.keep(r, self.rules.grace_us, wall_us=self.wall.now_us()).conditions
            self._vacuumed_us = self.wall.now_us()
        ill += [*self._tables_ill, *([disk] if (disk := free_space(self.home)).status != "well" else [])]
        self._contained(ill, "process reports", partial(silences.forget, r.metadata, self.wall.now_us()))
        self._log_audit_head()
        self._logged = frozenset(each.name for each in ill)
        self.conditions = (*self.host.told(ill), *self.upkeep.conditions)
        self._settle(self.host.told(ill))
        return self.conditions

    def collect_garbage(self, *, actor: str, dry_run: bool = False, progress: collect.Progress = lambda _: None) -> collect.Collection:
        """Remove what retention lets go; what killed programs had logged is stored first, for it may name blobs. Tables are vacuumed behind it."""
        if not dry_run:
            self.drain_spool()
            drains.drain_all(self.repositories)
        handled, wall_us = self.handled(), self.wall.now_us()
        found = collect.collect(self.repositories, self.rules, wall_us=wall_us, actor=actor, handled=handled, dry_run=dry_run, progress=progress)
        if dry_run:
            return found
        kept = table_upkeep.keep(self.repositories, self.rules.grace_us, wall_us=self.wall.now_us(), progress=progress)
        freed = tuple(collect.Removal("table files", name, "no version that may be read needs them", size) for name, size in kept.freed.items())
        return msgspec.structs.replace(found, removals=(*found.removals, *freed))

    def _contained(self, ill: list[Condition], name: str, act: Callable[[], object]) -> None:
        try:
            act()
        except BaseException as error:
            if not isinstance(error, Exception) and not is_engine_panic(error):
                raise
            level = logging.DEBUG if name in self._logged else logging.WARNING  # said when it begins
            logger.log(level, "housekeeping, %s: %s", name, error, extra={"action": "housekeeping", "part": name})
            ill.append(Condition(name, "failed", f"housekeeping could not do its part {name!r}: {type(error).__name__}: {error}"))

    def _settle(self, ill: Sequence[Condition]) -> None:
        """Alerts for what is not well, and an end to those of what is well again."""
        r = self.repositories
        with suppress(Conflict):  # another process settled them at the same moment
            is_over = self.host.covers(_PARTS, process_reports.ill_elsewhere(r.metadata, self.process))
            platform_alerts.settle(r.metadata, ill, actor="housekeeping", now_us=r.clock.now_us(), is_over=is_over)

    def _log_audit_head(self) -> None:
        """Now and then the log and the places outside are told where the audit log ends; against such a line a cut tail is found."""
        now_us = self.wall.now_us()
        if abs(now_us - self._head_logged_us) >= self.head_every_us:
            self._head_logged_us = now_us
            head = audit_chain.head(self.repositories.metadata)
            logger.info("audit head %s", head, extra={"action": "audit_head", "position": head.position, "hash": head.hash})
            for keep in self.head_keepers:
                keep(head.position, head.hash, now_us)
