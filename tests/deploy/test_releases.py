"""Releases: weights that sum to 100, convergence that is looked at, and a governance rollback that says who and why."""

import pytest

from rota.deploy import releases
from rota.errors import InvalidInput, NotFound, Refused
from rota.manage.models import model_aliases
from rota.records.model import Alias
from rota.records.record import plain
from rota.records.release import Endpoint, Rollout, Route, Serving
from rota.testing.story import NOON_US


def route(number, weight, role="stable"):
    return Route("delay", number, "b" * 64, role, weight)


def release(place, *routes, before=None):
    endpoint = place.metadata.get(Endpoint, "delay")
    return releases.next_release(before, endpoint, routes, now_us=NOON_US, rollout="r")


def roll_back(place):
    endpoint = place.metadata.get(Endpoint, "delay")
    return releases.roll_back(place.metadata, endpoint, actor="anna", reason="complaints", now_us=NOON_US + 9)


def test_revisions_grow_by_one_and_keep_the_salt_so_that_units_stay_where_they_are(place):
    first = release(place, route(1, 100))
    second = release(place, route(1, 90), route(2, 10, "canary"), route(2, 0, "shadow"), before=first)
    assert (first.revision, second.revision) == (1, 2)
    assert first.salt == second.salt


@pytest.mark.parametrize("weights", [(99,), (50, 51), ()])
def test_weights_that_do_not_sum_to_100_are_refused(place, weights):
    with pytest.raises(InvalidInput, match=f"sum to {sum(weights)}"):
        release(place, *[route(number, weight) for number, weight in enumerate(weights)])


def test_a_shadow_has_no_weight_in_the_sum(place):
    assert release(place, route(1, 100), route(2, 0, "shadow")).routes[1].weight == 0


def test_convergence_waits_for_every_process(place, monkeypatch):
    made = plain(release(place, route(1, 100)))
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        place.store(Serving("delay", f"serve-{len(looks)}", 1, NOON_US))

    monkeypatch.setattr(releases.time, "sleep", sleep)
    found = releases.await_convergence(place.metadata, made, 2)
    assert found == {"converged": True, "processes": ["serve-1", "serve-2"], "refused": ""}


def test_convergence_gives_up_in_time_and_says_who_is_there(place, monkeypatch):
    monkeypatch.setattr(releases, "CONVERGE_S", 0.0)
    place.store(Serving("delay", "serve-0", 1, NOON_US))
    found = releases.await_convergence(place.metadata, plain(release(place, route(1, 100))), 2)
    assert found == {"converged": False, "processes": ["serve-0"], "refused": ""}


def test_an_old_refusal_is_not_held_against_a_new_release(place, monkeypatch):
    monkeypatch.setattr(releases, "CONVERGE_S", 0.0)
    place.store(Serving("delay", "serve-0", 10, NOON_US, "revision 11: golden rows"))
    assert releases.await_convergence(place.metadata, {"endpoint": "delay", "revision": 1}, 1)["refused"] == ""
    assert releases.await_convergence(place.metadata, {"endpoint": "delay", "revision": 12}, 1)["refused"] == ""
    assert "golden rows" in releases.await_convergence(place.metadata, {"endpoint": "delay", "revision": 11}, 1)["refused"]


def test_a_rollback_returns_to_the_champion_before_and_is_audited(place):
    place.store(
        release(place, route(2, 100)),
        Rollout("rollout.delay.2", "delay", "delay", 2, 1, "promoted", 1, NOON_US, NOON_US + 1),
        Alias("delay", "champion", 2, NOON_US),
    )
    made = roll_back(place)
    assert [(r.number, r.weight) for r in made.routes] == [(1, 100)]
    assert model_aliases.aliased_version(place.metadata, "delay").number == 1
    (entry,) = [e for e in place.metadata.audit() if e.action == "endpoint.rollback"]
    assert (entry.actor, entry.body) == ("anna", {"to": 1, "reason": "complaints"})


def test_a_rollback_is_refused_while_a_rollout_is_under_way_and_where_there_is_nothing_to_return_to(place):
    with pytest.raises(NotFound, match="has no release yet"):
        roll_back(place)
    place.store(release(place, route(1, 100)))
    with pytest.raises(NotFound, match="never had another champion"):
        roll_back(place)
    place.store(Rollout("rollout.delay.2", "delay", "delay", 2, 1, "canary", 1, NOON_US))
    with pytest.raises(Refused, match=r"rollout\.delay\.2 .* is under way"):
        roll_back(place)
