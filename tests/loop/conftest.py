"""A whole platform in memory with a small world around it: two shops whose temperature and kind decide whether ice sells out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rota.backends.inline_compute import InlineCompute
from rota.backends.memory.blobs import MemoryBlobs
from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.runs import MemoryRuns
from rota.backends.memory.tables import MemoryTables
from rota.backends.memory.tracking import MemoryTracking
from rota.deploy import releases
from rota.manage.features.online.reader import OnlineFeatures
from rota.manage.repositories import Repositories
from rota.records.model import ModelVersion
from rota.records.release import Rollout
from rota.records.run import Run
from rota.records.signal import Alert
from rota.records.time import DAY_US, HOUR_US
from rota.serve.predicting import PredictionCore
from rota.serve.release_poller import ModelSource, OpenedFeatures, ReleasePoller
from rota.settings import Settings
from rota.testing import FakeClock
from rota.wiring import Platform

START_US = 1_372_636_800_000_000  # 2013-07-01
PROJECT = """
import lightgbm
import rota

shop = rota.Entity("shop", ["shop"])
weather = rota.Source("weather", fields={"shop": "string", "at": "timestamp", "temp": "float"}, timestamp_field="at", id_field=None)
sales = rota.Source(
    "sales",
    fields={"id": "string", "shop": "string", "asked_at": "timestamp", "known_at": "timestamp", "kind": "string", "sold_out": "float"},
    timestamp_field="known_at",
    id_field="id",
)
shop_weather = rota.FeatureView("shop_weather", [shop], weather, ttl="30h", features={"temp": rota.sql("temp")})
request = rota.OnDemandFeatureView("request", inputs={"kind": "string"}, features={"kind": rota.sql("kind")})
features = rota.FeatureService("ice", [shop_weather, request])


@rota.step
def train(data: rota.TrainingData, rounds: int = 30) -> lightgbm.Booster:
    rows = lightgbm.Dataset(data.train.x, data.train.y, feature_name=list(data.columns), categorical_feature=list(data.categorical))
    settings = {"objective": "binary", "num_leaves": 4, "min_data_in_leaf": 20, "seed": 7, "deterministic": True, "num_threads": 1, "verbosity": -1}
    return lightgbm.train(settings, rows, num_boost_round=rounds)


