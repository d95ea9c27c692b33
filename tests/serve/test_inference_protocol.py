"""The Open Inference Protocol in full: tensors of each datatype as JSON and bytes, versions, what describes a model, the repository, refusals."""

import asyncio
import gzip
import json
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.errors import InvalidInput
from rota.manage.access import tokens
from rota.records.data import Feature, FeatureService, OnDemandFeatureView
from rota.records.model import ModelBundle, ModelTensor, Transformation, TransformedColumn
from rota.records.record import encode
from rota.records.release import Route, Serving, ServingLogLevel, Unloaded
from rota.serve import model_repository
from rota.serve.asgi import PredictionApp, RequestLimits
from rota.serve.port_access import PortAccess
from rota.serve.prediction_tokens import PredictionTokens, TokenSource
from rota.serve.release_poller import OpenedFeatures, ReleasePoller
from rota.serve.tensors import FLOATS, INTEGERS, NUMPY, Tensor, as_bytes, values, values_in

HEADER = b"inference-header-content-length"
INFER = "/v2/models/sum/infer"
NAMES = ("x0", "x1", "x2", "x3")
SERVICE = FeatureService("sum", [OnDemandFeatureView("request", dict.fromkeys(NAMES, "float"), {name: Feature(name) for name in NAMES})])
OWNER = "rota_" + "o" * 43


class Vectors:
    """Features that are the request's fields as they are."""

    waits = False
    warnings: tuple[str, ...] = ()

    def look_up(self, rows, _now_us):
        return [{f"request__{name}": row[name] for name in NAMES} for row in rows], self

    def reasons(self):
        return {}


class Port:
    """An endpoint `sum` of a model that was registered as a tensor: version n answers 100 n + the sum, version 2 only when it is asked for."""

    def __init__(self, world, *, tokens_of=None, **limits):
        self.world = world
        source = replace(world.model_source, source_of=lambda _service: OpenedFeatures(Vectors()))
        self.poller = ReleasePoller(world.core, source, clock=world.clock, process="host-0", retry_s=0.0, poll_s=0.005)
        world.release(self.route(1), self.route(2, "canary", 0), endpoint="sum")
        self.poller.poll()
        access = PortAccess(tokens=tokens_of) if tokens_of else PortAccess()
        self.app = PredictionApp(world.core, self.poller, version="1.2", access=access, limits=RequestLimits(**limits))

    def route(self, number, role="stable", weight=100):
        blob = self.world.blobs.put(json.dumps({"offset": 100.0 * number}).encode())
        bundle = ModelBundle(
            "sum",
            "linear",
            blob,
            "regression",
            SERVICE,
            Transformation(tuple(TransformedColumn(f"request__{name}", "float") for name in NAMES)),
            (),
            (),
            input_tensors=(ModelTensor("input-0", "FP32", (-1, 4)),),
            output_tensor=ModelTensor("y", "FP32", (-1, 1)),
        )
        return Route("sum", number, self.world.blobs.put(encode(bundle)), role, weight)

    def __call__(self, method, path, body=b"", *headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = []

        async def receive():
            return {"type": "http.request", "body": data, "more_body": False}

        async def send(message):
            sent.append(message)

        asyncio.run(self.app({"type": "http", "method": method, "path": path, "headers": list(headers)}, receive, send))
        return Answer(sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"])


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)


@pytest.fixture
def port(world):
    return Port(world)


def tensor(data, *, name="input-0", shape=(1, 4), datatype="FP32", **more):
    return {"name": name, "shape": list(shape), "datatype": datatype, "data": data} | more


def asked(*inputs, **more):
    return {"inputs": list(inputs), **more}


def binary(header, *parts):
    text = json.dumps(header).encode()
    return text + b"".join(parts), (HEADER, b"%d" % len(text))


ONE = tensor([1.0, 2.0, 3.0, 4.0])


def test_a_model_of_tensors_is_described_by_its_own_names_datatypes_and_shapes(port):
    assert port("GET", "/v2/models/sum").json == {
        "name": "sum",
        "versions": ["1", "2"],
        "platform": "rota_linear",
        "inputs": [{"name": "input-0", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 1], "parameters": {"problem": "regression"}}],
    }
    config = port("GET", "/v2/models/sum/config").json
    assert config["input"] == [{"name": "input-0", "data_type": "TYPE_FP32", "dims": [-1, 4]}]
    assert (config["version_policy"], config["max_batch_size"]) == ({"specific": {"versions": [1, 2]}}, 0)
    assert port("GET", "/v2/models").json == {"models": ["sum"]}


