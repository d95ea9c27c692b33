"""A model that was trained elsewhere goes the whole way: registered, adopted, approved, rolled out, answering, monitored."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from rota.manage.adoption import baselines, prediction_import
from rota.manage.datasets import schemas
from rota.manage.experiments import artifacts
from rota.manage.governance import decisions
from rota.manage.models import endpoints, model_versions
from rota.manage.models.version_sources import UNCONVERTED
from rota.ports.metadata import Batch
from rota.records.model import ModelVersion
from rota.records.release import Canary, Endpoint
from rota.records.run import RunQuery
from rota.records.signal import MonitorSlice
from rota.records.time import DAY_US

RECORDED = Path(__file__).resolve().parents[1] / "fixtures" / "mlflow" / "lightgbm3"
ROWS_A_DAY = 120


def asked(day: int, *, rows: int = ROWS_A_DAY, shift: float = 0.0) -> list[dict[str, Any]]:
    """A day of requests; `shift` is a fault in the feed of temperatures."""
    random = np.random.default_rng(day)
    kinds, temps, guests = random.choice(["sun", "rain"], rows), random.normal(20, 8, rows) + shift, random.integers(0, 50, rows)
    return [{"kind of day": str(k), "temp": float(t), "guests": int(g)} for k, t, g in zip(kinds, temps, guests, strict=True)]


class Foreign:
    """The world of the loop's tests, with a foreign model beside its own."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.platform = world.platform
        self.day = 0
        self.begin = world.clock.now_us()

    def register_as_a_client_does(self) -> ModelVersion:
        """Files below a root and a version that cannot be served yet, as the MLflow API leaves them."""
        r = self.platform.repositories
        root = artifacts.new_version_root("tickets")
        for path in sorted(RECORDED.iterdir()):
            artifacts.store(r, root, path.name, [path.read_bytes()])
        number = model_versions.next_number(r.metadata, "tickets")
        version = ModelVersion("tickets", number, "", "", "", "", "", r.clock.now_us(), artifacts=root, unservable=UNCONVERTED, registered_by="ben")
        batch = Batch()
        model_versions.register(batch, r.metadata, version, actor="ben")
        r.metadata.commit(batch)
        return version

    def approve(self, number: int) -> None:
        decision = decisions.ReviewDecision("approve", "ana", "compared by hand")
        decisions.decide(self.platform.repositories, "tickets", number, decision)

    def declare(self) -> None:
        r = self.platform.repositories
        endpoint = Endpoint("tickets", "tickets", Canary(steps=(), hold="0s"))
        endpoints.create(r.metadata, endpoint, actor="ana", now_us=r.clock.now_us())
        endpoints.watch(r.metadata, "tickets", schedule="0 1 * * *", days_between_false_alarms=90, actor="ana", now_us=r.clock.now_us())

    def baseline(self, *, timestamp: str) -> None:
        first = self.begin - 40 * DAY_US
        rows = [row | {"asked_at": first + day * DAY_US, "sold_out": 0.0} for day in range(40) for row in asked(1_000 + day)]
        table = pl.DataFrame(rows).lazy()
        version = model_versions.get(self.platform.repositories.metadata, "tickets", 1)
        baselines.of_rows(self.platform.repositories, version, table, timestamp=timestamp, label="sold_out", actor="ana")

    def live(self, *, shift: float = 0.0) -> list[Any]:
        """One day: people ask, truths come back, the monitor looks at it after midnight."""
        start = self.begin + self.day * DAY_US
        self.world.clock.advance(start + 12 * 3_600_000_000)
        names = [f"t{self.day}.{number}" for number in range(ROWS_A_DAY)]
        answers = self.world.core.predict("tickets", asked(self.day, shift=shift), names).predictions
        self.platform.signals.label("tickets", [{"prediction_id": each.prediction_id, "value": float((each.answer or 0) > 0.5)} for each in answers])
        self.day += 1
        self.world.clock.advance(start + DAY_US + 90 * 60_000_000)
        self.world.settle()
        return list(answers)

    def slices(self) -> list[MonitorSlice]:
        return self.world.metadata.find(MonitorSlice, {"endpoint": "tickets"}, order="start_us")

    def alerts(self) -> set[tuple[str, str]]:
        return {(alert.kind, alert.subject) for alert in self.world.alerts() if alert.endpoint == "tickets"}


@pytest.fixture
def foreign(world: Any) -> Foreign:
    return Foreign(world)


def delivered(foreign: Foreign) -> None:
    foreign.register_as_a_client_does()
    foreign.declare()
    foreign.world.settle()
    foreign.approve(1)
    foreign.world.settle()


def test_a_registered_model_is_adopted_by_a_worker_and_nothing_is_approved_by_itself(foreign: Foreign) -> None:
    foreign.register_as_a_client_does()
    foreign.world.settle()
    version = model_versions.get(foreign.world.metadata, "tickets", 1)
    assert (version.format, version.unservable, version.status) == ("lightgbm", "", "registered")
    assert foreign.world.metadata.edges([f"model_version:{version.id}"], "causes")[0].cause == f"bundle:{version.bundle}"
    assert [run.status for run in foreign.platform.repositories.runs.find(RunQuery("adopt"))] == ["succeeded"]


