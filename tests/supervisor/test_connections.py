"""Connections of both servers within their limits, tried with raw sockets: what is refused, that the refusal can be read, who is still answered."""

import asyncio
import gzip
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn

from rota.records.limits import HEADERS, PIPELINED
from rota.settings import Settings
from rota.supervisor.connections import limited

HEAD = b"POST /x HTTP/1.1\r\nHost: a\r\n"


@dataclass
class Application:
    """Answers with the length of the body and counts what reached it; a path /early is refused without reading."""

    seen: list[str] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(scope["path"])
        size, more, status = 0, scope["path"] != "/early", 200
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.seen.append("left")
                return
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        if scope["path"] == "/early":
            status = 413
        answer = b"%d" % size
        if scope["path"] == "/large":
            answer = b"x" * 50_000_000
        headers = [(b"content-length", b"%d" % len(answer)), *([(b"connection", b"close")] if status == 413 else [])]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


@contextmanager
def serving(application: Any, **settings: Any) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0), backlog=2_048) as listener:
        server = uvicorn.Server(uvicorn.Config(application, lifespan="off", log_config=None, **limited(Settings(**settings))))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def answer_of(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """Status and JSON of the one answer that comes before the server closes."""
    got = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert got.startswith(b"HTTP/1.1 "), got[:200]
    head, _, body = got.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    return int(got[9:12]), json.loads(body)


def sent(port: int, data: bytes) -> tuple[int, dict[str, Any]]:
    with connected(port) as connection:
        connection.sendall(data)
        return answer_of(connection)


def is_answered(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/x", b"1234")
    said = connection.getresponse()
    text = said.read()
    connection.close()
    return (said.status, text) == (200, b"4")


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
def port(application: Application) -> Iterator[int]:
    with serving(application, max_header_kb=16, receive_timeout_s=0.5) as port:
        yield port


def test_headers_of_a_hundred_megabytes_are_refused_while_they_come_and_the_refusal_is_read(port: int, application: Application) -> None:
    with connected(port) as connection:
        connection.sendall(HEAD + b"A: ")
        for _ in range(100):
            connection.sendall(b"a" * 1_000_000)
        connection.sendall(b"\r\n\r\n")
        status, answer = answer_of(connection)
    assert (status, "max_header_kb" in answer["error"]) == (431, True)
    assert not application.seen
    assert is_answered(port)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (HEAD + b"A: " + b"a" * 16_000 + b"\r\n\r\n", 431),
        (HEAD + b"".join(b"A%d: %s\r\n" % (n, b"b" * 80) for n in range(HEADERS - 2)) + b"\r\n", 431),
        (HEAD + b"A: b\r\n" * HEADERS + b"\r\n", 431),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (HEAD + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\nabcd", 400),
        (HEAD + b"Content-Length: 4x\r\n\r\nabcd", 400),
        (HEAD + b"Content-Length: 99999999999999999999999\r\n\r\nabcd", 400),
        (b"no request\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ],
)
def test_a_head_that_cannot_be_read_is_refused_before_the_application_sees_it(port: int, application: Application, head: bytes, status: int) -> None:
    got, answer = sent(port, head)
    assert got == status
    assert answer["error"]
    assert not application.seen


def test_a_head_just_within_the_limit_is_taken(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(HEAD + b"Connection: close\r\nA: " + b"a" * 15_900 + b"\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("begin", "seen"),
    [
        (b"POST /x HT", []),
        (HEAD, []),
        (HEAD + b"Content-Length: 100\r\n\r\n0123456789", ["/x", "left"]),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", ["/x", "left"]),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", ["/x", "left"]),
    ],
)
def test_a_request_that_never_ends_is_told_so(port: int, application: Application, begin: bytes, seen: list[str]) -> None:
    status, answer = sent(port, begin)
    assert (status, "receive_timeout_s" in answer["error"]) == (408, True)
    until = time.monotonic() + 60
    while application.seen != seen:  # the application learns of it a moment later
        assert time.monotonic() < until, application.seen
        time.sleep(0.01)


@pytest.mark.parametrize("body", [True, False])
def test_a_byte_now_and_then_does_not_hold_a_connection(port: int, body: bool) -> None:
    with connected(port) as connection:
        connection.sendall(HEAD + (b"Content-Length: 1000\r\n\r\n" if body else b""))
        got, letters = b"", b"a" * 900 if body else b"A: " + b"a" * 900
        connection.settimeout(0.05)
        for letter in letters:
            connection.sendall(bytes([letter]))
            try:
                got = connection.recv(100)
            except TimeoutError:
                continue
            break
    assert got.startswith(b"HTTP/1.1 408 ")


def test_a_silent_connection_and_one_that_sends_empty_lines_are_closed(port: int) -> None:
    with connected(port) as connection:
        assert connection.recv(10) == b""
    with connected(port) as connection:
        connection.settimeout(0.05)
        for _ in range(1_000):
            try:
                connection.sendall(b"\r\n")
                ended = connection.recv(10) == b""
            except TimeoutError:
                continue
            except OSError:
                ended = True
            break
        assert ended


def test_a_slow_body_within_its_rate_is_taken_whole(application: Application) -> None:
    with serving(application, receive_timeout_s=0.2) as port, connected(port) as connection:
        connection.sendall(HEAD + b"Connection: close\r\nContent-Length: 10000\r\n\r\n")
        for _ in range(10):
            connection.sendall(b"a" * 1_000)
            time.sleep(0.06)  # 0.6 s in all: longer than the time-out, faster than the slowest allowed
        assert connection.recv(1_000).endswith(b"10000")


def test_a_thousand_half_open_connections_keep_nobody_out(application: Application) -> None:
    with serving(application, max_connections=100) as port, ExitStack() as stack:
        held = [stack.enter_context(connected(port)) for _ in range(1_000)]
        for n, each in enumerate(held):
            try:
                each.sendall((b"POST /x HT", HEAD + b"Content-Length: 9\r\n\r\n", b"")[n % 3])
            except OSError:
                continue
        assert all(is_answered(port) for _ in range(20))
        first = held[0].recv(1_000)
        assert first == b"" or first.startswith(b"HTTP/1.1 503 ")


def test_whoever_comes_when_each_connection_has_a_request_is_told_to_try_again() -> None:
    entered, release = threading.Semaphore(0), threading.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        entered.release()
        await asyncio.to_thread(release.wait, 60)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    with serving(slow, max_connections=8) as port, ExitStack() as stack:
        busy = [stack.enter_context(connected(port)) for _ in range(8)]
        for each in busy:
            each.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        for _ in range(8):
            assert entered.acquire(timeout=60)
        with connected(port) as late:
            late.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
            status, answer = answer_of(late)
        assert (status, "try again" in answer["error"]) == (503, True)
        release.set()
        assert all(each.recv(12) == b"HTTP/1.1 200" for each in busy)


def test_a_refusal_reaches_a_sender_that_sends_its_whole_body_first(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n")
        for _ in range(50):
            connection.sendall(b"a" * 1_000_000)
        got = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert got.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("wrapping", [b"1;" + b"e" * 1_000 + b"\r\na\r\n", b"1\r\na\r\n0\r\n" + b"T: t\r\n" * 5_000])
def test_chunks_and_trailers_that_hold_nothing_are_refused(port: int, wrapping: bytes) -> None:
    with connected(port) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + wrapping * 1_000)
        assert answer_of(connection)[0] in (400, 431)


def test_chunks_of_one_byte_are_a_body_like_any_other(application: Application) -> None:
    with serving(application) as port, connected(port) as connection:
        connection.sendall(HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 20_000 + b"0\r\nT: t\r\n\r\n")
        got = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert got.endswith(b"20000")


def test_pipelined_requests_are_answered_in_order_and_garbage_behind_them_does_not_cut_an_answer(port: int) -> None:
    asked = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
    with connected(port) as connection:
        connection.sendall(b"".join(asked % n + b"a" * n for n in range(5)))
        got = b""
        while got.count(b"HTTP/1.1 200") < 5:
            got += connection.recv(65_536)
        assert [int(part.rpartition(b"\r\n")[2][:1]) for part in got.split(b"HTTP/1.1 ")[1:]] == [0, 1, 2, 3, 4]
        connection.sendall(asked % 3 + b"abc" + b"garbage\r\n\r\n")
        rest = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert (rest.count(b"HTTP/1.1 "), rest[:12]) == (1, b"HTTP/1.1 200")


def test_more_requests_than_may_wait_on_a_connection_end_it_behind_the_answer_under_way(port: int, application: Application) -> None:
    with connected(port) as connection:
        connection.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n" * 10 * PIPELINED)
        got = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert got.count(b"HTTP/1.1 ") == len(application.seen) <= PIPELINED + 1


def test_a_body_that_is_longer_than_announced_is_another_request_that_is_none(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(HEAD + b"Content-Length: 4\r\n\r\n" + b"a" * 400)
        got = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert got.startswith(b"HTTP/1.1 200 ")
    assert got.count(b"HTTP/1.1 ") <= 2


def test_packed_bytes_are_handed_on_as_they_came(port: int) -> None:
    packed = gzip.compress(b"0" * 10_000_000)
    with connected(port) as connection:
        connection.sendall(HEAD + b"Connection: close\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed)
        assert connection.recv(1_000).endswith(b"%d" % len(packed))


def test_a_reader_that_reads_nothing_is_given_up(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rota.supervisor.connections.READ_ON_S", 0.3)
    with serving(application) as port, connected(port) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        connection.recv(10)
        for _ in range(1_200):
            time.sleep(0.05)
            try:
                connection.sendall(b"\r\n")
            except OSError:
                return
        pytest.fail("the connection is still open")


def test_a_kept_connection_answers_again_and_is_closed_when_it_is_idle(application: Application) -> None:
    with serving(application, idle_timeout_s=1) as port, connected(port) as connection:
        for _ in range(3):
            connection.sendall(HEAD + b"Content-Length: 1\r\n\r\na")
            assert connection.recv(1_000).endswith(b"1")
        assert connection.recv(10) == b""
