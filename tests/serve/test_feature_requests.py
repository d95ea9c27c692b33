"""POST /get-online-features: Feast's wire shape, from what was pushed to what a caller gets, and what a wrong question gets."""

import asyncio
import json
from typing import Any

import pytest

from rota.backends.memory.blobs import MemoryBlobs
from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.runs import MemoryRuns
from rota.backends.memory.tables import MemoryTables
from rota.backends.memory.tracking import MemoryTracking
from rota.errors import Unavailable
from rota.manage.features.store import Store
from rota.manage.features.writer import Feed
from rota.manage.repositories import Repositories
from rota.records.data import Entity, Feature, FeatureService, FeatureView, OnDemandFeatureView, Source
from rota.serve import feature_requests
from rota.serve.asgi import PredictionApp, RequestLimits
from rota.testing.clock import FakeClock

NOON = 1_373_889_600_000_000
PATH = "/get-online-features"
source = Source("rides", {"driver": "int", "city": "string", "at": "timestamp", "rate": "float", "note": "string"}, "at")
stats = FeatureView("stats", [Entity("driver", ["driver"])], source, {"rate": Feature("rate"), "note": Feature("note")}, ttl="2h")
asked = OnDemandFeatureView("asked", {"km": "float"}, {"twice": Feature("2 * km")})


@pytest.fixture
def store() -> Store:
    clock, metadata = FakeClock(NOON), MemoryMetadata()
    repositories = Repositories(
        metadata=metadata,
        runs=MemoryRuns(metadata),
        blobs=MemoryBlobs(),
        tables=MemoryTables(),
        online=MemoryOnline(),
        journal=MemoryJournal(),
        clock=clock,
        tracking=MemoryTracking(metadata),
    )
    made = Store(repositories, Feed(metadata, repositories.tables, repositories.online, repositories.journal, clock))
    made.apply([FeatureService("drivers", [stats, asked])])
    made.push(
        "rides", [{"driver": 7, "at": "2013-07-15T11:59:58.5Z", "rate": 0.5, "note": None}, {"driver": 8, "at": NOON - 7_200_000_001, "rate": 1.0}]
    )
    return made


@pytest.fixture
def call(world, store: Store):
    app = PredictionApp(world.core, world.poller, features=store, limits=RequestLimits(body_bytes=10_000))

    def ask(body: Any, method: str = "POST", app: PredictionApp = app) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent: list[Any] = []

        async def receive():
            return {"type": "http.request", "body": data}

        async def send(message):
            sent.append(message)

        headers = [(b"content-length", b"%d" % len(data))]
        asyncio.run(app({"type": "http", "method": method, "path": PATH, "headers": headers}, receive, send))
        return sent[0]["status"], json.loads(sent[1]["body"])

    return ask


def test_the_answer_has_feasts_shape(call) -> None:
    status, body = call({"features": ["stats:rate", "stats:note"], "entities": {"driver": [7, 8, 9]}})
    times = ["2013-07-15T11:59:58.500000Z", "2013-07-15T09:59:59.999999Z", "1970-01-01T00:00:00Z"]
    gone = ["OUTSIDE_MAX_AGE", "NOT_FOUND"]
    assert status == 200
    assert body == {
        "metadata": {"feature_names": ["driver", "rate", "note"]},
        "results": [
            {"values": [7, 8, 9], "statuses": ["PRESENT"] * 3, "event_timestamps": ["1970-01-01T00:00:00Z"] * 3},
            {"values": [0.5, None, None], "statuses": ["PRESENT", *gone], "event_timestamps": times},
            {"values": [None] * 3, "statuses": ["NULL_VALUE", *gone], "event_timestamps": times},
        ],
    }


def test_a_service_is_asked_for_by_its_name(call) -> None:
    status, body = call({"feature_service": "drivers", "entities": {"driver": [7], "km": [1.5]}, "full_feature_names": True})
    assert status == 200
    values = dict(zip(body["metadata"]["feature_names"], [result["values"] for result in body["results"]], strict=True))
    assert values == {"driver": [7], "stats__rate": [0.5], "stats__note": [None], "asked__twice": [3.0]}


def test_no_rows_get_an_empty_answer(call) -> None:
    status, body = call({"features": ["stats:rate"], "entities": {"driver": []}})
    assert status == 200
    assert body["results"] == [{"values": [], "statuses": [], "event_timestamps": []}] * 2


