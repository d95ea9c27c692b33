"""The registry over HTTP: models, their versions and aliases, endpoints, rollouts, comparisons."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from rota.deploy import experiment_plan, online_results, rollout_explanation, rollout_plan, rollout_states
from rota.deploy.releases import current_release
from rota.deploy.waiting import waiting
from rota.errors import NotFound
from rota.manage.experiments.search_grammar import parse_filter, parse_order
from rota.manage.governance import alias_moves, readiness, version_comparison
from rota.manage.models import model_search, model_versions, registered_models
from rota.records import filters
from rota.records.model import Alias, ModelVersion, RegisteredModel
from rota.records.record import plain
from rota.records.release import Endpoint, Rollout
from rota.server.access.permissions import actor_of, identity_of, needs
from rota.server.wire import Number, body_as, listed, paged, platform_of

router = APIRouter()


class NewModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A name to register versions under."""

    name: str
    description: str = ""
    project: str = "default"
    tags: dict[str, str] = {}


class NewVersion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to register: a run's artifact, or any source that the platform keeps."""

    source: str
    run: str = ""
    description: str = ""
    tags: dict[str, str] = {}


class ModelEdit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What describes a model or a version; what is left out stays."""

    description: str | None = None
    owner: str | None = None
    tags: dict[str, str] | None = None
    removed_tags: list[str] = []


class ModelRename(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another name."""

    name: str


class AliasTarget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where an alias shall point (0: nowhere), and why."""

    number: int
    reason: str = ""


class DeletionReason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A reason, for the audit log."""

    reason: str = ""


@router.get("/v1/models", dependencies=needs("model.read"))
def versions(request: Request, response: Response, model: str = "", after: str = "", limit: Number = 1_000) -> list[object]:
    """A page of model versions."""
    metadata = platform_of(request).repositories.metadata
    return paged(response, metadata.page(ModelVersion, {"model": model} if model else None, after=after, limit=limit))


