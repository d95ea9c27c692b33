"""Predictions in the forms of other servers, and what an endpoint asks for: for callers that know KServe's V1, Vertex or MLflow already.

GET  /v1/endpoints, /v1/endpoints/{name}      fields, a JSON schema of a row, an example and a line of curl
GET  /v1/models/{name}                        {"name": ..., "ready": true} (KServe V1)
POST /v1/models/{name}:predict                {"instances": [...]} -> {"predictions": [...]}
POST /v1/endpoints/{name}/invocations         MLflow's forms, also CSV -> {"predictions": [...]}
POST /invocations                             the same, where the token may ask one endpoint only
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any

from rota.errors import InvalidInput
from rota.records.value_types import LONGEST_LIST, Type, decimal_type, domain, family, list_type, shown_type
from rota.serve import request_forms, tensor_views
from rota.serve.micro_batching import MicroBatcher
from rota.serve.open_inference_port import OpenInferencePort, failed_status
from rota.serve.port_access import CSV, PortAccess
from rota.serve.predicting import CheckedRequest, PredictionCore
from rota.serve.replies import AWAY, REFUSED, RETRY, Reply, encode, failure, nothing_there, require, stop_if
from rota.serve.request_bodies import LARGE_BYTES
from rota.serve.scoring import LoadedRelease

Scope = MutableMapping[str, Any]
Headers = Sequence[tuple[bytes, bytes]]
Body = Callable[[], Awaitable[bytes]]
_SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "float": {"type": ["number", "null"]},
    "int": {"type": ["integer", "null"]},
    "bool": {"type": ["boolean", "null"]},
    "string": {"type": ["string", "null"]},
    "timestamp": {"type": ["string", "integer", "null"], "description": "ISO 8601, or microseconds since 1970-01-01 UTC"},
    "bytes": {"type": ["string", "null"], "contentEncoding": "base64"},
    "blob": {"type": ["string", "null"], "pattern": "^(sha256:)?[0-9a-f]{64}$"},
}
MOST_NAMED = 100
"""Texts of a category that the schema of a row names; a larger domain is a text."""
_EXAMPLES: Mapping[str, Any] = {
    "float": 1.5,
    "int": 3,
    "bool": True,
    "string": "text",
    "timestamp": "2026-01-01T00:00:00Z",
    "bytes": "Ynl0ZXM=",
    "blob": "0" * 64,
}


class FormPort:
    """Answers these paths of one process."""

    def __init__(self, core: PredictionCore, batcher: MicroBatcher, protocol: OpenInferencePort, *, access: PortAccess, most_rows: int) -> None:
        self._core = core
        self._batcher = batcher
        self._protocol = protocol
        self._access = access
        self._most_rows = most_rows

    async def reply(self, scope: Scope, parts: tuple[str, ...], body: Body) -> Reply:
        """The answer to a request; `body` reads what it brings."""
        match parts:
            case ("v1", "endpoints"):
                require(scope["method"], "GET")
                stop_if(self._access.unknown(scope))
                names = self._access.endpoints(scope, self._core.served)
                return Reply(200, encode({"endpoints": [self._described(scope, name) for name in names]}))
            case ("v1", "endpoints", name):
                require(scope["method"], "GET")
                stop_if(self._access.lacking(scope, "predict", name))
                return Reply(200, encode(self._described(scope, name)))
            case ("v1", "endpoints", name, "invocations"):
                return await self._predict(scope, name, body)
            case ("invocations",):
                require(scope["method"], "POST")
                return await self._predict(scope, self._only(scope), body)
            case ("v1", "models", name) if name.endswith(":predict"):
                return await self._predict(scope, name.removesuffix(":predict"), body)
            case ("v1", "models", name):
                require(scope["method"], "GET")
                stop_if(self._access.lacking(scope, "predict", name))
                self._protocol.served_by(name)
                return Reply(200, encode({"name": name, "ready": True}))
        raise nothing_there()

    def _only(self, scope: Scope) -> str:
        stop_if(self._access.unknown(scope))
        names = self._access.endpoints(scope, self._core.served)
        if len(names) != 1:
            raise InvalidInput(f"/invocations answers where there is one endpoint, here are {names[:20]}; ask /v1/endpoints/NAME/invocations")
        return names[0]

    async def _predict(self, scope: Scope, endpoint: str, body: Body) -> Reply:
        require(scope["method"], "POST")
        stop_if(self._access.lacking(scope, "predict", endpoint))
        data = await body()
        if len(data) > LARGE_BYTES:
            checked = await asyncio.to_thread(self.checked, endpoint, data, scope["headers"])
        else:
            checked = self.checked(endpoint, data, scope["headers"])
        response = await self._batcher.answer(checked)
        if failed := next((answer for answer in response.predictions if answer.error), None):
            status = REFUSED if failed.refused else failed_status([failed])
            told = failure(status, f"prediction {failed.prediction_id} failed: {failed.error}", prediction_id=failed.prediction_id)
            return Reply(told.status, told.body, headers=RETRY if status == AWAY else ())
        found: dict[str, Any] = {
            "predictions": [answer.answer for answer in response.predictions],
            "prediction_ids": [answer.prediction_id for answer in response.predictions],
            "versions": [answer.version for answer in response.predictions],
            "logged": response.logged,
        }
        return Reply(200, encode(found | ({"warnings": response.warnings} if response.warnings else {})))

    def checked(self, endpoint: str, data: bytes, headers: Headers) -> CheckedRequest:
        """A request in any of the forms, read and checked."""
        served = self._protocol.served_by(endpoint)
        kind = next((value for name, value in headers if name == b"content-type"), b"").decode("latin-1").partition(";")[0].strip().lower()
        order = tensor_views.feature_fields(served.stable)
        rows, ids = request_forms.read(data, served.fields, self._most_rows, order=order, csv=kind == CSV)
        if len(rows) > self._most_rows:
            raise InvalidInput(
                f"the request has {len(rows)} rows, at most {self._most_rows} are answered at once; send it in parts", limit=self._most_rows
            )
        return self._core.prepare(endpoint, rows, ids, headers, served=served)

    def _described(self, scope: Scope, endpoint: str) -> dict[str, Any]:
        served = self._protocol.served_by(endpoint)
        row = {name: _example(kind) for name, kind in served.fields.items()}
        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "127.0.0.1")
        example = encode({"rows": [row]}).decode().replace("'", "'\\''")
        return {
            "name": endpoint,
            "model": served.stable.route.model,
            "versions": tensor_views.versions(served),
            "fields": dict(served.fields),
            "row_schema": _row_schema(served),
            "example": {"rows": [row]},
            "curl": f"curl -H 'Authorization: Bearer TOKEN' -H 'Content-Type: application/json' -d '{example}' http://{host}/v1/endpoints/{endpoint}/predict",
        }


def _row_schema(served: LoadedRelease) -> dict[str, Any]:
    fields: Mapping[str, Type] = served.fields
    return {"type": "object", "properties": {name: _schema(kind) for name, kind in fields.items()}, "required": list(fields)}


def _schema(kind: Type) -> Mapping[str, Any]:
    """What JSON a field takes."""
    match family(kind):
        case "list":
            of = list_type(kind)
            bounds = {"maxItems": LONGEST_LIST} if of.length is None else {"minItems": of.length, "maxItems": of.length}
            return {"type": ["array", "null"], "items": {"type": "number" if of.element == "float" else "integer"}, **bounds}
        case "category" if len(texts := domain(kind)) <= MOST_NAMED:
            return {"enum": [*texts, None]}
        case "category":
            return {"type": ["string", "null"], "description": shown_type(kind)}
        case "decimal":
            return {"type": ["string", "number", "null"], "description": f"{kind}: its digits, as a text where a float has not all of them"}
        case plain:
            return _SCHEMAS[plain]


def _example(kind: Type) -> Any:
    match family(kind):
        case "list":
            of = list_type(kind)
            return [_EXAMPLES[of.element]] * (of.length or 2)
        case "category":
            return domain(kind)[0]
        case "decimal":
            return f"{0:.{decimal_type(kind).scale}f}"
        case plain:
            return _EXAMPLES[plain]
