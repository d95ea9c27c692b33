"""The ways in that attackers use against a server on somebody's machine, each tried on the real thing."""

import base64
import http.client
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from rota import wiring
from rota.addresses import exposed
from rota.http_origin import answered_hosts, host_of
from rota.manage.access import tokens
from rota.ports.metadata import Batch
from rota.records.model import ModelVersion, RegisteredModel
from rota.settings import Settings
from rota.testing.story import NOON_US, alert, version

EVIL = "https://evil.example"


def raw(port: int, text: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "localhost@evil.example",
        "",
        "localhost.",
        "[::1",
        "[::1]x",
        "a:b",
        "169.254.169.254",
        "x" * 5_000,
    ],
)
def test_a_name_that_is_not_ours_is_not_answered_even_with_a_token(owner: Any, host: str) -> None:
    for path in ("/v1/models", "/healthz", "/", "/api/2.0/mlflow/experiments/search"):
        answer = owner.sending(**owner.headers, Host=host).get(path)
        assert answer.status == 421
        assert "ROTA_ALLOWED_HOSTS" in answer.text
        assert "delay" not in answer.text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:7682", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:7682"])
def test_the_machine_s_own_names_are_answered_whatever_the_port(owner: Any, host: str) -> None:
    assert owner.sending(**owner.headers, Host=host).get("/v1/models").status == 200


def test_two_host_headers_or_none_are_refused(stranger: Any, token: str) -> None:
    head = f"GET /v1/models HTTP/1.1\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n"
    assert b" 421 " in raw(stranger.port, f"{head}Host: localhost\r\nHost: evil.example\r\n\r\n".encode()).splitlines()[0]
    assert b" 200 " not in raw(stranger.port, f"{head}\r\n".encode()).splitlines()[0]


def test_the_host_of_a_header_is_read_strictly() -> None:
    assert [host_of(text) for text in ("A.b:1", "[::1]:1", "[::1]", "a:", "a:1:2", "[::1]1", "[::1]:x")] == ["a.b", "::1", "::1", "", "", "", ""]


def test_further_names_are_allowed_by_a_setting() -> None:
    allowed = answered_hosts("10.0.0.7", "rota.example.com, ROTA ")
    assert allowed == {"localhost", "127.0.0.1", "::1", "10.0.0.7", "rota.example.com", "rota"}


@pytest.mark.parametrize(
    ("host", "is_exposed"),
    [("127.0.0.1", False), ("localhost", False), ("::1", False), ("127.9.9.9", False), ("0.0.0.0", True), ("::", True), ("rota.lan", True)],
)
def test_it_is_known_whether_other_machines_reach_the_server(host: str, is_exposed: bool) -> None:
    assert exposed(Settings(host=host)) is is_exposed


@pytest.mark.parametrize(
    "origin", [EVIL, "null", "", "http://127.0.0.1:1", "http://localhost", "file://", "https://127.0.0.1.evil.example", "http://[::1"]
)
def test_another_site_s_page_changes_nothing_with_a_visitor_s_rights(browser: Any, owner: Any, stranger: Any, token: str, origin: str) -> None:
    basic = "Basic " + base64.b64encode(f"anybody:{token}".encode()).decode()
    for headers in (browser.headers, owner.headers, {"Authorization": basic}):
        answer = stranger.sending(**headers, Origin=origin).post("/v1/pipelines/delay/runs", {})
        assert (answer.status, "may not act here" in answer.text) == (403, True)
        assert stranger.sending(**headers, Origin=origin).ask("DELETE", "/v1/tokens/nix").status == 403


def test_a_cookie_alone_changes_nothing_and_with_our_own_origin_it_does(browser: Any, stranger: Any) -> None:
    assert browser.post("/v1/pipelines/delay/runs", {}).status == 403
    ours = stranger.sending(**browser.headers, Origin=f"http://127.0.0.1:{stranger.port}")
    assert "coalesced into active run" in ours.post("/v1/pipelines/delay/runs", {}).text


