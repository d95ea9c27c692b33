"""Governance meets delivery: only what may be released is rolled out, the way the reviewer chose, and aliases say from which evidence."""

import msgspec
import pytest

from rota.deploy import releases
from rota.deploy.delivery import deliver
from rota.deploy.rollout import delivered
from rota.errors import InvalidInput, Refused
from rota.manage.governance import decisions
from rota.manage.governance.decisions import ReviewDecision
from rota.manage.models import model_aliases
from rota.records.kinds import node
from rota.records.model import AliasMove, Approval, ModelVersion, ReleasePolicy
from rota.records.record import plain
from rota.records.release import Canary, Endpoint
from rota.records.run import RunQuery
from rota.records.time import HOUR_US
from rota.testing.story import NOON_US, approval, version


def last_run(place):
    return place.runs.find(RunQuery("rollout"))[0]


def promoted(place):
    """Walk the whole rollout of version 2 with healthy figures."""
    place.start()
    place.work()
    for hours in (1, 2, 2):
        place.ask(3_000)
        place.ask(3_000, number=2, role="canary")
        place.work(hours)
    assert place.rollout().state == "promoted"


def test_a_promotion_is_a_move_with_the_verdicts_as_its_evidence(place):
    promoted(place)
    (move,) = place.metadata.find(AliasMove)
    assert (move.number, move.before, move.actor) == (2, 1, "rollout.delay.2")
    assert move.evidence["rollout"] == "rollout.delay.2"
    assert {stage: step["outcome"] for stage, step in move.evidence["steps"].items()} == {
        "0 shadow 0%": "pass",
        "1 canary 10%": "pass",
        "2 canary 50%": "pass",
    }
    causes = {edge.cause for edge in place.metadata.edges([node(move)], "causes")}
    assert causes == {"model_version:delay@2", "rollout:rollout.delay.2"}


def test_a_rollback_is_a_move_with_a_reason_and_needs_no_approval(place):
    promoted(place)
    place.store(version(1, "approved"), approval(1, expires_us=NOON_US + 5))
    endpoint = place.metadata.get(Endpoint, "delay")
    with pytest.raises(InvalidInput, match="has no reason"):
        releases.roll_back(place.metadata, endpoint, actor="olga", reason=" ", now_us=place.clock.now_us())
    releases.roll_back(place.metadata, endpoint, actor="olga", reason="complaints", now_us=place.clock.now_us())
    move = place.metadata.find(AliasMove)[-1]
    assert (move.number, move.before, move.actor, move.reason) == (1, 2, "olga", "complaints")
    assert move.evidence == {"rollback": "delay", "from": [2]}
    at_us = place.clock.now_us()
    assert model_aliases.at(place.metadata, "delay", "champion", at_us).number == 1


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ([version(2, "registered")], "delay@2 is registered"),
        ([approval(2, expires_us=NOON_US)], "approvals of delay@2 expired"),
        ([ReleasePolicy("delay", "manual", approvals=2)], "1 of the 2 approvals"),
        ([version(2, "approved", bundle="", unservable="it has no files")], "cannot be served: it has no files"),
    ],
)
def test_what_may_not_be_released_is_not_rolled_out(place, changes, why):
    place.store(*changes)
    seen = place.metadata.get(ModelVersion, "delay", 2)
    with pytest.raises(Refused, match=why):
        deliver(place.repositories, seen, actor="olga")
    assert place.runs.find(RunQuery("rollout")) == []
    place.start()
    place.work()
    assert last_run(place).status == "failed"
    assert why in last_run(place).error
    assert place.releases() == []


def test_an_approval_that_ends_while_its_rollout_waits_its_turn_closes_the_gate(place):
    place.store(approval(2, expires_us=NOON_US + 2 * HOUR_US))
    place.start(3)
    place.work()
    waiting = place.start(2)
    place.work()
    assert place.runs.get(waiting.id).status == "parked"
    for _ in range(5):
        place.work(1)
    assert place.rollout(3).ended_us is not None
    assert "expired" in place.runs.get(waiting.id).error


def test_the_rollout_follows_the_delivery_that_the_reviewer_chose(place):
    place.store(approval(2, delivery=Canary(steps=[25], hold="4h")))
    (run,) = deliver(place.repositories, place.metadata.get(ModelVersion, "delay", 2), actor="olga")
    assert run.trigger == "person:olga"
    place.work()
    weights = [(route.number, route.role, route.weight) for route in place.releases()[-1].routes]
    assert weights == [(1, "stable", 75), (2, "canary", 25), (2, "shadow", 0)]
    assert place.rollout().state == "canary"


def test_a_delivery_without_questions_of_its_own_is_judged_by_those_of_the_endpoint(place):
    endpoint = place.metadata.get(Endpoint, "delay")
    chosen = delivered(endpoint, plain(Canary(steps=[25], hold="4h"))).rollout
    assert (chosen.steps, chosen.hold, chosen.shadow) == ((25,), "4h", "0s")
    assert chosen.analysis == endpoint.rollout.analysis
    assert delivered(endpoint, None) is endpoint


def test_a_delivery_of_no_steps_is_a_promotion_at_once(place):
    place.store(approval(2, delivery=Canary(steps=[])))
    deliver(place.repositories, place.metadata.get(ModelVersion, "delay", 2), actor="olga")
    place.work()
    assert place.rollout().state == "promoted"


def test_a_version_is_delivered_once(place):
    seen = place.metadata.get(ModelVersion, "delay", 2)
    deliver(place.repositories, seen, actor="olga")
    with pytest.raises(Refused, match="was delivered before"):
        deliver(place.repositories, seen, actor="olga")
    assert [entry.actor for entry in place.metadata.audit() if entry.action == "version.deliver"] == ["olga"]


def test_evidence_of_a_second_decision_tells_how_the_rollout_went(place):
    promoted(place)
    place.store(ReleasePolicy("delay", "manual", approvals=2))
    made = decisions.decide(place.repositories, "delay", 2, ReviewDecision("approve", "paul", "still good"))
    (rollout,) = made.evidence["online"]["rollouts"]
    assert (rollout["state"], [step["outcome"] for step in rollout["steps"]]) == ("promoted", ["pass", "pass", "pass"])
    assert len(place.metadata.find(Approval, {"model": "delay", "number": 2})) == 2
    assert msgspec.convert(plain(made), Approval) == made
