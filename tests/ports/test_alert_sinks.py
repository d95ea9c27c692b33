"""Alert sinks against a real local HTTP server."""

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import msgspec
import pytest

from rota.backends.alert_sinks import LogSink, WebhookSink
from rota.errors import InvalidInput, Refused, Unavailable
from rota.records.record import decode
from rota.records.signal import Alert

ALERT = Alert("a1", "flight-delay", "drift", "dep_delay", "warning", "dep_delay drifted: é", {"psi": 0.3}, raised_us=1, last_seen_us=2)


class Receiver:
    """An HTTP server that keeps what it gets; a POST to /status/503 is answered with 503, one to /hang never."""

    def __init__(self) -> None:
        self.received: list[tuple[str, str, bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.received.append((self.path, self.headers["content-type"], body))
                if self.path == "/hang":
                    receiver.released.wait(60)
                    return
                self.send_response(int(self.path.rsplit("/", 1)[-1]))
                self.send_header("location", f"http://{self.headers['host']}/elsewhere/200")
                self.send_header("content-length", "0")
                self.end_headers()

            def do_GET(self) -> None:
                self.do_POST()

            def log_message(self, *_: object) -> None:
                pass

        self.released = threading.Event()
        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    opened = Receiver()
    yield opened
    opened.close()


def test_the_alert_arrives_as_json(receiver: Receiver) -> None:
    WebhookSink(f"{receiver.url}/status/204").deliver(ALERT)
    ((path, content_type, body),) = receiver.received
    assert (path, content_type) == ("/status/204", "application/json")
    assert decode(body, Alert) == ALERT
    assert json.loads(body)["message"] == "dep_delay drifted: é"


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_a_busy_receiver_may_be_retried(receiver: Receiver, status: int) -> None:
    with pytest.raises(Unavailable, match=str(status)):
        WebhookSink(f"{receiver.url}/secret/{status}").deliver(ALERT)


@pytest.mark.parametrize("status", [400, 401, 404, 410, 301, 302, 303, 307, 308])
def test_a_refusal_or_a_redirect_is_not_retried_and_not_followed(receiver: Receiver, status: int) -> None:
    with pytest.raises(Refused, match=str(status)) as caught:
        WebhookSink(f"{receiver.url}/secret/{status}").deliver(ALERT)
    assert len(receiver.received) == 1
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(caught.value.facts)


def test_no_answer_is_unavailable(receiver: Receiver) -> None:
    with pytest.raises(Unavailable, match="a1"):
        WebhookSink(f"{receiver.url}/hang", timeout_s=0.2).deliver(ALERT)


def test_no_server_is_unavailable_and_the_url_stays_secret(receiver: Receiver) -> None:
    receiver.close()
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1") as caught:
        WebhookSink(f"{receiver.url}/secret/200").deliver(ALERT)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "file:///etc/passwd",
        "ftp://host/x",
        "host/path",
        "http://",
        "http:///x",
        "http://h:port/",
        "http://h/a\r\nb",
        "javascript:1",
        "http://[::1/",
    ],
)
def test_only_http_urls_are_taken(url: str) -> None:
    with pytest.raises(InvalidInput, match="https://host"):
        WebhookSink(url)


@pytest.mark.parametrize(("severity", "level"), [("warning", logging.WARNING), ("critical", logging.ERROR)])
def test_the_log_gets_one_line_with_its_facts(caplog: pytest.LogCaptureFixture, severity: str, level: int) -> None:
    with caplog.at_level(logging.INFO, logger="rota.monitor"):
        LogSink().deliver(msgspec.structs.replace(ALERT, severity=severity))
    (line,) = caplog.records
    assert (line.name, line.levelno, line.getMessage()) == ("rota.monitor", level, "alert a1: dep_delay drifted: é")
    assert (line.action, line.alert, line.endpoint) == ("alert.raised", "a1", "flight-delay")
