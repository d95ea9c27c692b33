"""Tokens and sessions over HTTP: who am I, who holds a token, make one, revoke one, which browsers are in, end a session."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from rota.manage.access import sessions, tokens
from rota.records.access import ROLES, Role
from rota.server.access.permissions import ANYBODY, actor_of, identity_of, needs
from rota.server.wire import Number, body_as, platform_of

router = APIRouter()


class TokenRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token to be made; `expires` is how long it lasts, "90d" or "never"."""

    holder: str
    role: Role
    expires: str
    project: str = ""
    environment: str = ""
    endpoint: str = ""


@router.get("/v1/whoami", dependencies=ANYBODY)
def whoami(request: Request) -> dict[str, object]:
    """The caller's name, role, limits and permissions."""
    identity = identity_of(request)
    return {**msgspec.structs.asdict(identity), "permissions": sorted(ROLES[identity.role])}


@router.get("/v1/tokens", dependencies=needs("token.manage"))
def listing(request: Request, holder: str = "", limit: Number = 1_000) -> list[object]:
    """Tokens, newest first, without their secrets, which nobody has but their holders."""
    platform = platform_of(request)
    now_us = platform.access.wall.now_us()
    return [
        tokens.described(token, now_us) for token in tokens.tokens(platform.repositories.metadata, holder=holder, limit=min(limit, tokens.LISTED))
    ]


@router.post("/v1/tokens", dependencies=needs("token.manage", takes=TokenRequest), status_code=201)
async def create(request: Request) -> JSONResponse:
    """A new token; its secret is in this answer and nowhere else."""
    wanted = await body_as(request, TokenRequest)
    return JSONResponse(await run_in_threadpool(_created, request, wanted), 201)


@router.delete("/v1/tokens/{token}", dependencies=needs("token.manage"))
def revoke(request: Request, token: str) -> dict[str, object]:
    """From the next request on the token opens nothing."""
    platform = platform_of(request)
    now_us = platform.access.wall.now_us()
    return tokens.described(tokens.revoke(platform.repositories.metadata, token, actor=actor_of(request), now_us=now_us), now_us)


@router.get("/v1/sessions", dependencies=needs("token.manage"))
def browsers(request: Request, holder: str = "", limit: Number = 1_000) -> list[object]:
    """Sessions of browsers, newest first, without their ids, which nobody has but the browsers."""
    platform = platform_of(request)
    found = sessions.sessions(platform.repositories.metadata, holder=holder, limit=min(limit, sessions.LISTED))
    return [platform.access.described_session(session) for session in found]


@router.delete("/v1/sessions/{session}", dependencies=needs("token.manage"))
def end_session(request: Request, session: str) -> dict[str, object]:
    """From the next request on the session opens nothing."""
    platform = platform_of(request)
    now_us = platform.access.wall.now_us()
    return platform.access.described_session(sessions.end(platform.repositories.metadata, session, actor=actor_of(request), now_us=now_us))


def _created(request: Request, wanted: TokenRequest) -> dict[str, Any]:
    platform = platform_of(request)
    now_us = platform.access.wall.now_us()
    token, secret = tokens.create(
        platform.repositories.metadata,
        wanted.holder,
        wanted.role,
        actor=actor_of(request),
        now_us=now_us,
        expires_us=tokens.expiry(wanted.expires, now_us),
        project=wanted.project,
        environment=wanted.environment,
        endpoint=wanted.endpoint,
    )
    return {**tokens.described(token, now_us), "secret": secret}
