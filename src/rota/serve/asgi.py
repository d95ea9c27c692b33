"""The HTTP face of a prediction process: a raw ASGI application, because a framework costs more than the prediction.

    POST /v1/endpoints/{name}/predict   {"rows": [{...}], "ids": [...]?} -> {"predictions": [...], "logged": true, "warnings": [...]?}
    GET  /v2, /v2/health/live, /v2/health/ready, /v2/models/{name}, /v2/models/{name}/ready
    POST /v2/models/{name}/infer        Open Inference Protocol v2
    POST /get-online-features           online features, as Feast's feature server answers them (see `feature_requests`)
    GET  /openapi.json                  all this in OpenAPI (see `port_description`)
    GET  /metrics                       Prometheus text: sums, and by endpoint and version for a token that may read monitoring

Predictions and what is told of endpoints need a token with the permission "predict", features one with "features" (`port_access`);
health and /openapi.json are open. Errors are {"error": sentence, "facts": {...}} with the status of `rota.http_status`. A row that the
model refuses has its error among the predictions, naming row, field and value; without rows that could be answered the status is 422 when it refused
all of them, else 500.
"""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import msgspec

from rota.errors import Interrupted, InvalidInput, NotFound, RotaError, Unavailable
from rota.http_status import status_of
from rota.records.bodies_in_flight import BodiesInFlight
from rota.records.json_depth import check_json
from rota.records.json_faults import unspeakable_number
from rota.records.limits import is_packed, shortened
from rota.rendering import exposition
from rota.rendering.exposition import MetricFamily, MetricLabels
from rota.serve import feature_requests, inference_protocol, port_description
from rota.serve.call_marks import CallMarks
from rota.serve.counters import PUBLIC
from rota.serve.feature_requests import FeatureReader, FeatureRequest
from rota.serve.micro_batching import SLICE_ROWS, MicroBatcher
from rota.serve.port_access import PortAccess, Refusal
from rota.serve.predicting import Answer, CheckedRequest, PredictionCore, PredictRequest, PredictResponse
from rota.serve.release_poller import ReleasePoller
from rota.serve.serving_health import ServingHealth
from rota.serve.store_watch import StoreWatch

log = logging.getLogger("rota.serve")
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

RETRY_AFTER_S = 1
TRUSTED = PortAccess()
"""Everybody who reaches the port is trusted, under whatever name it is reached."""
LARGE_BYTES = 64_000
"""A body of more bytes is read away from the event loop."""
WATCHED_S = 5.0
"""Time between two polls at the least where a watch tells of each commit: what changes without one is an online store that was exchanged."""
THREAD_TURN_S = 0.001
"""How long a thread keeps the interpreter while another waits for it; Python's own 5 ms is what a prediction would wait for a large request."""
_RETRY = ((b"retry-after", b"%d" % RETRY_AFTER_S),)
T = TypeVar("T")
_JSON = b"application/json"
_REFUSED = status_of(InvalidInput(""))
_AWAY = status_of(Unavailable(""))
READY = "1 when everything is served as it should be, else 0."
_encode = msgspec.json.Encoder().encode


class _LargeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The same with its rows unread."""

    rows: list[msgspec.Raw]
    ids: list[str] | None = None


_large_decoder = msgspec.json.Decoder(_LargeRequest)
_rows_decoder = msgspec.json.Decoder(list[dict[str, Any]])
_row_decoder = msgspec.json.Decoder(dict[str, Any])
_predict_decoder = msgspec.json.Decoder(PredictRequest)
_unread_decoder = msgspec.json.Decoder(inference_protocol.UnreadRequest)
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


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What one request may hold, and how long its answer may take, waiting included."""

    body_bytes: int = 16_000_000
    rows: int = 100_000
    timeout_s: float = 30.0


