"""What the route files share: the open platform behind a request, and its decoded body."""

import dataclasses
from collections.abc import Sequence, Sized
from typing import Annotated, Any, TypeVar

import msgspec
from annotated_types import Interval
from fastapi import Request, Response

from rota.errors import InvalidInput
from rota.manage.access import project_view
from rota.records.access import Identity
from rota.records.filters import Page
from rota.records.json_depth import check_json
from rota.records.json_faults import unspeakable_number
from rota.records.record import plain
from rota.records.text_limits import OWN
from rota.wiring import Platform

T = TypeVar("T")
NEXT = "Rota-Next"
Number = Annotated[int, Interval(ge=-(2**63), le=2**63 - 1)]
"""A whole number of an address: what every engine keeps."""
Position = Annotated[int, Interval(ge=0, le=2**53)]
"""A place in a list from which on its items are given."""


def platform_of(request: Request) -> Platform:
    """The platform as the caller may change it; for a token of one project, as much of it as is that project's."""
    platform: Platform = request.app.state.platform
    identity: Identity | None = request.state.identity
    mine = platform if identity is None or identity.role == "owner" else platform.acting(identity)
    if identity is None or not identity.project:
        return mine
    return dataclasses.replace(mine, repositories=project_view.within(mine.repositories, identity.project), identity=identity)


async def body_as(request: Request, shape: type[T]) -> T:
    """The request's JSON body as a record; `InvalidInput` names the field that does not fit."""
    body = await request.body() or b"{}"
    check_json(body, most_rows=platform_of(request).settings.max_request_rows)
    try:
        asked = msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"the request body does not fit: {unspeakable_number(body) or error}") from error
    OWN.check(asked)
    return asked


def check_row_count(request: Request, rows: Sized, what: str = "rows") -> None:
    """Raise `InvalidInput` for more rows than one request may hold."""
    most = platform_of(request).settings.max_request_rows
    if len(rows) > most:
        raise InvalidInput(f"the request has {len(rows)} {what}, at most {most} are taken at once; send it in parts", limit=most)


def paged(response: Response, page: Page[Any]) -> list[Any]:
    """The records of a page as JSON; when more follow, the header Rota-Next is what `after` takes to give them."""
    if page.next:
        response.headers[NEXT] = page.next
    return listed(page.items)


def listed(records: Sequence[Any]) -> list[Any]:
    """Records as JSON."""
    return [plain(record) for record in records]
