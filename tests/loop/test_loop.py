"""The loop in one process: an alarm becomes a run, a run a version, a version a rollout; each event acts once."""

import threading

import msgspec
import pytest

from rota.errors import InvalidInput, Refused, Unavailable
from rota.loop import table, training_rules
from rota.loop.context import LoopContext
from rota.loop.event_loop import Loop
from rota.loop.schedules import Schedules
from rota.manage.lineage.prediction_chain import prediction_chain
from rota.manage.signals import alerts, prediction_log
from rota.ports.metadata import Batch
from rota.records.release import Endpoint, Release, Rollout
from rota.records.run import Deployed, Run, RunQuery, cron, new_data, on_alert
from rota.records.schema import Schema
from rota.records.signal import ArrivalCount, Event, Monitor, MonitorSlice, ScheduleState
from rota.records.time import DAY_US, HOUR_US


def test_the_circle_closes_from_alarm_to_the_promotion_of_a_better_version(world):
    world.history(10)
    first = world.train()
    assert first.status == "succeeded", first.error
    assert [(version.number, version.status) for version in world.versions()] == [(1, "approved")]
    assert [(rollout.candidate, rollout.state) for rollout in world.rollouts()] == [(1, "promoted")]
    for _ in range(46):
        world.live()
    assert [alert.message for alert in world.alerts() if alert.kind == "performance"] == []

    world.flipped = True
    for _ in range(20):
        ids = world.live()
        if len(world.rollouts()) > 1 and world.rollouts()[-1].ended_us:
            break
    (alert,) = [alert for alert in world.alerts() if alert.kind == "performance"]
    run = world.platform.repositories.runs.find(RunQuery("train"))[0]
    assert (run.trigger, run.status) == (f"alert:{alert.id}", "succeeded"), run.error
    rollout = world.rollouts()[-1]
    assert (rollout.candidate, rollout.champion, rollout.state) == (2, 1, "promoted"), rollout.reason
    stages = [entry["stage"] for entry in rollout.history if entry["outcome"] == "pass"]
    assert stages == ["0 shadow 0%", "1 canary 50%"]

    ids = world.live()
    prediction_log.flush(world.platform.repositories.journal, world.platform.repositories.tables, "ice")
    chain = {link.node for link in prediction_chain(world.platform.repositories, ids[-1])}
    data = f"dataset_version:{world.versions()[-1].dataset}"
    assert {f"alert:{alert.id}", f"run:{run.id}", f"run:{alert.monitor_run}", "model_version:ice@2", data} <= chain
    measured = world.metadata.page(MonitorSlice, {"endpoint": "ice"}, order="-start_us", limit=1).items[0]
    assert measured.performance["2"]["roc_auc"] > 0.7


def test_a_feed_that_changes_its_unit_is_named_blocks_training_and_is_forgiven_when_repaired(world):
    world.history(10)
    assert world.train().status == "succeeded"
    for _ in range(32):
        world.live()
    world.celsius = True
    for _ in range(3):
        world.live()
    (alert,) = [alert for alert in world.alerts() if alert.kind == "distribution_skew"]
    assert alert.subject == "shop_weather__temp"
    assert "Fahrenheit" in alert.message
    blocked = world.train()
    assert blocked.status == "blocked"
    assert "blocked by data validation" in blocked.error
    assert "shop_weather__temp" in blocked.error
    assert len(world.versions()) == 1
    assert [a.subject for a in world.alerts() if a.kind == "gate"] == ["data validation"]

    world.celsius = False
    for _ in range(7):
        world.live()
    assert {a.status for a in world.alerts() if a.kind in ("distribution_skew", "gate")} == {"resolved"}
    world.clock.advance(world.clock.now_us() + 1)
    again = world.train()
    assert "data validation" not in again.error
    assert again.status == "succeeded", again.error


# What starts a run, and what does not


