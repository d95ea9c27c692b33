"""The HTTP face, called as a server would call it."""

import asyncio
import json
import threading

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from rota.backends.models.skops_format import SkopsFormat
from rota.errors import Unavailable
from rota.manage.features.online.view_history import ViewHistory
from rota.ports.metadata import Batch
from rota.records.release import Endpoint, HeaderMatch, HeaderRoute
from rota.serve import asgi, open_inference_port, replies
from rota.serve.asgi import PredictionApp, RequestLimits
from rota.serve.inference_protocol import EXTENSIONS

ROW = {"x": 1.0, "carrier": "UA"}
PREDICT = "/v1/endpoints/delay/predict"
WATCHER = [(b"authorization", b"Bearer watcher")]


class Client:
    """An in-process ASGI client; each call is one request on one event loop."""

    def __init__(self, app):
        self.app = app

    def __call__(self, method, path, body=b"", *, headers=(), pieces=1):
        return asyncio.run(self.ask(method, path, body, headers=headers, pieces=pieces))

    async def ask(self, method, path, body=b"", *, headers=(), pieces=1):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        size = max(1, -(-len(data) // pieces))
        parts = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
        messages = [{"type": "http.request", "body": part, "more_body": part is not parts[-1]} for part in parts]
        sent = []

        async def receive():
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        await self.app({"type": "http", "method": method, "path": path, "headers": list(headers)}, receive, send)
        assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
        found = dict(sent[0]["headers"])
        assert int(found[b"content-length"]) == len(sent[1]["body"])
        return Response(sent[0]["status"], found, sent[1]["body"])


class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        self.json = json.loads(body) if headers[b"content-type"] == b"application/json" else None


@pytest.fixture
def client(world):
    app = PredictionApp(
        world.core, world.poller, may_monitor=lambda secret: secret == "watcher", version="1.2", limits=RequestLimits(body_bytes=10_000)
    )
    return Client(app)


@pytest.fixture
def served(world):
    world.serve()
    return world


def test_a_prediction_is_answered_and_in_the_log(client, served):
    reply = client("POST", PREDICT, {"rows": [ROW], "ids": ["p1"]})
    assert reply.status == 200
    assert reply.json == {
        "predictions": [{"prediction_id": "p1", "answer": 102.0, "model": "flights", "version": 1, "role": "stable"}],
        "logged": True,
    }
    assert [row["prediction_id"] for row in served.log()] == ["p1"]


def test_a_body_may_arrive_in_pieces(client, served):
    assert client("POST", PREDICT, {"rows": [ROW] * 20}, pieces=7).json["predictions"][19]["answer"] == 102.0


def test_a_large_request_is_answered_on_a_thread_alike(world):
    world.serve()
    client = Client(PredictionApp(world.core, world.poller))
    reply = client("POST", PREDICT, {"rows": [{**ROW, "x": float(n)} for n in range(1_000)]})
    assert [answer["answer"] for answer in reply.json["predictions"]] == [101.0 + n for n in range(1_000)]


@pytest.mark.parametrize("sync", [False, True])
def test_requests_of_one_turn_are_answered_together_each_with_its_own(client, served, sync):
    served.core.sync = sync
    served.predictor(1).calls.clear()

    async def together():
        rows = [[{**ROW, "x": float(n)}] for n in range(50)]
        return await asyncio.gather(*(client.ask("POST", PREDICT, {"rows": row, "ids": [f"p{n}"]}) for n, row in enumerate(rows)))

    replies = asyncio.run(together())
    assert [reply.json["predictions"][0]["answer"] for reply in replies] == [101.0 + n for n in range(50)]
    assert [reply.json["predictions"][0]["prediction_id"] for reply in replies] == [f"p{n}" for n in range(50)]
    assert len(served.predictor(1).calls) <= 3
    assert sum(served.predictor(1).calls) == 50
    replies = [client("POST", PREDICT, {"rows": [ROW]}) for _ in range(2)]
    assert sum(served.predictor(1).calls) == 52
    assert len(served.log()) == 52


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", PREDICT, b"{", 400, "not JSON"),
        ("POST", PREDICT, b"", 400, "not JSON"),
        ("POST", PREDICT, b"\xff\xfe", 400, "not JSON"),
        ("POST", PREDICT, b'{"rows":[{"x":NaN}]}', 400, "not JSON"),
        ("POST", PREDICT, b"[]", 422, "object"),
        ("POST", PREDICT, b'{"rows":[1]}', 422, "object"),
        ("POST", PREDICT, b'{"row":[]}', 422, "row"),
        ("POST", PREDICT, b'{"rows":[{"x":1e400}]}', 422, "range"),
        ("POST", PREDICT, b'{"rows":[{"x":' + b"9" * 400 + b',"carrier":""}]}', 422, "'x'"),
        ("POST", PREDICT, b'{"rows":[{"x":1}]}', 422, "row 0 lacks the field 'carrier'"),
        ("POST", PREDICT, b'{"rows":[{"x":"1","carrier":""}]}', 422, "'x'"),
        ("POST", PREDICT, b'{"rows":[{"x":1,"carrier":""}],"ids":[]}', 422, "ids"),
        ("POST", PREDICT, b'{"rows":[{"x":1,"carrier":""}],"ids":["a\\u0000"]}', 422, "not allowed"),
        ("GET", PREDICT, b"", 405, "POST"),
        ("POST", "/metrics", b"", 405, "GET"),
        ("DELETE", "/v2/models/delay", b"", 405, "GET"),
        ("POST", "/v1/endpoints/nowhere/predict", b'{"rows":[]}', 404, "'nowhere'"),
        ("POST", "/v2/models/nowhere/infer", b'{"inputs":[]}', 404, "'nowhere'"),
        ("GET", "/v2/models/nowhere", b"", 404, "'nowhere'"),
        ("GET", "/", b"", 404, "path"),
        ("GET", "/v1/endpoints/../../etc/passwd", b"", 404, "path"),
        ("PUT", "/v9", b"", 404, "path"),
    ],
)
def test_whatever_is_wrong_gets_its_status_and_a_sentence(client, served, method, path, body, status, words):
    reply = client(method, path, body)
    assert (reply.status, words in reply.json["error"]) == (status, True), reply.body
    assert isinstance(reply.json["facts"], dict)
    assert served.log() == []


def test_a_body_that_is_nested_deeper_than_any_interpreter_follows_is_refused():
    with pytest.raises(replies.Stop) as stopped:
        replies.decode(asgi._predict_decoder, b'{"rows":[{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}]}", 100_000)
    assert stopped.value.reply.status == 400
    assert b"not JSON" in stopped.value.reply.body


def test_a_bad_row_is_named_in_the_facts(client, served):
    assert client("POST", PREDICT, {"rows": [ROW, {**ROW, "x": "a"}]}).json["facts"] == {"row": 1, "field": "x", "expected": "float"}


def test_a_method_that_is_not_allowed_learns_which_is(client, served):
    assert client("GET", PREDICT).headers[b"allow"] == b"POST"


def test_a_body_over_the_limit_is_refused_by_its_announced_and_by_its_real_size(client, served):
    for headers, body in [
        ([(b"content-length", b"10001")], b""),
        ([], b"x" * 10_001),
        ([(b"content-length", b"9" * 5_000)], b""),
        ([(b"content-length", b"-1")], b""),
    ]:
        reply = client("POST", PREDICT, body, headers=headers, pieces=3)
        assert (reply.status, reply.headers[b"connection"]) == (413, b"close")


def test_an_endpoint_not_loaded_yet_asks_to_come_back(client, world):
    assert client("POST", PREDICT, {"rows": [ROW]}).status == 503
    world.release(world.route(1, golden=7.0))
    world.poller.poll()
    for reply in (client("POST", PREDICT, {"rows": [ROW]}), client("GET", "/v2/models/delay/ready"), client("GET", "/v2/health/ready")):
        assert (reply.status, reply.headers[b"retry-after"]) == (503, b"1")
    assert client("GET", "/v2/health/live").status == 200


def test_readiness_follows_the_releases(client, world):
    world.serve()
    for path in ("/v2/health/ready", "/v2/models/delay/ready", "/v2/health/live", "/v2"):
        assert client("GET", path).status == 200
    assert client("GET", "/v2").json == {"name": "rota", "version": "1.2", "extensions": list(EXTENSIONS)}


def test_an_unlogged_answer_says_so(client, served, monkeypatch):
    def full(*args, **options):
        raise Unavailable("no space left")

    monkeypatch.setattr(served.journal, "append", full)
    reply = client("POST", PREDICT, {"rows": [ROW]})
    assert (reply.status, reply.json["logged"]) == (200, False)
    assert reply.json["warnings"] == [
        "the prediction log could not take these answers, so no label finds them and no monitor sees them; look at the home's disk"
    ]
    assert 'rota_predictions_unlogged_total{endpoint="delay"} 1' in client("GET", "/metrics", headers=WATCHER).body.decode()


def test_a_failing_model_is_a_500_only_when_no_row_was_answered(client, served):
    bad = {**ROW, "x": -999.0}
    assert client("POST", PREDICT, {"rows": [bad]}).status == 500
    mixed = client("POST", PREDICT, {"rows": [ROW, bad]})
    assert mixed.status == 200
    assert mixed.json["predictions"][1]["answer"] is None
    assert "nan" in mixed.json["predictions"][1]["error"]


def test_a_row_that_the_model_refuses_names_row_field_and_value_and_its_neighbours_are_answered(client, served):
    bad = {**ROW, "x": -555.0}
    mixed = client("POST", PREDICT, {"rows": [ROW, bad, ROW]})
    first, refused, last = mixed.json["predictions"]
    assert (mixed.status, first["answer"], last["answer"]) == (200, *[client("POST", PREDICT, {"rows": [ROW]}).json["predictions"][0]["answer"]] * 2)
    assert (refused["answer"], refused["refused"]) == (None, True)
    assert refused["error"] == "row 1: field 'x' is -555.0, which the model does not take: that x is not taken"
    alone = client("POST", PREDICT, {"rows": [bad]})
    assert (alone.status, alone.json["error"]) == (422, "row 0: field 'x' is -555.0, which the model does not take: that x is not taken")
    assert len(alone.json["predictions"]) == 1
    inferred = client("POST", "/v2/models/delay/infer", infer([1.0, -555.0], ["UA", "UA"]))
    assert (inferred.status, "row 1: field 'x' is -555.0" in inferred.json["error"]) == (422, True)


SHAPES = [
    ([2**40, 2**40], "its shape must be [rows] or [rows, 1]"),
    ([2**40], "at most 100000 rows are answered at once (max_request_rows)"),
    ([2**40, 1], "at most 100000 rows are answered at once (max_request_rows)"),
    ([10**4_000], "at most 100000 rows are answered at once (max_request_rows)"),
    ([2**32, 2**32, 0], "3 dimensions"),
    ([1] * 2_000, "2000 dimensions"),
    ([-1], "shape [-1]"),
    ([-(2**63), 1], "its shape must be [rows] or [rows, 1]"),
    ([0], "shape [0] and 1 values"),
    ([0, 1], "shape [0, 1] and 1 values"),
    ([], "shape []"),
    ([True], "got `bool`"),
    ([1.0], "got `float`"),
    (["1"], "got `str`"),
    ([None], "got `null`"),
    (7, "got `int`"),
]


def infer(x, carrier, **options):
    inputs = [
        {"name": "x", "shape": [len(x)], "datatype": "FP64", "data": x},
        {"name": "carrier", "shape": [len(carrier), 1], "datatype": "BYTES", "data": carrier},
    ]
    return {"inputs": inputs, **options}


def test_the_inference_protocol_describes_the_endpoint(client, served):
    assert client("GET", "/v2/models/delay").json == {
        "name": "delay",
        "versions": ["1"],
        "platform": "rota_linear",
        "inputs": [{"name": "carrier", "datatype": "BYTES", "shape": [-1]}, {"name": "x", "datatype": "FP64", "shape": [-1]}],
        "outputs": [{"name": "answer", "datatype": "FP64", "shape": [-1], "parameters": {"problem": "regression"}}],
    }


def test_the_inference_protocol_predicts_what_the_other_path_predicts(client, served):
    reply = client("POST", "/v2/models/delay/infer", infer([1.0, 2.0], ["UA", None], id="r7", parameters={"prediction_ids": ["a", "b"], "other": 1}))
    assert reply.status == 200
    assert reply.json == {
        "model_name": "delay",
        "model_version": "1",
        "id": "r7",
        "outputs": [{"name": "answer", "datatype": "FP64", "shape": [2], "data": [102.0, 102.0]}],
        "parameters": {"other": 1, "prediction_ids": ["a", "b"], "versions": [1, 1], "logged": True},
    }
    assert [row["prediction_id"] for row in served.log()] == ["a", "b"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda body: body["inputs"].pop(), "lacks the field 'carrier'"),
        (lambda body: body["inputs"].clear(), "same number of rows"),
        (lambda body: body["inputs"][0].update(shape=[2]), "shape [2] and 1 values"),
        (lambda body: body["inputs"][0].update(shape=[1, 1, 1]), "shape"),
        (lambda body: body["inputs"][0].update(shape=[3], data=[1.0, 2.0, 3.0]), "same number of rows"),
        (lambda body: body["inputs"][0].update(datatype="BYTES"), "datatype 'BYTES'"),
        (lambda body: body["inputs"][0].update(data=["1"]), "'x'"),
        (lambda body: body.pop("inputs"), "inputs"),
        *[(lambda body, shape=shape: body["inputs"][0].update(shape=shape), words) for shape, words in SHAPES],
    ],
)
def test_a_tensor_that_does_not_fit_is_named(client, served, change, words):
    body = infer([1.0], ["UA"])
    change(body)
    reply = client("POST", "/v2/models/delay/infer", body)
    assert (reply.status, words in reply.json["error"]) == (422, True), reply.body


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (b'{"name":"x","shape":[1],"datatype":"FP64","data":[%s1]}' % (b"7," * 1_000_000), "shape [1] and about 1000001 values"),
        (b'{"name":"x","shape":[5],"datatype":"FP64","data":[%s[]]}' % (b"[]," * 30_000), "shape [5] and about 30001 values"),
        (b'{"name":"x","shape":[90000],"datatype":"BYTES","data":["%s"]}' % (b"a" * 90_000), "shape [90000] and about 1 values"),
        (b'{"name":"x","shape":[1048576,1048576],"datatype":"FP64","data":[%s]}' % (b" " * 90_000), "[rows] or [rows, 1]"),
        (b",".join([b'{"name":"x","shape":[1],"datatype":"FP64","data":[1]}'] * 10_001), "10001 tensors, at most 10000"),
        (b'{"name":"x","shape":[1],"datatype":"FP64","data":[%s[]]}' % (b"[]," * 200_000), "lists and objects, at most 110000"),
    ],
)
def test_tensors_of_many_elements_are_refused_before_an_element_is_read(world, monkeypatch, inputs, words):
    world.serve()
    client = Client(PredictionApp(world.core, world.poller))
    monkeypatch.setattr(open_inference_port, "_infer_decoder", None)
    reply = client("POST", "/v2/models/delay/infer", b'{"inputs":[%s]}' % inputs)
    assert (reply.status in (400, 422), words in reply.json["error"]) == (True, True), reply.body[:500]


