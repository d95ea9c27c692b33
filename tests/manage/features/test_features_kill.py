"""kill -9 at any moment of a push, a flush or a materialization, two writers at once: nothing acknowledged lost, nothing doubled."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from rota.backends.online.lmdb_online import LmdbOnline
from rota.backends.sql.engine import open_engine
from rota.backends.sql.metadata import SqlMetadata
from rota.backends.storage.delta_tables import DeltaTables
from rota.backends.storage.segment_journal import SegmentJournal
from rota.manage.features.join.point_in_time import historical
from rota.manage.features.online.reader import OnlineFeatures
from rota.manage.features.writer import Feed
from rota.records.data import Entity, Feature, FeatureService, FeatureView, Source
from rota.testing.clock import FakeClock

START = 1_373_860_800_000_000
SHOPS = ("a", "b", "c")
shop = Entity("shop", ["shop"])


def service(*, identified: bool) -> FeatureService:
    source = Source("sales", {"id": "int", "shop": "string", "at": "timestamp", "amount": "int"}, "at", id_field="id" if identified else None)
    windows = {f"{kind}_amount": Feature("amount", kind, "1h") for kind in ("count", "sum", "min", "max", "last")}  # type: ignore[arg-type]
    return FeatureService(
        "s", [FeatureView("newest", [shop], source, {"amount": Feature("amount")}), FeatureView("windows", [shop], source, windows)]
    )


def opened(home: Path) -> Feed:
    metadata = SqlMetadata(open_engine(home / "metadata.db"))
    online, journal = LmdbOnline(home / "online", size_mb=64), SegmentJournal(home / "log")
    return Feed(metadata, DeltaTables(home / "tables"), online, journal, FakeClock(START))


def push(home: Path, first: int) -> None:
    """What a pushing process does: acknowledge every batch on its output."""
    feed = opened(home)
    feed.pushes.recover()
    for number in range(first, first + 1_000_000, 3):
        rows = [{"id": n, "shop": SHOPS[n % 3], "at": START - n % 1_000, "amount": n} for n in range(number, number + 3)]
        feed.pushes.push("sales", rows)
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


def work(home: Path, act: str) -> None:
    """What a worker does: carry and rebuild for ever."""
    feed = opened(home)
    for number in range(1_000_000):
        feed.pushes.flush_all() if act == "flush" else feed.materializer.materialize("windows")
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1] == "push":
        push(Path(sys.argv[2]), int(sys.argv[3]))
    work(Path(sys.argv[2]), sys.argv[3])


class Child:
    """This file run as a program, to be killed."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen([sys.executable, __file__, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
        self.lines: list[str] = []

    def begun(self) -> None:
        assert self.process.stdout is not None
        self.lines = [self.process.stdout.readline()]
        assert self.lines[0], "the child ended at once"

    def killed(self) -> list[int]:
        """What it had acknowledged."""
        assert self.process.stdout is not None
        os.kill(self.process.pid, signal.SIGKILL)
        said = "".join([*self.lines, self.process.stdout.read()])
        self.process.stdout.close()
        self.process.wait()
        return [int(line) for line in said.splitlines(keepends=True) if line.endswith("\n")]


def check(home: Path, features: FeatureService, acknowledged: set[int]) -> None:
    feed = opened(home)
    feed.pushes.recover()
    feed.pushes.flush_all()
    stores = feed._stores
    stored = stores.tables.scan("sources/sales").collect()
    assert acknowledged <= set(stored["id"])
    assert stored["id"].is_unique().all()
    told = [event for event in stores.metadata.events(0, limit=100_000) if event.kind == "data.arrived"]
    assert sum(event.body["rows"] for event in told) == stored.height
    vectors = OnlineFeatures(stores.online, features).vectors([{"shop": name} for name in SHOPS], START)
    spine = pl.DataFrame({"shop": SHOPS, "t": START})
    assert vectors == historical(stores.tables, features, spine, timestamp="t").drop("shop", "t").to_dicts()
    assert [vector["windows__count_amount"] for vector in vectors] == [stored.filter(shop=name).height for name in SHOPS]
    stores.online.close()
    stores.journal.close()
    stores.metadata.close()


@pytest.mark.parametrize(("identified", "rounds"), [pytest.param(*each, marks=pytest.mark.slow) for each in ((True, 1), (False, 1), (True, 8))])
def test_killed_pushers_and_workers_lose_and_double_nothing(tmp_path: Path, identified: bool, rounds: int) -> None:
    features = service(identified=identified)
    feed = opened(tmp_path)
    feed.register([features])
    feed._stores.online.close()
    feed._stores.metadata.close()
    draw, acknowledged = random.Random(rounds), set[int]()
    for number in range(rounds):
        pushers = [Child("push", tmp_path, (2 * number + writer) * 1_000_000) for writer in range(2)]
        workers = [Child("work", tmp_path, act) for act in ("flush", "materialize")]
        for child in (*pushers, *workers):
            child.begun()
        time.sleep(draw.random())  # somewhere in the middle of what they do
        for child in draw.sample([*pushers, *workers], 4):
            said = child.killed()
            if child in pushers:
                acknowledged |= {n for first in said for n in range(first, first + 3)}
    assert len(acknowledged) > 3 * rounds
    check(tmp_path, features, acknowledged)
