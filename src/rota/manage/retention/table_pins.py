"""Pins: versions of tables that stay readable, because a record names them or because somebody reads them now."""

from collections import defaultdict
from collections.abc import Mapping

from rota.manage.features.rows import source_table
from rota.manage.repositories import Repositories
from rota.ports.metadata import Batch, Metadata, transact
from rota.records.dataset import DatasetVersion
from rota.records.run import OPEN_STATUSES, RunQuery
from rota.records.signal import Cursor
from rota.records.time import DAY_US, Micros

_PREFIX = "pin/"
_LONGEST_RUN_US = 7 * DAY_US
"""A run that has been open for longer reads nothing any more that only it needs: it waits for somebody."""


def pin(metadata: Metadata, owner: str, versions: Mapping[str, int], *, until_us: Micros) -> None:
    """Keep versions of tables readable for one reader (a backup) until it lifts its pins, at most until a moment of the machine's clock."""

    def store() -> None:
        batch = Batch()
        for table, version in versions.items():
            name = f"{_PREFIX}{owner}/{version}/{table}"
            batch.put(Cursor(name, until_us), replacing=metadata.get(Cursor, name))
        metadata.commit(batch)

    transact(store)


def lift(metadata: Metadata, owner: str) -> None:
    """Lift every pin of a reader."""

    def remove() -> None:
        batch = Batch()
        for cursor in metadata.find(Cursor):
            if cursor.consumer.startswith(f"{_PREFIX}{owner}/"):
                batch.remove(cursor)
        if batch.removals:
            metadata.commit(batch)

    transact(remove)


def pinned(repositories: Repositories, *, wall_us: Micros) -> dict[str, set[int]]:
    """The versions to keep, by table: those of dataset versions, those of the sources that these were built from, and readers' pins."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    for version in repositories.metadata.find(DatasetVersion):
        found[version.table].add(version.table_version)
        for source, number in version.sources.items():
            found[source_table.table_of(source)].add(number)
    for cursor in repositories.metadata.find(Cursor):
        if cursor.consumer.startswith(_PREFIX) and cursor.position > wall_us:
            _, version_text, table = cursor.consumer.removeprefix(_PREFIX).split("/", 2)
            found[table].add(int(version_text))
    return dict(found)


def readable_since(repositories: Repositories, grace_us: Micros, *, wall_us: Micros) -> Micros:
    """From when on every version stays readable: for the grace, and since the oldest open run was made, which may have noted versions."""
    since_us = wall_us - grace_us
    for run in repositories.runs.find(RunQuery(statuses=OPEN_STATUSES)):
        since_us = min(since_us, max(run.created_us, wall_us - _LONGEST_RUN_US))
    return since_us
