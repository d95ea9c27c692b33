"""The control plane as one FastAPI application: routes by process, one error mapping, one token."""

import logging
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from rota.errors import Conflict, Corrupt, InvalidInput, LostLease, NotFound, Refused, RotaError, Unavailable
from rota.server import access, data, dataset_pages, feature_pages, features, loop, models, monitoring, pages, schemas, sources, training
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
    token = app.state.token = owner_token(platform.settings.home)
    limit = app.state.max_request_bytes = platform.settings.max_request_mb * 1_000_000

    @app.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        identity = access.recognised(request, platform, token)
        if identity is None and request.url.path not in OPEN_PATHS:
            return _error(
                request, 401, "a token is needed: send 'Authorization: Bearer TOKEN' (`rota token` prints yours), or open /enter?token=TOKEN"
            )
        request.state.identity = identity
        if int(request.headers.get("content-length") or 0) > limit:
            return _error(request, 413, f"the request is larger than {limit} bytes; send smaller batches or raise ROTA_MAX_REQUEST_MB")
        response = await call_next(request)
        response.headers["Cache-Control"] = "no-store"
        return response

    @app.exception_handler(RotaError)
    async def translate(request: Request, error: RotaError) -> Response:
        status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
        return _error(request, status, str(error), {name: str(value) for name, value in error.facts.items()})

    @app.exception_handler(HTTPException)
    async def answer(request: Request, error: HTTPException) -> Response:
        message = (
            "there is nothing at this path; the pages begin at /, the routes are listed in /openapi.json"
            if error.status_code == 404
            else error.detail
        )
        return _error(request, error.status_code, message)

    @app.exception_handler(RequestValidationError)
    async def misfit(request: Request, error: RequestValidationError) -> Response:
        faults = [f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors()]
        return _error(request, 422, f"the address does not fit: {'; '.join(faults)}")

    for room in (data, sources, schemas, features, models, training, monitoring, loop, pages, feature_pages, dataset_pages):
        app.include_router(room.router)
    access.check_routes(app)
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


def _error(request: Request, status: int, message: str, facts: dict[str, str] | None = None) -> Response:
    if pages.wanted(request):
        return pages.problem(status, message)
    headers = {"Retry-After": "1"} if status == 503 else None
    return JSONResponse({"error": message, "facts": facts or {}}, status, headers)
