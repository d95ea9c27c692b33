"""A version that is out of service leaves its endpoints by a release, its rollout is aborted, and a person may return it."""

import msgspec
import pytest

from rota.deploy import releases, withdrawal
from rota.deploy.delivery import deliver
from rota.errors import InvalidInput, NotFound, Refused
from rota.loop.context import LoopContext
from rota.loop.event_loop import Loop
from rota.manage.models import model_aliases, out_of_service
from rota.manage.signals import alerts, platform_alerts
from rota.ports.metadata import Batch
from rota.records.model import Alias, ModelVersion
from rota.records.release import Endpoint, OutOfService, Release, Rollout, Route
from rota.records.signal import Event
from rota.testing.story import NOON_US


def bundle(number):
    return str(number) * 64


def route(number, role="stable", weight=100):
    return Route("delay", number, bundle(number), role, weight)


@pytest.fixture
def place(place):
    for number in (1, 2, 3):
        found = place.metadata.get(ModelVersion, "delay", number)
        place.store(msgspec.structs.replace(found, bundle=bundle(number)))
    return place


def served(place, *releases):
    """The endpoint's releases one after the other: each a list of routes, or (why, routes)."""
    for revision, each in enumerate(releases, 1):
        why, routes = each if isinstance(each, tuple) else (f"rollout.delay.{revision}", each)
        place.store(Release("delay", revision, tuple(routes), "", NOON_US + revision, why, "delay"))
    stable = next(each for each in place.releases()[-1].routes if each.role == "stable")
    place.store(Alias("delay", "champion", stable.number, NOON_US))


def goes_out(place, number):
    place.clock.advance(place.clock.now_us() + 1_000)
    now_us = place.clock.now_us()
    batch = Batch()
    batch.put(OutOfService(bundle(number), "delay", number, "delay", "serve-0", "Segmentation fault", now_us))
    batch.event(Event("version.withdrawn", f"delay@{number}", now_us))
    place.metadata.commit(batch)
    react(place)


def react(place):
    Loop(LoopContext(place.repositories, "prod")).react()


def split(place):
    return [(each.number, each.role, each.weight) for each in place.releases()[-1].routes]


def settled(place):
    """What a worker does now and then with what the conditions say; the subjects of open alerts."""
    platform_alerts.settle(place.metadata, out_of_service.conditions(place.metadata), actor="worker-0", now_us=place.clock.now_us())
    return [alert.subject for alert in alerts.open_alerts(place.metadata, "")]


def test_a_champion_leaves_by_a_release_of_the_version_before_and_its_alias_follows(place):
    served(place, [route(1)], [route(2)])
    goes_out(place, 2)
    assert split(place) == [(1, "stable", 100)]
    assert place.releases()[-1].rollout == "withdrawal:delay@2"
    assert model_aliases.aliased_version(place.metadata, "delay").number == 1
    (entry,) = [e for e in place.metadata.audit() if e.action == "endpoint.withdraw"]
    assert (entry.actor, entry.body["to"]) == ("rota", 1)
    assert "rota models return delay@2" in entry.body["reason"]
    react(place)
    assert len(place.releases()) == 3
    assert settled(place) == ["model:delay@2"]


def test_what_a_person_rolled_back_from_is_not_taken_up_again(place):
    served(place, [route(1)], [route(3)], [route(2)], ("rollback:anna", [route(1)]))
    goes_out(place, 1)
    assert split(place) == [(3, "stable", 100)]


def test_without_a_version_before_it_the_endpoint_keeps_its_release_and_the_audit_says_so(place):
    served(place, [route(1)])
    goes_out(place, 1)
    assert split(place) == [(1, "stable", 100)]
    (entry,) = [e for e in place.metadata.audit() if e.action == "endpoint.withdraw"]
    assert "has no version before it" in entry.body["reason"]


def test_the_rollout_of_a_candidate_is_aborted_and_cannot_begin_again(place):
    place.start()
    place.work()
    assert (2, "shadow", 0) in split(place)
    goes_out(place, 2)
    place.work()
    assert place.rollout().state == "rolled_back"
    assert "version 2 of model 'delay' is out of service" in place.rollout().reason
    assert split(place) == [(1, "stable", 100)]
    with pytest.raises(Refused, match=r"delay@2 is out of service since .*rota models return"):
        deliver(place.repositories, place.metadata.get(ModelVersion, "delay", 2), actor="olga")


def test_a_champion_that_goes_out_during_a_rollout_leaves_when_that_was_aborted(place):
    served(place, [route(3)], [route(1)])
    place.start()
    place.work()
    goes_out(place, 1)
    place.work()
    assert place.rollout().state == "rolled_back"
    react(place)
    assert split(place) == [(3, "stable", 100)]
    assert model_aliases.aliased_version(place.metadata, "delay").number == 3


def test_a_rollback_passes_over_what_is_out_of_service(place):
    served(place, [route(1)], [route(2)], [route(3)])
    for candidate, champion in ((2, 1), (3, 2)):
        place.store(Rollout(f"rollout.delay.{candidate}", "delay", "delay", candidate, champion, "promoted", 1, NOON_US + candidate, NOON_US + 9))
    goes_out(place, 2)
    made = releases.roll_back(place.metadata, place.metadata.get(Endpoint, "delay"), actor="anna", reason="r", now_us=place.clock.now_us())
    assert made.routes[0].number == 1


def back(place, reason="the memory was faulty"):
    place.clock.advance(place.clock.now_us() + 1_000)
    return withdrawal.return_to_service(place.repositories, "delay", 2, actor="olga", reason=reason)


def test_a_returned_version_serves_again_where_it_was_taken_off_and_its_alert_ends(place):
    served(place, [route(1)], [route(2)])
    goes_out(place, 2)
    assert settled(place) == ["model:delay@2"]
    with pytest.raises(InvalidInput, match="has no reason"):
        back(place, " ")
    returned, (release,) = back(place)
    assert (returned.returned_by, returned.reason) == ("olga", "the memory was faulty")
    assert (release.rollout, split(place)) == ("return:olga", [(2, "stable", 100)])
    assert model_aliases.aliased_version(place.metadata, "delay").number == 2
    assert alerts.open_alerts(place.metadata, "") == []
    assert settled(place) == []
    react(place)
    assert split(place) == [(2, "stable", 100)]
    assert [e.actor for e in place.metadata.audit() if e.action in ("version.return", "endpoint.return")] == ["olga", "olga"]
    with pytest.raises(NotFound, match="is not out of service"):
        back(place)


def test_what_was_delivered_since_stays_and_ends_the_alert(place):
    served(place, [route(1)], [route(2)])
    goes_out(place, 2)
    assert settled(place) == ["model:delay@2"]
    place.store(Release("delay", 4, (route(3),), "", place.clock.now_us() + 1, "rollout.delay.3", "delay"))
    assert settled(place) == []
    assert back(place)[1] == []
    assert split(place) == [(3, "stable", 100)]


def test_a_version_whose_approval_is_gone_does_not_return(place):
    served(place, [route(1)], [route(2)])
    goes_out(place, 2)
    place.store(msgspec.structs.replace(place.metadata.get(ModelVersion, "delay", 2), status="rejected"))
    with pytest.raises(Refused, match="delay@2"):
        back(place)
    assert split(place) == [(1, "stable", 100)]