def raise_alert(world, *, kind="performance", subject="brier"):
    """An alert as a monitor would raise it, a second later than the one before."""
    world.clock.advance(world.clock.now_us() + 1_000_000)
    batch = Batch()
    breach = alerts.Breach(kind, subject, "critical", f"{kind} of {subject}", {})
    alert = alerts.raise_or_touch(batch, world.metadata, "ice", breach, now_us=world.clock.now_us(), run="m1")
    world.metadata.commit(batch)
    return alert


def redeploy(world, **changes):
    """The pipeline with other triggers or limits."""
    before = world.metadata.get(Deployed, "ice", "prod")
    batch = Batch()
    batch.put(msgspec.structs.replace(before, definition=msgspec.structs.replace(before.definition, **changes)))
    world.metadata.commit(batch)


def react(world):
    """React to everything, execute nothing."""
    while world.platform.loop.react():
        pass


def training(world):
    return world.platform.repositories.runs.find(RunQuery("train"))


def end(world, run_id, status="succeeded"):
    runs = world.platform.repositories.runs
    lease = runs.claim("w", world.clock.now_us(), lease_s=60, workflows=["train"])
    assert lease.run.id == run_id
    runs.finish(lease, status, ended_us=world.clock.now_us())


def skipped(world):
    return [entry.body["reason"] for entry in world.audits("trigger.skip")]


def test_twenty_alerts_in_a_minute_start_one_run_and_say_so(world):
    for number in range(20):
        raise_alert(world, subject=f"s{number}")
    react(world)
    (run,) = training(world)
    assert skipped(world) == [f"coalesced into active run {run.id}"] * 19


def test_an_alert_within_the_cool_down_waits_and_says_until_when(world):
    first = raise_alert(world)
    react(world)
    end(world, training(world)[0].id)
    raise_alert(world, subject="later")
    react(world)
    assert [run.trigger for run in training(world)] == [f"alert:{first.id}"]
    assert "cooling down until 2013-07-08" in skipped(world)[0]


def test_an_alert_that_lasts_is_answered_again_once_the_cool_down_is_over(world):
    alert = raise_alert(world)
    react(world)
    end(world, training(world)[0].id, "blocked")
    raise_alert(world)
    react(world)
    assert len(training(world)) == 1
    assert "cooling down until" in skipped(world)[0]
    world.clock.advance(world.clock.now_us() + 7 * DAY_US)
    assert raise_alert(world) is None
    react(world)
    assert [run.trigger for run in training(world)] == [f"alert:{alert.id}"] * 2


def test_a_promoted_version_is_judged_for_a_cool_down_before_a_lasting_alert_starts_another(world):
    redeploy(world, triggers=[on_alert("performance", cooldown="3d")])
    raise_alert(world)
    react(world)
    end(world, training(world)[0].id)
    world.clock.advance(world.clock.now_us() + 2 * DAY_US)
    batch = Batch()
    batch.put(Rollout("rollout.ice.2", "ice", "ice", 2, 1, "promoted", 0, world.clock.now_us() - DAY_US, ended_us=world.clock.now_us()))
    world.metadata.commit(batch)
    for _ in range(2):
        world.clock.advance(world.clock.now_us() + DAY_US)
        raise_alert(world)
        react(world)
    assert len(training(world)) == 1
    assert "version 2 was promoted" in skipped(world)[-1]
    world.clock.advance(world.clock.now_us() + DAY_US)
    raise_alert(world)
    react(world)
    assert len(training(world)) == 2


def test_an_alert_that_was_resolved_meanwhile_starts_nothing(world):
    alert = raise_alert(world)
    batch = Batch()
    alerts.resolve(batch, alert, now_us=world.clock.now_us(), actor="anna", reason="mended")
    world.metadata.commit(batch)
    react(world)
    assert training(world) == []