pipeline = rota.TrainingPipeline(
    "ice",
    train=train,
    dataset=rota.DatasetDefinition(
        features, labels=sales, label=rota.sql("sold_out"), timestamp="asked_at", window="2d", split=rota.TimeSplit(test="12h")
    ),
    gates=[rota.at_least("roc_auc", 0.6), rota.not_worse_than_champion("log_loss", margin=0.1)],
    triggers=[rota.on_alert("performance", cooldown="7d")],
)
policy = rota.ReleasePolicy("ice", "automatic")
endpoint = rota.Endpoint(
    "ice",
    model="ice",
    rollout=rota.Canary(
        shadow="2d", steps=[50], hold="1d", unit="id", analysis=[rota.error_rate(margin=0.2), rota.metric("log_loss", margin=0.05)]
    ),
)
monitor = rota.Monitor(endpoint, schedule="0 1 * * *", expected_days_between_false_alarms=30)
"""


@dataclass
class World:
    """Applications, feeds, one prediction process and one worker around a platform, all moved by hand."""

    platform: Platform
    clock: FakeClock
    core: PredictionCore
    poller: ReleasePoller
    day: int = 0
    flipped: bool = False
    celsius: bool = False
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))

    @property
    def metadata(self) -> Any:
        return self.platform.repositories.metadata

    def weather(self, day: int, hours: Sequence[int] = range(0, 24, 4)) -> list[dict[str, Any]]:
        """Both shops' temperature each four hours: warm afternoons, a little noise, drawn from the day alone."""
        noise = np.random.default_rng(day).normal(0, 4, (24, 2))
        return [
            {"shop": f"s{shop}", "at": START_US + day * DAY_US + hour * HOUR_US, "temp": 70 + 3 * shop + 9 * np.sin(hour / 4) + noise[hour, shop]}
            for hour in hours
            for shop in (0, 1)
        ]

    def demand(self, temp: float, kind: str) -> float:
        """Whether ice sells out: likely when warm for "cone", when cold for "tub"; flipped once the taste has changed."""
        likely = (temp > 71) == (kind == "cone")
        return float(self.rng.random() < (0.85 if likely != self.flipped else 0.15))

    def history(self, days: int) -> None:
        """Push days of weather and sales that end now, as their feeds would have sent them."""
        for day in range(days):
            rows = self.weather(day)
            self.clock.advance(START_US + (day + 1) * DAY_US)
            self.platform.features.push("weather", rows)
            sales = []
            for number in range(144):
                hour = 4 * (number // 24)
                shop, kind = number % 2, ("cone", "tub")[number // 2 % 2]
                temp = next(r["temp"] for r in rows if r["shop"] == f"s{shop}" and r["at"] == START_US + day * DAY_US + hour * HOUR_US)
                asked = START_US + day * DAY_US + hour * HOUR_US + (number % 24) * 60_000_000
                sales.append(self.sale(f"h{day}.{number}", shop, kind, asked, temp))
            self.platform.features.push("sales", sales)
        self.day = days

    def sale(self, id: str, shop: int, kind: str, asked: int, temp: float) -> dict[str, Any]:
        sold_out = self.demand(temp, kind)
        return {"id": id, "shop": f"s{shop}", "asked_at": asked, "known_at": asked + HOUR_US, "kind": kind, "sold_out": sold_out}

    def live(self) -> list[str]:
        """One day in the world: weather arrives, shops ask, truths come back; ends just behind 01:30 of the next day with the loop at rest."""
        ids: list[str] = []
        for hour in range(4, 24, 2):
            self.clock.advance(START_US + self.day * DAY_US + hour * HOUR_US)
            true = self.weather(self.day, [hour])
            self.platform.features.push("weather", [row | {"temp": (row["temp"] - 32) / 1.8} for row in true] if self.celsius else true)
            asked = [(number % 2, ("cone", "tub")[number // 2 % 2]) for number in range(16)]
            names = [f"d{self.day}.{hour}.{number}" for number in range(16)]
            self.core.predict("ice", [{"shop": f"s{shop}", "kind": kind} for shop, kind in asked], names)
            now = self.clock.now_us()
            sales = [self.sale(name, shop, kind, now, true[shop]["temp"]) for name, (shop, kind) in zip(names, asked, strict=True)]
            self.clock.advance(now + HOUR_US)
            self.platform.features.push("sales", sales)
            self.platform.signals.label("ice", [{"prediction_id": s["id"], "value": s["sold_out"]} for s in sales])
            ids += names
            self.settle()
        self.day += 1
        self.clock.advance(START_US + self.day * DAY_US + 90 * 60_000_000)
        self.settle()
        return ids

    def settle(self) -> None:
        """Let loop, worker and prediction process do all they can at this moment."""
        worker = self.platform.processes.worker("w")
        self.core._shadows.close()  # what was mirrored is in the log now
        while self.platform.loop.advance() or worker.work_once():
            self.poller.poll()

    def train(self) -> Run:
        run_id = self.platform.pipelines.start("ice")
        self.settle()
        return self.platform.repositories.runs.get(run_id)

    def versions(self) -> list[ModelVersion]:
        return self.metadata.find(ModelVersion, order="number")

    def rollouts(self) -> list[Rollout]:
        return self.metadata.find(Rollout, order="started_us")

    def alerts(self) -> list[Alert]:
        return self.metadata.find(Alert, order="raised_us")

    def audits(self, action: str) -> list[Any]:
        return [entry for entry in self.metadata.audit(limit=100_000) if entry.action == action]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    clock, metadata = FakeClock(START_US), MemoryMetadata()
    repositories = Repositories(
        metadata, MemoryRuns(metadata), MemoryBlobs(), MemoryTables(), MemoryOnline(), MemoryJournal(), clock, MemoryTracking(metadata)
    )
    platform = Platform(Settings(home=tmp_path / "home"), repositories)
    platform.compute = InlineCompute()  # type: ignore[assignment]
    core = PredictionCore(repositories.journal, clock)
    model_source = ModelSource(
        metadata, repositories.blobs, platform.formats, lambda service: OpenedFeatures(OnlineFeatures(repositories.online, service))
    )
    poller = ReleasePoller(core, model_source, clock=clock, process="serve-0")
    world = World(platform, clock, core, poller)

    def look_again(seconds: float) -> None:
        poller.poll()

    monkeypatch.setattr(releases.time, "sleep", look_again)  # the process polls while a rollout waits for it
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "project.py").write_text(PROJECT)
    platform.projects.apply(tmp_path / "project" / "project.py")
    yield world
    core.close()
