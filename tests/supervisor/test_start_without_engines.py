"""A real PostgreSQL is stopped and a prediction process killed: its successor starts, answers and logs, and follows again afterwards."""

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from rota.backends.sql.engine import open_engine
from rota.backends.sql.metadata import SqlMetadata
from rota.backends.storage.blob_directory import BlobDirectory

pytestmark = pytest.mark.slow


class OwnPostgres:
    """A server that a test may stop and start."""

    def __init__(self, folder: Path, port: int) -> None:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [
            Path(shutil.which("initdb") or pytest.skip("apt-get install postgresql")).parent
        ]
        self.programs, self.data, self.port = programs[-1], folder / "data", port
        self.user = "postgres" if os.geteuid() == 0 else None
        self.url = f"postgresql://rota@127.0.0.1:{port}/postgres"
        folder.mkdir()
        if self.user:
            shutil.chown(folder, self.user)
            for parent in [folder, *folder.parents][:4]:
                parent.chmod(parent.stat().st_mode | 0o011)
        made = [self.programs / "initdb", "-D", self.data, "-U", "rota", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(made, check=True, user=self.user, cwd=folder, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        command = [self.programs / "postgres", "-D", self.data, "-p", str(self.port), "-h", "127.0.0.1", "-k", "", "-c", "fsync=off"]
        self.process = subprocess.Popen(command, user=self.user, cwd=self.data.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            with suppress(OSError):
                if (self.data / "postmaster.pid").read_text().rstrip().endswith("ready"):
                    return
            time.sleep(0.05)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGQUIT)  # at once, as a crash would
        self.process.wait()


@pytest.fixture
def postgres(tmp_path, free_ports):
    server = OwnPostgres(tmp_path / "postgres", free_ports(1)[0])
    server.start()
    yield server
    server.stop()


def test_a_prediction_process_starts_answers_and_logs_while_its_metadata_is_away(platform, postgres, put_release, callers, kill, eventually):
    up = platform(metadata_url=postgres.url)
    up.home.mkdir(mode=0o700, parents=True)
    metadata = SqlMetadata(open_engine(postgres.url))
    put_release(metadata, BlobDirectory(up.home / "blobs"))
    up.up()
    eventually((up.home / "serving" / "releases.json").exists, "what is served is kept")
    metadata.close()
    postgres.stop()
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
    postgres.start()
    metadata = SqlMetadata(open_engine(postgres.url))
    put_release(metadata, BlobDirectory(up.home / "blobs"), 2)
    metadata.close()

    def followed() -> bool:
        return '"revision":2' in (up.home / "serving" / "releases.json").read_text()

    eventually(followed, "the new release is served and kept")
    assert up.get("prediction", "/v2/health/ready") == (200, b'{"ready":true}')
