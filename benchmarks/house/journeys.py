"""How far a request travels through the house: files of Rota that it enters, and how often it changes from one to another.

A profiler sees every call of a function of Rota's own modules; a change is a call in another file than the call before. Each
journey is taken once to warm up (a training run and a flush are measured as they come), in a home of its own.

    python benchmarks/house/journeys.py [JOURNEY ...] [--files]

prints one line a journey; `--files` also names the files with the calls into each. The figures count steps, not seconds: they
are the same on any machine.
"""

import argparse
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import polars as pl

import rota
from rota import wiring
from rota.ports.metadata import Batch
from rota.settings import Settings

OWN = str(Path(rota.__file__).parent) + "/"
HOUR_US = 3_600_000_000


@dataclass
class Travelled:
    """Files entered with the calls into each, and changes of file, of every thread."""

    entered: Counter[str] = field(default_factory=Counter)
    changes: int = 0
    _at: dict[int, str] = field(default_factory=dict)

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if event != "call" or not file.startswith(OWN):
            return
        self.entered[file.removeprefix(OWN)] += 1
        here = threading.get_ident()
        self.changes += self._at.get(here, file) != file
        self._at[here] = file


@contextmanager
def travelling() -> Iterator[Travelled]:
    found = Travelled()
    threading.setprofile(found)
    sys.setprofile(found)
    try:
        yield found
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def declared(platform: wiring.Platform) -> None:
    """A source with ids, a scalar view and a windowed one over it, and a service of both."""
    flights = rota.Source("flights", {"id": "string", "origin": "string", "at": "timestamp", "delay": "float"}, timestamp_field="at", id_field="id")
    airport = rota.Entity("airport", ["origin"])
    last = rota.FeatureView("last", [airport], flights, {"late": rota.sql("delay > 15"), "delay": rota.sql("delay")})
    recent = rota.FeatureView("recent", [airport], flights, {"mean_3h": rota.mean("delay", window="3h"), "count_3h": rota.count(window="3h")})
    platform.feed.register([flights, last, recent, rota.FeatureService("delays", [last, recent])])


def rows(platform: wiring.Platform, first: int, count: int) -> list[dict[str, Any]]:
    now_us = platform.repositories.clock.now_us()
    return [{"id": f"f{n}", "origin": "JLE"[n % 3], "at": now_us - HOUR_US + n * 1_000, "delay": float(n % 40)} for n in range(first, first + count)]


def push(platform: wiring.Platform) -> Callable[[int], object]:
    """Ten rows into a source with two views."""
    declared(platform)
    return lambda turn: platform.features.push("flights", rows(platform, turn * 10, 10))


def label(platform: wiring.Platform) -> Callable[[int], object]:
    """Ten labels for an endpoint."""
    batch = Batch()
    batch.put(rota.Endpoint("delays", "delays"))
    platform.repositories.metadata.commit(batch)
    return lambda turn: platform.signals.label("delays", [{"prediction_id": f"p{turn}.{n}", "value": 1.0} for n in range(10)])


def flush(platform: wiring.Platform) -> Callable[[int], object]:
    """A thousand pushed rows from the journal into the offline table."""
    declared(platform)

    platform.features.push("flights", rows(platform, 0, 1_000))
    platform.feed.pushes.flush("flights")
    platform.features.push("flights", rows(platform, 1_000, 1_000))
    return lambda _: platform.feed.pushes.flush("flights")


def join(platform: wiring.Platform) -> Callable[[int], object]:
    """A point-in-time join of a scalar and a windowed view to a thousand rows."""
    declared(platform)
    platform.features.push("flights", rows(platform, 0, 3_000))
    platform.feed.pushes.flush("flights")
    now_us = platform.repositories.clock.now_us()
    asked = {"origin": ["JLE"[n % 3] for n in range(1_000)], "event_timestamp": [now_us - n * 1_000 for n in range(1_000)]}
    frame = pl.DataFrame(asked).with_columns(pl.col("event_timestamp").cast(pl.Datetime("us", "UTC")))
    return lambda _: platform.features.get_historical_features(frame, "delays").to_polars()


PROJECT = """
import numpy as np
import rota

fields = {"id": "string", "origin": "string", "at": "timestamp", "known": "timestamp", "delay": "float"}
flights = rota.Source("flights", fields, timestamp_field="known", id_field="id")
airport = rota.Entity("airport", ["origin"])
last = rota.FeatureView("last", [airport], flights, {"late": rota.sql("delay > 15"), "delay": rota.sql("delay")})
recent = rota.FeatureView("recent", [airport], flights, {"mean_3h": rota.mean("delay", window="3h"), "count_3h": rota.count(window="3h")})
features = rota.FeatureService("delays", [last, recent])


@rota.step
def train(data: rota.TrainingData):
    import lightgbm

    return lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1}, lightgbm.Dataset(data.train.x, data.train.y), 5)


late = rota.sql("delay > 15")
pipeline = rota.TrainingPipeline(
    "delays",
    train=train,
    dataset=rota.DatasetDefinition(features, labels=flights, label=late, timestamp="at", window="9999d", split=rota.RandomSplit(0.3)),
    gates=[rota.at_least("roc_auc", 0.01)],
)
"""


def training(platform: wiring.Platform) -> Callable[[int], object]:
    """A training run of seven steps in this process, on three thousand rows."""
    file = platform.settings.home.parent / "project.py"
    file.write_text(PROJECT)
    platform.projects.apply(file)
    now_us = platform.repositories.clock.now_us()
    hours = [n % 700 + 1 for n in range(3_000)]
    taken = [
        {"id": f"f{n}", "origin": "JLE"[n % 3], "at": now_us - (ago + 1) * HOUR_US, "known": now_us - ago * HOUR_US, "delay": n * 7 % 40 * 1.0}
        for n, ago in enumerate(hours)
    ]
    platform.features.push("flights", taken)
    return lambda _: platform.pipelines.run_here("delays")


JOURNEYS: dict[str, Callable[[wiring.Platform], Callable[[int], object]]] = {
    "push": push,
    "label": label,
    "flush": flush,
    "join": join,
    "training": training,
}


ONCE = {"flush", "training"}
"""Journeys whose home was warmed up already, or that are long enough to be measured cold."""


def measured(name: str) -> Travelled:
    with tempfile.TemporaryDirectory() as folder, wiring.opened(Settings(home=Path(folder) / "home")) as platform:
        turn = JOURNEYS[name](platform)
        if name not in ONCE:
            turn(0)
        with travelling() as found:
            turn(1)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("journeys", nargs="*", metavar="JOURNEY", help="all when none is named")
    parser.add_argument("--files", action="store_true", help="name the files and the calls into each")
    options = parser.parse_args()
    for name in options.journeys or JOURNEYS:
        found = measured(name)
        print(f"{name:<10} {len(found.entered):>4} files {found.changes:>7,} changes of file {sum(found.entered.values()):>8,} calls")
        if options.files:
            for file, calls in found.entered.most_common():
                print(f"           {calls:>8,} {file}")


if __name__ == "__main__":
    main()
