"""The processes of one machine: a supervisor that binds the sockets, starts the children, restarts the dead, stops cleanly."""

import fcntl
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from types import FrameType
from typing import IO

from rota import addresses
from rota.errors import Refused, Unavailable
from rota.settings import SECRET_FILES, Settings

logger = logging.getLogger("rota.supervisor")

BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
HEALTHY_AFTER_S = 10.0
STOP_WITHIN_S = 10.0
SUPERVISOR = "ROTA_SUPERVISOR_PID"


@dataclass(slots=True)
class Child:
    """One supervised process: how to start it, and how its starts went."""

    name: str
    command: list[str]
    fds: tuple[int, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    not_before: float = 0.0


@dataclass(slots=True)
class Supervisor:
    """Runs a control plane, workers and prediction processes on one home until it is told to stop.

    Sockets are bound here and inherited, so a restarted child takes over the same listening socket and no connection is
    refused in between. Exactly one supervisor owns a home (a lock on HOME/up.lock).
    """

    settings: Settings
    children: list[Child] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _sockets: list[socket.socket] = field(default_factory=list)
    _lock: IO[str] | None = None
    _ports: dict[str, int] = field(default_factory=dict)

    def run(self) -> None:
        """Start everything and supervise until SIGINT or SIGTERM."""
        self._own_home()
        control = self._listen(self.settings.control_port)
        prediction = self._listen(self.settings.prediction_port)
        self._declare(control, prediction)
        for received in (signal.SIGINT, signal.SIGTERM):
            signal.signal(received, self._stop)
        try:
            while not self._stopping.wait(0.05):
                self._tend()
        finally:
            self._end()

    def _own_home(self) -> None:
        home = self.settings.home
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (home / "up.lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise Refused(f"{home} is already up (its lock is held); stop that `rota up`, or set ROTA_HOME to another directory") from error
        self._lock = lock

    def _listen(self, port: int) -> socket.socket:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self.settings.host, port))
        except OSError as error:
            raise Unavailable(
                f"port {port} on {self.settings.host} cannot be used ({error.strerror}); end what uses it, "
                "or set ROTA_CONTROL_PORT or ROTA_PREDICTION_PORT to another"
            ) from error
        listener.listen(1_024)
        self._sockets.append(listener)
        return listener

    def _declare(self, control: socket.socket, prediction: socket.socket) -> None:
        python = [sys.executable, "-m", "rota.cli"]
        self.children = [Child("server", [*python, "server", "--fd", str(control.fileno())], (control.fileno(),))]
        self.children += [Child(f"worker-{n}", [*python, "worker", "--name", f"worker-{n}"]) for n in range(self.settings.workers)]
        serve = [*python, "serve", "--fd", str(prediction.fileno())]
        self.children += [
            Child(f"serve-{n}", [*serve, "--name", f"serve-{n}"], (prediction.fileno(),)) for n in range(self.settings.prediction_processes)
        ]
        self._ports = {"control": control.getsockname()[1], "prediction": prediction.getsockname()[1], "pid": os.getpid()}

    def _tend(self) -> None:
        """Start what is not running, slower the more often it died young."""
        changed = False
        for child in self.children:
            if child.process is not None and child.process.poll() is not None:
                self._bury(child)
                changed = True
            if child.process is None and time.monotonic() >= child.not_before:
                self._start(child)
                changed = True
        if changed:
            self._publish()

    def _bury(self, child: Child) -> None:
        assert child.process is not None
        child.failures = 0 if time.monotonic() - child.started > HEALTHY_AFTER_S else child.failures + 1
        wait_s = BACKOFF_S[min(child.failures, len(BACKOFF_S) - 1)]
        child.not_before = time.monotonic() + wait_s
        logger.warning("child died", extra={"action": "child_died", "child": child.name, "exit": child.process.returncode, "restart_in_s": wait_s})
        child.process = None

    def _start(self, child: Child) -> None:
        environment = {**as_environment(self.settings), SUPERVISOR: str(os.getpid())}
        child.process = subprocess.Popen(child.command, pass_fds=child.fds, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
        child.started = time.monotonic()
        logger.info("child started", extra={"action": "child_started", "child": child.name, "pid": child.process.pid})

    def _publish(self) -> None:
        addresses.publish(
            self.settings.home, {**self._ports, "children": {child.name: child.process.pid for child in self.children if child.process}}
        )

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._stopping.set()

    def _end(self) -> None:
        """Ask the children to stop, end those that do not, and give the home free."""
        living = [(child.name, child.process) for child in self.children if child.process and child.process.poll() is None]
        for _, process in living:
            process.terminate()
        deadline = time.monotonic() + STOP_WITHIN_S
        for name, process in living:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                logger.warning("child did not stop within %g s and is killed", STOP_WITHIN_S, extra={"action": "child_killed", "child": name})
                process.kill()
                process.wait()
        for listener in self._sockets:
            listener.close()
        addresses.withdraw(self.settings.home)
        if self._lock is not None:
            self._lock.close()


def end_with_supervisor() -> None:
    """In a child: send ourselves SIGTERM when the supervisor is gone, however it died."""
    supervisor = int(os.environ.get(SUPERVISOR, "0"))
    if not supervisor:
        return

    def watch() -> None:
        while os.getppid() == supervisor:
            time.sleep(0.25)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="supervisor-watch", daemon=True).start()


def as_environment(settings: Settings) -> dict[str, str]:
    """The environment of a process that works for the platform: its settings, and no token of whoever started it."""
    personal = SECRET_FILES | {"ROTA_TOKEN", "ROTA_TOKEN_FILE"}
    return {name: value for name, value in os.environ.items() if name not in personal} | as_variables(settings)


def as_variables(settings: Settings) -> dict[str, str]:
    """The settings as ROTA_* variables, so that every child sees exactly the supervisor's."""
    values = {name: getattr(settings, name) for name in settings.__struct_fields__}
    values["home"] = settings.home.resolve()
    return {f"ROTA_{name.upper()}": str(value).lower() if isinstance(value, bool) else str(value) for name, value in values.items()}
