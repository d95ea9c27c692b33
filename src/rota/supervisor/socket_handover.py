"""How a listening socket outlives its supervisor: each prediction process hands it to whoever may use the home.

A process answers at HOME/run/NAME.PID.sock, a unix socket in a folder that only the owner of the home may enter. One question a
connection: `listener` is answered with the socket itself (SCM_RIGHTS) by a thread, also while the event loop hangs; `ping` is answered
by the event loop, so it tells whether that moves.
"""

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

logger = logging.getLogger("rota.supervisor")

FOLDER = "run"
ANSWER_WITHIN_S = 2.0
BIND_AGAIN_S = 5.0
_LISTENER, _PING = b"listener\n", b"ping\n"
_ATTACH_FILTER = 26
_DROP_NEW = ((0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
"""Classic BPF over a TCP segment: load the flags, keep SYN and ACK, drop what has SYN alone, take everything else."""


class HandoverPoint:
    """Answers for one prediction process until it ends. `state` is asked on the event loop and sent with each pong."""

    def __init__(self, home: Path, name: str, listener: socket.socket, state: Callable[[], Mapping[str, Any]]) -> None:
        self._folder = home.resolve() / FOLDER
        self._file = f"{name}.{os.getpid()}.sock"
        self._listener = listener
        self._state = state
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = threading.Event()
        self._bound_to: socket.socket | None = None
        self._waiting: set[socket.socket] = set()
        """Who waits for the event loop to answer: it may end before it comes to them."""

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Answer from now on; `loop` is the one whose moving is asked for."""
        self._loop = loop
        threading.Thread(target=self._answer_all, name="socket-handover", daemon=True).start()

    def close(self) -> None:
        """Nobody shall find this process any more."""
        self._closed.set()
        (self._folder / self._file).unlink(missing_ok=True)
        if self._bound_to is not None:
            with contextlib.suppress(OSError):  # it is closed already
                self._bound_to.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept()
        for connection in list(self._waiting):
            self._end(connection)

    def _answer_all(self) -> None:
        while not self._closed.is_set():
            try:
                with self._bound() as self._bound_to:
                    while not self._closed.is_set():
                        self._answer(self._bound_to.accept()[0])
            except OSError as error:  # a full disk has no room for the file; predictions go on without it
                if self._closed.is_set():
                    return
                logger.warning("no supervisor can find this process: %s", error, extra={"action": "handover"})
                self._closed.wait(BIND_AGAIN_S)

    @contextmanager
    def _bound(self) -> Iterator[socket.socket]:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked, _short(self._folder) as folder:
            asked.bind(f"{folder}/{self._file}")
            asked.listen(16)
            yield asked

    def _answer(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(ANSWER_WITHIN_S)
            question = connection.recv(64)
            if question == _LISTENER:
                socket.send_fds(connection, [_LISTENER], [self._listener.fileno()])
            elif question == _PING and self._loop is not None:
                self._waiting.add(connection)
                self._loop.call_soon_threadsafe(self._pong, connection)
                if not self._closed.is_set():
                    return
        except (OSError, RuntimeError):  # the asker left, the listener is closed, or the loop has ended
            logger.debug("a question was not answered", extra={"action": "handover"})
        self._end(connection)

    def _pong(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.send(json.dumps(dict(self._state())).encode())
        self._end(connection)

    def _end(self, connection: socket.socket) -> None:
        self._waiting.discard(connection)
        connection.close()


def ask_ping(home: Path, name: str, pid: int) -> socket.socket:
    """Ask a process whether its event loop moves; the pong comes on the socket. Raises OSError when nobody answers there."""
    connection = _connected(home, name, pid)
    try:
        connection.sendall(_PING)
    except OSError:
        connection.close()
        raise
    return connection


def ask_listener(home: Path, name: str, pid: int) -> socket.socket | None:
    """The listening socket of a process; None when it has none to give."""
    try:
        with _connected(home, name, pid) as connection:
            connection.sendall(_LISTENER)
            _, received, _, _ = socket.recv_fds(connection, 64, 1)
    except OSError:
        return None
    return socket.socket(fileno=received[0]) if received else None


def refuse_new(listener: socket.socket) -> bool:
    """Let nobody begin a connection any more, while those that have begun are finished and answered; whether the kernel can.

    Closing a listening socket resets what waits in its queue, with requests that were sent already. After this nothing comes into
    the queue, so it can be emptied and then closed; who knocks meanwhile is refused when it is.
    """
    program = b"".join(struct.pack("HBBI", *step) for step in _DROP_NEW)
    held = ctypes.create_string_buffer(program)
    try:
        listener.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("@HP", len(_DROP_NEW), ctypes.addressof(held)))
    except OSError:
        return False
    return True


def _connected(home: Path, name: str, pid: int) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(ANSWER_WITHIN_S)
        with _short(home.resolve() / FOLDER) as folder:
            connection.connect(f"{folder}/{name}.{pid}.sock")
    except OSError:
        connection.close()
        raise
    return connection


@contextmanager
def _short(folder: Path) -> Iterator[str]:
    """A short way to a folder: the path of a unix socket has 107 bytes, and a home may lie deep."""
    opened = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{opened}"
    finally:
        os.close(opened)