def test_the_weekly_budget_holds_and_says_so(world):
    redeploy(world, triggers=[on_alert("performance", cooldown="0s")], max_runs_per_week=2)
    for number in range(4):
        raise_alert(world, subject=f"s{number}")
        react(world)
        if training(world)[0].ended_us is None:
            end(world, training(world)[0].id)
    assert len(training(world)) == 2
    assert skipped(world) == ["weekly budget of 2 runs is used up"] * 2


def test_after_enough_runs_without_a_version_the_loop_stops_and_says_so(world):
    redeploy(world, triggers=[on_alert("performance", cooldown="0s")], give_up_after=3)
    for number in range(5):
        raise_alert(world, subject=f"s{number}")
        react(world)
        if training(world)[0].ended_us is None:
            end(world, training(world)[0].id, "blocked")
    assert len(training(world)) == 3
    assert all("the last 3 models were refused" in reason for reason in skipped(world))
    (stopped,) = world.platform.condition_sources["pipelines"].tell()
    assert (stopped.name, stopped.status) == ("pipeline:ice", "degraded")
    assert "rota train ice" in stopped.message
    assert world.platform.pipelines.start("ice")
    assert [each.status for each in world.platform.condition_sources["pipelines"].tell()] == ["well"]  # a person saw to it


def test_an_alert_during_a_rollout_is_skipped_with_its_reason(world):
    batch = Batch()
    batch.put(Rollout("rollout.ice.2", "ice", "ice", 2, 1, "canary", 0, world.clock.now_us()))
    world.metadata.commit(batch)
    raise_alert(world)
    react(world)
    assert training(world) == []
    assert skipped(world) == ["version 2 is still being rolled out"]


def test_an_alert_of_another_kind_starts_nothing(world):
    raise_alert(world, kind="drift", subject="temp")
    react(world)
    assert training(world) == []
    assert skipped(world) == []


def test_new_rows_start_a_run_when_they_are_enough_counted_since_the_last_run(world):
    redeploy(world, triggers=[new_data(100)])

    def arrive(rows, source="sales"):
        world.clock.advance(world.clock.now_us() + 1_000_000)
        batch = Batch()
        batch.event(Event("data.arrived", source, world.clock.now_us(), {"rows": rows}))
        world.metadata.commit(batch)
        react(world)
        return len(training(world))

    assert [arrive(60), arrive(500, "weather"), arrive(40)] == [0, 0, 1]
    end(world, training(world)[0].id)
    assert [arrive(99), arrive(1)] == [1, 2]


def test_ticks_missed_while_nothing_ran_coalesce_into_one_event(world):
    redeploy(world, triggers=[cron("0 3 * * *")])
    world.clock.advance(world.clock.now_us() + 10 * DAY_US)
    assert world.platform.loop.schedules.fire()
    fired = [event for event in world.metadata.events(0) if event.kind == "schedule.fired"]
    assert sorted(event.subject for event in fired) == ["monitor/ice", "train/ice/0"]
    assert world.metadata.get(ScheduleState, "train/ice/0").last_us == world.clock.now_us() - 21 * HOUR_US
    assert not Schedules(world.platform.loop.context).fire()
    react(world)
    assert sorted(run.workflow for run in world.platform.repositories.runs.find()) == ["monitor", "train"]


def test_every_monitor_is_scheduled_and_every_queued_run_waited_for_however_many_there_are(world):
    batch = Batch()
    for number in range(1_200):
        batch.put(Monitor(Endpoint(f"e{number:04}", "ice"), schedule="0 3 * * *"))
    world.metadata.commit(batch)
    names = {schedule.name for schedule in world.platform.loop.schedules.in_force()}
    assert {f"monitor/e{number:04}" for number in range(1_200)} <= names

    now_us, runs = world.clock.now_us(), world.platform.repositories.runs
    runs.submit(Run("oldest", "train", "ice", {}, now_us))
    for number in range(120):
        runs.submit(Run(f"later{number}", "rollout", "ice", {}, now_us + 1))
        runs.park(runs.claim("w", now_us + 2, lease_s=60, workflows={"rollout"}), wake_us=now_us + DAY_US)
    assert world.platform.loop._runnable() == ["run oldest queued"]