def test_a_version_that_was_approved_before_it_was_adopted_is_rolled_out_once_it_is(foreign: Foreign) -> None:
    foreign.register_as_a_client_does()
    foreign.declare()
    foreign.approve(1)
    foreign.world.settle()
    assert foreign.world.core.served["tickets"].stable.route.number == 1
    runs = foreign.platform.repositories.runs.find(RunQuery("rollout"))
    assert [(run.subject, run.status) for run in runs] == [("tickets", "succeeded")]


def test_a_version_that_was_approved_before_it_turned_out_to_be_hopeless_is_skipped_with_its_reason(foreign: Foreign) -> None:
    r = foreign.platform.repositories
    root = artifacts.new_version_root("tickets")
    artifacts.store(r, root, "notes.md", [b"no model"])
    batch = Batch()
    unread = ModelVersion("tickets", 1, "", "", "", "", "", r.clock.now_us(), artifacts=root, unservable=UNCONVERTED, registered_by="ben")
    model_versions.register(batch, r.metadata, unread, actor="ben")
    r.metadata.commit(batch)
    foreign.declare()
    foreign.approve(1)
    foreign.world.settle()
    (skipped,) = foreign.world.audits("rollout.skip")
    assert "0 files that could be a model" in skipped.body["reason"]
    assert "tickets" not in foreign.world.core.served


def test_a_foreign_model_is_approved_served_and_monitored_against_its_baseline(foreign: Foreign) -> None:
    delivered(foreign)
    foreign.baseline(timestamp="asked_at")
    answers = foreign.live()
    assert {(each.model, each.version, each.error) for each in answers} == {("tickets", 1, "")}
    assert len({each.answer for each in answers}) > 10
    for _ in range(5):
        foreign.live()
    assert [(s.rows, s.labelled, s.schema) for s in foreign.slices()] == [(ROWS_A_DAY, ROWS_A_DAY, 1)] * 6
    assert {version for s in foreign.slices() for version in s.performance} == {"all", "1"}
    assert foreign.alerts() == set()
    for _ in range(4):
        foreign.live(shift=40.0)
    kinds = {kind for kind, subject in foreign.alerts() if subject == "request__temp"}
    assert kinds & {"drift", "distribution_skew"}
    assert not {subject for _, subject in foreign.alerts()} & {"request__guests", "request__kind_of_day"}


def test_without_a_baseline_the_first_served_days_are_what_is_normal(foreign: Foreign) -> None:
    delivered(foreign)
    for day in range(baselines.LEARNING_DAYS - 1):
        foreign.live()
        assert foreign.slices() == [], day
    foreign.live()
    learnt = schemas.active(foreign.world.metadata, "tickets")
    assert learnt is not None
    assert {column.name for column in learnt.columns} == {"request__kind_of_day", "request__temp", "request__guests"}
    assert len(foreign.slices()) == baselines.LEARNING_DAYS
    for _ in range(30):
        foreign.live()
    assert foreign.alerts() == set()
    for _ in range(4):
        foreign.live(shift=60.0)
    assert any(subject == "request__temp" for _, subject in foreign.alerts())


def test_a_vanished_column_is_a_schema_skew_of_the_foreign_model_too(foreign: Foreign) -> None:
    delivered(foreign)
    foreign.baseline(timestamp="")
    start = foreign.begin
    foreign.world.clock.advance(start + 3_600_000_000)
    foreign.world.core.predict("tickets", [row | {"temp": None} for row in asked(1)])
    foreign.world.clock.advance(start + DAY_US + 90 * 60_000_000)
    foreign.world.settle()
    assert ("schema_skew", "request__temp") in foreign.alerts()


def test_predictions_made_elsewhere_are_monitored_like_ones_own(foreign: Foreign, tmp_path: Path) -> None:
    """Each process works alone: nothing is served here, only a log is brought in."""
    delivered(foreign)
    rows = [
        row | {"at": foreign.begin + day * DAY_US + number, "answer": 0.3, "label": float(number % 3 == 0)}
        for day in range(9)
        for number, row in enumerate(asked(day, shift=70.0 if day == 8 else 0.0))
    ]
    pl.DataFrame(rows).write_parquet(tmp_path / "log.parquet")
    foreign.world.clock.advance(foreign.begin + 9 * DAY_US + 90 * 60_000_000)
    repositories = foreign.platform.repositories
    for _ in range(2):
        taken = prediction_import.take(repositories, "tickets", tmp_path / "log.parquet", prediction_import.Columns())
        assert taken == {"predictions": 9 * ROWS_A_DAY, "labels": 9 * ROWS_A_DAY}
    foreign.world.settle()
    assert [(s.rows, s.labelled) for s in foreign.slices()] == [(ROWS_A_DAY, ROWS_A_DAY)] * 9
    assert foreign.slices()[0].performance["all"]["labelled"] == ROWS_A_DAY