@pytest.mark.parametrize("data", [[1.0, 2.0, 3.0, 4.0], [[1.0, 2.0, 3.0, 4.0]], [1, 2, 3, 4], [[1, 2, 3, 4]]])
def test_data_is_nested_or_flat(port, data):
    reply = port("POST", INFER, asked(tensor(data), id="r1"))
    assert reply.status == 200, reply.body
    assert (reply.json["id"], reply.json["model_name"], reply.json["model_version"]) == ("r1", "sum", "1")
    assert reply.json["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [1, 1], "data": [110.0]}]


def test_a_model_of_tensors_is_asked_by_columns_too(port):
    columns = [tensor([float(n)], name=name, shape=[1], datatype="FP64") for n, name in enumerate(NAMES, 1)]
    assert port("POST", INFER, asked(*columns)).json["outputs"][0]["data"] == [110.0]


@pytest.mark.parametrize("datatype", [*FLOATS, *INTEGERS])
def test_bytes_and_json_of_each_datatype_are_the_same_request(port, datatype):
    cells = [[1, 2, 3, 4], [5, 6, 7, 8]]
    raw = np.array(cells, NUMPY[datatype]).tobytes()
    body, header = binary(asked({"name": "input-0", "shape": [2, 4], "datatype": datatype, "parameters": {"binary_data_size": len(raw)}}), raw)
    by_bytes = port("POST", INFER, body, header)
    by_json = port("POST", INFER, asked(tensor(cells, shape=[2, 4], datatype=datatype)))
    assert by_bytes.json["outputs"] == by_json.json["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [2, 1], "data": [110.0, 126.0]}]


def test_a_float32_is_the_same_number_in_json_and_in_bytes(port):
    raw = np.array([0.1, 0, 0, 0], "<f4").tobytes()
    body, header = binary(asked({"name": "input-0", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}}), raw)
    port("POST", INFER, body, header)
    port("POST", INFER, asked(tensor([0.1, 0, 0, 0])))
    assert [row["request"]["x0"] if isinstance(row["request"], dict) else json.loads(row["request"])["x0"] for row in port.world.log("sum")] == [
        float(np.float32(0.1))
    ] * 2


@pytest.mark.parametrize("options", [{"parameters": {"binary_data_output": True}}, {"outputs": [{"name": "y", "parameters": {"binary_data": True}}]}])
def test_outputs_are_answered_as_bytes_when_they_are_asked_for_so(port, options):
    reply = port("POST", INFER, asked(tensor([[1, 2, 3, 4], [0, 0, 0, 1]], shape=[2, 4]), **options))
    length = int(reply.headers[HEADER])
    header = json.loads(reply.body[:length])
    assert reply.headers[b"content-type"] == b"application/octet-stream"
    assert header["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [2, 1], "parameters": {"binary_data_size": 8}}]
    assert np.frombuffer(reply.body[length:], "<f4").tolist() == [110.0, 101.0]


def test_an_output_of_its_own_says_more_than_the_request(port):
    options = {"parameters": {"binary_data_output": True}, "outputs": [{"name": "y", "parameters": {"binary_data": False}}]}
    reply = port("POST", INFER, asked(ONE, **options))
    assert HEADER not in reply.headers
    assert reply.json["outputs"][0]["data"] == [110.0]


def test_a_body_of_bytes_alone_is_the_only_input(port):
    raw = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], "<f4").tobytes()
    assert port("POST", INFER, raw, (HEADER, b"0"), (b"content-type", b"application/octet-stream")).json["outputs"][0]["data"] == [110.0, 126.0]


def test_parameters_are_returned_and_ids_of_predictions_are_taken(port):
    reply = port("POST", INFER, asked(ONE, id="7", parameters={"prediction_ids": ["p1"], "priority": 3, "who": "me", "binary_data_output": False}))
    assert reply.json["parameters"] == {"priority": 3, "who": "me", "prediction_ids": ["p1"], "versions": [1], "logged": True}
    assert [row["prediction_id"] for row in port.world.log("sum")] == ["p1"]


