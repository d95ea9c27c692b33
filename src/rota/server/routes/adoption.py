"""Models from elsewhere over HTTP: adopting, allowing pickle, and the endpoints and monitors that no project declares."""

import msgspec
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from rota.errors import Refused
from rota.manage.models import endpoints, model_versions, pickle_signing
from rota.records.record import plain
from rota.records.release import Canary, Endpoint
from rota.records.run import Run
from rota.records.signal import Monitor
from rota.server.access.permissions import actor_of, needs
from rota.server.wire import Number, body_as, platform_of

router = APIRouter()


class PickleReason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why pickle is allowed or forbidden."""

    reason: str


class EndpointDeclaration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An endpoint of a registered model."""

    model: str
    rollout: Canary = Canary()


class MonitorDeclaration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When an endpoint is looked at, how many false alarms the team can live with, and which checks are off ("drift", "drift:FEATURE")."""

    schedule: str = "0 1 * * *"
    expected_days_between_false_alarms: int = 90
    off: tuple[str, ...] = ()


@router.post("/v1/models/{model}/{number}/adopt", dependencies=needs("model.register"))
def adopt(request: Request, model: str, number: Number) -> dict[str, str]:
    """Let a worker make a version from elsewhere servable, again: its files are read by a process of the worker's."""
    r = platform_of(request).repositories
    version = model_versions.live(r.metadata, model, number)
    if version.bundle:
        raise Refused(f"{version.id} can be served already", version=version.id)
    now_us = r.clock.now_us()
    arguments = {"model": model, "number": number}
    run = Run(f"adopt.{model}.{number}.manual.{now_us}", "adopt", version.id, arguments, now_us, f"person:{actor_of(request)}")
    r.runs.submit(run)
    return {"run": run.id}


@router.put("/v1/models/{model}/pickle", dependencies=needs("model.unsafe", takes=PickleReason))
async def allow_pickle(request: Request, model: str) -> object:
    """Allow that a model's versions are kept as pickle."""
    why, r = await body_as(request, PickleReason), platform_of(request).repositories
    return plain(
        await run_in_threadpool(pickle_signing.allow, r.metadata, model, actor=actor_of(request), reason=why.reason, now_us=r.clock.now_us())
    )


@router.delete("/v1/models/{model}/pickle", dependencies=needs("model.unsafe", takes=PickleReason))
async def forbid_pickle(request: Request, model: str) -> object:
    """Withdraw the allowance."""
    why, r = await body_as(request, PickleReason), platform_of(request).repositories
    return plain(
        await run_in_threadpool(pickle_signing.forbid, r.metadata, model, actor=actor_of(request), reason=why.reason, now_us=r.clock.now_us())
    )


@router.put("/v1/endpoints/{endpoint}", dependencies=needs("pipeline.deploy", takes=EndpointDeclaration))
async def declare_endpoint(request: Request, endpoint: str) -> object:
    """Declare an endpoint; one that is declared otherwise stays, and is a conflict."""
    wanted, r = await body_as(request, EndpointDeclaration), platform_of(request).repositories
    made = Endpoint(endpoint, wanted.model, wanted.rollout)
    return plain(await run_in_threadpool(endpoints.create, r.metadata, made, actor=actor_of(request), now_us=r.clock.now_us()))


@router.put("/v1/endpoints/{endpoint}/monitor", dependencies=needs("pipeline.deploy", takes=MonitorDeclaration))
async def watch(request: Request, endpoint: str) -> object:
    """Watch an endpoint from now on, or otherwise than before."""
    wanted, r = await body_as(request, MonitorDeclaration), platform_of(request).repositories

    def act() -> Monitor:
        days = wanted.expected_days_between_false_alarms
        by, now_us = actor_of(request), r.clock.now_us()
        return endpoints.watch(
            r.metadata, endpoint, schedule=wanted.schedule, days_between_false_alarms=days, off=wanted.off, actor=by, now_us=now_us
        )

    return plain(await run_in_threadpool(act))
