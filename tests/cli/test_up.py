"""`rota up` as real processes: it answers, a killed child comes back on the same socket, and it takes everything with it."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from rota.client import Client

pytestmark = pytest.mark.slow
SOON_S = 120.0


def until(true: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + SOON_S
    while time.monotonic() < deadline:
        if found := true():
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {SOON_S:g} s in vain until {what}")


class Up:
    """A running platform of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        environment = {**os.environ, "ROTA_HOME": str(home), "ROTA_CONTROL_PORT": "0", "ROTA_PREDICTION_PORT": "0", "ROTA_LOG": "json"}
        self.log = (home.parent / "log").open("w+")
        command = [sys.executable, "-m", "rota.cli", "up"]
        self.process = subprocess.Popen(command, env=environment, cwd=home.parent, stdout=subprocess.PIPE, stderr=self.log, text=True)
        assert self.process.stdout is not None
        self.said = [self.process.stdout.readline() for _ in range(4)]

    def ports(self) -> dict[str, Any]:
        return json.loads((self.home / "ports.json").read_text())

    def status_of(self, server: str, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.ports()[server], timeout=60)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()

    def logged(self, action: str) -> list[dict[str, Any]]:
        self.log.flush()
        lines = [json.loads(line) for line in Path(self.log.name).read_text().splitlines()]
        return [line for line in lines if line.get("action") == action]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    running = Up(tmp_path / "home")
    yield running
    pids = running.ports()["children"].values() if (running.home / "ports.json").exists() else ()
    if running.process.poll() is None:
        running.process.kill()
    running.process.wait()
    for pid in pids:  # a prediction process outlives its supervisor
        with suppress(psutil.NoSuchProcess):
            psutil.Process(pid).kill()
    running.process.stdout.close()
    running.log.close()


def test_it_says_where_it_listens_restarts_what_dies_and_ends_with_all_its_children(up):
    assert "/enter?token=TOKEN (`rota token --show` prints it)" in up.said[1]
    assert (up.home / "token").read_text().strip() not in "".join(up.said), "what is no screen may be a log"
    assert "Ctrl-C" in up.said[3]
    assert (up.status_of("control", "/healthz"), up.status_of("control", "/")) == (200, 401)
    assert up.status_of("prediction", "/v2/health/live") == 200

    before = up.ports()["children"]
    for name in ("server", "serve-0"):
        os.kill(before[name], signal.SIGKILL)
    until(lambda: all(up.ports()["children"].get(name, before[name]) != before[name] for name in ("server", "serve-0")), "both have new pids")
    assert up.status_of("control", "/healthz") == 200, "the waiting connection was answered by the new process"
    assert up.status_of("prediction", "/v2/health/live") == 200
    assert {line["child"] for line in up.logged("child_died")} == {"server", "serve-0"}

    client = Client(up.home)
    assert client.get("/v1/loop")["waiting"] == []
    client.close()

    children = list(up.ports()["children"].values())
    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(SOON_S) == 0
    assert up.logged("child_killed") == []
    assert not [pid for pid in children if psutil.pid_exists(pid)]
    assert not (up.home / "ports.json").exists()


def test_children_that_predict_nothing_end_by_themselves_when_the_supervisor_is_killed(up):
    pids = up.ports()["children"]
    children = [psutil.Process(pids[name]) for name in ("server", "worker-0")]
    up.process.kill()
    up.process.wait()
    until(lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children), "every child has ended")


def test_a_second_one_on_the_same_home_is_refused_in_one_line(up):
    environment = {**os.environ, "ROTA_HOME": str(up.home), "ROTA_CONTROL_PORT": "0", "ROTA_PREDICTION_PORT": "0"}
    second = subprocess.run([sys.executable, "-m", "rota.cli", "up"], env=environment, capture_output=True, text=True, timeout=SOON_S, check=False)
    assert second.returncode == 1
    assert "is already up" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_home_has_one_supervisor_also_when_somebody_removed_its_lock(up):
    (up.home / "up.lock").unlink()
    environment = {**os.environ, "ROTA_HOME": str(up.home), "ROTA_CONTROL_PORT": "0", "ROTA_PREDICTION_PORT": "0"}
    second = subprocess.run([sys.executable, "-m", "rota.cli", "up"], env=environment, capture_output=True, text=True, timeout=SOON_S, check=False)
    assert second.returncode == 1
    assert "is already up" in second.stderr
    (up.home / "up.lock").unlink()
    down = subprocess.run([sys.executable, "-m", "rota.cli", "down"], env=environment, capture_output=True, text=True, timeout=SOON_S, check=False)
    assert "ended   supervisor, server, worker-0, serve-0" in down.stdout, down.stderr
    assert up.process.wait(SOON_S) == 0


def test_where_it_listens_is_said_again_when_the_file_was_removed(up):
    before = up.ports()
    (up.home / "ports.json").unlink()
    until((up.home / "ports.json").exists, "it is there again")
    assert up.ports() == before
