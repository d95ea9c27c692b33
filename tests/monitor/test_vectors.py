"""The mean of each day's vectors against the baseline's: what the monitor says of lists of one length."""

import numpy as np
import pytest

from rota.monitor import vectors
from rota.monitor.vectors import VectorDays
from rota.records.release import Canary, Endpoint
from rota.records.schema import Bins, Schema
from rota.records.signal import Monitor, MonitorSlice
from rota.records.time import DAY_US
from rota.stats.embedding_drift import moments

MONITOR = Monitor(Endpoint("e", "m", Canary()), expected_days_between_false_alarms=30)
SCHEMA = Schema("m", 1, (), (Bins("v__x:norm", "float"), Bins("v__x:mean", "float"), Bins("v__h:norm", "float"), Bins("v__h:length", "float")))
"""`v__h` are lists of several lengths, of which there is no mean vector."""


def days(number: int, *, moved: float = 0.0, rows: int = 40, width: int = 8, seed: int = 0) -> list[MonitorSlice]:
    random = np.random.default_rng(seed)
    made = (moments(random.normal(size=(rows, width)) + moved) for _ in range(number))
    return [MonitorSlice("e", n * DAY_US, (n + 1) * DAY_US, rows, 0, {}, {}, {}, vectors={"v__x": each}) for n, each in enumerate(made)]


def test_a_mean_that_moved_for_several_days_is_drift_with_its_figures() -> None:
    moved = vectors.of_day(MONITOR, SCHEMA, VectorDays(days(60), [*days(10, seed=1), *days(7, moved=1.0, seed=2)]), day=0)
    (result,) = moved.results
    assert (result.check, result.subject, result.outcome) == ("drift", "v__x", "fail")
    assert "the mean of the vectors lies 1.0" in result.message
    (breach,) = moved.breaches
    assert breach.evidence["rule"] == "mean shift"
    assert breach.evidence["shift"] == pytest.approx(1.0, abs=0.1)


def test_days_as_usual_are_none() -> None:
    usual = vectors.of_day(MONITOR, SCHEMA, VectorDays(days(60), days(17, seed=1)), day=0)
    assert [(each.outcome, each.rows) for each in usual.results] == [("pass", 40)]
    assert usual.breaches == ()


def test_served_days_are_the_baseline_where_no_training_data_are() -> None:
    moved = vectors.of_day(MONITOR, SCHEMA, VectorDays([], [*days(70), *days(7, moved=1.0, seed=2)]), day=0)
    assert [each.outcome for each in moved.results] == ["fail"]


@pytest.mark.parametrize(
    ("trained", "served", "undated", "missing"),
    [
        (days(5), days(3, seed=1), False, "5 of "),
        (days(90), days(3, seed=1, rows=5), False, "5 vectors on the newest day"),
        (days(90), days(3, seed=1), True, "0 of "),
        (days(90, width=4), days(3, seed=1), False, "0 of "),
        ([], [], False, "0 vectors on the newest day"),
    ],
)
def test_what_cannot_be_judged_says_what_it_lacks(trained: list[MonitorSlice], served: list[MonitorSlice], undated: bool, missing: str) -> None:
    found = vectors.of_day(MONITOR, SCHEMA, VectorDays(trained, served, undated), day=0)
    assert [each.outcome for each in found.results] == ["inconclusive"]
    assert missing in found.results[0].missing
    assert found.breaches == ()