def test_a_version_answers_alone_when_it_is_named(port):
    assert port("POST", "/v2/models/sum/versions/2/infer", asked(ONE)).json["outputs"][0]["data"] == [210.0]
    assert port("POST", "/v2/models/sum/versions/1/infer", asked(ONE)).json["model_version"] == "1"
    assert sorted(row["number"] for row in port.world.log("sum")) == [1, 2]
    for path in ("", "/ready", "/config", "/stats"):
        assert port("GET", f"/v2/models/sum/versions/2{path}").status == 200
        for version in ("3", "0", "-1", "1.0", "latest", "²", "9" * 40):
            assert port("GET", f"/v2/models/sum/versions/{version}{path}").status == 404


def test_a_version_that_was_named_and_fails_is_not_covered_by_another(port):
    refused = port("POST", "/v2/models/sum/versions/2/infer", asked(tensor([-666, 0, 0, 0])))
    assert (refused.status, "broke" in refused.json["error"]) == (500, True)


def test_statistics_count_rows_by_version(port):
    for version, rows in (("1", 3), ("2", 1)):
        port("POST", f"/v2/models/sum/versions/{version}/infer", asked(tensor([0.0] * 4 * rows, shape=[rows, 4])))
    port("POST", "/v2/models/sum/versions/2/infer", asked(tensor([-666, 0, 0, 0])))
    first, second = port("GET", "/v2/models/sum/stats").json["model_stats"]
    assert (first["inference_count"], first["execution_count"], first["inference_stats"]["fail"]["count"]) == (3, 3, 0)
    assert (second["inference_count"], second["inference_stats"]["fail"]["count"]) == (1, 1)
    assert second["last_inference"] == port.world.clock.now_us() // 1_000
    assert port("GET", "/v2/models/stats").json["model_stats"] == [first, second]


@pytest.mark.parametrize(
    ("encoding", "pack"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress), (b"deflate", lambda body: zlib.compress(body)[2:-4])]
)
def test_bodies_and_answers_are_packed(port, encoding, pack):
    body = json.dumps(asked(tensor([[1, 2, 3, 4]] * 500, shape=[500, 4]))).encode()
    reply = port("POST", INFER, pack(body), (b"content-encoding", encoding), (b"accept-encoding", encoding))
    assert reply.headers[b"content-encoding"] == encoding
    found = json.loads(gzip.decompress(reply.body) if encoding == b"gzip" else zlib.decompress(reply.body))
    assert found["outputs"][0]["data"] == [110.0] * 500
    plain = port("POST", INFER, body, (b"accept-encoding", encoding + b";q=0, br"))
    assert b"content-encoding" not in plain.headers


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (gzip.compress(b" " * 1_000_001), 413, "larger than 1000000 bytes"),
        (gzip.compress(json.dumps(asked(ONE)).encode())[:-9], 400, "ends too early"),
        (gzip.compress(b"{}") + b"more", 400, "more follows"),
        (b"\x1f\x8bnothing", 400, "cannot be unpacked"),
        (b"", 400, "ends too early"),
    ],
    ids=["too large", "cut off", "more behind it", "no gzip", "empty"],
)
def test_a_packed_body_is_held_to_the_same_size_and_must_be_whole(world, body, status, words):
    reply = Port(world, body_bytes=1_000_000)("POST", INFER, body, (b"content-encoding", b"gzip"), (b"accept-encoding", b"gzip"))
    assert (reply.status, words in reply.json["error"]) == (status, True), reply.body


