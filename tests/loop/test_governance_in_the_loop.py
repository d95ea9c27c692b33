"""What the loop does with registrations and approvals: policies speak for gated versions only, approvals start the rollout that was chosen."""

import pytest

from rota.errors import Refused
from rota.loop.context import LoopContext
from rota.loop.event_loop import Loop
from rota.manage.governance import decisions, risk
from rota.manage.governance.decisions import ReviewDecision
from rota.manage.models import model_versions
from rota.manage.repositories import Repositories
from rota.ports.metadata import Batch
from rota.records.check import CheckResult
from rota.records.model import Approval, ReleasePolicy, RiskQuestion
from rota.records.record import plain
from rota.records.release import Canary, Endpoint
from rota.records.run import Run, RunQuery, Step
from rota.testing.story import NOON_US, version

BIAS = RiskQuestion("bias", "ethical", "Who could be treated unfairly?")


@pytest.fixture
def loop(world):
    return Loop(LoopContext(world.platform.repositories, "prod"))


@pytest.fixture
def r(loop) -> Repositories:
    store(loop.context.repositories, Endpoint("gate", "delay"))
    return loop.context.repositories


def store(r, *records):
    batch = Batch()
    for record in records:
        batch.put(record)
    r.metadata.commit(batch)


PASSED = CheckResult("auc", "pass", "auc 0.7")


def trained(r, *, refused="", gates=(PASSED,)):
    """A run whose gates have spoken."""
    r.runs.submit(Run("r1", "train", "delay", {}, NOON_US))
    lease = r.runs.claim("w", r.clock.now_us(), lease_s=60)
    r.runs.record(lease, Step("r1", "validate_model", 0, {"refused": refused, "gates": plain(gates)}, 1, 2, "w", lease.fence), Batch())


def registered(r, **changes):
    batch = Batch()
    model_versions.register(batch, r.metadata, version(1, "registered", **changes))
    r.metadata.commit(batch)


def react(loop):
    while loop.react():
        pass


def status(r):
    return model_versions.get(r.metadata, "delay", 1).status


def rollouts(r):
    return r.runs.find(RunQuery("rollout"))


def test_an_automatic_policy_approves_what_passed_the_gates_and_starts_the_rollout(loop, r):
    store(r, ReleasePolicy("delay"))
    trained(r)
    registered(r)
    react(loop)
    (made,) = r.metadata.find(Approval)
    assert (made.reviewer, status(r)) == ("policy:automatic", "approved")
    assert [run.id for run in rollouts(r)] == ["rollout.gate.1"]


@pytest.mark.parametrize("refused", [None, "auc too low"])
def test_an_automatic_policy_says_nothing_about_a_version_that_no_gate_let_pass(loop, r, refused):
    store(r, ReleasePolicy("*"))
    if refused:
        trained(r, refused=refused)
    registered(r)
    react(loop)
    assert (status(r), rollouts(r)) == ("registered", [])


@pytest.mark.parametrize("gates", [(), (CheckResult("auc against champion", "inconclusive", "no champion yet"),)])
def test_an_automatic_policy_does_not_approve_what_no_gate_could_judge(loop, r, gates):
    store(r, ReleasePolicy("delay"))
    trained(r, gates=gates)
    registered(r)
    react(loop)
    assert status(r) == "registered"
    (entry,) = [entry for entry in r.metadata.audit() if entry.action == "review.wait"]
    assert "no gate of its training could judge it" in entry.body["reason"]


def test_an_automatic_policy_waits_for_its_risk_questions(loop, r):
    store(r, ReleasePolicy("delay", questions=(BIAS,)))
    trained(r)
    registered(r)
    react(loop)
    assert status(r) == "registered"
    assert [entry.body["reason"] for entry in r.metadata.audit() if entry.action == "review.wait"] == ["the ethical question 'bias' is not answered"]
    risk.answer(r.metadata, "delay", 1, "bias", text="carriers", acceptable=False, actor="lea", now_us=r.clock.now_us())
    react(loop)
    assert status(r) == "registered"
    risk.answer(r.metadata, "delay", 1, "bias", text="nobody", acceptable=True, actor="lea", now_us=r.clock.now_us())
    react(loop)
    assert status(r) == "approved"
    assert len(rollouts(r)) == 1


@pytest.mark.parametrize(("level", "rollout", "started"), [("semi-automatic", True, 1), ("semi-automatic", False, 0), ("manual", True, 0)])
def test_an_approval_starts_the_rollout_when_policy_and_reviewer_want_it(loop, r, level, rollout, started):
    store(r, ReleasePolicy("delay", level))
    registered(r)
    chosen = Canary(steps=[10], hold="1h")
    decisions.decide(r, "delay", 1, ReviewDecision("approve", "rosa", "good", chosen, rollout))
    react(loop)
    assert len(rollouts(r)) == started
    assert [run.arguments["delivery"]["steps"] for run in rollouts(r)] == [[10]] * started


def test_a_version_that_cannot_be_served_is_approved_without_a_rollout_or_not_at_all(loop, r):
    registered(r, bundle="", unservable="it has no files")
    with pytest.raises(Refused, match=r"delay@1 cannot be served: it has no files; mend that and .* or approve it without a rollout"):
        decisions.decide(r, "delay", 1, ReviewDecision("approve", "rosa", "good"))
    assert status(r) == "registered"
    decisions.decide(r, "delay", 1, ReviewDecision("approve", "rosa", "served by another team", rollout=False))
    react(loop)
    assert (status(r), rollouts(r)) == ("approved", [])


def test_an_approval_given_again_starts_no_second_rollout(loop, r):
    store(r, ReleasePolicy("delay", "semi-automatic"))
    registered(r)
    decisions.decide(r, "delay", 1, ReviewDecision("approve", "rosa", "good"))
    react(loop)
    store(r, ReleasePolicy("delay", "semi-automatic", approvals=2))
    decisions.decide(r, "delay", 1, ReviewDecision("approve", "paul", "good"))
    react(loop)
    assert len(rollouts(r)) == 1