USUAL = RequestLimits()


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
        limits: RequestLimits = USUAL,
        marks: CallMarks | None = None,
    ) -> None:
        self._core = core
        self._features = features
        self._poller = poller
        self._may_monitor = may_monitor
        self._access = access
        self._version = version
        self._max_bytes = limits.body_bytes
        self._max_rows = limits.rows
        self._marks = marks
        self._watch = StoreWatch(poller.metadata, access.tokens, poller.woken)
        self._bodies = BodiesInFlight(limits.body_bytes)
        self._batcher = MicroBatcher(core, timeout_s=limits.timeout_s)
        self.health = ServingHealth(core, poller)

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
        await asyncio.to_thread(self._watch.start)
        sys.setswitchinterval(THREAD_TURN_S)
        if self._marks is not None:
            self._marks.start()
        await asyncio.to_thread(self._poller.start, slow_s=WATCHED_S)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.to_thread(self._poller.stop)
        await asyncio.to_thread(self._watch.stop)
        await asyncio.to_thread(self._core.close)
        if self._marks is not None:
            self._marks.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _reply(self, scope: Scope, receive: Receive) -> Reply:
        endpoint = ""
        try:
            method, parts = scope["method"], tuple(scope["path"].strip("/").split("/"))
            _stop_if(self._access.refused(scope))
            match parts:
                case ("v1", "endpoints", endpoint, "predict"):
                    _stop_if(self._access.lacking(scope, "predict", endpoint))
                    reply = await self._predict(endpoint, await self._body(scope, receive, "POST"), scope["headers"])
                case ("v2", "models", endpoint, "infer"):
                    _stop_if(self._access.lacking(scope, "predict", endpoint))
                    _stop_if(_binary(scope))
                    reply = await self._infer(endpoint, await self._body(scope, receive, "POST"), scope["headers"])
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
        except (Unavailable, Interrupted) as error:
            told = _failure(status_of(error), str(error), **error.facts)
            reply = Reply(told.status, told.body, headers=_RETRY)
        except RotaError as error:
            reply = _failure(status_of(error), str(error), **error.facts)
        except Exception:  # the last resort: the caller learns that it failed, the log learns why
            log.exception("a request failed", extra={"action": "request", "path": scope["path"][:200]})
            reply = _failure(500, "the request failed inside; the process's log says why")
        finally:
            self._bodies.let_go(scope)
        if endpoint in self._core.served:
            self._core.counters.add("rota_requests_total", endpoint=endpoint, status=reply.status)
        return reply

    async def _predict(self, endpoint: str, body: bytes, headers: Headers) -> Reply:
        if len(body) > LARGE_BYTES:
            checked = await asyncio.to_thread(self._read_large, endpoint, body, headers)
        else:
            request = _decode(_predict_decoder, body, self._max_rows)
            checked = self._prepare(endpoint, request.rows, request.ids, headers)
        response = await self._batcher.answer(checked)
        if len(response.predictions) > SLICE_ROWS and not _is_refused(response):
            return _told(response, await asyncio.to_thread(_encode_large, response))
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
        return _told(response, _encode(response))

    def _read_large(self, endpoint: str, body: bytes, headers: Headers) -> CheckedRequest:
        """A large body read and checked in parts, on a thread: between two parts the loop has its turn."""
        raw = _decode(_large_decoder, body, self._max_rows)
        rows = [row for start in range(0, len(raw.rows), SLICE_ROWS) for row in _decoded_rows(raw.rows[start : start + SLICE_ROWS], start)]
        return self._prepare(endpoint, rows, raw.ids, headers)

    async def _infer(self, endpoint: str, body: bytes, headers: Headers) -> Reply:
        if len(body) > LARGE_BYTES:
            request, checked = await asyncio.to_thread(self._read_tensors, endpoint, body, headers)
        else:
            request, checked = self._read_tensors(endpoint, body, headers)
        response = await self._batcher.answer(checked)
        failed = next((answer for answer in response.predictions if answer.error), None)
        if failed:
            status = _REFUSED if failed.refused else _failed_status([failed])
            return _failure(status, f"prediction {failed.prediction_id} failed: {failed.error}", prediction_id=failed.prediction_id)
        return Reply(200, _encode(inference_protocol.response(endpoint, request, response, checked.served)))

    def _read_tensors(self, endpoint: str, body: bytes, headers: Headers) -> tuple[inference_protocol.InferRequest, CheckedRequest]:
        if len(body) > LARGE_BYTES:
            unread = _decode(_unread_decoder, body, self._max_rows)
            inference_protocol.check_shapes(unread.inputs, self._max_rows)
            inference_protocol.check_sizes(unread)
        request = _decode(_infer_decoder, body, self._max_rows)
        inference_protocol.check_shapes(request.inputs, self._max_rows)
        served = self._core.served.get(endpoint) or self._not_served(endpoint)
        rows = inference_protocol.rows_of(request, served.fields)
        return request, self._prepare(endpoint, rows, request.parameters.prediction_ids, headers)

    async def _read_features(self, features: FeatureReader, body: bytes) -> Reply:
        """On a thread: the store may be a server elsewhere, and many rows take their time."""
        return Reply(200, await asyncio.to_thread(lambda: feature_requests.answer(features, _decode(_feature_decoder, body, self._max_rows))))

    def _prepare(self, endpoint: str, rows: list[dict[str, Any]], ids: list[str] | None, headers: Headers) -> CheckedRequest:
        if endpoint not in self._core.served:
            self._not_served(endpoint)
        if len(rows) > self._max_rows:
            raise InvalidInput(
                f"the request has {len(rows)} rows, at most {self._max_rows} are answered at once; send it in parts", limit=self._max_rows
            )
        return self._core.prepare(endpoint, rows, ids, headers)

    def _known(self, parts: tuple[str, ...]) -> bool:
        match parts:
            case ("openapi.json",) | ("v2",) | ("v2", "health", "live" | "ready") | ("v2", "models", _) | ("v2", "models", _, "ready"):
                return True
        return False

    def _get(self, parts: tuple[str, ...]) -> Reply:
        match parts:
            case ("openapi.json",):
                return Reply(200, _encode(port_description.document(self._version, with_features=self._features is not None)))
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
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"").decode("latin-1")
        scheme, _, secret = given.partition(" ")
        found = [*self._core.counters.metrics(), MetricFamily.of("rota_ready", "gauge", READY, {(): float(self._poller.ready)})]
        if scheme.lower() != "bearer" or not await asyncio.to_thread(self._may_monitor, secret.strip()):
            found = exposition.nameless(found, public=PUBLIC)
        else:
            revisions: dict[MetricLabels, float] = {
                (("endpoint", name),): float(each.release.revision) for name, each in sorted(self._core.served.items())
            }
            found.append(MetricFamily.of("rota_release_revision", "gauge", "Revision of the release that an endpoint serves.", revisions))
        return Reply(200, exposition.text(found).encode(), exposition.MEDIA_TYPE.encode())

    async def _body(self, scope: Scope, receive: Receive, method: str) -> bytes:
        """The request's body; refused by its announced size before a byte is read, and by its real size while reading."""
        _require(scope["method"], method, known=True)
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not announced.isdigit() or len(announced) > 18 or int(announced) > self._max_bytes:
            self._too_large()
        if any(is_packed(name, value) for name, value in scope["headers"]):
            raise _Stop(_failure(415, "the body is packed; send it as it is, without Content-Encoding"))
        chunks, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Stop(_failure(400, "the caller left before the body was complete"))
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self._max_bytes:
                self._too_large()
            self._bodies.hold(scope, len(chunks[-1]))
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