BYTES = {"name": "input-0", "shape": [1, 4], "datatype": "FP32"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (asked(tensor([1, 2, 3, 4], name="other")), "there is no input 'other'; the model takes ['input-0']"),
        (asked(ONE, ONE), "'input-0' 2 times"),
        (asked(ONE, tensor([1], name="x0", shape=[1])), "there is no input 'input-0'"),
        (asked(tensor([1, 2, 3, 4], datatype="FP128")), "the protocol has BOOL"),
        (asked(tensor([1, 2, 3, 4], datatype="fp32")), "has datatype 'fp32'"),
        (asked(tensor(["1", "2", "3", "4"], datatype="BYTES")), "send one of ('FP32', 'FP64'"),
        (asked(tensor([1.5, 2, 3, 4], datatype="INT64")), "has no value 1.5"),
        (asked(tensor([True, 2, 3, 4], datatype="INT64")), "has no value True"),
        (asked(tensor([300, 2, 3, 4], datatype="UINT8")), "has no value 300"),
        (asked(tensor([-1, 2, 3, 4], datatype="UINT64")), "has no value -1"),
        (asked(tensor([2**64, 2, 3, 4], datatype="UINT64")), "has no value 18446744073709551616"),
        (asked(tensor([70_000, 2, 3, 4], datatype="FP16")), "has no value 70000"),
        (asked(tensor([1e39, 2, 3, 4], datatype="FP32")), "has no value 1e+39"),
        (asked(tensor([10**400, 2, 3, 4], datatype="FP32")), "an integer of 1329 bits"),
        (asked(tensor([1, 2, 3, 4], datatype="BOOL")), "has no value 2"),
        (asked(tensor(["1", 2, 3, 4])), "has no value '1'"),
        (asked(tensor([1, 2, 3])), "shape [1, 4] and 3 values"),
        (asked(tensor([[1, 2], [3, 4]])), "nested in another way"),
        (asked(tensor([[[1], [2], [3], [4]]])), "nested more deeply"),
        (asked(tensor([[1, 2, 3, 4], 5])), "nested in another way"),
        (asked(tensor([1, 2, 3, 4], shape=[4])), "its shape must be [rows, 4]"),
        (asked(tensor([1, 2, 3, 4], shape=[-1, 4])), "shape [-1, 4]"),
        (asked(tensor([1, 2, 3, 4], shape=[2**63, 4])), "at most 100000 rows"),
        (asked(tensor([1, 2, 3, 4], shape=[1, 4, 1])), "3 dimensions"),
        (asked(tensor([], shape=[0, 4, 2**62])), "3 dimensions"),
        (asked(tensor([1, 2, 3, 4], shape=["1", 4])), "got `str`"),
        (asked({"name": "input-0", "shape": [1, 4], "datatype": "FP32"}), "has no data"),
        (asked({**BYTES, "parameters": {"binary_data_size": 16}}), "0 are left behind the JSON"),
        (asked({**BYTES, "parameters": {"binary_data_size": -1}}), "is a number of bytes"),
        (asked({**BYTES, "parameters": {"binary_data_size": "16"}}), "is a number of bytes"),
        (asked({**ONE, "parameters": {"binary_data_size": 16}}), "stands in the place of data"),
        (asked(ONE, outputs=[{"name": "answer"}]), "there is no output 'answer'; the model answers ['y']"),
        (asked(ONE, outputs=[{"name": "y"}, {"name": "y"}]), "2 times"),
        (asked(ONE, outputs=[{"name": "y", "parameters": {"classification": 3}}]), "classification is not answered"),
        (asked(ONE, parameters={"prediction_ids": "p1"}), "prediction_ids is a list of texts"),
        (asked(ONE, parameters={"prediction_ids": ["a", "b"]}), "2 ids came with 1 rows"),
        (asked(ONE, id=7), "got `int`"),
        (asked(), "the same number of rows"),
        ({"inputs": {"input-0": [1, 2, 3, 4]}}, "got `object`"),
        ({}, "inputs"),
    ],
)
def test_what_does_not_fit_is_named(port, body, words):
    reply = port("POST", INFER, body)
    assert (reply.status, words in reply.json["error"]) == (422, True), reply.body
    assert port.world.log("sum") == []


@pytest.mark.parametrize(
    ("header", "status", "words"),
    [
        (b"-1", 400, "says how many are JSON"),
        (b"x", 400, "says how many are JSON"),
        (b"", 400, "says how many are JSON"),
        (b"9" * 400, 400, "says how many are JSON"),
        (b"4096", 400, "says how many are JSON"),
        (b"5", 400, "not JSON"),
        (b"0", 422, "bytes"),
    ],
)
def test_a_header_length_that_is_none_is_refused(port, header, status, words):
    body, _ = binary(asked({**BYTES, "parameters": {"binary_data_size": 16}}), b"\0" * 15)
    reply = port("POST", INFER, body, (HEADER, header))
    assert (reply.status, words in reply.json["error"]) == (status, True), reply.body


