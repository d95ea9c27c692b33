"""Limits of the control plane behind the connection: numbers, lists, nesting, rows, packed bodies, and errors that do not echo what was sent."""

import gzip
import http.client
import inspect
import json
import select
import socket
from typing import Any

import pytest

from rota.manage.lineage import audit_search
from rota.records.json_depth import check_json
from rota.records.limits import MESSAGE, shortened
from rota.server import app as control_plane
from rota.server.access import permissions as access

BEYOND = str(2**63)


def test_every_whole_number_of_an_address_has_bounds(shared: Any) -> None:
    paths = shared.application.openapi()["paths"]
    asked = [(path, each) for path, acts in paths.items() for act in acts.values() for each in act.get("parameters", ())]
    numbers = [(path, each["name"], each["schema"]) for path, each in asked if "integer" in json.dumps(each["schema"])]
    assert len(numbers) > 30
    assert not [(path, name) for path, name, schema in numbers if "maximum" not in json.dumps(schema)]


def test_every_route_that_reads_a_body_says_its_shape() -> None:
    routes = [route for room in control_plane.ROUTERS for route in access.routes_of(room.router.routes)]
    reading = [route for route in routes if "body_as(" in inspect.getsource(route.endpoint)]
    assert len(reading) > 25
    assert not [route.path for route in reading if access.body_of(route) is None]


@pytest.mark.parametrize(
    "path",
    [
        "/audit?before={}",
        "/v1/audit?after={}",
        "/v1/audit?limit={}",
        "/v1/events?after={}",
        "/v1/events?limit={}",
        "/v1/metadata/artifacts?after={}",
        "/v1/metadata/events?after={}",
        "/v1/metadata/executions?limit={}",
        "/v1/models/delay/{}",
        "/v1/models?limit={}",
        "/v1/rollouts?limit={}",
        "/v1/tokens?limit={}",
        "/v1/models/delay/comparison?version={}",
        "/v1/endpoints/delay/parity?rows={}",
        "/v1/endpoints/delay/compare?version={}",
        "/api/2.0/mlflow/metrics/get-history?run_id=x&metric_key=y&max_results={}",
    ],
)
@pytest.mark.parametrize("number", [BEYOND, str(2**63 - 1), f"-{2**63}", f"-{2**63 + 1}", "9" * 5_000])
def test_a_number_at_the_edge_of_64_bits_is_answered(owner: Any, path: str, number: str) -> None:
    answer = owner.get(path.format(number))
    assert answer.status in (200, 400, 403, 404, 422)
    if number in (BEYOND, "9" * 5_000) and path.startswith("/v1") and "comparison" not in path:
        assert answer.status == 422


def test_an_audit_search_from_beyond_the_end_looks_at_what_there_is(platform: Any) -> None:
    metadata = platform.repositories.metadata
    assert audit_search.newest(metadata, {}, before=2**63) == audit_search.newest(metadata, {})


def test_a_search_names_as_many_experiments_as_clients_do(owner: Any) -> None:
    asked = {"experiment_ids": [str(n) for n in range(10_000)]}
    assert owner.post("/api/2.0/mlflow/runs/search", asked).status == 200
    answer = owner.post("/api/2.0/mlflow/runs/search", {"experiment_ids": [*asked["experiment_ids"], "x"]})
    assert (answer.status, "at most 10000 experiments, not 10001" in answer.text) == (400, True)


def test_deleted_experiments_are_left_out_of_a_search_of_many(mlflow: Any) -> None:
    kept, gone = (mlflow.post("experiments/create", name=name)["experiment_id"] for name in ("kept", "gone"))
    runs = [mlflow.run(each) for each in (kept, gone)]
    mlflow.post("experiments/delete", experiment_id=gone)
    many = [kept, gone, *(f"none-{n}" for n in range(100))]
    for ids in (many, [kept, gone]):
        found = mlflow.post("runs/search", experiment_ids=ids)["runs"]
        assert [each["info"]["run_id"] for each in found] == runs[:1]


@pytest.mark.parametrize("path", ["/v1/sources/arrivals/rows", "/api/2.0/mlflow/runs/search", "/v1/notes", "/v1/clock"])
@pytest.mark.parametrize("body", [b'{"rows":' + b"[" * 100_000, b'{"rows":[{"a":' + b"[" * 80 + b"]" * 80 + b"}]}"])
def test_nesting_without_end_is_refused(owner: Any, path: str, body: bytes) -> None:
    answer = owner.post(path, body)
    assert answer.status in (400, 422)
    assert "more than 64 deep" in answer.text


