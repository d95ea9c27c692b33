"""Unmodified MLflow clients and servers, each in an environment of its own, and a control plane of Rota beside them.

The environments are made by `make peers` from requirements/mlflow3.txt and mlflow2.txt; ROTA_TEST_MLFLOW3 and ROTA_TEST_MLFLOW2
name other interpreters. Where one is missing the tests are skipped with that command, or fail under REQUIRE_ENGINES=1.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

START_S = 120
WHOLE_S = 400
CLIENT = Path(__file__).parent / "client"
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTHON", "ROTA_", "AWS_"))}
PEERS = {name: os.environ.get(f"ROTA_TEST_{name.upper()}", "") for name in ("mlflow2", "mlflow3", "inference")}
"""Read before a test hides the settings of the shell."""


@dataclass(frozen=True)
class Served:
    """A server that a client can be pointed at."""

    url: str
    home: Path
    token: str = field(default="", repr=False)

    def env(self) -> dict[str, str]:
        """What a client needs."""
        said = {"MLFLOW_TRACKING_URI": self.url, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
        quiet = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false", "GIT_PYTHON_REFRESH": "quiet", "TQDM_DISABLE": "1", "MPLBACKEND": "agg"}
        one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # two clients and two servers share the machine
        return CLEAN | said | quiet | one | ({"MLFLOW_TRACKING_TOKEN": self.token} if self.token else {})

    def rota(self, *words: str) -> str:
        """What a command of Rota's prints on this server's home."""
        command = [sys.executable, "-m", "rota.cli", *words]
        done = subprocess.run(command, env=CLEAN | {"ROTA_HOME": str(self.home)}, capture_output=True, text=True, timeout=START_S, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def python_of(root: Path, environment: str) -> Path:
    """The interpreter of a peer's environment."""
    python = Path(PEERS[environment] or root / ".peers" / environment / "bin" / "python")
    if not python.exists():
        message = f"the environment {environment} is not made; to run this test: make peers"
        if os.environ.get("REQUIRE_ENGINES"):
            pytest.fail(message)
        pytest.skip(message)
    return python


@contextmanager
def oracle(python: Path, folder: Path) -> Iterator[Served]:
    """MLflow's own server on SQLite, files below `folder`."""
    port = free_port()
    store = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]
    command = [str(python.with_name("mlflow")), "server", *store, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    env = {
        **CLEAN,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PATH": f"{python.parent}:{os.environ['PATH']}",
    }
    with _running(command, env, f"http://127.0.0.1:{port}", folder):
        yield Served(f"http://127.0.0.1:{port}", folder)


@contextmanager
def control_plane(home: Path) -> Iterator[Served]:
    """`rota server` on a home of its own, with its owner's token."""
    home.mkdir(exist_ok=True)
    port = free_port()
    env = {**CLEAN, "ROTA_HOME": str(home), "ROTA_CONTROL_PORT": str(port)}
    with _running([sys.executable, "-m", "rota.cli", "server"], env, f"http://127.0.0.1:{port}", home):
        yield Served(f"http://127.0.0.1:{port}", home, (home / "token").read_text().strip())


@pytest.fixture(scope="session")
def inference_client(root: Path) -> Callable[..., None]:
    """Runs the clients of the Open Inference Protocol: the file to write, the server's address, a token."""
    python = python_of(root, "inference")

    def run(out: Path, *words: str) -> None:
        command = [str(python), str(CLIENT.with_name("inference")), str(out), *words]
        done = subprocess.run(command, env=CLEAN, cwd=out.parent, capture_output=True, text=True, timeout=WHOLE_S, check=False)
        assert done.returncode == 0, done.stderr[-4_000:]

    return run


@pytest.fixture(scope="session")
def rota_up() -> Callable[[Path], Any]:
    """Runs `rota up` on a home, as a context manager that gives the address of its prediction port."""
    return _up


@contextmanager
def _up(home: Path) -> Iterator[str]:
    """`rota up` on a home; gives the address of its prediction port once all of it is served."""
    env = {**CLEAN, "ROTA_HOME": str(home), "ROTA_CONTROL_PORT": str(free_port()), "ROTA_PREDICTION_PORT": str(free_port())}
    url = f"http://127.0.0.1:{env['ROTA_PREDICTION_PORT']}"
    with _running([sys.executable, "-m", "rota.cli", "up"], env, f"{url}/v2", home.parent, answers="/health/ready"):
        yield url


def transcript(python: Path, server: Served, folder: Path, groups: Sequence[str] = ()) -> Mapping[str, Any]:
    """What a client saw of a server."""
    out = folder / "transcript.json"
    done = subprocess.run(
        [str(python), str(CLIENT), str(out), *groups], env=server.env(), cwd=folder, capture_output=True, text=True, timeout=WHOLE_S, check=False
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    found: Mapping[str, Any] = json.loads(out.read_text())
    return found


@dataclass(frozen=True)
class Compared:
    """One client against both servers; Rota's goes on running."""

    python: Path
    mlflow: Mapping[str, Any]
    rota: Mapping[str, Any]
    served: Served


@pytest.fixture(scope="session", params=["mlflow3", "mlflow2"])
def compared(request: pytest.FixtureRequest, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compared]:
    python, server = python_of(root, request.param), python_of(root, "mlflow3")
    theirs, ours = tmp_path_factory.mktemp("theirs"), tmp_path_factory.mktemp("ours")
    with control_plane(ours / "home") as rota, oracle(server, theirs) as mlflow, ThreadPoolExecutor(2) as pool:
        at_mlflow, at_rota = pool.submit(transcript, python, mlflow, theirs), pool.submit(transcript, python, rota, ours)
        yield Compared(python, at_mlflow.result(), at_rota.result(), rota)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(command: list[str], env: dict[str, str], url: str, folder: Path, answers: str = "/health") -> Iterator[None]:
    """A process and its children, in a group of their own, ended whatever happens."""
    said = folder / "server.log"
    with said.open("wb") as log, subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=log, start_new_session=True) as process:
        try:
            until = time.monotonic() + START_S
            while not _answers(f"{url}{answers}"):
                assert process.poll() is None, said.read_text()[-2_000:]
                assert time.monotonic() < until, said.read_text()[-2_000:]
                time.sleep(0.1)
            yield
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True
