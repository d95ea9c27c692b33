"""The loop over HTTP: is it at rest, what does its clock say, what happened."""

from collections.abc import Mapping

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.concurrency import run_in_threadpool

from rota.records.time import Micros, iso
from rota.server.access.permissions import OPEN, needs
from rota.server.wire import Number, Position, body_as, listed, platform_of

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
    """Whether the control plane can do what it is asked: 200, or 503 with the reasons; names nothing of the platform."""
    ill = [condition for condition in platform_of(request).readiness.conditions() if condition.status == "failed"]
    body = msgspec.json.encode({"ready": not ill, "reasons": ill})
    return Response(body, status_code=503 if ill else 200, media_type="application/json", headers={"Retry-After": "5"} if ill else {})


@router.get("/metrics", dependencies=OPEN, response_class=PlainTextResponse)
def metrics(request: Request) -> Response:
    """How many requests were answered how, as Prometheus text: no name of anything."""
    answers: Mapping[int, int] = request.app.state.answers
    lines = ["# HELP rota_control_answers_total Answers of this control-plane process by status.", "# TYPE rota_control_answers_total counter"]
    lines += [f'rota_control_answers_total{{status="{hundreds}xx"}} {answers[hundreds]}' for hundreds in (2, 3, 4, 5)]
    return Response("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4; charset=utf-8")


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