def test_a_schedule_that_was_taken_away_between_tick_and_reaction_does_not_stop_the_loop(world):
    redeploy(world, triggers=[cron("0 3 * * *")])
    world.clock.advance(world.clock.now_us() + DAY_US)
    world.platform.loop.schedules.fire()
    redeploy(world, triggers=[])
    react(world)
    assert world.platform.loop.waiting() == [f"run {run.id} queued" for run in world.platform.repositories.runs.find()]
    assert [entry.body["rule"] for entry in world.audits("loop.error")] == ["train_on_schedule"]


# Each event acts once


def test_two_loops_that_take_turns_act_once_on_each_event(world):
    loops = [Loop(LoopContext(world.platform.repositories, "prod")) for _ in range(2)]
    for number in range(6):
        raise_alert(world, subject=f"s{number}")
        while loops[number % 2].react():
            pass
        assert not loops[1 - number % 2].react()
    assert len(training(world)) == 1
    assert len(skipped(world)) == 5


def test_many_loops_at_once_act_once_on_each_event(world):
    redeploy(world, triggers=[on_alert("performance", cooldown="0s")])
    for number in range(30):
        raise_alert(world, subject=f"s{number}")
    threads = [
        threading.Thread(target=lambda: [None for _ in iter(Loop(LoopContext(world.platform.repositories, "prod")).react, False)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (run,) = training(world)
    assert skipped(world) == [f"coalesced into active run {run.id}"] * 29
    assert [edge.cause for edge in world.metadata.edges([f"run:{run.id}"], "causes")] == [run.trigger]


def test_a_worker_that_dies_between_starting_a_run_and_moving_on_leaves_one_run_with_its_cause(world, monkeypatch):
    react(world)
    alert = raise_alert(world)
    commit = world.metadata.commit

    def dies(batch):
        if batch.puts:  # the cursor
            raise KeyboardInterrupt
        commit(batch)

    monkeypatch.setattr(world.metadata, "commit", dies)
    with pytest.raises(KeyboardInterrupt):
        react(world)
    monkeypatch.setattr(world.metadata, "commit", commit)
    react(world)
    (run,) = training(world)
    assert [edge.cause for edge in world.metadata.edges([f"run:{run.id}"], "causes")] == [f"alert:{alert.id}"]
    assert skipped(world) == []


def test_a_rule_that_fails_is_audited_and_the_next_event_is_handled(world, monkeypatch):
    def broken(loop, event):
        raise InvalidInput("no such thing")

    monkeypatch.setitem(table.RULES, "alert.raised", (broken, *table.RULES["alert.raised"]))
    raise_alert(world)
    react(world)
    assert len(training(world)) == 1
    assert [(entry.body["rule"], entry.body["error"]) for entry in world.audits("loop.error")] == [("broken", "InvalidInput: no such thing")]


def test_an_engine_that_is_away_loses_no_event(world, monkeypatch):
    def away(loop, event):
        raise Unavailable("the database is locked")

    raise_alert(world)
    monkeypatch.setitem(table.RULES, "alert.raised", (away,))
    with pytest.raises(Unavailable):
        react(world)
    monkeypatch.undo()
    react(world)
    assert len(training(world)) == 1


def test_a_deaf_receiver_of_alerts_stops_nothing(world):
    class Sink:
        def __init__(self, deaf):
            self.heard, self.deaf = [], deaf

        def deliver(self, alert):
            if self.deaf:
                raise Unavailable("connection refused")
            self.heard.append(alert.id)

    sinks = (Sink(deaf=True), Sink(deaf=False))
    alert = raise_alert(world)
    while Loop(LoopContext(world.platform.repositories, "prod", sinks)).react():
        pass
    assert sinks[1].heard == [alert.id]
    assert len(training(world)) == 1


# A person's acts


def test_training_by_hand_is_refused_while_a_run_is_active(world):
    run_id = world.platform.pipelines.start("ice")
    with pytest.raises(Refused, match=f"coalesced into active run {run_id}"):
        world.platform.pipelines.start("ice")
    with pytest.raises(Refused, match="'nobody' is not deployed"):
        world.platform.pipelines.start("nobody")


def test_a_label_that_is_no_number_is_refused_before_it_is_kept(world):
    for value in (float("nan"), float("inf"), "late", None):
        with pytest.raises(InvalidInput, match="label 1"):
            world.platform.signals.label("ice", [{"prediction_id": "a", "value": 1}, {"prediction_id": "b", "value": value}])
    for at_us in (2**63, -1):
        with pytest.raises(InvalidInput, match=r"label 0.*at_us"):
            world.platform.signals.label("ice", [{"prediction_id": "a", "value": 1, "at_us": at_us}])
    assert list(world.platform.repositories.journal.read("labels/ice")) == []


def test_a_candidate_worse_than_the_champion_is_blocked_and_leaves_no_version(world):
    world.history(10)
    assert world.train().status == "succeeded"
    redeploy(world, parameters={"rounds": 1})
    world.clock.advance(world.clock.now_us() + 1)
    blocked = world.train()
    assert blocked.status == "blocked"
    assert "log_loss: champion" in blocked.error
    assert "worse (margin 0.1)" in blocked.error
    assert len(world.versions()) == 1
    assert len(world.metadata.find(Release)) == 1
    assert len(world.metadata.find(Schema)) == 1


def test_applying_the_same_project_again_changes_nothing(world, tmp_path):
    before = len(world.metadata.events(0))
    changes = world.platform.projects.apply(tmp_path / "project" / "project.py")
    assert {change.what for change in changes} == {"keep"}
    assert len(world.metadata.events(0)) == before


def test_a_worker_carries_pushed_rows_into_the_tables_and_says_so_without_a_monitor(world):
    redeploy(world, triggers=[new_data(rows=3)])
    react(world)
    now_us = world.clock.now_us()
    row = {"shop": "a", "asked_at": now_us, "known_at": now_us, "kind": "ice", "sold_out": 1.0}
    world.platform.features.push("sales", [{**row, "id": f"s{number}"} for number in range(3)])
    world.platform.housekeeping.run()
    react(world)
    assert [run.trigger.partition(":")[0] for run in training(world)] == ["new_data"]
    world.platform.housekeeping.run()
    react(world)
    assert len(training(world)) == 1


def test_new_rows_are_counted_from_where_the_last_count_ended_and_anew_after_a_training(world, monkeypatch):
    redeploy(world, triggers=[new_data(rows=1_000)])
    react(world)
    metadata, read = world.metadata, []
    events = metadata.events
    monkeypatch.setattr(metadata, "events", lambda after, limit=1_000: [read.append(each.position) or each for each in events(after, limit=limit)])

    def arrive(rows):
        batch = Batch()
        batch.event(Event("data.arrived", "sales", world.clock.now_us(), {"rows": rows}))
        metadata.commit(batch)
        world.clock.advance(world.clock.now_us() + 1)
        (event,) = [each for each in events(0) if each.kind == "data.arrived"][-1:]
        read.clear()
        reaction = training_rules.train_on_new_data(world.platform.loop.context, event)
        metadata.commit(reaction.batch)
        return reaction.runs, len(read)

    arrive(1)  # whatever came before is read once
    assert [arrive(9) for _ in range(50)] == [((), 1)] * 50
    assert arrive(548) == ((), 1)
    (started,), _ = arrive(1)
    assert arrive(1)[0][0].workflow == "train"  # it was not submitted here, so the rows still count
    world.platform.repositories.runs.submit(started)
    arrive(999)
    assert metadata.get(ArrivalCount, started.subject, "sales").rows == 999
    assert arrive(1)[1] == 1
    assert metadata.get(ArrivalCount, started.subject, "sales").rows == 1_000
