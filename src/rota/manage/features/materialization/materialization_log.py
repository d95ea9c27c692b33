"""When each view was last materialized, and from which version of its source's table."""

from collections.abc import Sequence

from rota.manage.features.online.reader import StoredView
from rota.manage.features.online.row_codec import prefix
from rota.ports.metadata import Batch, Metadata, transact
from rota.records.data import FeatureService
from rota.records.intake import ViewMaterialization
from rota.records.time import Micros

_MOST_TIMES = 10_000


def last(metadata: Metadata, view: StoredView) -> ViewMaterialization | None:
    """The last materialization of a definition of a view."""
    return metadata.get(ViewMaterialization, view.view.name, view.prefix.hex())


def times(metadata: Metadata, service: FeatureService) -> dict[str, tuple[Micros, ...]]:
    """When each stored view of a service was materialized, in order, by its definition (see `ViewMaterialization`)."""
    definitions = [(view.name, prefix(view).hex()) for view in service.stored_views]
    found = {definition: metadata.get(ViewMaterialization, name, definition) for name, definition in definitions}
    return {definition: known.times or (known.at_us,) for definition, known in found.items() if known is not None}


def record(metadata: Metadata, views: Sequence[StoredView], version: int | None, at_us: Micros, keys: int) -> None:
    """Record a materialization of views."""

    def store() -> None:
        batch = Batch()
        for view in views:
            known = last(metadata, view)
            before = known.times or (known.at_us,) if known is not None else ()
            moments = tuple(sorted({*before, at_us})[-_MOST_TIMES:])
            batch.put(ViewMaterialization(view.view.name, view.prefix.hex(), at_us, version, keys, moments), replacing=known)
        metadata.commit(batch)

    transact(store)
