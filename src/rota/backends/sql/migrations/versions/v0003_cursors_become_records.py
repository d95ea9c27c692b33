"""Revision 0003: cursors only say how far a consumer has read; stream claims, materializations and the catalog's stamp are records.

Each was kept as one cursor a number, with a consumer named after what the number meant.
"""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from alembic import op

from rota.backends.sql.migrations.steps import bodies, insert_rows, record_table, reflected, text_of

revision = "0003"
down_revision = "0002"

_CLAIM = {"flush-start": "start", "flush-end": "end", "flush-entries": "entries"}
_MATERIALIZATION = {"materialized-at": "at_us", "materialized-version": "version", "materialized-keys": "keys"}
_CATALOG = "catalog"


def upgrade() -> None:
    record_table("stream_claim", ["source", "segment"])
    record_table("view_materialization", ["view", "definition"])
    record_table("catalog_stamp", ["catalog"])
    record_table("process_report", ["process"])
    record_table("online_extent", ["source"])
    record_table("arrival_count", ["pipeline", "source"])
    for column in ("parked_us", "sleep_us", "ahead_us"):
        op.add_column("runs", sa.Column(column, sa.BigInteger))
    claims: dict[tuple[str, ...], dict[str, Any]] = {}
    materializations: dict[tuple[str, ...], dict[str, Any]] = {}
    stamps: dict[tuple[str, ...], dict[str, Any]] = {}
    moved = []
    for cursor in bodies("cursor"):
        part, _, named = cursor["consumer"].partition("/")
        if part in _CLAIM:
            source, _, segment = named.partition("/")
            claims.setdefault((source, segment), {})[_CLAIM[part]] = cursor["position"]
        elif part in _MATERIALIZATION:
            view, _, definition = named.rpartition("/")
            materializations.setdefault((view, definition), {})[_MATERIALIZATION[part]] = cursor["position"]
        elif cursor["consumer"] == _CATALOG:
            stamps["features",] = {"changes": cursor["position"]}
        else:
            continue
        moved.append(cursor["consumer"])
    for values in materializations.values():
        if values.get("version") == -1:
            values["version"] = None
    _insert("stream_claim", ("source", "segment"), claims, _CLAIM.values())
    _insert("view_materialization", ("view", "definition"), materializations, _MATERIALIZATION.values())
    _insert("catalog_stamp", ("catalog",), stamps, ("changes",))
    cursors = reflected("cursor")
    for consumer in moved:
        op.get_bind().execute(sa.delete(cursors).where(cursors.c.consumer == consumer))
    op.execute("UPDATE rota_schema SET version = 3")


def _insert(table: str, key: tuple[str, ...], found: dict[tuple[str, ...], dict[str, Any]], fields: Iterable[str]) -> None:
    """The records of which every number was there; the others were never complete, and nobody read them."""
    wanted = set(fields)
    whole = [(dict(zip(key, names, strict=True)), values) for names, values in found.items() if values.keys() >= wanted]
    insert_rows(table, [{**named, "body": text_of(named | values)} for named, values in whole])
