"""The control plane over a real home with a story's worth of records, behind a real socket."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
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

    def get(self, path: str, /, **query: str) -> Answer:
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
    with served(platform) as caller:
        yield caller


@contextmanager
def served(platform: wiring.Platform) -> Iterator[Caller]:
    """The control plane on a free port, for somebody without a token."""
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


@dataclass(frozen=True)
class MlflowApi:
    """A caller of MLflow's routes that expects an answer, and the platform behind them."""

    caller: Caller
    platform: wiring.Platform

    def get(self, path: str, /, **query: str) -> Any:
        return self._answered(self.caller.get(f"/api/2.0/mlflow/{path}", **query))

    def send(self, method: str, path: str, /, **body: Any) -> Any:
        return self._answered(self.caller.ask(method, f"/api/2.0/mlflow/{path}", json.dumps(body).encode()))

    def post(self, path: str, /, **body: Any) -> Any:
        return self.send("POST", path, **body)

    def refused(self, method: str, path: str, /, **body: Any) -> tuple[int, str]:
        """Status and error code of a request that must fail; GET sends the fields as a query."""
        full = f"/api/2.0/mlflow/{path}"
        answer = self.caller.get(full, **body) if method == "GET" else self.caller.ask(method, full, json.dumps(body).encode())
        assert answer.status >= 400, answer.text
        assert set(answer.json()) == {"error_code", "message"}
        return answer.status, answer.json()["error_code"]

    def run(self, experiment: str = "0", **body: Any) -> str:
        """A new run's id."""
        made: str = self.post("runs/create", experiment_id=experiment, start_time=1_000, **body)["run"]["info"]["run_id"]
        return made

    def _answered(self, answer: Answer) -> Any:
        assert answer.status == 200, (answer.status, answer.text)
        return answer.json()


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowApi]:
    """One control plane for a file of tests, called with the owner's token."""
    home = tmp_path_factory.mktemp("mlflow") / "home"
    with wiring.opened(Settings(home=home, max_request_mb=1, max_artifact_mb=4)) as platform, served(platform) as stranger:
        yield MlflowApi(stranger.sending(Authorization=f"Bearer {(home / 'token').read_text().strip()}"), platform)
