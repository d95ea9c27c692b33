"""How rows come into the feature repository: by pushes, from files and databases, and from the history into the online store.

A push is checked whole, appended to the journal, brought into every view online, and only then acknowledged. Flushing
carries the journal into the offline tables, ingestion brings files and databases there, and materialization brings the
offline tables online: as the last step of an ingestion and of a registration, or when it is asked for. Each of these steps
may be cut off anywhere and repeated: rows arrive once.
"""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from rota.errors import InvalidInput, Unavailable
from rota.manage.features.definitions import registration
from rota.manage.features.definitions.registration import Definition
from rota.manage.features.ingestion.batch import BatchIngestion
from rota.manage.features.materialization.materialize import Materializer, Progress
from rota.manage.features.materialization.online_history import ServiceHistory
from rota.manage.features.materialization.push import Pushes
from rota.manage.features.materialization.push_stream import PushStream, Stores
from rota.manage.features.materialization.source_plans import SourcePlans
from rota.ports.clock import Clock
from rota.ports.inputs import Inputs
from rota.ports.journal import Journal
from rota.ports.metadata import Metadata
from rota.ports.online import Online
from rota.ports.tables import Tables
from rota.records.data import FeatureService, FeatureView, Source
from rota.records.intake import Ingestion
from rota.records.record import Record

_log = logging.getLogger("rota.manage")


class Feed:
    """What writes to the feature repository: `pushes`, `ingestion` and `materializer`. Thread-safe; one is enough for a process."""

    def __init__(self, metadata: Metadata, tables: Tables, online: Online, journal: Journal, clock: Clock, *, inputs: Inputs | None = None) -> None:
        self._stores = Stores(metadata, tables, online, journal, clock)
        plans = SourcePlans(metadata)
        self.pushes = Pushes(self._stores, plans, fold_in=self._bring_online)
        self.ingestion = BatchIngestion(metadata, tables, journal, clock, inputs)
        self.materializer = Materializer(self._stores, plans, self.pushes)
        self._plans = plans
        self.registrations = 0
        """How often definitions were registered here: whoever keeps something compiled of them looks whether it is still right."""

    def register(self, definitions: Iterable[Definition], *, actor: str = "owner", progress: Progress | None = None) -> list[Record]:
        """Check, gate and store definitions (see `registration.register`), and bring the history of new views online.

        Every process that pushes into a source of theirs is told by the online store. Where that is away the definitions are
        stored all the same, other processes see them within a second, and the next push or a worker brings their history online.
        """
        metadata, declared = self._stores.metadata, list(definitions)
        changed = registration.register(metadata, self._stores.tables, declared, now_us=self._stores.clock.now_us(), actor=actor)
        self._plans.expire()
        self.registrations += 1
        version = registration.catalog(metadata) if changed else 0
        for source in _sources(changed):
            try:
                PushStream(self._stores, source).require_catalog(version)
                self.materializer.bring_online(source.name, progress=progress)
            except Unavailable as error:
                _log.warning("online store not told of new definitions", extra={"action": "register", "source": source.name, "reason": str(error)})
        return changed

    def ingest(self, source: str, rows: Any = None, *, actor: str = "owner", final: bool = False, progress: Progress | None = None) -> Ingestion:
        """Ingest new rows into a source (see `BatchIngestion`), and bring them online in the views over it.

        `rows`: None for the source's own files or database, a path or glob, or a table. What was ingested is stored whatever happens
        behind it; `online_problem` of the result says why it is not online, if it is not. Killed in between, the next ingestion, the next
        push, a worker or `rota features materialize` goes on.
        """
        try:
            if rows is None or isinstance(rows, str | Path):
                done = self.ingestion.ingest(source, rows, actor=actor, final=final)
            else:
                done = self.ingestion.ingest_table(source, rows, actor=actor)
        except (InvalidInput, Unavailable):  # of one file among others, whose rows are stored
            self._bring_online(source, progress)
            raise
        return msgspec.structs.replace(done, online_problem=self._bring_online(source, progress))

    def refresh(self, source: str) -> Ingestion | None:
        """Carry what was pushed into the offline table, take in what is new of the source's input, if it has one, and bring it online."""
        self.pushes.flush(source)
        done = self.ingestion.refresh(source)
        return None if done is None else msgspec.structs.replace(done, online_problem=self._bring_online(source, None))

    def bring_online(self, service: FeatureService) -> int:
        """Bring online what the stored views of a service lack; returns how many keys were written. Raises `Unavailable` when it cannot."""
        return sum(self.materializer.bring_online(source) for source in sorted({view.source.name for view in service.stored_views}))

    def histories(self, service: FeatureService) -> ServiceHistory:
        """How far the stored views of a service are online: what its readers are to be told."""
        return ServiceHistory(lambda view: PushStream(self._stores, view.source), service)

    def _bring_online(self, source: str, progress: Progress | None = None) -> str:
        """Why the views over a source do not have all of it online; "" when they do."""
        try:
            self.materializer.bring_online(source, progress=progress)
        except Unavailable as error:
            _log.warning("history not brought online", extra={"action": "materialize", "source": source, "reason": str(error)})
            return f"{error}; a worker brings the rows online, or: rota features materialize --incremental"
        return ""


def _sources(records: Iterable[Record]) -> list[Source]:
    """The sources that records are about, each once."""
    found: dict[str, Source] = {}
    for record in records:
        views = record.stored_views if isinstance(record, FeatureService) else (record,) if isinstance(record, FeatureView) else ()
        for source in (record,) if isinstance(record, Source) else (view.source for view in views):
            found[source.name] = source
    return list(found.values())
