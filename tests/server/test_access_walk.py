"""Every route with every role: what the table of access allows is let through, everything else is refused."""

import asyncio
import contextlib
import http.client
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Request

from rota.errors import Refused
from rota.manage.access import tokens
from rota.records.access import PERMISSIONS, ROLES, Identity
from rota.server import app as control_plane
from rota.server.access import permissions as access

LACKS = "lacks the permission"
ROUTES = [
    (method, route.path, access.permission_of(route), access.is_open(route))
    for room in control_plane.ROUTERS
    for route in access.routes_of(room.router.routes)
    for method in sorted(route.methods)
]
TRICKS = [
    ("GET", "/v1/models/"),
    ("GET", "//v1/models"),
    ("GET", "/v1//models"),
    ("GET", "/V1/MODELS"),
    ("GET", "/v1/%6dodels"),
    ("GET", "/v1/models?path=/healthz"),
    ("GET", "/v1/models#/healthz"),
    ("GET", "/healthz/"),
    ("GET", "/healthz/v1/models"),
    ("GET", "/healthz/../v1/models"),
    ("GET", "/healthz/%2e%2e/v1/models"),
    ("GET", "/healthz;/v1/models"),
    ("GET", "/healthz%00"),
    ("GET", "http://127.0.0.1/v1/models"),
    ("GET", "/openapi.json"),
    ("GET", "/docs"),
    ("HEAD", "/v1/models"),
    ("HEAD", "/"),
    ("OPTIONS", "/v1/models"),
    ("OPTIONS", "*"),
    ("TRACE", "/v1/models"),
    ("PROPFIND", "/"),
    ("POST", "/healthz/../v1/clock"),
]


@dataclass
class Walker:
    """One kept connection to the control plane."""

    connection: http.client.HTTPConnection

    def ask(self, method: str, path: str, token: str = "", **headers: str) -> tuple[int, str]:
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        self.connection.request(method, path, b"{}" if method in ("POST", "PUT", "PATCH", "DELETE") else None, sent | headers)
        answer = self.connection.getresponse()
        text = answer.read().decode(errors="replace")
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]
        if answer.status != 500:
            assert answer.headers["cache-control"] == "no-store"
        return answer.status, text


@pytest.fixture
def walker(stranger: Any) -> Iterator[Walker]:
    connection = http.client.HTTPConnection("127.0.0.1", stranger.port, timeout=60)
    yield Walker(connection)
    connection.close()


def address(path: str) -> str:
    """A route's path with names that nothing has."""
    return re.sub(r"\{(\w+)(:\w+)?\}", lambda found: "7" if found[1] in ("number", "version") else "nix", path)


def secret_of(platform: Any, role: Any, **limits: Any) -> str:
    now_us = platform.access.wall.now_us()
    return tokens.create(platform.repositories.metadata, f"a-{role.replace('_', '-')}", role, actor="owner", now_us=now_us, **limits)[1]


def test_without_a_token_only_what_is_open_answers(walker: Walker) -> None:
    answered = {(method, path) for method, path, _, _ in ROUTES if walker.ask(method, address(path))[0] != 401 or path == "/enter"}
    assert answered == {(method, path) for method, path, _, is_open in ROUTES if is_open}
    assert {path for _, path in answered} == {"/healthz", "/health", "/readyz", "/metrics", "/enter"}


def gate(permission: Any, role: Any) -> None:
    """What a route that needs the permission does first, for a caller of the role."""
    check = access.needs(permission)[0].dependency
    asyncio.run(check(Request({"type": "http", "state": {"identity": Identity("somebody", role)}})))


@pytest.mark.parametrize("role", ROLES)
def test_the_gate_of_a_permission_lets_the_roles_of_the_table_through(role: Any) -> None:
    passed = set()
    for permission in PERMISSIONS:
        with contextlib.suppress(Refused):
            gate(permission, role)
            passed.add(permission)
    assert passed == ROLES[role]


