"""The HTTP face of a prediction process: a raw ASGI application, because a framework costs more than the prediction.

    POST /v1/endpoints/{name}/predict   {"rows": [{...}], "ids": [...]?} -> {"predictions": [...], "logged": true, "warnings": [...]?}
    /v2 ...                             Open Inference Protocol v2 and its extensions (see `open_inference_port`)
    /v1/models, /invocations ...        the same in the forms of KServe's V1 and of MLflow (see `form_port`)
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
from typing import Any

import msgspec

from rota.errors import Interrupted, InvalidInput, RotaError, Unavailable
from rota.http_status import status_of
from rota.rendering import exposition
from rota.rendering.exposition import MetricFamily, MetricLabels
from rota.serve import feature_requests, port_description, request_bodies
from rota.serve.call_marks import CallMarks
from rota.serve.counters import PUBLIC
from rota.serve.feature_requests import FeatureReader, FeatureRequest
from rota.serve.form_port import FormPort
from rota.serve.micro_batching import SLICE_ROWS, MicroBatcher
from rota.serve.open_inference_port import OpenInferencePort, failed_status
from rota.serve.port_access import PortAccess
from rota.serve.predicting import CheckedRequest, PredictionCore, PredictRequest, PredictResponse
from rota.serve.release_poller import ReleasePoller
from rota.serve.replies import AWAY, REFUSED, RETRY, Reply, Stop, decode, encode, failure, nothing_there, require, stop_if
from rota.serve.request_bodies import LARGE_BYTES, PACKED_FROM_BYTES, RequestBodies
from rota.serve.serving_health import ServingHealth
from rota.serve.store_watch import StoreWatch

log = logging.getLogger("rota.serve")
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

TRUSTED = PortAccess()
"""Everybody who reaches the port is trusted, under whatever name it is reached."""
WATCHED_S = 5.0
"""Time between two polls at the least where a watch tells of each commit: what changes without one is an online store that was exchanged."""
THREAD_TURN_S = 0.001
"""How long a thread keeps the interpreter while another waits for it; Python's own 5 ms is what a prediction would wait for a large request."""
READY = "1 when everything is served as it should be, else 0."


