"""A monitor is calibrated on a team's own days: by the table of a program, by a file on the command line, by an endpoint's days."""

import datetime as dt
import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import rota
from rota.errors import InvalidInput, NotFound
from rota.monitor import calibration
from rota.records.release import Endpoint
from rota.records.signal import Monitor

Place = runpy.run_path(str(Path(__file__).with_name("test_few_rows.py")))["Place"]
START = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)


def history(days: int = 130, rows: int = 150, *, moved_from: int = 10_000) -> pl.DataFrame:
    random = np.random.default_rng(6)
    day = np.repeat(np.arange(days), rows)
    return pl.DataFrame(
        {
            "at": [START + dt.timedelta(days=int(each), hours=3) for each in day],
            "amount": random.normal(size=days * rows) + np.where(day >= moved_from, 1.5, 0),
            "plan": random.choice(["a", "b", "c"], days * rows, p=[0.5, 0.3, 0.2]),
            "month": [(START + dt.timedelta(days=int(each))).month for each in day],
            "tags": [["x"]] * (days * rows),
        }
    )


def test_calm_days_have_no_false_alarms_and_each_feature_tells_what_it_would_show():
    found = rota.calibrate(history(), timestamp="at")
    assert (found.days, found.false_alarms, found.raised) == (130, 0, ())
    assert found.judged_days == 5 * (130 - 37)
    states = {each.feature: each.state for each in found.features}
    assert states == {"amount": "watching", "plan": "watching", "month": "off"}
    plan = next(each for each in found.features if each.feature == "plan")
    assert plan.base_share == pytest.approx(0.5, abs=0.02)
    assert {each.change for each in plan.smallest} == {"share", "new", "nulls"}
    assert any("tags" in note for note in found.notes)
    assert found.days_between_false_alarms is None


def test_what_would_have_been_raised_is_told_with_its_day():
    found = rota.calibrate(history(moved_from=100).drop("tags", "month"), timestamp="at")
    (first,) = found.raised
    assert first.feature == "amount"
    moved = START + dt.timedelta(days=100)
    assert 0 < first.day_us / 86_400e6 - moved.timestamp() / 86_400 <= 4


def test_few_days_are_used_and_it_is_said_and_fewer_are_refused():
    notes = rota.calibrate(history(days=30), timestamp="at").notes
    assert any("30 days are too few to count false alarms: 38 are needed" in note for note in notes)
    with pytest.raises(InvalidInput, match="13 days"):
        rota.calibrate(history(days=13), timestamp="at")


def test_few_rows_a_day_have_a_state_that_says_so():
    (plan,) = rota.calibrate(history(days=45, rows=13).select("at", "plan"), timestamp="at").features
    assert (plan.state, plan.missing) == ("cannot", "13 rows a day, 30 needed")


@pytest.mark.parametrize(("column", "words"), [("nothere", "no column 'nothere'"), ("plan", "holds String; give times")])
def test_a_timestamp_that_is_none_is_refused(column, words):
    with pytest.raises(InvalidInput, match=words):
        rota.calibrate(history(days=20), timestamp=column)


def test_the_budget_of_the_monitor_counts():
    strict = Monitor(Endpoint("e", "m"), expected_days_between_false_alarms=100_000, off=("drift:plan",))
    found = rota.calibrate(history().drop("tags", "month"), timestamp="at", monitor=strict)
    assert found.expected_days_between_false_alarms == 100_000
    usual = rota.calibrate(history().drop("tags", "month"), timestamp="at")
    size = {f.feature: f.smallest[0].within_2_days for f in usual.features}
    patient = {f.feature: f.smallest[0].within_2_days if f.smallest else None for f in found.features}
    assert patient["amount"] is None or patient["amount"] >= size["amount"]
    assert next(f for f in found.features if f.feature == "plan").state == "off"


def test_an_endpoint_is_calibrated_on_its_baseline_and_served_days():
    place = Place(baseline_rows=3_000, undated=False)
    place.live(100)
    source, monitor = calibration.of_endpoint(place.r, "e")
    found = calibration.calibrate(source, monitor)
    assert (found.days, len(found.features)) == (31, 3)
    with pytest.raises(NotFound, match="has no monitor"):
        calibration.of_endpoint(place.r, "other")


def test_a_file_on_the_command_line(tmp_path):
    history(days=20, rows=60).select("at", "plan", "month").write_parquet(tmp_path / "history.parquet")

    def run(*words):
        arguments = [sys.executable, "-m", "rota.cli", "monitor", "calibrate", "history.parquet", *words]
        return subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=False)

    found = json.loads(run("--timestamp", "at", "--json").stdout)
    assert [each["feature"] for each in found["features"]] == ["plan", "month"]
    assert "within 28 days" in run("--timestamp", "at").stdout
    assert "--timestamp" in run().stderr
    assert not (tmp_path / ".rota").exists()
