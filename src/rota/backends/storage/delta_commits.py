"""Commits of Delta tables: rows written as files that are durable before the commit that names them, and the commit put in place whole.

deltalake's own writer lets a commit appear before the bytes of the commit and of its files have reached the disk. What a commit holds
follows the Delta protocol (github.com/delta-io/delta, PROTOCOL.md), reader version 1 and writer version 2.
"""

import json
import logging
import math
import re
import time
import uuid
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from rota.backends.storage.table_folders import TableFolder
from rota.errors import Corrupt

LOG = "_delta_log"
CHECKPOINT_EVERY = 20
"""A checkpoint each 20 commits keeps opening a table at some 5 ms; without one it grew to 100 ms in 300 commits."""
CONFIGURATION = {
    "delta.checkpointInterval": str(CHECKPOINT_EVERY),
    # Versions stay readable until Rota itself lets them go: datasets name them.
    "delta.enableExpiredLogCleanup": "false",
}
COMMIT_ID = "rota.commit"
TYPES: Mapping[str, pl.DataType] = {
    "long": pl.Int64(), "double": pl.Float64(), "float": pl.Float32(), "string": pl.String(), "boolean": pl.Boolean(),
    "binary": pl.Binary(),
}  # fmt: skip
_DELTA_TYPES: Mapping[pl.DataType, Any] = {kind: name for name, kind in TYPES.items()} | {
    pl.List(kind): {"type": "array", "elementType": name, "containsNull": True} for name, kind in TYPES.items() if kind != pl.Binary
}
_DECIMAL = re.compile(r"decimal\(([0-9]{1,2}), ?([0-9]{1,2})\)")
_CRC = "rota.crc32"
_UNBOUNDED = (pl.Boolean, pl.List, pl.Binary, pl.Decimal)
"""Bytes have no order that readers share, a decimal's bounds are no numbers of JSON."""
_INDEXED = 32
"""Columns with statistics and characters of a text in them, as Delta's default."""

Row = dict[str, Any]
logger = logging.getLogger("rota.storage")


def commit_name(version: int) -> str:
    """The name of a version's commit in the table's folder."""
    return f"{LOG}/{version:020d}.json"


def checkpoint_name(version: int) -> str:
    """The name of a version's checkpoint in the table's folder."""
    return f"{LOG}/{version:020d}.checkpoint.parquet"


def scalar_type(name: str) -> pl.DataType | None:
    """The Polars type of a scalar type of Delta; None for one that Rota does not store."""
    decimal = _DECIMAL.fullmatch(name)
    return pl.Decimal(int(decimal[1]), int(decimal[2])) if decimal else TYPES.get(name)


def is_plain(delta: DeltaTable) -> bool:
    """Whether a table is such as Rota makes them; another engine's may have rules that only its writer keeps."""
    protocol, metadata = delta.protocol(), delta.metadata()
    fields = delta.schema().fields
    return protocol.min_writer_version <= 2 and not metadata.partition_columns and all(field.nullable and not field.metadata for field in fields)


def information(operation: str, **facts: str) -> Row:
    """The action that tells who made a commit."""
    told = {"timestamp": _now_ms(), "operation": operation, "operationParameters": {}, "engineInfo": "rota"}
    return {"commitInfo": told | facts}


