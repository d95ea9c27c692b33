"""A rendered template as an answer: a page, or an error that people can read; and the form that a page sends back."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

from rota.errors import Conflict, InvalidInput, Refused, RotaError
from rota.records.text_limits import OWN
from rota.records.time import iso
from rota.rendering.html import POLICY, rendered
from rota.wiring import Platform


def wanted(request: Request) -> bool:
    """Whether the caller is a browser asking for a page, so that errors should be readable pages too."""
    return "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/v1/")


def problem(status: int, message: str) -> Response:
    """An error as a page."""
    return _html(rendered("problem.html", status=status, message=message, now=""), status)


def outside(message: str) -> Response:
    """A page for who has left."""
    return _html(rendered("problem.html", status=200, message=message, now=""), 200)


async def form(request: Request) -> dict[str, str]:
    """The fields of a form as a browser sends them, each once."""
    try:
        fields = parse_qs((await request.body()).decode(), keep_blank_values=True, max_num_fields=50, errors="strict")
    except ValueError as error:
        raise InvalidInput(f"the form cannot be read: {error}") from None
    found = {name: values[-1] for name, values in fields.items()}
    for name, text in found.items():
        OWN.check_text(name, text)
    return found


async def acted(act: Callable[[], object], again: Callable[[RotaError], Response], to: str) -> Response:
    """Do what a form asks for and go to `to`; what stands in the way is said on the page that `again` makes of it."""
    try:
        await run_in_threadpool(act)
    except (InvalidInput, Refused, Conflict) as error:
        return await run_in_threadpool(again, error)
    return RedirectResponse(to, status_code=303)


def page(template: str, platform: Platform, **values: Any) -> Response:
    """One of our templates as a page, with the platform's time."""
    values["now"] = iso(platform.repositories.clock.now_us())
    return _html(rendered(template, **values), 200)


def _html(text: str, status: int) -> Response:
    headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}
    return HTMLResponse(text, status, headers)