ENTITIES = {"driver": [7]}
WRONG: list[tuple[Any, int, str]] = [
    (b"{", 400, "not JSON"),
    (b"[]", 422, "expected form"),
    (b'{"entities": {"driver": ' + b"[" * 5_000, 400, "not JSON"),
    ({"features": ["stats:rate"]}, 422, "entities"),
    ({"features": ["stats:rate"], "entities": [{"driver": 7}]}, 422, "entities"),
    ({"features": ["stats:rate"], "entities": ENTITIES, "extra": 1}, 422, "extra"),
    ({"entities": ENTITIES}, 422, "feature_service"),
    ({"features": ["stats:rate"], "feature_service": "drivers", "entities": ENTITIES}, 422, "either"),
    ({"feature_service": "stats:rate", "entities": ENTITIES}, 422, "no name of a feature service"),
    ({"feature_service": "riders", "entities": ENTITIES}, 404, "drivers"),
    ({"features": ["stats:wrong"], "entities": ENTITIES}, 404, "wrong"),
    ({"features": ["stat:rate"], "entities": ENTITIES}, 404, "stats"),
    ({"features": ["../../etc/passwd"], "entities": ENTITIES}, 422, "passwd"),
    ({"features": ["stats:rate"], "entities": {}}, 422, "lack the field 'driver'"),
    ({"features": ["stats:rate"], "entities": {"driver": [7], "x": [1, 2]}}, 200, ""),
    ({"features": ["stats:rate", "asked:twice"], "entities": {"driver": [7], "km": [1, 2]}}, 422, "different lengths"),
    ({"features": ["stats:rate"], "entities": {"driver": [True]}}, 422, "True is no integer"),
    ({"features": ["stats:rate"], "entities": {"driver": ["7"]}}, 422, "row 0, field 'driver'"),
    ({"features": ["stats:rate"], "entities": {"driver": [2**64]}}, 422, "64 bits"),
    (b'{"features": ["stats:rate"], "entities": {"driver": [1' + b"0" * 4_000 + b"]}}", 422, ""),
    ({"features": ["stats:rate"], "entities": {"driver": [7] * 5_000}}, 413, "max_request_mb"),
]


@pytest.mark.parametrize(("body", "status", "message"), WRONG, ids=[f"{status} {message[:20]}" for _, status, message in WRONG])
def test_what_was_asked_wrongly_is_named(call, body, status: int, message: str) -> None:
    got, answer = call(body)
    assert got == status, answer
    if message:
        assert message in answer["error"]
        assert isinstance(answer["facts"], dict)


def test_the_path_takes_post_only(call) -> None:
    status, body = call({}, "GET")
    assert status == 405
    assert "POST" in body["error"]


def test_a_process_without_features_has_no_such_path(call, world) -> None:
    assert call({}, app=PredictionApp(world.core, world.poller))[0] == 404


def test_a_store_that_does_not_answer_is_unavailable(call, world) -> None:
    class Away:
        def get_online_features(self, features, entity_rows, *, full_feature_names):
            raise Unavailable("the online store is away")

    status, body = call({"features": ["stats:rate"], "entities": ENTITIES}, app=PredictionApp(world.core, world.poller, features=Away()))
    assert (status, body["error"]) == (503, "the online store is away")


def test_a_small_question_cannot_have_an_answer_without_end(call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_requests, "MOST_ROWS", 100)
    monkeypatch.setattr(feature_requests, "ONLINE_VALUES", 150)
    assert call({"features": ["stats:rate"], "entities": {"driver": [7] * 100}})[0] == 200
    assert "101 rows" in call({"features": ["stats:rate"], "entities": {"driver": [7] * 101}})[1]["error"]
    assert "160 values" in call({"features": ["stats:rate", "stats:note"], "entities": {"driver": [7] * 80}})[1]["error"]


def test_an_infinite_number_is_null_on_the_wire(call, store: Store) -> None:
    store.push("rides", [{"driver": 10, "at": NOON, "rate": float("inf")}])
    _, body = call({"features": ["stats:rate"], "entities": {"driver": [10]}})
    assert body["results"][1]["values"] == [None]
    assert body["results"][1]["statuses"] == ["PRESENT"]
