"""Housekeeping: what workers do now and then beside their runs, and garbage collection with the platform's retention rules."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rota.manage.features.join import compaction
from rota.manage.features.materialization.upkeep import Upkeep
from rota.manage.features.writer import Feed
from rota.manage.lineage import audit_chain
from rota.manage.repositories import Repositories
from rota.manage.retention import collect
from rota.manage.retention.expiry import Rules
from rota.manage.signals import business_outcomes, labels, prediction_log
from rota.ports.clock import Clock
from rota.records.data import Source
from rota.records.time import HOUR_US, Micros

logger = logging.getLogger("rota.manage")

RESORT_TAIL = 0.1
"""The share of a history that may lie unsorted behind its sorted copy before a worker sorts it anew."""


@dataclass(slots=True)
class Housekeeping:
    """Keeps a home tidy.

    `drain_spool` stores what killed programs had logged; `handled` gives the position of the last event that was reacted to;
    `wall` is the machine's clock, also where the platform follows a replayed one.
    """

    repositories: Repositories
    feed: Feed
    rules: Rules
    wall: Clock
    drain_spool: Callable[[], object]
    handled: Callable[[], int]
    upkeep: Upkeep
    head_keepers: Sequence[Callable[[int, str, Micros], None]] = ()
    head_every_us: Micros = HOUR_US
    _head_logged_us: Micros = 0

    def run(self) -> None:
        """Store what killed programs had logged, flush pushed rows and signals into tables, see to what is not online, sort long histories."""
        r = self.repositories
        self.upkeep.submit()
        for stream in (prediction_log.STREAM, labels.STREAM, business_outcomes.STREAM):
            stream.flush_all(r.journal, r.tables)  # also of endpoints that no monitor looks at
        self.drain_spool()
        self.feed.pushes.flush_all()
        for source in r.metadata.find(Source):
            compaction.compact(r.tables, r.metadata, source, least_tail=RESORT_TAIL)
        self._log_audit_head()

    def collect_garbage(self, *, actor: str, dry_run: bool = False, progress: collect.Progress = lambda _: None) -> collect.Collection:
        """Remove what retention lets go; what killed programs had logged is stored first, for it may name blobs."""
        if not dry_run:
            self.drain_spool()
        handled, wall_us = self.handled(), self.wall.now_us()
        return collect.collect(self.repositories, self.rules, wall_us=wall_us, actor=actor, handled=handled, dry_run=dry_run, progress=progress)

    def _log_audit_head(self) -> None:
        """Now and then the log and the places outside are told where the audit log ends; against such a line a cut tail is found."""
        now_us = self.wall.now_us()
        if abs(now_us - self._head_logged_us) >= self.head_every_us:
            self._head_logged_us = now_us
            head = audit_chain.head(self.repositories.metadata)
            logger.info("audit head %s", head, extra={"action": "audit_head", "position": head.position, "hash": head.hash})
            for keep in self.head_keepers:
                keep(head.position, head.hash, now_us)
