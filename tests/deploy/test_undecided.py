"""What the data cannot decide is no verdict: it is waited for, told with what is missing, and its end is the strategy's or a person's choice."""

import msgspec
import pytest

from rota.deploy.delivery import Deliveries
from rota.errors import Refused
from rota.loop.context import LoopContext
from rota.loop.event_loop import Loop
from rota.manage.signals import alerts
from rota.records import check
from rota.records.release import Canary, Endpoint, error_rate
from rota.records.time import HOUR_US
from rota.testing.story import NOON_US, approval

ROLLOUT = "rollout.delay.2"
QUIET = Canary(steps=[10, 50], hold="2h", analysis=[error_rate(margin=0.1)], max_duration="12h")


def split(place):
    return [(route.number, route.role, route.weight) for route in place.releases()[-1].routes]


def quiet(place, **options):
    """A rollout on an endpoint without traffic, whose twelve hours are over."""
    place.store(Endpoint("delay", "delay", msgspec.structs.replace(QUIET, **options)))
    place.start()
    place.work()
    for _ in range(8):
        place.work(2)


def ask(place, verb, reason="because", rollout=ROLLOUT):
    return Deliveries(place.repositories).command(rollout, verb, actor="olga", reason=reason)


def open_alerts(place):
    return [(alert.kind, alert.subject) for alert in alerts.open_alerts(place.metadata, "delay")]


def healthy(place):
    place.ask(3_000)
    place.ask(3_000, number=2, role="canary")


def test_a_candidate_without_traffic_is_held_with_an_alert_that_says_what_is_missing_and_the_ways_out(place):
    quiet(place)
    found = place.rollout()
    assert (found.state, found.phase, found.ended_us) == ("canary", "held", None)
    assert found.missing == "error rate: 0 predictions of the candidate and 0 of stable, 30 needed of each"
    assert split(place)[:2] == [(1, "stable", 90), (2, "canary", 10)]
    (alert,) = alerts.open_alerts(place.metadata, "delay")
    assert (alert.kind, alert.subject, alert.severity) == ("rollout", ROLLOUT, "warning")
    assert found.missing in alert.message
    for way in (f"promote {ROLLOUT} --reason", f"abort {ROLLOUT} --reason", f"resume {ROLLOUT}` waits for another 12h"):
        assert way in alert.message
    for _ in range(50):
        place.work(2)
    assert place.rollout().phase == "held"
    assert open_alerts(place) == [("rollout", ROLLOUT)], "one alert, however long it lasts"


def test_a_held_candidate_is_judged_on_and_passes_when_its_traffic_comes(place):
    quiet(place)
    healthy(place)
    place.work(2)
    assert (place.rollout().phase, place.rollout().missing) == ("progressing", "")
    assert open_alerts(place) == []
    assert split(place)[1] == (2, "canary", 50)
    healthy(place)
    place.work(2)
    assert place.rollout().state == "promoted"


def test_a_held_candidate_is_rolled_back_as_soon_as_it_fails(place):
    quiet(place)
    place.ask(300)
    place.ask(300, number=2, role="canary", errors=200)
    place.work(2)
    assert place.rollout().state == "rolled_back"
    assert "error rate 200/300" in place.rollout().reason
    assert open_alerts(place) == []


def test_how_many_predictions_are_still_needed_is_in_the_verdict(place):
    place.store(Endpoint("delay", "delay", msgspec.structs.replace(QUIET, analysis=[error_rate(margin=0.01)])))
    place.start()
    place.work()
    place.ask(900)
    place.ask(40, number=2, role="canary")
    place.work(2)
    (verdict,) = map(check.from_stored, place.rollout().history[-1]["verdicts"])
    assert (verdict.outcome, verdict.seen, verdict.counted) == ("inconclusive", 40, "predictions of the candidate")
    assert verdict.needed is not None
    assert verdict.needed > 40
    assert place.rollout().missing == f"error rate: 40 of about {verdict.needed:,} predictions of the candidate, {verdict.needed - 40:,} still needed"


@pytest.mark.parametrize(("chosen", "state"), [("promote", "promoted"), ("roll_back", "rolled_back")])
def test_the_end_of_an_undecided_candidate_is_what_the_strategy_says(place, chosen, state):
    quiet(place, on_inconclusive=chosen)
    assert place.rollout().state == state
    assert place.rollout().reason.startswith("still undecided after 12h, so not judged: error rate 0/0")
    assert open_alerts(place) == []


def test_patience_means_what_it_meant(place):
    quiet(place, max_duration="", patience=1)
    assert place.rollout().state == "rolled_back"
    assert place.rollout().reason.startswith("still inconclusive after 2 holds of 0 canary 10%")


