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
    fruitless = [run(day, status=status, trigger="schedule:x") for day, status in ((10, "blocked"), (20, "blocked"), (30, "blocked"))]
    stopped = decision(cron("0 3 * * 1"), *fruitless, give_up_after=3)
    assert not stopped.start
    assert "last 3 models were refused" in stopped.reason
    assert decision(Trigger("manual"), *fruitless, give_up_after=3).start
    assert decision(cron("0 3 * * 1"), run(9, status="blocked", trigger="manual"), *fruitless, give_up_after=3).start
    assert decision(cron("0 3 * * 1"), run(9, trigger="schedule:x"), *fruitless, give_up_after=3).start


def test_what_failed_is_no_refused_model_and_hides_none():
    """Five outages are not five refused models."""
    failed = [run(day, status=status, trigger="schedule:x") for day, status in ((10, "failed"), (11, "failed"), (12, "cancelled"), (13, "failed"))]
    assert decision(cron("0 3 * * 1"), *failed, give_up_after=3).start
    refused = [run(day, status="blocked", trigger="schedule:x") for day in (14, 15, 16)]
    assert not decision(cron("0 3 * * 1"), *failed, *refused, give_up_after=3).start


def test_alerts_of_two_kinds_have_cool_downs_of_their_own():
    recent = [run(0.1, trigger="alert:a1")]
    drift = on_alert("drift", cooldown="2d")

    def decided(trigger, kinds):
        return decide(PIPELINE, trigger, recent, now_us=NOON_US, alert_kinds=kinds).start

    assert decided(drift, {"a1": "performance"})
    assert not decided(ALERT, {"a1": "performance"})
    assert not decided(drift, {"a1": "drift"})
    assert not decided(drift, {})  # an alert that is gone may have been one of either kind


def test_two_schedules_have_cool_downs_of_their_own():
    recent = run(0.1, trigger="schedule:0 3 * * 1 at 2013-07-01T03:00:00Z")
    assert not decision(cron("0 3 * * 1", cooldown="2d"), recent).start
    assert decision(cron("0 4 * * *", cooldown="2d"), recent).start


def test_runs_dated_after_now_hold_up_nothing_once_the_clock_was_set_back():
    ahead = [run(-365 - day, trigger="alert:a1") for day in range(20)]
    assert decision(ALERT, *ahead, max_runs_per_week=3).start


def test_a_person_is_not_bound_by_budget_or_cool_down():
    assert decision(Trigger("manual"), *[run(n / 10, trigger="manual") for n in range(30)]).start