def test_no_site_is_ever_allowed_to_read_answers(owner: Any, stranger: Any) -> None:
    asked = {"Origin": EVIL, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for answer in (
        stranger.sending(**asked).ask("OPTIONS", "/v1/models"),
        owner.sending(**owner.headers, **asked).ask("OPTIONS", "/v1/models"),
        owner.sending(**owner.headers, Origin=EVIL).get("/v1/models"),
        stranger.sending(Origin=EVIL).get("/healthz"),
        stranger.sending(Origin=EVIL).get("/v1/models"),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_cookie_is_for_this_site_only_and_for_no_script(stranger: Any, token: str) -> None:
    answer = stranger.get("/enter", token=token)
    cookie = answer.headers["set-cookie"].lower()
    assert (answer.status, answer.headers["location"], answer.headers["referrer-policy"]) == (303, "/", "no-referrer")
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "domain" not in cookie


def test_any_valid_token_enters_and_sees_what_its_role_may(stranger: Any, platform: Any) -> None:
    _, secret = tokens.create(platform.repositories.metadata, "app", "application", actor="owner", now_us=platform.access.wall.now_us())
    cookie = stranger.get("/enter", token=secret).headers["set-cookie"].partition(";")[0]
    page = stranger.sending(Accept="text/html", Cookie=cookie).get("/models")
    assert page.status == 403
    assert "app (application) lacks the permission &#39;model.read&#39;" in page.text
    for wrong in ("", "x", "rota_" + "x" * 43):
        assert stranger.sending(Accept="text/html").get("/enter", token=wrong).status == 401


def test_a_revoked_token_is_refused_by_the_next_request_of_an_open_connection(stranger: Any, platform: Any) -> None:
    metadata, now_us = platform.repositories.metadata, platform.access.wall.now_us()
    token, secret = tokens.create(metadata, "ana", "auditor", actor="owner", now_us=now_us)
    connection = http.client.HTTPConnection("127.0.0.1", stranger.port, timeout=60)
    statuses = []
    for _ in range(2):
        connection.request("GET", "/v1/audit", headers={"Authorization": f"Bearer {secret}"})
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
        tokens.revoke(metadata, token.id, actor="owner", now_us=now_us)
    connection.close()
    assert statuses == [200, 401]


def test_a_renewed_owner_s_token_is_refused_by_the_next_request(owner: Any, platform: Any) -> None:
    assert owner.get("/v1/models").status == 200
    new = platform.access.owner_token.renew()
    assert owner.get("/v1/models").status == 401
    assert owner.sending(Authorization=f"Bearer {new}").get("/v1/models").status == 200
    platform.access.owner_token.path.unlink()
    assert owner.sending(Authorization=f"Bearer {new}").get("/v1/models").status == 401
    assert owner.sending(Authorization="Bearer ").get("/v1/models").status == 401


def test_moving_a_replayed_clock_neither_ends_nor_revives_a_token(tmp_path: Path) -> None:
    with wiring.opened(Settings(home=tmp_path / "replayed", clock="replay")) as platform:
        now_us = platform.access.wall.now_us()
        metadata = platform.repositories.metadata
        _, living = tokens.create(metadata, "ana", "auditor", actor="owner", now_us=now_us, expires_us=tokens.expiry("1d", now_us))
        _, dead = tokens.create(metadata, "ben", "auditor", actor="owner", now_us=now_us - 10, expires_us=now_us - 5)
        for to_us in (NOON_US, 2 * now_us):
            platform.repositories.clock.advance(to_us)
            assert platform.access.recognise(living) is not None
            assert platform.access.recognise(dead) is None


def test_a_wrong_token_is_answered_with_how_to_get_one_and_nothing_else(stranger: Any) -> None:
    for path in ("/v1/models/delay/1", "/v1/models/none/1", "/v1/nothing"):
        answer = stranger.get(path)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert set(answer.json()) == {"error", "facts"}
        assert "delay" not in answer.text
    mlflow = stranger.get("/api/2.0/mlflow/experiments/search")
    assert (mlflow.status, mlflow.json()["error_code"]) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize("path", ["/healthz", "/health", "/metrics", "/readyz"])
def test_what_is_open_names_nothing_of_the_platform(stranger: Any, owner: Any, platform: Any, path: str) -> None:
    owner.get("/v1/models/delay/1")
    answer = stranger.get(path)
    assert answer.status == (503 if path == "/readyz" else 200), "no worker runs beside this server"
    for name in ("delay", "flights", "arrivals", str(platform.settings.home), socket.gethostname(), "prod", "127.0.0.1"):
        assert name not in answer.text


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "9" * 30, "\u0661"])
def test_a_length_that_is_no_number_is_refused(stranger: Any, token: str, length: str) -> None:
    head = f"POST /v1/clock HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    assert raw(stranger.port, head.encode()).split(b" ")[1] in (b"400", b"413")


