"""Durable runs: abandoned, taken over, parked, refused, killed; each finished step happened once."""

import errno
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.runs import MemoryRuns
from rota.backends.sql.metadata import SqlMetadata
from rota.backends.sql.runs import SqlRuns
from rota.durable.worker import MAX_ATTEMPTS, Worker, cancel
from rota.durable.workflow import CONFLICTS, RETRY_AFTER_S, Blocked, StepWork
from rota.errors import Conflict, Interrupted, InvalidInput, LostLease, Unavailable
from rota.manage.lineage.audit_chain import verify_audit
from rota.ports.metadata import Batch
from rota.records.model import Alias
from rota.records.run import RetryPolicy, Run
from rota.records.signal import Event
from rota.testing import FakeClock, FakeSeconds

pytestmark = pytest.mark.usefixtures("stores_closed")


class World:
    """A store, a queue whose leases pass by hand, and workers with one workflow."""

    def __init__(self):
        self.metadata, self.seconds, self.clock = MemoryMetadata(), FakeSeconds(), FakeClock(1_000)
        self.runs = MemoryRuns(self.metadata, monotonic=self.seconds)
        self.paused = []

    def submit(self, id="r1", **arguments):
        self.runs.submit(Run(id, "flow", "flights", arguments, 0))

    def worker(self, flow, name="w1"):
        return Worker(name, self.runs, self.clock, {"flow": flow}, lease_s=30, pause=self.paused.append)

    def work(self, flow, name="w1"):
        return self.worker(flow, name).work_once()

    def abandon(self, flow, name="w1", error=KeyboardInterrupt):
        with pytest.raises(error):
            self.work(flow, name)
        self.seconds.pass_by(31)

    @property
    def run(self):
        return self.runs.get("r1")

    def subjects(self):
        return [entry.subject for entry in self.metadata.audit()]


class SettableClock:
    """A platform clock that may be set back, as the machine's may."""

    def __init__(self, at_us):
        self.at_us = at_us

    def now_us(self):
        return self.at_us


@pytest.fixture
def world():
    world = World()
    world.submit()
    return world


def effect(work, name):
    """An event, an edge and an audit entry: all three, or the step did not happen."""
    work.batch.event(Event("data.arrived", name, work.now_us))
    work.batch.audit("rota", "step", name, work.now_us)
    work.made(f"thing:{name}")
    return name


def three_steps(done, dies_at=None, error=KeyboardInterrupt):
    def flow(context, arguments):
        def work(name):
            def act(todo):
                done.append(name)
                effect(todo, name)
                if name == dies_at:
                    raise error
                return name

            return act

        return [context.step(name, work(name)) for name in ("a", "b", "c")]

    return flow


def test_without_runs_a_worker_has_nothing_to_do():
    assert World().work(lambda context, arguments: None) is False


def test_a_run_ends_with_its_result_and_one_event(world):
    assert world.work(three_steps([]))
    assert (world.run.status, world.run.result, world.run.error) == ("succeeded", ["a", "b", "c"], "")
    assert world.metadata.events(0)[-1].kind == "run.finished"
    assert world.metadata.events(0)[-1].body == {"workflow": "flow", "subject": "flights", "status": "succeeded"}
    assert world.work(three_steps([])) is False


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("dies_at", ["a", "b", "c"])
def test_a_finished_step_is_not_done_again_after_a_take_over(world, dies_at, error):
    first, second = [], []
    world.abandon(three_steps(first, dies_at, error), "w1", error)
    assert world.work(three_steps(second), "w2")
    assert first[:-1] + second == ["a", "b", "c"]
    assert second[0] == dies_at  # begun and not finished: done anew
    assert world.subjects() == ["a", "b", "c"]
    assert [event.subject for event in world.metadata.events(0)] == ["a", "b", "c", "r1"]
    assert [edge.effect for edge in world.metadata.edges(["run:r1"], "effects")] == ["thing:a", "thing:b", "thing:c"]
    assert (world.run.result, world.run.worker, world.run.attempts) == (["a", "b", "c"], "w2", 2)