def test_more_objects_than_rows_are_answered_are_refused_unread(world, monkeypatch):
    world.serve()
    client = Client(PredictionApp(world.core, world.poller))
    monkeypatch.setattr(asgi, "_large_decoder", None)
    reply = client("POST", PREDICT, b'{"rows":[%s{}]}' % (b"{}," * 200_000))
    assert (reply.status, "200003 lists and objects, at most 110000" in reply.json["error"]) == (400, True)


def test_a_failed_inference_is_a_500_with_its_id(client, served):
    reply = client("POST", "/v2/models/delay/infer", infer([1.0, -999.0], ["UA", "UA"], parameters={"prediction_ids": ["a", "b"]}))
    assert (reply.status, reply.json["facts"]) == (500, {"prediction_id": "b"})


def test_metrics_count_what_happened(client, served):
    for body in ({"rows": [ROW, ROW]}, {"rows": [{}]}):
        client("POST", PREDICT, body)
    text = client("GET", "/metrics", headers=WATCHER).body.decode()
    for line in (
        'rota_requests_total{endpoint="delay",status="200"} 1',
        'rota_requests_total{endpoint="delay",status="422"} 1',
        'rota_predictions_total{endpoint="delay",model="flights",version="1",role="stable"} 2',
        'rota_prediction_seconds_bucket{endpoint="delay",le="+Inf"} 1',
        'rota_prediction_seconds_count{endpoint="delay"} 1',
        'rota_release_revision{endpoint="delay"} 1',
        "rota_ready 1",
    ):
        assert line in text.splitlines()