def test_a_body_is_refused_by_its_announcement_before_it_is_sent(stranger: Any, token: str) -> None:
    for path in ("/v1/sources/arrivals/rows", "/api/2.0/mlflow/runs/log-batch", "/v1/nothing"):
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Length: 1000001\r\nConnection: close\r\n\r\n"
        assert raw(stranger.port, head.encode()).split(b" ")[1] == b"413"


@pytest.mark.parametrize(
    "name",
    [
        "{{7919*7907}}",
        "{% for x in ().__class__.__base__.__subclasses__() %}{{x}}{% endfor %}",
        "${7919*7907}",
        "<script>alert(1)</script>",
        "#{7919*7907}",
    ],
)
def test_a_template_in_a_name_stays_a_text(browser: Any, owner: Any, platform: Any, name: str) -> None:
    batch = Batch()
    batch.put(RegisteredModel("delay", owner=name, description=name, tags={name: name}))
    batch.put(version(3, "registered", description=name, owner=name, tags={name: name}, trigger=name))
    batch.put(alert("hostile", message=name))
    platform.repositories.metadata.commit(batch)
    assert platform.repositories.metadata.get(ModelVersion, "delay", 3).description == name
    for path in (
        "/models/delay/3",
        "/models",
        "/alerts",
        "/",
        "/models/delay/3/card",
        f"/models?text={name.replace('%', '%25').replace('#', '%23').replace(' ', '+')}",
    ):
        page = browser.get(path).text
        assert "62615533" not in page, path
        assert "<script>alert" not in page, path
        assert "class &#39;" not in page, path
    for problem in ("/models/{{7919*7907}}/1", "/runs/{{7919*7907}}", "/%7B%7B7919*7907%7D%7D"):
        assert "62615533" not in browser.get(problem).text


def test_no_route_takes_a_path_or_an_address_to_fetch(owner: Any) -> None:
    """Sources are filled from where a project file says; a caller of the API can start that, and say nothing about where."""
    schema = json.loads(owner.get("/openapi.json").text)
    named = {parameter["name"] for path in schema["paths"].values() for act in path.values() for parameter in act.get("parameters", ())}
    assert not named & {"url", "uri", "file", "host", "callback", "webhook"}
    for body in ({"path": "/etc/passwd"}, {"url": "http://169.254.169.254/"}, {"query": "select 1"}):
        answer = owner.post("/v1/sources/arrivals/ingest", body)
        assert "passwd" not in answer.text
        assert answer.status != 200 or answer.json()["rows_in"] == 0


@pytest.mark.parametrize("upgrade", ["websocket"])
def test_a_websocket_is_not_opened(stranger: Any, token: str, upgrade: str) -> None:
    head = (
        f"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nUpgrade: {upgrade}\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n"
    )
    assert b" 101 " not in raw(stranger.port, head.encode()).splitlines()[0]


def cookies_of(answer: Any) -> str:
    return answer.headers.get("set-cookie", "")


