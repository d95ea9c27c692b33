"""The wire of MLflow's REST API: how a request is read, an answer and an error written, and the limits that its clients know.

A route is a plain function from what was asked to what is answered; `route` gives it its path, permission, codec and thread.
"""

import logging
import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, get_origin, get_type_hints

import msgspec
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request, Response

from rota.errors import RotaError
from rota.http_status import mlflow_code_of
from rota.manage.repositories import Repositories
from rota.records.access import Identity
from rota.records.json_depth import check_json
from rota.records.limits import shortened
from rota.records.text_limits import MLFLOW
from rota.records.time import Micros
from rota.records.tracking import MAX_KEY, MAX_PARAMETER, MAX_TAG
from rota.server.access.permissions import identity_of, needs
from rota.server.wire import platform_of
from rota.wiring import Platform

logger = logging.getLogger("rota.server")

PREFIXES = ("/api/", "/ajax-api/")
"""Where errors are answered in MLflow's shape."""
BASE = "/api/2.0/mlflow"
MAX_EXPERIMENT_TAG = 20_000
MAX_REGISTRY_TAG = 100_000

Text = Annotated[str, msgspec.Meta(min_length=1)]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Millis = Annotated[int, msgspec.Meta(ge=0, le=9_000_000_000_000_000)]
"""A required text, a protobuf int64, and a moment whose microseconds still fit into 64 bits."""

CODES: Mapping[str, int] = {
    "INVALID_PARAMETER_VALUE": 400,
    "BAD_REQUEST": 400,
    "RESOURCE_ALREADY_EXISTS": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "RESOURCE_DOES_NOT_EXIST": 404,
    "ENDPOINT_NOT_FOUND": 404,
    "RESOURCE_CONFLICT": 409,
    "REQUEST_LIMIT_EXCEEDED": 429,
    "INTERNAL_ERROR": 500,
    "DATA_LOSS": 500,
    "TEMPORARILY_UNAVAILABLE": 503,
}
ABSENT: Mapping[str, str] = {
    "traces": "traces of language models are not kept here; runs, metrics and artifacts are",
    "unified-traces": "traces of language models are not kept here; runs, metrics and artifacts are",
    "get-online-trace-details": "traces of language models are not kept here; runs, metrics and artifacts are",
    "assessments": "assessments of traces are not kept here; a label or an outcome says what became of a prediction",
    "scorers": "scorers of language models are not run here; log what was measured as metrics of a run",
    "datasets": "evaluation datasets are not kept here; log a run's data with mlflow.log_input, or build a dataset with `rota data build`",
    "gateway": "there is no gateway to language models here",
    "prompt-optimization": "prompts of language models are not optimised here",
    "review-queues": "review queues of traces are not kept here; versions of models are reviewed at /models",
    "label-schemas": "label schemas of traces are not kept here; labels of predictions go to POST /v1/labels",
    "issues": "issues of traces are not kept here",
    "webhooks": "there are no webhooks of registry events here; alerts go where the setting alert_webhook says",
    "workspaces": "there are no workspaces here; a token of a project sees its project",
    "demo": "MLflow's demo data are not made here; `rota demo` runs Rota's own",
}
"""Areas of MLflow's API that are not here, by a part of their paths, and what there is instead."""
_OF_STATUS: Mapping[int, str] = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "ENDPOINT_NOT_FOUND",
    405: "ENDPOINT_NOT_FOUND",
    409: "RESOURCE_CONFLICT",
    429: "REQUEST_LIMIT_EXCEEDED",
    503: "TEMPORARILY_UNAVAILABLE",
}
_NAME = re.compile(r"[/\w.\- :]+")
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_MISSING = re.compile(r"missing required field `(\w+)`|length >= 1 - at `\$\.(\w+)`")


class MlflowError(Exception):
    """An error whose code MLflow's clients act on; one of CODES."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def invalid(message: str) -> MlflowError:
    """The caller's value is wrong."""
    return MlflowError("INVALID_PARAMETER_VALUE", message)


