"""The HTTP face of a prediction process: a raw ASGI application, because a framework costs more than the prediction.

    POST /v1/endpoints/{name}/predict   {"rows": [{...}], "ids": [...]?} -> {"predictions": [...], "logged": true, "warnings": [...]?}
    GET  /v2, /v2/health/live, /v2/health/ready, /v2/models/{name}, /v2/models/{name}/ready
    POST /v2/models/{name}/infer        Open Inference Protocol v2
    POST /get-online-features           online features, as Feast's feature server answers them (see `feature_requests`)
    GET  /metrics                       Prometheus text: sums, and by endpoint and version for a token that may read monitoring

Predictions and what is told of endpoints need a token with the permission "predict", features one with "features" (`port_access`);
health is open. Errors are {"error": sentence, "facts": {...}} with the status of `rota.http_status`. A row that the model refuses has
its error among the predictions, naming row, field and value; without rows that could be answered the status is 422 when it refused
all of them, else 500.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import msgspec

from rota.errors import InvalidInput, NotFound, RotaError
from rota.http_status import status_of
from rota.serve import feature_requests, inference_protocol
from rota.serve.feature_requests import FeatureReader, FeatureRequest
from rota.serve.micro_batching import MicroBatcher
from rota.serve.port_access import PortAccess, Refusal
from rota.serve.predicting import CheckedRequest, PredictionCore, PredictResponse
from rota.serve.release_poller import ReleasePoller

log = logging.getLogger("rota.serve")
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

RETRY_AFTER_S = 1
TRUSTED = PortAccess()
"""Everybody who reaches the port is trusted, under whatever name it is reached."""
T = TypeVar("T")
_JSON = b"application/json"
_REFUSED = status_of(InvalidInput(""))
_PROMETHEUS = b"text/plain; version=0.0.4; charset=utf-8"
_encode = msgspec.json.Encoder().encode


class PredictRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of /v1/endpoints/{name}/predict."""

    rows: list[dict[str, Any]]
    ids: list[str] | None = None


_predict_decoder = msgspec.json.Decoder(PredictRequest)
_infer_decoder = msgspec.json.Decoder(inference_protocol.InferRequest)
_feature_decoder = msgspec.json.Decoder(FeatureRequest)


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole HTTP response."""

    status: int
    body: bytes
    kind: bytes = _JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


class _Stop(Exception):
    """Ends the handling of a request with a reply."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply


