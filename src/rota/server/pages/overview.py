"""The control plane's pages: what the loop is doing, for people. Rendered here, no script, nothing loaded from elsewhere.

Each page shows records that a /v1 route gives as JSON. `/enter?token=...` turns a token into a cookie.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rota.deploy.releases import current_release
from rota.errors import NotFound
from rota.manage.datasets import build as datasets
from rota.manage.lineage import audit_chain, notes
from rota.manage.lineage.node_types import type_of
from rota.records.filters import Query
from rota.records.model import Alias, ModelVersion
from rota.records.record import plain
from rota.records.release import Endpoint, Rollout
from rota.records.run import ENDED, Deployed
from rota.records.signal import Alert, MonitorSlice
from rota.records.time import Micros, iso
from rota.rendering import line_charts as charts
from rota.server.access.permissions import COOKIE, OPEN, identify, needs
from rota.server.wire import platform_of
from rota.wiring import Platform

router = APIRouter(include_in_schema=False)

COOKIE_AGE_S = 30 * 86_400
SHOWN_RUNS = 100
SHOWN_DAYS = 400
_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")


@router.get("/enter", dependencies=OPEN)
async def enter(request: Request, token: str = "") -> Response:
    """Exchange the token in the address for a cookie that no script can read and no other site can send."""
    identity = await identify(token, request.app.state.platform)
    if identity is None:
        return problem(401, "This token opens nothing here. Open the address that `rota up` printed, or /enter?token= with one that you were given.")
    response = RedirectResponse("/", status_code=303)
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, token, max_age=COOKIE_AGE_S, httponly=True, samesite="strict", secure=secure)
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


@router.get("/", dependencies=needs("platform.read"))
def overview(request: Request) -> Response:
    platform = platform_of(request)
    repositories = platform.repositories
    metadata = repositories.metadata
    endpoints = [(endpoint, current_release(metadata, endpoint.name)) for endpoint in metadata.find(Endpoint)]
    slices = metadata.find(MonitorSlice, order="-end_us", limit=1)
    return page(
        "overview.html",
        platform,
        pipelines=metadata.find(Deployed, {"environment": platform.settings.environment}),
        experiments=repositories.tracking.search_experiments(Query(limit=1_000)).items,
        active=repositories.runs.find(statuses=("queued", "running", "parked"), limit=100),
        training=repositories.runs.find(workflow="train", limit=SHOWN_RUNS),
        versions=metadata.find(ModelVersion, order="-created_us", limit=SHOWN_RUNS),
        champions=metadata.find(Alias),
        rollouts=metadata.find(Rollout, order="-started_us", limit=SHOWN_RUNS),
        endpoints=endpoints,
        alerts=[alert for alert in metadata.find(Alert, order="-raised_us", limit=SHOWN_RUNS) if alert.status != "resolved"],
        newest_slice=slices[0] if slices else None,
        events=audit_chain.newest_events(metadata, limit=25),
    )


@router.get("/runs", dependencies=needs("pipeline.read"))
def runs(request: Request, workflow: str = "") -> Response:
    platform = platform_of(request)
    found = platform.repositories.runs.find(workflow=workflow, limit=SHOWN_RUNS)
    return page("runs.html", platform, runs=found, workflow=workflow, limit=SHOWN_RUNS)


@router.get("/runs/{run_id}", dependencies=needs("pipeline.read"))
def run(request: Request, run_id: str) -> Response:
    platform = platform_of(request)
    found = platform.repositories.runs.find(id=run_id, limit=1)
    if not found:
        raise NotFound(f"there is no run {run_id!r}; /runs lists the newest", run=run_id)
    steps = platform.repositories.runs.journal(run_id)
    gates = [gate for step in steps if isinstance(step.result, dict) for gate in step.result.get("gates", ())]
    anomalies = [anomaly for step in steps if isinstance(step.result, dict) for anomaly in step.result.get("anomalies", ())]
    longest = max((step.ended_us - step.started_us for step in steps), default=0)
    written = notes.of(platform.repositories.metadata, f"run:{run_id}")
    return page("run.html", platform, run=found[0], steps=steps, gates=gates, anomalies=anomalies, longest=longest, notes=written)


@router.get("/endpoints/{name}", dependencies=needs("model.read"))
def endpoint(request: Request, name: str) -> Response:
    platform = platform_of(request)
    metadata = platform.repositories.metadata
    found = metadata.get(Endpoint, name)
    if found is None:
        raise NotFound(f"there is no endpoint {name!r}; known are {[each.name for each in metadata.find(Endpoint)]}", endpoint=name)
    slices = metadata.find(MonitorSlice, {"endpoint": name}, order="-start_us", limit=SHOWN_DAYS)[::-1]
    alerts = metadata.find(Alert, {"endpoint": name}, order="-raised_us")
    drawn = [(metric, chart) for metric in charts.METRICS if (chart := charts.performance(slices, metric, alerts)) is not None]
    rollouts = metadata.find(Rollout, {"endpoint": name}, order="-started_us")
    return page(
        "endpoint.html",
        platform,
        endpoint=found,
        release=current_release(metadata, name),
        charts=drawn,
        newest=slices[-1] if slices else None,
        alerts=alerts,
        rollouts=rollouts,
    )


@router.get("/alerts", dependencies=needs("monitor.read"))
def alerts(request: Request, status: str = "") -> Response:
    platform = platform_of(request)
    found = platform.repositories.metadata.find(Alert, {"status": status} if status else None, order="-raised_us")
    return page("alerts.html", platform, alerts=found, status=status)


def wanted(request: Request) -> bool:
    """Whether the caller is a browser asking for a page, so that errors should be readable pages too."""
    return "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/v1/")


def problem(status: int, message: str) -> Response:
    """An error as a page."""
    return _html(_templates.get_template("problem.html").render(status=status, message=message, now=""), status)


def page(template: str, platform: Platform, **values: Any) -> Response:
    """One of our templates as a page, with the platform's time."""
    values["now"] = iso(platform.repositories.clock.now_us())
    return _html(_templates.get_template(template).render(values), 200)