@pytest.mark.parametrize("headers", [(), [(b"authorization", b"Bearer somebody")], [(b"authorization", b"Basic watcher")]])
def test_metrics_without_a_token_are_sums_that_name_nothing(client, served, headers):
    for body in ({"rows": [ROW, ROW]}, {"rows": [{}]}):
        client("POST", PREDICT, body)
    text = client("GET", "/metrics", headers=headers).body.decode()
    for line in (
        'rota_requests_total{status="200"} 1',
        'rota_requests_total{status="422"} 1',
        "rota_predictions_total 2",
        'rota_prediction_seconds_bucket{le="+Inf"} 1',
        "rota_prediction_seconds_count 1",
        "rota_ready 1",
    ):
        assert line in text.splitlines()
    assert not [name for name in ("delay", "flights", "endpoint", "model", "stable") if name in text.replace("Requests by endpoint", "")]


def test_requests_for_unknown_names_do_not_grow_the_metrics(client, served):
    for n in range(20):
        client("POST", f"/v1/endpoints/e{n}/predict", {"rows": []})
    assert "e7" not in client("GET", "/metrics", headers=WATCHER).body.decode()


def test_an_error_inside_is_a_500_that_tells_nothing_of_the_inside(client, served, monkeypatch):
    def broken(*args):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(served.core, "answer", broken)
    reply = client("POST", PREDICT, {"rows": [ROW]})
    assert reply.status == 500
    assert b"secret" not in reply.body
    monkeypatch.undo()
    assert client("POST", PREDICT, {"rows": [ROW]}).status == 200