def test_a_run_is_not_taken_while_its_worker_lives(world):
    def flow(context, arguments):
        world.seconds.pass_by(29)
        assert world.work(three_steps([]), "w2") is False
        return "mine"

    world.work(flow)
    assert (world.run.result, world.run.worker) == ("mine", "w1")


def test_a_worker_that_lost_its_lease_writes_nothing_and_goes_on(world):
    def late(context, arguments):
        world.seconds.pass_by(31)
        assert world.work(three_steps([]), "w2")
        return context.step("a", lambda work: effect(work, "late"))

    assert world.work(late, "w1") is True
    assert world.subjects() == ["a", "b", "c"]
    assert (world.run.status, world.run.worker) == ("succeeded", "w2")
    assert world.work(late) is False


def test_a_step_whose_batch_conflicts_leaves_nothing(world):
    taken = Batch()
    taken.create(Alias("flights", "champion", 1, 0))
    world.metadata.commit(taken)

    def flow(context, arguments):
        def work(todo):
            effect(todo, "a")
            todo.batch.create(Alias("flights", "champion", 2, 0))

        context.step("a", work)

    world.work(flow)
    assert (world.run.status, world.run.error.startswith("Conflict:")) == ("failed", True)
    assert world.runs.journal("r1") == []
    assert world.subjects() == []
    assert world.metadata.edges(["run:r1"], "effects") == []
    assert [event.kind for event in world.metadata.events(0)] == ["run.finished"]


def test_a_run_that_other_code_began_is_refused_by_name(world):
    world.abandon(three_steps([], "b"))

    def renamed(context, arguments):
        context.step("z", lambda work: effect(work, "z"))

    world.work(renamed, "w2")
    assert world.run.status == "failed"
    assert "has step 'a' at place 0, this code has 'z'" in world.run.error
    assert world.subjects() == ["a"]


def test_a_step_name_used_twice_is_refused_before_its_work(world):
    done = []

    def flow(context, arguments):
        for _ in range(2):
            context.step("a", done.append)

    world.work(flow)
    assert len(done) == 1
    assert "two steps named 'a'" in world.run.error


def test_a_step_returns_the_same_the_first_time_and_replayed(world):
    seen = []

    def flow(context, arguments):
        seen.append(context.step("a", lambda work: {"pair": (1, 2), "nan": float("nan")}))
        context.step("b", lambda work: (_ for _ in ()).throw(KeyboardInterrupt) if len(seen) == 1 else None)

    world.abandon(flow)
    world.work(flow)
    assert seen == [{"pair": [1, 2], "nan": None}] * 2


@pytest.mark.parametrize("flow", [lambda context, _: object(), lambda context, _: context.step("a", lambda work: object())], ids=["run", "step"])
def test_a_result_that_cannot_be_kept_ends_the_run_as_failed(world, flow):
    world.work(flow)
    assert world.run.status == "failed"
    assert "object cannot be kept as JSON" in world.run.error


def test_an_error_keeps_its_traceback_and_a_hostile_text_does_not_hinder_the_ending(world, caplog):
    caplog.set_level(logging.CRITICAL, logger="rota.durable")  # half a character in a captured log cannot be sent between test processes

    def flow(context, arguments):
        raise ValueError("nul \0, half a character \ud800, long " + "x" * 1_000_000 + " end")

    world.work(flow)
    assert world.run.status == "failed"
    assert world.run.error.rstrip().endswith("end")
    assert len(world.run.error) < 30_000


def test_a_gate_ends_the_run_as_blocked_with_its_reason(world):
    def flow(context, arguments):
        context.step("a", lambda work: effect(work, "a"))
        raise Blocked("roc_auc 0.61 is below 0.65")

    world.work(flow)
    assert (world.run.status, world.run.error, world.run.result) == ("blocked", "roc_auc 0.61 is below 0.65", None)
    assert world.metadata.events(0)[-1].body["status"] == "blocked"
    assert world.subjects() == ["a"]