@router.get("/v1/model-search", dependencies=needs("model.read"))
def search(
    request: Request,
    what: Literal["models", "versions"] = "versions",
    filter: str = "",
    order: Annotated[list[str] | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    page: str = "",
) -> dict[str, object]:
    """Models or versions that meet a filter in MLflow's grammar, page by page."""
    metadata = platform_of(request).repositories.metadata
    if what == "models":
        asked = filters.Query(parse_filter(filter, "registered_model"), parse_order(order or [], "registered_model"), limit, page)
        found: filters.Page[Any] = model_search.models(metadata, asked)
    else:
        asked = filters.Query(parse_filter(filter, "model_version"), parse_order(order or [], "model_version"), limit, page)
        found = model_search.versions(metadata, asked)
    return {what: listed(found.items), "next": found.next}


@router.post("/v1/models", dependencies=needs("model.register", takes=NewModel))
async def create_model(request: Request) -> object:
    new = await body_as(request, NewModel)
    r = platform_of(request).repositories
    model = RegisteredModel(new.name, identity_of(request).project or new.project, actor_of(request), new.description, new.tags)
    return plain(await run_in_threadpool(registered_models.create, r.metadata, model, actor=actor_of(request), now_us=r.clock.now_us()))


@router.get("/v1/models/{model}", dependencies=needs("model.read"))
def model(request: Request, model: str) -> dict[str, object]:
    """A model with its versions and aliases."""
    metadata = platform_of(request).repositories.metadata
    aliases = metadata.find(Alias, {"model": model})
    return {
        "model": plain(registered_models.get(metadata, model)),
        "versions": listed(model_versions.of_model(metadata, model)),
        "aliases": listed(aliases),
    }


@router.patch("/v1/models/{model}", dependencies=needs("model.register", takes=ModelEdit))
async def describe_model(request: Request, model: str) -> object:
    changes = await body_as(request, ModelEdit)
    r = platform_of(request).repositories
    return plain(await run_in_threadpool(registered_models.update, r.metadata, model, **_act(request), **msgspec.structs.asdict(changes)))


@router.delete("/v1/models/{model}", dependencies=needs("model.register", takes=DeletionReason))
async def delete_model(request: Request, model: str) -> dict[str, object]:
    why = await body_as(request, DeletionReason)
    r = platform_of(request).repositories
    act = _act(request) | {"may_release": identity_of(request).may("model.release")}
    await run_in_threadpool(registered_models.delete, r.metadata, model, reason=why.reason, **act)
    return {"deleted": model}


@router.post("/v1/models/{model}/rename", dependencies=needs("model.register", takes=ModelRename))
async def rename_model(request: Request, model: str) -> object:
    to = await body_as(request, ModelRename)
    r = platform_of(request).repositories
    act = _act(request) | {"may_release": identity_of(request).may("model.release")}
    return plain(await run_in_threadpool(registered_models.rename, r.metadata, model, to.name, **act))


@router.post("/v1/models/{model}/versions", dependencies=needs("model.register", takes=NewVersion))
async def register(request: Request, model: str) -> object:
    """Register the next version of a model."""
    new = await body_as(request, NewVersion)
    r = platform_of(request).repositories
    created = await run_in_threadpool(
        model_versions.create, r, model=model, source=new.source, run=new.run, description=new.description, tags=new.tags, actor=actor_of(request)
    )
    return plain(created)


@router.get("/v1/models/{model}/comparison", dependencies=needs("model.read"))
def compared(request: Request, model: str, version: Annotated[list[Number] | None, Query()] = None) -> object:
    """Versions on the same rows, over their trainings, and online."""
    return plain(version_comparison.compare(platform_of(request).repositories, model, version or []))


@router.get("/v1/models/{model}/aliases", dependencies=needs("model.read"))
def aliases(request: Request, model: str) -> list[object]:
    return listed(platform_of(request).repositories.metadata.find(Alias, {"model": model}))


@router.get("/v1/models/{model}/aliases/{alias}", dependencies=needs("model.read"))
def alias_history(request: Request, model: str, alias: str) -> list[object]:
    """Every move of an alias: who, when, why, from which evidence."""
    return listed(alias_moves.history(platform_of(request).repositories.metadata, model, alias))


@router.put("/v1/models/{model}/aliases/{alias}", dependencies=needs("model.register", takes=AliasTarget))
async def move_alias(request: Request, model: str, alias: str) -> object:
    """Move or remove an alias; a protected one takes the permission to release as well."""
    return await _move(request, model, alias)


@router.put("/v1/models/{model}/protected-aliases/{alias}", dependencies=needs("model.release", takes=AliasTarget))
async def move_protected_alias(request: Request, model: str, alias: str) -> object:
    """Move or remove a protected alias, for somebody who releases and does not register."""
    return await _move(request, model, alias)


@router.get("/v1/models/{model}/{number}", dependencies=needs("model.read"))
def version(request: Request, model: str, number: Number) -> dict[str, object]:
    r = platform_of(request).repositories
    found = model_versions.get(r.metadata, model, number)
    standing = readiness.readiness(r.metadata, found, now_us=r.clock.now_us())
    return {
        "version": plain(found),
        "approval_status": found.approval_status,
        "released": standing.open,
        "missing": list(standing.missing),
        "approvals": listed(readiness.decisions(r.metadata, found)),
        "online": [plain(each) for each in online_results.of_version(r.metadata, model, number)],
    }


@router.patch("/v1/models/{model}/{number}", dependencies=needs("model.register", takes=ModelEdit))
async def describe_version(request: Request, model: str, number: Number) -> object:
    changes = await body_as(request, ModelEdit)
    r = platform_of(request).repositories
    return plain(await run_in_threadpool(model_versions.update, r.metadata, model, number, **_act(request), **msgspec.structs.asdict(changes)))


@router.delete("/v1/models/{model}/{number}", dependencies=needs("model.register", takes=DeletionReason))
async def delete_version(request: Request, model: str, number: Number) -> dict[str, object]:
    why = await body_as(request, DeletionReason)
    r = platform_of(request).repositories
    await run_in_threadpool(model_versions.delete, r.metadata, model, number, reason=why.reason, **_act(request))
    return {"deleted": f"{model}@{number}"}


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


@router.get("/v1/endpoints/{name}/rollout-plan", dependencies=needs("model.read"))
def rollout_plan_of(request: Request, name: str, model: str = "") -> dict[str, object]:
    """How long a rollout to the endpoint takes to decide, by its traffic and labels of the last days; of `model`, or of a version "MODEL@VERSION"."""
    platform = platform_of(request)
    found = platform.repositories.metadata.get(Endpoint, name)
    return rollout_plan.as_plain(platform.deliveries.plan(model or (found.model if found is not None else ""), name))


@router.get("/v1/endpoints/{name}/experiment-plan", dependencies=needs("model.read"))
def experiment_plan_of(request: Request, name: str, arms: Number = 1) -> dict[str, object]:
    """How many units the endpoint's experiment with so many candidates takes, and how long these take to come, by its traffic of the last days."""
    return experiment_plan.as_plain(platform_of(request).deliveries.experiment_plan(name, arms=arms))


@router.get("/v1/rollouts/{rollout}/experiment", dependencies=needs("model.read"))
def experiment_of(request: Request, rollout: str) -> dict[str, object]:
    """An experiment: its rollout, its state, and the percent of the traffic by version."""
    repositories = platform_of(request).repositories
    found = rollout_states.experiment(repositories, rollout)
    state = rollout_states.state_of(repositories.metadata, found.rollout)
    return {"rollout": plain(found.rollout), "state": state, "split": {str(number): weight for number, weight in found.split.items()}}


@router.get("/v1/rollouts", dependencies=needs("model.read"))
def rollouts(request: Request, response: Response, endpoint: str = "", after: str = "", limit: Number = 1_000) -> list[object]:
    """A page of rollouts, newest first; on the first page those that wait for their turn before all others."""
    where = {"endpoint": endpoint} if endpoint else None
    r = platform_of(request).repositories
    page = r.metadata.page(Rollout, where, order="-started_us", after=after, limit=limit)
    first = [] if after else waiting(r.metadata, r.runs, endpoint)
    return paged(response, filters.Page([*first, *page.items], page.next))


@router.get("/v1/rollouts/{rollout}/explanation", dependencies=needs("model.read"))
def explain_rollout(request: Request, rollout: str) -> dict[str, object]:
    """Each decision of a rollout, computed again from the log and the labels of its time, beside what was stored."""
    return rollout_explanation.as_plain(platform_of(request).deliveries.explain(rollout))


async def _move(request: Request, model: str, alias: str) -> object:
    to = await body_as(request, AliasTarget)
    r, may_release = platform_of(request).repositories, identity_of(request).may("model.release")
    act: dict[str, Any] = {"actor": actor_of(request), "reason": to.reason, "may_release": may_release}
    if to.number == 0:
        await run_in_threadpool(alias_moves.remove, r, model, alias, **act)
        return {"removed": f"{model}@{alias}"}
    return plain(await run_in_threadpool(alias_moves.move, r, model, alias, to.number, **act))


def _act(request: Request) -> dict[str, Any]:
    return {"actor": actor_of(request), "now_us": platform_of(request).repositories.clock.now_us()}
