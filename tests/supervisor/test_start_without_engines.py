"""A real PostgreSQL is stopped and a prediction process killed: its successor starts, answers and logs, and follows again afterwards."""

import json
import urllib.request

import pytest

from rota.backends.sql.engine import open_engine
from rota.backends.sql.metadata import SqlMetadata
from rota.backends.storage.blob_directory import BlobDirectory
from rota.records.condition import ProcessReport

pytestmark = pytest.mark.slow


def test_a_prediction_process_starts_answers_and_logs_while_its_metadata_is_away(platform, postgres_server, put_release, callers, kill, eventually):
    postgres_server.start()
    up = platform(metadata_url=postgres_server.url)
    up.home.mkdir(mode=0o700, parents=True)
    metadata = SqlMetadata(open_engine(postgres_server.url))
    put_release(metadata, BlobDirectory(up.home / "blobs"))
    up.up()
    eventually((up.home / "serving" / "releases.json").exists, "what is served is kept")
    metadata.close()
    postgres_server.stop()
    before = up.child("serve-0")
    kill(before)
    eventually(lambda: up.child("serve-0") not in (0, before) and up.is_ready(), "its successor is ready")
    assert "the newest releases cannot be read" in up.get("prediction", "/v2/health/ready")[1].decode()
    with callers(up.ports()["prediction"]) as calling:
        calling.more()
    assert calling.failures == []
    question = urllib.request.Request(
        f"http://127.0.0.1:{up.ports()['prediction']}/v1/endpoints/delay/predict",
        json.dumps({"rows": [{"distance": 1.0}]}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(question, timeout=60) as answer:
        assert json.loads(answer.read())["logged"] is True
    untold = [line for line in up.logged("unavailable") if line["process"] == "serve-0" and line["of"] == "report"]
    assert len(untold) <= 2, "one of the process that was killed, one of its successor"
    postgres_server.start()
    metadata = SqlMetadata(open_engine(postgres_server.url))
    put_release(metadata, BlobDirectory(up.home / "blobs"), 2)
    eventually(lambda: any(each.pid == up.child("serve-0") for each in metadata.find(ProcessReport)), "it tells of itself again")
    metadata.close()

    def followed() -> bool:
        return '"revision":2' in (up.home / "serving" / "releases.json").read_text()

    eventually(followed, "the new release is served and kept")
    assert up.get("prediction", "/v2/health/ready") == (200, b'{"ready":true}')
