"""Model management and deployment over HTTP: versions, decisions, endpoints, rollouts, lineage."""

from typing import Literal

import msgspec
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from rota.deploy.releases import current_release
from rota.errors import NotFound
from rota.manage import lineage, registry
from rota.records.model import Alias, Approval, ModelVersion
from rota.records.record import plain
from rota.records.release import Endpoint, Rollout
from rota.server.access import needs
from rota.server.wire import body_as, listed, platform_of

router = APIRouter()


class Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A reviewer's decision."""

    decision: Literal["approve", "reject", "request_changes"]
    reviewer: str
    reason: str


@router.get("/v1/models", dependencies=needs("model.read"))
def versions(request: Request, model: str = "") -> list[object]:
    return listed(platform_of(request).repositories.metadata.find(ModelVersion, {"model": model} if model else None))


@router.get("/v1/models/{model}/aliases", dependencies=needs("model.read"))
def aliases(request: Request, model: str) -> list[object]:
    return listed(platform_of(request).repositories.metadata.find(Alias, {"model": model}))


@router.get("/v1/models/{model}/{number}", dependencies=needs("model.read"))
def version(request: Request, model: str, number: int) -> dict[str, object]:
    metadata = platform_of(request).repositories.metadata
    found = registry.get(metadata, model, number)
    approvals = metadata.find(Approval, {"model": model, "number": number})
    return {"version": plain(found), "approvals": listed(approvals)}


@router.post("/v1/models/{model}/{number}/decision", dependencies=needs("model.approve"))
async def decide(request: Request, model: str, number: int) -> dict[str, object]:
    """Approve, reject, or ask for changes."""
    decision = await body_as(request, Decision)
    platform = platform_of(request)
    await run_in_threadpool(platform.decide, model, number, decision.decision, reviewer=decision.reviewer, reason=decision.reason)
    return {"version": plain(registry.get(platform.repositories.metadata, model, number))}


@router.get("/v1/endpoints", dependencies=needs("model.read"))
def endpoints(request: Request) -> list[object]:
    metadata = platform_of(request).repositories.metadata
    return [{"endpoint": plain(found), "release": plain(current_release(metadata, found.name))} for found in metadata.find(Endpoint)]


@router.get("/v1/endpoints/{name}", dependencies=needs("model.read"))
def endpoint(request: Request, name: str) -> dict[str, object]:
    metadata = platform_of(request).repositories.metadata
    found = metadata.get(Endpoint, name)
    if found is None:
        raise NotFound(f"there is no endpoint {name!r}; known are {[e.name for e in metadata.find(Endpoint)]}", endpoint=name)
    return {"endpoint": plain(found), "release": plain(current_release(metadata, name))}


@router.get("/v1/rollouts", dependencies=needs("model.read"))
def rollouts(request: Request, endpoint: str = "") -> list[object]:
    where = {"endpoint": endpoint} if endpoint else None
    return listed(platform_of(request).repositories.metadata.find(Rollout, where, order="-started_us"))


@router.get("/v1/lineage/prediction/{prediction_id}", dependencies=needs("lineage.read"))
def prediction_lineage(request: Request, prediction_id: str) -> list[object]:
    """The whole chain behind one prediction, from the prediction back to data, code and cause."""
    repositories = platform_of(request).repositories
    chain = lineage.prediction_chain(repositories.metadata, repositories.runs, repositories.tables, prediction_id)
    return [{"node": link.node, "what": link.what, "facts": plain(link.facts)} for link in chain]


@router.get("/v1/lineage/{direction}/{node:path}", dependencies=needs("lineage.read"))
def walk(request: Request, direction: Literal["causes", "effects"], node: str) -> list[object]:
    """Edges from a node towards its causes or effects, nearest first."""
    return listed(lineage.walk(platform_of(request).repositories.metadata, node, direction))
