"""The prediction port described in OpenAPI 3.1: its paths with their bodies, answers and errors. It names no endpoint, so that it is open.

The bodies that are decoded and the answers that are records are described from their types, so that these cannot differ.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from rota.serve.feature_requests import FeatureRequest
from rota.serve.inference_protocol import InferRequest
from rota.serve.predicting import PredictRequest, PredictResponse
from rota.serve.request_forms import FormRequest
from rota.serve.tensors import Tensor

PATH = "/openapi.json"
ERRORS: Mapping[int, str] = {
    400: "The body is not JSON, or was not sent whole.",
    401: "A token is needed, or the one that was sent opens nothing here.",
    403: "The token may not do this, or a page of another site asks.",
    404: "There is no such endpoint, or nothing at this path.",
    405: "The path takes another method; Allow names it.",
    409: "What is asked for contradicts what is stored.",
    413: "The body is larger than this process takes.",
    415: "The body is packed in a way that is not read, or has a type that the path does not take.",
    421: "The Host header names another server.",
    408: "The body did not arrive in time.",
    422: "The body does not fit; the sentence names row, field and value.",
    429: "Too many requests wait on this connection.",
    431: "The headers are too long, or too many.",
    500: "It failed inside; the process's log says why.",
    503: "Not now: the endpoint is not served yet, or too much is being answered. Retry-After tells when to ask again.",
    504: "The model did not answer in time.",
}
"""Every status of an error on this port, and what it means."""
_EVERYWHERE = (405, 421, 429, 431, 500)
_ASKED = (400, 401, 403, 404, 408, 409, 413, 415, 422, 503, 504)
_OF_ENDPOINT = (401, 403, 404, 503)
_OPEN: Sequence[Any] = [{}]
_ENDPOINT = {"name": "name", "in": "path", "required": True, "description": "The endpoint's name.", "schema": {"type": "string"}}
_VERSION = {"name": "version", "in": "path", "required": True, "description": "A model version that answers.", "schema": {"type": "string"}}
_HEADER_LENGTH = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "description": "How many bytes of the body are JSON; the rest are tensors in their order.",
    "schema": {"type": "integer", "minimum": 0},
}
_TEXT, _FLAG, _OBJECT = {"type": "string"}, {"type": "boolean"}, {"type": "object"}


def document(version: str, *, with_features: bool) -> dict[str, Any]:
    """The OpenAPI document of a process of this Rota version; without online features it answers one path less."""
    bodies = [PredictRequest, PredictResponse, InferRequest, Tensor, FormRequest, *([FeatureRequest] if with_features else [])]
    _, schemas = msgspec.json.schema_components(bodies, ref_template="#/components/schemas/{name}")
    return {
        "openapi": "3.1.0",
        "info": {"title": "Rota prediction port", "version": version, "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"}},
        "paths": _paths(with_features=with_features),
        "components": {
            "schemas": {**schemas, **_SCHEMAS},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "Made by `rota token create`."}},
        },
        "security": [{"token": []}],
    }


def _paths(*, with_features: bool) -> dict[str, Any]:
    predict, features = _ref("PredictResponse"), _ref("OnlineFeatures")
    all_failed = {500: {"anyOf": [_ref("Error"), predict]}}
    paths: dict[str, dict[str, Any]] = {
        "/v1/endpoints/{name}/predict": {
            "post": _operation("predict", "Predictions of rows.", predict, _ASKED, body="PredictRequest", answers=all_failed)
        },
        "/v1/endpoints": {
            "get": _operation("endpoints", "What the endpoints that the token may ask take.", _object(endpoints=_list(_ref("Asked"))), (401,))
        },
        "/v1/endpoints/{name}": {"get": _operation("endpoint", "Fields, schema of a row, example, curl.", _ref("Asked"), _OF_ENDPOINT)},
        "/v1/endpoints/{name}/invocations": {"post": _forms("invocations_of_endpoint")},
        "/invocations": {"post": _forms("invocations")},
        "/v1/models/{name}": {"get": _operation("v1_ready", "Readiness, as KServe's V1 has it.", _object(name=_TEXT, ready=_FLAG), _OF_ENDPOINT)},
        "/v1/models/{name}:predict": {"post": _forms("v1_predict")},
        "/v2": {"get": _operation("server_metadata", "The server's metadata.", _ref("ServerMetadata"), (), is_open=True)},
        "/v2/health/live": {"get": _operation("live", "Whether the process answers.", _object(live=_FLAG), (), is_open=True)},
        "/v2/health/ready": {"get": _operation("ready", "Whether every endpoint is served as it should be.", _ref("Ready"), (503,), is_open=True)},
        "/v2/models": {"get": _operation("models", "The endpoints that the token may ask.", _object(models=_list(_TEXT)), (401,))},
        "/v2/models/stats": {"get": _operation("all_statistics", "Statistics of all endpoints, in Triton's form.", _ref("Statistics"), (401,))},
        **_of_models("/v2/models/{name}", "model_"),
        **_of_models("/v2/models/{name}/versions/{version}", "version_"),
        "/v2/repository/index": {
            "post": _operation("repository_index", "What is served in which state.", _list(_ref("Indexed")), _ASKED, body="RepositoryRequest")
        },
        "/v2/repository/models/{name}/load": {
            "post": _operation("load", "Serve an endpoint that was unloaded.", _OBJECT, _ASKED, body="RepositoryRequest")
        },
        "/v2/repository/models/{name}/unload": {
            "post": _operation("unload", "Take an endpoint out of serving.", _OBJECT, _ASKED, body="RepositoryRequest")
        },
        "/v2/logging": {
            "get": _operation("log_settings", "What prediction processes write to their logs.", _ref("LogSettings"), (401, 403)),
            "post": _operation("set_log", "Set it.", _ref("LogSettings"), _ASKED, body="LogSettings"),
        },
        "/get-online-features": {
            "post": _operation("get_online_features", "Online features, in Feast's wire shape.", features, _ASKED, body="FeatureRequest")
        },
        "/metrics": {"get": _metrics()},
        PATH: {"get": _operation("openapi", "This document.", _OBJECT, (), is_open=True)},
    }
    for path, operations in paths.items():
        named = [each for each in (_ENDPOINT, _VERSION) if f"{{{each['name']}}}" in path]
        if named:
            operations["parameters"] = named + ([_HEADER_LENGTH] if path.endswith("/infer") else [])
    return paths if with_features else {path: operations for path, operations in paths.items() if path != "/get-online-features"}


def _forms(id: str) -> dict[str, Any]:
    """A path that takes rows in the forms of other servers."""
    operation = _operation(id, "Predictions of instances, columns, frames, or CSV.", _ref("FormAnswers"), _ASKED, body="FormRequest")
    operation["requestBody"]["content"]["text/csv"] = {"schema": _TEXT}
    return operation


def _of_models(path: str, id: str) -> dict[str, dict[str, Any]]:
    """The paths of an endpoint, or of one of its versions."""
    ready = _object(name=_TEXT, ready=_FLAG)
    infer = _operation(f"{id.removeprefix('model_')}infer", "Predictions of tensors.", _ref("InferResponse"), _ASKED, body="InferRequest")
    infer["requestBody"]["content"]["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    infer["responses"]["200"]["content"]["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    return {
        path: {"get": _operation(f"{id}metadata", "Versions and tensors.", _ref("ModelMetadata"), _OF_ENDPOINT)},
        f"{path}/ready": {"get": _operation(f"{id}ready", "Whether it is served as it should be.", ready, _OF_ENDPOINT)},
        f"{path}/config": {"get": _operation(f"{id}config", "The configuration in Triton's form.", _ref("ModelConfig"), _OF_ENDPOINT)},
        f"{path}/stats": {"get": _operation(f"{id}statistics", "Statistics in Triton's form.", _ref("Statistics"), _OF_ENDPOINT)},
        f"{path}/infer": {"post": infer},
    }


def _operation(
    id: str,
    summary: str,
    answer: Mapping[str, Any],
    errors: Sequence[int],
    *,
    body: str = "",
    is_open: bool = False,
    answers: Mapping[int, Any] | None = None,
) -> dict[str, Any]:
    schemas = {status: _ref("Error") for status in sorted((*errors, *_EVERYWHERE))} | dict(answers or {})
    operation: dict[str, Any] = {
        "operationId": id,
        "summary": summary,
        "responses": {"200": _response("The answer.", answer)} | {str(status): _response(ERRORS[status], schemas[status]) for status in schemas},
    }
    if body:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(body)}}}
    if is_open:
        operation["security"] = _OPEN
    return operation


def _metrics() -> dict[str, Any]:
    operation = _operation("metrics", "Prometheus metrics: sums; by endpoint and version for a token that may read monitoring.", _TEXT, ())
    operation["responses"]["200"] = {"description": "Prometheus text, version 0.0.4.", "content": {"text/plain": {"schema": _TEXT}}}
    return operation | {"security": [{}, {"token": []}]}


def _response(what: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": what, "content": {"application/json": {"schema": schema}}}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(of: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": of}


_TENSOR_METADATA = _object(name=_TEXT, datatype=_TEXT, shape=_list({"type": "integer"}))
_SCHEMAS: Mapping[str, Any] = {
    "Error": _object(error={"type": "string", "description": "A sentence that says what happened and what to do."}, facts=_OBJECT)
    | {"description": "Where a model took none of the rows it has `predictions`, `logged` and `warnings` too, as in PredictResponse."},
    "ServerMetadata": _object(name=_TEXT, version=_TEXT, extensions=_list(_TEXT)),
    "Ready": _object(ready=_FLAG) | {"description": "With warnings while the newest releases cannot be read."},
    "ModelMetadata": _object(name=_TEXT, versions=_list(_TEXT), platform=_TEXT, inputs=_list(_TENSOR_METADATA), outputs=_list(_TENSOR_METADATA)),
    "InferResponse": _object(model_name=_TEXT, model_version=_TEXT, id=_TEXT, outputs=_list(_ref("Tensor")), parameters=_OBJECT),
    "Asked": _object(name=_TEXT, model=_TEXT, versions=_list(_TEXT), fields=_OBJECT, row_schema=_OBJECT, example=_OBJECT, curl=_TEXT),
    "FormAnswers": _object(predictions=_list({}), prediction_ids=_list(_TEXT), versions=_list({"type": "integer"}), logged=_FLAG),
    "ModelConfig": _object(
        name=_TEXT, platform=_TEXT, backend=_TEXT, max_batch_size={"type": "integer"}, input=_list(_OBJECT), output=_list(_OBJECT)
    ),
    "Statistics": _object(model_stats=_list(_object(name=_TEXT, version=_TEXT, inference_count={"type": "integer"}, inference_stats=_OBJECT))),
    "Indexed": _object(name=_TEXT, version=_TEXT, state={"type": "string", "enum": ["READY", "LOADING", "UNAVAILABLE"]}, reason=_TEXT),
    "RepositoryRequest": {"type": "object", "properties": {"ready": _FLAG, "parameters": _OBJECT}},
    "LogSettings": {
        "type": "object",
        "properties": {
            "log_file": {"const": ""},
            "log_info": _FLAG,
            "log_warning": _FLAG,
            "log_error": _FLAG,
            "log_verbose_level": {"type": "integer"},
            "log_format": {"const": "default"},
        },
        "additionalProperties": False,
    },
    "OnlineFeatures": _object(
        metadata=_object(feature_names=_list(_TEXT)), results=_list(_object(values=_list({}), statuses=_list(_TEXT), event_timestamps=_list(_TEXT)))
    ),
}
