"""The control plane over a real home with a story's worth of records, behind a real socket."""

import http.client
import json
import shutil
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import uvicorn
from fastapi import FastAPI

from rota import wiring
from rota.server.app import create
from rota.settings import Settings
from rota.supervisor.connections import limited


@dataclass(frozen=True)
class Answer:
    """A response; header names are lower case, and of a repeated one the first stands."""

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
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, self.headers)
            answer = connection.getresponse()
            headers: dict[str, str] = {}
            for name, value in answer.getheaders():
                headers.setdefault(name.lower(), value)
            return Answer(answer.status, headers, answer.read().decode())
        finally:
            connection.close()


@dataclass
class Switchboard:
    """One server for all tests of a process: a few ports, each of them answered by the application that a test puts behind it."""

    listeners: list[socket.socket]
    applications: dict[int, Any] = field(default_factory=dict)
    requests: Counter[int] = field(default_factory=Counter)
    """The requests that are being answered, by port."""
    changed: threading.Condition = field(default_factory=threading.Condition)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        port = scope["server"][1]
        with self.changed:
            self.requests[port] += 1
        try:
            await self.applications[port](scope, receive, send)
        finally:
            with self.changed:
                self.requests[port] -= 1
                self.changed.notify_all()

    @contextmanager
    def serving(self, application: Any) -> Iterator[int]:
        """The port behind which the application answers, until every request to it is answered."""
        port = next(port for port in (each.getsockname()[1] for each in self.listeners) if port not in self.applications)
        self.applications[port] = application
        try:
            yield port
        finally:
            with self.changed:
                answered = self.changed.wait_for(lambda: not self.requests[port], timeout=60)
            del self.applications[port]
        assert answered, "a request is still being answered"


@pytest.fixture(scope="session")
def switchboard() -> Iterator[Switchboard]:
    board = Switchboard([socket.create_server(("127.0.0.1", 0)) for _ in range(4)])
    server = uvicorn.Server(uvicorn.Config(board, lifespan="off", log_config=None, timeout_graceful_shutdown=1, **limited(Settings())))
    thread = threading.Thread(target=server.run, kwargs={"sockets": board.listeners})
    thread.start()
    yield board
    server.should_exit = True
    thread.join()


@pytest.fixture
def platform(told_home: Path, tmp_path: Path) -> Iterator[wiring.Platform]:
    with wiring.opened(Settings(home=shutil.copytree(told_home, tmp_path / "home"), max_request_mb=1)) as opened:
        yield opened


@dataclass
class Changing:
    """Whose tokens the shared application knows: those of the platform of the test that runs."""

    platform: wiring.Platform

    def __getattr__(self, name: str) -> Any:
        return getattr(self.platform, name)


@dataclass(frozen=True)
class Shared:
    """One application for all tests of a process, because its 200 routes take a tenth of a second to build."""

    application: FastAPI
    changing: Changing

    def over(self, platform: wiring.Platform) -> FastAPI:
        """The application over this platform from now on, as if it were new."""
        self.changing.platform = self.application.state.platform = platform
        self.application.state.answers.clear()
        platform.access.owner_token.make()
        return self.application


@pytest.fixture(scope="session")
def shared(told_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Shared:
    home = shutil.copytree(told_home, tmp_path_factory.mktemp("application") / "home")
    with wiring.opened(Settings(home=home, max_request_mb=1)) as opened:
        changing = Changing(opened)
        return Shared(create(changing), changing)  # type: ignore[arg-type]


@pytest.fixture
def stranger(platform: wiring.Platform, shared: Shared, switchboard: Switchboard) -> Iterator[Caller]:
    """Somebody without a token."""
    with switchboard.serving(shared.over(platform)) as port:
        yield Caller(port)


@pytest.fixture
def token(platform: wiring.Platform, stranger: Caller) -> str:
    return (platform.settings.home / "token").read_text()


@pytest.fixture
def owner(stranger: Caller, token: str) -> Caller:
    """A program that sends the owner's token."""
    return stranger.sending(Authorization=f"Bearer {token}")


@pytest.fixture
def entered(stranger: Caller) -> Callable[[str], str]:
    """Gives the cookie of a browser that has entered with a token."""
    return lambda secret: stranger.get("/enter", token=secret).headers["set-cookie"].partition(";")[0]


@pytest.fixture
def browser(stranger: Caller, token: str, entered: Callable[[str], str]) -> Caller:
    """A browser that has entered."""
    return stranger.sending(Accept="text/html", Cookie=entered(token))


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
def mlflow(_copied_stores: None, switchboard: Switchboard, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowApi]:
    """One control plane for a file of tests, called with the owner's token."""
    home = tmp_path_factory.mktemp("mlflow") / "home"
    with (
        wiring.opened(Settings(home=home, max_request_mb=1, max_artifact_mb=4)) as platform,
        switchboard.serving(create(platform)) as port,
    ):
        yield MlflowApi(Caller(port, {"Authorization": f"Bearer {(home / 'token').read_text().strip()}"}), platform)
