"""What goes wrong around a rollout has a defined end: no labels, no traffic, an approval that ends, a clock that jumps, a candidate that crashes."""

import pytest

from rota.deploy import releases
from rota.deploy.delivery import Deliveries
from rota.errors import Refused, Unavailable
from rota.manage.models import model_aliases
from rota.manage.signals import alerts
from rota.records.release import Canary, Endpoint, error_rate, metric
from rota.records.time import DAY_US, HOUR_US
from rota.testing.story import NOON_US, approval

STRATEGY = Canary(steps=[10, 50], hold="2h", analysis=[error_rate(margin=0.1)], max_duration="12h")


def begin(place, strategy=STRATEGY):
    place.store(Endpoint("delay", "delay", strategy))
    place.start()
    place.work()


def split(place):
    return [(route.number, route.role, route.weight) for route in place.releases()[-1].routes]


def healthy(place):
    place.ask(3_000)
    place.ask(3_000, number=2, role="canary")


def test_labels_that_never_come_are_waited_for_and_told(place):
    begin(place, Canary(shadow="1d", steps=[50], hold="2h", analysis=[metric("log_loss", margin=0.01)], max_duration="3d"))
    for _ in range(80):
        ids = place.ask(30)
        place.ask(30, number=2, role="shadow", ids=ids)
        place.work(1)
    assert (place.rollout().phase, place.rollout().state) == ("held", "shadow")
    (alert,) = alerts.open_alerts(place.metadata, "delay")
    assert "metric of log_loss: 0 of about 30 hours with labels, 30 still needed" in alert.message


def test_traffic_that_stops_in_the_middle_is_no_verdict_for_the_step_that_has_none(place):
    begin(place)
    healthy(place)
    place.work(2)
    assert split(place)[1] == (2, "canary", 50)
    for _ in range(8):
        place.work(2)
    assert place.rollout().phase == "held"
    assert place.rollout().missing == "traffic: 0 of about 1 predictions of the candidate in this step, 1 still needed"
    assert split(place)[1] == (2, "canary", 50)
    healthy(place)
    place.work(2)
    assert place.rollout().state == "promoted"


def test_an_approval_that_ends_meanwhile_stops_no_rollout_that_has_begun_but_no_person_promotes_by_it(place):
    place.store(approval(2, expires_us=NOON_US + HOUR_US))
    begin(place)
    healthy(place)
    place.work(2)
    with pytest.raises(Refused, match="expired"):
        Deliveries(place.repositories).command("rollout.delay.2", "promote", actor="olga", reason="r")
    healthy(place)
    place.work(2)
    assert place.rollout().state == "promoted"


def test_a_clock_that_jumps_past_everything_holds_a_candidate_and_rolls_nothing_back(place):
    begin(place)
    place.clock.advance(place.clock.now_us() + 300 * DAY_US)
    place.work()
    assert place.rollout().phase == "held"
    healthy(place)
    place.work(2)
    assert split(place)[1] == (2, "canary", 50)


def test_a_clock_that_goes_back_prolongs_a_hold_and_ends_nothing(place, monkeypatch):
    begin(place)
    healthy(place)
    now = place.clock.now_us
    with monkeypatch.context() as back:
        back.setattr(type(place.clock), "now_us", lambda _: now() - 5 * HOUR_US)
        while place.worker().work_once():
            pass
        assert place.rollout().ended_us is None
    place.work(2)
    assert split(place)[1] == (2, "canary", 50)


def test_a_candidate_that_a_process_cannot_load_is_rolled_back_before_any_traffic(place):
    place.refuses = "the bundle is damaged"
    begin(place)
    assert place.rollout().state == "rolled_back"
    assert "the bundle is damaged" in place.rollout().reason
    assert model_aliases.aliased_version(place.metadata, "delay").number == 1
    assert split(place) == [(1, "stable", 100)]


def test_prediction_processes_that_are_away_are_waited_for_and_told(place, monkeypatch):
    monkeypatch.setattr(releases, "CONVERGE_S", 0.0)
    monkeypatch.setattr(place, "serve", lambda: None)
    begin(place)
    healthy(place)
    for _ in range(8):
        place.work(2)
    assert place.rollout().phase == "held"
    assert "convergence: 0 of 1 prediction processes serve this release" in place.rollout().missing


def test_an_engine_that_is_away_while_a_rollout_becomes_held_holds_it_when_it_is_back(place, monkeypatch):
    begin(place)
    place.work(2), place.work(2)
    with monkeypatch.context() as away:
        away.setattr(alerts, "raise_or_touch", lambda *_, **__: (_ for _ in ()).throw(Unavailable("the metadata store is away")))
        for _ in range(6):
            place.work(2)
            place.seconds.pass_by(600)
        assert place.rollout().phase == "progressing"
        assert place.rollout().ended_us is None
    place.seconds.pass_by(600)
    place.work(2)
    assert place.rollout().phase == "held"
    assert len(alerts.open_alerts(place.metadata, "delay")) == 1
