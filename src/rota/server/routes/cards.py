"""Model cards over HTTP and as files: JSON, Markdown, and one HTML file that needs nothing else."""

from typing import Any, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from rota.manage.governance import cards, delivery_times, reports
from rota.manage.models import model_versions
from rota.records.record import plain
from rota.rendering.card_markdown import markdown
from rota.rendering.documents import card_html
from rota.server.access.permissions import actor_of, needs
from rota.server.wire import Number, body_as, listed, platform_of

router = APIRouter()
ALONE = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"}
"""The policy of an exported page: it styles itself and can do nothing else."""


_FORMS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {}, "text/markdown": {}}}}


class CardSectionEdit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands in a section from now on; "" takes it back."""

    section: str
    text: str


@router.get("/v1/models/{model}/{number}/card", dependencies=needs("model.read"), responses=_FORMS)
def card(request: Request, model: str, number: Number, format: Literal["json", "html", "markdown"] = "json") -> Response:
    """The model card of a version, made from metadata."""
    repositories = platform_of(request).repositories
    made = cards.card(repositories, model_versions.get(repositories.metadata, model, number))
    if format == "html":
        return Response(card_html(made), media_type="text/html", headers=ALONE)
    if format == "markdown":
        return Response(markdown(made), media_type="text/markdown")
    return JSONResponse(plain(made))


@router.post("/v1/models/{model}/{number}/card", dependencies=needs("model.register", takes=CardSectionEdit))
async def write(request: Request, model: str, number: Number) -> object:
    """Write a section of the card."""
    given = await body_as(request, CardSectionEdit)
    r = platform_of(request).repositories
    act: dict[str, Any] = {"actor": actor_of(request), "now_us": r.clock.now_us()}
    return plain(await run_in_threadpool(cards.edit, r.metadata, model, number, given.section, given.text, **act))


@router.get("/v1/report", dependencies=needs("model.read"))
def report(request: Request) -> list[object]:
    """Every deployed model: how it does now, what happened to it lately."""
    return listed(reports.models(platform_of(request).repositories))


@router.get("/v1/report/delivery", dependencies=needs("model.read"))
def delivery_report(request: Request, days: float = delivery_times.DAYS, endpoint: str = "") -> dict[str, object]:
    """How long changes took from commit to production, repairs from alert to production, and rollbacks to take effect, in the last days."""
    return delivery_times.as_plain(delivery_times.report(platform_of(request).repositories, days=days, endpoint=endpoint))
