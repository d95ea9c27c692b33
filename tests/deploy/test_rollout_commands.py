"""What people ask of a rollout under way, whose turn it is, and what happens to a rollout whose run ended without it."""

import pytest

from rota.deploy import rollout_commands
from rota.errors import InvalidInput, NotFound, Refused, Unavailable
from rota.loop.context import LoopContext
from rota.loop.event_loop import Loop
from rota.ports.metadata import Batch
from rota.records.model import Alias
from rota.records.signal import Event
from rota.records.time import HOUR_US

ROLLOUT = "rollout.delay.2"


def ask(place, verb, reason="because", rollout=ROLLOUT):
    return rollout_commands.give(place.repositories, rollout, verb, actor="olga", reason=reason)


def split(place):
    return [(route.number, route.role, route.weight) for route in place.releases()[-1].routes]


def healthy(place):
    place.ask(3_000)
    place.ask(3_000, number=2, role="canary")


def begun(place):
    """A rollout in its first canary step: 10 % of the traffic, held for two hours."""
    place.start()
    place.work()
    healthy(place)
    place.work(1)
    assert split(place) == [(1, "stable", 90), (2, "canary", 10), (2, "shadow", 0)]


def loop(place):
    """Let the loop react to what happened."""
    Loop(LoopContext(place.repositories, "prod")).react()


def test_an_abort_returns_the_traffic_at_once_and_not_when_the_stage_is_over(place):
    begun(place)
    ask(place, "abort", "wrong training window")
    place.work()
    found = place.rollout()
    assert (found.state, found.reason) == ("rolled_back", "aborted by olga: wrong training window")
    assert split(place) == [(1, "stable", 100)]
    (entry,) = [entry for entry in place.metadata.audit() if entry.action == "rollout.abort"]
    assert (entry.actor, entry.subject, entry.body["reason"]) == ("olga", ROLLOUT, "wrong training window")


def test_a_paused_rollout_keeps_its_split_is_not_judged_and_holds_the_rest_after_it_is_resumed(place):
    begun(place)
    healthy(place)
    place.work(0.5)
    ask(place, "pause")
    judged = len(place.rollout().history)
    for _ in range(5):
        place.work(24)
    assert place.rollout().paused.actor == "olga"
    assert len(place.rollout().history) == judged
    assert split(place) == [(1, "stable", 90), (2, "canary", 10), (2, "shadow", 0)]
    ask(place, "resume", "")
    place.work(1.4)
    assert len(place.rollout().history) == judged
    place.work(0.1)
    assert len(place.rollout().history) == judged + 1
    assert split(place)[1] == (2, "canary", 50)
    healthy(place)
    place.work(2)
    assert place.rollout().state == "promoted"


def test_a_paused_rollout_can_be_aborted(place):
    begun(place)
    ask(place, "pause")
    place.work(48)
    ask(place, "abort", "enough")
    place.work()
    assert place.rollout().reason == "aborted by olga: enough"
    assert split(place) == [(1, "stable", 100)]


def test_what_is_asked_twice_is_stored_once_and_wakes_again(place):
    begun(place)
    first = ask(place, "pause")
    assert ask(place, "pause", "once more") == first
    assert len([entry for entry in place.metadata.audit() if entry.action == "rollout.pause"]) == 1


def test_a_wake_up_that_was_lost_is_made_up_for_when_the_hold_ends_or_somebody_asks_again(place, monkeypatch):
    begun(place)
    with monkeypatch.context() as dead:
        dead.setattr(place.runs, "signal", lambda *_: (_ for _ in ()).throw(Unavailable("the engine went away")))
        with pytest.raises(Unavailable):
            ask(place, "abort")
    place.work()
    assert place.rollout().ended_us is None
    ask(place, "abort")
    place.work()
    assert place.rollout().state == "rolled_back"


@pytest.mark.parametrize(
    ("verb", "reason", "error", "why"),
    [
        ("promote", " ", InvalidInput, "no reason"),
        ("abort", " ", InvalidInput, "no reason"),
        ("pause", "", InvalidInput, "no reason"),
        ("resume", "", Refused, "is not paused"),
    ],
)
def test_what_cannot_be_asked_is_refused(place, verb, reason, error, why):
    begun(place)
    with pytest.raises(error, match=why):
        ask(place, verb, reason)
    assert place.rollout().commands == ()


