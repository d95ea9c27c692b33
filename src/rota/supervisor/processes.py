"""The processes of one machine: a supervisor that holds the sockets, starts the children, restarts the dead, stops cleanly.

Nothing that its own housekeeping meets ends it: a full disk, no descriptor, no process to be had, a log that nobody reads. Prediction
processes outlive it when it is killed, with their socket, and the next supervisor of the home takes them over.
"""

import contextlib
import fcntl
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, MappingProxyType

from rota import addresses
from rota.errors import Refused, Unavailable
from rota.settings import SECRET_FILES, Settings
from rota.supervisor.process_table import GENERATION, LOCK
from rota.supervisor.running_child import RunningChild, how, wait_for_any
from rota.supervisor.socket_handover import refuse_new
from rota.supervisor.takeover import Inheritance, generation, take_over
from rota.supervisor.troubles import Troubles
from rota.supervisor.watchdog import DUMP, Pulse, Watchdog

logger = logging.getLogger("rota.supervisor")

BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
HEALTHY_AFTER_S = 10.0
STOP_WITHIN_S = 9.3
LOCK_WITHIN_S = 15.0
REST_S = 60.0
"""The longest sleep when nothing is due."""
TRY_AGAIN_S = 2.0
PUBLISH_S = 0.1
ASK_READY_S = 0.1
LOOPS_AFTER = 3
"""After so many young deaths in a row what the child does counts as not done."""
_STOPPED_S = 5.0
"""Whoever wakes so much later than intended was stopped, and cannot blame others for their silence."""


@dataclass(slots=True)
class Child:
    """One supervised process: how to start it, and how its starts went."""

    name: str
    command: list[str]
    fds: tuple[int, ...] = ()
    is_serving: bool = False
    process: RunningChild | None = None
    pulse: Pulse | None = None
    failures: int = 0
    deaths: int = 0
    not_before: float = 0.0
    patient: bool = False
    """It is to accept nothing before it is ready, because others answer meanwhile."""

    def forget(self) -> None:
        """Its process has ended."""
        if self.process is not None:
            self.process.forget()
        if self.pulse is not None:
            self.pulse.close()
        self.process = self.pulse = None


