"""Continuous monitoring over HTTP: labels and business outcomes come in, alerts and measured slices go out."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from rota.errors import NotFound, Refused
from rota.manage.models import model_versions
from rota.manage.signals import business_outcomes as outcomes
from rota.manage.signals import platform_alerts
from rota.monitor import compare, status, vectors
from rota.records import early_times
from rota.records.record import plain
from rota.records.release import Endpoint
from rota.records.signal import Alert, MonitorSlice
from rota.server.access.permissions import actor_of, identity_of, needs
from rota.server.wire import Number, body_as, check_row_count, paged, platform_of

router = APIRouter()


class Labels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Truths about predictions."""

    labels: list[dict[str, Any]]


@router.post("/v1/endpoints/{endpoint}/labels", dependencies=needs("label", takes=Labels))
async def label(request: Request, endpoint: str) -> dict[str, object]:
    """Report truths; they may come late, twice and in any order: the newest by `at_us` counts."""
    labels = (await body_as(request, Labels)).labels
    check_row_count(request, labels, "labels")
    return _accepted(request, labels, await run_in_threadpool(platform_of(request).signals.label, endpoint, labels))


class Outcomes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What came of predictions for the business."""

    outcomes: list[dict[str, Any]]


@router.post("/v1/endpoints/{endpoint}/outcomes", dependencies=needs("outcome.write", takes=Outcomes))
async def report_outcomes(request: Request, endpoint: str) -> dict[str, object]:
    """Report outcomes (prediction_id, name, value, at_us); the newest of a prediction and name by `at_us` counts."""
    reported = (await body_as(request, Outcomes)).outcomes
    check_row_count(request, reported, "outcomes")
    return _accepted(request, reported, await run_in_threadpool(platform_of(request).signals.outcome, endpoint, reported))


@router.post("/v1/outcomes", dependencies=needs("outcome.write", takes=Outcomes))
async def report_outcomes_anywhere(request: Request) -> dict[str, object]:
    """Report outcomes without naming the endpoint: they count where their predictions were made."""
    if project := identity_of(request).project:
        raise Refused(f"a token of project {project!r} reports outcomes to /v1/endpoints/ENDPOINT/outcomes, where the project is known")
    reported = (await body_as(request, Outcomes)).outcomes
    check_row_count(request, reported, "outcomes")
    return _accepted(request, reported, await run_in_threadpool(platform_of(request).signals.outcome, "", reported))


def _accepted(request: Request, reported: list[dict[str, Any]], count: int) -> dict[str, object]:
    """How many were taken, and what is to be said of their times."""
    notices = early_times.of_rows({"at_us": "timestamp", "at": "timestamp"}, reported, platform_of(request).repositories.clock.now_us())
    return {"accepted": count, **({"notices": notices} if notices else {})}


@router.get("/v1/endpoints/{endpoint}/outcomes", dependencies=needs("monitor.read"))
def outcome_report(request: Request, endpoint: str, days: Annotated[int, Query(ge=1, le=36_500)] = outcomes.WINDOW_DAYS) -> object:
    """Outcomes of the last days' predictions by version: how many, sum, mean, per prediction; and how many have no prediction."""
    repositories = platform_of(request).repositories
    if repositories.metadata.get(Endpoint, endpoint) is None:
        raise NotFound(f"there is no endpoint {endpoint!r}", endpoint=endpoint)
    return plain(outcomes.report(repositories, endpoint, days=days))


@router.get("/v1/alerts", dependencies=needs("monitor.read"))
def list_alerts(request: Request, response: Response, endpoint: str = "", status: str = "", after: str = "", limit: Number = 1_000) -> list[object]:
    """A page of alerts, newest first."""
    where = {name: value for name, value in (("endpoint", endpoint), ("status", status)) if value}
    metadata = platform_of(request).repositories.metadata
    return paged(response, metadata.page(Alert, where, order="-raised_us", after=after, limit=limit))


@router.post("/v1/alerts/{alert}/acknowledge", dependencies=needs("monitor.act"))
def acknowledge(request: Request, alert: str) -> object:
    """Somebody has seen an open alert; one of something that happened once ends with it."""
    repositories = platform_of(request).repositories
    return plain(platform_alerts.acknowledge(repositories.metadata, alert, actor=actor_of(request), now_us=repositories.clock.now_us()))


@router.get("/v1/endpoints/{endpoint}/slices", dependencies=needs("monitor.read"))
def slices(request: Request, response: Response, endpoint: str, after: str = "", limit: Number = 400) -> list[object]:
    """A page of measured slices of an endpoint, newest first."""
    metadata = platform_of(request).repositories.metadata
    return paged(response, metadata.page(MonitorSlice, {"endpoint": endpoint}, order="-start_us", after=after, limit=min(limit, 5_000)))


@router.get("/v1/endpoints/{endpoint}/monitor", dependencies=needs("monitor.read"))
def monitor_status(request: Request, endpoint: str) -> object:
    """What the endpoint's monitor sees: the newest result of each check, its state, and what could not be judged and why."""
    repositories = platform_of(request).repositories
    if repositories.metadata.get(Endpoint, endpoint) is None:
        raise NotFound(f"there is no endpoint {endpoint!r}", endpoint=endpoint)
    seen = status.of_endpoint(repositories, endpoint)
    return plain(seen) | {"states": dict(seen.states)}


@router.get("/v1/endpoints/{endpoint}/compare", dependencies=needs("monitor.read"))
def compare_months(request: Request, endpoint: str, version: Number) -> list[dict[str, Any]]:
    """Per month, the answers given beside what another version would have answered on the same logged features."""
    platform = platform_of(request)
    found = platform.repositories.metadata.get(Endpoint, endpoint)
    if found is None:
        raise NotFound(f"there is no endpoint {endpoint!r}", endpoint=endpoint)
    other = model_versions.get(platform.repositories.metadata, found.model, version)
    return compare.by_month(platform.repositories, platform.formats, endpoint, other)


@router.get("/v1/endpoints/{endpoint}/log", dependencies=needs("monitor.read"))
def count_log(request: Request, endpoint: str) -> dict[str, int]:
    """How many predictions the log holds, and how many of them have a label."""
    return compare.counts(platform_of(request).repositories, endpoint)


@router.get("/v1/endpoints/{endpoint}/parity", dependencies=needs("monitor.read"))
def check_parity(request: Request, endpoint: str, rows: Number = compare.PARITY_ROWS) -> dict[str, Any]:
    """Training == serving: features recomputed for logged predictions, and the cells that differ; `not_compared` of versions that are gone."""
    platform = platform_of(request)
    found = compare.check_parity(platform.repositories, platform.feed.pushes, endpoint, rows=rows)
    if not found.rows and not found.not_compared:
        raise NotFound(f"endpoint {endpoint!r} has no logged predictions yet", endpoint=endpoint)
    told = {
        "different": len(found.differing),
        "outcome": found.outcome,
        "not_compared": found.not_compared,
        "left_out": found.left_out,
        "examples": found.differing[:10],
    }
    return {"rows": found.rows, "cells": found.cells} | told


@router.get("/v1/endpoints/{endpoint}/two-sample-test", dependencies=needs("monitor.read"))
def check_vectors(request: Request, endpoint: str, feature: str, days: Number = vectors.TESTED_DAYS) -> dict[str, Any]:
    """Whether a classifier tells an embedding's served vectors of the newest days from those of the training data: state, accuracy, p_value, rows."""
    found = vectors.two_sample(platform_of(request).repositories, endpoint, feature, days=days)
    return {"feature": feature, "days": days, **vectors.plain_verdict(found), "message": vectors.sentence(found)}
