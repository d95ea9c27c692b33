"""Compute in child processes of this machine, kept warm per code path. Run as a module, this file is the child.

Three processes take part. The caller holds one end of a socket and the write end of a "lifeline" pipe. The child, leader of
its own process group, reads requests and writes answers as JSON lines; user code keeps standard error (and its prints go
there). The guard, a small fork of the child, only waits for the lifeline to close and then kills the group, so a caller's
death ends the child and all it started even while user code holds the interpreter's lock. (PR_SET_PDEATHSIG would not do:
it fires when the starting *thread* ends, and spares grandchildren.)
"""

import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rota.backends.inline_compute import check_function, refused, run_function, to_json
from rota.errors import Refused, Unavailable

_MAX_IDLE = 4
_MODULE = "rota.backends.local_processes"


class LocalProcesses:
    """Compute (port) on this machine. At most one idle child is kept per `path` and four in all, the least recently used ends first.

    A warm child keeps its imports, so a second run starts at once; when a file it imported from `path` has changed, a new
    child takes over. `python` must be able to import rota.
    """

    def __init__(self, *, python: str = sys.executable) -> None:
        self._python = python
        self._lock = threading.Lock()
        self._idle: OrderedDict[str, _Child] = OrderedDict()
        self._busy: set[_Child] = set()
        self._closed = False

    def run(self, function: str, arguments: Mapping[str, Any], *, path: Path | None = None, timeout_s: float = 3_600) -> Any:
        check_function(function)
        request = f'{{"function": {json.dumps(function)}, "arguments": {to_json(f"the arguments of {function}", arguments)}}}\n'.encode()
        key = "" if path is None else str(path.resolve())
        deadline = time.monotonic() + timeout_s
        answer = self._ask(self._take(key), function, request, deadline, timeout_s)
        if answer.get("stale"):
            answer = self._ask(self._start(key), function, request, deadline, timeout_s)
        if "error" in answer:
            raise refused(function, **answer["error"])
        return answer["result"]

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, busy = list(self._idle.values()), list(self._busy)
            self._idle.clear()
        for child in idle:
            child.end()
        for child in busy:
            child.kill()

    def _ask(self, child: "_Child", function: str, request: bytes, deadline: float, timeout_s: float) -> dict[str, Any]:
        try:
            line = child.ask(request, deadline)
        except TimeoutError:
            child.end()
            raise Unavailable(f"{function} was ended after {timeout_s} s; give it more time or less work", function=function) from None
        except BaseException:
            child.end()
            raise
        finally:
            with self._lock:
                self._busy.discard(child)
        if line is None:
            status = child.end()
            raise Unavailable(f"the process that ran {function} died ({_how(status)}); see its log, then retry", function=function, status=status)
        answer: dict[str, Any] = json.loads(line)
        if answer.get("stale"):
            child.end()
        else:
            self._give_back(child)
        return answer

    def _take(self, key: str) -> "_Child":
        with self._lock:
            child = self._idle.pop(key, None)
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
            if len(self._idle) > _MAX_IDLE:
                ended.append(self._idle.popitem(last=False)[1])
        for old in ended:
            old.end()


class _Child:
    """One child process as its caller sees it."""

    def __init__(self, python: str, key: str) -> None:
        self.key = key
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
        watch = select.poll()
        watch.register(self._exit, select.POLLIN)
        return not watch.poll(0)

    def ask(self, request: bytes, deadline: float) -> bytes | None:
        """The answer's line, or None when the child died first; raises TimeoutError at the deadline."""
        self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
        with suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(request)
        watch = select.poll()
        watch.register(self._socket, select.POLLIN)
        watch.register(self._exit, select.POLLIN)
        pieces: list[bytes] = []
        while True:
            ready = dict(watch.poll(max(deadline - time.monotonic(), 0) * 1_000))
            if not ready:
                raise TimeoutError
            if self._socket.fileno() not in ready and self._socket.fileno() not in dict(watch.poll(0)):
                return None  # it died, and every byte it wrote was read
            piece = self._receive()
            if not piece:
                return None
            pieces.append(piece)
            if piece.endswith(b"\n"):
                return b"".join(pieces)

    def kill(self) -> None:
        """End the child and everything it started; the thread that waits for it sees it die."""
        with suppress(ProcessLookupError):
            if not self._ended:
                os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> int:
        """Kill what is left of the group, reap the child, give back what it held; returns its exit status."""
        self.kill()
        status = self._process.wait()
        self._ended = True
        self._socket.close()
        for descriptor in (self._lifeline, self._exit):
            with suppress(OSError):
                os.close(descriptor)
        return status

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(1_048_576)
        except ConnectionResetError:
            return b""


def _how(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def _child(descriptor: int, lifeline: int, path: str) -> None:
    """Answer requests until the caller hangs up."""
    _leave_a_guard(descriptor, lifeline)
    os.set_inheritable(descriptor, False)
    os.dup2(2, 1)
    if path:
        sys.path.insert(0, path)
    imported = _ImportedFiles(path)
    with socket.socket(fileno=descriptor) as connection, connection.makefile("rwb") as lines:
        for line in lines:
            lines.write(_answer(json.loads(line), imported).encode() + b"\n")
            lines.flush()


def _answer(request: Mapping[str, Any], imported: "_ImportedFiles") -> str:
    if imported.changed():
        return '{"stale": true}'
    importlib.invalidate_caches()
    try:
        return f'{{"result": {run_function(request["function"], request["arguments"])}}}'
    except Refused as error:
        facts = error.facts
        return json.dumps({"error": {"type_": facts["type"], "message": facts["error"], "tail": facts["traceback"]}})
    finally:
        sys.stdout.flush()
        imported.remember()


class _ImportedFiles:
    """The files that user code imported from its path, as they were then."""

    def __init__(self, path: str) -> None:
        self._folder = f"{path}/" if path else ""
        self._stamps: dict[str, tuple[int, int] | None] = {}

    def remember(self) -> None:
        files = [str(getattr(module, "__file__", None) or "") for module in list(sys.modules.values())]
        for file in files:
            if self._folder and file.startswith(self._folder) and file not in self._stamps:
                self._stamps[file] = _stamp(file)

    def changed(self) -> bool:
        return any(_stamp(file) != stamp for file, stamp in self._stamps.items())


def _stamp(file: str) -> tuple[int, int] | None:
    try:
        found = Path(file).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _leave_a_guard(descriptor: int, lifeline: int) -> None:
    """Fork twice, so that the guard is nobody's child here and user code may wait for its own children undisturbed."""
    middle = os.fork()
    if middle == 0:
        if os.fork() == 0:
            os.close(descriptor)
            os.read(lifeline, 1)  # returns when the caller is gone
            os.killpg(0, signal.SIGKILL)
        os._exit(0)
    os.waitpid(middle, 0)
    os.close(lifeline)


if __name__ == "__main__":
    _child(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