def test_the_lifespan_starts_and_stops_the_follower(world):
    app = PredictionApp(world.core, world.poller)
    world.release()
    sent, ready = [], []

    async def live():
        inbox, started = asyncio.Queue(), asyncio.Event()

        async def send(message):
            sent.append(message["type"])
            started.set()

        running = asyncio.create_task(app({"type": "lifespan"}, inbox.get, send))
        await inbox.put({"type": "lifespan.startup"})
        await started.wait()
        ready.append(world.poller.ready)
        await inbox.put({"type": "lifespan.shutdown"})
        await running

    asyncio.run(live())
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert ready == [True]
    assert world.poller._thread is not None
    assert not world.poller._thread.is_alive()


def test_an_endpoint_that_is_declared_has_no_release_yet_and_one_that_waits_says_for_what(world, client):
    batch = Batch()
    batch.put(Endpoint("new", "flights"))
    world.metadata.commit(batch)
    world.histories[b"v"] = ViewHistory("habits", "orders", "not online", 12)
    world.release(world.route(1), endpoint="waits")
    world.poller.poll()
    new, waits = (client("POST", f"/v1/endpoints/{name}/predict", {"rows": [ROW]}) for name in ("new", "waits"))
    assert (new.status, "has no release yet; approve a version" in new.json["error"]) == (404, True)
    assert (waits.status, "rota features materialize habits" in waits.json["error"]) == (503, True)
    health = client("GET", "/v2/health/ready")
    assert (health.status, "view 'habits' is not online" in health.json["error"], len(health.json["facts"]["problems"])) == (503, True, 1)
    world.histories.clear()
    world.poller.poll()
    assert client("GET", "/v2/health/ready").status == 200
    world.histories[b"v"] = ViewHistory("habits", "orders", "not online", 12)
    world.poller.poll()
    assert client("POST", "/v1/endpoints/waits/predict", {"rows": [ROW]}).status == 200
    assert [client("GET", path).status for path in ("/v2/health/ready", "/v2/models/waits/ready", "/v2/models/waits")] == [503, 503, 200]


