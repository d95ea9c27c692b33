"""A monitor that has little to see says so, and still finds what is large: few rows a day, a small baseline, no moments in it."""

import re
from types import SimpleNamespace

import msgspec
import numpy as np
import polars as pl
import pytest

from rota.backends.memory.blobs import MemoryBlobs
from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.runs import MemoryRuns
from rota.backends.memory.tables import MemoryTables
from rota.backends.memory.tracking import MemoryTracking
from rota.durable.worker import Worker
from rota.manage.datasets import build as datasets
from rota.manage.datasets import schema_inference, schemas
from rota.manage.repositories import Repositories
from rota.manage.signals import labels, prediction_log
from rota.monitor import status
from rota.monitor.watch import MonitorWorkflow
from rota.ports.metadata import Batch
from rota.records.dataset import DatasetVersion
from rota.records.release import Endpoint
from rota.records.run import Run
from rota.records.signal import Alert, Label, Monitor, MonitorSlice, Prediction
from rota.records.time import DAY_US, HOUR_US
from rota.testing import FakeClock
from rota.testing.story import NOON_US

START_US = NOON_US - NOON_US % DAY_US
FEATURES = ("v__amount", "v__age", "v__visits")


class Place:
    """An endpoint whose model was given a baseline, asked some times a day, watched every night."""

    def __init__(self, *, baseline_rows: int, undated: bool) -> None:
        self.draw = np.random.default_rng(11)
        self.clock = FakeClock(START_US)
        metadata = MemoryMetadata()
        self.r = Repositories(
            metadata, MemoryRuns(metadata), MemoryBlobs(), MemoryTables(), MemoryOnline(), MemoryJournal(), self.clock, MemoryTracking(metadata)
        )
        feed = SimpleNamespace(pushes=SimpleNamespace(flush_all=dict))
        self.workflow = MonitorWorkflow(self.r, feed)
        self.day = 0
        self._baseline(baseline_rows, undated=undated)

    def _baseline(self, count: int, *, undated: bool) -> None:
        rows = pl.DataFrame(self.features(count)).with_columns(
            pl.Series(datasets.AT, [START_US - (1 + n % 30) * DAY_US for n in range(count)]),
            pl.lit(value=False).alias(datasets.TEST),
            pl.lit(0.0).alias(datasets.LABEL),
            pl.int_range(pl.len()).alias(datasets.ROW),
        )
        version = self.r.tables.append("datasets/m/x", rows, batch=("x", 0))
        dataset = DatasetVersion("m", 1, "x", "datasets/m/x", version, count, count, 0, 0, START_US, START_US + 1, START_US, undated=undated)
        schema = schema_inference.of_features(rows, FEATURES, "m", dataset=dataset.id)
        batch = Batch()
        batch.create(dataset)
        batch.put(Endpoint("e", "m"))
        batch.put(Monitor(Endpoint("e", "m")))
        schemas.add(batch, msgspec.structs.replace(schema, frozen_us=START_US), base=0, author="t", now_us=START_US)
        self.r.metadata.commit(batch)

    def features(self, count: int, factor: float = 1.0) -> dict[str, list[float]]:
        drawn = (self.draw.lognormal(3, 0.6, count) * factor, self.draw.normal(40, 12, count), self.draw.poisson(4, count).astype(float))
        return {name: column.tolist() for name, column in zip(FEATURES, drawn, strict=True)}

    def live(self, rows: int, *, factor: float = 1.0, labelled: int = 0) -> None:
        """A day's predictions, and the monitor's run in the night after it."""
        columns = self.features(rows, factor)
        at_us = START_US + self.day * DAY_US + HOUR_US
        names = [f"p{self.day}.{n}" for n in range(rows)]
        log = [
            Prediction(name, "e", at_us, "m", 1, "stable", 1, name, {}, {f: columns[f][n] for f in FEATURES}, 0.5, 100)
            for n, name in enumerate(names)
        ]
        if log:
            prediction_log.append(self.r.journal, "e", log)
        self.day += 1
        self.clock.advance(START_US + self.day * DAY_US + HOUR_US)
        truths = [Label(name, float(n % 2), self.clock.now_us()) for n, name in enumerate(names[:labelled])]
        if truths:
            labels.append(self.r.journal, "e", truths, self.clock.now_us())
        self.r.runs.submit(Run(f"monitor.{self.day}", "monitor", "e", {"endpoint": "e"}, self.clock.now_us()))
        while Worker("w", self.r.runs, self.clock, {"monitor": self.workflow}).work_once():
            pass
        run = self.r.runs.get(f"monitor.{self.day}")
        assert run.status == "succeeded", run.error

    def state(self, check: str, subject: str = "") -> tuple[str, str, str]:
        found = next(c for c in status.results(self.r, "e") if (c.check, c.subject) == (check, subject))
        return found.outcome, found.state, found.missing

    def alerts(self) -> list[Alert]:
        return self.r.metadata.find(Alert, order="raised_us")


