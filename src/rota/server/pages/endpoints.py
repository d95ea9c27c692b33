"""The page of an endpoint: what it serves, how it does, its alerts and rollouts, and what people ask of a rollout under way."""

from functools import partial
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from rota.deploy.releases import current_release
from rota.deploy.waiting import waiting
from rota.errors import NotFound, RotaError
from rota.http_status import status_of
from rota.manage.signals import unheard_alerts
from rota.monitor import status
from rota.ports.metadata import Metadata
from rota.records.release import Endpoint, Rollout
from rota.records.run import Deployed
from rota.records.signal import Alert, MonitorSlice
from rota.rendering import line_charts
from rota.server.access.permissions import actor_of, identity_of, needs
from rota.server.pages.answer import acted, form, page
from rota.server.wire import platform_of

router = APIRouter(include_in_schema=False)

SHOWN_DAYS = 400


@router.get("/endpoints/{name}", dependencies=needs("model.read"))
def endpoint(request: Request, name: str) -> Response:
    """What an endpoint serves, what its monitor sees, and its rollouts with what the visitor may ask of them."""
    return _endpoint(request, name)


@router.post("/rollouts/{rollout}", dependencies=needs("model.release"))
async def command_rollout(request: Request, rollout: str) -> Response:
    """Promote, abort, pause, resume, retry or undo a rollout, and go back to its endpoint; what stands in the way is said above its rollouts."""
    platform, given = platform_of(request), await form(request)
    name = _endpoint_of(platform.repositories.metadata, rollout)
    act = partial(platform.deliveries.command, rollout, given.get("verb", ""), actor=actor_of(request), reason=given.get("reason", ""))
    return await acted(act, partial(_endpoint, request, name), f"/endpoints/{quote(name, safe='')}#rollouts")


def _endpoint_of(metadata: Metadata, rollout: str) -> str:
    found = metadata.get(Rollout, rollout)
    if found is None:
        raise NotFound(f"there is no rollout {rollout!r}; an endpoint's page lists its own", rollout=rollout)
    return found.endpoint


def _endpoint(request: Request, name: str, problem: RotaError | None = None) -> Response:
    platform = platform_of(request)
    metadata = platform.repositories.metadata
    found = metadata.get(Endpoint, name)
    if found is None:
        raise NotFound(f"there is no endpoint {name!r}; known are {[each.name for each in metadata.find(Endpoint)]}", endpoint=name)
    slices = metadata.page(MonitorSlice, {"endpoint": name}, order="-start_us", limit=SHOWN_DAYS).items[::-1]
    alerts = metadata.find(Alert, {"endpoint": name}, order="-raised_us")
    drawn = [(metric, chart) for metric in line_charts.METRICS if (chart := line_charts.performance(slices, metric, alerts)) is not None]
    begun = metadata.find(Rollout, {"endpoint": name}, order="-started_us")
    rollouts = [*waiting(metadata, platform.repositories.runs, name), *begun]
    seen = status.of_endpoint(platform.repositories, name)
    shown = page(
        "endpoint.html",
        platform,
        endpoint=found,
        problem=str(problem) if problem else "",
        may_release=identity_of(request).may("model.release"),
        release=current_release(metadata, name),
        charts=drawn,
        newest=slices[-1] if slices else None,
        alerts=alerts,
        seen=seen,
        notes=unheard_alerts.notes([each.definition for each in metadata.find(Deployed) if each.pipeline == found.model], watched=seen.monitored),
        rollouts=rollouts,
    )
    if problem:
        shown.status_code = status_of(problem)
    return shown