@pytest.mark.parametrize(("size", "data", "words"), [(16, 15, "15 are left"), (16, 17, "1 bytes behind the JSON"), (12, 12, "it takes 16")])
def test_bytes_must_be_as_many_as_announced_and_as_the_shape_says(port, size, data, words):
    body, header = binary(asked({**BYTES, "parameters": {"binary_data_size": size}}), b"\0" * data)
    reply = port("POST", INFER, body, header)
    assert (reply.status, words in reply.json["error"]) == (422, True), reply.body


def test_a_type_of_body_that_is_not_read_is_a_415(port):
    assert port("POST", INFER, asked(ONE), (b"content-type", b"text/plain")).status == 415


KINDS = st.sampled_from([*FLOATS, *INTEGERS, "BOOL", "BYTES"])


@given(datatype=KINDS, data=st.data())
def test_elements_as_bytes_read_back(datatype, data):
    if datatype == "BYTES":
        element = st.text(alphabet=st.characters(codec="utf-8"))
    elif datatype == "BOOL":
        element = st.booleans()
    elif datatype in FLOATS:
        element = st.floats(width=int(datatype[2:]), allow_nan=False, allow_infinity=False)
    else:
        bounds = np.iinfo(NUMPY[datatype])
        element = st.integers(int(bounds.min), int(bounds.max))
    elements = data.draw(st.lists(element, max_size=20))
    made = Tensor("t", (len(elements),), datatype, elements)
    assert values(made) == elements
    assert values_in(made, memoryview(as_bytes(datatype, elements))) == elements


@pytest.mark.parametrize("raw", [b"\1", b"\1\0\0\0", b"\2\0\0\0a", b"\xff\xff\xff\xffa", b"\1\0\0\0\xff", b"\1\0\0\0a\1\0\0\0b", b""])
def test_texts_that_are_cut_off_too_many_or_no_unicode_are_refused(raw):
    with pytest.raises(InvalidInput, match="tensor 't'"):
        values_in(Tensor("t", (1,), "BYTES"), memoryview(raw))


def test_texts_and_bools_come_as_bytes(world):
    world.serve()
    app = Port(world)
    texts = struct.pack("<I", 2) + b"UA" + struct.pack("<I", 2) + b"AA"
    x = np.array([1.0, 2.0]).tobytes()
    header = asked(
        {"name": "carrier", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(texts)}},
        {"name": "x", "shape": [2, 1], "datatype": "FP64", "parameters": {"binary_data_size": len(x)}},
    )
    body, length = binary(header, texts, x)
    world.poller.poll()
    assert app("POST", "/v2/models/delay/infer", body, length).json["outputs"][0]["data"] == [102.0, 102.0]


def test_the_unit_of_routing_may_be_a_tensor_beside_the_model_s(world):
    port = Port(world)
    world.release(port.route(1), endpoint="sum", revision=2, unit="user")
    port.poller.poll()
    unit = tensor(["u7"], name="user", shape=[1], datatype="BYTES")
    assert port("POST", INFER, asked(ONE, unit)).status == 200
    assert world.log("sum")[0]["unit"] == "u7"


@pytest.fixture
def governed(world):
    """The same port with tokens, its poller running; who asks and what they may."""
    known = PredictionTokens(TokenSource(world.metadata, lambda: OWNER, world.clock, "test"))
    port = Port(world, tokens_of=known)
    secrets = {role: tokens.create(world.metadata, role, role, actor="o", now_us=1)[1] for role in ("operator", "application", "auditor")}
    secrets |= {"elsewhere": tokens.create(world.metadata, "e", "application", actor="o", now_us=1, endpoint="delay")[1]}
    known.look()
    port.poller.start()

    def ask(who, method, path, body=b""):
        return port(method, path, body, *([(b"authorization", f"Bearer {secrets.get(who, OWNER)}".encode())] if who else []))

    yield ask
    port.poller.stop()


