"""kill -9 of the control plane: what was acknowledged is there, and nothing is half there."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from rota import wiring
from rota.manage.lineage import audit_chain
from rota.records.model import Alias, AliasMove, ModelVersion
from rota.records.tracking import ArtifactFile
from rota.settings import Settings

pytestmark = pytest.mark.slow


BASE = "/api/2.0/mlflow"
SERVICE = "/api/2.0/mlflow-artifacts/artifacts"


class Server:
    """A control plane in a process of its own."""

    def __init__(self, home: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:  # a first request waits in it until the server takes it
            self.port = listener.getsockname()[1]
            command = [sys.executable, "-m", "rota.cli", "server", "--fd", str(listener.fileno())]
            self.process = subprocess.Popen(
                command,
                env={**os.environ, "ROTA_HOME": str(home)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
            )
        self.headers: dict[str, str] = {}
        self.ask("GET", "/health")
        self.headers = {"Authorization": f"Bearer {(home / 'token').read_text().strip()}"}

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body if isinstance(body, bytes) else json.dumps(body).encode(), self.headers)
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status == 200, text
            return json.loads(text) if text.startswith(b"{") else text
        finally:
            connection.close()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def running(home: Path) -> Iterator[Server]:
    server = Server(home)
    try:
        yield server
    finally:
        server.kill()


def until_killed(server: Server, act: Callable[[int], None], *, at: int) -> list[int]:
    """Acts one after another in a thread; kills the server while act `at` or a later one is under way. Returns what was acknowledged."""
    acknowledged: list[int] = []
    reached = threading.Event()

    def work() -> None:
        with suppress(OSError, http.client.HTTPException):
            for number in range(10_000):
                if number == at:
                    reached.set()
                act(number)
                acknowledged.append(number)

    thread = threading.Thread(target=work)
    thread.start()
    assert reached.wait(60)
    time.sleep(0.003)
    server.kill()
    thread.join()
    return acknowledged


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_a_batch_is_there_whole_or_not_at_all(home: Path) -> None:
    with running(home) as server:
        run = server.ask("POST", f"{BASE}/runs/create", {"experiment_id": "0"})["run"]["info"]["run_id"]

        def batch(number: int) -> None:
            metrics = [{"key": f"m{number}", "value": step, "timestamp": step, "step": step} for step in range(200)]
            pair = [{"key": f"k{number}", "value": str(number)}]
            server.ask("POST", f"{BASE}/runs/log-batch", {"run_id": run, "metrics": metrics, "params": pair, "tags": pair})

        acknowledged = until_killed(server, batch, at=8)
    with wiring.opened(Settings(home=home)) as platform:
        tracking = platform.repositories.tracking
        kept = tracking.run(run)
        assert kept is not None
        whole = {n for n in range(len(acknowledged) + 1) if len(tracking.history(run, f"m{n}")) == 200}
        some = {int(key[1:]) for key in (*kept.parameters, *(tag for tag in kept.tags if tag.startswith("k")), *kept.metrics)}
    assert set(acknowledged) <= whole
    assert some == whole


def test_an_upload_is_there_whole_or_not_at_all(home: Path) -> None:
    with running(home) as server:
        run = server.ask("POST", f"{BASE}/runs/create", {"experiment_id": "0"})["run"]["info"]["run_id"]
        root = f"0/{run}/artifacts"
        server.ask("PUT", f"{SERVICE}/{root}/whole.bin", b"w" * 3_000_000)
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
        connection.putrequest("PUT", f"{SERVICE}/{root}/half.bin")
        for name, value in {**server.headers, "Content-Length": "8000000"}.items():
            connection.putheader(name, value)
        connection.endheaders()
        connection.send(b"h" * 5_000_000)
        server.ask("GET", f"{BASE}/experiments/get?experiment_id=0")
        server.kill()
        connection.close()
    with wiring.opened(Settings(home=home)) as platform:
        repositories = platform.repositories
        kept = repositories.metadata.find(ArtifactFile)
        assert [(file.path, file.size) for file in kept] == [("whole.bin", 3_000_000)]
        assert list(repositories.blobs.digests()) == [kept[0].digest]
        assert repositories.blobs.get(kept[0].digest) == b"w" * 3_000_000


def test_a_registration_is_there_with_all_its_files_or_not_at_all(home: Path) -> None:
    with running(home) as server:
        run = server.ask("POST", f"{BASE}/runs/create", {"experiment_id": "0"})["run"]["info"]["run_id"]
        for name in ("MLmodel", "model.skops", "requirements.txt"):
            server.ask("PUT", f"{SERVICE}/0/{run}/artifacts/model/{name}", name.encode())
        server.ask("POST", f"{BASE}/registered-models/create", {"name": "churn"})

        def register(number: int) -> None:
            made = server.ask("POST", f"{BASE}/model-versions/create", {"name": "churn", "source": f"runs:/{run}/model"})
            assert made["model_version"]["version"] == str(number + 1)
            server.ask("POST", f"{BASE}/registered-models/alias", {"name": "churn", "alias": "candidate", "version": str(number + 1)})

        acknowledged = until_killed(server, register, at=6)
    with wiring.opened(Settings(home=home)) as platform:
        metadata = platform.repositories.metadata
        versions = metadata.find(ModelVersion, {"model": "churn"}, order="number")
        files = metadata.find(ArtifactFile)
    assert [version.number for version in versions] == list(range(1, len(versions) + 1))
    assert len(acknowledged) <= len(versions) <= len(acknowledged) + 1
    for version in versions:
        assert sorted(file.path for file in files if file.root == version.artifacts) == ["MLmodel", "model.skops", "requirements.txt"]
    assert len(files) == 3 * (len(versions) + 1)


def test_an_alias_moves_whole_with_its_history_or_not_at_all(home: Path) -> None:
    with running(home) as server:
        run = server.ask("POST", f"{BASE}/runs/create", {"experiment_id": "0"})["run"]["info"]["run_id"]
        server.ask("PUT", f"{SERVICE}/0/{run}/artifacts/model/MLmodel", b"x")
        server.ask("POST", f"{BASE}/registered-models/create", {"name": "churn"})
        for _ in range(2):
            server.ask("POST", f"{BASE}/model-versions/create", {"name": "churn", "source": f"runs:/{run}/model"})

        def move(number: int) -> None:
            server.ask("POST", f"{BASE}/registered-models/alias", {"name": "churn", "alias": "candidate", "version": str(number % 2 + 1)})

        acknowledged = until_killed(server, move, at=6)
    with wiring.opened(Settings(home=home)) as platform:
        metadata = platform.repositories.metadata
        alias = metadata.get(Alias, "churn", "candidate")
        moves = metadata.find(AliasMove, {"model": "churn", "alias": "candidate"}, order="move")
        checked = audit_chain.verify_audit(metadata)
    assert alias is not None
    assert [each.move for each in moves] == list(range(1, len(moves) + 1))
    assert [each.number for each in moves] == [number % 2 + 1 for number in range(len(moves))]
    assert alias.number == moves[-1].number
    assert len(acknowledged) <= len(moves) <= len(acknowledged) + 1
    assert (checked.broken_at, checked.entries > len(moves)) == (0, True)
