"""Platforms as real processes: a home that serves a model, `rota up` on it, and callers that predict all the while."""

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
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import lightgbm
import numpy as np
import polars as pl
import psutil
import pytest

from rota.backends.models.lightgbm_format import LightGBMFormat
from rota.backends.sql.metadata import SqlMetadata
from rota.backends.storage.blob_directory import BlobDirectory
from rota.manage.models.transformation import fit, matrix
from rota.ports.blobs import Blobs
from rota.ports.metadata import Batch, Metadata
from rota.records.data import Feature, FeatureService, OnDemandFeatureView
from rota.records.model import ModelBundle
from rota.records.record import encode
from rota.records.release import Endpoint, Release, Route

SOON_S = 120.0
REQUEST = OnDemandFeatureView("request", {"distance": "float"}, {"km": Feature("1.609 * distance")})


def until(true: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + SOON_S
    while time.monotonic() < deadline:
        if found := true():
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {SOON_S:g} s in vain until {what}")


def put_release(metadata: Metadata, blobs: Blobs, revision: int = 1) -> None:
    """Endpoint `delay` with a model that doubles what it is asked for."""
    frame = pl.DataFrame({"request__km": np.linspace(0, 100, 400)})
    transformation = fit({"request__km": "float"}, frame)
    cells = matrix(transformation, frame)
    booster = lightgbm.train({"verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}, lightgbm.Dataset(cells, cells[:, 0] * 2), 5)
    golden = cells[:5]
    bundle = ModelBundle(
        "flights",
        "lightgbm",
        blobs.put(LightGBMFormat().dumps(booster)),
        "regression",
        FeatureService("delay", [REQUEST]),
        transformation,
        tuple(tuple(row) for row in golden.tolist()),
        tuple(booster.predict(golden).tolist()),
    )
    batch = Batch()
    batch.put(Endpoint("delay", "flights"))
    batch.put(Release("delay", revision, (Route("flights", 1, blobs.put(encode(bundle)), "stable", 100),), "", 0))
    metadata.commit(batch)


class Platform:
    """A home of its own, and the `rota up` that runs on it now."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.home, self.folder = folder / "home", folder
        self.settings = {"control_port": 0, "prediction_port": 0, "home": self.home, "prediction_tokens": "false", **settings}
        self.process: subprocess.Popen[bytes] | None = None
        self.log_file = folder / "log"

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "ROTA_LOG": "json"} | {f"ROTA_{name.upper()}": str(value) for name, value in self.settings.items()}

    def serve_a_model(self) -> "Platform":
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        metadata = SqlMetadata(self.home / "metadata.db")
        put_release(metadata, BlobDirectory(self.home / "blobs"))
        metadata.close()
        return self

    def start(self, **options: Any) -> "Platform":
        with self.log_file.open("ab") as log:
            options = {"stdout": log, "stderr": log} | options
            self.process = subprocess.Popen([sys.executable, "-m", "rota.cli", "up"], env=self.environment, cwd=self.folder, **options)
        return self

    def up(self, **options: Any) -> "Platform":
        self.start(**options)
        until(self.is_up, "it is up")
        return self

    def is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"rota up ended: {self.log_file.read_text()[-3_000:]}"
        with suppress(OSError, ValueError, KeyError, http.client.HTTPException):
            return self.ports()["pid"] == self.process.pid and self.get("control", "/healthz")[0] == 200 and self.is_ready()
        return False

    def is_ready(self) -> bool:
        with suppress(OSError, ValueError, KeyError, http.client.HTTPException):
            return self.get("prediction", "/v2/health/ready")[0] == 200
        return False

    def ports(self) -> dict[str, Any]:
        return json.loads((self.home / "ports.json").read_text())

    def child(self, name: str) -> int:
        return int(self.ports()["children"].get(name, 0))

    def get(self, server: str, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.ports()[server], timeout=60)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def rota(self, *words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "rota.cli", *words]
        return subprocess.run(command, env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=SOON_S, check=False)

    def logged(self, action: str) -> list[dict[str, Any]]:
        lines = []
        for line in self.log_file.read_text(errors="replace").splitlines():
            with suppress(ValueError):
                lines.append(json.loads(line))
        return [line for line in lines if isinstance(line, dict) and line.get("action") == action]

    def conditions(self) -> dict[str, dict[str, Any]]:
        found = json.loads((self.home / "run" / "supervisor.json").read_text())["conditions"]
        return {each["name"]: each for each in found}

    def processes(self) -> list[psutil.Process]:
        """Every living process that has this home in its environment."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("ROTA_HOME") == str(self.home) and process.pid != os.getpid():
                    found.append(process)
        return found

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        if self.process is not None:
            self.process.wait()
        for process in self.processes():
            with suppress(psutil.Error):
                process.kill()


class Callers:
    """Threads that predict all the while; each answer that is not 200, and each broken connection, is a failure."""

    def __init__(self, port: int, *, threads: int = 3, keep_alive: bool = True) -> None:
        self.port, self.keep_alive = port, keep_alive
        self.answered, self.failures = 0, list[str]()
        self.refused = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        until(lambda: self.answered > 20 or self.failures, "callers are answered")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def more(self, count: int = 100) -> None:
        """Wait for so many more answers."""
        so_far = self.answered
        until(lambda: self.answered > so_far + count or self.failures, "callers are answered again")

    def _call(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self._stop.is_set():
            if connection.sock is None:
                try:
                    connection.connect()
                except ConnectionRefusedError:
                    self.refused += 1
                    time.sleep(0.01)
                    continue
            try:
                connection.request("POST", "/v1/endpoints/delay/predict", json.dumps({"rows": [{"distance": 20.0}]}))
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                connection.close()
                continue
            if answer.status != 200 or b'"answer"' not in body:
                self.failures.append(f"{answer.status}: {body[:300]!r}")
            self.answered += 1
            if not self.keep_alive or answer.will_close:
                connection.close()
        connection.close()


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Callable[..., Platform]]:
    """Makes platforms that are ended with the test, whatever happened."""
    made: list[Platform] = []

    def make(**settings: object) -> Platform:
        made.append(Platform(tmp_path / f"platform-{len(made)}", **settings))
        made[-1].folder.mkdir()
        return made[-1]

    yield make
    for each in made:
        each.end()


@pytest.fixture
def callers() -> type[Callers]:
    return Callers


@pytest.fixture
def kill() -> Callable[[int], None]:
    """kill -9 of one process by its id."""
    return lambda pid: os.kill(pid, signal.SIGKILL)


@pytest.fixture
def eventually() -> Callable[[Callable[[], Any], str], Any]:
    return until


@pytest.fixture
def free_ports() -> Callable[[int], list[int]]:
    """Ports that nobody uses at the moment."""

    def found(count: int) -> list[int]:
        probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        ports = [probe.getsockname()[1] for probe in probes]
        for probe in probes:
            probe.close()
        return ports

    return found


@pytest.fixture(name="put_release")
def _put_release() -> Callable[..., None]:
    return put_release
