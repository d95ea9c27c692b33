"""When each view was last materialized, and from which version of its source's table."""

from collections.abc import Sequence

from rota.manage.features.online.reader import StoredView
from rota.ports.metadata import ANYTHING, Batch, Metadata
from rota.records.intake import ViewMaterialization
from rota.records.time import Micros


def last(metadata: Metadata, view: StoredView) -> ViewMaterialization | None:
    """The last materialization of a definition of a view."""
    return metadata.get(ViewMaterialization, view.view.name, view.prefix.hex())


def record(metadata: Metadata, views: Sequence[StoredView], version: int | None, at_us: Micros, keys: int) -> None:
    """Record a materialization of views."""
    batch = Batch()
    for view in views:
        batch.put(ViewMaterialization(view.view.name, view.prefix.hex(), at_us, version, keys), replacing=ANYTHING)
    metadata.commit(batch)
