"""A watchdog on prediction processes: a process whose event loop does not move for a bounded time is ended, and what it hung on is told.

It is asked now and then and its event loop answers, so one that waits for a lock, a stuck system call or a library that keeps the
interpreter's lock is found, and one that has nothing to do is not. Before it is killed a signal lets it write where each of its
threads is; the model version that it was calling by its mark (see `serve.call_marks`) is blamed for it.
"""

import contextlib
import faulthandler
import json
import os
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from rota.serve import model_ends
from rota.supervisor.socket_handover import FOLDER, ask_ping

ASKED_TIMES = 3
"""How often a process is asked within the time that it may be silent."""
WRITE_WITHIN_S = 0.5
DUMP = signal.SIGUSR2
_SHOWN_CHARS = 4_000

Verdict = Literal["moves", "dump", "dumps", "kill"]


@dataclass(slots=True)
class Pulse:
    """What is known of one process: the question that is open, since when, and its last answer."""

    name: str
    pid: int
    ask_at: float
    asked_at: float = 0.0
    question: socket.socket | None = None
    kill_at: float = 0.0
    state: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fd(self) -> int:
        return -1 if self.question is None else self.question.fileno()

    def close(self) -> None:
        if self.question is not None:
            self.question.close()
        self.question = None


@dataclass(slots=True)
class Watchdog:
    """Asks processes of a home whether they move; one may be silent for `silent_s` seconds."""

    home: Path
    silent_s: float

    @property
    def interval_s(self) -> float:
        """Time between two questions."""
        return self.silent_s / ASKED_TIMES

    def look(self, pulse: Pulse, now: float) -> Verdict:
        """Take an answer, ask again when it is time, and judge: "dump" once when it hangs, "dumps" until "kill"."""
        if pulse.kill_at:
            return "kill" if now >= pulse.kill_at else "dumps"
        self._take(pulse, now)
        if pulse.question is None and now >= pulse.ask_at:
            self._ask(pulse, now)
        if pulse.question is not None and now - pulse.asked_at > self.silent_s:
            pulse.kill_at = now + WRITE_WITHIN_S
            return "dump"
        return "moves"

    def due(self, pulse: Pulse) -> float:
        """When it has to be looked at again."""
        if pulse.kill_at:
            return pulse.kill_at
        return pulse.asked_at + self.silent_s if pulse.question is not None else pulse.ask_at

    def forgive(self, pulse: Pulse, now: float) -> None:
        """Nobody could have answered: the machine, or the supervisor, stood still."""
        if not pulse.kill_at:
            pulse.close()
            pulse.ask_at = now

    def hung_on(self, pulse: Pulse) -> dict[str, str]:
        """What it was doing: the model version that it was calling and where its threads were, as far as it left word."""
        stack = _text(stack_file(self.home, pulse.name, pulse.pid))[:_SHOWN_CHARS]
        return {name: value for name, value in (("calling", self._blamed(pulse)), ("stack", stack)) if value}

    def _blamed(self, pulse: Pulse) -> str:
        """The version that it hung in, which counts as one of its ends; a full disk must not save the process."""
        try:
            end = model_ends.blame_hung(self.home / FOLDER, pulse.name, silent_s=self.silent_s, now_us=time.time_ns() // 1_000)
        except OSError:
            return ""
        return f"version {end.number} of model {end.model} on endpoint {end.endpoint}" if end is not None else ""

    def _ask(self, pulse: Pulse, now: float) -> None:
        pulse.ask_at = now + self.interval_s
        with contextlib.suppress(OSError):  # it does not answer questions yet, or cannot: then nothing is known, and nothing judged
            pulse.question = ask_ping(self.home, pulse.name, pulse.pid)
            pulse.question.setblocking(False)
            pulse.asked_at = now

    def _take(self, pulse: Pulse, now: float) -> None:
        if pulse.question is None:
            return
        try:
            answer = pulse.question.recv(4_096)
        except BlockingIOError:
            return
        except OSError:
            answer = b""
        pulse.close()
        if answer:
            with contextlib.suppress(ValueError):
                pulse.state = dict(json.loads(answer))
        else:
            pulse.ask_at = now + min(1.0, self.interval_s)


def stack_file(home: Path, name: str, pid: int) -> Path:
    """Where a process writes where its threads are, when it is asked to."""
    return home / FOLDER / f"{name}.{pid}.stack"


def write_stack_on_signal(home: Path, name: str) -> IO[bytes] | None:
    """In a process that is watched: be able to write where each thread is, also while the interpreter's lock is held.

    Returns the file, which must be kept; None when it cannot be made.
    """
    file = stack_file(home, name, os.getpid())
    try:
        file.parent.mkdir(mode=0o700, exist_ok=True)
        opened = os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb", buffering=0)
        faulthandler.register(DUMP, file=opened, all_threads=True)
    except OSError:
        faulthandler.register(DUMP, all_threads=True)
        return None
    return opened


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
