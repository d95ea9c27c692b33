"""The OpenAPI of the control plane: what FastAPI knows of the routes, their bodies, every status that one can answer, and one shape of errors."""

import re
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from rota.records.text_limits import OWN
from rota.server import mlflow
from rota.server.access.permissions import body_of, is_open, routes_of
from rota.server.mlflow.wire import MlflowRequest

REFUSALS = {
    400: "What was sent cannot be read: the request, its length or its JSON",
    401: "No token, or one that opens nothing (any more)",
    403: "The role lacks the permission, or a gate, a policy or the state of the thing forbids the act",
    404: "The named thing does not exist",
    405: "The path takes another method",
    408: "The request did not arrive in time",
    409: "Somebody else changed or created the thing first",
    413: "The body is larger than max_request_mb or max_artifact_mb",
    414: "The address is longer than max_header_kb",
    415: "The body is packed; it is taken as it is only",
    421: "The host is none of this control plane's names",
    422: "A value does not fit; the message names it, and what is expected",
    429: "Too many requests wait on one connection",
    431: "The headers are longer than max_header_kb, or too many",
    500: "Stored bytes are damaged, or the request failed inside",
    503: "An engine did not answer, or too many connections are open: try again",
}
_ERROR = {
    "type": "object",
    "required": ["error", "facts"],
    "properties": {
        "error": {"type": "string", "description": "A sentence for people: which thing, the value seen, what was expected, what to do next"},
        "facts": {"type": "object", "description": "The names and values of the sentence", "additionalProperties": True},
    },
}
_MLFLOW_ERROR = {
    "type": "object",
    "required": ["error_code", "message"],
    "properties": {"error_code": {"type": "string"}, "message": {"type": "string"}},
}
_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
_REFERENCE = "#/components/schemas/{name}"


def described(app: FastAPI) -> dict[str, Any]:
    """The whole description, made once."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    routes = [route for route in routes_of(app.routes) if route.include_in_schema]
    made = get_openapi(title=app.title, version="1", routes=app.routes)
    shapes = list({shape for route in routes if (shape := body_of(route)) is not None})
    schemas, components = msgspec.json.schema_components(shapes, ref_template=_REFERENCE)
    for name in msgspec.json.schema_components([each for each in shapes if not issubclass(each, MlflowRequest)], ref_template=_REFERENCE)[1]:
        for field, about in components[name].get("properties", {}).items():
            _bound(field, about)
    by_shape = dict(zip(shapes, schemas, strict=True))
    for route in routes:
        for method in route.methods or ():
            operation = made["paths"][_path(route)][method.lower()]
            shape = body_of(route)
            if shape is not None:
                _add_body(operation, method, route, shape, by_shape[shape], components)
            _add_refusals(operation, is_mlflow=route.path.startswith(mlflow.PREFIXES), is_open=is_open(route))
    known = made.setdefault("components", {}).setdefault("schemas", {})
    known |= components | {"Error": _ERROR, "MlflowError": _MLFLOW_ERROR}
    for unused in ("HTTPValidationError", "ValidationError"):
        known.pop(unused, None)
    made["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    made["security"] = [{"token": []}]
    app.openapi_schema = made
    return made


def _path(route: APIRoute) -> str:
    return _PARAMETER.sub(r"{\1}", route.path)


def _add_body(operation: dict[str, Any], method: str, route: APIRoute, shape: type[Any], schema: dict[str, Any], components: dict[str, Any]) -> None:
    """The body of a route; MLflow's GET routes read the same fields from the address, and those of a path from there."""
    if not route.path.startswith(mlflow.PREFIXES):
        required = any(each.required for each in msgspec.structs.fields(shape))
        operation["requestBody"] = {"required": required, "content": {"application/json": {"schema": schema}}}
        return
    in_path = _PARAMETER.findall(route.path)
    properties = components[schema["$ref"].rpartition("/")[2]]["properties"]
    operation["parameters"] = [_parameter(name, properties.get(name, {"type": "string"}), "path") for name in in_path]
    if method == "GET":
        needed = {each.name for each in msgspec.structs.fields(shape) if each.required}
        operation["parameters"] += [
            _parameter(name, about, "query", required=name in needed) for name, about in properties.items() if name not in in_path
        ]
    else:
        reduced = {name: about for name, about in properties.items() if name not in in_path}
        body = schema if not in_path else {"type": "object", "properties": reduced}
        operation["requestBody"] = {"content": {"application/json": {"schema": body}}}


def _bound(field: str, schema: dict[str, Any]) -> None:
    """Say how long the texts of a field are, and how many entries it has; lists of rows are bounded by max_request_rows."""
    if schema.get("type") == "string" and "enum" not in schema and OWN.longest(field):
        schema.setdefault("maxLength", OWN.longest(field))
    if schema.get("type") == "array" and schema.get("items", {}).get("type") != "object" and OWN.most(field):
        schema.setdefault("maxItems", OWN.most(field))
    if schema.get("type") == "object" and "additionalProperties" in schema:
        schema.setdefault("maxProperties", OWN.most(field))
    for each in (*schema.get("anyOf", ()), schema.get("items"), schema.get("additionalProperties")):
        if isinstance(each, dict):
            _bound(field, each)


def _parameter(name: str, schema: dict[str, Any], place: str, *, required: bool = True) -> dict[str, Any]:
    return {"name": name, "in": place, "required": required, "schema": schema}


def _add_refusals(operation: dict[str, Any], *, is_mlflow: bool, is_open: bool) -> None:
    error = {"$ref": _REFERENCE.format(name="MlflowError" if is_mlflow else "Error")}
    if is_open:
        operation["security"] = []
    for status, why in REFUSALS.items():
        operation["responses"][str(status)] = {"description": why, "content": {"application/json": {"schema": error}}}