def test_brackets_within_texts_are_no_nesting() -> None:
    check_json(json.dumps({"a": '\\"' + "[" * 1_000, "b": ["{" * 1_000] * 100}).encode(), most_rows=100)
    check_json(json.dumps([{"a": [1]}] * 10_000).encode(), most_rows=10_002)


def test_more_rows_than_a_request_may_hold_are_refused(owner: Any, platform: Any, shared: Any) -> None:
    rows = b",".join([b"{}"] * 100_001)
    for path, name in (
        ("/v1/sources/arrivals/rows", b"rows"),
        ("/v1/endpoints/delay/labels", b"labels"),
        ("/v1/endpoints/delay/outcomes", b"outcomes"),
        ("/v1/outcomes", b"outcomes"),
    ):
        answer = owner.post(path, b'{"%s":[%s]}' % (name, rows))
        assert (answer.status, "has 100001" in answer.text) == (422, True), answer.text[:300]


def test_a_number_that_json_has_no_word_for_is_named_by_row_and_field(owner: Any) -> None:
    answer = owner.post("/v1/sources/arrivals/rows", b'{"rows":[{"a":1},{"a":NaN}]}')
    assert (answer.status, "row 1: field 'a' is NaN" in answer.text) == (422, True)


def test_a_packed_body_is_refused_by_its_header(owner: Any) -> None:
    packed = owner.sending(**owner.headers, **{"Content-Encoding": "gzip"})
    for body in (gzip.compress(b" " * 50_000_000), b"\x1f\x8bno gzip"):
        assert packed.post("/v1/sources/arrivals/rows", body).status == 415


@pytest.mark.parametrize(
    "headers",
    [{"Content-Encoding": "gzip"}, {"Content-Encoding": "identity, deflate"}, {"Content-Encoding": "BR"}, {"Transfer-Encoding": "gzip, chunked"}],
)
def test_a_packed_file_is_neither_unpacked_nor_kept_as_it_is(owner: Any, platform: Any, headers: dict[str, str]) -> None:
    packed = gzip.compress(b" " * 50_000_000)
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed) if "Transfer-Encoding" in headers else packed
    answer = owner.sending(**owner.headers, **headers).ask("PUT", "/api/2.0/mlflow-artifacts/artifacts/0/x/artifacts/a.txt", body)
    assert (answer.status, "the body is packed" in answer.json()["message"]) == (415, True)


def test_an_error_does_not_echo_what_was_sent_at_length(owner: Any) -> None:
    long = "x" * 900_000
    for path, body in (
        ("/v1/notes", {"node": long, "text": "t"}),
        ("/v1/models", {"name": long}),
        ("/api/2.0/mlflow/runs/search", {"filter": long}),
        ("/api/2.0/mlflow/registered-models/create", {"name": long}),
        ("/api/2.0/mlflow/runs/get", {}),
    ):
        answer = owner.post(path, body)
        assert answer.status >= 400
        assert len(answer.text) < 3 * MESSAGE
    assert shortened("a" * 10_000).startswith("a" * 1_500 + " ... (10000 characters) ... ")


def test_a_refusal_of_its_size_reaches_an_ordinary_client_that_sends_its_body_first(owner: Any) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", owner.port, timeout=60)
    connection.request("POST", "/v1/sources/arrivals/rows", b" " * 30_000_000, owner.headers)
    answer = connection.getresponse()
    assert (answer.status, "ROTA_MAX_REQUEST_MB" in answer.read().decode()) == (413, True)
    connection.close()


def test_bodies_that_together_are_too_many_are_refused_until_others_are_answered(owner: Any) -> None:
    head = f"POST /v1/clock HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 900000\r\nAuthorization: {owner.headers['Authorization']}\r\n\r\n"
    senders = [socket.create_connection(("127.0.0.1", owner.port), timeout=60) for _ in range(12)]
    for each in senders:
        each.sendall(head.encode() + b" " * 899_999)
    answered: set[socket.socket] = set()
    while len(answered) < 4:  # of 12 times 0.9 MB only 8 have room in 8 MB
        found, _, _ = select.select([each for each in senders if each not in answered], [], [], 60)
        assert found, "nobody was refused"
        answered |= set(found)
    for each in senders:
        if each not in answered:
            each.sendall(b" ")
        answer = http.client.HTTPResponse(each)
        answer.begin()
        text = answer.read().decode()
        if each in answered:
            assert (answer.status, answer.getheader("Retry-After"), "raise max_request_mb" in text) == (503, "1", True)
        else:
            assert answer.status == 422  # read whole: it holds spaces only
        each.close()
    assert owner.post("/v1/clock", b" " * 900_000).status == 422