def test_an_engine_that_did_not_answer_is_asked_again_and_nothing_is_committed_twice(world):
    tries = []

    def work(todo):
        effect(todo, "a")
        tries.append(1)
        if len(tries) < 3:
            raise Unavailable("no answer")
        return len(tries)

    world.work(lambda context, arguments: context.step("a", work))
    assert (world.run.status, world.run.result) == ("succeeded", 3)
    assert world.paused == list(RETRY_AFTER_S[:2])
    assert world.subjects() == ["a"]


@pytest.mark.parametrize("where", ["in a step", "beside the steps"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), OSError("1697 requested and 496 written")], ids=["os", "numpy"])
def test_a_full_disk_is_waited_for_and_never_a_verdict(world, where, error):
    full = [True]

    def work(todo):
        if full[0]:
            raise RuntimeError("the rows were not written") from error
        return effect(todo, "a")

    worker = world.worker(lambda context, _: context.step("a", work) if where == "in a step" else work(StepWork(context.run, 0)))
    assert worker.work_once()
    assert (world.run.status, world.run.attempts) == ("parked", 1)
    assert "a disk is full" in world.run.waiting_for
    full[0] = False
    world.seconds.pass_by(30)
    assert worker.work_once()
    assert (world.run.status, world.run.result) == ("succeeded", "a")


@pytest.mark.parametrize("where", ["in a step", "beside the steps"])
def test_an_engine_that_is_away_is_waited_for_and_never_a_verdict(world, caplog, where):
    """Ten minutes: the same run, no attempt more, two lines of log."""
    caplog.set_level(logging.INFO, logger="rota.durable")
    away = [True]

    def work(todo):
        if away[0]:
            raise Unavailable("no answer")
        return effect(todo, "a")

    def flow(context, arguments):
        try:
            return context.step("a", work) if where == "in a step" else work(StepWork(context.run, 0))
        except Exception as error:
            if where == "in a step":
                return f"a verdict from {error}"
            raise

    worker = world.worker(flow)
    for _ in range(20):
        assert worker.work_once()
        assert (world.run.status, world.run.attempts) == ("parked", 1)
        assert "no answer" in world.run.waiting_for
        assert worker.work_once() is False  # not before a while
        world.seconds.pass_by(30)
    away[0] = False
    assert worker.work_once()
    assert (world.run.status, world.run.result, world.run.attempts) == ("succeeded", "a", 1)
    told = [record.action for record in caplog.records if record.action in ("outage", "outage_over", "retry", "run_failed")]
    assert told == ["outage", "outage_over"]


def test_what_was_done_is_stored_however_long_the_queue_is_away(world, monkeypatch):
    record, away, done = world.runs.record, [Unavailable("busy")] * 50, []

    def sometimes(*args):
        if away:
            raise away.pop()
        record(*args)

    monkeypatch.setattr(world.runs, "record", sometimes)
    world.work(three_steps(done))
    assert done == ["a", "b", "c"]
    assert (world.run.status, world.run.attempts) == ("succeeded", 1)


@pytest.mark.parametrize(
    ("policy", "cause", "times"),
    [
        (RetryPolicy(), "timeout", 1),
        (RetryPolicy(), "died", 1),
        (RetryPolicy(attempts=3), "timeout", 1),
        (RetryPolicy(attempts=3), "died", 3),
        (RetryPolicy(attempts=3, retry_on_timeout=True), "timeout", 3),
    ],
)
def test_a_step_that_was_ended_is_begun_again_only_where_it_says_so(world, policy, cause, times):
    tries = []

    def work(todo):
        tries.append(1)
        raise Interrupted("it was ended", cause=cause)

    world.work(lambda context, arguments: context.step("a", work, retry=policy))
    assert len(tries) == times
    assert (world.run.status, world.run.error) == ("failed", "Interrupted: it was ended")
    assert world.work(three_steps([])) is False