def creation(rows: pl.DataFrame) -> list[Row]:
    """The actions that make a table with the columns of the rows."""
    metadata = {
        "id": str(uuid.uuid4()),
        "format": {"provider": "parquet", "options": {}},
        "schemaString": _schema_text([_field(name, kind) for name, kind in rows.schema.items()]),
        "partitionColumns": [],
        "createdTime": _now_ms(),
        "configuration": CONFIGURATION,
    }
    return [{"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}, {"metaData": metadata}]


def widening(delta: DeltaTable, rows: pl.DataFrame) -> list[Row]:
    """The action that adds columns which are new in the rows; none where all are known."""
    known = json.loads(delta.schema().to_json())["fields"]
    new = [_field(name, kind) for name, kind in rows.schema.items() if name not in {field["name"] for field in known}]
    if not new:
        return []
    found = delta.metadata()
    metadata = {
        "id": str(found.id),
        "name": found.name,
        "description": found.description,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": _schema_text([*known, *new]),
        "partitionColumns": [],
        "createdTime": found.created_time,
        "configuration": dict(found.configuration),
    }
    return [{"metaData": {name: value for name, value in metadata.items() if value is not None}}]


def sequence_of(batch: tuple[str, int]) -> Row:
    """The action that keeps how far a writer came."""
    return {"txn": {"appId": batch[0], "version": batch[1], "lastUpdated": _now_ms()}}


def written(folder: TableFolder, rows: pl.DataFrame) -> list[Row]:
    """Store the rows as a file, durably, and return the action that adds it; none for no rows."""
    return [] if rows.is_empty() else [added(folder, rows.lazy(), statistics(rows), data_change=True)]


def added(folder: TableFolder, rows: pl.LazyFrame, stats: Row, *, data_change: bool) -> Row:
    """Store rows as a file, durably, and return the action that adds it."""
    name, size = folder.store(lambda address: rows.sink_parquet(address, storage_options=folder.scan_options, credential_provider=None))
    told = {"path": name, "partitionValues": {}, "size": size, "modificationTime": _now_ms(), "dataChange": data_change}
    return {"add": told | {"stats": json.dumps(stats)}}


def statistics(rows: pl.DataFrame) -> Row:
    """What readers may skip a file by: the bounds and nulls of its first columns; no bounds where a value has none."""
    found: Row = {"numRecords": rows.height, "minValues": {}, "maxValues": {}, "nullCount": {}}
    first = rows.select(rows.columns[:_INDEXED])
    found["nullCount"] = first.null_count().row(0, named=True)
    bounded = first.select(column for column in first.iter_columns() if column.dtype not in _UNBOUNDED and column.null_count() < rows.height)
    if not bounded.width:
        return found
    floats = bounded.select(pl.selectors.float().is_finite().all())
    finite = floats.row(0, named=True) if floats.width else {}
    bounds = zip(bounded.columns, bounded.min().row(0), bounded.max().row(0), strict=True)
    for name, low, high in bounds:
        if finite.get(name, True):
            found["minValues"][name] = low[:_INDEXED] if isinstance(low, str) else low
            if not isinstance(high, str) or len(high) <= _INDEXED:
                found["maxValues"][name] = high
    return found


def joined_statistics(names: Sequence[str], parts: Sequence[Row]) -> Row:
    """Statistics of a file that joins others: only what every part says. A part is a flat row of deltalake's add actions."""
    found: Row = {"numRecords": sum(part["num_records"] for part in parts), "minValues": {}, "maxValues": {}, "nullCount": {}}
    for name in names:
        for key, prefix, join in (("minValues", "min.", min), ("maxValues", "max.", max), ("nullCount", "null_count.", sum)):
            values: list[Any] = [part.get(prefix + name) for part in parts]
            if all(value is not None and (not isinstance(value, float) or math.isfinite(value)) for value in values):
                found[key][name] = join(values)
    return found


def put(folder: TableFolder, version: int, actions: Sequence[Row]) -> bool:
    """Put a commit in place, durably; False where that version is taken. The first action is its information, which is put last and
    holds the CRC-32 of the lines before."""
    body = "".join(f"{json.dumps(action)}\n" for action in actions[1:]).encode()
    last = json.dumps({"commitInfo": actions[0]["commitInfo"] | {_CRC: zlib.crc32(body)}}).encode()
    return folder.create(commit_name(version), body + last)


def read(folder: TableFolder, version: int) -> list[Row] | None:
    """The actions of a commit, or None where there is none (any more); raises `Corrupt` where they are not what was put there."""
    name = commit_name(version)
    data = folder.read(name)
    if data is None:
        return None
    try:
        actions = [json.loads(line) for line in data.splitlines() if line]
        body = data[: data.rfind(b"\n") + 1]
        crc = actions[-1].get("commitInfo", {}).get(_CRC)
    except (ValueError, IndexError, AttributeError) as error:
        raise _damaged(folder, name) from error
    if crc is not None and crc != zlib.crc32(body):
        raise _damaged(folder, name)
    return actions


def checkpoint(delta: DeltaTable, folder: TableFolder, version: int) -> None:
    """Give a version its checkpoint when it is due. The commit counts without: what fails here is only slower to open."""
    if version == 0 or version % CHECKPOINT_EVERY:
        return
    try:
        write_checkpoint(delta, folder)
    except (DeltaError, OSError) as error:
        logger.warning("no checkpoint of %s: %s", delta.table_uri, error, extra={"action": "checkpoint", "table": delta.table_uri})


def write_checkpoint(delta: DeltaTable, folder: TableFolder) -> None:
    """Write, durably, the checkpoint of the version at which `delta` stands."""
    delta.create_checkpoint()
    folder.settle([checkpoint_name(delta.version()), f"{LOG}/_last_checkpoint"])


def _field(name: str, kind: pl.DataType) -> Row:
    told = f"decimal({kind.precision},{kind.scale})" if isinstance(kind, pl.Decimal) else _DELTA_TYPES[kind]
    return {"name": name, "type": told, "nullable": True, "metadata": {}}


def _schema_text(fields: Sequence[Row]) -> str:
    return json.dumps({"type": "struct", "fields": list(fields)})


def _damaged(folder: TableFolder, name: str) -> Corrupt:
    place = folder.address(name)
    return Corrupt(f"{place} is not what was stored there; restore that file from a backup, or drop the table", path=place)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