TAGS = {f"t{n}": "" for n in range(1_001)}


@pytest.mark.parametrize(
    ("path", "body", "field", "most"),
    [
        ("/v1/notes", {"node": "n" * 20_000, "text": "t"}, "node", 10_000),
        ("/v1/notes", {"node": "n", "text": "t" * 200_000}, "text", 100_000),
        ("/v1/notes", {"node": "n", "text": "t", "tags": ["a"] * 2_000}, "tags", 1_000),
        ("/v1/models", {"name": "n" * 1_001}, "name", 1_000),
        ("/v1/models", {"name": "m", "description": "d" * 100_001}, "description", 100_000),
        ("/v1/models", {"name": "m", "tags": TAGS}, "tags", 1_000),
        ("/v1/models", {"name": "m", "tags": {"k": "v" * 100_001}}, "tags", 100_000),
        ("/v1/models/delay/1/decision", {"decision": "approve", "reason": "r" * 10_001}, "reason", 10_000),
        ("/v1/tokens", {"holder": "h" * 1_001, "role": "owner", "expires": "1d"}, "holder", 1_000),
        ("/v1/features/materialize", {"feature_views": ["v"] * 10_001}, "feature_views", 10_000),
        ("/v1/features/historical", {"features": ["v:f"] * 10_001, "entity_rows": [{}]}, "features", 10_000),
        ("/v1/holds", {"node": "n", "reason": "r" * 10_001}, "reason", 10_000),
    ],
)
def test_texts_and_lists_beyond_measure_are_refused_by_field_and_limit(owner: Any, path: str, body: Any, field: str, most: int) -> None:
    answer = owner.post(path, body)
    assert (answer.status, answer.json()["facts"].get("field")) == (422, field), answer.text[:300]
    assert f"at most {most} are taken" in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("registered-models/create", {"name": "m", "description": "d" * 100_001}, "description"),
        ("registered-models/create", {"name": "m" * 1_001}, "name"),
        ("registered-models/create", {"name": "m", "tags": [{"key": f"k{n}", "value": ""} for n in range(1_001)]}, "tags"),
        ("experiments/create", {"name": "e", "artifact_location": "a" * 100_001}, "artifact_location"),
        ("runs/create", {"experiment_id": "0", "user_id": "u" * 100_001}, "user_id"),
    ],
)
def test_texts_of_mlflow_beyond_measure_are_refused_in_its_words(owner: Any, path: str, body: Any, field: str) -> None:
    answer = owner.post(f"/api/2.0/mlflow/{path}", body)
    assert (answer.status, answer.json().get("error_code"), f"'{field}' has" in answer.text) == (400, "INVALID_PARAMETER_VALUE", True), answer.text[
        :300
    ]


def test_a_form_is_held_to_the_same_texts(owner: Any) -> None:
    page = owner.sending(**owner.headers, Accept="text/html").post("/runs/r/cancel", b"reason=" + b"r" * 10_001)
    assert (page.status, "10001 characters, at most 10000 are taken" in page.text) == (422, True)


def test_more_online_values_than_are_answered_are_not_looked_up(owner: Any) -> None:
    answer = owner.post("/v1/features/online", {"features": ["v:f"] * 2_000, "entity_rows": [{"k": 1}] * 600})
    assert (answer.status, "asks for 1200000 values, at most 1000000" in answer.text) == (422, True)


def test_every_text_and_list_of_a_body_says_how_long_it_may_be(shared: Any) -> None:
    document = shared.application.openapi()
    own = [act["requestBody"] for path, acts in document["paths"].items() if path.startswith("/v1/") for act in acts.values() if "requestBody" in act]
    assert len(own) > 25
    pending, seen, boundless = [each["content"] for each in own], set[str](), list[Any]()
    while pending:
        found = pending.pop()
        if isinstance(found, list):
            pending += found
        elif isinstance(found, dict):
            name = found.get("$ref", "").rpartition("/")[2]
            if name and name not in seen:
                seen.add(name)
                pending.append(document["components"]["schemas"][name])
            is_text = found.get("type") == "string" and "enum" not in found and "maxLength" not in found
            is_list = found.get("type") == "array" and found["items"] != {"type": "object"} and "maxItems" not in found
            boundless += [found] if is_text or is_list else []
            pending += found.values()
    assert len(seen) > 25
    assert not boundless