@dataclass(slots=True)
class Supervisor:
    """Runs a control plane, workers and prediction processes on one home until it is told to stop.

    Sockets are inherited by the children, so a restarted child takes over the same listening socket and no connection is
    refused in between. Exactly one supervisor owns a home (a lock on HOME/up.lock, and on the home itself).
    """

    settings: Settings
    children: list[Child] = field(default_factory=list)
    troubles: Troubles = field(default_factory=Troubles)
    _old: list[RunningChild] = field(default_factory=list)
    """Prediction processes of another generation, which answer until their successors are ready."""
    _sockets: list[socket.socket] = field(default_factory=list)
    _ports: dict[str, int] = field(default_factory=dict)
    _locks: list[int] = field(default_factory=list)
    _stopping: bool = False
    _wake: tuple[int, int] = (-1, -1)
    _lifeline: tuple[int, int] = (-1, -1)
    _environment: dict[str, str] = field(default_factory=dict)
    _publish_at: float = 0.0

    def run(self) -> None:
        """Take over or start everything and supervise until SIGINT, SIGTERM or SIGHUP."""
        _keep_standard_streams()
        self._locks = _own(self.settings.home)
        self._listen_for_signals()
        self._environment = {**as_environment(self.settings), GENERATION: generation(self.settings)}
        inherited = take_over(self.settings, self.settings.prediction_names)
        patience_s = TRY_AGAIN_S if inherited.ended else 0.0  # whoever held the port was just ended and may need a moment
        prediction = inherited.listener or _bound(self.settings.host, self.settings.prediction_port, patience_s)
        control = _bound(self.settings.host, self.settings.control_port, patience_s)
        self._sockets = [control, prediction]
        self._declare(control, prediction)
        self._adopt(inherited)
        try:
            while not self._stopping:
                self._watch()
        finally:
            self._end()

    def _listen_for_signals(self) -> None:
        self._wake, self._lifeline = os.pipe(), os.pipe()
        os.set_blocking(self._wake[0], False)
        os.set_blocking(self._wake[1], False)
        signal.set_wakeup_fd(self._wake[1], warn_on_full_buffer=False)
        for received in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(received) != signal.SIG_IGN:  # as nohup wants it
                signal.signal(received, self._stop)

    def _declare(self, control: socket.socket, prediction: socket.socket) -> None:
        python, line = [sys.executable, "-m", "rota.cli"], self._lifeline[0]
        ends_with_us = ["--lifeline", str(line)]
        self.children = [Child("server", [*python, "server", "--fd", str(control.fileno()), *ends_with_us], (control.fileno(), line))]
        workers = [f"worker-{n}" for n in range(self.settings.workers)]
        self.children += [Child(name, [*python, "worker", "--name", name, *ends_with_us], (line,)) for name in workers]
        serve = [*python, "serve", "--fd", str(prediction.fileno())]
        self.children += [Child(name, [*serve, "--name", name], (prediction.fileno(),), is_serving=True) for name in self.settings.prediction_names]
        self._ports = {"control": control.getsockname()[1], "prediction": prediction.getsockname()[1], "pid": os.getpid()}

    def _adopt(self, inherited: Inheritance) -> None:
        self._old = [RunningChild.adopt(process) for process in inherited.old]
        for child in self.children:
            child.patient = child.is_serving and bool(inherited.old)
            if (process := inherited.adopted.get(child.name)) is not None:
                self._runs(child, RunningChild.adopt(process))
                logger.info("child adopted", extra={"action": "child_adopted", "child": child.name, "pid": process.pid})

    def _watch(self) -> None:
        """One round: tend to everything, then sleep until something happens or is due. Nothing that goes wrong in it ends the supervisor."""
        due = time.monotonic() + TRY_AGAIN_S
        with self._minded("supervisor"):
            due = self._tend()
            self.troubles.over("supervisor")
        fds = [self._wake[0], *(process.pidfd for process in self._processes()), *(child.pulse.fd for child in self.children if child.pulse)]
        if any(process.pidfd < 0 for process in self._processes()):
            due = min(due, time.monotonic() + 0.5)
        try:
            wait_for_any([fd for fd in fds if fd >= 0], due - time.monotonic())
        except OSError:
            time.sleep(0.1)
        with contextlib.suppress(OSError):
            os.read(self._wake[0], 512)
        if time.monotonic() > due + _STOPPED_S:
            for child in self.children:
                if child.pulse is not None:
                    self._watchdog.forgive(child.pulse, time.monotonic())

    def _tend(self) -> float:
        """Start what is not running, slower the more often it died young. Returns when there is something to do again."""
        now = time.monotonic()
        due = now + REST_S
        for child in self.children:
            with self._minded(f"child:{child.name}"):
                due = min(due, self._tend_to(child, now))
        due = min(due, self._replace_old(now))
        if not addresses.is_published(self.settings.home):  # not yet, or somebody removed it
            self.troubles.has_news = True
        if self.troubles.has_news and now >= self._publish_at:
            self._publish(now)
        return min(due, self._publish_at) if self.troubles.has_news else due

    def _tend_to(self, child: Child, now: float) -> float:
        if child.process is not None and (exit_code := child.process.exit_code()) is not None:
            self._bury(child, exit_code, now)
        if child.process is None:
            if now >= child.not_before:
                self._start(child, now)
            return child.not_before if child.process is None else now + HEALTHY_AFTER_S
        healthy_at = child.process.started + HEALTHY_AFTER_S
        if now >= healthy_at or not child.deaths:
            self.troubles.over(f"child:{child.name}")
        watched = now + REST_S if child.pulse is None else self._watch_over(child, child.pulse, now)
        return min(watched, healthy_at) if now < healthy_at else watched

    def _watch_over(self, child: Child, pulse: Pulse, now: float) -> float:
        assert child.process is not None
        verdict = self._watchdog.look(pulse, now)
        if verdict == "dump":
            child.process.send(DUMP)
        elif verdict == "kill":
            facts = self._watchdog.hung_on(pulse)
            message = f"{child.name} did not move for {self._watchdog.silent_s:g} s and is killed"
            logger.error("%s", message, extra={"action": "child_hung", "child": child.name, "pid": pulse.pid, **facts})
            child.process.send(signal.SIGKILL)
            child.process.wait(TRY_AGAIN_S)
            self._bury(child, child.process.exit_code() or -signal.SIGKILL, now, hung_on=facts)
            return child.not_before
        return self._watchdog.due(pulse)

    def _bury(self, child: Child, exit_code: int, now: float, hung_on: Mapping[str, str] = MappingProxyType({})) -> None:
        assert child.process is not None
        child.failures = 0 if now - child.process.started > HEALTHY_AFTER_S else child.failures + 1
        child.deaths += 1
        wait_s = BACKOFF_S[min(child.failures, len(BACKOFF_S) - 1)]
        child.not_before = now + wait_s
        child.forget()
        if child.failures <= len(BACKOFF_S) or child.deaths % 100 == 0:
            facts = {"child": child.name, "exit": exit_code, "restart_in_s": wait_s, "deaths": child.deaths}
            logger.warning("child died", extra={"action": "child_died", **facts})
        looping = f" {child.failures} times in a row" if child.failures > 1 else ""
        self.troubles.seen(
            f"child:{child.name}",
            f"{child.name} {'hung and ' if hung_on else ''}{how(exit_code)}{looping}; it is started again every {wait_s:g} s, its log says why",
            status="failed" if child.failures >= LOOPS_AFTER else "degraded",
            exit=exit_code,
            deaths=child.deaths,
            **hung_on,
        )

    def _start(self, child: Child, now: float) -> None:
        command = [*child.command, "--patient"] if child.patient and self._old else child.command
        try:
            self._runs(child, RunningChild.start(command, child.fds, self._environment))
        except (OSError, MemoryError) as error:
            child.failures += 1
            child.not_before = now + BACKOFF_S[min(child.failures, len(BACKOFF_S) - 1)]
            self.troubles.seen(f"child:{child.name}", f"{child.name} cannot be started: {error}; it is tried again", status="failed")
        else:
            logger.info("child started", extra={"action": "child_started", "child": child.name, "pid": child.process.pid if child.process else 0})

    def _runs(self, child: Child, process: RunningChild) -> None:
        child.process = process
        child.pulse = Pulse(child.name, process.pid, time.monotonic() + 1.0) if child.is_serving else None
        self.troubles.has_news = True

    def _replace_old(self, now: float) -> float:
        """End the prediction processes of another generation as soon as their successors are ready."""
        for process in [each for each in self._old if each.exit_code() is not None]:
            process.forget()
            self._old.remove(process)
        if not self._old:
            return now + REST_S
        pulses = [child.pulse for child in self.children if child.is_serving]
        if all(pulse is not None and pulse.state.get("ready") for pulse in pulses):
            for process in self._old:
                process.leave(now, STOP_WITHIN_S)
            return now + TRY_AGAIN_S
        for pulse in pulses:
            if pulse is not None:
                pulse.ask_at = min(pulse.ask_at, now + ASK_READY_S)
        return now + ASK_READY_S

    def _publish(self, now: float) -> None:
        """Say where everything is and how it is; what the disk does not take is tried again."""
        self._publish_at = now + PUBLISH_S
        pids = {child.name: child.process.pid for child in self.children if child.process}
        try:
            addresses.publish(self.settings.home, {**self._ports, "children": pids})
            self.troubles.over("supervisor:ports.json")
            self.troubles.write(self.settings.home)
        except OSError as error:
            message = f"{self.settings.home} takes no file of the supervisor ({error.strerror}); free space, what runs goes on"
            self.troubles.seen("supervisor:ports.json", message)
            self._publish_at = now + TRY_AGAIN_S

    @contextmanager
    def _minded(self, what: str) -> Iterator[None]:
        """What goes wrong in this block is a condition, and the rest goes on."""
        try:
            yield
        except Exception as error:
            self.troubles.seen(what, f"{what}: {type(error).__name__}: {error}")
            logger.debug("housekeeping failed", exc_info=True, extra={"action": "housekeeping"})

    @property
    def _watchdog(self) -> Watchdog:
        return Watchdog(self.settings.home, self.settings.hang_after_s)

    def _processes(self) -> list[RunningChild]:
        return [*(child.process for child in self.children if child.process), *self._old]

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _end(self) -> None:
        """Let nobody in any more, ask the children to stop, end those that do not, and give the home free."""
        with self._minded("supervisor"):
            addresses.withdraw(self.settings.home)
        for listener in self._sockets:
            refuse_new(listener)
        living = self._processes()
        for process in living:
            process.send(signal.SIGTERM)
        deadline = time.monotonic() + STOP_WITHIN_S
        for process in living:
            if not process.wait(max(0.0, deadline - time.monotonic())):
                name = next((child.name for child in self.children if child.process is process), "former prediction process")
                logger.warning("child did not stop within %g s and is killed", STOP_WITHIN_S, extra={"action": "child_killed", "child": name})
                process.send(signal.SIGKILL)
                process.wait(TRY_AGAIN_S)
        for listener in self._sockets:
            listener.close()
        signal.set_wakeup_fd(-1)
        for lock in self._locks:
            os.close(lock)