class PredictionApp:
    """The ASGI application of one process; its lifespan starts and stops the release poller. Without `features` it answers predictions only."""

    def __init__(
        self,
        core: PredictionCore,
        poller: ReleasePoller,
        *,
        features: FeatureReader | None = None,
        may_monitor: Callable[[str], bool] = lambda _: False,
        access: PortAccess = TRUSTED,
        version: str = "0",
        max_request_bytes: int = 16_000_000,
    ) -> None:
        self._core = core
        self._features = features
        self._poller = poller
        self._may_monitor = may_monitor
        self._access = access
        self._version = version
        self._max_bytes = max_request_bytes
        self._batcher = MicroBatcher(core)

    @property
    def is_ready(self) -> bool:
        """Whether every endpoint is served as it should be."""
        return self._poller.ready

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._send(send, await self._reply(scope, receive))
        else:
            await send({"type": "websocket.close", "code": 1003})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        if self._access.tokens is not None:
            await asyncio.to_thread(self._access.tokens.start)
        await asyncio.to_thread(self._poller.start)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.to_thread(self._poller.stop)
        if self._access.tokens is not None:
            await asyncio.to_thread(self._access.tokens.stop)
        await asyncio.to_thread(self._core.close)
        await send({"type": "lifespan.shutdown.complete"})

    async def _reply(self, scope: Scope, receive: Receive) -> Reply:
        endpoint = ""
        try:
            method, parts = scope["method"], tuple(scope["path"].strip("/").split("/"))
            _stop_if(self._access.refused(scope))
            match parts:
                case ("v1", "endpoints", endpoint, "predict"):
                    _stop_if(self._access.lacking(scope, "predict", endpoint))
                    reply = await self._predict(endpoint, await self._body(scope, receive, "POST"))
                case ("v2", "models", endpoint, "infer"):
                    _stop_if(self._access.lacking(scope, "predict", endpoint))
                    reply = await self._infer(endpoint, await self._body(scope, receive, "POST"))
                case ("get-online-features",) if self._features is not None:
                    _stop_if(self._access.lacking(scope, "features"))
                    reply = await self._read_features(self._features, await self._body(scope, receive, "POST"))
                case ("metrics",):
                    _require(method, "GET", known=True)
                    return await self._metrics(scope)
                case _:
                    _require(method, "GET", self._known(parts))
                    if parts[:2] == ("v2", "models"):
                        _stop_if(self._access.lacking(scope, "predict", parts[2]))
                    return self._get(parts)
        except _Stop as stop:
            reply = stop.reply
        except RotaError as error:
            reply = _failure(status_of(error), str(error), **error.facts)
        except Exception:  # the last resort: the caller learns that it failed, the log learns why
            log.exception("a request failed", extra={"action": "request", "path": scope["path"][:200]})
            reply = _failure(500, "the request failed inside; the process's log says why")
        if endpoint in self._core.served:
            self._core.counters.add("rota_requests_total", endpoint=endpoint, status=reply.status)
        return reply

    async def _predict(self, endpoint: str, body: bytes) -> Reply:
        request = _decode(_predict_decoder, body)
        response = await self._batcher.answer(self._prepare(endpoint, request.rows, request.ids))
        if _is_refused(response):
            first = response.predictions[0]
            refusal = {
                "error": first.error,
                "facts": {"prediction_id": first.prediction_id},
                "predictions": response.predictions,
                "logged": response.logged,
                "warnings": response.warnings,
            }
            return Reply(_REFUSED, _encode(refusal))
        return Reply(_status(response), _encode(response))

    async def _infer(self, endpoint: str, body: bytes) -> Reply:
        request = _decode(_infer_decoder, body)
        served = self._core.served.get(endpoint) or self._not_served(endpoint)
        checked = self._prepare(endpoint, inference_protocol.rows_of(request, served.fields), request.parameters.prediction_ids)
        response = await self._batcher.answer(checked)
        failed = next((answer for answer in response.predictions if answer.error), None)
        if failed:
            return _failure(
                _REFUSED if failed.refused else 500, f"prediction {failed.prediction_id} failed: {failed.error}", prediction_id=failed.prediction_id
            )
        return Reply(200, _encode(inference_protocol.response(endpoint, request, response, checked.served)))

    async def _read_features(self, features: FeatureReader, body: bytes) -> Reply:
        """On a thread: the store may be a server elsewhere, and many rows take their time."""
        return Reply(200, await asyncio.to_thread(lambda: feature_requests.answer(features, _decode(_feature_decoder, body))))

    def _prepare(self, endpoint: str, rows: list[dict[str, Any]], ids: list[str] | None) -> CheckedRequest:
        if endpoint not in self._core.served:
            self._not_served(endpoint)
        return self._core.prepare(endpoint, rows, ids)

    def _known(self, parts: tuple[str, ...]) -> bool:
        match parts:
            case ("v2",) | ("v2", "health", "live" | "ready") | ("v2", "models", _) | ("v2", "models", _, "ready"):
                return True
        return False

    def _get(self, parts: tuple[str, ...]) -> Reply:
        match parts:
            case ("v2",):
                return Reply(200, _encode(inference_protocol.server_metadata(self._version)))
            case ("v2", "health", "live"):
                return Reply(200, b'{"live":true}')
            case ("v2", "health", "ready"):
                return self._ready() if self._poller.ready else self._unready()
            case ("v2", "models", endpoint, *rest):
                served = self._core.served.get(endpoint) or self._not_served(endpoint)
                if rest and (problems := self._poller.blocking(endpoint)):
                    return _not_ready(f"endpoint {endpoint!r} is not ready{_because(problems)}", name=endpoint, ready=False, problems=problems)
                return Reply(200, _encode({"name": endpoint, "ready": True} if rest else inference_protocol.model_metadata(endpoint, served)))
        raise AssertionError(parts)

    def _ready(self) -> Reply:
        """Also while the metadata is away: what is served then is the last good release of each endpoint, and the answer says so."""
        if not self._poller.away:
            return Reply(200, b'{"ready":true}')
        return Reply(200, _encode({"ready": True, "warnings": [f"the newest releases cannot be read: {self._poller.away}"]}))

    def _unready(self) -> Reply:
        problems = self._poller.problems()
        if self._poller.away:
            problems = (f"the releases cannot be read: {self._poller.away}", *problems)
        what = "an endpoint is served without the history of its features" if self._poller.all_served else "not every endpoint is served yet"
        return _not_ready(f"{what}{_because(problems)}", ready=False, problems=problems)

    def _not_served(self, endpoint: str) -> NoReturn:
        if endpoint in self._poller.unreleased:
            raise NotFound(f"endpoint {endpoint!r} has no release yet; approve a version of its model: `rota models review`", endpoint=endpoint)
        if endpoint in self._poller.known or not self._poller.all_served:
            problems = self._poller.problems(endpoint)
            raise _Stop(_not_ready(f"endpoint {endpoint!r} is not served yet{_because(problems)}", endpoint=endpoint, problems=problems))
        raise NotFound(f"endpoint {endpoint!r} does not exist; served are {sorted(self._core.served)}", endpoint=endpoint)

    async def _metrics(self, scope: Scope) -> Reply:
        """Names of endpoints and models are for who may see them; everybody else gets the sums."""
        counters = self._core.counters
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"").decode("latin-1")
        scheme, _, secret = given.partition(" ")
        if scheme.lower() == "bearer" and await asyncio.to_thread(self._may_monitor, secret.strip()):
            return Reply(200, counters.text(self._gauges()).encode(), _PROMETHEUS)
        return Reply(200, counters.nameless().text({("rota_ready", ()): float(self._poller.ready)}).encode(), _PROMETHEUS)

    def _gauges(self) -> dict[tuple[str, tuple[tuple[str, str | int], ...]], float]:
        served = self._core.served
        revisions = {("rota_release_revision", (("endpoint", name),)): float(each.release.revision) for name, each in served.items()}
        return revisions | {("rota_ready", ()): float(self._poller.ready)}

    async def _body(self, scope: Scope, receive: Receive, method: str) -> bytes:
        """The request's body; refused by its announced size before a byte is read, and by its real size while reading."""
        _require(scope["method"], method, known=True)
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not announced.isdigit() or len(announced) > 18 or int(announced) > self._max_bytes:
            self._too_large()
        chunks, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Stop(_failure(400, "the caller left before the body was complete"))
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self._max_bytes:
                self._too_large()
            more = message.get("more_body", False)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _too_large(self) -> NoReturn:
        reply = _failure(413, f"the body is larger than {self._max_bytes} bytes; send fewer rows, or raise max_request_mb", limit=self._max_bytes)
        raise _Stop(Reply(reply.status, reply.body, headers=((b"connection", b"close"),)))

    async def _send(self, send: Send, reply: Reply) -> None:
        headers = [(b"content-type", reply.kind), (b"content-length", b"%d" % len(reply.body)), *reply.headers]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})