@pytest.mark.parametrize("verb", ["promote", "abort"])
def test_a_person_ends_a_held_rollout(place, verb):
    quiet(place)
    ask(place, verb, "enough seen")
    place.work()
    assert place.rollout().state == {"promote": "promoted", "abort": "rolled_back"}[verb]
    assert place.rollout().reason.endswith("by olga: enough seen")
    assert open_alerts(place) == []
    assert [(entry.actor, entry.body["reason"]) for entry in place.metadata.audit() if entry.action == f"rollout.{verb}"] == [("olga", "enough seen")]


def test_a_person_lets_a_held_rollout_wait_for_another_max_duration(place):
    quiet(place)
    ask(place, "resume", "")
    place.work()
    assert (place.rollout().phase, open_alerts(place)) == ("progressing", [])
    for _ in range(5):
        place.work(2)
    assert place.rollout().phase == "progressing"
    place.work(2)
    assert (place.rollout().phase, open_alerts(place)) == ("held", [("rollout", ROLLOUT)])


def test_a_pause_is_no_time_in_which_a_candidate_was_undecided(place):
    place.store(Endpoint("delay", "delay", QUIET))
    place.start()
    place.work()
    ask(place, "pause")
    place.work(100)
    ask(place, "resume", "")
    for _ in range(5):
        place.work(2)
    assert place.rollout().phase == "progressing"
    place.work(2)
    assert place.rollout().phase == "held"


def test_a_later_delivery_supersedes_a_held_rollout_by_name(place):
    quiet(place)
    place.start(3)
    place.work()
    Loop(LoopContext(place.repositories, "prod")).react()
    place.work()
    assert (place.rollout().state, place.rollout(3).state) == ("rolled_back", "canary")
    assert "superseded by rollout.delay.3" in place.rollout().reason
    assert {route.number for route in place.releases()[-1].routes} == {1, 3}
    assert open_alerts(place) == []


def test_a_rollout_with_another_behind_it_is_superseded_instead_of_held(place):
    place.store(Endpoint("delay", "delay", QUIET))
    place.start()
    place.work()
    place.start(3)
    for _ in range(7):
        place.work(2)
    assert (place.rollout().state, place.rollout().held_us) == ("rolled_back", None)
    assert place.rollout().reason.startswith("superseded by rollout.delay.3")
    place.work(1)
    assert place.rollout(3).state == "canary"


def test_a_rollout_keeps_the_strategy_that_it_began_with(place):
    place.store(Endpoint("delay", "delay", QUIET))
    place.start()
    place.work()
    place.store(Endpoint("delay", "delay", Canary(steps=[20], hold="9h")))
    healthy(place)
    place.work(2)
    assert split(place)[1] == (2, "canary", 50)
    assert place.rollout().strategy == QUIET


def test_a_run_of_the_release_before_is_finished_by_the_strategy_of_its_endpoint(place, monkeypatch):
    """Its journal knows neither the strategy nor when a judgement was made."""
    record = place.runs.record

    def older(lease, step, batch):
        if isinstance(step.result, dict):
            step = msgspec.structs.replace(
                step, result={name: value for name, value in step.result.items() if name not in ("strategy", "is_over", "was_held")}
            )
            if step.name.startswith("judge"):
                step.result.pop("at_us", None)
        record(lease, step, batch)

    with monkeypatch.context() as before:
        before.setattr(place.runs, "record", older)
        place.store(Endpoint("delay", "delay", QUIET))
        place.start()
        place.work()
        place.work(2)
        place.work(2)
    healthy(place)
    place.work(2)
    assert split(place)[1] == (2, "canary", 50)
    healthy(place)
    place.work(2)
    assert place.rollout().state == "promoted"


def test_a_held_rollout_whose_version_may_be_released_no_longer_is_not_promoted(place):
    quiet(place)
    place.store(approval(2, expires_us=NOON_US + HOUR_US))
    with pytest.raises(Refused, match="expired"):
        ask(place, "promote")
    assert place.rollout().phase == "held"


@pytest.mark.parametrize("dies_at", range(1, 14))
def test_a_worker_killed_between_any_two_steps_holds_once(place, monkeypatch, dies_at):
    count, record = [0], place.runs.record

    def dying(lease, step, batch):
        count[0] += 1
        if count[0] == dies_at:
            raise KeyboardInterrupt
        record(lease, step, batch)

    monkeypatch.setattr(place.runs, "record", dying)
    place.store(Endpoint("delay", "delay", QUIET))
    place.start()
    for _ in range(9):
        try:
            place.work(2)
        except KeyboardInterrupt:
            place.seconds.pass_by(60)
            place.work()
    assert place.rollout().phase == "held"
    assert open_alerts(place) == [("rollout", ROLLOUT)]
    assert len([entry for entry in place.metadata.audit() if entry.action == "rollout.hold"]) == 1


def test_a_long_wait_keeps_its_first_looks_and_the_last(place):
    quiet(place)
    for _ in range(40):
        place.work(2)
    history = place.rollout().history
    assert len(history) == 21
    assert history[-1]["left_out"] == 48 - 21
    assert history[-1]["at_us"] > history[-2]["at_us"] + 20 * HOUR_US