def test_a_process_that_is_told_to_end_is_not_ready_and_answers(served, client):
    assert client("GET", "/v2/health/ready").status == 200
    client.app.leave()
    health = client("GET", "/v2/health/ready")
    assert (health.status, "was told to end" in health.json["error"]) == (503, True)
    assert [client("POST", PREDICT, {"rows": [ROW]}).status, client("GET", "/v2/health/live").status] == [200, 200]


def test_warnings_are_in_both_protocols(world, client):
    world.serve()
    world.sources[0].warnings = ("the history of view 'v' is not online",)
    world.sources[0].noted = {"request__x": ["HISTORY_NOT_ONLINE"]}
    own = client("POST", "/v1/endpoints/delay/predict", {"rows": [ROW]}).json
    assert (own["warnings"], own["predictions"][0]["missing"]) == (["the history of view 'v' is not online"], {"request__x": "HISTORY_NOT_ONLINE"})
    tensors = [{"name": "x", "datatype": "FP64", "shape": [1], "data": [1.0]}, {"name": "carrier", "datatype": "BYTES", "shape": [1], "data": ["AA"]}]
    open_protocol = client("POST", "/v2/models/delay/infer", {"inputs": tensors}).json
    assert open_protocol["parameters"]["warnings"] == ["the history of view 'v' is not online"]


