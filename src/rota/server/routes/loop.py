"""The loop over HTTP: is it at rest, what does its clock say, what happened."""

from collections.abc import Mapping

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.concurrency import run_in_threadpool

from rota.errors import Refused
from rota.records.record import plain
from rota.records.time import Micros, iso
from rota.rendering import exposition, platform_metrics
from rota.rendering.exposition import MetricFamily, MetricLabels
from rota.server.access.permissions import OPEN, identity_of, needs
from rota.server.wire import Number, Position, body_as, listed, platform_of
from rota.wiring import Platform

router = APIRouter()


class ClockAdvance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """To which moment a replayed clock is advanced."""

    to_us: Micros


@router.get("/healthz", dependencies=OPEN)
def health() -> dict[str, str]:
    """Alive: tells nothing private."""
    return {"status": "ok"}


@router.get("/readyz", dependencies=OPEN)
def readiness(request: Request) -> Response:
    """Whether the control plane can do what it is asked: 200, or 503 with the reasons; `warnings` keep it from nothing.

    Names nothing of the platform.
    """
    conditions = platform_of(request).readiness.conditions()
    ill, warnings = ([each for each in conditions if each.status == status] for status in ("failed", "degraded"))
    body = msgspec.json.encode({"ready": not ill, "reasons": ill, "warnings": warnings})
    return Response(body, status_code=503 if ill else 200, media_type="application/json", headers={"Retry-After": "5"} if ill else {})


@router.get("/metrics", dependencies=OPEN, response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """The platform, and the answers of this process, as Prometheus text: names are for who may monitor, everybody else gets the totals."""
    platform: Platform = request.app.state.platform
    answers: Mapping[int, int] = request.app.state.answers
    by_status: dict[MetricLabels, float] = {(("status", f"{hundreds}xx"),): answers[hundreds] for hundreds in (2, 3, 4, 5)}
    meaning = "Answers of this control-plane process by status."
    counted = MetricFamily.of("rota_control_answers_total", "counter", meaning, by_status)
    found = [counted, *platform_metrics.of(await run_in_threadpool(platform.figures.measured))]
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not await run_in_threadpool(platform.access.may_monitor, secret.strip()):
        found = exposition.nameless(found, public=platform_metrics.PUBLIC)
    return Response(exposition.text(found), media_type=exposition.MEDIA_TYPE)


@router.get("/v1/platform", dependencies=needs("platform.read"))
def platform_state(request: Request) -> object:
    """How the whole platform is: processes, conditions that are not well, the queue by lane, lag, disk and backups."""
    identity = identity_of(request)
    if identity.project or identity.endpoint:
        raise Refused("how the whole platform is, is told to tokens that are not limited to a project or an endpoint")
    platform: Platform = request.app.state.platform
    return plain(platform.figures.measured())


@router.get("/v1/loop", dependencies=needs("platform.read"))
def status(request: Request) -> dict[str, object]:
    """The clock and what could go on right now; an empty `waiting` means that the loop is at rest."""
    platform = platform_of(request)
    now_us = platform.repositories.clock.now_us()
    return {"now_us": now_us, "now": iso(now_us), "waiting": platform.loop.waiting()}


@router.post("/v1/clock", dependencies=needs("platform.operate", takes=ClockAdvance))
async def advance(request: Request) -> dict[str, object]:
    """Move a replayed clock forward; refused on a platform that follows the world's clock."""
    moment = await body_as(request, ClockAdvance)
    await run_in_threadpool(platform_of(request).repositories.clock.advance, moment.to_us)
    return {"now_us": moment.to_us}


@router.get("/v1/events", dependencies=needs("platform.read"))
def events(request: Request, after: Position = 0, limit: Number = 1_000) -> list[object]:
    """Events after a position, oldest first."""
    return listed(platform_of(request).repositories.metadata.events(after, limit=min(limit, 10_000)))


@router.get("/v1/audit", dependencies=needs("audit.read"))
def audit(request: Request, after: Position = 0, limit: Number = 1_000) -> list[object]:
    """Audit entries after a position, oldest first, each with the hash that chains it to the one before."""
    return listed(platform_of(request).repositories.metadata.audit(after, limit=min(limit, 10_000)))
