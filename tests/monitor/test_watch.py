"""The monitor: a day is examined once, late labels refresh its slice, an alert is raised once, touched, and resolved."""

import pytest

from rota.manage.signals import prediction_log
from rota.records.record import plain
from rota.records.run import Run
from rota.records.signal import Alert, MonitorSlice, Prediction
from rota.records.time import DAY_US

START_US = 1_372_636_800_000_000  # the first day of the world's history


@pytest.fixture
def served(world):
    """A world with version 1 behind the endpoint."""
    world.history(10)
    assert world.train().status == "succeeded"
    return world


def slices(world):
    return world.metadata.find(MonitorSlice, {"endpoint": "ice"}, order="start_us")


def monitor(world, name):
    """One more monitor run by hand; its result."""
    runs = world.platform.repositories.runs
    runs.submit(Run(name, "monitor", "ice", {"endpoint": "ice"}, world.clock.now_us()))
    world.settle()
    run = runs.get(name)
    assert run.status == "succeeded", run.error
    return run.result


def test_each_complete_day_is_examined_once(served):
    for _ in range(3):
        served.live()
    assert [(s.rows, s.labelled) for s in slices(served)] == [(160, 160)] * 3
    assert len({s.start_us for s in slices(served)}) == 3
    assert monitor(served, "again") == {"days": 0, "alerts": []}
    assert len(slices(served)) == 3


def test_days_that_were_missed_are_caught_up_oldest_first(served):
    settle, served.settle = served.settle, lambda: None
    for _ in range(4):
        served.live()
    served.settle = settle
    served.settle()
    assert [s.rows for s in slices(served)] == [160] * 4
    assert len({s.run for s in slices(served)}) == 1


def test_labels_that_come_late_refresh_the_slice_of_their_day(served):
    label, served.platform.signals.label = served.platform.signals.label, lambda endpoint, rows: 0
    ids = served.live()
    assert [s.labelled for s in slices(served)] == [0]
    served.platform.signals.label = label
    served.live()
    label("ice", [{"prediction_id": each, "value": 1.0} for each in ids[:50]])
    served.live()
    assert [s.labelled for s in slices(served)] == [50, 160, 160]


def test_an_alert_is_raised_once_touched_while_it_lasts_and_resolved_when_over(served):
    for _ in range(32):
        served.live()
    served.celsius = True
    served.live()
    served.live()
    (raised,) = served.metadata.find(Alert, {"kind": "distribution_skew"})
    served.live()
    (touched,) = served.metadata.find(Alert, {"kind": "distribution_skew"})
    assert touched.raised_us == raised.raised_us
    assert touched.last_seen_us == raised.last_seen_us + DAY_US
    served.celsius = False
    for _ in range(3):
        served.live()
    (over,) = served.metadata.find(Alert, {"kind": "distribution_skew"})
    assert over.status == "resolved"
    raised_events = [event for event in served.metadata.events(0, limit=100_000) if event.kind == "alert.raised" and event.subject == raised.id]
    assert len(raised_events) == 1
    assert plain(over.evidence)["fault"] == "Fahrenheit read as Celsius"


def test_failed_and_mirrored_predictions_do_not_count(served):
    ids = served.live()
    log = [
        Prediction(each, "ice", START_US + 10 * DAY_US, "ice", 1, role, 1, "", {}, {}, None if error else 0.5, 1, error)
        for each, role, error in ((ids[0], "shadow", ""), ("failed", "stable", "broken"))
    ]
    prediction_log.append(served.platform.repositories.journal, "ice", log)
    label = {"prediction_id": "failed", "value": 1.0}
    served.platform.signals.label("ice", [label])
    served.live()  # measures the day before again
    assert [(s.rows, s.labelled) for s in slices(served)] == [(160, 160)] * 2
