"""A real prediction process: uvicorn, LightGBM, LMDB, SQLite and segment files, under traffic and killed in the middle of it."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import lightgbm
import numpy as np
import polars as pl
import pytest

from rota.backends.models.lightgbm_format import LightGBMFormat
from rota.backends.online.lmdb_online import LmdbOnline
from rota.backends.sql.metadata import SqlMetadata
from rota.backends.storage.blob_directory import BlobDirectory
from rota.backends.storage.delta_tables import DeltaTables
from rota.backends.storage.segment_journal import SegmentJournal
from rota.manage.features.online.reader import merge, stored_view, upserts
from rota.manage.features.rows.coercion import check_events
from rota.manage.models.transformation import fit, matrix
from rota.manage.signals import prediction_log
from rota.ports.metadata import Batch
from rota.records.data import Entity, Feature, FeatureService, FeatureView, OnDemandFeatureView, Source
from rota.records.model import ModelBundle
from rota.records.record import encode
from rota.records.release import Endpoint, Release, Route, Serving

WEATHER = Source("weather", {"origin": "string", "wind": "float", "at": "timestamp"}, "at")
VIEW = FeatureView("weather", [Entity("airport", ["origin"])], WEATHER, {"wind": Feature("wind")})
REQUEST = OnDemandFeatureView(
    "request", {"distance": "float", "carrier": "string"}, {"km": Feature("1.609 * distance"), "carrier": Feature("carrier")}
)
SERVICE = FeatureService("delay", [VIEW, REQUEST])
TYPES = {"weather__wind": "float", "request__km": "float", "request__carrier": "string"}


class Home:
    """A home directory with two trained versions, and the process that serves it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.blobs = BlobDirectory(path / "blobs")
        self.metadata = SqlMetadata(path / "metadata.db")
        self.models = [self._train(seed) for seed in (1, 2)]
        online = LmdbOnline(path / "online", size_mb=64)
        rows = check_events(WEATHER, [{"origin": origin, "wind": wind, "at": 1} for origin, wind in (("JFK", 3.0), ("EWR", 9.0))])
        online.update(upserts(stored_view(VIEW), rows, 1), merge)
        online.close()

    def _train(self, seed: int) -> tuple[str, lightgbm.Booster]:
        random = np.random.default_rng(seed)
        frame = pl.DataFrame(
            {
                "weather__wind": random.normal(6, 3, 2_000),
                "request__km": random.uniform(100, 4_000, 2_000),
                "request__carrier": random.choice(["AA", "UA"], 2_000),
            }
        )
        self.transformation = fit(dict(sorted(TYPES.items())), frame)
        cells = matrix(self.transformation, frame)
        label = (cells[:, 2] + random.normal(0, 2, 2_000) > 7).astype(float)
        booster = lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1, "seed": seed}, lightgbm.Dataset(cells, label), 20)
        golden = cells[:20]
        bundle = ModelBundle(
            "flights",
            "lightgbm",
            self.blobs.put(LightGBMFormat().dumps(booster)),
            "classification",
            SERVICE,
            self.transformation,
            tuple(tuple(row) for row in golden.tolist()),
            tuple(booster.predict(golden).tolist()),
        )
        return self.blobs.put(encode(bundle)), booster

    def release(self, revision: int, canary: int = 0) -> None:
        routes = [Route("flights", 1, self.models[0][0], "stable", 100 - canary), Route("flights", 2, self.models[1][0], "canary", canary)]
        batch = Batch()
        batch.put(Endpoint("delay", "flights"))
        batch.put(Release("delay", revision, tuple(routes if canary else routes[:1]), "flight", 0))
        self.metadata.commit(batch)

    def start(self) -> None:
        script = Path(__file__).with_name("prediction_process.py")
        self.process = subprocess.Popen([sys.executable, str(script), str(self.path)], stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        eventually(lambda: ask(self.port, "GET", "/v2/health/ready")[0] == 200)

    def end(self, how: int) -> int:
        os.kill(self.process.pid, how)
        status = self.process.wait()
        self.process.stdout.close()
        return status

    def log(self) -> pl.DataFrame:
        journal, tables = SegmentJournal(self.path / "log"), DeltaTables(self.path / "tables")
        prediction_log.flush(journal, tables, "delay")
        journal.close()
        return prediction_log.read(tables, "delay", 0, 2**62)


def eventually(true, timeout_s=120.0):
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(0.01)


def ask(port, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def traffic(port, thread, acknowledged):
    """Ask over one connection until the process is gone; what it answered is acknowledged."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for n in range(1_000_000):
        origins = ["JFK", "EWR", "XXX"]
        rows = [
            {"origin": origins[(n + k) % 3], "distance": float(n % 2_000), "carrier": "UA", "flight": f"{thread}-{n}-{k}"}
            for k in range(1 + 11 * (n % 2))
        ]
        try:
            connection.request("POST", "/v1/endpoints/delay/predict", json.dumps({"rows": rows}))
            reply = connection.getresponse()
            answers = json.loads(reply.read())["predictions"]
        except (OSError, http.client.HTTPException):
            break
        assert reply.status == 200
        acknowledged.extend((answer["prediction_id"], answer["answer"], answer["version"]) for answer in answers)
    connection.close()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("home"))
    yield home
    home.metadata.close()


def test_every_prediction_acknowledged_before_kill_9_is_in_the_log_with_what_the_model_saw(trained):
    trained.release(1)
    trained.start()
    acknowledged = []
    threads = [threading.Thread(target=traffic, args=(trained.port, thread, acknowledged)) for thread in range(4)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(acknowledged) > 500)
    trained.release(2, canary=50)
    eventually(lambda: (record := trained.metadata.get(Serving, "delay", "host-0")) is not None and record.revision == 2)
    so_far = len(acknowledged)
    eventually(lambda: len(acknowledged) > so_far + 1_000)
    assert trained.end(signal.SIGKILL) == -signal.SIGKILL
    for thread in threads:
        thread.join()

    log = trained.log()
    logged = {row[0]: row[1:] for row in log.select("prediction_id", "answer", "number").rows()}
    assert len({each for each, _, _ in acknowledged}) == len(acknowledged)
    assert all(logged.get(each) == (answer, version) for each, answer, version in acknowledged)
    assert {version for _, _, version in acknowledged} == {1, 2}
    assert set(log["weather__wind"]) == {3.0, 9.0, None}
    for number, rows in log.partition_by("number", as_dict=True).items():
        again = trained.models[number[0] - 1][1].predict(matrix(trained.transformation, rows))
        np.testing.assert_allclose(rows["answer"].to_numpy(), again, rtol=0, atol=1e-12)


def test_a_successor_takes_over_and_ends_in_order_when_asked(trained):
    trained.release(3)
    trained.start()
    assert trained.metadata.get(Serving, "delay", "host-0").revision == 3
    row = {"origin": "JFK", "distance": 100.0, "carrier": "UA"}
    status, body = ask(trained.port, "POST", "/v1/endpoints/delay/predict", {"rows": [row], "ids": ["last"]})
    assert (status, json.loads(body)["logged"]) == (200, True)
    assert trained.end(signal.SIGTERM) in (0, -signal.SIGTERM)
    assert "last" in trained.log()["prediction_id"]
    assert not list((trained.path / "log").rglob("*.seg"))
