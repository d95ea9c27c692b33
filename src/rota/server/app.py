"""The control plane as one application: routes by process behind the guard, and one mapping of errors to answers."""

from collections import Counter

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from rota.errors import RotaError
from rota.http_status import status_of
from rota.records.access import Identity
from rota.records.limits import shortened
from rota.server import api_description, mlflow
from rota.server.access import permissions as access
from rota.server.access import tokens
from rota.server.access.guard import Guard
from rota.server.pages import answer
from rota.server.pages import datasets as dataset_pages
from rota.server.pages import endpoints as endpoint_pages
from rota.server.pages import experiments as experiment_pages
from rota.server.pages import features as feature_pages
from rota.server.pages import lineage as lineage_pages
from rota.server.pages import models as model_pages
from rota.server.pages import overview as pages
from rota.server.pages import reviews as review_pages
from rota.server.routes import adoption as foreign
from rota.server.routes import (
    artifacts,
    cards,
    data,
    experiments,
    features,
    governance,
    lineage,
    loop,
    models,
    monitoring,
    retention,
    schemas,
    sources,
    training,
)
from rota.wiring import Platform

ROUTERS = (
    data,
    sources,
    schemas,
    features,
    foreign,
    models,
    governance,
    training,
    monitoring,
    loop,
    lineage,
    artifacts,
    retention,
    cards,
    tokens,
    mlflow,
    pages,
    endpoint_pages,
    model_pages,
    review_pages,
    lineage_pages,
    feature_pages,
    dataset_pages,
    experiment_pages,
    experiments,
)


def create(platform: Platform) -> FastAPI:
    """The application over an open platform."""
    app = FastAPI(title="Rota control plane", docs_url=None, redoc_url=None, openapi_url="/openapi.json", redirect_slashes=False)
    app.state.platform = platform
    app.state.max_request_bytes = platform.settings.max_request_mb * 1_000_000
    platform.access.owner_token.make()

    @app.exception_handler(RotaError)
    async def translate(request: Request, error: RotaError) -> Response:
        return refuse(request, status_of(error), str(error), {name: str(value) for name, value in error.facts.items()})

    @app.exception_handler(HTTPException)
    async def answer(request: Request, error: HTTPException) -> Response:
        message = (
            "there is nothing at this path; the pages begin at /, the routes are listed in /openapi.json"
            if error.status_code == 404
            else error.detail
        )
        return refuse(request, error.status_code, message)

    @app.exception_handler(RequestValidationError)
    async def misfit(request: Request, error: RequestValidationError) -> Response:
        faults = [f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors()]
        return refuse(request, 422, f"the address does not fit: {'; '.join(faults)}")

    @app.exception_handler(Exception)
    async def failed(request: Request, _: Exception) -> Response:
        return refuse(request, 500, "the request failed inside; the control plane's log says why")

    async def recognise(request: Request) -> Identity | None:
        return await access.recognised(request, platform)

    for room in ROUTERS:
        app.include_router(room.router)
    access.check_routes(app)
    paths, app.state.answers = access.open_paths(app), Counter()
    app.openapi = lambda: api_description.described(app)  # type: ignore[method-assign]
    app.add_middleware(Guard, settings=platform.settings, recognise=recognise, refuse=refuse, open_paths=paths, answers=app.state.answers)
    return app


def route_table() -> str:
    """Every route of the control plane with the permission that it asks for, as Markdown."""
    return access.table(route for room in ROUTERS for route in room.router.routes)


def refuse(request: Request, status: int, message: str, facts: dict[str, str] | None = None) -> Response:
    """An error as whoever asked can read it: a page, MLflow's shape, or ours."""
    message = shortened(message)
    if request.url.path.startswith(mlflow.PREFIXES):
        return mlflow.error_response(request, status, message)
    if answer.wanted(request):
        return answer.problem(status, message)
    headers = {"Retry-After": "1"} if status == 503 else None
    return JSONResponse({"error": message, "facts": {name: shortened(value) for name, value in (facts or {}).items()}}, status, headers)