def test_a_worker_that_is_told_to_stop_gives_its_run_back_and_the_next_goes_on(world):
    first, second = [], []

    def flow(context, arguments):
        for name in ("a", "b", "c"):
            context.step(name, lambda work, name=name: (first.append(name), name == "b" and worker.stopping.set(), effect(work, name))[-1])

    worker = world.worker(flow)
    worker.work_once()
    assert (world.run.status, world.run.worker, first) == ("parked", "", ["a", "b"])
    assert world.work(three_steps(second), "w2")
    assert (second, world.run.attempts, world.run.status) == (["c"], 1, "succeeded")
    assert world.subjects() == ["a", "b", "c"]


def test_a_step_that_does_not_listen_is_given_back_too_and_stores_nothing(world):
    def flow(context, arguments):
        def work(todo):
            worker.give_back()
            assert world.work(three_steps([]), "w2")
            return effect(todo, "late")

        context.step("a", work)

    worker = world.worker(flow)
    assert worker.work_once()
    assert (world.run.status, world.run.worker, world.subjects()) == ("succeeded", "w2", ["a", "b", "c"])


def test_a_cancelled_run_ends_for_good_and_its_step_is_told_soon(world):
    told = threading.Event()

    def flow(context, arguments):
        def work(todo):
            cancel(world.runs, "r1", actor="anna", reason="wrong data", now_us=5)
            while not todo.stopped():
                told.wait(0.01)
            told.set()
            raise Interrupted("it was stopped", cause="stopped")

        context.step("a", work)

    world.work(flow)
    assert told.is_set()
    assert (world.run.status, world.run.error, world.run.ended_us) == ("cancelled", "cancelled by anna: wrong data", 5)
    assert [(entry.action, entry.actor) for entry in world.metadata.audit()] == [("run.cancel", "anna")]
    assert [event.body["status"] for event in world.metadata.events(0)] == ["cancelled"]
    assert world.work(three_steps([])) is False
    with pytest.raises(Conflict, match="cancelled"):
        cancel(world.runs, "r1", actor="anna", reason="", now_us=6)


def test_a_sleep_of_a_year_ahead_ends_when_the_clock_is_set_back(world):
    year = 365 * 86_400_000_000
    world.clock = SettableClock(year)
    holds = []

    def flow(context, arguments):
        begun = context.step("begin", lambda work: work.now_us)
        for hold in (1, 2):
            context.sleep_until(begun + hold * 600_000_000)
            holds.append(context.step(f"hold {hold}", lambda work: work.now_us))

    world.work(flow)
    world.clock.at_us = 1_000
    assert world.work(flow) is False
    world.clock.at_us += 600_000_000
    assert world.work(flow)
    assert world.work(flow) is False
    world.clock.at_us += 600_000_000
    assert world.work(flow)
    assert (world.run.status, holds) == ("succeeded", [600_001_000, 600_001_000, 1_200_001_000])


def test_a_queue_that_is_away_for_a_moment_costs_no_work(world, monkeypatch):
    record, away = world.runs.record, [Unavailable("busy"), Unavailable("busy")]

    def sometimes(*args):
        if away:
            raise away.pop()
        record(*args)

    monkeypatch.setattr(world.runs, "record", sometimes)
    done = []
    world.work(three_steps(done))
    assert done == ["a", "b", "c"]
    assert world.run.status == "succeeded"


def test_a_queue_that_stays_away_leaves_the_run_to_a_take_over(world, monkeypatch):
    def away(*args, **kwargs):
        raise Unavailable("gone")

    monkeypatch.setattr(world.runs, "finish", away)
    assert world.work(three_steps([])) is True
    monkeypatch.undo()
    world.seconds.pass_by(31)
    done = []
    world.work(three_steps(done), "w2")
    assert done == []
    assert (world.run.status, world.subjects()) == ("succeeded", ["a", "b", "c"])


def test_a_run_that_kills_every_worker_is_given_up(world):
    for _ in range(MAX_ATTEMPTS):
        world.abandon(three_steps([], "a"))
    done = []
    world.work(three_steps(done))
    assert done == []
    assert world.run.status == "failed"
    assert "given up" in world.run.error


