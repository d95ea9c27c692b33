"""Versions of tables that stay readable, because a record names them or because somebody may read them now."""

from collections import defaultdict

from rota.manage import file_claims
from rota.manage.features.rows import source_table
from rota.manage.repositories import Repositories
from rota.records.dataset import DatasetVersion
from rota.records.run import OPEN_STATUSES, RunQuery
from rota.records.time import DAY_US, Micros

_LONGEST_RUN_US = 7 * DAY_US
"""A run that has been open for longer reads nothing any more that only it needs: it waits for somebody."""


def pinned(repositories: Repositories) -> dict[str, set[int]]:
    """The versions to keep, by table: those of dataset versions and those of the sources that these were built from."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    for version in repositories.metadata.find(DatasetVersion):
        found[version.table].add(version.table_version)
        for source, number in version.sources.items():
            found[source_table.table_of(source)].add(number)
    return dict(found)


def readable_since(repositories: Repositories, grace_us: Micros, *, wall_us: Micros) -> Micros:
    """From when on every version stays readable: for the grace, since the oldest open run was made, which may have noted versions, and since a
    backup began that is running.
    """
    running = file_claims.running(repositories.metadata, wall_us)
    since_us = min([wall_us - grace_us, *(backup.began_us for backup in running)])
    for run in repositories.runs.find(RunQuery(statuses=OPEN_STATUSES)):
        since_us = min(since_us, max(run.created_us, wall_us - _LONGEST_RUN_US))
    return since_us
