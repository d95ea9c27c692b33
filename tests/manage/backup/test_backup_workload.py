"""Backups of a platform at work, while it and they are killed: what is restored holds everything acknowledged before, each once, and no more.

The oracle is the test's own: a program writes down what it is about to do and what was acknowledged, in the order of time.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from rota import backups, wiring
from rota.manage.features.join.point_in_time import historical
from rota.manage.features.online.reader import OnlineFeatures
from rota.manage.lineage.audit_chain import verify_audit
from rota.manage.signals import labels, prediction_log
from rota.ports.metadata import Batch
from rota.ports.tracking import Logged
from rota.records.data import Entity, Feature, FeatureService, FeatureView, Source
from rota.records.dataset import DatasetVersion
from rota.records.model import Alias, ModelVersion
from rota.records.run import Run, RunQuery, Step
from rota.records.signal import Label, Note, Prediction
from rota.records.tracking import DEFAULT_EXPERIMENT, ExperimentRun, MetricPoint
from rota.settings import load

NOW = 1_373_860_800_000_000
SHOPS = ("a", "b", "c")
SALES = Source("sales", {"id": "int", "shop": "string", "at": "timestamp", "amount": "int"}, "at", id_field="id")
SERVICE = FeatureService(
    "s",
    [
        FeatureView("newest", [Entity("shop", ["shop"])], SALES, {"amount": Feature("amount")}),
        FeatureView("windows", [Entity("shop", ["shop"])], SALES, {"count": Feature("amount", "count", "1h")}),
    ],
)


class Work:
    """Everything a platform acknowledges, as a program does it: each act has a number, and `said` is called before and after it."""

    def __init__(self, platform: wiring.Platform, seed: int, first: int, said: Callable[[str], object]) -> None:
        self.platform, self.r, self.said = platform, platform.repositories, said
        self.random, self.number = random.Random(seed), first

    def go(self, acts: int) -> None:
        kinds = [self.predict, self.predict, self.label, self.push, self.push, self.register, self.build, self.run, self.track, self.note, self.flush]
        for _ in range(acts):
            self.number += 1
            act = self.random.choice(kinds)
            self.said(f"begin {act.__name__} {self.number}")
            act(self.number)
            self.said(f"done {act.__name__} {self.number}")

    def predict(self, n: int) -> None:
        made = Prediction(f"p{n}", "delay", NOW + n, "delay", 1, "stable", 1, "", {"x": n}, {"x": float(n)}, n / 7, 10)
        prediction_log.append(self.r.journal, "delay", [made])

    def label(self, n: int) -> None:
        labels.append(self.r.journal, "delay", [Label(f"p{n}", n / 3, NOW + n)], NOW + n)

    def push(self, n: int) -> None:
        self.platform.feed.pushes.push("sales", [{"id": n, "shop": SHOPS[n % 3], "at": NOW - n % 1_000, "amount": n}])

    def register(self, n: int) -> None:
        bundle = self.r.blobs.put(f"bundle {n}".encode() * (n % 50 * 1_000 + 1))
        batch, before = Batch(), self.r.metadata.get(Alias, "delay", "champion")
        batch.create(ModelVersion("delay", n, bundle, "lightgbm", f"r{n}", "d@1", "d" * 64, NOW + n, "registered", {"auc": 0.5}))
        batch.put(Alias("delay", "champion", n, NOW + n), replacing=before)
        batch.audit("ada", "version.register", f"delay@{n}", NOW + n)
        self.r.metadata.commit(batch)

    def build(self, n: int) -> None:
        table, batch = f"datasets/d/{n % 7}", Batch()
        version = self.r.tables.append(table, pl.DataFrame({"x": list(range(n % 100 + 1))}))
        rows = self.r.tables.scan(table, version=version).collect().height
        batch.create(DatasetVersion("d", n, "a" * 64, table, version, rows, 1, 1, NOW, NOW, NOW, NOW + n))
        self.r.metadata.commit(batch)

    def run(self, n: int) -> None:
        self.r.runs.submit(Run(f"run{n}", "train", f"s{n}", {}, NOW + n, "manual"))
        lease = self.r.runs.claim("w", NOW + n, lease_s=600)
        if lease is not None:
            self.r.runs.record(lease, Step(lease.run.id, f"fit {n}", 0, {"n": n}, NOW, NOW, "w", lease.fence), Batch())

    def track(self, n: int) -> None:
        self.r.tracking.create_run(ExperimentRun(f"t{n}", DEFAULT_EXPERIMENT, f"t{n}", "running", NOW + n))
        self.r.tracking.log(f"t{n}", Logged(metrics=[MetricPoint("auc", float("inf") if n % 5 == 0 else n / 9, n, NOW + n)], tags={"n": "ü" * 300}))

    def note(self, n: int) -> None:
        batch = Batch()
        batch.put(Note("model:delay", NOW + n, "ada", f"note {n}"))
        self.r.metadata.commit(batch)

    def flush(self, _: int) -> None:
        prediction_log.flush(self.r.journal, self.r.tables, "delay")
        labels.flush(self.r.journal, self.r.tables, "delay")
        self.platform.feed.pushes.flush_all()


def main() -> None:
    """The platform at work until it is killed: SETTINGS (JSON), SEED, FIRST, DIARY."""
    diary = os.open(sys.argv[4], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    platform = wiring.open_platform(load(**json.loads(sys.argv[1])))
    platform.feed.pushes.recover()
    Work(platform, int(sys.argv[2]), int(sys.argv[3]), lambda line: os.write(diary, f"{line}\n".encode())).go(1_000_000)


if __name__ == "__main__":
    main()


@dataclass
class World:
    """A platform's settings, the place of its backups, and the diary of what was done."""

    folder: Path
    settings: dict[str, Any]
    place: str
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def diary(self) -> Path:
        return self.folder / "diary"

    def __post_init__(self) -> None:
        self.settings["clock"] = "replay"  # stands still, so that windows hold what was pushed

    def opened(self) -> wiring.Platform:
        return wiring.open_platform(load(**self.settings))

    def prepared(self) -> "World":
        with contextlib.closing(self.opened()) as platform:
            platform.repositories.clock.advance(NOW)
            platform.features.apply([SERVICE])
        self.diary.touch()
        return self

    def written(self, word: str) -> dict[str, set[int]]:
        """The numbers of acts that were begun, or done, by now."""
        found: dict[str, set[int]] = {}
        for line in self.diary.read_text().splitlines():
            when, act, number = line.split()
            if when == word:
                found.setdefault(act, set()).add(int(number))
        return found

    @contextlib.contextmanager
    def at_work(self, seed: int, first: int) -> Iterator["subprocess.Popen[bytes]"]:
        """A program that works on the platform, killed at the end of the block."""
        before = len(self.diary.read_text().splitlines())
        command = [sys.executable, __file__, json.dumps(self.settings, default=str), str(seed), str(first), str(self.diary)]
        with subprocess.Popen(command, env={**os.environ, **self.env}) as process:
            while len(self.diary.read_text().splitlines()) < before + 20:
                assert process.poll() is None, "the program ended"
                time.sleep(0.02)
            try:
                yield process
            finally:
                process.send_signal(signal.SIGKILL)

    def backup(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "rota.cli", "backup", self.place]
        variables = {f"ROTA_{name.upper()}": str(value) for name, value in self.settings.items()}
        return subprocess.Popen(command, env={**os.environ, **self.env, **variables}, stdout=subprocess.DEVNULL, cwd=self.folder)


