"""Data management over HTTP: push rows, see sources and datasets."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from rota.records.data import FeatureView, Source
from rota.records.dataset import DatasetVersion
from rota.server.wire import body_as, listed, platform_of

router = APIRouter()


class Rows(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows pushed into a source."""

    rows: list[dict[str, Any]]


@router.post("/v1/sources/{source}/rows")
async def push(request: Request, source: str) -> dict[str, int]:
    """Push rows: all or none; acknowledged once they are safe and visible online. Rows seen before count as 0."""
    rows = (await body_as(request, Rows)).rows
    return {"accepted": await run_in_threadpool(platform_of(request).push, source, rows)}


@router.get("/v1/sources")
def sources(request: Request) -> list[object]:
    return listed(platform_of(request).repositories.metadata.find(Source))


@router.get("/v1/feature-views")
def feature_views(request: Request) -> list[object]:
    return listed(platform_of(request).repositories.metadata.find(FeatureView))


@router.get("/v1/datasets")
def datasets(request: Request) -> list[object]:
    return listed(platform_of(request).repositories.metadata.find(DatasetVersion))
