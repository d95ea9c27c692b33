"""Compaction of a Delta table: one commit that is put in place only if nothing it builds on has changed.

deltalake's own compaction does not look at what was committed since it began: two at once store every row twice. It also joins
all small files each time, so that many small appends rewrite what is there again and again; here a file is rewritten only into one
at least twice as large, so that n appends rewrite each row at most log2(n) times and leave about as many files.
"""

import re
from collections.abc import Iterator, Sequence

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from rota.backends.storage import delta_commits
from rota.backends.storage.delta_commits import Row
from rota.backends.storage.table_folders import TableFolder

_FULL_BYTES = 100 * 2**20
"""Files are joined up to about this size; deltalake's default too."""
_PLAIN = re.compile(r"[A-Za-z0-9._=/-]+")


def compact(delta: DeltaTable, folder: TableFolder) -> None:
    """Join the small files of the newest version, which `delta` stands at; `CommitFailedError` where they are no longer there."""
    if not delta_commits.is_plain(delta):
        return
    groups = list(_groups(pl.DataFrame(delta.get_add_actions(flatten=True)).to_dicts()))
    if not groups:
        return
    actions: list[Row] = [delta_commits.information("OPTIMIZE")]
    for group in groups:
        actions += [_remove(file, actions[0]["commitInfo"]["timestamp"]) for file in group]
        actions.append(_joined(delta, folder, group))
    version = _commit(folder, delta.version() + 1, actions)
    delta.update_incremental()
    if delta.version() == version:
        delta_commits.checkpoint(delta, folder, version)


def _groups(files: Sequence[Row]) -> Iterator[list[Row]]:
    """Files to join into about full ones: as many of the smallest as leave none that makes up more than half of what it goes into."""
    small = sorted(
        (file for file in files if file["size_bytes"] < _FULL_BYTES and _PLAIN.fullmatch(file["path"])), key=lambda file: file["size_bytes"]
    )
    count = len(small)
    while count > 1 and small[count - 1]["size_bytes"] > sum(file["size_bytes"] for file in small[: count - 1]):
        count -= 1
    group: list[Row] = []
    for file in sorted(small[:count], key=lambda file: (file["modification_time"], file["path"])):
        if group and sum(each["size_bytes"] for each in group) + file["size_bytes"] > _FULL_BYTES:
            if len(group) > 1:
                yield group
            group = []
        group.append(file)
    if len(group) > 1:
        yield group


def _joined(delta: DeltaTable, folder: TableFolder, group: Sequence[Row]) -> Row:
    """Write the rows of a group as one file and return the action that adds it."""
    options = folder.scan_options
    schema = pl.scan_delta(delta, storage_options=options).collect_schema()
    paths = [folder.address(file["path"]) for file in group]
    rows = pl.scan_parquet(paths, schema=schema, missing_columns="insert", storage_options=options, credential_provider=None)
    return delta_commits.added(folder, rows, delta_commits.joined_statistics(schema.names(), group), data_change=False)


def _remove(file: Row, now_ms: int) -> Row:
    removed = {"path": file["path"], "deletionTimestamp": now_ms, "dataChange": False, "partitionValues": {}, "size": file["size_bytes"]}
    return {"remove": removed | {"extendedFileMetadata": True}}


def _commit(folder: TableFolder, version: int, actions: Sequence[Row]) -> int:
    """Put the commit behind the newest version; appends that came in meanwhile are let pass.

    Our own commit, where the answer to its first request was lost, is refused like another's: the caller looks again then,
    and finds nothing left to join.
    """
    while not delta_commits.put(folder, version, actions):
        other = delta_commits.read(folder, version)
        if other is None or any(action.keys() & {"remove", "metaData", "protocol"} for action in other):
            raise CommitFailedError(f"version {version} changed more than it added")
        version += 1
    return version
