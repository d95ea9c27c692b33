"""uvicorn as Rota's servers run it: no wake-up while nothing happens, and an end that resets nobody's request.

At its end a server goes on accepting for a moment, so that the queue of its listening socket is emptied; then it answers what still
comes on open connections with `Connection: close`, and only then closes those that are idle.
"""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, MutableMapping
from email.utils import formatdate
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.server import ServerState

ACCEPT_FOR_S = 0.2
LINGER_S = 1.5
LOOK_S = 0.02
FINISH_WITHIN_S = 3
_CLOSE = (b"connection", b"close")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class QuietServer(uvicorn.Server):
    """A server on one listening socket that is given; `opened` is called on its event loop before it accepts.

    It accepts when `is_ready` says so, and after `patience_s` in any case: until then callers wait in the queue of the socket, or are
    answered by other processes that share it. `told_to_end` is called when a signal asks it to end, before it stops accepting.
    """

    def __init__(
        self,
        application: Application,
        *,
        opened: Callable[[asyncio.AbstractEventLoop], object] = lambda _: None,
        is_ready: Callable[[], bool] = lambda: True,
        patience_s: float = 0.0,
        told_to_end: Callable[[], object] = lambda: None,
        **options: Any,
    ) -> None:
        self._application, self._opened, self._is_ready, self._patience_s = application, opened, is_ready, patience_s
        self._leaving = asyncio.Event()
        self._told_to_end = told_to_end
        self._loop: asyncio.AbstractEventLoop | None = None
        config = uvicorn.Config(
            self._answer,
            loop="uvloop",
            interface="asgi3",
            lifespan="auto",
            access_log=False,
            server_header=False,
            date_header=False,
            log_config=None,
            timeout_graceful_shutdown=FINISH_WITHIN_S,
            **({"http": "httptools"} | options),
        )
        super().__init__(config)
        self.server_state = _DatedState()
        self.in_flight = 0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._told_to_end()
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._leaving.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._opened(self._loop)
        await super().startup(sockets)

    async def main_loop(self) -> None:
        if not self.should_exit:
            await self._leaving.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._leaving.set()
        await asyncio.sleep(ACCEPT_FOR_S)
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        until = time.monotonic() + LINGER_S
        while self.server_state.connections and time.monotonic() < until:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(LOOK_S)
        await super().shutdown(sockets)

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._application(scope, receive, self._held_until_ready(send))
            return
        self.in_flight += 1
        try:
            await self._application(scope, receive, _closing(send) if self._leaving.is_set() else send)
        finally:
            self.in_flight -= 1

    def _held_until_ready(self, send: Send) -> Send:
        async def held(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                until = time.monotonic() + self._patience_s
                while not self._is_ready() and not self.should_exit and time.monotonic() < until:  # noqa: ASYNC110 - loaded on another thread
                    await asyncio.sleep(LOOK_S)
            await send(message)

        return held


class _DatedState(ServerState):
    """The header `date` made when it is asked for, instead of ten times a second."""

    def __init__(self) -> None:
        self._second, self._headers = 0, list[tuple[bytes, bytes]]()
        super().__init__()

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        second = int(time.time())
        if second != self._second:
            self._second, self._headers = second, [(b"date", formatdate(second, usegmt=True).encode())]
        return self._headers

    @default_headers.setter
    def default_headers(self, _: list[tuple[bytes, bytes]]) -> None:
        return


def _closing(send: Send) -> Send:
    async def last(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [each for each in message["headers"] if each[0].lower() != _CLOSE[0]]
            message = {**message, "headers": [*headers, _CLOSE]}
        await send(message)

    return last
