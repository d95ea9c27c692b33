"""Strategies in Argo Rollouts' words, walked: steps that wait for a person, blue-green with one switch, a shadow that never answers by itself."""

import pytest

from rota.deploy.delivery import Deliveries
from rota.errors import InvalidInput
from rota.records.record import decode, encode
from rota.records.release import (
    Canary,
    Endpoint,
    HeaderMatch,
    HeaderRoute,
    analysis,
    blue_green,
    error_rate,
    pause,
    set_header_route,
    set_mirror,
    set_weight,
    shadow,
)

ID = "rollout.delay.2"
ERRORS = error_rate(margin=0.1)


def begin(place, strategy):
    place.store(Endpoint("delay", "delay", strategy))
    place.start()
    place.work()


def ask(place, verb):
    return Deliveries(place.repositories).command(ID, verb, actor="olga", reason="because")


def split(place):
    return [(route.number, route.role, route.weight) for route in place.releases()[-1].routes]


def healthy(place, role="canary", errors=0):
    """Predictions of both; a shadow scores those that the stable version answered."""
    ids = place.ask(3_000)
    place.ask(3_000, number=2, role=role, errors=errors, **({"ids": ids} if role == "shadow" else {}))


def test_a_step_that_pauses_without_a_duration_waits_for_a_person(place):
    begin(place, Canary(steps=[set_weight(20), pause(), set_weight(40), pause("1h"), analysis(ERRORS)]))
    assert (place.rollout().phase, place.rollout().paused.actor) == ("paused", "strategy")
    place.work(100)
    assert split(place)[:2] == [(1, "stable", 80), (2, "canary", 20)]
    ask(place, "resume")
    place.work()
    assert split(place)[:2] == [(1, "stable", 60), (2, "canary", 40)]
    assert place.rollout().history[0]["outcome"] == "pass"
    assert "nothing is judged in it" in place.rollout().history[0]["verdicts"][0]["message"]
    healthy(place)
    place.work(1)
    assert place.rollout().state == "promoted"


def test_an_analysis_of_a_step_is_asked_in_its_step_alone(place):
    begin(place, Canary(steps=[set_weight(20), pause("1h"), analysis(ERRORS)]))
    healthy(place, errors=2_000)
    place.work(1)
    assert "error rate 2000/3000" in place.rollout().reason


def test_a_mirror_is_switched_off(place):
    begin(place, Canary(steps=[set_mirror(False), set_weight(20), pause("1h")]))
    assert split(place) == [(1, "stable", 80), (2, "canary", 20)]


def test_a_pause_after_a_judgement_makes_no_new_release(place):
    begin(place, Canary(steps=[set_weight(20), pause("1h"), analysis(), pause("3h")]))
    place.ask(5, number=2, role="canary")
    place.work(1)
    assert (place.rollout().step, len(place.releases())) == (1, 1)
    place.work(3)
    assert place.rollout().state == "promoted"


def test_blue_green_previews_without_traffic_then_switches_once_and_back(place):
    begin(place, blue_green(preview="2h", analysis=[ERRORS]))
    assert split(place) == [(1, "stable", 100), (2, "shadow", 0)]
    healthy(place, role="shadow")
    place.work(2)
    assert split(place) == [(2, "stable", 100)]
    assert len(place.releases()) == 2
    ask(place, "undo")
    assert split(place) == [(1, "stable", 100)]


def test_a_bad_preview_never_gets_traffic(place):
    begin(place, blue_green(preview="2h", analysis=[ERRORS]))
    healthy(place, role="shadow", errors=2_000)
    place.work(2)
    assert place.rollout().state == "rolled_back"
    assert all(route.role != "canary" for release in place.releases() for route in release.routes)


def test_a_shadow_that_passed_waits_for_a_person(place):
    begin(place, shadow("2h", analysis=[ERRORS]))
    healthy(place, role="shadow")
    place.work(2)
    place.work(500)
    assert (place.rollout().phase, split(place)) == ("paused", [(1, "stable", 100), (2, "shadow", 0)])
    ask(place, "promote")
    place.work()
    assert place.rollout().state == "promoted"


def test_a_strategy_of_steps_is_stored_and_read():
    strategy = Canary(steps=[5, set_weight(20), pause(), analysis(ERRORS)])
    assert decode(encode(strategy), Canary) == strategy


BETA = HeaderRoute(HeaderMatch("x-beta", "yes"), 2)


def test_a_header_routes_to_a_candidate_without_weight_until_the_rollout_ends(place):
    begin(place, Canary(steps=[set_header_route("X-Beta", "yes"), pause(), set_header_route("x-beta"), set_weight(20), pause()]))
    assert split(place) == [(1, "stable", 100), (2, "canary", 0), (2, "shadow", 0)]
    assert place.releases()[-1].headers == (BETA,)
    ask(place, "resume")
    place.work()
    assert (split(place)[:2], place.releases()[-1].headers) == ([(1, "stable", 80), (2, "canary", 20)], ())


@pytest.mark.parametrize("verb", ["abort", "promote"])
def test_a_header_route_ends_with_its_rollout(place, verb):
    begin(place, Canary(steps=[set_header_route("x-beta", "yes"), set_weight(20), pause()]))
    assert place.releases()[-1].headers == (BETA,)
    ask(place, verb)
    place.work()
    assert [place.releases()[-1].headers, len(place.releases()[-1].routes)] == [(), 1]


def test_what_a_header_routed_is_not_compared(place):
    begin(place, Canary(steps=[set_header_route("x-beta", "yes"), set_weight(20), pause("1h"), analysis(ERRORS)]))
    place.ask(1_000, number=2, role="canary", errors=1_000, routed_by="header x-beta: yes")
    healthy(place)
    place.work(1)
    assert place.rollout().state == "promoted"
    last = place.rollout().history[-1]["verdicts"][-1]
    assert last["message"] == "1000 predictions were routed by a header (header x-beta: yes) and are not compared"


@pytest.mark.parametrize(("header", "value"), [("x beta", "yes"), ("", "yes"), ("x-beta", " yes"), ("x-beta", "y\nes"), ("x-beta", "j\u00e4")])
def test_a_header_that_no_request_can_have_is_refused(header, value):
    with pytest.raises(InvalidInput, match="set_header_route"):
        set_header_route(header, value)