def _binary(scope: Scope) -> Refusal | None:
    """The protocol's extension of tensors as bytes behind the JSON is not spoken here, as the server's metadata says."""
    if any(name == b"inference-header-content-length" for name, _ in scope["headers"]):
        return Refusal(415, "tensors as bytes are not read here (GET /v2 names no extension); send the data of each tensor as JSON")
    return None


def _require(method: str, allowed: str, known: bool) -> None:
    if not known:
        raise NotFound("there is nothing at this path; predictions are at POST /v1/endpoints/{name}/predict")
    if method != allowed:
        reply = _failure(405, f"this path takes {allowed}, not {method}")
        raise _Stop(Reply(405, reply.body, headers=((b"allow", allowed.encode()),)))


def _decode(decoder: msgspec.json.Decoder[T], body: bytes, most_rows: int = USUAL.rows) -> T:
    try:
        check_json(body, most_rows=most_rows)
    except InvalidInput as error:
        raise _Stop(_failure(400, f"the body is not JSON that is read here: {error}")) from None
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the body does not have the expected form: {unspeakable_number(body) or error}") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _Stop(_failure(400, f"the body is not JSON: {unspeakable_number(body) or error}")) from None


def _decoded_rows(raw: Sequence[msgspec.Raw], start: int) -> list[dict[str, Any]]:
    try:
        return _rows_decoder.decode(b"[" + b",".join(raw) + b"]")
    except msgspec.ValidationError:
        for place, row in enumerate(raw):
            try:
                _row_decoder.decode(row)
            except msgspec.ValidationError as error:
                raise InvalidInput(f"the body does not have the expected form: {error} - in row {start + place}", row=start + place) from None
        raise


def _encode_large(response: PredictResponse) -> bytes:
    """The body of a large response, written in parts so that the loop has its turn between them."""
    starts = range(0, len(response.predictions), SLICE_ROWS)
    parts = b",".join(_encode(response.predictions[start : start + SLICE_ROWS])[1:-1] for start in starts)
    return _encode(msgspec.structs.replace(response, predictions=())).replace(b'"predictions":[]', b'"predictions":[' + parts + b"]", 1)


def _is_refused(response: PredictResponse) -> bool:
    """Whether the model takes none of the rows."""
    return bool(response.predictions) and all(answer.refused for answer in response.predictions)


def _told(response: PredictResponse, body: bytes) -> Reply:
    """The reply of a response: 200 unless every row failed."""
    if not response.predictions or not all(answer.error for answer in response.predictions):
        return Reply(200, body)
    status = _failed_status(response.predictions)
    return Reply(status, body, headers=_RETRY if status == _AWAY else ())


def _failed_status(failed: Sequence[Answer]) -> int:
    """503 where an engine did not answer, so that callers ask again; else the model failed, and asking again helps nobody."""
    return _AWAY if all(answer.error.startswith(f"{Unavailable.__name__}: ") for answer in failed) else 500


def _failure(status: int, message: str, **facts: object) -> Reply:
    clipped = {name: shortened(value) if isinstance(value, str) else value for name, value in facts.items()}
    return Reply(status, _encode({"error": shortened(message), "facts": clipped}))


def _because(problems: Sequence[str]) -> str:
    return f": {'; '.join(problems)}" if problems else ""


def _not_ready(message: str, **facts: object) -> Reply:
    return Reply(503, _encode({"error": message, "facts": facts}), headers=((b"retry-after", b"%d" % RETRY_AFTER_S),))
