"""A platform of its own on real processes, kept up as a service manager would keep it, with its engines where it is given some."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

SOON_S = 180.0
SUPERVISOR = "supervisor"


def until(true: Callable[[], Any], what: str, *, within_s: float = SOON_S) -> Any:
    """What `true` gives once it is true; `AssertionError` with `what` when that takes too long."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        with suppress(OSError, ValueError, KeyError):
            if found := true():
                return found
        time.sleep(0.05)
    raise AssertionError(f"waited {within_s:g} s in vain until {what}")


def _is_alive(pid: int) -> bool:
    """Whether there is such a process; one that is dead and that nobody has waited for yet is not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError:
        return False


@dataclass
class World:
    """One home and its `rota up`, started again whenever it ends (systemd's Restart=always) until `stop`."""

    home: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    starts: int = 0
    _process: "subprocess.Popen[bytes] | None" = None
    _stopping: threading.Event = field(default_factory=threading.Event)
    _keeper: threading.Thread | None = None
    _log: IO[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What every process of this world is started with."""
        own = {"ROTA_HOME": str(self.home), "ROTA_CONTROL_PORT": "0", "ROTA_PREDICTION_PORT": "0", "ROTA_LOG": "json", "ROTA_HOUSEKEEPING_S": "1"}
        compiled = {"PYTHONPYCACHEPREFIX": str(self.home.parent / "bytecode")}  # each start compiles nothing anew, whatever the shell says
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        return inherited | compiled | own | {"ROTA_LEASE_S": "1"} | dict(self.variables)

    @property
    def log(self) -> Path:
        """Where all processes of this world write their log."""
        return self.home.parent / f"{self.home.name}.log"

    def start(self) -> None:
        """Bring the platform up and keep it up."""
        self._log = self.log.open("ab")
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()
        self.await_whole()

    def stop(self) -> None:
        """Bring the platform down as an operator does."""
        self._stopping.set()
        down = self._ran("down")
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(SOON_S)
        if self._keeper is not None:
            self._keeper.join()
        assert not self.living(), f"still there after `rota down` ({down.stdout}{down.stderr}): {self.living()}"

    def kill(self) -> None:
        """End whatever is left of it, at once."""
        self._stopping.set()
        for pid in self.living():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def command(self, *words: str) -> str:
        """What a command of Rota prints."""
        done = self._ran(*words)
        assert done.returncode == 0, f"rota {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def _ran(self, *words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "rota.cli", *words]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=SOON_S, check=False)

    def processes(self) -> dict[str, int]:
        """The process ids by name, as the platform publishes them."""
        ports = json.loads((self.home / "ports.json").read_text())
        return {SUPERVISOR: int(ports["pid"]), **{name: int(pid) for name, pid in ports["children"].items()}}

    def living(self) -> dict[int, str]:
        """Every process that works on this home, whoever started it."""
        homes, found = {str(self.home), str(self.home.resolve())}, dict[int, str]()
        for process in psutil.process_iter(["pid", "cmdline", "environ", "status"]):
            facts, words = process.info, process.info["cmdline"] or []
            if (facts["environ"] or {}).get("ROTA_HOME") in homes and "rota.cli" in words and facts["status"] != psutil.STATUS_ZOMBIE:
                found[facts["pid"]] = " ".join(words[-4:])
        return found

    def await_whole(self) -> float:
        """Wait until every process is there and both servers are ready; how many seconds that took."""
        began = time.monotonic()
        until(self._whole, f"the platform on {self.home} is whole; its log is {self.log}")
        return time.monotonic() - began

    def _whole(self) -> bool:
        names = self.processes()
        if not {SUPERVISOR, "server", "worker-0", "serve-0"} <= names.keys() or not all(map(_is_alive, names.values())):
            return False
        ports = json.loads((self.home / "ports.json").read_text())
        return _answers(f"http://127.0.0.1:{ports['control']}/readyz") and _answers(f"http://127.0.0.1:{ports['prediction']}/v2/health/ready")

    def _keep(self) -> None:
        while not self._stopping.is_set():
            if self._process is None or self._process.poll() is not None:
                self.starts += 1
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "rota.cli", "up"],
                    env=self.environment,
                    cwd=self.home.parent,
                    stdin=subprocess.DEVNULL,
                    stdout=self._log,
                    stderr=self._log,
                    start_new_session=True,
                )
            self._stopping.wait(0.1)
