"""What became of everything that was acknowledged: read back from the tables, lost and doubled counted."""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from benchmarks.operation.chaos.load import Acknowledged

from rota import wiring
from rota.manage.features.join.point_in_time import historical
from rota.manage.signals import business_outcomes, labels, prediction_log
from rota.records.data import FeatureService
from rota.records.model import ModelVersion
from rota.records.run import RunQuery
from rota.records.time import DAY_US, micros
from rota.settings import load


@dataclass
class Verdict:
    """Counts by kind of what was acknowledged, lost (not there) and doubled (there more than once); what did not end as it should."""

    acknowledged: dict[str, int] = field(default_factory=dict)
    lost: dict[str, list[str]] = field(default_factory=dict)
    doubled: dict[str, list[str]] = field(default_factory=dict)
    strange: list[str] = field(default_factory=list)
    excused: int = 0
    asked_again: int = 0
    """Predictions whose first answer was logged and lost on its way, so that the caller asked again and was told another: the log keeps the first."""

    @property
    def good(self) -> bool:
        return not any([*self.lost.values(), *self.doubled.values(), self.strange])

    def count(self, kind: str, wanted: Collection[str], found: Iterable[str]) -> None:
        """Hold what was found, each time that it was found, against what was acknowledged."""
        times = Counter(found)
        self.acknowledged[kind] = len(wanted)
        self.lost[kind] = sorted(key for key in wanted if not times[key])
        self.doubled[kind] = sorted(key for key, count in times.items() if count > 1)


def examine(home: Path, kept: Acknowledged, *, known: Collection[str] = (), excused: Sequence[bytes] = ()) -> Verdict:
    """Open the platform that is down, carry its journals into the tables and count.

    `known` are pushed rows from before the load; what `excused` holds may be lost, which is counted apart.
    """
    verdict = Verdict()
    with wiring.opened(load(home=home)) as platform:
        r = platform.repositories
        for stream in (prediction_log.STREAM, labels.STREAM, business_outcomes.STREAM):
            stream.flush_all(r.journal, r.tables)
        platform.feed.pushes.recover()
        platform.feed.pushes.flush_all()
        logged = prediction_log.read(r.tables, "returns", 0, 2**62, features=False).filter(pl.col("role") != "shadow")
        logged = logged.filter(pl.col("error") == "")  # a canary that failed has a row beside the answer that the stable version gave instead
        verdict.count("predictions", kept.predictions, logged["prediction_id"])
        answers = dict(zip(logged["prediction_id"], logged["answer"], strict=True))
        verdict.asked_again = sum(key in answers and answers[key] != answer for key, answer in kept.predictions.items())
        verdict.count("labels", kept.labels, labels.read(r.tables, "returns")["prediction_id"])
        verdict.count("outcomes", kept.outcomes, business_outcomes.read(r.tables, "returns")["prediction_id"])
        pushed = r.tables.scan("sources/sales").drop("created_us", "received_us", strict=False).unique().collect()  # one that was pushed again is one
        verdict.count("pushed rows", {**kept.pushes, **dict.fromkeys(known, 0.0)}, pushed["id"])
        verdict.strange += _counted_otherwise(platform, pushed)
        runs = [run.id for run in r.runs.find(RunQuery(workflow="train"))]
        verdict.count("trainings", kept.runs, runs)
        versions: Counter[str] = Counter(each.run for each in platform.repositories.metadata.find(ModelVersion))
        verdict.doubled["model versions of one training"] = sorted(run for run, count in versions.items() if run and count > 1)
        verdict.strange += [f"run {run.id} failed: {run.error[-300:]}" for run in r.runs.find() if run.status == "failed"]
    return _without_excused(verdict, excused)


def _counted_otherwise(platform: wiring.Platform, pushed: pl.DataFrame) -> list[str]:
    """Shops of which the features count another number of sales than there are ids within the window."""
    now_us, view = time.time_ns() // 1_000, platform.features.get_feature_view("recent")
    service, hop_us = FeatureService("counted", [view]), micros(view.hop)
    shops = sorted(pushed["shop"].unique().to_list())
    found = historical(platform.repositories.tables, service, pl.DataFrame({"shop": shops, "t": now_us}), timestamp="t")
    inside = pushed.filter(pl.col("known_at") >= (now_us - 30 * DAY_US) // hop_us * hop_us)
    wanted = {shop: inside.filter(shop=shop)["id"].n_unique() for shop in shops}
    counted = dict(zip(found["shop"], found["recent__count_30d"], strict=True))
    return [f"shop {shop}: {wanted[shop]} sales, and the feature counts {counted[shop]}" for shop in shops if counted[shop] != wanted[shop]]


def _without_excused(verdict: Verdict, excused: Sequence[bytes]) -> Verdict:
    for keys in verdict.lost.values():
        gone = [key for key in keys if any(key.encode() in held for held in excused)]
        verdict.excused += len(gone)
        keys[:] = [key for key in keys if key not in gone]
    return verdict
