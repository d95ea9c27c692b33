"""Checks that are off raise nothing and say why; what follows the calendar is off by itself; a monitor that watches nothing is a warning."""

import runpy
from pathlib import Path

import msgspec
import numpy as np
import pytest

from rota.errors import InvalidInput
from rota.manage.signals import platform_alerts
from rota.monitor import status
from rota.monitor.breaches import Checked
from rota.monitor.status import MonitorStatus
from rota.monitor.switched_off import CALENDAR, apply, of_definition, unknown
from rota.ports.metadata import Batch
from rota.records.check import CheckResult, state_words
from rota.records.release import Endpoint
from rota.records.schema import ColumnSchema, Schema
from rota.records.signal import Alert, Monitor
from rota.stats.calendar_features import follows_calendar

Place = runpy.run_path(str(Path(__file__).with_name("test_few_rows.py")))["Place"]


def switch(place, *names: str) -> None:
    before = place.r.metadata.get(Monitor, "e")
    batch = Batch()
    batch.put(msgspec.structs.replace(before, off=names), replacing=before)
    place.r.metadata.commit(batch)


def test_a_check_that_is_off_raises_nothing_and_says_so():
    place = Place(baseline_rows=398, undated=True)
    switch(place, "drift:v__amount")
    for _ in range(4):
        place.live(13, factor=2.54)
    assert place.alerts() == []
    assert place.state("drift", "v__amount") == ("inconclusive", "off", "the monitor's definition switches it off")
    assert place.state("drift", "v__age")[1] == "watching"
    result = place.r.runs.get("monitor.4").result
    assert result["off"] == ["drift of v__amount: off, the monitor's definition switches it off"]
    assert not any("switches it off" in line for line in result["not_judged"])


def test_an_alert_of_a_check_that_is_switched_off_is_over():
    place = Place(baseline_rows=398, undated=True)
    for _ in range(4):
        place.live(13, factor=2.54)
    assert [a.status for a in place.alerts()] == ["open"]
    switch(place, "drift")
    place.live(13, factor=2.54)
    assert [a.status for a in place.alerts()] == ["resolved"]


def test_a_feature_that_does_not_exist_is_told():
    schema = Schema("m", 1, (ColumnSchema("v__age", "float"),), ())
    (result,) = unknown(Monitor(Endpoint("e", "m"), off=("drift:v__aeg", "drift:v__age", "performance")), schema)
    assert result.message == "off names 'drift:v__aeg': the model has no feature 'v__aeg'"


def test_a_kind_that_does_not_exist_is_refused():
    with pytest.raises(InvalidInput, match=r"'drfit'.*schema_skew.*drift:FEATURE"):
        Monitor(Endpoint("e", "m"), off=("drfit",))


def test_a_whole_kind_or_one_feature_is_off():
    found = Checked((CheckResult("drift", "pass", "m", "a"), CheckResult("drift", "pass", "m", "b"), CheckResult("performance", "pass", "m")))
    states = [r.state for r in apply(found, of_definition(Monitor(Endpoint("e", "m"), off=("drift:b", "performance")))).results]
    assert states == ["watching", "off", "off"]


def month_counts(days: int) -> np.ndarray:
    """100 rows a day on bins (null, 12 months, beyond)."""
    return np.array([np.eye(14, dtype=int)[1 + day // 30 % 12] * 100 for day in range(days)])


def test_one_value_a_day_is_the_calendar_and_a_constant_is_not():
    assert follows_calendar(month_counts(90))
    assert follows_calendar(np.array([[3, 100, 0] if day % 7 < 5 else [0, 0, 97] for day in range(40)]))
    assert not follows_calendar(month_counts(29))
    assert not follows_calendar(month_counts(20))
    assert not follows_calendar(np.full((60, 3), [0, 50, 50]))
    assert not follows_calendar(month_counts(90) // 10)


class Calendar(Place):
    """Visits are the same on all rows of a day, and another number begins with the first served day."""

    def features(self, count, factor=1.0):
        columns = super().features(count, factor)
        columns["v__visits"] = [float(n % 30 // 8) for n in range(count)] if count == 3_000 else [9.0] * count
        return columns


@pytest.mark.parametrize(("watched", "kinds"), [(False, set()), (True, {"drift"})])
def test_a_new_month_is_no_drift_unless_it_is_watched(watched, kinds):
    place = Calendar(baseline_rows=3_000, undated=False)
    before = place.r.metadata.get(Monitor, "e")
    batch = Batch()
    batch.put(msgspec.structs.replace(before, watch_calendar=watched), replacing=before)
    place.r.metadata.commit(batch)
    for _ in range(10):
        place.live(100)
    assert {a.kind for a in place.alerts() if a.subject == "v__visits"} - {"distribution_skew"} == kinds
    assert place.state("drift", "v__visits")[1] == ("watching" if watched else "off")
    assert place.state("drift", "v__age")[1] == "watching"


def test_the_state_is_told_with_what_is_behind_it():
    assert state_words(CheckResult("drift", "inconclusive", "m", "f", "16 of 30 reference days", "learning")) == "learning (16 of 30 reference days)"
    assert state_words(CheckResult("drift", "pass", "m", "f")) == "watching"
    assert state_words(CheckResult("drift", "inconclusive", "m", "f", CALENDAR, "off")).startswith("off (all rows of a day")


def test_a_monitor_that_watches_nothing_is_a_warning_until_it_does():
    place = Place(baseline_rows=398, undated=True)
    place.live(0)
    (condition,) = status.conditions(place.r)
    assert (condition.name, condition.status) == ("monitor:e", "degraded")
    assert condition.message.startswith("the monitor of 'e' watches nothing: traffic: cannot, no prediction on")
    platform_alerts.settle(place.r.metadata, [condition], actor="t", now_us=place.clock.now_us())
    (alert,) = place.r.metadata.find(Alert, {"endpoint": ""})
    assert (alert.subject, alert.severity) == ("monitor:e", "warning")
    place.live(13)
    assert [c.status for c in status.conditions(place.r)] == ["well"]


def test_a_monitor_that_has_not_run_yet_is_no_warning():
    assert not MonitorStatus("e", monitored=True).watches_nothing


def test_states_are_counted_by_kind():
    place = Place(baseline_rows=398, undated=True)
    place.live(13)
    counted = {(each.check, each.state): each.checks for each in status.counted(place.r)}
    assert counted["schema_skew", "watching"] == 1
    assert counted["drift", "cannot"] == 3
    assert counted["traffic", "watching"] == 1
