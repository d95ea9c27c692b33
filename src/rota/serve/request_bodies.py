"""Bodies of requests to the prediction port: held to a size, packed with gzip or deflate or as they are, and answers packed for who reads it.

What a packed body becomes is held to the same size as one that is sent as it is, so that a few bytes never stand for any number.
"""

import asyncio
import gzip
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NoReturn

from rota.records.bodies_in_flight import BodiesInFlight
from rota.records.limits import is_packed
from rota.serve.replies import Reply, Stop, failure

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
PACKED_FROM_BYTES = 1_400
"""An answer that fits in one packet is sent as it is."""
LARGE_BYTES = 64_000
"""An answer of more bytes is packed away from the event loop."""
_WINDOWS = {b"gzip": zlib.MAX_WBITS | 16, b"x-gzip": zlib.MAX_WBITS | 16, b"deflate": zlib.MAX_WBITS}


class RequestBodies:
    """Reads bodies of at most `most_bytes`, together of at most what one process holds. Used from one event loop."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self.held = BodiesInFlight(most_bytes)

    def let_go(self, scope: Scope) -> None:
        """A request is answered: its body is not held any more."""
        self.held.let_go(scope)

    async def read(self, scope: Scope, receive: Receive) -> bytes:
        """The request's body; refused by its announced size before a byte is read, and by its real size while reading."""
        announced, encoding = b"0", b""
        for name, value in scope["headers"]:
            if name == b"content-length":
                announced = value
            elif name == b"content-encoding":
                encoding += b"," * bool(encoding) + value
            elif is_packed(name, value):
                raise _unread("Transfer-Encoding")
        if not announced.isdigit() or len(announced) > 18 or int(announced) > self._most_bytes:
            self._too_large()
        window = _window(encoding) if encoding else 0
        chunks, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Stop(failure(400, "the caller left before the body was complete"))
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self._most_bytes:
                self._too_large()
            self.held.hold(scope, len(chunks[-1]))
            more = message.get("more_body", False)
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return await self._unpacked(scope, body, window) if window else body

    async def _unpacked(self, scope: Scope, body: bytes, window: int) -> bytes:
        found = await asyncio.to_thread(_unpack, body, window, self._most_bytes)
        if found is None:
            self._too_large()
        self.held.hold(scope, len(found))
        return found

    def _too_large(self) -> NoReturn:
        reply = failure(413, f"the body is larger than {self._most_bytes} bytes; send fewer rows, or raise max_request_mb", limit=self._most_bytes)
        raise Stop(Reply(reply.status, reply.body, headers=((b"connection", b"close"),)))


async def packed(scope: Scope, reply: Reply) -> Reply:
    """A reply packed as the caller asks for by Accept-Encoding; an error stays as it is, because clients read it unpacked."""
    if reply.status != 200:
        return reply
    accepted = b",".join(value for name, value in scope["headers"] if name == b"accept-encoding").lower()
    encoding = next((each for each in (b"gzip", b"deflate") if _accepts(accepted, each)), b"") if accepted else b""
    if not encoding:
        return reply
    pack = _gzip if encoding == b"gzip" else _deflate
    body = await asyncio.to_thread(pack, reply.body) if len(reply.body) > LARGE_BYTES else pack(reply.body)
    return Reply(reply.status, body, reply.kind, (*reply.headers, (b"content-encoding", encoding), (b"vary", b"accept-encoding")))


def _accepts(accepted: bytes, encoding: bytes) -> bool:
    """Whether a list of encodings with their weights has one of a weight above 0."""
    for each in accepted.split(b","):
        name, _, options = each.strip().partition(b";")
        if name.strip() == encoding:
            weight = options.replace(b" ", b"").removeprefix(b"q=")
            return not weight or weight.strip(b"0.") != b""
    return False


def _window(encoding: bytes) -> int:
    """What zlib calls the form of a packing; 0 for a body that is sent as it is."""
    names = [name for each in encoding.split(b",") if (name := each.strip().lower()) not in (b"", b"identity")]
    if not names:
        return 0
    if len(names) > 1 or names[0] not in _WINDOWS:
        raise _unread(f"Content-Encoding {encoding[:100].decode('latin-1')!r}")
    return _WINDOWS[names[0]]


def _unread(what: str) -> Stop:
    refused = failure(415, f"the body is packed in a way that is not read here ({what}); send it with Content-Encoding gzip or deflate, or as it is")
    return Stop(Reply(refused.status, refused.body, headers=((b"accept-encoding", b"gzip, deflate"),)))


def _unpack(body: bytes, window: int, most_bytes: int) -> bytes | None:
    """The unpacked body; None when it is too large."""
    try:
        unpacker = zlib.decompressobj(window)
        found = unpacker.decompress(body, most_bytes + 1)
        if len(found) > most_bytes:
            return None
        whole = unpacker.eof and not unpacker.unused_data
    except zlib.error as error:
        if window == zlib.MAX_WBITS and body[:1] != b"\x78":  # some senders leave out what zlib puts around deflate
            return _unpack(body, -zlib.MAX_WBITS, most_bytes)
        raise Stop(failure(400, f"the body cannot be unpacked: {error}; it must be packed as its Content-Encoding says")) from None
    if not whole:
        raise Stop(failure(400, "the body cannot be unpacked: it ends too early, or more follows its end"))
    return found


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, 1, mtime=0)


def _deflate(body: bytes) -> bytes:
    return zlib.compress(body, 1)