@pytest.mark.parametrize("role", [role if role == "operator" else pytest.param(role, marks=pytest.mark.slow) for role in ROLES])
def test_a_role_is_let_through_exactly_where_the_table_says_so(walker: Walker, platform: Any, role: Any) -> None:
    token = secret_of(platform, role)
    wrong = []
    for method, path, permission, is_open in ROUTES:
        if path == "/enter":
            continue
        status, text = walker.ask(method, address(path), token)
        expected = is_open or permission is None or permission in ROLES[role]
        allowed = status != 401 and LACKS not in text
        if allowed != expected or (not expected and status != 403):
            wrong.append((method, path, permission, status, text[:200]))
    assert wrong == []


def test_the_owner_s_own_token_is_let_through_everywhere(walker: Walker, token: str) -> None:
    for method, path, _, _ in ROUTES:
        status, text = walker.ask(method, address(path), token)
        assert path == "/enter" or status != 401, (method, path)
        assert LACKS not in text, (method, path)


@pytest.mark.parametrize(("method", "path"), TRICKS)
def test_no_other_way_of_writing_an_address_leads_around_the_token(walker: Walker, method: str, path: str) -> None:
    for headers in (
        {},
        {"X-HTTP-Method-Override": "GET"},
        {"X-Original-URL": "/healthz"},
        {"X-Rewrite-URL": "/healthz"},
        {"X-Forwarded-Prefix": "/healthz"},
    ):
        status, text = walker.ask(method, path, **headers)
        assert status in (400, 401), (status, text)
        walker.connection.close()


@pytest.mark.parametrize(("method", "path"), TRICKS)
def test_no_other_way_of_writing_an_address_leads_around_the_role(walker: Walker, platform: Any, method: str, path: str) -> None:
    token = secret_of(platform, "application")
    for headers in ({}, {"X-HTTP-Method-Override": "POST", "X-Method-Override": "POST"}, {"X-Original-URL": "/v1/whoami"}):
        status, text = walker.ask(method, path, token, **headers)
        if path == "/openapi.json":
            assert status == 200
        else:
            assert status in (400, 403, 404, 405), (status, text)
        walker.connection.close()


def test_a_posted_method_stays_a_post(walker: Walker, token: str) -> None:
    assert walker.ask("POST", "/v1/endpoints?_method=GET", token, **{"X-HTTP-Method-Override": "GET"})[0] == 405


def test_every_role_may_ask_who_it_is(walker: Walker, platform: Any) -> None:
    for role in ROLES:
        status, text = walker.ask("GET", "/v1/whoami", secret_of(platform, role))
        assert status == 200
        assert f'"role":"{role}"' in text.replace(" ", "")
        assert "hash" not in text


def test_a_route_that_names_no_permission_is_never_mounted() -> None:
    nameless, named = APIRouter(), APIRouter()
    nameless.get("/v1/secret")(lambda: None)
    named.get("/v1/{thing}", dependencies=access.OPEN)(lambda thing: None)
    for router, complaint in ((nameless, "names no permission"), (named, "cannot be open")):
        app = FastAPI()
        app.include_router(router)
        with pytest.raises(AssertionError, match=complaint):
            access.check_routes(app)


def test_no_role_but_the_owner_s_trains_registers_approves_and_releases() -> None:
    separated = {"train.start", "model.register", "model.approve", "model.release"}
    assert [role for role, held in ROLES.items() if separated <= held] == ["owner"]
    assert [role for role, held in ROLES.items() if "model.approve" in held and held & {"model.register", "model.release"}] == ["owner"]
    assert [role for role, held in ROLES.items() if "token.manage" in held] == ["owner"]


def test_every_permission_opens_something_or_stands_for_a_command() -> None:
    assert {permission for _, _, permission, _ in ROUTES if permission} | {"pipeline.deploy", "platform.backup", "predict", "features"} >= set(
        PERMISSIONS
    ) - {"model.unsafe"}


def test_the_documentation_prints_both_tables_as_they_are(root: Path) -> None:
    text = (root / "docs" / "access.md").read_text()
    for table, command in ((tokens.table(), "rota token roles"), (control_plane.route_table(), "rota token routes")):
        gone = [line for line in table.splitlines() if line not in text.splitlines()]
        assert table in text, f"docs/access.md differs from what `{command}` prints; put its output there. Not there: {gone}"
