"""HTTP connections within limits: size and time of headers, time of a body, idle and half-open connections, how many at once.

uvicorn's protocol over httptools knows none of these but the time between two requests. What is refused here has cost no work:
the application has not seen it. A refusal is written, the rest of the request is read and thrown away for a while, and only then
is the connection closed: closing with unread bytes would reset it, and the sender would lose the answer.
"""

import asyncio
import logging
import resource
from dataclasses import dataclass, field
from typing import Any, Literal

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from rota.records.limits import FEWEST_BYTES_A_SECOND, HEADERS, PIPELINED, READ_ON_BYTES, READ_ON_S
from rota.settings import Settings

logger = logging.getLogger("rota.http")

TICK_S = 1.0
LITTLE = 65_536
"""Bytes of a body that are soon sent again."""
_SAY_AGAIN_S = 60.0
_SPARED_FILES = 512
"""Open files beside connections: stores, libraries, pipes."""


@dataclass(slots=True)
class OpenConnections:
    """The connections of one server in the order in which they came, and what they are held to."""

    header_bytes: int
    receive_s: float
    most: int
    tick_s: float = TICK_S
    held: dict["LimitedConnection", None] = field(default_factory=dict)
    refusals: int = 0
    """Since the last line of the log about them."""
    silent_until: float = 0.0

    def make_room(self) -> bool:
        """Whether one more connection may come; the one that has waited longest without sending a whole request goes for it."""
        if len(self.held) < self.most:
            return True
        for wanted in ("nothing", "head", "body"):
            for each in self.held:
                if each.owes(wanted):
                    each.give_way()
                    self.held.pop(each, None)
                    return True
        return False

    def tell(self, now_s: float, what: str) -> None:
        """One line for the first refusal, then one a minute with their number: whoever sends rubbish shall not fill the log."""
        self.refusals += 1
        if now_s >= self.silent_until:
            logger.warning("requests refused", extra={"action": "requests_refused", "count": self.refusals, "last": what})
            self.refusals, self.silent_until = 0, now_s + _SAY_AGAIN_S


def limited(settings: Settings) -> dict[str, Any]:
    """The options of a server whose connections keep the limits of the settings."""
    return {"http": _connection_factory(settings), "ws": "none", "timeout_keep_alive": settings.idle_timeout_s}


