"""The OpenAPI document of the prediction port: each path it names is answered, each served path is named, and answers are as it says."""

import ast
import asyncio
import inspect
import itertools
import json
import textwrap
from typing import Any

import msgspec
import pytest

from rota.http_status import TABLE
from rota.serve import open_inference_port
from rota.serve.asgi import PredictionApp
from rota.serve.form_port import FormPort
from rota.serve.port_description import ERRORS, PATH, document
from rota.serve.repository_port import RepositoryPort

ROW = {"x": 1.0, "carrier": "UA"}
TENSORS = {
    "inputs": [
        {"name": "x", "shape": [1], "datatype": "FP64", "data": [1.0]},
        {"name": "carrier", "shape": [1], "datatype": "BYTES", "data": ["UA"]},
    ]
}


class Features:
    """Features of nobody."""

    def get_online_features(self, features: Any, entity_rows: Any, *, full_feature_names: bool) -> Any:
        return Nothing()


class Nothing:
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return 0

    def columns(self) -> list[Any]:
        return []


@pytest.fixture
def ask(world):
    world.serve()
    app = PredictionApp(world.core, world.poller, features=Features(), version="1.2")

    def ask(method: str, path: str, body: object = None) -> tuple[int, str, Any]:
        data, sent = b"" if body is None else json.dumps(body).encode(), []

        async def receive():
            return {"type": "http.request", "body": data, "more_body": False}

        async def send(message):
            sent.append(message)

        asyncio.run(app({"type": "http", "method": method, "path": path, "headers": []}, receive, send))
        kind = dict(sent[0]["headers"])[b"content-type"].decode().partition(";")[0]
        return sent[0]["status"], kind, json.loads(sent[1]["body"]) if kind == "application/json" else sent[1]["body"].decode()

    return ask


def fault(schema: Any, value: Any, schemas: dict[str, Any]) -> str:
    """Where a value is not as a schema says; "" when it is. Only what our schemas use."""
    if "$ref" in schema:
        return fault(schemas[schema["$ref"].rpartition("/")[2]], value, schemas)
    if "anyOf" in schema:
        faults = [fault(each, value, schemas) for each in schema["anyOf"]]
        return "" if "" in faults else " and ".join(faults)
    kinds = {"string": str, "boolean": bool, "integer": int, "number": int | float, "object": dict, "array": list, "null": type(None)}
    if "type" in schema and not isinstance(value, kinds[schema["type"]]):
        return f"{value!r} is no {schema['type']}"
    if isinstance(value, dict):
        lacking = set(schema.get("required", ())) - value.keys()
        nested = (fault(schema.get("properties", {}).get(name, {}), each, schemas) for name, each in value.items())
        return f"lacks {lacking}" if lacking else next((each for each in nested if each), "")
    if isinstance(value, list):
        return next((each for each in (fault(schema.get("items", {}), item, schemas) for item in value) if each), "")
    return ""


def requests() -> list[tuple[str, str]]:
    return [(method, path) for path, item in document("1", with_features=True)["paths"].items() for method in item if method != "parameters"]


@pytest.mark.parametrize(("method", "path"), requests())
def test_each_path_that_is_named_is_answered_as_it_says(ask, method, path):
    bodies = {
        "predict": {"rows": [ROW]},
        "infer": TENSORS,
        "invocations": {"dataframe_records": [ROW]},
        "{name}:predict": {"instances": [ROW]},
        "get-online-features": {"features": ["v:f"], "entities": {"k": []}},
    }
    described = ask("GET", PATH)[2]
    operation = described["paths"][path][method]
    filled = path.replace("{name}", "delay").replace("{version}", "1")
    status, kind, answer = ask(method.upper(), filled, bodies.get(path.rpartition("/")[2]))
    governed = path.endswith("load") or (method, path) == ("post", "/v2/logging")  # never at a port without tokens
    assert status == (403 if governed else 200), answer
    assert fault(operation["responses"][str(status)]["content"][kind]["schema"], answer, described["components"]["schemas"]) == ""
    status, kind, answer = ask("DELETE", filled)
    assert fault(operation["responses"][str(status)]["content"][kind]["schema"], answer, described["components"]["schemas"]) == ""
    assert status == 405


def served_paths() -> set[str]:
    """What the `case` patterns of the port take."""
    found = {"/" + "/".join(parts) for parts in open_inference_port._OWN} | {"/v1/models/{name}:predict"}  # told apart by a guard
    for part in (PredictionApp, FormPort, open_inference_port._model_path, RepositoryPort):
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(part)))):
            if isinstance(node, ast.MatchSequence) and not any(isinstance(each, ast.MatchStar) for each in node.patterns):
                found |= {"/" + "/".join(parts) for parts in itertools.product(*map(texts, node.patterns))}
    return found


def texts(pattern: ast.pattern) -> list[str]:
    if isinstance(pattern, ast.MatchOr):
        return [text for each in pattern.patterns for text in texts(each)]
    if isinstance(pattern, ast.MatchAs):
        return texts(pattern.pattern) if pattern.pattern is not None else ["{version}" if pattern.name == "version" else "{name}"]
    return [pattern.value.value] if isinstance(pattern, ast.MatchValue) and isinstance(pattern.value, ast.Constant) else ["{name}"]


def test_each_path_that_is_served_is_named():
    assert served_paths() == set(document("1", with_features=True)["paths"])
    without = set(document("1", with_features=False)["paths"])
    assert served_paths() - without == {"/get-online-features"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/endpoints/delay/predict", {"rows": [{}]}),
        ("/v1/endpoints/delay/predict", {"row": []}),
        ("/v1/endpoints/nix/predict", {"rows": []}),
        ("/v2/models/delay/infer", {"inputs": []}),
        ("/get-online-features", {"entities": {}}),
    ],
)
def test_refusals_are_as_described(ask, path, body):
    described = ask("GET", PATH)[2]
    status, kind, answer = ask("POST", path, body)
    template = path.replace("delay", "{name}").replace("nix", "{name}")
    schema = described["paths"][template]["post"]["responses"][str(status)]["content"][kind]["schema"]
    assert fault(schema, answer, described["components"]["schemas"]) == ""
    assert status in (404, 422)


def test_every_status_of_an_error_is_described_and_every_reference_leads_somewhere():
    described = document("1", with_features=False)
    assert {status for status, _ in TABLE.values()} <= ERRORS.keys()
    text = msgspec.json.encode(described).decode()
    named = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert named <= described["components"]["schemas"].keys()
    assert "delay" not in text
    ids = [operation["operationId"] for item in described["paths"].values() for verb, operation in item.items() if verb != "parameters"]
    assert len(ids) == len(set(ids))
