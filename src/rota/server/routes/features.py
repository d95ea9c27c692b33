"""The feature repository over HTTP: catalog, versions, users, values online and in history, materialization."""

from typing import Any, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from rota.errors import InvalidInput
from rota.manage.features.definitions import references, versions
from rota.records.limits import ONLINE_VALUES
from rota.records.record import plain
from rota.server.access.permissions import actor_of, needs
from rota.server.wire import Number, body_as, check_row_count, listed, platform_of

router = APIRouter()
MOST_ROWS = 10_000
"""Rows of one historical request; larger frames go through `rota features historical` or `rota.FeatureStore`."""


class OnlineRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Features asked for entities."""

    features: list[str] | str
    entity_rows: list[dict[str, Any]]
    full_feature_names: bool = True


class HistoricalFeaturesRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Features asked for rows of entities, each at its time."""

    features: list[str] | str
    entity_rows: list[dict[str, Any]]
    as_of: Literal["event", "served"] = "event"
    timestamp: str = "event_timestamp"
    full_feature_names: bool = True


class MaterializationRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Views to bring online; none named means all."""

    feature_views: list[str] | None = None
    incremental: bool = False


@router.get("/v1/features", dependencies=needs("data.read"))
def search(request: Request, text: str = "", owner: str = "", tag: str = "", entity: str = "", type: str = "", kind: str = "") -> list[object]:
    """The catalog: entries in which all words of the text stand."""
    return listed(platform_of(request).features.search(text, owner=owner, tag=tag, entity=entity, type=type, kind=kind))


@router.get("/v1/features/status", dependencies=needs("data.read"))
def status(request: Request) -> list[object]:
    """Freshness of every view."""
    return listed(platform_of(request).features.status())


@router.post("/v1/features/online", dependencies=needs("data.read", takes=OnlineRequest))
async def online(request: Request) -> Response:
    """The newest values, with status and event time of each."""
    asked = await body_as(request, OnlineRequest)
    check_row_count(request, asked.entity_rows)
    wanted = len(asked.entity_rows) * (1 if isinstance(asked.features, str) else len(asked.features))
    if wanted > ONLINE_VALUES:
        raise InvalidInput(
            f"the request asks for {wanted} values, at most {ONLINE_VALUES} are answered at once; ask in portions", limit=ONLINE_VALUES
        )
    store = platform_of(request).features
    answer = await run_in_threadpool(store.get_online_features, asked.features, asked.entity_rows, full_feature_names=asked.full_feature_names)
    return _json({"values": answer.to_dict(), "statuses": answer.statuses(), "event_times_us": answer.event_times()})


@router.post("/v1/features/historical", dependencies=needs("data.read", takes=HistoricalFeaturesRequest))
async def historical(request: Request) -> Response:
    """The rows with one column for each feature, as it was at the row's time."""
    asked = await body_as(request, HistoricalFeaturesRequest)
    if len(asked.entity_rows) > MOST_ROWS:
        raise InvalidInput(f"{len(asked.entity_rows)} rows are asked for, at most {MOST_ROWS} at a time; use `rota features historical` for files")
    return _json({"rows": await run_in_threadpool(_joined, request, asked)})


@router.post("/v1/features/materialize", dependencies=needs("data.write", takes=MaterializationRequest))
async def materialize(request: Request) -> dict[str, int]:
    """Bring views online; the answer counts by source."""
    asked = await body_as(request, MaterializationRequest)
    store = platform_of(request).features
    return await run_in_threadpool(store.materialize_incremental if asked.incremental else store.materialize, asked.feature_views)


@router.get("/v1/feature-views/{view}", dependencies=needs("data.read"))
def feature_view(request: Request, view: str) -> dict[str, object]:
    """A view with its versions and everybody who uses it."""
    platform = platform_of(request)
    metadata = platform.repositories.metadata
    found = references.view_of_any_age(metadata, view)
    return {"view": plain(found), "versions": listed(versions.of(metadata, view)), "users": listed(platform.features.usage(view))}


@router.post("/v1/feature-views/{view}/versions/{number}/retire", dependencies=needs("data.write"))
def retire(request: Request, view: str, number: Number) -> dict[str, int]:
    """Give a version up and free its online rows."""
    return {"online_rows_removed": platform_of(request).features.retire(f"{view}@v{number}", actor=actor_of(request))}


def _json(value: object) -> Response:
    """JSON in which an infinite feature is null: JSON has no word for it."""
    return Response(msgspec.json.encode(value), media_type="application/json")


def _joined(request: Request, asked: HistoricalFeaturesRequest) -> list[dict[str, Any]]:
    job = platform_of(request).features.get_historical_features(
        asked.entity_rows,
        asked.features,
        full_feature_names=asked.full_feature_names,
        as_of=asked.as_of,
        timestamp=asked.timestamp,
    )
    return job.to_polars().to_dicts()
