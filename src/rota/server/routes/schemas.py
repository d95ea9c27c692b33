"""Schemas over HTTP: versions, the active one, edits as a whole, and rows held against them."""

from typing import Any

import msgspec
import polars as pl
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from rota.errors import InvalidInput, NotFound
from rota.manage.datasets import schemas
from rota.manage.features.rows import table_adapters
from rota.records.record import plain
from rota.records.schema import Schema
from rota.server.access.permissions import actor_of, needs
from rota.server.wire import Number, body_as, check_row_count, listed, platform_of
from rota.stats.schema_validation import validate

router = APIRouter()


class SchemaEdit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole schema, whose `version` is the one that was edited."""

    schema: Schema


class RowsToValidate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows to be held against a schema."""

    rows: list[dict[str, Any]]
    environment: str = ""


@router.get("/v1/schemas", dependencies=needs("data.read"))
def versions(request: Request, name: str = "") -> list[object]:
    """Versions, newest first."""
    return listed(platform_of(request).repositories.metadata.find(Schema, {"name": name} if name else None, order="-version"))


@router.get("/v1/schemas/{name}", dependencies=needs("data.read"))
def active(request: Request, name: str) -> object:
    """The active version, frozen last; 404 when none was frozen."""
    found = schemas.active(platform_of(request).repositories.metadata, name)
    if found is None:
        raise NotFound(f"no version of schema {name!r} is frozen; `rota data schema freeze {name}` makes its newest one active", schema=name)
    return plain(found)


@router.get("/v1/schemas/{name}/versions/{version}", dependencies=needs("data.read"))
def version(request: Request, name: str, version: Number) -> object:
    return plain(schemas.get(platform_of(request).repositories.metadata, f"{name}@{version}"))


@router.post("/v1/schemas/{name}/versions", dependencies=needs("data.write", takes=SchemaEdit))
async def edit(request: Request, name: str) -> object:
    """Store an edited schema as the next version; 409 when another edit came first."""
    wanted = await body_as(request, SchemaEdit)
    if wanted.schema.name != name:
        raise InvalidInput(f"the body is schema {wanted.schema.name!r}, the address says {name!r}", schema=name)
    repositories = platform_of(request).repositories
    now_us = repositories.clock.now_us()
    return plain(await run_in_threadpool(schemas.edit, repositories.metadata, wanted.schema, author=actor_of(request), now_us=now_us))


@router.post("/v1/schemas/{name}/versions/{version}/freeze", dependencies=needs("data.write"))
def freeze(request: Request, name: str, version: Number) -> object:
    """Make a version the active one."""
    repositories = platform_of(request).repositories
    return plain(schemas.freeze(repositories.metadata, f"{name}@{version}", author=actor_of(request), now_us=repositories.clock.now_us()))


@router.post("/v1/schemas/{name}/validate", dependencies=needs("data.read", takes=RowsToValidate))
async def anomalies(request: Request, name: str) -> list[object]:
    """Anomalies of some rows under the active version, or under the newest version where none is frozen."""
    wanted = await body_as(request, RowsToValidate)
    check_row_count(request, wanted.rows)
    metadata = platform_of(request).repositories.metadata
    expected = schemas.active(metadata, name) or schemas.get(metadata, name)
    return listed(await run_in_threadpool(_validated, expected, wanted))


def _validated(schema: Schema, wanted: RowsToValidate) -> tuple[object, ...]:
    times = {column.name for column in schema.columns if column.type == "timestamp"}
    try:
        frame = table_adapters.timed(pl.DataFrame(wanted.rows, infer_schema_length=None), times, what="the rows")
    except (pl.exceptions.PolarsError, TypeError, OverflowError, ValueError) as error:
        raise InvalidInput(f"the rows are no table: {error}") from error
    return validate(schema, frame, environment=wanted.environment)
