"""Compaction of a Delta table without a lock: one commit that is put in place only if nothing it builds on has changed.

deltalake's own compaction does not look at what was committed since it began: two at once store every row twice.
"""

import json
import math
import re
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from rota.backends.storage.delta_places import CONFIGURATION, LOG
from rota.backends.storage.s3_bucket import Bucket

_FULL_BYTES = 100 * 2**20
"""Files are joined up to about this size; deltalake's default too."""
_PLAIN = re.compile(r"[A-Za-z0-9._=/-]+")

Row = dict[str, Any]
_STATISTICS: tuple[tuple[str, str, Callable[[list[Any]], Any]], ...] = (
    ("minValues", "min.", min),
    ("maxValues", "max.", max),
    ("nullCount", "null_count.", sum),
)


def compact(delta: DeltaTable, bucket: Bucket, folder: str) -> None:
    """Join the small files of the newest version, which `delta` stands at; `CommitFailedError` where they are no longer there."""
    if delta.metadata().partition_columns:
        return
    groups = list(_groups(pl.DataFrame(delta.get_add_actions(flatten=True)).to_dicts()))
    if not groups:
        return
    now_ms = time.time_ns() // 1_000_000
    actions: list[Row] = [{"commitInfo": {"timestamp": now_ms, "operation": "OPTIMIZE", "operationParameters": {}, "engineInfo": "rota"}}]
    for group in groups:
        actions += [_remove(file, now_ms) for file in group]
        actions.append(_joined(delta, bucket, folder, group, now_ms))
    version = _commit(bucket, folder, delta.version() + 1, "\n".join(map(json.dumps, actions)).encode())
    if version % int(CONFIGURATION["delta.checkpointInterval"]) == 0:
        delta.update_incremental()
        delta.create_checkpoint()


def _groups(files: Sequence[Row]) -> Iterator[list[Row]]:
    """Runs of small files that make about one full one; a lone file stays as it is."""
    group: list[Row] = []
    for file in sorted(files, key=lambda file: (file["modification_time"], file["path"])):
        if file["size_bytes"] >= _FULL_BYTES or not _PLAIN.fullmatch(file["path"]):
            continue
        if group and sum(each["size_bytes"] for each in group) + file["size_bytes"] > _FULL_BYTES:
            if len(group) > 1:
                yield group
            group = []
        group.append(file)
    if len(group) > 1:
        yield group


def _joined(delta: DeltaTable, bucket: Bucket, folder: str, group: Sequence[Row], now_ms: int) -> Row:
    """Write the rows of a group as one file and return the action that adds it."""
    name = f"part-00000-{uuid.uuid4()}-c000.zstd.parquet"
    schema = pl.scan_delta(delta, storage_options=bucket.scan_options).collect_schema()
    options = bucket.scan_options
    paths = [bucket.url(f"{folder}/{file['path']}") for file in group]
    rows = pl.scan_parquet(paths, schema=schema, missing_columns="insert", storage_options=options, credential_provider=None)
    rows.sink_parquet(bucket.url(f"{folder}/{name}"), storage_options=options, credential_provider=None)
    stats = json.dumps(_statistics(schema.names(), group))
    size = bucket.size(f"{folder}/{name}")
    return {"add": {"path": name, "partitionValues": {}, "size": size, "modificationTime": now_ms, "dataChange": False, "stats": stats}}


def _remove(file: Row, now_ms: int) -> Row:
    removed = {"path": file["path"], "deletionTimestamp": now_ms, "dataChange": False, "partitionValues": {}, "size": file["size_bytes"]}
    return {"remove": removed | {"extendedFileMetadata": True}}


def _statistics(names: Sequence[str], group: Sequence[Row]) -> Row:
    """Statistics of the joined file: only what every part says, because readers skip files by them."""
    found: Row = {"numRecords": sum(file["num_records"] for file in group), "minValues": {}, "maxValues": {}, "nullCount": {}}
    for name in names:
        for key, prefix, join in _STATISTICS:
            values: list[Any] = [file.get(prefix + name) for file in group]
            if all(value is not None and (not isinstance(value, float) or math.isfinite(value)) for value in values):
                found[key][name] = join(values)
    return found


def _commit(bucket: Bucket, folder: str, version: int, body: bytes) -> int:
    """Put the commit behind the newest version; appends that came in meanwhile are let pass.

    Our own commit, where the answer to its first request was lost, is refused like another's: the caller looks again then,
    and finds nothing left to join.
    """
    while not bucket.create(f"{folder}/{LOG}/{version:020d}.json", body):
        other = bucket.read(f"{folder}/{LOG}/{version:020d}.json")
        if other is None or any(json.loads(line).keys() & {"remove", "metaData", "protocol"} for line in other.splitlines() if line):
            raise CommitFailedError(f"version {version} changed more than it added")
        version += 1
    return version
