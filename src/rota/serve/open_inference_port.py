"""The paths of the Open Inference Protocol v2 and its extensions: binary tensors, statistics, configuration; `repository_port` has the others.

An endpoint is a model of the protocol, and its versions are those model versions of its release that may answer. What describes an endpoint, and
asking it, needs the permission "predict" there.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import msgspec

from rota.errors import NotFound
from rota.serve import inference_protocol, inference_statistics, model_repository, tensor_views
from rota.serve.inference_protocol import InferRequest
from rota.serve.micro_batching import MicroBatcher
from rota.serve.port_access import PortAccess
from rota.serve.predicting import Answer, CheckedRequest, PredictionCore
from rota.serve.release_poller import ReleasePoller
from rota.serve.replies import AWAY, REFUSED, RETRY, Reply, Stop, because, decode, encode, failure, not_ready, require, stop_if
from rota.serve.repository_port import RepositoryPort
from rota.serve.request_bodies import LARGE_BYTES
from rota.serve.scoring import LoadedRelease
from rota.serve.tensor_views import TensorView

Scope = MutableMapping[str, Any]
Headers = Sequence[tuple[bytes, bytes]]
Body = Callable[[], Awaitable[bytes]]
_HEADER = b"inference-header-content-length"
_BINARY = b"application/octet-stream"


@dataclass(frozen=True, slots=True)
class ModelPath:
    """What a path names: an endpoint, one of its versions ("": what answers), and what is asked of it ("": its metadata)."""

    endpoint: str
    version: str = ""
    what: str = ""


_OWN = (("v2",), ("v2", "health", "live"), ("v2", "health", "ready"), ("v2", "models"), ("v2", "models", "stats"))
_unread_decoder = msgspec.json.Decoder(inference_protocol.UnreadRequest)
_infer_decoder = msgspec.json.Decoder(InferRequest)


class OpenInferencePort:
    """Answers the paths below /v2 of one process."""

    def __init__(
        self, core: PredictionCore, poller: ReleasePoller, batcher: MicroBatcher, *, access: PortAccess, version: str, most_rows: int
    ) -> None:
        self._core = core
        self._poller = poller
        self._batcher = batcher
        self._access = access
        self._version = version
        self._most_rows = most_rows
        self._repository = RepositoryPort(core, poller, access=access, most_rows=most_rows)
        self._views: dict[tuple[str, str], tuple[LoadedRelease, TensorView]] = {}

    async def reply(self, scope: Scope, parts: tuple[str, ...], body: Body) -> Reply:
        """The answer to a request below /v2; `body` reads what it brings."""
        if parts[1:2] in (("repository",), ("logging",)):
            return await self._repository.reply(scope, parts, body)
        place = _model_path(parts)
        if place is not None and place.what == "infer":
            require(scope["method"], "POST")
            return await self._infer(scope, place, body)
        require(scope["method"], "GET", known=place is not None or parts in _OWN)
        return self._described(scope, place) if place is not None else self._of_server(scope, parts)

    def served_by(self, endpoint: str) -> LoadedRelease:
        """What an endpoint serves; else the reason why it does not."""
        return self._core.served.get(endpoint) or self._not_served(endpoint)

    def _of_server(self, scope: Scope, parts: tuple[str, ...]) -> Reply:
        match parts:
            case ("v2",):
                return Reply(200, encode(inference_protocol.server_metadata(self._version)))
            case ("v2", "health", "live"):
                return Reply(200, b'{"live":true}')
            case ("v2", "health", "ready"):
                return self._ready() if self._poller.ready else self._unready()
        stop_if(self._access.unknown(scope))
        names = self._access.endpoints(scope, self._core.served)
        if parts == ("v2", "models"):
            return Reply(200, encode({"models": names}))
        return Reply(200, encode(inference_statistics.of(self._core, [(name, self._view(name, "")) for name in names])))

    def _described(self, scope: Scope, place: ModelPath) -> Reply:
        stop_if(self._access.lacking(scope, "predict", place.endpoint))
        view = self._view(place.endpoint, place.version)
        match place.what:
            case "config":
                found = inference_protocol.model_config(place.endpoint, view)
            case "stats":
                found = inference_statistics.of(self._core, [(place.endpoint, view)])
            case "ready":
                if problems := self._poller.blocking(place.endpoint):
                    why = f"endpoint {place.endpoint!r} is not ready{because(problems)}"
                    return not_ready(why, name=place.endpoint, ready=False, problems=problems)
                found = {"name": place.endpoint, "ready": True}
            case _:
                found = inference_protocol.model_metadata(place.endpoint, view)
        return Reply(200, encode(found))

    async def _infer(self, scope: Scope, place: ModelPath, body: Body) -> Reply:
        endpoint = place.endpoint
        stop_if(self._access.lacking(scope, "predict", endpoint))
        data = await body()
        if len(data) > LARGE_BYTES:
            view, request, checked = await asyncio.to_thread(self._checked, place, data, scope["headers"])
        else:
            view, request, checked = self._checked(place, data, scope["headers"])
        response = await self._batcher.answer(checked)
        failed = next((answer for answer in response.predictions if answer.error), None)
        if failed:
            status = REFUSED if failed.refused else failed_status([failed])
            told = failure(status, f"prediction {failed.prediction_id} failed: {failed.error}", prediction_id=failed.prediction_id)
            return Reply(told.status, told.body, headers=RETRY if status == AWAY else ())
        answered = inference_protocol.response(endpoint, view, request, response)
        if not answered.header_bytes:
            return Reply(200, answered.body)
        return Reply(200, answered.body, _BINARY, ((_HEADER, b"%d" % answered.header_bytes),))

    def _checked(self, place: ModelPath, body: bytes, headers: Headers) -> tuple[TensorView, InferRequest, CheckedRequest]:
        """A request of tensors read and checked, and the release that answers it."""
        endpoint, version = place.endpoint, place.version
        header = next((value for name, value in headers if name == _HEADER), None)
        text, binary = _parted(body, header)
        raw = header is not None and not text
        if not raw and len(text) > LARGE_BYTES:  # shapes first: what does not fit them is never read
            unread = decode(_unread_decoder, text, self._most_rows)
            view = self._view(endpoint, version)
            inference_protocol.check_shapes(view, unread.inputs, self._most_rows)
            inference_protocol.check_sizes(unread)
        request = None if raw else decode(_infer_decoder, text, self._most_rows)
        view = self._view(endpoint, version)
        if request is None:
            request = inference_protocol.raw_request(view, body)
        rows = inference_protocol.rows_of(view, request, self._most_rows, binary)
        return view, request, self._core.prepare(endpoint, rows, inference_protocol.prediction_ids(request), headers, served=view.served)

    def _view(self, endpoint: str, version: str) -> TensorView:
        """The tensors of what an endpoint serves, or of one version of it; made once for each release."""
        served = self.served_by(endpoint)
        kept = self._views.get((endpoint, version))
        if kept is not None and kept[0] is served:
            return kept[1]
        release: LoadedRelease | None = served
        if version:
            release = tensor_views.pinned(served, int(version)) if version.isascii() and version.isdigit() and len(version) < 10 else None
        if release is None:
            raise NotFound(
                f"endpoint {endpoint!r} does not serve version {version[:50]!r}; it serves {tensor_views.versions(served)}", endpoint=endpoint
            )
        view = tensor_views.view_of(release)
        self._views = {key: each for key, each in self._views.items() if self._core.served.get(key[0]) is each[0]} | {
            (endpoint, version): (served, view)
        }
        return view

    def _ready(self) -> Reply:
        """Also while the metadata is away: what is served then is the last good release of each endpoint, and the answer says so."""
        if not self._poller.away:
            return Reply(200, b'{"ready":true}')
        return Reply(200, encode({"ready": True, "warnings": [f"the newest releases cannot be read: {self._poller.away}"]}))

    def _unready(self) -> Reply:
        if self._poller.leaving:
            return not_ready("this prediction process was told to end and answers what is under way; send new requests to another", ready=False)
        problems = self._poller.problems()
        if self._poller.away:
            problems = (f"the releases cannot be read: {self._poller.away}", *problems)
        what = "an endpoint is served without the history of its features" if self._poller.all_served else "not every endpoint is served yet"
        return not_ready(f"{what}{because(problems)}", ready=False, problems=problems)

    def _not_served(self, endpoint: str) -> NoReturn:
        if unloaded := self._poller.unloaded.get(endpoint):
            raise Stop(not_ready(model_repository.why(unloaded), endpoint=endpoint, unloaded_by=unloaded.by))
        if endpoint in self._poller.unreleased:
            raise NotFound(f"endpoint {endpoint!r} has no release yet; approve a version of its model: `rota models review`", endpoint=endpoint)
        if endpoint in self._poller.known or not self._poller.all_served:
            problems = self._poller.problems(endpoint)
            raise Stop(not_ready(f"endpoint {endpoint!r} is not served yet{because(problems)}", endpoint=endpoint, problems=problems))
        raise NotFound(f"endpoint {endpoint!r} does not exist; served are {sorted(self._core.served)}", endpoint=endpoint)


def failed_status(failed: Sequence[Answer]) -> int:
    """503 where an engine did not answer, so that callers ask again; else the model failed, and asking again helps nobody."""
    return AWAY if all(answer.error.startswith("Unavailable: ") for answer in failed) else 500


def _parted(body: bytes, header: bytes | None) -> tuple[bytes, memoryview | None]:
    """The JSON of a request and the bytes behind it (None: it has none)."""
    if header is None:
        return body, None
    if not header.isdigit() or len(header) > 18 or int(header) > len(body):
        raise Stop(
            failure(
                400,
                f"Inference-Header-Content-Length is {header[:50].decode('latin-1')!r}, the body has {len(body)} bytes; it says how many are JSON",
            )
        )
    length = int(header)
    return body[:length], memoryview(body)[length:]


def _model_path(parts: tuple[str, ...]) -> ModelPath | None:
    """Which endpoint a path below /v2/models names, in which version, and what of it; None for another path."""
    match parts:
        case ("v2", "models", "stats"):
            return None
        case ("v2", "models", endpoint):
            return ModelPath(endpoint)
        case ("v2", "models", endpoint, "ready" | "config" | "stats" | "infer" as what):
            return ModelPath(endpoint, what=what)
        case ("v2", "models", endpoint, "versions", version):
            return ModelPath(endpoint, version)
        case ("v2", "models", endpoint, "versions", version, "ready" | "config" | "stats" | "infer" as what):
            return ModelPath(endpoint, version, what)
    return None