def missing(message: str) -> MlflowError:
    """The named thing does not exist."""
    return MlflowError("RESOURCE_DOES_NOT_EXIST", message)


class MlflowRequest(msgspec.Struct, frozen=True):
    """The fields of a request; unknown ones are ignored, as protobuf does."""


class KeyValue(MlflowRequest, frozen=True):
    """A tag or parameter."""

    key: Text
    value: str = ""


@dataclass(frozen=True, slots=True)
class MlflowCall:
    """Who asks, and on which platform."""

    platform: Platform
    identity: Identity

    @property
    def repositories(self) -> Repositories:
        return self.platform.repositories

    @property
    def now_us(self) -> Micros:
        return self.platform.repositories.clock.now_us()


A = TypeVar("A", bound=MlflowRequest)
T = TypeVar("T")
Handler = Callable[[MlflowCall, A], object]


def route(router: APIRouter, methods: str, path: str, permission: Any) -> Callable[[Handler[A]], Handler[A]]:
    """Mount `handler(call, asked)`: its second annotation is the shape of the request, what it returns is encoded as JSON.

    GET is read from the query, other methods from the body; both take fields of the path as well.
    """

    def mount(handler: Handler[A]) -> Handler[A]:
        shape: type[A] = get_type_hints(handler)["asked"]
        lists = frozenset(name for name, hint in get_type_hints(shape).items() if get_origin(hint) in (tuple, list))

        async def answer(request: Request) -> Response:
            return await answered(_read(request, shape, lists), lambda asked: handler(call_of(request), _within_limits(asked)))

        answer.__name__ = f"mlflow_{router.prefix.rpartition('/')[2].replace('-', '_')}_{handler.__name__}".replace("__", "_")
        answer.__doc__ = handler.__doc__
        for method in methods.split():  # one route each: an operation of the OpenAPI has one method
            router.add_api_route(path, answer, methods=[method], dependencies=list(needs(permission, takes=shape)))
        return handler

    return mount


async def answered(read: Awaitable[T], act: Callable[[T], object], *, limiter: CapacityLimiter | None = None) -> Response:
    """What `act` makes of what was read, in a thread; errors in MLflow's shape. An answer that is a response is sent as it is."""
    try:
        asked = await read
        found = await to_thread.run_sync(act, asked, limiter=limiter)
        return found if isinstance(found, Response) else Response(msgspec.json.encode(found), media_type="application/json")
    except MlflowError as fault:
        return fault_response(fault.code, str(fault))
    except RotaError as error:
        return fault_response(mlflow_code_of(error), str(error))


def call_of(request: Request) -> MlflowCall:
    """The caller behind a request."""
    return MlflowCall(platform_of(request), identity_of(request))


def fault_response(code: str, message: str) -> Response:
    """An error as MLflow's clients read it."""
    headers = {"Retry-After": "1"} if code == "TEMPORARILY_UNAVAILABLE" else None
    body = msgspec.json.encode({"error_code": code, "message": shortened(message)})
    return Response(body, CODES[code], headers, media_type="application/json")


def error_response(request: Request | None, status: int, message: str) -> Response:
    """An error that arose before or beside a route (no token, no such path), for paths that begin with one of PREFIXES."""
    if status in (404, 405) and request is not None:
        message = absent(request.method, request.url.path)
    code = _OF_STATUS.get(status, "INTERNAL_ERROR" if status >= 500 else "INVALID_PARAMETER_VALUE")
    headers = {401: {"WWW-Authenticate": 'Basic realm="rota"'}, 503: {"Retry-After": "1"}}.get(status)
    return Response(msgspec.json.encode({"error_code": code, "message": shortened(message)}), status, headers, media_type="application/json")


def absent(method: str, path: str) -> str:
    """What to say of a route of MLflow that is not there: what it belongs to, and what there is instead."""
    area = next((word for word in ABSENT if re.search(rf"/{word}(/|$)", path)), "")
    if area:
        return f"{method} {path[:200]}: {ABSENT[area]}"
    return f"{method} {path[:200]}: Rota has no such route of MLflow's API; docs/mlflow.md lists those that answer"


