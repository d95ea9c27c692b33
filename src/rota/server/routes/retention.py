"""Garbage collection and holds over HTTP."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from rota.manage.retention import holds
from rota.records.record import plain
from rota.server.access.permissions import actor_of, needs
from rota.server.wire import body_as, listed, platform_of

router = APIRouter()


class HoldChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to hold, or to hold no longer, and why; who does it is known from the token."""

    node: str
    reason: str


@router.get("/v1/gc", dependencies=needs("platform.read"))
def planned(request: Request) -> Any:
    """What a collection would remove now."""
    return plain(platform_of(request).housekeeping.collect_garbage(actor=actor_of(request), dry_run=True))


@router.post("/v1/gc", dependencies=needs("platform.operate"))
def collect(request: Request) -> Any:
    """Collect garbage."""
    return plain(platform_of(request).housekeeping.collect_garbage(actor=actor_of(request)))


@router.get("/v1/holds", dependencies=needs("platform.read"))
def standing(request: Request) -> list[Any]:
    return listed(holds.standing(platform_of(request).repositories.metadata))


@router.post("/v1/holds", dependencies=needs("platform.operate", takes=HoldChange))
async def place(request: Request) -> Any:
    sent, repositories = await body_as(request, HoldChange), platform_of(request).repositories
    now_us = repositories.clock.now_us()
    return plain(await run_in_threadpool(holds.place, repositories.metadata, sent.node, sent.reason, actor=actor_of(request), now_us=now_us))


@router.post("/v1/holds/lift", dependencies=needs("platform.operate", takes=HoldChange))
async def lift(request: Request) -> Any:
    sent, repositories = await body_as(request, HoldChange), platform_of(request).repositories
    now_us = repositories.clock.now_us()
    return plain(await run_in_threadpool(holds.lift, repositories.metadata, sent.node, sent.reason, actor=actor_of(request), now_us=now_us))
