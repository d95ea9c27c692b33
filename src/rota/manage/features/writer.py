"""How rows come into the feature repository: by pushes, from files and databases, and from the history into the online store.

A push is checked whole, appended to the journal, brought into every view online, and only then acknowledged. Flushing
carries the journal into the offline tables, ingestion brings files and databases there, and materialization brings the
offline tables online. Each of these steps may be cut off anywhere and repeated: rows arrive once.
"""

import logging
from collections.abc import Iterable

from rota.errors import Unavailable
from rota.manage.features.definitions import registration
from rota.manage.features.definitions.registration import Definition
from rota.manage.features.ingestion.batch import BatchIngestion
from rota.manage.features.materialization.materialize import Materializer
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
        self.pushes = Pushes(self._stores, plans)
        self.ingestion = BatchIngestion(metadata, tables, journal, clock, inputs)
        self.materializer = Materializer(self._stores, plans, self.pushes)
        self._plans = plans
        self.registrations = 0
        """How often definitions were registered here: whoever keeps something compiled of them looks whether it is still right."""

    def register(self, definitions: Iterable[Definition], *, actor: str = "owner") -> list[Record]:
        """Check, gate and store definitions (see `registration.register`). Materialize a new view over a source that has rows.

        Every process that pushes into a source of theirs is told by the online store. Where that is away the definitions are
        stored all the same, and other processes see them within a second.
        """
        metadata, declared = self._stores.metadata, list(definitions)
        changed = registration.register(metadata, self._stores.tables, declared, now_us=self._stores.clock.now_us(), actor=actor)
        self._plans.expire()
        self.registrations += 1
        version = registration.catalog(metadata) if changed else 0
        for source in _sources(changed):
            try:
                PushStream(self._stores, source).require_catalog(version)
            except Unavailable as error:
                _log.warning("online store not told of new definitions", extra={"action": "register", "source": source.name, "reason": str(error)})
        return changed

    def refresh(self, source: str) -> Ingestion | None:
        """Carry what was pushed into the offline table and take in what is new of the source's input, if it has one."""
        self.pushes.flush(source)
        return self.ingestion.refresh(source)


def _sources(records: Iterable[Record]) -> list[Source]:
    """The sources that records are about, each once."""
    found: dict[str, Source] = {}
    for record in records:
        views = record.stored_views if isinstance(record, FeatureService) else (record,) if isinstance(record, FeatureView) else ()
        for source in (record,) if isinstance(record, Source) else (view.source for view in views):
            found[source.name] = source
    return list(found.values())
