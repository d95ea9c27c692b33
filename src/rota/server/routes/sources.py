"""Sources over HTTP: push rows, take in what is new, see what came and what was left out."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool

from rota.manage.features.ingestion import ingestion_log, quarantine, source_status
from rota.records.data import Source
from rota.records.record import plain
from rota.server.access.permissions import actor_of, needs
from rota.server.wire import body_as, check_row_count, listed, platform_of

router = APIRouter()
Limit = Annotated[int, Query(ge=1, le=10_000)]


class PushedRows(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows pushed into a source."""

    rows: list[dict[str, Any]]


@router.get("/v1/sources", dependencies=needs("data.read"))
def list_sources(request: Request) -> list[object]:
    return listed(platform_of(request).repositories.metadata.find(Source))


@router.get("/v1/sources/{source}", dependencies=needs("data.read"))
def show_source(request: Request, source: str) -> dict[str, object]:
    """The definition of a source, and how it stands."""
    r = platform_of(request).repositories
    found = source_status.get(r.metadata, source)
    return {"source": plain(found), "status": plain(source_status.status(r.metadata, r.tables, found, r.clock.now_us()))}


@router.post("/v1/sources/{source}/rows", dependencies=needs("data.push", takes=PushedRows))
async def push(request: Request, source: str) -> dict[str, object]:
    """Push rows: all or none; acknowledged once they are safe and visible online. Rows that a contract quarantines do not count.

    `notices` come with times that look like seconds.
    """
    rows = (await body_as(request, PushedRows)).rows
    check_row_count(request, rows)
    accepted, notices = await run_in_threadpool(platform_of(request).features.push_with_notices, source, rows)
    return {"accepted": accepted, **({"notices": notices} if notices else {})}


@router.post("/v1/sources/{source}/ingest", dependencies=needs("data.write"))
def ingest(request: Request, source: str, final: bool = False) -> dict[str, Any]:
    """Take in what is new of the source's own files or database, and bring it online; a caller cannot name another path.

    `final`: files are finished, so that a last line without an end is a row.
    """
    done: dict[str, Any] = plain(platform_of(request).feed.ingest(source, actor=actor_of(request), final=final))
    return done


@router.get("/v1/sources/{source}/ingestions", dependencies=needs("data.read"))
def ingestions(request: Request, source: str, limit: Limit = 100) -> list[object]:
    """What was taken in, the newest first."""
    metadata = platform_of(request).repositories.metadata
    return listed(ingestion_log.history(metadata, source_status.get(metadata, source).name, limit=limit))


@router.get("/v1/sources/{source}/rejects", dependencies=needs("data.read"))
def rejected(request: Request, source: str, limit: Limit = 100) -> list[dict[str, Any]]:
    """Rows that were left out, the newest first: file, row, reason, and the row as it came."""
    r = platform_of(request).repositories
    return quarantine.read(r.tables, source_status.get(r.metadata, source).name, limit=limit)
