"""The control plane's pages: what the loop is doing, for people. Rendered here, no script, nothing loaded from elsewhere.

Each page shows records that a /v1 route gives as JSON. `/enter?token=...` begins a session, `/leave` ends it.
"""

from functools import partial
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from rota.deploy.releases import current_release
from rota.errors import NotFound, RotaError
from rota.http_status import status_of
from rota.loop.pipelines import permission_to_cancel
from rota.manage.access import sessions
from rota.manage.lineage import audit_chain, executions, notes
from rota.manage.signals.alerts import every_open_alert
from rota.monitor import status
from rota.records import check
from rota.records.filters import Query
from rota.records.model import Alias, ModelVersion
from rota.records.release import Endpoint, Rollout
from rota.records.run import ENDED, OPEN_STATUSES, Deployed, RunQuery
from rota.records.signal import Alert, Monitor, MonitorSlice
from rota.server.access.permissions import ANYBODY, COOKIE, FORMER_COOKIE, OPEN, identify, identity_of, needs
from rota.server.pages.answer import acted, form, outside, page, problem
from rota.server.wire import platform_of

router = APIRouter(include_in_schema=False)

SHOWN_RUNS = 100
SHOWN_DAYS = 400
SHOWN_MONITORS = 8


@router.get("/enter", dependencies=OPEN)
async def enter(request: Request, token: str = "") -> Response:
    """Begin a session with the token in the address; its id goes into a cookie that no script can read and no other site can send."""
    platform = request.app.state.platform
    identity = await identify(token, platform)
    if identity is None:
        return problem(401, "This token opens nothing here. Open the address that `rota up` printed, or /enter?token= with one that you were given.")
    key = await run_in_threadpool(platform.access.begin_session, identity, token)
    await run_in_threadpool(platform.access.end_session, request.cookies.get(COOKIE, ""))
    response = RedirectResponse("/", status_code=303)
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, key, max_age=sessions.LONGEST_US // 1_000_000, httponly=True, samesite="strict", secure=secure)
    response.delete_cookie(FORMER_COOKIE)
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


@router.post("/leave", dependencies=ANYBODY)
def leave(request: Request) -> Response:
    """End the session of this browser."""
    request.app.state.platform.access.end_session(request.cookies.get(COOKIE, ""))
    response = outside("This browser's session has ended. To come in again open /enter?token=TOKEN; `rota token` prints the address.")
    response.delete_cookie(COOKIE)
    return response


@router.get("/", dependencies=needs("platform.read"))
def overview(request: Request) -> Response:
    platform = platform_of(request)
    repositories = platform.repositories
    metadata = repositories.metadata
    monitored = [monitor.endpoint.name for monitor in metadata.find(Monitor)]
    watched = [(name, status.of_endpoint(repositories, name)) for name in monitored[:SHOWN_MONITORS]]
    endpoints = [(endpoint, current_release(metadata, endpoint.name)) for endpoint in metadata.find(Endpoint)]
    slices = metadata.page(MonitorSlice, order="-end_us", limit=1).items
    return page(
        "overview.html",
        platform,
        pipelines=metadata.find(Deployed, {"environment": platform.settings.environment}),
        experiments=repositories.tracking.search_experiments(Query(limit=1_000)).items,
        active=repositories.runs.find(RunQuery(statuses=OPEN_STATUSES)),
        training=repositories.runs.page(RunQuery("train"), limit=SHOWN_RUNS).items,
        versions=metadata.page(ModelVersion, order="-created_us", limit=SHOWN_RUNS).items,
        champions=metadata.find(Alias),
        rollouts=metadata.page(Rollout, order="-started_us", limit=SHOWN_RUNS).items,
        endpoints=endpoints,
        alerts=every_open_alert(metadata),
        newest_slice=slices[0] if slices else None,
        watched=watched,
        unshown=max(0, len(monitored) - SHOWN_MONITORS),
        events=audit_chain.newest_events(metadata, limit=25),
    )


@router.get("/runs", dependencies=needs("pipeline.read"))
def runs(request: Request, workflow: str = "") -> Response:
    platform = platform_of(request)
    found = platform.repositories.runs.page(RunQuery(workflow), limit=SHOWN_RUNS).items
    return page("runs.html", platform, runs=found, workflow=workflow, limit=SHOWN_RUNS)


@router.get("/runs/{run_id}", dependencies=needs("pipeline.read"))
def run(request: Request, run_id: str) -> Response:
    """A run with its steps, and what the visitor may ask of it."""
    return _run(request, run_id)


@router.post("/runs/{run_id}/cancel", dependencies=needs("pipeline.read"))
async def cancel(request: Request, run_id: str) -> Response:
    """Cancel a run and go back to its page; what stands in the way is said there."""
    platform, given = platform_of(request), await form(request)
    act = partial(platform.pipelines.cancel, run_id, identity=identity_of(request), reason=given.get("reason", "")[:2_000])
    return await acted(act, partial(_run, request, run_id), f"/runs/{quote(run_id, safe='')}")


def _run(request: Request, run_id: str, problem: RotaError | None = None) -> Response:
    platform = platform_of(request)
    found = platform.repositories.runs.get(run_id)
    if found is None:
        raise NotFound(f"there is no run {run_id!r}; /runs lists the newest", run=run_id)
    steps = platform.repositories.runs.journal(run_id)
    gates = [check.from_stored(gate) for step in steps if isinstance(step.result, dict) for gate in step.result.get("gates", ())]
    named = {gate.check for gate in gates}
    checks = [result for result in executions.checked(steps) if result.check not in named]
    anomalies = [anomaly for step in steps if isinstance(step.result, dict) for anomaly in step.result.get("anomalies", ())]
    longest = max((step.ended_us - step.started_us for step in steps), default=0)
    written = notes.of(platform.repositories.metadata, f"run:{run_id}")
    shown = page(
        "run.html",
        platform,
        run=found,
        steps=steps,
        gates=gates,
        checks=checks,
        anomalies=anomalies,
        longest=longest,
        notes=written,
        problem=str(problem) if problem else "",
        may_cancel=found.status not in ENDED and identity_of(request).may(permission_to_cancel(found)),
    )
    if problem:
        shown.status_code = status_of(problem)
    return shown


@router.get("/alerts", dependencies=needs("monitor.read"))
def alerts(request: Request, status: str = "") -> Response:
    platform = platform_of(request)
    found = platform.repositories.metadata.find(Alert, {"status": status} if status else None, order="-raised_us")
    return page("alerts.html", platform, alerts=found, status=status)
