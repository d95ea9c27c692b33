"""The control plane as one FastAPI application: routes by process, one error mapping, one token."""

import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from rota.errors import Conflict, Corrupt, InvalidInput, LostLease, NotFound, Refused, RotaError, Unavailable
from rota.server import data, loop, models, monitoring, pages, training
from rota.wiring import Platform

logger = logging.getLogger("rota.server")

STATUS: dict[type[RotaError], int] = {
    InvalidInput: 422,
    NotFound: 404,
    Conflict: 409,
    LostLease: 409,
    Refused: 403,
    Corrupt: 500,
    Unavailable: 503,
}
OPEN_PATHS = frozenset({"/healthz", "/enter"})


def create(platform: Platform) -> FastAPI:
    """The application over an open platform."""
    app = FastAPI(title="Rota control plane", docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    app.state.platform = platform
    token = owner_token(platform.settings.home)
    limit = platform.settings.max_request_mb * 1_000_000

    @app.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.url.path not in OPEN_PATHS and not _authorised(request, token):
            return _error(401, "a token is needed: send 'Authorization: Bearer TOKEN' with the content of HOME/token")
        if int(request.headers.get("content-length") or 0) > limit:
            return _error(413, f"the request is larger than {limit} bytes; send smaller batches or raise ROTA_MAX_REQUEST_MB")
        response = await call_next(request)
        response.headers["Cache-Control"] = "no-store"
        return response

    @app.exception_handler(RotaError)
    async def translate(_: Request, error: RotaError) -> Response:
        status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
        return _error(status, str(error), {name: str(value) for name, value in error.facts.items()})

    for room in (data, models, training, monitoring, loop, pages):
        app.include_router(room.router)
    return app


def owner_token(home: Path) -> str:
    """The owner's token, made at first start and readable by the owner only."""
    path = home / "token"
    if not path.exists():
        temporary = home / f"token.{secrets.token_hex(4)}"
        temporary.touch(mode=0o600)
        temporary.write_text(secrets.token_urlsafe(32))
        try:
            path.hardlink_to(temporary)
        except FileExistsError:  # another process made one at the same moment
            logger.info("token exists", extra={"action": "token_exists"})
        finally:
            temporary.unlink()
    return path.read_text().strip()


def _authorised(request: Request, token: str) -> bool:
    given = request.headers.get("authorization", "").removeprefix("Bearer ") or request.cookies.get(pages.COOKIE, "")
    return hmac.compare_digest(given.encode(), token.encode())


def _error(status: int, message: str, facts: dict[str, str] | None = None) -> JSONResponse:
    headers = {"Retry-After": "1"} if status == 503 else None
    return JSONResponse({"error": message, "facts": facts or {}}, status, headers)
