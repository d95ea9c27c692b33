"""What a pushed row of a source goes through: the source's definition and the compiled views over it, kept between pushes.

A plan is read from metadata when a source is met first, and compared with the catalog's version at most once per
`refresh_s`. Between two looks a plan may be older than the catalog; an update of the online store notices that inside its
transaction, because registration and materialization write the catalog version they acted on there (see `online_update`).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rota.errors import Unavailable
from rota.manage.features.definitions import registration
from rota.manage.features.ingestion import source_status
from rota.manage.features.materialization.online_update import DeduplicationIndex
from rota.manage.features.online.reader import StoredView, stored_view
from rota.manage.features.online.row_codec import prefix
from rota.ports.metadata import Metadata
from rota.records.data import FeatureView, Source


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """A source, every stored view over it, its de-duplication index, and the catalog version they were read at (or later)."""

    source: Source
    views: Sequence[StoredView]
    index: DeduplicationIndex
    catalog_version: int
    checked_s: float
    """When the catalog was last asked, by `time.monotonic`."""


class SourcePlans:
    """The plans of one process. Thread-safe: two threads may read a plan twice, and either result is right."""

    def __init__(self, metadata: Metadata, *, refresh_s: float = 1.0) -> None:
        self._metadata = metadata
        self._refresh_s = refresh_s
        self._plans: dict[str, SourcePlan] = {}
        self._compiled: dict[bytes, StoredView] = {}

    def get(self, source: str) -> SourcePlan:
        """The plan of a source, compared with the catalog within the last `refresh_s`; `NotFound` for an unknown source.

        While the metadata store is away a known plan stays in use: nobody can change definitions then.
        """
        known = self._plans.get(source)
        if known is not None and time.monotonic() - known.checked_s < self._refresh_s:
            return known
        try:
            return self.refresh(source)
        except Unavailable:
            if known is None:
                raise
            return known

    def refresh(self, source: str) -> SourcePlan:
        """The plan of a source as the catalog is now."""
        checked_s, version = time.monotonic(), registration.catalog(self._metadata)
        known = self._plans.get(source)
        if known is None or known.catalog_version != version:
            plan = self._read(source, version, checked_s, known)
        else:
            plan = replace(known, checked_s=checked_s)
        self._plans[source] = plan
        return plan

    def expire(self) -> None:
        """Read every plan anew when it is needed next: definitions were changed by this process."""
        self._plans = {}

    def stored(self, view: FeatureView) -> StoredView:
        """A view compiled for the online store."""
        key = prefix(view)
        if key not in self._compiled:
            self._compiled[key] = stored_view(view)
        return self._compiled[key]

    def _read(self, name: str, version: int, checked_s: float, known: SourcePlan | None) -> SourcePlan:
        source = source_status.get(self._metadata, name)
        definitions = {prefix(view): view for view in registration.views_of(self._metadata, name) if view.join_keys}
        # Views without an entity, which were taken once, are left out: their rows could not be found.
        views = [self.stored(view) for view in definitions.values()]
        same = known is not None and (known.source, known.views) == (source, views)
        index = known.index if known is not None and same else DeduplicationIndex(source, views)
        return SourcePlan(source, views, index, version, checked_s)