@pytest.mark.parametrize("rows", [3, 300])
def test_a_category_that_an_encoder_does_not_know_is_named_with_row_field_and_value(world, rows):
    known = [["AA"], ["UA"]] * 20
    encoder = make_pipeline(ColumnTransformer([("carrier", OneHotEncoder(), [1])], remainder="passthrough"), LinearRegression())
    encoder.fit(pd.DataFrame({"x": [float(n) for n in range(40)], "carrier": [each[0] for each in known]}), [float(n) for n in range(40)])
    world.serve(world.route_of("skops", SkopsFormat(), encoder))
    client, ok, gold = Client(PredictionApp(world.core, world.poller)), {"x": 2.0, "carrier": "AA"}, {"x": 2.0, "carrier": "gold"}
    place = rows // 2
    reply = client("POST", PREDICT, {"rows": [gold if n == place else ok for n in range(rows)]})
    answers = reply.json["predictions"]
    assert reply.status == 200
    assert all(answers[n]["answer"] is not None for n in range(rows) if n != place)
    assert answers[place]["refused"]
    assert f"row {place}: field 'carrier' is 'gold', which the model does not take" in answers[place]["error"]
    assert client("POST", PREDICT, {"rows": [gold]}).status == 422
    tensors = [("x", "FP64", 2.0, 2.0), ("carrier", "BYTES", "AA", "gold")]
    inputs = [
        {"name": name, "datatype": kind, "shape": [rows], "data": [other if n == place else usual for n in range(rows)]}
        for name, kind, usual, other in tensors
    ]
    inferred = client("POST", "/v2/models/delay/infer", {"inputs": inputs})
    assert (inferred.status, f"row {place}: field 'carrier' is 'gold'" in inferred.json["error"]) == (422, True)