def test_sleeping_holds_nothing_and_wakes_exactly_in_time(world):
    woken = []

    def flow(context, arguments):
        until = context.step("begin", lambda work: work.now_us + 500)
        context.sleep_until(until)
        woken.append(context.now_us())
        return "rested"

    assert world.work(flow)
    assert (world.run.status, world.run.wake_us, world.run.worker) == ("parked", 1_500, "")
    world.seconds.pass_by(10_000)
    world.clock.advance(1_499)
    assert world.work(flow) is False
    world.submit("r2")
    assert world.work(lambda context, arguments: "other") is True  # the worker is free for others
    world.clock.advance(1_500)
    assert world.work(flow) is True
    assert (world.run.result, woken, world.run.attempts) == ("rested", [1_500], 1)


def waiting(context, arguments):
    return {"said": context.wait_for("approve", until_us=2_000)}


def test_a_signal_sent_before_the_run_waits_is_not_lost(world):
    world.runs.signal("r1", "approve", {"by": "anna"})
    world.work(waiting)
    assert world.run.result == {"said": {"by": "anna"}}


def test_a_signal_wakes_a_parked_run_and_another_one_does_not_end_its_waiting(world):
    world.work(waiting)
    assert (world.run.status, world.run.waiting_for) == ("parked", "approve")
    assert world.work(waiting) is False
    world.runs.signal("r1", "noise", 1)
    world.work(waiting)
    assert world.run.status == "parked"
    world.runs.signal("r1", "approve", "yes")
    world.runs.signal("r1", "approve", "no")
    world.work(waiting)
    assert world.run.result == {"said": "yes"}


def test_waiting_ends_without_an_answer_when_the_time_is_over(world):
    world.work(waiting)
    world.clock.advance(2_000)
    world.work(waiting)
    assert world.run.result == {"said": None}


def test_a_signal_after_the_waiting_ended_does_not_change_the_replay(world):
    def flow(context, arguments):
        said = context.wait_for("approve", until_us=2_000)
        return context.step("approved" if said else "timed out", lambda work: effect(work, str(said)))

    def killed(context, arguments):
        flow(context, arguments)
        raise KeyboardInterrupt

    world.clock.advance(2_000)
    world.abandon(killed)
    world.runs.signal("r1", "approve", "too late")
    world.work(flow, "w2")
    assert (world.run.status, world.run.result) == ("succeeded", "None")


def test_the_lease_is_renewed_while_the_work_lasts(monkeypatch):
    seconds, renewed = FakeSeconds(), threading.Semaphore(0)
    runs = MemoryRuns(MemoryMetadata(), monotonic=seconds)
    runs.submit(Run("r1", "flow", "flights", {}, 0))
    renew = runs.renew
    monkeypatch.setattr(runs, "renew", lambda *arguments, **options: (renew(*arguments, **options), renewed.release()))

    def flow(context, arguments):
        for _ in range(4):
            assert renewed.acquire(timeout=300)
            seconds.pass_by(0.15)
            assert runs.claim("thief", 0, lease_s=1) is None
        return "kept"

    Worker("w1", runs, FakeClock(), {"flow": flow}, lease_s=0.2).work_once()
    assert runs.get("r1").result == "kept"


def test_a_workflow_cannot_swallow_its_parking(world):
    def flow(context, arguments):
        try:
            context.sleep_until(9_000)
        except Exception as error:
            raise AssertionError from error

    world.work(flow)
    assert world.run.status == "parked"


def test_a_stolen_run_is_reported_to_whoever_records(world):
    lease = world.runs.claim("w1", 0, lease_s=30)
    world.seconds.pass_by(31)
    world.work(three_steps([]), "w2")
    with pytest.raises(LostLease):
        world.runs.renew(lease, lease_s=30)


def test_an_unknown_workflow_is_left_to_a_worker_that_knows_it(world):
    assert Worker("w1", world.runs, world.clock, {"other": waiting}).work_once() is False
    assert world.run.status == "queued"


def test_invalid_input_says_its_kind(world):
    def flow(context, arguments):
        raise InvalidInput("x = 7")

    world.work(flow)
    assert world.run.error == "InvalidInput: x = 7"


