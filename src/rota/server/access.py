"""Who may call a route: every route names its permission, and a route that names none is never mounted.

@router.get("/v1/models", dependencies=needs("model.read"))
"""

import base64
import binascii
import hmac
from collections.abc import Sequence
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.routing import APIRoute

from rota.manage import access
from rota.records.access import Identity, Permission
from rota.wiring import Platform

COOKIE = "rota_token"


def needs(permission: Permission) -> Sequence[Any]:
    """The dependencies of a route: the caller's role must hold the permission."""

    async def check(request: Request) -> None:
        access.require(identity_of(request), permission)

    check.permission = permission  # type: ignore[attr-defined]  # read by `permission_of`
    return [Depends(check)]


OPEN: Sequence[Any] = [Depends(lambda: None)]
"""The dependencies of a route that needs no token; it tells nothing private."""


def permission_of(route: APIRoute) -> Permission | None:
    """The permission that a route names; None for an open one."""
    for dependency in route.dependencies:
        found: Permission | None = getattr(dependency.dependency, "permission", None)
        if found is not None:
            return found
    return None


def identity_of(request: Request) -> Identity:
    """Who calls."""
    identity: Identity = request.state.identity
    return identity


def actor_of(request: Request) -> str:
    """Who calls, as the audit log names it."""
    return identity_of(request).name


def recognised(request: Request, platform: Platform, owner_token: str) -> Identity | None:
    """The identity behind the request's bearer token, basic password or cookie, or None."""
    secret = _secret(request)
    if not secret:
        return None
    if hmac.compare_digest(secret.encode(), owner_token.encode()):
        return access.OWNER
    repositories = platform.repositories
    return access.recognise(repositories.metadata, secret, environment=platform.settings.environment, now_us=repositories.clock.now_us())


def check_routes(app: FastAPI) -> None:
    """Default deny: a route without `needs` or OPEN is a mistake of ours."""
    for route in app.routes:
        if isinstance(route, APIRoute) and not route.dependencies:
            raise AssertionError(f"{route.methods} {route.path} names no permission")


def _secret(request: Request) -> str:
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            return rest.strip()
        case "basic":
            try:
                return base64.b64decode(rest, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return ""
    return request.cookies.get(COOKIE, "")