class _LargeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The same with its rows unread."""

    rows: list[msgspec.Raw]
    ids: list[str] | None = None


_large_decoder = msgspec.json.Decoder(_LargeRequest)
_rows_decoder = msgspec.json.Decoder(list[dict[str, Any]])
_row_decoder = msgspec.json.Decoder(dict[str, Any])
_predict_decoder = msgspec.json.Decoder(PredictRequest)
_feature_decoder = msgspec.json.Decoder(FeatureRequest)


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
        self._max_rows = limits.rows
        self._marks = marks
        self._watch = StoreWatch(poller.metadata, access.tokens, poller.woken)
        self._bodies = RequestBodies(limits.body_bytes)
        self._batcher = MicroBatcher(core, timeout_s=limits.timeout_s)
        self._protocol = OpenInferencePort(core, poller, self._batcher, access=access, version=version, most_rows=limits.rows)
        self._forms = FormPort(core, self._batcher, self._protocol, access=access, most_rows=limits.rows)
        self.health = ServingHealth(core, poller)

    @property
    def is_ready(self) -> bool:
        """Whether every endpoint is served as it should be."""
        return self._poller.ready

    def leave(self) -> None:
        """From now on it is not ready: whoever looks sends nothing new before the end; everything that comes is answered meanwhile."""
        self._poller.leaving = True

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
            parts = tuple(scope["path"].strip("/").split("/"))
            stop_if(self._access.refused(scope))
            match parts:
                case ("v1", "endpoints", endpoint, "predict"):
                    require(scope["method"], "POST")
                    stop_if(self._access.lacking(scope, "predict", endpoint))
                    reply = await self._predict(endpoint, await self._bodies.read(scope, receive), scope["headers"])
                case _:
                    endpoint = _predicting(parts)
                    reply = await self._other(scope, parts, lambda: self._bodies.read(scope, receive))
        except Stop as stop:
            reply = stop.reply
        except (Unavailable, Interrupted) as error:
            told = failure(status_of(error), str(error), **error.facts)
            reply = Reply(told.status, told.body, headers=RETRY)
        except RotaError as error:
            reply = failure(status_of(error), str(error), **error.facts)
        except Exception:  # the last resort: the caller learns that it failed, the log learns why
            log.exception("a request failed", extra={"action": "request", "path": scope["path"][:200]})
            reply = failure(500, "the request failed inside; the process's log says why")
        finally:
            self._bodies.let_go(scope)
        if endpoint in self._core.served:
            self._core.counters.add("rota_requests_total", endpoint=endpoint, status=reply.status)
        return reply if len(reply.body) < PACKED_FROM_BYTES else await request_bodies.packed(scope, reply)

    async def _other(self, scope: Scope, parts: tuple[str, ...], body: Callable[[], Awaitable[bytes]]) -> Reply:
        match parts:
            case ("v2", *_):
                return await self._protocol.reply(scope, parts, body)
            case ("v1", "endpoints" | "models", *_) | ("invocations",):
                return await self._forms.reply(scope, parts, body)
            case ("get-online-features",) if self._features is not None:
                require(scope["method"], "POST")
                stop_if(self._access.lacking(scope, "features"))
                return await self._read_features(self._features, await body())
            case ("metrics",):
                require(scope["method"], "GET")
                return await self._metrics(scope)
            case ("openapi.json",):
                require(scope["method"], "GET")
                return Reply(200, encode(port_description.document(self._version, with_features=self._features is not None)))
        raise nothing_there()

    async def _predict(self, endpoint: str, body: bytes, headers: Headers) -> Reply:
        if len(body) > LARGE_BYTES:
            checked = await asyncio.to_thread(self._read_large, endpoint, body, headers)
        else:
            try:
                request = decode(_predict_decoder, body, self._max_rows)
            except InvalidInput:
                if b'"rows"' in body or not (b'"columns"' in body or b'"instances"' in body):
                    raise
                checked = self._forms.checked(endpoint, body, headers)
            else:
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
            return Reply(REFUSED, encode(refusal))
        return _told(response, encode(response))

    def _read_large(self, endpoint: str, body: bytes, headers: Headers) -> CheckedRequest:
        """A large body read and checked in parts, on a thread: between two parts the loop has its turn."""
        raw = decode(_large_decoder, body, self._max_rows)
        rows = [row for start in range(0, len(raw.rows), SLICE_ROWS) for row in _decoded_rows(raw.rows[start : start + SLICE_ROWS], start)]
        return self._prepare(endpoint, rows, raw.ids, headers)

    async def _read_features(self, features: FeatureReader, body: bytes) -> Reply:
        """On a thread: the store may be a server elsewhere, and many rows take their time."""
        return Reply(200, await asyncio.to_thread(lambda: feature_requests.answer(features, decode(_feature_decoder, body, self._max_rows))))

    def _prepare(self, endpoint: str, rows: list[dict[str, Any]], ids: list[str] | None, headers: Headers) -> CheckedRequest:
        if endpoint not in self._core.served:
            self._protocol.served_by(endpoint)
        if len(rows) > self._max_rows:
            raise InvalidInput(
                f"the request has {len(rows)} rows, at most {self._max_rows} are answered at once; send it in parts", limit=self._max_rows
            )
        return self._core.prepare(endpoint, rows, ids, headers)

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

    async def _send(self, send: Send, reply: Reply) -> None:
        headers = [(b"content-type", reply.kind), (b"content-length", b"%d" % len(reply.body)), *reply.headers]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})


def _predicting(parts: tuple[str, ...]) -> str:
    """The endpoint that is asked for predictions at a path other than its own; "" at the others."""
    match parts:
        case ("v2", "models", name, *_, "infer") | ("v1", "endpoints", name, "invocations"):
            return name
        case ("v1", "models", name):
            return name.removesuffix(":predict") if name.endswith(":predict") else ""
    return ""


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
    parts = b",".join(encode(response.predictions[start : start + SLICE_ROWS])[1:-1] for start in starts)
    return encode(msgspec.structs.replace(response, predictions=())).replace(b'"predictions":[]', b'"predictions":[' + parts + b"]", 1)


def _is_refused(response: PredictResponse) -> bool:
    """Whether the model takes none of the rows."""
    return bool(response.predictions) and all(answer.refused for answer in response.predictions)


def _told(response: PredictResponse, body: bytes) -> Reply:
    """The reply of a response: 200 unless every row failed."""
    if not response.predictions or not all(answer.error for answer in response.predictions):
        return Reply(200, body)
    status = failed_status(response.predictions)
    return Reply(status, body, headers=RETRY if status == AWAY else ())
