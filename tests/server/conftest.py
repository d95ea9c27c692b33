"""The control plane over a real home with a story's worth of records, behind a real socket."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import uvicorn

from rota import wiring
from rota.server.app import create
from rota.settings import Settings
from rota.testing import story


@dataclass(frozen=True)
class Answer:
    """A response; header names are lower case."""

    status: int
    headers: dict[str, str]
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Caller:
    """An HTTP caller that sends the same headers each time."""

    port: int
    headers: dict[str, str] = field(default_factory=dict)

    def sending(self, **headers: str) -> "Caller":
        """The same caller with these headers instead."""
        return Caller(self.port, headers)

    def get(self, path: str, **query: str) -> Answer:
        return self.ask("GET", path + (f"?{urlencode(query)}" if query else ""))

    def post(self, path: str, body: Any = None) -> Answer:
        return self.ask("POST", path, body if isinstance(body, bytes | Iterator) else json.dumps(body).encode())

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, self.headers)
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode())
        finally:
            connection.close()


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[wiring.Platform]:
    with wiring.opened(Settings(home=tmp_path / "home", max_request_mb=1)) as opened:
        story.tell(opened.repositories.metadata, opened.repositories.runs)
        yield opened


@pytest.fixture
def stranger(platform: wiring.Platform) -> Iterator[Caller]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(create(platform), http="httptools", loop="uvloop", lifespan="off", log_config=None, timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield Caller(listener.getsockname()[1])
    server.should_exit = True
    thread.join()


@pytest.fixture
def token(platform: wiring.Platform, stranger: Caller) -> str:
    return (platform.settings.home / "token").read_text()


@pytest.fixture
def owner(stranger: Caller, token: str) -> Caller:
    """A program that sends the owner's token."""
    return stranger.sending(Authorization=f"Bearer {token}")


@pytest.fixture
def browser(stranger: Caller, token: str) -> Caller:
    """A browser that has entered."""
    cookie = stranger.get("/enter", token=token).headers["set-cookie"].partition(";")[0]
    return stranger.sending(Accept="text/html", Cookie=cookie)