def test_a_large_body_is_read_and_answered_in_parts_as_a_small_one_is(world):
    world.serve()
    client = Client(PredictionApp(world.core, world.poller))
    rows = [{**ROW, "x": float(n)} for n in range(5_000)]
    reply = client("POST", PREDICT, {"rows": rows})
    assert [answer["answer"] for answer in reply.json["predictions"]] == [101.0 + n for n in range(5_000)]
    assert (reply.json["logged"], len(world.log())) == (True, 5_000)
    wrong = client("POST", PREDICT, {"rows": [*rows, 7]})
    assert (wrong.status, "row 5000" in wrong.json["error"]) == (422, True)
    unread = client("POST", PREDICT, {"rows": [*rows, {**ROW, "x": "a"}]})
    assert (unread.status, unread.json["facts"]["row"]) == (422, 5_000)
    assert len(world.log()) == 5_000


def test_bodies_that_together_hold_too_much_are_refused_until_others_are_answered(world):
    world.serve()
    app = PredictionApp(world.core, world.poller, limits=RequestLimits(body_bytes=1_000))
    app._bodies.held.held_bytes = 7_900
    client = Client(app)
    refused = client("POST", PREDICT, {"rows": [ROW] * 5})
    assert (refused.status, dict(refused.headers)[b"retry-after"]) == (503, b"1")
    app._bodies.held.held_bytes = 0
    assert client("POST", PREDICT, {"rows": [ROW] * 5}).status == 200
    assert app._bodies.held.held_bytes == 0


def test_a_prediction_past_its_deadline_is_answered_by_504_naming_the_endpoint(world):
    world.serve()
    opened = threading.Event()
    world.predictor(1).predict = lambda matrix: opened.wait(60) and np.zeros(len(matrix))
    client = Client(PredictionApp(world.core, world.poller, limits=RequestLimits(timeout_s=0.02)))
    late = client("POST", PREDICT, {"rows": [ROW]})
    opened.set()
    assert (late.status, dict(late.headers)[b"retry-after"]) == (504, b"1")
    assert "endpoint 'delay' (flights@1) did not answer within 0.02 s" in late.json["error"]


@pytest.mark.parametrize(("path", "body"), [(PREDICT, {"rows": [ROW]}), ("/v2/models/delay/infer", None)])
def test_an_online_store_that_is_away_is_a_503_by_which_callers_ask_again(client, served, monkeypatch, path, body):
    def away(*_):
        raise Unavailable("reading the online store failed: connection refused")

    for source in served.sources:
        monkeypatch.setattr(source, "look_up", away)
    tensors = {
        "inputs": [{"name": name, "shape": [1], "datatype": kind, "data": [ROW[name]]} for name, kind in (("x", "FP64"), ("carrier", "BYTES"))]
    }
    reply = client("POST", path, body or tensors)
    assert reply.status == 503, reply.json
    assert "connection refused" in json.dumps(reply.json)


@pytest.mark.parametrize("sent", [{}, {"x-beta": "yes"}, {"x-beta": "no"}])
def test_a_header_of_a_request_chooses_its_version_on_either_path(client, world, sent):
    world.serve(world.route(1), world.route(2, "canary", 0), headers=[HeaderRoute(HeaderMatch("x-beta", "yes"), 2)])
    headers = [(name.encode(), value.encode()) for name, value in sent.items()]
    number = 2 if sent.get("x-beta") == "yes" else 1
    assert client("POST", "/v1/endpoints/delay/predict", {"rows": [ROW]}, headers=headers).json["predictions"][0]["version"] == number
    assert client("POST", "/v2/models/delay/infer", infer([1.0], ["UA"]), headers=headers).json["parameters"]["versions"] == [number]
    many = {"rows": [ROW] * 3_000}
    world_app = Client(PredictionApp(world.core, world.poller))
    assert {each["version"] for each in world_app("POST", "/v1/endpoints/delay/predict", many, headers=headers).json["predictions"]} == {number}