def test_the_cookie_holds_no_token_and_its_id_is_of_use_nowhere_else(stranger: Any, token: str, entered: Any) -> None:
    cookie = entered(token)
    name, _, key = cookie.partition("=")
    assert name == "rota_session"
    assert token.strip() not in cookie
    assert stranger.sending(Cookie=cookie).get("/v1/whoami").json()["name"] == "owner"
    assert stranger.sending(Authorization=f"Bearer {key}").get("/v1/whoami").status == 401
    basic = base64.b64encode(f"x:{key}".encode()).decode()
    assert stranger.sending(Authorization=f"Basic {basic}").get("/v1/whoami").status == 401
    assert stranger.get("/enter", token=key).status == 401


@pytest.mark.parametrize("name", ["rota_token", "rota_session"])
def test_a_cookie_with_a_raw_token_is_refused_and_told_what_to_do(stranger: Any, token: str, name: str) -> None:
    answer = stranger.sending(Accept="text/html", Cookie=f"{name}={token.strip()}").get("/")
    assert answer.status == 401
    assert "open /enter?token=TOKEN again" in answer.text
    assert token.strip() not in answer.text
    assert ("Max-Age=0" in cookies_of(answer)) is (name == "rota_token"), "what holds a token leaves the browser"


def test_each_entering_draws_another_id_and_ends_the_one_before(stranger: Any, token: str, entered: Any) -> None:
    planted = stranger.sending(Cookie="rota_session=planted").get("/enter", token=token)
    assert "planted" not in cookies_of(planted)
    assert stranger.sending(Cookie="rota_session=planted").get("/v1/whoami").status == 401
    first = entered(token)
    second = stranger.sending(Cookie=first).get("/enter", token=token).headers["set-cookie"].partition(";")[0]
    assert first != second
    assert stranger.sending(Cookie=first).get("/v1/whoami").status == 401
    assert stranger.sending(Cookie=second).get("/v1/whoami").status == 200


def test_who_signs_out_is_out_also_for_who_copied_the_cookie(stranger: Any, browser: Any) -> None:
    page = browser.get("/")
    assert '<form method="post" action="/leave">' in page.text
    for origin in (EVIL, None):
        foreign = stranger.sending(**browser.headers, **({"Origin": origin} if origin else {}))
        assert foreign.post("/leave").status == 403, "no other site signs somebody out"
    left = stranger.sending(**browser.headers, Origin=f"http://127.0.0.1:{stranger.port}").post("/leave")
    assert (left.status, "session has ended" in left.text) == (200, True)
    assert "Max-Age=0" in cookies_of(left)
    assert browser.get("/").status == 401


def test_a_session_is_listed_and_ended_by_who_manages_tokens_and_ends_with_its_token(stranger: Any, owner: Any, platform: Any, entered: Any) -> None:
    metadata, now_us = platform.repositories.metadata, platform.access.wall.now_us()
    token, secret = tokens.create(metadata, "ana", "auditor", actor="owner", now_us=now_us)
    cookies = [entered(secret), entered(secret)]
    listed = owner.get("/v1/sessions", holder="ana").json()
    assert [(each["token"], each["state"]) for each in listed] == [(token.id, "valid")] * 2
    assert all("hash" not in each and "entered_with" not in each for each in listed)
    assert stranger.sending(Cookie=cookies[0]).get("/v1/sessions").status == 403
    ended = {owner.ask("DELETE", f"/v1/sessions/{listed[0]['id']}").json()["state"]}
    assert ended == {"ended"}
    assert sorted(stranger.sending(Cookie=cookie).get("/v1/audit").status for cookie in cookies) == [200, 401]
    tokens.revoke(metadata, token.id, actor="owner", now_us=now_us)
    assert [stranger.sending(Cookie=cookie).get("/v1/audit").status for cookie in cookies] == [401, 401]
    assert owner.ask("DELETE", "/v1/sessions/nix").status == 404


def test_a_renewed_owner_s_token_ends_the_owner_s_sessions(browser: Any, platform: Any) -> None:
    assert browser.get("/").status == 200
    platform.access.owner_token.renew()
    assert browser.get("/").status == 401
