"""Who may call a route: every route names its permission, and a route that names none is never mounted.

@router.get("/v1/models", dependencies=needs("model.read"))
"""

import base64
import binascii
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute

from rota.manage.access import project_view, tokens
from rota.records.access import Identity, Permission
from rota.wiring import Platform

COOKIE = "rota_session"
"""Holds the id of a session, never a token."""
FORMER_COOKIE = "rota_token"
"""What an earlier Rota set: it held the token itself, and opens nothing any more."""


def needs(permission: Permission, *, takes: type[Any] | None = None) -> Sequence[Any]:
    """The dependencies of a route: the caller's role must hold the permission, a project token also reaches what is in its project only.

    `takes` is the shape of the body that the route reads, for the description of the API.
    """

    async def check(request: Request) -> None:
        identity = identity_of(request)
        tokens.require(identity, permission)
        tokens.require_endpoint(identity, permission, str(request.path_params.get("endpoint", "")))
        if identity.project:
            path: str = request.scope["route"].path
            repositories = request.app.state.platform.repositories
            await run_in_threadpool(project_view.check_address, repositories, identity.project, permission, path, request.path_params)

    check.permission = permission  # type: ignore[attr-defined]  # read by `permission_of`
    check.takes = takes  # type: ignore[attr-defined]  # read by `body_of`
    return [Depends(check)]


OPEN: Sequence[Any] = [Depends(lambda: None)]
"""The dependencies of a route that needs no token; it tells nothing private."""
ANYBODY: Sequence[Any] = [Depends(lambda: None)]
"""The dependencies of a route that any valid token may call."""


def permission_of(route: APIRoute) -> Permission | None:
    """The permission that a route names; None for one that needs none."""
    for dependency in route.dependencies:
        found: Permission | None = getattr(dependency.dependency, "permission", None)
        if found is not None:
            return found
    return None


def body_of(route: APIRoute) -> type[Any] | None:
    """The shape of the body that a route reads; None for one that reads none, or reads it in pieces."""
    shapes = (getattr(dependency.dependency, "takes", None) for dependency in route.dependencies)
    return next((shape for shape in shapes if shape is not None), None)


def is_open(route: APIRoute) -> bool:
    """Whether the route answers without a token."""
    return OPEN[0] in route.dependencies


def identity_of(request: Request) -> Identity:
    """Who calls."""
    identity: Identity = request.state.identity
    return identity


def actor_of(request: Request) -> str:
    """Who calls, as the audit log names it."""
    return identity_of(request).name


async def recognised(request: Request, platform: Platform) -> Identity | None:
    """The identity behind the request's bearer token or basic password, else behind the session of its cookie, or None."""
    if "authorization" in request.headers:
        return await identify(_secret(request), platform)
    key = request.cookies.get(COOKIE, "")
    return await run_in_threadpool(platform.access.recognise_session, key) if key else None


async def identify(secret: str, platform: Platform) -> Identity | None:
    """Whose secret this is; the owner's is known without asking the store."""
    if not secret:
        return None
    if platform.access.is_owner(secret):
        return tokens.OWNER
    return await run_in_threadpool(platform.access.recognise, secret)


def routes_of(routes: Iterable[BaseRoute]) -> Iterator[APIRoute]:
    """Every route that we declared; FastAPI keeps those of an included router below it."""
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif (included := getattr(route, "original_router", None)) is not None:
            yield from routes_of(included.routes)


def table(routes: Iterable[BaseRoute]) -> str:
    """Every route with the permission that it asks for, as Markdown."""
    lines: dict[tuple[str, str], str] = {}
    for route in routes_of(routes):
        asked = permission_of(route) or ("no token" if is_open(route) else "any token")
        lines |= {(route.path, method): f"| `{method} {route.path}` | {asked} |" for method in route.methods or ()}
    return "\n".join(["| route | asks for |", "|---|---|", *(lines[key] for key in sorted(lines))])


def open_paths(app: FastAPI) -> frozenset[str]:
    """The paths that answer without a token."""
    return frozenset(route.path for route in routes_of(app.routes) if is_open(route))


def check_routes(app: FastAPI) -> None:
    """Default deny: a route without `needs`, ANYBODY or OPEN is a mistake of ours, and so is an open one that takes a name."""
    for route in routes_of(app.routes):
        if permission_of(route) is None and not is_open(route) and ANYBODY[0] not in route.dependencies:
            raise AssertionError(f"{route.methods} {route.path} names no permission")
        if is_open(route) and "{" in route.path:
            raise AssertionError(f"{route.methods} {route.path} takes a name, so it cannot be open")


def _secret(request: Request) -> str:
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            return rest.strip()
        case "basic":
            try:
                return base64.b64decode(rest, validate=True).decode().partition(":")[2]
            except (binascii.Error, ValueError):
                return ""
    return ""
