"""What the route files share: the open platform behind a request, and its decoded body."""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from fastapi import HTTPException, Request

from rota.errors import InvalidInput
from rota.records.record import plain
from rota.wiring import Platform

T = TypeVar("T")


def platform_of(request: Request) -> Platform:
    """The platform that the application was created over."""
    platform: Platform = request.app.state.platform
    return platform


async def body_as(request: Request, shape: type[T]) -> T:
    """The request's JSON body as a record; `InvalidInput` names the field that does not fit."""
    try:
        return msgspec.json.decode(await _body(request) or b"{}", type=shape)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"the request body does not fit: {error}") from error


async def _body(request: Request) -> bytes:
    """The body, given up as soon as it is larger than allowed: a chunked one announces no length."""
    limit = int(request.app.state.max_request_bytes)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise HTTPException(413, f"the request is larger than {limit} bytes; send smaller batches or raise ROTA_MAX_REQUEST_MB")
    return bytes(body)


def listed(records: Sequence[Any]) -> list[Any]:
    """Records as JSON."""
    return [plain(record) for record in records]
