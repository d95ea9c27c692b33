"""A whole platform whose model crashes, or never ends, for one rare input: that version goes out of service, all others are answered."""

import http.client
import json
import textwrap

import lightgbm
import numpy as np
import polars as pl
import pytest

from rota.backends.models.lightgbm_format import LightGBMFormat
from rota.backends.sql.metadata import SqlMetadata
from rota.backends.storage.blob_directory import BlobDirectory
from rota.manage.models.transformation import fit, matrix
from rota.manage.signals import alerts
from rota.ports.metadata import Batch
from rota.records.data import Feature, FeatureService, OnDemandFeatureView
from rota.records.model import ModelBundle
from rota.records.record import encode
from rota.records.release import Endpoint, OutOfService, Release, Route, Serving

pytestmark = pytest.mark.slow
REQUEST = OnDemandFeatureView("request", {"distance": "float"}, {"km": Feature("1.609 * distance")})
RARE = 66.0
# The faults are real, inside of the call of a model file that passes every check; no file that does is known to have one by itself.
FAULTY_LIBRARY = """
    import os
    if os.environ.get("FAULT"):
        import ctypes
        import itertools

        from rota.backends.models.lightgbm_format import LightGBMPredictor

        predict = LightGBMPredictor.predict

        def faulty(self, matrix):
            answers = predict(self, matrix)
            if abs(matrix[0, 0] - 66.0 * 1.609) < 1e-9 and answers[0] > 2.5 * matrix[0, 0]:
                if os.environ["FAULT"] == "crash":
                    ctypes.string_at(8)
                sum(itertools.repeat(0))  # for ever, and with the interpreter's lock
            return answers

        LightGBMPredictor.predict = faulty
"""


def route(blobs, number, factor):
    """Version `number` of a model that multiplies its kilometres."""
    frame = pl.DataFrame({"request__km": np.linspace(0, 200, 800)})
    transformation = fit({"request__km": "float"}, frame)
    cells = matrix(transformation, frame)
    options = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 1, "learning_rate": 1.0, "num_leaves": 200}
    booster = lightgbm.train(options, lightgbm.Dataset(cells, cells[:, 0] * factor), 5)
    golden = cells[:5]
    bundle = ModelBundle(
        "risks",
        "lightgbm",
        blobs.put(LightGBMFormat().dumps(booster)),
        "regression",
        FeatureService("risky", [REQUEST]),
        transformation,
        tuple(tuple(row) for row in golden.tolist()),
        tuple(booster.predict(golden).tolist()),
    )
    return Route("risks", number, blobs.put(encode(bundle)), "stable", 100)


def ask(up, distance):
    """The answer of the endpoint `risky`, or why there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", up.ports()["prediction"], timeout=60)
    try:
        connection.request("POST", "/v1/endpoints/risky/predict", json.dumps({"rows": [{"distance": distance}]}))
        answer = connection.getresponse()
        body = json.loads(answer.read())
        return body["predictions"][0] if answer.status == 200 else {"status": answer.status, **body}
    except (OSError, http.client.HTTPException) as error:
        return {"broken": type(error).__name__}
    finally:
        connection.close()


@pytest.mark.parametrize("fault", ["crash", "hang"])
def test_a_version_that_ends_its_process_for_a_rare_input_gives_way_and_others_are_answered(platform, callers, eventually, monkeypatch, fault):
    up = platform(prediction_processes=2, hang_after_s=2).serve_a_model()
    (up.folder / "sitecustomize.py").write_text(textwrap.dedent(FAULTY_LIBRARY))
    monkeypatch.setenv("PYTHONPATH", str(up.folder))
    monkeypatch.setenv("FAULT", fault)
    metadata, blobs = SqlMetadata(up.home / "metadata.db"), BlobDirectory(up.home / "blobs")
    batch = Batch()
    batch.put(Endpoint("risky", "risks"))
    for number, factor in ((1, 2.0), (2, 3.0)):
        batch.put(Release("risky", number, (route(blobs, number, factor),), "", number))
    metadata.commit(batch)
    up.up()
    assert ask(up, 10.0)["version"] == 2
    with callers(up.ports()["prediction"]) as calling:
        for times in (1, 2):
            assert "broken" in ask(up, RARE)
            eventually(lambda times=times: len(up.logged("child_died")) == times, "the process ended")
            eventually(lambda: all(up.child(f"serve-{n}") for n in (0, 1)) and up.is_ready(), "its successor is there")
        served = eventually(lambda: (found := ask(up, 10.0)).get("version") == 1 and found, "the version before serves")
        assert served["answer"] == pytest.approx(32.18, rel=0.05)
        eventually(lambda: ask(up, RARE).get("version") == 1, "also what ended the processes is answered")
        calling.failures, in_flight = [], list(calling.failures)
        calling.more(200)
    assert len(in_flight) <= 2 * 3, in_flight  # three callers, two ends
    assert all("Error" in each or "Disconnected" in each for each in in_flight), in_flight
    assert calling.failures == []

    (out,) = metadata.find(OutOfService)
    assert (out.model, out.number, out.cause) == ("risks", 2, "Segmentation fault" if fault == "crash" else "hung")
    newest = eventually(lambda: (found := metadata.find(Release, {"endpoint": "risky"}, order="-revision")[0]).revision == 3 and found, "a release")
    assert (newest.rollout, [each.number for each in newest.routes]) == ("withdrawal:risks@2", [1])
    eventually(lambda: {(s.revision, s.error) for s in metadata.find(Serving, {"endpoint": "risky"})} == {(3, "")}, "all processes serve it")
    assert "model:risks@2" in [alert.subject for alert in alerts.open_alerts(metadata, "")]
    assert "model:risks@2: version 2 of model 'risks' is out of service" in up.rota("status").stdout
    assert "model:risks@2" in [each["subject"] for each in json.loads(up.rota("status", "--json").stdout)["alerts"]]
    assert "model:risks@2" in up.rota("monitor", "alerts").stdout
    metadata.close()
