"""Triggers never storm: one run at a time, cool-down, weekly budget, and a stop when retraining does not help."""

import msgspec
import pytest

from rota.records.run import Run, Trigger, cron, on_alert
from rota.records.time import DAY_US, HOUR_US
from rota.testing.story import NOON_US, PIPELINE
from rota.train.triggers import decide

ALERT = on_alert("performance", cooldown="2d")


def run(days_ago: float, *, status="succeeded", trigger="manual", ended=True):
    at = NOON_US - int(days_ago * DAY_US)
    return Run(f"r{days_ago}", "train", "delay", {}, at, trigger, status, ended_us=at + HOUR_US if ended else None)


def decision(trigger, *recent, **changes):
    return decide(msgspec.structs.replace(PIPELINE, **changes), trigger, recent, now_us=NOON_US)


def test_the_first_trigger_starts():
    assert decision(ALERT).start
    assert decision(ALERT).reason == "alert performance"


@pytest.mark.parametrize("trigger", [ALERT, cron("0 3 * * 1"), Trigger("manual"), Trigger("code")])
@pytest.mark.parametrize("status", ["queued", "running", "parked"])
def test_during_an_active_run_every_trigger_coalesces_into_it(trigger, status):
    found = decision(trigger, run(1, status=status, ended=False))
    assert not found.start
    assert found.reason == "coalesced into active run r1"


def test_the_cool_down_ends_to_the_microsecond():
    earlier = run(2, trigger="alert:a1")
    assert decision(ALERT, earlier).start
    late = msgspec.structs.replace(earlier, created_us=earlier.created_us + 1)
    assert not decision(ALERT, late).start
    assert "cooling down until" in decision(ALERT, late).reason


def test_another_kind_of_run_cools_nobody_down():
    assert decision(ALERT, run(0.1, trigger="schedule:0 3 * * 1"), run(0.2, trigger="manual")).start


def test_the_weekly_budget_counts_every_run_of_seven_days():
    recent = [run(day) for day in (0.5, 1, 6.9, 7.1)]
    assert decision(cron("0 3 * * 1"), *recent, max_runs_per_week=4).start
    refused = decision(cron("0 3 * * 1"), *recent, max_runs_per_week=3)
    assert not refused.start
    assert "weekly budget of 3 runs" in refused.reason


def test_the_loop_stops_when_retraining_makes_no_version_and_a_person_starts_it_again():
    fruitless = [run(day, status=status, trigger="schedule:x") for day, status in ((10, "blocked"), (20, "failed"), (30, "blocked"))]
    stopped = decision(cron("0 3 * * 1"), *fruitless, give_up_after=3)
    assert not stopped.start
    assert "last 3 runs made no version" in stopped.reason
    assert decision(Trigger("manual"), *fruitless, give_up_after=3).start
    assert decision(cron("0 3 * * 1"), run(9, status="blocked", trigger="manual"), *fruitless, give_up_after=3).start
    assert decision(cron("0 3 * * 1"), run(9, trigger="schedule:x"), *fruitless, give_up_after=3).start


def test_a_person_is_not_bound_by_budget_or_cool_down():
    assert decision(Trigger("manual"), *[run(n / 10, trigger="manual") for n in range(30)]).start
