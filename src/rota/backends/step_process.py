"""The child's side of compute: a keeper that outlives nobody, and the runner below it that calls users' code. Run as a module.

The keeper (started by the caller, leader of its own session) only waits: for the lifeline to close, which says that the caller is
gone, and for the runner to end. Then it kills whatever is below it and ends the way the runner did. It is the reaper of all that
users' code starts, so a daemon does not escape it. The runner alone holds the channel to the caller: a fork of it has none, and a
fork that returns out of users' code ends there.
"""

import importlib
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from rota.backends.inline_compute import failure, run_function
from rota.backends.process_tree import become_reaper, die_with_parent, end_below
from rota.errors import Refused, Unavailable

HEADER = struct.Struct(">16sQ")
"""The id of a request and the length of what follows; an answer carries the id of its request."""
LARGEST_ANSWER = 64_000_000
"""Bytes of JSON that a function may return: bulk data travels as files."""


def receive(connection: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes; fewer when the other side closed."""
    pieces, missing = [], size
    while missing:
        piece = connection.recv(min(missing, 1_048_576))
        if not piece:
            break
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def _main(channel: int, lifeline: int, path: str) -> None:
    become_reaper()
    keeper = os.getpid()
    runner = os.fork()
    if runner:
        os.close(channel)
        _keep(runner, lifeline)
    os.close(lifeline)
    die_with_parent()
    if os.getppid() == keeper:
        _serve(channel, path)


def _keep(runner: int, lifeline: int) -> NoReturn:
    """Wait until the caller is gone or the runner has ended, then end everything below and oneself."""
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(awake, False)
    signal.signal(signal.SIGCHLD, _noticed)
    for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    watch = select.poll()
    watch.register(lifeline, select.POLLIN)
    watch.register(awake, select.POLLIN)
    status = _reaped(runner)
    while status is None:
        if lifeline in dict(watch.poll()):
            _end_all()
            os._exit(0)
        with suppress(BlockingIOError):
            os.read(awake, 4_096)
        status = _reaped(runner)
    _end_all()
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(OSError):  # SIGKILL and SIGSTOP have no other way of being taken
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _end_all() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    end_below(os.getpid())


def _reaped(runner: int) -> int | None:
    """Bury the dead; the status of the runner when it is among them."""
    found = None
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == runner:
                found = status
    return found


def _noticed(_signal: int, _frame: FrameType | None) -> None:
    """A handler of our own, so that the signal wakes the keeper."""


def _serve(channel: int, path: str) -> None:
    """Answer requests until the caller hangs up."""
    os.set_inheritable(channel, False)
    os.dup2(2, 1)
    if path:
        sys.path.insert(0, path)
    imported = _ImportedFiles(path)
    with socket.socket(fileno=channel) as connection:
        os.register_at_fork(after_in_child=connection.close)
        while len(header := receive(connection, HEADER.size)) == HEADER.size:
            request, size = HEADER.unpack(header)
            answer = _answer(json.loads(receive(connection, size)), imported).encode()
            connection.sendall(HEADER.pack(request, len(answer)))
            connection.sendall(answer)


def _answer(request: Mapping[str, Any], imported: "_ImportedFiles") -> str:
    """JSON with `result` or `error`; `stale` when the code changed, `left` when threads of the function go on."""
    if imported.changed():
        return '{"stale": true}'
    importlib.invalidate_caches()
    owner = os.getpid()
    try:
        result = _called(request["function"], request["arguments"])
    finally:
        if os.getpid() != owner:  # a fork made by users' code came back; the question was not put to it
            os._exit(0)
    sys.stdout.flush()
    imported.remember()
    left = "true" if threading.active_count() > 1 else "false"
    return f'{{{result}, "left": {left}}}'


def _called(function: str, arguments: Mapping[str, Any]) -> str:
    try:
        result = run_function(function, arguments)
    except (Refused, Unavailable) as error:
        facts = error.facts
        told = {"type_": facts["type"], "message": facts["error"], "tail": facts["traceback"], "away": facts.get("away", "")}
        return f'"error": {json.dumps(told)}'
    except BaseException as error:  # noqa: BLE001  # nothing that users' code raises (a Rust library's panic) is a death
        return f'"error": {json.dumps(failure(error))}'
    if len(result) > LARGEST_ANSWER:
        message = f"the result is {len(result) / 1e6:.1f} MB of JSON, at most {LARGEST_ANSWER / 1e6:g} MB can be returned; write bulk data to a file"
        return f'"error": {json.dumps({"type_": "ValueError", "message": message, "tail": ""})}'
    return f'"result": {result}'


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


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
