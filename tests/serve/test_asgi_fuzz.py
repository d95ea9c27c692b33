"""Bodies that nobody meant, sent to every route of the prediction port: each is answered, none by a failure inside."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rota.records.limits import MESSAGE
from rota.serve.asgi import PredictionApp, RequestLimits

ODD_TEXTS = ["", "\ud800", "\udfff\ud800", "\x00", "x" * 3_000, "\u202e", "é", "x", "carrier", "UA", "NaN", "1e999", "prediction_ids", "💥"]
ODD_NUMBERS = [
    0,
    -0.0,
    -1,
    2**31,
    2**53,
    2**63 - 1,
    2**63,
    -(2**63) - 1,
    2**64,
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    -float("inf"),
    5e-324,
    True,
]
SCALARS = st.none() | st.sampled_from(ODD_NUMBERS) | st.sampled_from(ODD_TEXTS) | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(ODD_TEXTS), inner, max_size=4), max_leaves=12
)
ROWS = st.lists(st.dictionaries(st.sampled_from(["x", "carrier", *ODD_TEXTS]), VALUES, max_size=4) | VALUES, max_size=4)
FIELDS = st.sampled_from(["x", "carrier"])
GOOD = {"x": st.floats(allow_nan=False, allow_infinity=False), "carrier": st.text()}
SHAPES = st.lists(st.sampled_from([-1, 0, 1, 2, 3, 2**31, 2**63, 10**30]) | SCALARS, max_size=4)
TENSORS = st.fixed_dictionaries(
    {"name": FIELDS | SCALARS, "shape": SHAPES | VALUES, "datatype": st.sampled_from(["FP64", "BYTES", "INT64", "BOOL", "FP16", ""]) | SCALARS},
    optional={"data": st.lists(VALUES, max_size=4) | VALUES, "parameters": VALUES, "contents": VALUES},
)
BODIES = (
    VALUES
    | st.fixed_dictionaries({"rows": ROWS | VALUES}, optional={"ids": st.lists(SCALARS, max_size=4) | VALUES, "more": VALUES})
    | st.fixed_dictionaries(
        {"inputs": st.lists(TENSORS, max_size=3) | VALUES},
        optional={"id": SCALARS, "parameters": st.fixed_dictionaries({"prediction_ids": VALUES}) | VALUES, "outputs": VALUES},
    )
    | st.dictionaries(
        st.sampled_from(["instances", "columns", "inputs", "dataframe_split", "dataframe_records", "params", "ids"]), ROWS | VALUES, max_size=3
    )
    | st.fixed_dictionaries({"entities": st.dictionaries(st.sampled_from(ODD_TEXTS), VALUES) | VALUES}, optional={"features": VALUES})
)
PATHS = [
    "/v1/endpoints/delay/predict",
    "/v2/models/delay/infer",
    "/v2/models/delay/versions/1/infer",
    "/v1/models/delay:predict",
    "/invocations",
    "/v1/endpoints/\ud800/predict",
    "/v2/models/%00/infer",
    "/v2/models//infer",
]


def asked(app: PredictionApp, path: str, body: bytes, *headers: tuple[bytes, bytes]) -> tuple[int, dict[str, Any]]:
    sent: list[Any] = []

    async def ask() -> None:
        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await app({"type": "http", "method": "POST", "path": path, "headers": list(headers)}, receive, send)

    asyncio.run(ask())
    return sent[0]["status"], json.loads(sent[1]["body"]) if sent[0]["status"] != 200 else {}


def asked_status(app: PredictionApp, path: str, body: bytes, *headers: tuple[bytes, bytes]) -> int:
    sent: list[Any] = []

    async def ask() -> None:
        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await app({"type": "http", "method": "POST", "path": path, "headers": list(headers)}, receive, send)

    asyncio.run(ask())
    return int(sent[0]["status"])


@pytest.fixture
def app(world: Any) -> PredictionApp:
    world.serve()
    return PredictionApp(world.core, world.poller, limits=RequestLimits(rows=3))


@given(path=st.sampled_from(PATHS), body=BODIES, cut=st.integers(0, 30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_no_body_makes_the_process_fail(app: PredictionApp, path: str, body: Any, cut: int) -> None:
    encoded = json.dumps(body).encode()
    for data in (encoded, encoded[:-cut] if cut else encoded, encoded.replace(b'"x"', b'"carrier"'), encoded.replace(b"\\u", b"\\x")):
        status, answer = asked(app, path, data)
        assert status in (200, 400, 404, 422), (status, answer)
        assert status == 200 or len(answer["error"]) <= MESSAGE + 100


@given(header=BODIES, raw=st.binary(max_size=60), length=st.integers(-2, 400) | st.sampled_from([b"x", b"", b"1.0", b"9" * 30]), exact=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_no_bytes_behind_json_make_the_process_fail(app: PredictionApp, header: Any, raw: bytes, length: Any, exact: bool) -> None:
    text = json.dumps(header).encode()
    said = b"%d" % len(text) if exact else length if isinstance(length, bytes) else b"%d" % length
    for path in PATHS[1:3]:
        status, answer = asked(app, path, text + raw, (b"inference-header-content-length", said))
        assert status in (200, 400, 404, 422), (status, answer)


BINARY_TENSORS = st.fixed_dictionaries(
    {
        "name": FIELDS,
        "shape": st.lists(st.integers(0, 3), min_size=1, max_size=2),
        "datatype": st.sampled_from(["FP64", "BYTES", "INT64", "FP16", "BOOL"]),
    },
    optional={"parameters": st.fixed_dictionaries({"binary_data_size": st.integers(-1, 40) | st.sampled_from([8, 16, 24])})},
)


@given(inputs=st.lists(BINARY_TENSORS, max_size=2), raw=st.binary(max_size=60), output=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_no_binary_tensor_makes_the_process_fail(app: PredictionApp, inputs: Any, raw: bytes, output: bool) -> None:
    text = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": output}}).encode()
    status = asked_status(app, PATHS[1], text + raw, (b"inference-header-content-length", b"%d" % len(text)))
    assert status in (200, 422), status


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (PATHS[0], b'{"rows":[{"x":1,"carrier":"a"},{"x":NaN,"carrier":"b"}]}', "row 1: field 'x' is NaN"),
        (PATHS[0], b'{"rows":[{"x":-Infinity,"carrier":"a"}]}', "row 0: field 'x' is infinite"),
        (PATHS[0], b'{"rows":[{"x":1e400,"carrier":"a"}]}', "row 0: field 'x' is infinite"),
        (PATHS[1], b'{"inputs":[{"name":"x","shape":[2],"datatype":"FP64","data":[1,NaN]}]}', "row 1: field 'x' is NaN"),
        (PATHS[0], b'{"rows":' + b"[" * 100_000, "the JSON body has 100001 lists and objects, at most 10003"),
        (PATHS[0], b'{"rows":[{"x":' + b"[" * 70 + b"]" * 70 + b"}]}", "more than 64 deep"),
        (PATHS[0], json.dumps({"rows": [{"x": 1.0, "carrier": "a"}] * 4}).encode(), "4 rows, at most 3"),
        (
            PATHS[1],
            json.dumps({"inputs": [{"name": "x", "shape": [4], "datatype": "FP64", "data": [1.0] * 4}]}).encode(),
            "has shape [4], at most 3 rows",
        ),
        (PATHS[0], json.dumps({"rows": [{"x": "y" * 1_000_000, "carrier": "a"}]}).encode(), "row 0: field 'x'"),
    ],
)
def test_what_is_wrong_is_named_and_not_echoed_at_length(app: PredictionApp, path: str, body: bytes, words: str) -> None:
    status, answer = asked(app, path, body)
    assert status in (400, 422)
    assert words in answer["error"]
    assert len(json.dumps(answer)) < 2 * MESSAGE


def test_a_body_packed_in_a_way_that_is_not_read_is_refused_by_its_header(app: PredictionApp) -> None:
    for encoding in (b"br", b"gzip, gzip", b"zstd"):
        status, answer = asked(app, PATHS[0], b"\x1f\x8b", (b"content-encoding", encoding))
        assert (status, "Content-Encoding" in answer["error"]) == (415, True)