def _own(home: Path) -> list[int]:
    """Take the locks of the home; one that is just ending is waited for, one that is up is not.

    The file tells every version of Rota that the home is up. The directory tells it too, also when somebody removed the file, of which the
    next one would make another.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    locks = [os.open(home, os.O_RDONLY | os.O_DIRECTORY), os.open(home / LOCK, os.O_RDWR | os.O_CREAT, 0o600)]
    deadline = time.monotonic() + LOCK_WITHIN_S
    while not all(_is_locked(lock) for lock in locks):
        if addresses.is_published(home) or time.monotonic() > deadline:
            for lock in locks:
                os.close(lock)
            raise Refused(f"{home} is already up (its lock is held); stop that `rota up`, or set ROTA_HOME to another directory")
        time.sleep(0.05)
    return locks


def _is_locked(descriptor: int) -> bool:
    """Take a lock that nobody holds; a file system that locks no directories (NFS) leaves it to the file."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _bound(host: str, port: int, patience_s: float) -> socket.socket:
    """A new listening socket; a port that is taken may become free within `patience_s`."""
    deadline = time.monotonic() + patience_s
    while True:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(1_024)
        except OSError as error:
            listener.close()
            if time.monotonic() >= deadline:
                raise Unavailable(
                    f"port {port} on {host} cannot be used ({error.strerror}); end what uses it, "
                    "or set ROTA_CONTROL_PORT or ROTA_PREDICTION_PORT to another"
                ) from error
            time.sleep(0.02)
        else:
            return listener


def _keep_standard_streams() -> None:
    """Where one of the three standard streams is closed, the next file would get its number and receive what is written there."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(opened, True)
    os.close(opened)


def end_with_supervisor(lifeline: int) -> None:
    """In a child: send ourselves SIGTERM when the supervisor is gone, however it died. `lifeline` is a pipe that it holds open; -1: there is none."""
    if lifeline < 0:
        return
    os.set_inheritable(lifeline, False)

    def watch() -> None:
        with contextlib.suppress(OSError):
            os.read(lifeline, 1)
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