def test_a_rollout_that_is_unknown_waits_or_has_ended_says_so(place):
    with pytest.raises(NotFound, match="rota rollout list"):
        ask(place, "abort", rollout="rollout.delay.9")
    begun(place)
    place.start(3)
    place.work()
    with pytest.raises(Refused, match=r"waits for its turn; `rota runs cancel rollout\.delay\.3`"):
        ask(place, "abort", rollout="rollout.delay.3")
    ask(place, "abort")
    with pytest.raises(Refused, match="being aborted"):
        ask(place, "resume")
    place.work()
    with pytest.raises(Refused, match=r"ended at .* as rolled_back"):
        ask(place, "pause")


@pytest.mark.parametrize("dies_at", range(1, 7))
def test_a_worker_killed_between_any_two_steps_takes_each_command_once(place, monkeypatch, dies_at):
    begun(place)
    count, record = [0], place.runs.record

    def dying(lease, step, batch):
        count[0] += 1
        if count[0] == dies_at:
            raise KeyboardInterrupt
        record(lease, step, batch)

    monkeypatch.setattr(place.runs, "record", dying)

    def work(hours=0.0):
        try:
            place.work(hours)
        except KeyboardInterrupt:
            place.seconds.pass_by(60)
            place.work()

    ask(place, "pause")
    work(3)
    ask(place, "resume", "")
    work(2)
    ask(place, "abort", "enough")
    work()
    assert place.rollout().reason == "aborted by olga: enough"
    assert split(place) == [(1, "stable", 100)]
    assert place.runs.get(ROLLOUT).status == "succeeded"


def test_a_run_that_began_before_it_could_be_woken_goes_on_by_its_journal(place):
    """The journal of a passed hold has no entry for it, so nothing in an older journal is missing."""
    begun(place)
    names = [step.name for step in place.runs.journal(ROLLOUT)]
    assert names == [
        "look 0",
        "start",
        "traffic 0 shadow 0%",
        "converged 0 shadow 0%",
        "judge 0 shadow 0% hold 0",
        "traffic 1 canary 10%",
        "converged 1 canary 10%",
    ]


def test_rollouts_of_an_endpoint_begin_in_the_order_of_their_delivery_and_as_soon_as_the_one_before_has_ended(place):
    begun(place)
    third = place.start(3)
    place.work()
    ask(place, "abort")
    place.work()
    assert place.runs.get(third.id).status == "parked"
    loop(place)
    place.work()
    assert place.rollout(3).state == "shadow", "its turn came with the event, not an hour later"


def test_an_older_version_that_waited_while_a_newer_one_was_promoted_is_superseded(place):
    waiting = place.start(2)
    place.store(Alias("delay", "champion", 3, place.clock.now_us() + 1))
    place.clock.advance(place.clock.now_us() + HOUR_US)
    place.work()
    ended = place.runs.get(waiting.id)
    assert ended.status == "blocked"
    assert "superseded: version 3 was promoted" in ended.error
    assert place.releases() == []


def test_an_older_version_that_a_person_delivers_after_the_newer_one_is_delivered(place):
    place.store(Alias("delay", "champion", 3, place.clock.now_us() - 1))
    place.start(2)
    place.work()
    assert place.rollout(2).champion == 3


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_rollout_whose_run_ended_without_it_loses_its_traffic_and_blocks_nobody(place, status):
    begun(place)
    place.start(3)
    lease = place.runs.claim("w", place.clock.now_us() + 2 * HOUR_US, lease_s=5, workflows=["rollout"])
    assert lease.run.id == ROLLOUT
    batch = Batch()
    batch.event(Event("run.finished", ROLLOUT, place.clock.now_us(), {"workflow": "rollout", "subject": "delay", "status": status}))
    place.runs.finish(lease, status, ended_us=place.clock.now_us(), error="given up after 25 workers", batch=batch)
    loop(place)
    found = place.rollout()
    assert (found.state, found.reason) == ("rolled_back", f"its run ended as {status}: given up after 25 workers")
    assert split(place) == [(1, "stable", 100)]
    releases = len(place.releases())
    loop(place)
    assert len(place.releases()) == releases
    place.work(1)
    assert place.rollout(3).champion == 1


def test_a_rollout_that_ended_itself_is_left_alone_by_the_end_of_its_run(place):
    begun(place)
    ask(place, "abort")
    place.work()
    before = (place.rollout(), place.releases())
    loop(place)
    assert (place.rollout(), place.releases()) == before


def test_an_engine_that_is_away_while_a_stage_is_judged_is_no_verdict(place, monkeypatch):
    begun(place)
    healthy(place)
    with monkeypatch.context() as away:
        away.setattr(place.repositories.tables, "scan", lambda *_, **__: (_ for _ in ()).throw(Unavailable("the tables are away")))
        place.work(2)
    assert place.rollout().ended_us is None
    assert split(place)[1] == (2, "canary", 10)