def rendered(template: str, **values: Any) -> str:
    """One of our templates as text."""
    return _templates.get_template(template).render(values)


def _html(text: str, status: int) -> Response:
    headers = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}
    return HTMLResponse(text, status, headers)


def _moment(at_us: Micros | None) -> str:
    return "" if at_us is None else iso(at_us - at_us % 1_000_000).replace("T", " ").removesuffix("Z")


def _day(at_us: Micros) -> str:
    return iso(at_us)[:10]


def _lasted(start_us: Micros | None, end_us: Micros | None) -> str:
    if start_us is None or end_us is None:
        return ""
    seconds = (end_us - start_us) / 1e6
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 3_600:.1f} h"


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _small(value: object) -> Mapping[str, object]:
    """Of a step's result, what fits on a line."""
    named = value if isinstance(value, dict) else {"result": value}
    named = {name.removesuffix("_us"): _moment(each) if name.endswith("_us") and isinstance(each, int) else each for name, each in named.items()}
    return {name: each for name, each in named.items() if isinstance(each, str | int | float) and each != "" and len(str(each)) <= 90}


def _headline(metrics: Mapping[str, float]) -> Mapping[str, float]:
    return {name: metrics[name] for name in charts.METRICS if name in metrics} or metrics


def _brief(body: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_number(value)}" for name, value in _small(plain(body)).items())


def _told(body: Mapping[str, Any]) -> str:
    """The facts of an audit entry, changed ones as before and after."""
    facts = plain(body)
    if isinstance(facts.get("after"), dict):
        before, after = facts.pop("before", None) or {}, facts.pop("after")
        changed = {name: value for name, value in after.items() if before.get(name) != value}
        facts |= {
            name: f"{_brief_value(before[name])} \N{RIGHTWARDS ARROW} {_brief_value(value)}" if name in before else value
            for name, value in changed.items()
        }
    return "; ".join(f"{name}: {_brief_value(value)}" for name, value in facts.items() if value not in ("", None))


def _brief_value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else _number(value)


def _link(node: str) -> str:
    """Where a lineage node is shown: on its own page, else in the middle of its graph; "" for a text that is no node."""
    return _own_page(node) or (f"/lineage?node={quote(node, safe='')}" if type_of(node).kind else "")


def _own_page(node: str) -> str:
    """The page of a lineage node, or "" where there is none."""
    kind, _, key = node.partition(":")
    name, _, number = key.partition("@")
    whole, first = quote(key, safe=""), quote(name, safe="")
    pages = {
        "model_version": f"/models/{first}/{number}" if number.isdecimal() else "",
        "dataset_version": f"/datasets/{quote(key, safe='@')}" if number.isdecimal() else "",
        "run": f"/runs/{whole}",
        "experiment_run": f"/experiments/runs/{whole}",
        "prediction": f"/lineage/prediction/{whole}",
        "release": f"/endpoints/{first}",
    }
    return pages.get(kind, "")


def _short(text: str) -> str:
    """A text with its long digests cut to what tells them apart."""
    return _DIGEST.sub(lambda match: match[0][:12] + "\N{HORIZONTAL ELLIPSIS}", text)


def _environment() -> Environment:
    made = Environment(loader=PackageLoader("rota.server"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"moment": _moment, "day": _day, "number": _number, "brief": _brief, "small": _small, "node_link": _link, "own_page": _own_page}
    made.filters |= {"colour": charts.colour, "short": _short, "headline": _headline, "told": _told}
    made.filters["segment"] = lambda text: quote(str(text), safe="")
    made.globals |= {"lasted": _lasted, "ENDED": ENDED, "split_words": datasets.split_words}
    return made


_templates = _environment()
_style = (files("rota.server") / "templates" / "style.css").read_text()
_templates.globals["style"] = Markup(_style)  # noqa: S704 - our own file, and the policy below admits nothing but its digest
_digest = base64.b64encode(hashlib.sha256(_style.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_digest}'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