def test_an_endpoint_is_unloaded_and_loaded_by_who_may_release_and_the_audit_log_says_who(governed, world):
    assert governed("owner", "POST", "/v2/repository/index").json == [
        {"name": "sum", "version": version, "state": "READY", "reason": ""} for version in ("1", "2")
    ]
    assert governed("operator", "POST", "/v2/repository/models/sum/unload").status == 200
    assert world.metadata.get(Unloaded, "sum").by == "operator"
    reply = governed("application", "POST", INFER, asked(ONE))
    assert (reply.status, reply.headers[b"retry-after"], "was unloaded by operator" in reply.json["error"]) == (503, b"1", True)
    assert governed("application", "GET", "/v2/models/sum/ready").status == 503
    assert governed("application", "GET", "/v2/health/ready").status == 200
    (away,) = governed("application", "POST", "/v2/repository/index").json
    assert (away["state"], "unloaded by operator" in away["reason"]) == ("UNAVAILABLE", True)
    assert governed("application", "POST", "/v2/repository/index", {"ready": True}).json == []
    serving = world.metadata.get(Serving, "sum", "host-0")
    assert (serving.revision, "unloaded by operator" in serving.error) == (0, True)
    assert governed("operator", "POST", "/v2/repository/models/sum/unload").status == 200
    assert governed("owner", "POST", "/v2/repository/models/sum/load").status == 200
    assert governed("application", "POST", INFER, asked(ONE)).status == 200
    actions = [(entry.action, entry.actor) for entry in world.metadata.audit() if entry.action.startswith("endpoint.")]
    assert actions == [("endpoint.unload", "operator"), ("endpoint.load", "owner")]


@pytest.mark.parametrize(
    ("who", "path", "status"),
    [
        ("", "models/sum/unload", 401),
        ("application", "models/sum/unload", 403),
        ("auditor", "models/sum/load", 403),
        ("elsewhere", "models/sum/load", 403),
        ("operator", "models/nowhere/unload", 404),
        ("operator", "models/nowhere/load", 404),
        ("", "index", 401),
        ("operator", "models/sum", 404),
    ],
)
def test_the_repository_is_for_who_may_release(governed, world, who, path, status):
    assert governed(who, "POST", f"/v2/repository/{path}").status == status
    assert world.metadata.find(Unloaded) == []


def test_lists_show_what_a_token_may_ask(governed):
    assert governed("application", "GET", "/v2/models").json == {"models": ["sum"]}
    assert governed("elsewhere", "GET", "/v2/models").json == {"models": []}
    assert governed("elsewhere", "GET", "/v2/models/stats").json == {"model_stats": []}
    assert [governed("", "GET", path).status for path in ("/v2/models", "/v2/models/stats", "/v2/models/sum")] == [401] * 3


def test_a_load_brings_no_model_of_its_own(governed):
    reply = governed("owner", "POST", "/v2/repository/models/sum/load", {"parameters": {"file:1/model.onnx": "AAAA"}})
    assert (reply.status, "not loaded from a request" in reply.json["error"]) == (422, True)


def test_what_is_logged_is_set_for_all_processes(governed, world, monkeypatch):
    level = model_repository.logging.getLogger("rota").level
    try:
        assert governed("auditor", "GET", "/v2/logging").json["log_verbose_level"] == 0
        assert governed("auditor", "POST", "/v2/logging", {"log_verbose_level": 1}).status == 403
        assert governed("operator", "POST", "/v2/logging", {"log_verbose_level": 1}).json["log_verbose_level"] == 1
        assert world.metadata.get(ServingLogLevel, "serving").level == "DEBUG"
        quiet = {"log_verbose_level": 0, "log_info": False}
        assert governed("operator", "POST", "/v2/logging", quiet).json | quiet == governed("operator", "GET", "/v2/logging").json
        assert model_repository.logging.getLogger("rota").level == model_repository.logging.WARNING
        for wrong in ({"log_file": "/etc/passwd"}, {"log_info": 1}, {"nothing": True}, {"log_format": "ISO8601"}):
            assert governed("operator", "POST", "/v2/logging", wrong).status == 422
    finally:
        model_repository.logging.getLogger("rota").setLevel(level)


def test_nobody_changes_what_is_served_at_a_port_without_tokens(port):
    for path in ("/v2/repository/models/sum/unload", "/v2/repository/models/sum/load", "/v2/logging"):
        assert port("POST", path, {}).status == 403
    assert port("POST", INFER, asked(ONE)).status == 200
