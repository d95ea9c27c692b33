"""What every request to the control plane passes before any route sees it: host, origin, size, token.

A plain ASGI application around the framework: it reads the headers once and answers refusals itself.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from fastapi import HTTPException, Request, Response

from rota import http_origin
from rota.errors import Unavailable
from rota.records.access import Identity
from rota.records.bodies_in_flight import BodiesInFlight
from rota.records.limits import is_packed
from rota.server.access.permissions import COOKIE, FORMER_COOKIE
from rota.settings import Settings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Refuse = Callable[[Request, int, str], Response]
Recognise = Callable[[Request], Awaitable[Identity | None]]

STREAMED = ("/api/2.0/mlflow-artifacts/", "/ajax-api/2.0/mlflow-artifacts/")
"""Below these paths bodies are files that their routes take in pieces, with limits of their own."""
OVER = (
    "this browser's session is over, or was begun by an earlier Rota, whose cookie held the token itself: open /enter?token=TOKEN again "
    "(`rota token` prints the address)"
)
UNRECOGNISED = "a token is needed: send 'Authorization: Bearer TOKEN' (`rota token` prints yours), or open /enter?token=TOKEN"
_HEADERS = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
_REPLACED = frozenset(name for name, _ in _HEADERS)


class Guard:
    """The outermost application. `recognise` tells who calls, `refuse` words an answer, `answers` counts by hundreds of the status."""

    def __init__(
        self, app: App, settings: Settings, *, recognise: Recognise, refuse: Refuse, open_paths: Collection[str], answers: Counter[int]
    ) -> None:
        self._app = app
        self._hosts = http_origin.answered_hosts(settings.host, settings.allowed_hosts)
        self._limit = settings.max_request_mb * 1_000_000
        self._bodies = BodiesInFlight(self._limit)
        self._open_paths = frozenset(open_paths)
        self._answers = answers
        self._recognise = recognise
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._guard(scope, receive, self._marked(send))
        else:
            await send({"type": "websocket.close", "code": 1003})

    async def _guard(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        refused = self._misdirected(scope, request) or self._foreign(scope, request) or self._too_large(scope, request)
        if refused is None:
            identity = await self._recognise(request)
            scope.setdefault("state", {})["identity"] = identity
            if identity is None and scope["path"] not in self._open_paths:
                refused = 401, _unrecognised(request)
        if refused is None:
            try:
                await self._app(scope, receive if _streamed(scope) else self._bounded(scope, receive), send)
            finally:
                self._bodies.let_go(scope)
            return
        response = self._refuse(request, *refused)
        if refused[0] == 401:
            response.headers.setdefault("WWW-Authenticate", "Bearer")
            if FORMER_COOKIE in request.cookies:
                response.delete_cookie(FORMER_COOKIE)
        await response(scope, receive, send)

    def _misdirected(self, scope: Scope, request: Request) -> tuple[int, str] | None:
        """Reject unknown Host headers: a foreign name that points here (DNS rebinding) would let its pages read us with a visitor's rights."""
        why = http_origin.misdirected(request.headers.getlist("host"), self._hosts, (scope.get("server") or ("",))[0])
        return (421, why) if why else None

    def _foreign(self, scope: Scope, request: Request) -> tuple[int, str] | None:
        """Another site's page must not act in the name of who has entered here."""
        if scope["method"] in http_origin.READING:
            return None
        origin = request.headers.get("origin")
        if origin is None:
            if "cookie" not in request.headers or "authorization" in request.headers:
                return None
            return 403, "a request that changes something and is allowed by a cookie must say its origin; programs send a token instead"
        if not http_origin.is_foreign(origin, request.headers["host"]):
            return None
        return 403, f"a page of {origin[:200]!r} may not act here; only the control plane's own pages may"

    def _too_large(self, scope: Scope, request: Request) -> tuple[int, str] | None:
        announced = request.headers.get("content-length", "0")
        if not announced.isascii() or not announced.isdigit() or len(announced) > 18:
            return 400, "the content-length is no number"
        if int(announced) > self._limit and not _streamed(scope):
            return 413, self._size_message()
        if any(is_packed(name, value) for name, value in request.headers.raw):
            return 415, "the body is packed; send it as it is, without Content-Encoding"
        return None

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """The body, given up as soon as it is larger than allowed (a chunked one announces no length) or all bodies together are."""
        size = 0

        async def bounded() -> Message:
            nonlocal size
            message = await receive()
            piece = len(message.get("body", b""))
            size += piece
            if size > self._limit:
                raise HTTPException(413, self._size_message())
            try:
                self._bodies.hold(scope, piece)
            except Unavailable as error:
                raise HTTPException(503, str(error)) from error
            return message

        return bounded

    def _marked(self, send: Send) -> Send:
        """Answers are counted, and for the asker only: no cache keeps them, no browser guesses what they are."""

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._answers[message["status"] // 100] += 1
                own = [each for each in message["headers"] if each[0].lower() not in _REPLACED]
                message = {**message, "headers": [*own, *_HEADERS]}
            await send(message)

        return marked

    def _size_message(self) -> str:
        return f"the request is larger than {self._limit} bytes; send smaller batches or raise ROTA_MAX_REQUEST_MB"


def _unrecognised(request: Request) -> str:
    """What to do, for who is not recognised; a browser that was in before hears why it is not any more."""
    has_entered = COOKIE in request.cookies or FORMER_COOKIE in request.cookies
    return OVER if has_entered and "authorization" not in request.headers else UNRECOGNISED


def _streamed(scope: Scope) -> bool:
    return scope["method"] == "PUT" and str(scope["path"]).startswith(STREAMED)
