"""Development and continuous training over HTTP: pipelines, runs and their steps."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from rota.manage.lineage import executions
from rota.ports.metadata import MAX_PAGE
from rota.records.record import plain
from rota.records.run import Deployed, RunQuery
from rota.server.access.permissions import actor_of, identity_of, needs
from rota.server.wire import Number, body_as, listed, paged, platform_of

router = APIRouter()


@router.get("/v1/pipelines", dependencies=needs("pipeline.read"))
def pipelines(request: Request) -> list[object]:
    return listed(platform_of(request).repositories.metadata.find(Deployed))


@router.get("/v1/runs", dependencies=needs("pipeline.read"))
def runs(request: Request, response: Response, workflow: str = "", subject: str = "", after: str = "", limit: Number = 200) -> list[object]:
    """A page of durable runs, newest first."""
    found = platform_of(request).repositories.runs.page(RunQuery(workflow, subject), after=after, limit=min(limit, MAX_PAGE))
    return paged(response, found)


@router.get("/v1/runs/{run_id}", dependencies=needs("pipeline.read"))
def run(request: Request, run_id: str) -> dict[str, object]:
    repositories = platform_of(request).repositories
    found, steps = executions.get(repositories, run_id), repositories.runs.journal(run_id)
    return {"run": plain(found), "steps": listed(steps), "execution": plain(executions.describe(repositories, found, steps))}


class CancelReason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a run is cancelled, for the audit log."""

    reason: Annotated[str, msgspec.Meta(max_length=2_000)] = ""


@router.post("/v1/runs/{run_id}/cancel", dependencies=needs("pipeline.read", takes=CancelReason))
async def cancel(request: Request, run_id: str) -> object:
    """End an open run for good; it asks for the permission to start such a run. 409 when it has ended."""
    why = await body_as(request, CancelReason)
    pipelines = platform_of(request).pipelines
    return plain(await run_in_threadpool(pipelines.cancel, run_id, identity=identity_of(request), reason=why.reason))


@router.post("/v1/pipelines/{pipeline}/runs", dependencies=needs("train.start"))
def start(request: Request, pipeline: str) -> dict[str, object]:
    """Start a training run by hand; 403 when one is active already."""
    return {"run": platform_of(request).pipelines.start(pipeline, actor=actor_of(request))}
