"""What the route files share: the open platform behind a request, and its decoded body."""

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from fastapi import Request, Response

from rota.errors import InvalidInput
from rota.manage.access import project_view
from rota.records.access import Identity
from rota.records.filters import Page
from rota.records.record import plain
from rota.wiring import Platform

T = TypeVar("T")
NEXT = "Rota-Next"


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
    try:
        return msgspec.json.decode(await request.body() or b"{}", type=shape)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"the request body does not fit: {error}") from error


def paged(response: Response, page: Page[Any]) -> list[Any]:
    """The records of a page as JSON; when more follow, the header Rota-Next is what `after` takes to give them."""
    if page.next:
        response.headers[NEXT] = page.next
    return listed(page.items)


def listed(records: Sequence[Any]) -> list[Any]:
    """Records as JSON."""
    return [plain(record) for record in records]
