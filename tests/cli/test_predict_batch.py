"""`rota predict batch` as a process of its own: killed at any moment it goes on, and every row is answered and logged once."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import lightgbm
import numpy as np
import polars as pl
import pytest

import rota
from rota.backends.sql.metadata import SqlMetadata
from rota.backends.storage.delta_tables import DeltaTables
from rota.backends.storage.segment_journal import SegmentJournal
from rota.manage.signals import prediction_log
from rota.ports.metadata import Batch
from rota.records.release import Endpoint, Release, Route

WAIT_S = 120


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose endpoint `sum` serves a model of two columns."""
    home = tmp_path_factory.mktemp("batch") / "home"
    x = np.random.default_rng(0).normal(size=(400, 2))
    booster = lightgbm.train({"verbose": -1, "num_threads": 1}, lightgbm.Dataset(x, x.sum(axis=1)), 20)
    version = rota.register_model("sum", model=booster, input_example=pl.DataFrame(x[:5], schema=["a", "b"]), problem="regression", home=home)
    assert not version.unservable
    metadata, batch = SqlMetadata(home / "metadata.db"), Batch()
    batch.put(Endpoint("sum", "sum"))
    batch.put(Release("sum", 1, (Route("sum", 1, version.bundle, "stable", 100),), "", 0))
    metadata.commit(batch)
    metadata.close()
    return home


def command(home: Path, *words: object) -> list[str]:
    return [sys.executable, "-m", "rota.cli", "--home", str(home), "predict", "batch", "sum", *map(str, words)]


def test_a_batch_killed_twice_answers_and_logs_every_row_once(served: Path, tmp_path: Path) -> None:
    rows = 6_000
    x = np.random.default_rng(1).normal(size=(rows, 2))
    pl.DataFrame(x, schema=["a", "b"]).write_parquet(tmp_path / "in.parquet")
    words = ("--input", tmp_path / "in.parquet", "--output", tmp_path / "out.parquet", "--part-rows", 200, "--json")
    parts = tmp_path / "out.parquet.parts"
    for wanted in (3, 9):
        with subprocess.Popen(command(served, *words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            deadline = time.monotonic() + WAIT_S
            while len(list(parts.glob("*.parquet"))) < wanted:
                assert process.poll() is None, process.stderr.read().decode()[-2_000:]
                assert time.monotonic() < deadline
                time.sleep(0.002)
            os.kill(process.pid, signal.SIGKILL)
    done = subprocess.run(command(served, *words), capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    told = json.loads(done.stdout)
    assert (told["rows"], told["failed"], told["revision"]) == (rows, 0, 1)
    assert told["resumed"] >= 9 * 200
    found = pl.read_parquet(tmp_path / "out.parquet")
    assert found["row"].to_list() == list(range(rows))
    assert found["answer"].to_numpy() == pytest.approx(rota.load("sum@1", home=served).predict(pl.DataFrame(x, schema=["a", "b"])))
    journal, tables = SegmentJournal(served / "log"), DeltaTables(served / "tables")
    prediction_log.flush(journal, tables, "sum")
    journal.close()
    logged = prediction_log.STREAM.effective(prediction_log.read(tables, "sum", 0, 2**62).lazy()).collect()
    assert sorted(logged["prediction_id"]) == sorted(found["prediction_id"])


def test_queries_are_scored_and_what_is_asked_wrongly_is_told(served: Path, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, a REAL, b REAL)")
        connection.executemany("INSERT INTO orders (a, b) VALUES (?, ?)", [(0.1 * n, -0.1) for n in range(25)])
    connection.close()
    words = ("--sql", "SELECT * FROM orders WHERE id <= 20", "--url", f"sqlite:///{tmp_path}/shop.db", "--order-by", "id")
    done = subprocess.run(
        command(served, *words, "--output", tmp_path / "out.csv", "--part-rows", 8, "--json"),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    assert pl.read_csv(tmp_path / "out.csv")["row"].to_list() == list(range(20))
    wrong = subprocess.run(command(served, "--output", tmp_path / "x.csv"), capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert (wrong.returncode, "--input" in wrong.stderr) == (2, True)