def _stop_if(refusal: Refusal | None) -> None:
    if refusal is not None:
        reply = _failure(refusal.status, refusal.message)
        raise _Stop(Reply(reply.status, reply.body, headers=refusal.headers))


def _require(method: str, allowed: str, known: bool) -> None:
    if not known:
        raise NotFound("there is nothing at this path; predictions are at POST /v1/endpoints/{name}/predict")
    if method != allowed:
        reply = _failure(405, f"this path takes {allowed}, not {method}")
        raise _Stop(Reply(405, reply.body, headers=((b"allow", allowed.encode()),)))


def _decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the body does not have the expected form: {error}") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _Stop(_failure(400, f"the body is not JSON: {error}")) from None


def _is_refused(response: PredictResponse) -> bool:
    """Whether the model takes none of the rows."""
    return bool(response.predictions) and all(answer.refused for answer in response.predictions)


def _status(response: PredictResponse) -> int:
    return 500 if response.predictions and all(answer.error for answer in response.predictions) else 200


def _failure(status: int, message: str, **facts: object) -> Reply:
    return Reply(status, _encode({"error": message, "facts": facts}))


def _because(problems: Sequence[str]) -> str:
    return f": {'; '.join(problems)}" if problems else ""


def _not_ready(message: str, **facts: object) -> Reply:
    return Reply(503, _encode({"error": message, "facts": facts}), headers=((b"retry-after", b"%d" % RETRY_AFTER_S),))