def _connection_factory(settings: Settings) -> Any:
    """Makes the connections of one server, which count as one."""
    most = settings.max_connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most + _SPARED_FILES
    if soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        if allowed < wanted:
            most = max(1, allowed - min(_SPARED_FILES, allowed // 2))
            logger.warning(
                "this process may open %d files only (ulimit -n), so %d connections are held instead of %d", allowed, most, settings.max_connections
            )
    held = OpenConnections(settings.max_header_kb * 1_000, settings.receive_timeout_s, most, min(TICK_S, settings.receive_timeout_s / 4))

    def connection(**options: Any) -> LimitedConnection:
        return LimitedConnection(held, **options)

    return connection


class LimitedConnection(HttpToolsProtocol):
    """One connection. Its `_stage` is what the sender owes: a request ("nothing" has come of one), the rest of a head, or of a body."""

    def __init__(self, open_connections: OpenConnections, **options: Any) -> None:
        super().__init__(**options)
        self._open = open_connections
        self._stage: Literal["nothing", "head", "body"] = "nothing"
        self._running: RequestResponseCycle | None = None
        self._refusal: tuple[int, str] | None = None
        self._framing = 0  # bytes of an unfinished head, or of a body's chunk sizes and trailers
        self._began = False  # whether the message began in the piece that is being read
        self._piece_body = self._body_bytes = 0
        self._spent_s = 0.0  # how long the sender has kept us waiting for what it owes
        self._ticker: asyncio.TimerHandle | None = None
        self._resumed = self._resumed_before = self._unsent = 0  # how far the reader has come
        self._watches_reader = False
        self._read_on: int | None = None  # bytes that may still be thrown away once an answer was the last one
        self._real: asyncio.Transport

    # What the event loop calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._real = transport
        has_room = self._open.make_room()
        super().connection_made(_LastWord(transport, self))  # type: ignore[arg-type]
        self._open.held[self] = None
        if has_room:
            self._arm()
        else:
            self._refuse(503, f"{self._open.most} connections are open and each has a request; try again in a moment")

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.held.pop(self, None)
        if self._ticker is not None:
            self._ticker.cancel()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._read_on is not None:
            self._throw_away(len(data))
            return
        self._unset_keepalive_if_required()
        size = self._open.header_bytes
        try:
            for start in range(0, len(data), size):
                self._feed(data if len(data) <= size else data[start : start + size])
        except httptools.HttpParserUpgrade:
            self.cycle.keep_alive = False  # answered as what it is; nothing is upgraded here
        except httptools.HttpParserError as error:
            self._refuse(*(self._refusal or (400, f"this is no HTTP request: {error}")))
        if self._ticker is None and self._sender_owes():
            self._arm()

    def pause_writing(self) -> None:
        super().pause_writing()
        if not self._watches_reader:
            self._watch_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._resumed += 1

    # What the parser calls

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._stage, self._began = "head", True
        self._framing, self._body_bytes, self._spent_s = 0, 0, 0.0

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= HEADERS:
            self._give_up(431, f"a request has at most {HEADERS} header lines")
        if self._stage == "head":  # what follows a chunked body is counted and forgotten
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        limit = self._open.header_bytes
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > limit:
            self._give_up_head()
        if len(self.pipeline) >= PIPELINED:
            self._give_up(429, f"at most {PIPELINED} requests may wait on one connection; wait for answers")
        super().on_headers_complete()
        self._stage, self._spent_s = "body", 0.0

    def on_body(self, body: bytes) -> None:
        self._piece_body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._stage = "nothing"
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    # What the other connections and the last word ask

    def owes(self, what: str) -> bool:
        """Whether this connection may be closed for another: it has kept us waiting, and no whole request of it is being answered."""
        if self._read_on is not None:
            return True
        if self._busy() and (self._stage != "body" or self._running is not self.cycle):
            return False
        slow = self._spent_s > 2 * self._open.tick_s or self._body_bytes < LITTLE
        return self._stage == what and (what != "body" or slow)

    def give_way(self) -> None:
        """Close for another connection; a request that has begun is told so."""
        if self._stage != "nothing" and self._read_on is None:
            self._refuse(503, f"{self._open.most} connections are open, and this request did not arrive; try again in a moment")
        self._real.close()

    def last_word(self) -> bool:
        """Nothing more will be said. True when the sender is still sending: its bytes are then read on, so that it can read the answer."""
        finished = self._stage == "nothing" and self._refusal is None
        if finished or self._read_on is not None or self._real.is_closing():
            return False
        self._read_on = READ_ON_BYTES
        if self._real.can_write_eof():
            self._real.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(READ_ON_S, self._real.abort)
        return True

    # The rest

    def _feed(self, piece: bytes) -> None:
        if self._refusal is not None:
            return
        self._piece_body, self._began = 0, False
        self.parser.feed_data(piece)
        self._body_bytes += self._piece_body
        if self._began or self._stage == "nothing":
            return
        self._framing += len(piece) - self._piece_body
        if self._stage == "head" and self._framing > self._open.header_bytes:
            self._give_up_head()
        if self._stage == "body" and self._framing > self._open.header_bytes + 8 * self._body_bytes:
            self._give_up(400, "the chunks of the body are wrapped in more bytes than they hold")
        if self._stage == "body" and self.cycle.response_complete and self._body_bytes > READ_ON_BYTES:
            self._real.close()

    def _give_up_head(self) -> None:
        what, status = ("address", 414) if len(self.url) > self._open.header_bytes else ("headers", 431)
        self._give_up(status, f"the {what} of the request are longer than {self._open.header_bytes} bytes; send less, or raise max_header_kb")

    def _give_up(self, status: int, message: str) -> None:
        self._refusal = status, message
        raise httptools.HttpParserError(message)

    def _busy(self) -> bool:
        return self._running is not None and not self._running.response_complete

    def _sender_owes(self) -> bool:
        return self._stage != "nothing" or not self._busy()

    def _arm(self) -> None:
        self._ticker = self.loop.call_later(self._open.tick_s, self._tick)

    def _tick(self) -> None:
        self._ticker = None
        if self._real.is_closing() or self._read_on is not None or not self._sender_owes():
            return
        if self._stage == "nothing" and self.timeout_keep_alive_task is not None:
            return  # between two requests that timer counts
        if not self.flow.read_paused:
            self._spent_s += self._open.tick_s
        allowed_s = self._open.receive_s + self._body_bytes / FEWEST_BYTES_A_SECOND
        if self._spent_s < allowed_s:
            self._arm()
        elif self._stage == "nothing":
            self._real.close()
        else:
            self._refuse(408, f"the request did not arrive within {allowed_s:.0f} s; send it faster, or raise receive_timeout_s")

    def _refuse(self, status: int, message: str) -> None:
        """Answer instead of the application, unless it is answering another request or has begun to answer this one."""
        self._refusal = self._refusal or (status, message)
        self._open.tell(self.loop.time(), f"{status}: {message}")
        running = self._running if self._busy() else None
        if running is not None and (self._stage != "body" or running is not self.cycle):
            running.keep_alive = False  # a request behind it is at fault: the one that is being answered is the last
            self.pipeline.clear()
            return
        if self._stage == "body" and running is None:  # its answer was given already
            self._real.close()
            return
        if running is not None:
            running.disconnected = True
            running.message_event.set()
            if running.response_started:
                self._real.abort()
                return
        body = msgspec.json.encode({"error": message, "facts": {}, "error_code": "BAD_REQUEST", "message": message})
        headers = [*self.server_state.default_headers, (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        headers += [(b"connection", b"close"), *([(b"retry-after", b"1")] if status == 503 else [])]
        self._real.write(STATUS_LINE[status] + b"".join(b"%s: %s\r\n" % each for each in headers) + b"\r\n" + body)
        self.transport.close()

    def _throw_away(self, size: int) -> None:
        assert self._read_on is not None
        self._read_on -= size
        if self._read_on < 0:
            self._real.abort()

    def _watch_reader(self) -> None:
        self._watches_reader = True
        self._unsent, self._resumed_before = self._real.get_write_buffer_size(), self._resumed
        self.loop.call_later(READ_ON_S, self._check_reader)

    def _check_reader(self) -> None:
        """Give a reader up that takes less than the fewest bytes a second."""
        self._watches_reader = False
        if not self.flow.write_paused or self._real.is_closing():
            return
        taken = self._unsent - self._real.get_write_buffer_size()
        if self._resumed == self._resumed_before and taken < READ_ON_S * FEWEST_BYTES_A_SECOND:
            self._open.tell(self.loop.time(), "an answer was not read")
            self._real.abort()
        else:
            self._watch_reader()


class _LastWord:
    """The transport as uvicorn sees it: closing it waits for the sender to be able to read what was answered."""

    def __init__(self, transport: asyncio.Transport, connection: LimitedConnection) -> None:
        self._transport, self._connection, self._closed = transport, connection, False
        self.write = transport.write
        self.pause_reading, self.resume_reading = transport.pause_reading, transport.resume_reading
        self.get_extra_info = transport.get_extra_info

    def is_closing(self) -> bool:
        return self._closed or self._transport.is_closing()

    def close(self) -> None:
        self._closed = True
        if not self._connection.last_word():
            self._transport.close()
