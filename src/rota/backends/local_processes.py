"""Compute in child processes of this machine, kept warm per code path.

Each child is a keeper with a runner below it (`step_process`). The caller holds one end of a channel of their own and the write end
of a "lifeline" pipe: the keeper ends everything when it closes, so a caller's death ends the child and all it started even while
users' code holds the interpreter's lock. Every request has an id, and an answer without it is no answer. A function that left
processes or threads behind costs its child the warmth: both end together.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rota.backends.inline_compute import check_function, raised, to_json
from rota.backends.process_tree import below, end_below, signal_below
from rota.backends.step_process import HEADER, LARGEST_ANSWER
from rota.errors import Interrupted, Refused, Unavailable

_MAX_IDLE = 4
IDLE_S = 60.0
"""How long a child is kept warm: longer than from one step of a run to the next. It holds the libraries that its functions have loaded."""
_MODULE = "rota.backends.step_process"
_ASK_S = 0.2
"""Time between two looks at whether the caller wants the function stopped."""
GRACE_S = 2.0
"""How long a function that is ended may go on after SIGTERM."""


@dataclass(frozen=True, slots=True)
class _Call:
    """One question to a child: until when it may be answered, and whether it is still wanted."""

    function: str
    body: bytes
    timeout_s: float
    deadline: float
    stopped: Callable[[], bool]


class _Ended(Exception):
    """Why a child gave no answer."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class LocalProcesses:
    """Compute (port) on this machine. At most one idle child is kept per `path` and four in all, the least recently used ends first.

    A warm child keeps its imports, so a second run starts at once; when a file it imported from `path` has changed, a new
    child takes over, and after `idle_s` seconds without a run it ends. `python` must be able to import rota.
    """

    def __init__(self, *, python: str = sys.executable, idle_s: float = IDLE_S) -> None:
        self._python = python
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self._idle: OrderedDict[str, _Child] = OrderedDict()
        self._busy: set[_Child] = set()
        self._closed = False

    def run(
        self,
        function: str,
        arguments: Mapping[str, Any],
        *,
        path: Path | None = None,
        timeout_s: float = 3_600,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Any:
        check_function(function)
        body = f'{{"function": {json.dumps(function)}, "arguments": {to_json(f"the arguments of {function}", arguments)}}}'.encode()
        key = "" if path is None else str(path.resolve())
        call = _Call(function, body, timeout_s, time.monotonic() + timeout_s, stopped)
        answer = self._ask(self._take(key), call)
        if answer.get("stale"):
            answer = self._ask(self._start(key), call)
        if "error" in answer:
            raise raised(function, **answer["error"])
        return answer["result"]

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, busy = list(self._idle.values()), list(self._busy)
            self._idle.clear()
        for child in idle:
            child.idle.cancel()
            child.end()
        for child in busy:
            child.kill()

    def _ask(self, child: "_Child", call: _Call) -> dict[str, Any]:
        try:
            answer = child.ask(call)
        except _Ended as ended:
            status = child.end(grace_s=GRACE_S if ended.cause in ("timeout", "stopped") else 0.0)
            why = str(ended) if ended.cause != "died" else f"died ({_how(status)})"
            raise Interrupted(
                f"the process that ran {call.function} {why}; see its log", function=call.function, cause=ended.cause, status=status
            ) from None
        except BaseException:
            child.end()
            raise
        finally:
            with self._lock:
                self._busy.discard(child)
        if answer.get("stale") or answer.get("left") or child.has_left_something():
            child.end()
        else:
            self._give_back(child)
        return answer

    def _take(self, key: str) -> "_Child":
        with self._lock:
            child = self._idle.pop(key, None)
            if child is not None:
                child.idle.cancel()
            if child is not None and child.alive():
                self._busy.add(child)
                return child
        if child is not None:
            child.end()
        return self._start(key)

    def _start(self, key: str) -> "_Child":
        with self._lock:
            if self._closed:
                raise Refused("this Compute is closed; open a new one")
        child = _Child(self._python, key)
        with self._lock:
            self._busy.add(child)
            closed = self._closed
        if closed:
            child.kill()  # its run then ends as a died process
        return child

    def _give_back(self, child: "_Child") -> None:
        with self._lock:
            ended = []
            if self._closed or child.key in self._idle:
                ended.append(child)
            else:
                self._idle[child.key] = child
                child.idle = threading.Timer(self._idle_s, self._end_idle, (child,))
                child.idle.daemon = True
                child.idle.start()
            if len(self._idle) > _MAX_IDLE:
                ended.append(self._idle.popitem(last=False)[1])
        for old in ended:
            old.idle.cancel()
            old.end()

    def _end_idle(self, child: "_Child") -> None:
        """End a child that nobody has taken since it was given back."""
        with self._lock:
            if self._idle.get(child.key) is not child or child.idle is not threading.current_thread():
                return
            del self._idle[child.key]
        child.end()


class _Child:
    """One child process as its caller sees it."""

    def __init__(self, python: str, key: str) -> None:
        self.key = key
        self.idle = threading.Timer(0, lambda: None)
        self._ended = False
        self._socket, theirs = socket.socketpair()
        lifeline, self._lifeline = os.pipe()
        try:
            self._process = subprocess.Popen(
                [python, "-P", "-m", _MODULE, str(theirs.fileno()), str(lifeline), key],
                stdin=subprocess.DEVNULL,
                stdout=2,
                pass_fds=(theirs.fileno(), lifeline),
                start_new_session=True,
            )
        except OSError as error:
            self._socket.close()
            os.close(self._lifeline)
            raise Unavailable(f"{python} could not be started: {error}; check the interpreter and the process limit", python=python) from error
        finally:
            theirs.close()
            os.close(lifeline)
        self._exit = os.pidfd_open(self._process.pid)

    def alive(self) -> bool:
        """Whether an idle child can be asked: it runs, its channel is open, and nothing lies in it that nobody asked for."""
        watch = select.poll()
        watch.register(self._exit, select.POLLIN)
        watch.register(self._socket, select.POLLIN)
        return not watch.poll(0)

    def ask(self, call: _Call) -> dict[str, Any]:
        """The answer to this very question; raises `_Ended` where there is none."""
        question = uuid.uuid4().bytes
        try:
            self._socket.settimeout(max(call.deadline - time.monotonic(), 0.001))
            with suppress(BrokenPipeError, ConnectionResetError):
                self._socket.sendall(HEADER.pack(question, len(call.body)) + call.body)
        except TimeoutError:
            raise _Ended("timeout", f"did not take its arguments within {call.timeout_s:g} s and was ended") from None
        header = self._read(HEADER.size, call)
        answered, size = HEADER.unpack(header)
        if answered != question or size > LARGEST_ANSWER + 1_000:
            raise _Ended("garbled", "wrote something else than its answer into the channel to its caller, and was ended")
        body = self._read(size, call)
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise _Ended("garbled", f"gave an answer that cannot be read ({error}), and was ended") from None
        if not isinstance(answer, dict) or not answer.keys() & {"result", "error", "stale"}:
            raise _Ended("garbled", "gave an answer that is none, and was ended")
        return answer

    def has_left_something(self) -> bool:
        """Whether more is running than the runner: it is idle, so this is what its last function started."""
        return len(below(self._process.pid)) > 1

    def kill(self) -> None:
        """End the child and everything it started; the thread that waits for it sees it die."""
        if not self._ended:
            end_below(self._process.pid)
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def end(self, *, grace_s: float = 0.0) -> int:
        """Ask what is running to end, kill what is left after the grace, reap the child, give back what it held; returns its exit status."""
        if grace_s and signal_below(self._process.pid, signal.SIGTERM):
            self._await_exit(grace_s)
        self.kill()
        status = self._process.wait()
        self._ended = True
        self._socket.close()
        for descriptor in (self._lifeline, self._exit):
            with suppress(OSError):
                os.close(descriptor)
        return status

    def _await_exit(self, within_s: float) -> bool:
        watch = select.poll()
        watch.register(self._exit, select.POLLIN)
        return bool(watch.poll(within_s * 1_000))

    def _read(self, size: int, call: _Call) -> bytes:
        """The next `size` bytes of the channel."""
        watch = select.poll()
        watch.register(self._socket, select.POLLIN)
        watch.register(self._exit, select.POLLIN)
        pieces, missing = list[bytes](), size
        while missing:
            if call.stopped():
                raise _Ended("stopped", "was stopped")
            left_s = call.deadline - time.monotonic()
            if left_s <= 0:
                raise _Ended("timeout", f"was ended after {call.timeout_s:g} s; give it more time or less work")
            ready = dict(watch.poll(min(left_s, _ASK_S) * 1_000))
            if not ready:
                continue
            if self._socket.fileno() not in ready and self._socket.fileno() not in dict(watch.poll(0)):
                raise _Ended("died", "died")  # and every byte it wrote was read
            piece = self._receive(missing)
            if not piece:
                raise self._hung_up()
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def _hung_up(self) -> _Ended:
        """The channel is closed: by the child's death, or by users' code that closed what is not its own."""
        if self._await_exit(1.0):
            return _Ended("died", "died")
        return _Ended("garbled", "closed the channel to its caller before it answered, and was ended")

    def _receive(self, most: int) -> bytes:
        try:
            return self._socket.recv(min(most, 1_048_576))
        except ConnectionResetError:
            return b""


def _how(status: int) -> str:
    if status == -signal.SIGKILL:
        return "signal SIGKILL: somebody killed it, or the kernel when memory ran out"
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