def check(platform: wiring.Platform, done: dict[str, set[int]], begun: dict[str, set[int]]) -> None:
    """Everything done is there, once; everything there was at least begun."""
    r = platform.repositories

    def is_all(act: str, there: list[int]) -> None:
        assert len(there) == len(set(there)), f"{act} is there twice"
        assert done.get(act, set()) <= set(there) <= begun.get(act, set()), act

    platform.feed.pushes.recover()
    Work(platform, 0, 0, print).flush(0)
    is_all("predict", [int(name[1:]) for name in r.tables.scan("predictions/delay").collect()["prediction_id"]])
    is_all("label", [int(name[1:]) for name in r.tables.scan("labels/delay").collect()["prediction_id"]])
    sold = r.tables.scan("sources/sales").collect()
    is_all("push", sold["id"].to_list())
    told = [event for event in r.metadata.events(0, limit=100_000) if event.kind == "data.arrived"]
    assert sum(event.body["rows"] for event in told) == sold.height
    versions = r.metadata.find(ModelVersion)
    is_all("register", [version.number for version in versions])
    for version in versions:
        assert r.blobs.get(version.bundle) == f"bundle {version.number}".encode() * (version.number % 50 * 1_000 + 1)
    champion = r.metadata.get(Alias, "delay", "champion")
    assert champion is None or champion.number == max(version.number for version in versions)
    built = r.metadata.find(DatasetVersion)
    is_all("build", [each.number for each in built])
    for each in built:
        assert r.tables.scan(each.table, version=each.table_version).collect().height == each.rows
    is_all("note", [note.at_us - NOW for note in r.metadata.find(Note)])
    is_all("run", [int(run.id[3:]) for run in r.runs.find(RunQuery("train"))])
    for number in begun.get("track", set()):
        tracked = r.tracking.run(f"t{number}")
        assert tracked is not None or number not in done.get("track", set())
        if number in done.get("track", set()):
            assert r.tracking.history(f"t{number}", "auc") == [
                MetricPoint("auc", float("inf") if number % 5 == 0 else number / 9, number, NOW + number)
            ]
            assert tracked is not None
            assert tracked.tags == {"n": "ü" * 300}
    assert [entry.action for entry in r.metadata.audit()][-1] == "restore"
    assert verify_audit(r.metadata).broken_at == 0
    platform.feed.bring_online(SERVICE)
    vectors = OnlineFeatures(r.online, SERVICE).vectors([{"shop": name} for name in SHOPS], NOW)
    spine = pl.DataFrame({"shop": SHOPS, "t": NOW})
    assert vectors == historical(r.tables, SERVICE, spine, timestamp="t").drop("shop", "t").to_dicts()
    assert [vector["windows__count"] or 0 for vector in vectors] == [sold.filter(shop=name).height for name in SHOPS]


