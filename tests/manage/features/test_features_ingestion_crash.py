"""Ingestion that is killed anywhere, and ingestion by several processes: every row arrives once, and is told of once."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

from rota import wiring
from rota.manage.features.ingestion import ingestion_log, quarantine
from rota.records.data import Source
from rota.settings import Settings

ROWS = 6_000
CHILD = """
import functools, os, signal, sys
from pathlib import Path
from rota import wiring
from rota.manage.features.ingestion import watermarks
from rota.manage.features.rows import file_readers
from rota.settings import Settings

home, source, step, count = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
file_readers.chunks = functools.partial(file_readers.chunks, rows=500)
watermarks.CHUNK_ROWS = 500
left = count

def dying(act):
    def wrapped(*arguments, **words):
        global left
        left -= 1
        before = step.startswith("before")
        if left == 0 and before:
            os.kill(os.getpid(), signal.SIGKILL)
        done = act(*arguments, **words)
        if left == 0 and not before:
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    return wrapped

with wiring.opened(Settings(home=home)) as platform:
    kind = step.split()[1]
    if kind == "append":
        platform.repositories.tables.append = dying(platform.repositories.tables.append)
    if kind == "commit":
        platform.repositories.metadata.commit = dying(platform.repositories.metadata.commit)
    print(platform.feed.ingestion.ingest(source).rows_out)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    header = "id,shop,at,amount\n"
    lines = [f"{i},a,2013-07-15T{i // 3600:02d}:{i // 60 % 60:02d}:{i % 60:02d}Z,{'x' if i % 1000 == 999 else 1}" for i in range(ROWS)]
    (tmp_path / "a.csv").write_text(header + "\n".join(lines) + "\n")
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection, connection:
        connection.execute("CREATE TABLE sales (id INTEGER, shop TEXT, at TEXT, amount REAL)")
        rows = [line.split(",") for line in lines]
        connection.executemany("INSERT INTO sales VALUES (?, ?, ?, ?)", [(*row[:3], row[3] if row[3] == "x" else float(row[3])) for row in rows])
    fields = {"id": "int", "shop": "string", "at": "timestamp", "amount": "float"}
    with wiring.opened(Settings(home=tmp_path / "home")) as platform:
        platform.feed.register(
            [
                Source("files", fields, "at", path=str(tmp_path / "*.csv")),
                Source("database", fields, "at", url=f"sqlite:///{tmp_path}/shop.db", query="sales"),
            ]
        )
    return tmp_path / "home"


def child(home: Path, source: str, step: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", CHILD, str(home), source, step, str(count)], stdout=subprocess.PIPE, text=True)


def check_whole(home: Path, source: str) -> None:
    with wiring.opened(Settings(home=home)) as platform:
        r = platform.repositories
        platform.feed.ingestion.ingest(source)
        ids = r.tables.scan(f"sources/{source}").select(pl.col("id").sort()).collect()["id"].to_list()
        assert ids == [i for i in range(ROWS) if i % 1000 != 999]
        assert quarantine.count(r.tables, source) == 6
        done = ingestion_log.history(r.metadata, source)
        assert {each.status for each in done} == {"done"}
        assert sum(each.rows_out for each in done) == len(ids)
        assert sum(each.rejected for each in done) == 6
        assert sum(event.body["rows"] for event in r.metadata.events(0) if event.kind == "data.arrived") == len(ids)


@pytest.mark.parametrize("source", ["files", "database"])
@pytest.mark.parametrize(("step", "count"), [("before append", 1), ("after append", 4)])
def test_an_ingestion_that_is_killed_is_carried_on_without_loss_or_doubling(home: Path, source: str, step: str, count: int) -> None:
    killed = child(home, source, step, count)
    killed.communicate(timeout=300)
    assert killed.returncode == -signal.SIGKILL
    check_whole(home, source)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["files", "database"])
@pytest.mark.parametrize(
    ("step", "count"), [(f"{when} {what}", n) for when in ("before", "after") for what in ("append", "commit") for n in (2, 6, 13)]
)
def test_killed_at_more_places(home: Path, source: str, step: str, count: int) -> None:
    child(home, source, step, count).communicate(timeout=300)
    check_whole(home, source)


@pytest.mark.slow
def test_two_processes_ingest_at_once_and_a_third_is_killed(home: Path) -> None:
    several = [child(home, "files", "never never", 0) for _ in range(2)]
    third = child(home, "files", "never never", 0)
    time.sleep(0.5)
    os.kill(third.pid, signal.SIGKILL)
    for each in (*several, third):
        each.communicate(timeout=300)
    assert [each.returncode for each in several] == [0, 0]
    check_whole(home, "files")