CHILD = """
import os, sys, time
from pathlib import Path
from rota.backends.sql.metadata import SqlMetadata
from rota.backends.sql.runs import SqlRuns
from rota.durable.worker import Worker
from rota.records.signal import Event
from rota.testing import FakeClock

home, name, stop_at = Path(sys.argv[1]), sys.argv[2], sys.argv[3]

def stop(place):
    if place == stop_at:
        os.write(1, b"here\\n")
        time.sleep(600)

def flow(context, arguments):
    def act(number):
        def work(todo):
            stop(f"before {number}")
            with (home / "effects").open("a") as file:
                file.write(f"{number}\\n")
            todo.batch.audit(name, "step", f"s{number}", number)
            todo.batch.event(Event("data.arrived", f"s{number}", number))
            todo.made(f"thing:{number}")
            stop(f"inside {number}")
            return number * number
        return work
    total = 0
    for number in range(6):
        total += context.step(f"s{number}", act(number))
        stop(f"after {number}")
    return total

metadata = SqlMetadata(home / "metadata.db")
worker = Worker(name, SqlRuns(metadata.engine), FakeClock(), {"flow": flow}, lease_s=0.4 if name == "first" else 60)
deadline = time.monotonic() + 120
while metadata.events(0)[-1:] == [] or metadata.events(0)[-1].kind != "run.finished":
    assert time.monotonic() < deadline
    if not worker.work_once():
        time.sleep(0.02)
"""


@pytest.mark.parametrize("place", ["before 0", "inside 2", "after 3", "inside 5", "after 5"])
def test_a_worker_killed_in_the_middle_is_finished_by_another_process(tmp_path: Path, place):
    metadata = SqlMetadata(tmp_path / "metadata.db")
    runs = SqlRuns(metadata.engine)
    runs.submit(Run("r1", "flow", "flights", {}, 0))
    with subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path), "first", place], stdout=subprocess.PIPE, text=True) as first:
        try:
            assert first.stdout is not None
            assert first.stdout.readline() == "here\n"
        finally:
            os.kill(first.pid, signal.SIGKILL)
    subprocess.run([sys.executable, "-c", CHILD, str(tmp_path), "second", "nowhere"], check=True, timeout=300)
    run = runs.get("r1")
    assert (run.status, run.result, run.worker, run.attempts) == ("succeeded", sum(n * n for n in range(6)), "second", 2)
    steps = [f"s{n}" for n in range(6)]
    assert [entry.subject for entry in metadata.audit()] == steps
    assert [event.subject for event in metadata.events(0)] == [*steps, "r1"]
    assert len(metadata.edges(["run:r1"], "effects")) == 6
    assert verify_audit(metadata).reason == ""
    when, number = place.split()
    done_by_first = int(number) + (when == "after")
    assert [entry.actor for entry in metadata.audit()] == ["first"] * done_by_first + ["second"] * (6 - done_by_first)
    effects = (tmp_path / "effects").read_text().split()
    assert sorted(set(effects)) == [str(n) for n in range(6)]
    assert len(effects) == 6 + (when == "inside")  # what is outside of the batch may be repeated, once
    metadata.close()


@pytest.mark.parametrize(("times", "status"), [(1, "succeeded"), (CONFLICTS, "succeeded"), (CONFLICTS + 1, "failed")])
def test_a_step_that_somebody_was_faster_than_is_done_again_on_what_is_there_now(world, times, status):
    tries = []

    def count_up(work):
        seen = world.metadata.get(Alias, "delay", "champion")
        tries.append(seen.number if seen else 0)
        if len(tries) <= times:  # another process moves it between our look and our commit
            batch = Batch()
            batch.put(Alias("delay", "champion", tries[-1] + 10, 0))
            world.metadata.commit(batch)
        work.batch.put(Alias("delay", "champion", tries[-1] + 1, 0), replacing=seen)

    world.work(lambda context, arguments: context.step("count", count_up))
    assert world.run.status == status
    assert tries == [10 * n for n in range(min(times, CONFLICTS) + 1)]
    assert world.metadata.get(Alias, "delay", "champion").number == 10 * times + (status == "succeeded")
