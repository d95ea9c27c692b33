"""Predictions in the forms of other servers: the same answers as the endpoint's own path, the same log, the same refusals."""

import asyncio
import json

import pytest

from rota.records import values
from rota.serve import form_port
from rota.serve.asgi import PredictionApp, RequestLimits

ROWS = [{"x": 1.0, "carrier": "UA"}, {"x": 2.5, "carrier": None}]
SPLIT = {"columns": ["carrier", "x"], "data": [["UA", 1.0], [None, 2.5]]}
COLUMNS = {"x": [1.0, 2.5], "carrier": ["UA", None]}
ANSWERS = [102.0, 102.5]
CSV = (b"content-type", b"text/csv; charset=utf-8")


@pytest.fixture
def port(world):
    world.serve()
    app = PredictionApp(world.core, world.poller, limits=RequestLimits(rows=50))

    def ask(method, path, body=b"", *headers):
        data, sent = body if isinstance(body, bytes) else json.dumps(body).encode(), []

        async def receive():
            return {"type": "http.request", "body": data, "more_body": False}

        async def send(message):
            sent.append(message)

        asyncio.run(app({"type": "http", "method": method, "path": path, "headers": list(headers)}, receive, send))
        return sent[0]["status"], json.loads(sent[1]["body"])

    return ask


@pytest.mark.parametrize("path", ["/v1/models/delay:predict", "/v1/endpoints/delay/invocations", "/invocations"])
@pytest.mark.parametrize(
    "body",
    [
        {"instances": ROWS},
        {"instances": [[1.0, "UA"], [2.5, None]]},
        {"instances": ROWS, "signature_name": "serving_default", "parameters": {}},
        {"inputs": COLUMNS},
        {"columns": COLUMNS},
        {"dataframe_split": SPLIT},
        {"dataframe_split": SPLIT | {"index": [0, 1]}, "params": {}},
        {"dataframe_records": ROWS},
        {"rows": ROWS, "ids": ["p1", "p2"]},
    ],
)
def test_each_form_is_answered_as_the_endpoint_s_own_path(port, world, path, body):
    status, found = port("POST", path, body)
    assert (status, found["predictions"], found["versions"], found["logged"]) == (200, ANSWERS, [1, 1], True), found
    assert sorted(row["prediction_id"] for row in world.log()) == sorted(found["prediction_ids"])


def test_csv_is_read_in_the_types_of_the_fields(port):
    assert port("POST", "/invocations", b"carrier,x\nUA,1\n,2.5\n", CSV)[1]["predictions"] == ANSWERS
    status, refused = port("POST", "/invocations", b"carrier,x\nUA,many\n", CSV)
    assert (status, "column 'x'" in refused["error"]) == (422, True)


@pytest.mark.parametrize("form", [{"columns": COLUMNS}, {"instances": ROWS}])
def test_the_endpoint_s_own_path_takes_columns_and_instances(port, form):
    status, found = port("POST", "/v1/endpoints/delay/predict", form)
    assert (status, [answer["answer"] for answer in found["predictions"]]) == (200, ANSWERS)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 422, "none of the forms"),
        ({"instances": ROWS, "columns": COLUMNS}, 422, "['instances', 'columns'] of the forms"),
        ({"instances": [[1.0]]}, 422, "row 0 has 1 values"),
        ({"instances": [1.0]}, 422, "row 0 has 1 values"),
        ({"columns": {"x": [1.0], "carrier": []}}, 422, "different lengths"),
        ({"dataframe_split": {"columns": ["x"], "data": [[1.0, 2.0]]}}, 422, "row 0 has 2 values"),
        ({"dataframe_records": ROWS, "params": {"temperature": 1}}, 422, "takes no parameters"),
        ({"instances": [{"x": 1.0}]}, 422, "lacks the field 'carrier'"),
        ({"instances": ROWS * 26}, 422, "52 rows, at most 50"),
        ({"instances": [{"x": -555.0, "carrier": "UA"}]}, 422, "that x is not taken"),
        ({"instances": [{"x": -999.0, "carrier": "UA"}]}, 500, "the model answered nan"),
        ({"instance": ROWS}, 422, "instance"),
        (b"{", 400, "not JSON"),
    ],
)
def test_what_does_not_fit_is_refused(port, body, status, words):
    found = port("POST", "/v1/models/delay:predict", body)
    assert (found[0], words in found[1]["error"]) == (status, True), found


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/invocations", 405),
        ("GET", "/v1/models/delay:predict", 405),
        ("POST", "/v1/models/nowhere:predict", 404),
        ("GET", "/v1/models/nowhere", 404),
        ("GET", "/v1/endpoints/nowhere", 404),
        ("POST", "/v1/models/delay", 405),
        ("GET", "/v1/models/delay", 200),
        ("GET", "/v1/models", 404),
        ("GET", "/v1/endpoints/delay/nothing", 404),
    ],
)
def test_paths_and_methods(port, method, path, status):
    assert port(method, path, {"instances": ROWS})[0] == status


def test_invocations_need_one_endpoint(port, world):
    world.serve(endpoint="second")
    status, found = port("POST", "/invocations", {"instances": ROWS})
    assert (status, "['delay', 'second']" in found["error"]) == (422, True)


def test_an_endpoint_says_what_it_takes_and_how_to_ask(port):
    found = port("GET", "/v1/endpoints/delay", b"", (b"host", b"localhost:7683"))[1]
    assert found["fields"] == {"x": "float", "carrier": "string"}
    assert found["row_schema"]["required"] == list(found["fields"])
    assert port("POST", "/v1/endpoints/delay/predict", found["example"])[0] == 200
    assert found["curl"].endswith("http://localhost:7683/v1/endpoints/delay/predict")
    assert port("GET", "/v1/endpoints")[1]["endpoints"][0]["name"] == "delay"


@pytest.mark.parametrize("kind", ["float", "timestamp", "float[3]", "int[]", 'category["a","b"]', "decimal(6,2)", "bytes", "blob"])
def test_the_example_of_every_type_is_a_value_of_it(kind):
    assert values.coerce(kind, form_port._example(kind)) is not None
    assert form_port._schema(kind)