def check_key(what: str, key: str) -> str:
    """A metric's, parameter's or tag's name as MLflow allows it: a clean relative path of word characters, spaces, '.', '-', ':' and '/'."""
    if len(key) > MAX_KEY:
        raise invalid(f"{what} key {key[:50]!r}... has {len(key)} characters; at most {MAX_KEY} are allowed")
    if not _NAME.fullmatch(key) or key.startswith("/") or any(part in ("", ".", "..") for part in key.split("/")):
        raise invalid(f"{what} key {key!r} is not allowed; use letters, digits, spaces, '_', '-', '.', ':' and '/' between non-empty parts")
    return key


def run_tags(pairs: Sequence[KeyValue]) -> dict[str, str]:
    """Tags of a run; a longer value is cut, as MLflow's server does unless told otherwise."""
    return {check_key("tag", pair.key): pair.value[:MAX_TAG] for pair in pairs}


def parameters(pairs: Sequence[KeyValue]) -> dict[str, str]:
    """Parameters of a run; a longer value is cut, a key that is given twice refused."""
    found = {check_key("parameter", pair.key): pair.value[:MAX_PARAMETER] for pair in pairs}
    if len(found) < len(pairs):
        raise invalid("a parameter is given twice in one request; send one value for each key")
    return found


def limited_tags(pairs: Sequence[KeyValue], limit: int) -> dict[str, str]:
    """Tags of an experiment, a model or a version; a longer value is refused."""
    for pair in pairs:
        if len(pair.value) > limit:
            raise invalid(f"tag {pair.key!r} has {len(pair.value)} characters; at most {limit} are allowed")
    return {check_key("tag", pair.key): pair.value for pair in pairs}


def pairs_of(values: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags or parameters as a list of key and value."""
    return [{"key": key, "value": value} for key, value in values.items()]


def number(value: float) -> float | str:
    """A metric's value: JSON has no NaN, and MLflow's stores keep infinities as the largest numbers there are."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else math.copysign(1.7976931348623157e308, value)


async def _read(request: Request, shape: type[A], lists: frozenset[str]) -> A:
    path: dict[str, Any] = dict(request.path_params)
    query = request.query_params
    if any("\x00" in text for text in (*path.values(), *query.values())):
        raise invalid("the address holds a NUL character, which no name has")
    if request.method == "GET":
        asked = {name: query.getlist(name) if name in lists else query[name] for name in query}
        return _converted(asked | path, shape)
    body = await request.body()
    check_json(body, most_rows=request.app.state.platform.settings.max_request_rows)
    if b"\\u0000" in body and _NUL.search(body):  # the pattern alone takes 5 ms for 1,000 metrics
        raise invalid("the body holds a NUL character, which not every engine keeps")
    if not path:
        try:
            return msgspec.json.decode(body or b"{}", type=shape, strict=False)
        except msgspec.DecodeError:  # a wrong value, or an older client's nulls and doubly encoded text: looked at slowly
            pass
    try:
        asked = msgspec.json.decode(body or b"{}")
        asked = msgspec.json.decode(asked) if isinstance(asked, str) else asked
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(f"the body is not JSON: {error}") from error
    if not isinstance(asked, dict):
        raise invalid("the body is not a JSON object; send the fields of the request as one")
    return _converted(asked | path, shape)


def _within_limits(asked: A) -> A:
    MLFLOW.check(asked)
    return asked


def _converted(asked: dict[str, Any], shape: type[A]) -> A:
    try:
        return msgspec.convert(_without_nulls(asked), shape, strict=False)
    except msgspec.ValidationError as error:
        gone = _MISSING.search(str(error))
        if gone:
            raise invalid(f"Missing value for required parameter '{gone[1] or gone[2]}'.") from error
        raise invalid(f"Invalid value in the request: {error}") from error


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value