@pytest.mark.parametrize("undated", [True, False])
@pytest.mark.parametrize("before", [0, 6, 10])
def test_a_feature_times_two_and_a_half_for_four_days_is_an_alert_with_thirteen_rows_a_day(undated, before):
    place = Place(baseline_rows=398, undated=undated)
    for _ in range(before):
        place.live(13)
    assert place.alerts() == []
    for _ in range(4):
        place.live(13, factor=2.54)
    (alert,) = place.alerts()
    assert (alert.kind, alert.subject, alert.status) == ("drift", "v__amount", "open")
    assert "in the newest 3 days with 39 rows" in alert.message
    assert re.search("1[34] rows a day, 30 needed", alert.message)
    assert place.state("drift", "v__amount")[:2] == ("fail", "watching")
    for _ in range(10):  # a drift that lasts does not become its own excuse
        place.live(13, factor=2.54)
        assert [a.status for a in place.alerts()] == ["open"]
    for _ in range(4):
        place.live(13)
    assert place.alerts()[0].status == "resolved"


def test_what_few_rows_cannot_show_is_said_in_the_result_of_every_run():
    place = Place(baseline_rows=390, undated=True)
    place.live(13)
    assert place.state("drift", "v__age") == (
        "inconclusive",
        "cannot",
        "13 rows a day, 30 needed (the baseline has no timestamps); for the comparison with the baseline 1 of 3 served days",
    )
    assert place.state("distribution_skew", "v__age")[1:] == ("cannot", "13 rows a day, 20 needed in each of the newest 2 days")
    assert place.state("performance") == ("inconclusive", "cannot", "no labels yet; 0 of 44 days with 20 labels")
    place.live(13, labelled=12)
    place.live(13, labelled=12)
    assert place.state("performance")[1:] == ("cannot", "12 labels a day, 20 needed; 0 of 44 days with 20 labels")
    assert place.state("drift", "v__age")[:2] == ("pass", "watching")  # against the baseline
    result = place.r.runs.get("monitor.3").result
    assert any(line.startswith("distribution skew of v__amount, v__age, v__visits: cannot, 13 rows a day") for line in result["not_judged"])


def test_a_day_with_too_few_rows_does_not_end_an_alert():
    place = Place(baseline_rows=398, undated=True)
    for _ in range(4):
        place.live(13, factor=2.54)
    assert [a.status for a in place.alerts()] == ["open"]
    place.live(0)
    place.live(0)
    assert [a.status for a in place.alerts()] == ["open"]
    assert place.state("traffic")[0] == "inconclusive"


def test_a_day_that_lacks_a_feature_does_not_blind_the_others():
    """Values of a number are kept of every day that has some: one schema's feature that training days lack still shows its faults."""
    place = Place(baseline_rows=398, undated=True)
    for _ in range(34):
        place.live(60)
    history = place.workflow._history
    schema = schemas.serving(place.r.metadata, "m")
    slices = place.r.metadata.find(MonitorSlice, {"endpoint": "e"}, order="start_us")
    history.days("e", schema, slices)
    known = history._cached["e", "m", schema.version].values
    del known[slices[-20].start_us]["v__age"]  # as on a day before the feature was there
    days = history.days("e", schema, slices)
    assert [len(values) for values in days.values["v__age"]].count(0) == 1
    assert len(days.values["v__age"]) == len(days.values["v__amount"]) == 34