def restored(world: World, settings: dict[str, Any]) -> wiring.Platform:
    assert backups.verify(world.place).damages == ()
    chosen = load(**settings, clock="replay")
    assert backups.restore(world.place, chosen, actor="ada").faults == ()
    return wiring.open_platform(chosen)


def play(world: World, seed: int, rounds: int, new: Callable[[], dict[str, Any]]) -> None:
    """Backups of a platform at work; in each round the platform is killed, and every other backup too. Then the newest is restored."""
    chance = random.Random(seed)
    world.prepared()
    done: dict[str, set[int]] = {}
    begun: dict[str, set[int]] = {}
    finished = 0
    for number in range(rounds):
        with world.at_work(chance.randrange(10**6), number * 100_000):
            before = world.written("done")
            with world.backup() as process:
                if number % 2 and number < rounds - 1:
                    time.sleep(chance.random() * 3)
                    process.kill()
            there = len(backups.stored(world.place))
            assert there == finished + 1 if process.returncode == 0 else there in (finished, finished + 1), "killed when it was done is done"
            if there > finished:
                done, begun, finished = before, world.written("begin"), there
            time.sleep(chance.random() / 5)
        assert process.returncode in (0, -signal.SIGKILL)
    assert finished
    assert len(backups.stored(world.place)) == finished
    with contextlib.closing(restored(world, new())) as platform:
        check(platform, done, begun)


def test_a_backup_of_a_platform_at_work_holds_all_that_was_acknowledged(tmp_path):
    """In one process, so that it is quick: a backup between any two acts."""
    world = World(tmp_path, {"home": tmp_path / "home"}, str(tmp_path / "place")).prepared()
    lines: list[str] = []
    with contextlib.closing(world.opened()) as platform:
        work = Work(platform, 7, 0, lines.append)
        for _ in range(3):
            work.go(40)
            made = backups.make(platform, world.place)
            assert made.faults == ()
        world.diary.write_text("\n".join(lines))
        done, begun = world.written("done"), world.written("begin")
        work.go(20)  # what came later is not in it
    with contextlib.closing(restored(world, {"home": tmp_path / "new"})) as platform:
        check(platform, done, begun)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_kills_of_the_platform_and_of_the_backup_sqlite_and_directory(tmp_path, seed):
    world = World(tmp_path, {"home": tmp_path / "home"}, str(tmp_path / "place"))
    play(world, seed, 6, lambda: {"home": tmp_path / "new"})


@pytest.mark.slow
@pytest.mark.parametrize("seed", [4, 5])
def test_kills_of_the_platform_and_of_the_backup_postgresql_and_s3(tmp_path, seed, postgres_empty, s3_env):
    one, two = {"home": tmp_path / "home"}, {"home": tmp_path / "new"}
    for settings in (one, two):
        settings |= {"metadata_url": postgres_empty(), "storage_url": s3_env.url()}
    play(World(tmp_path, one, s3_env.url(), s3_env.env), seed, 4, lambda: two)


@pytest.mark.slow
def test_from_postgresql_and_s3_into_sqlite_and_a_directory_and_back(tmp_path, postgres_empty, s3_env):
    """A backup is tied to no engine."""
    server = {"home": tmp_path / "home", "metadata_url": postgres_empty(), "storage_url": s3_env.url()}
    world = World(tmp_path, server, s3_env.url()).prepared()
    lines: list[str] = []
    with contextlib.closing(world.opened()) as platform:
        Work(platform, 9, 0, lines.append).go(60)
        backups.make(platform, world.place)
        world.diary.write_text("\n".join(lines))
    with contextlib.closing(restored(world, {"home": tmp_path / "new"})) as platform:
        backups.make(platform, str(tmp_path / "again"))
    again = World(tmp_path, {}, str(tmp_path / "again"))
    back = {"home": tmp_path / "third", "metadata_url": postgres_empty(), "storage_url": s3_env.url()}
    with contextlib.closing(restored(again, back)) as platform:
        check(platform, world.written("done"), world.written("begin"))
        batch = Batch()
        batch.put(Note("model:delay", NOW - 1, "ada", "goes on"))
        platform.repositories.metadata.commit(batch)
        platform.repositories.runs.submit(Run("later", "train", "later", {}, NOW, "manual"))  # PostgreSQL numbers rows behind those restored
