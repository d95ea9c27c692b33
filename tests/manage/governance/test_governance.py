"""Governance: reviews, four eyes, several approvers, expiry, risk questions, and the gates of protected aliases."""

from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from rota.errors import Conflict, InvalidInput, NotFound, Refused
from rota.manage.governance import alias_moves, decisions, readiness, risk
from rota.manage.governance.decisions import ReviewDecision
from rota.manage.models import model_versions
from rota.ports.metadata import Batch
from rota.records.kinds import node
from rota.records.model import Alias, AliasMove, Approval, ReleasePolicy, ReviewRequest, RiskQuestion
from rota.records.release import Canary, Endpoint
from rota.records.time import DAY_US
from rota.testing.story import NOON_US, version

BIAS = RiskQuestion("bias", "ethical", "Who could be treated unfairly?")
COST = RiskQuestion("cost", "business", "What does an error cost?", required=False)


def store(repositories, *records):
    batch = Batch()
    for record in records:
        batch.put(record)
    repositories.metadata.commit(batch)


@pytest.fixture
def r(repositories):
    """Versions 1 and 2 of the model "delay", registered by Anna, whose owner is Otto."""
    registered = {"registered_by": "anna", "owner": "otto"}
    store(repositories, version(1, "registered", **registered), version(2, "registered", **registered))
    return repositories


def decide(r, word="approve", *, by="rosa", number=1, reason="looked at it", **told):
    return decisions.decide(r, "delay", number, ReviewDecision(word, by, reason, **told))


def ask(r, by="anna", number=1):
    return decisions.request_review(r.metadata, "delay", number, actor=by, now_us=r.clock.now_us(), comment="please")


def status(r, number=1):
    return model_versions.get(r.metadata, "delay", number).status


def missing(r, number=1):
    return readiness.readiness(r.metadata, model_versions.get(r.metadata, "delay", number), now_us=r.clock.now_us()).missing


def answer(r, question="bias", text="nobody", *, acceptable=True, by="lea"):
    return risk.answer(r.metadata, "delay", 1, question, text=text, acceptable=acceptable, actor=by, now_us=r.clock.now_us())


def move(r, alias="champion", number=1, *, reason="it is better", may_release=True):
    return alias_moves.move(r, "delay", alias, number, actor="olga", reason=reason, may_release=may_release)


def days(r, count):
    r.clock.advance(r.clock.now_us() + count * DAY_US)


def test_an_approval_is_status_evidence_event_lineage_and_audit_at_once(r):
    made = decide(r)
    assert status(r) == "approved"
    assert r.metadata.find(Approval) == [made]
    assert made.evidence["offline"]["metrics"] == {"roc_auc": 0.71, "log_loss": 0.52}
    event = r.metadata.events(0)[-1]
    assert (event.kind, event.subject, event.body) == (
        "version.approved",
        "delay@1",
        {"model": "delay", "number": 1, "reviewer": "rosa", "rollout": True},
    )
    assert [e.cause for e in r.metadata.edges([node(made)], "causes")] == ["model_version:delay@1"]
    entry = r.metadata.audit()[-1]
    assert (entry.actor, entry.action, entry.body["before"], entry.body["after"]) == ("rosa", "version.approve", "registered", "approved")


@pytest.mark.parametrize("first", ["approve", "reject"])
@pytest.mark.parametrize("second", ["approve", "reject", "request_changes"])
def test_a_decision_is_made_once(r, first, second):
    decide(r, first)
    with pytest.raises(Refused, match="a decision is made once"):
        decide(r, second, by="paul")
    assert len(r.metadata.find(Approval)) == 1


def test_a_rejection_starts_nothing(r):
    decide(r, "reject")
    assert status(r) == "rejected"
    assert r.metadata.events(0) == []


@pytest.mark.parametrize(("reason", "by"), [("", "rosa"), ("  \n", "rosa"), ("fine", "")])
def test_a_decision_has_a_reason_and_a_reviewer(r, reason, by):
    with pytest.raises(InvalidInput, match="has no re"):
        decide(r, reason=reason, by=by)
    assert status(r) == "registered"


def test_the_review_goes_from_request_over_changes_to_approval(r):
    ask(r)
    assert status(r) == "in_review"
    with pytest.raises(Refused, match="is in_review"):
        ask(r)
    decide(r, "request_changes", reason="describe it")
    assert status(r) == "changes_requested"
    with pytest.raises(Refused, match="request-review delay@1"):
        decide(r)
    r.clock.advance(r.clock.now_us() + 5)
    ask(r)
    decide(r)
    assert status(r) == "approved"
    assert [(asked.state, asked.requested_by) for asked in r.metadata.find(ReviewRequest)] == [("changes_requested", "anna"), ("approved", "anna")]
    assert [entry.action for entry in r.metadata.audit()] == [
        "review.request",
        "version.request_changes",
        "review.request",
        "version.approve",
    ]
    assert [event.kind for event in r.metadata.events(0)] == ["review.requested", "review.requested", "version.approved"]


def test_a_request_is_withdrawn_once(r):
    ask(r)
    decisions.withdraw(r.metadata, "delay", 1, actor="anna", now_us=9, reason="found a leak")
    assert (status(r), r.metadata.find(ReviewRequest)[0].state) == ("registered", "withdrawn")
    with pytest.raises(NotFound, match="no review of delay@1 is open"):
        decisions.withdraw(r.metadata, "delay", 1, actor="anna", now_us=9)


@pytest.mark.parametrize(("by", "why"), [("anna", "registered it"), ("otto", "owns it"), ("rick", "asked for its review")])
def test_four_eyes_keep_those_who_have_a_stake_from_approving(r, by, why):
    store(r, ReleasePolicy("delay", "manual", four_eyes=True))
    ask(r, by="rick")
    with pytest.raises(Refused, match=why):
        decide(r, by=by)
    decide(r, by="rosa")
    assert status(r) == "approved"


def test_four_eyes_are_not_fooled_by_giving_the_version_away(r):
    store(r, ReleasePolicy("delay", "manual", four_eyes=True))
    model_versions.update(r.metadata, "delay", 1, actor="anna", now_us=1, owner="somebody")
    with pytest.raises(Refused, match="registered it"):
        decide(r, by="anna")


def test_without_four_eyes_the_owner_may_approve(r):
    decide(r, by="otto")
    assert status(r) == "approved"


def test_several_approvals_come_from_different_people(r):
    store(r, ReleasePolicy("delay", "semi-automatic", approvals=3))
    decide(r, by="rosa")
    assert status(r) == "in_review"
    assert r.metadata.events(0) == []
    with pytest.raises(Refused, match="rosa approved delay@1 before"):
        decide(r, by="rosa")
    decide(r, by="paul")
    assert "in_review" in missing(r)[0]
    decide(r, by="lea")
    assert status(r) == "approved"
    assert missing(r) == ()
    assert [event.kind for event in r.metadata.events(0)] == ["version.approved"]


def test_a_request_for_changes_sets_the_count_of_approvals_back(r):
    store(r, ReleasePolicy("delay", "semi-automatic", approvals=2))
    decide(r, by="rosa")
    decide(r, "request_changes", by="paul")
    ask(r)
    decide(r, by="lea")
    assert status(r) == "in_review"
    decide(r, by="rosa")
    assert status(r) == "approved"


def test_reviewers_at_once_are_all_counted(r):
    store(r, ReleasePolicy("delay", "semi-automatic", approvals=8))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: decide(r, by=f"reviewer {n}"), range(8)))
    assert status(r) == "approved"
    assert len(r.metadata.find(Approval)) == 8
    assert len(r.metadata.events(0)) == 1


def test_of_two_opposite_decisions_at_once_one_is_made(r):
    seen = model_versions.get(r.metadata, "delay", 1)
    batches = [decisions.decided(r, seen, ReviewDecision(word, "rosa", "so"), now_us=NOON_US)[1] for word in ("approve", "reject")]
    r.metadata.commit(batches[0])
    with pytest.raises(Conflict):
        r.metadata.commit(batches[1])
    assert status(r) == "approved"
    assert len(r.metadata.find(Approval)) == 1


def test_an_approval_ends_and_the_gates_close_until_it_is_given_again(r):
    store(r, ReleasePolicy("delay", "manual", valid="30d"))
    made = decide(r)
    assert made.expires_us == made.at_us + 30 * DAY_US
    days(r, 29)
    assert missing(r) == ()
    days(r, 2)
    assert status(r) == "approved"
    assert "approvals of delay@1 expired (that of rosa" in missing(r)[0]
    with pytest.raises(Refused, match="expired"):
        move(r)
    decide(r)
    assert missing(r) == ()
    move(r)
    assert len(r.metadata.find(Approval)) == 2


def test_an_ended_approval_may_also_be_followed_by_a_rejection_or_a_new_review(r):
    store(r, ReleasePolicy("delay", "manual", valid="1d"))
    decide(r)
    with pytest.raises(Refused):
        ask(r)
    days(r, 2)
    ask(r)
    assert status(r) == "approved"
    decide(r, "reject")
    assert status(r) == "rejected"


def test_with_two_approvals_the_earlier_end_counts_when_it_leaves_too_few(r):
    store(r, ReleasePolicy("delay", "manual", approvals=2, valid="10d"))
    first = decide(r, by="rosa")
    days(r, 4)
    decide(r, by="paul")
    standing = readiness.readiness(r.metadata, model_versions.get(r.metadata, "delay", 1), now_us=r.clock.now_us())
    assert standing.expires_us == first.expires_us
    days(r, 7)
    assert "expired (that of rosa" in missing(r)[0]
    decide(r, by="rosa")
    assert missing(r) == ()


def test_a_policy_that_grows_stricter_closes_the_gates_of_what_was_approved_before(r):
    decide(r)
    store(r, ReleasePolicy("delay", "manual", approvals=2))
    assert "1 of the 2 approvals" in missing(r)[0]
    decide(r, by="paul")
    assert missing(r) == ()


def test_risk_questions_block_while_required_ones_are_open_or_any_is_answered_badly(r):
    store(r, ReleasePolicy("delay", "manual", questions=(BIAS, COST)))
    with pytest.raises(Refused, match="ethical question 'bias' is not answered"):
        decide(r)
    answer(r)
    answer(r, "cost", "a fortune", acceptable=False)
    with pytest.raises(Refused, match=r"business question 'cost' was not answered acceptably \(lea\)"):
        decide(r)
    answer(r, "cost", "little, capped by contract")
    made = decide(r)
    assert made.evidence["risk"]["cost"]["answer"] == "little, capped by contract"
    assert made.evidence["risk"]["bias"]["answered_by"] == "lea"


def test_a_bad_answer_after_the_approval_closes_the_gates(r):
    store(r, ReleasePolicy("delay", "manual", questions=(BIAS,)))
    answer(r)
    decide(r)
    assert missing(r) == ()
    answer(r, text="small carriers", acceptable=False)
    assert "'bias' was not answered acceptably" in missing(r)[0]
    with pytest.raises(Refused, match="bias"):
        move(r)
    decide(r, "reject", by="paul", reason="unfair after all")
    assert status(r) == "rejected"


def test_a_bad_answer_given_while_somebody_decides_is_seen(r):
    store(r, ReleasePolicy("delay", "manual", questions=(BIAS,)))
    answer(r)
    seen = model_versions.get(r.metadata, "delay", 1)
    _, batch = decisions.decided(r, seen, ReviewDecision("approve", "rosa", "so"), now_us=r.clock.now_us())
    answer(r, text="small carriers", acceptable=False)
    with pytest.raises(Conflict):
        r.metadata.commit(batch)
    with pytest.raises(Refused, match="bias"):
        decide(r)


@pytest.mark.parametrize(("question", "text", "error"), [("nix", "x", NotFound), ("bias", " ", InvalidInput)])
def test_an_answer_has_a_text_and_answers_a_question_that_is_asked(r, question, text, error):
    store(r, ReleasePolicy("delay", "manual", questions=(BIAS,)))
    with pytest.raises(error):
        answer(r, question, text)


def test_an_unprotected_alias_moves_freely_and_a_deleted_version_takes_none(r):
    assert move(r, "candidate", 2, reason="", may_release=False).number == 2
    assert model_versions.resolve(r.metadata, "delay@candidate").number == 2
    model_versions.delete(r.metadata, "delay", 1, actor="anna", now_us=1)
    with pytest.raises(NotFound, match="was deleted"):
        move(r, "candidate", 1)


def test_moving_an_alias_to_where_it_points_is_no_move(r):
    first = move(r, "candidate", 2)
    days(r, 1)
    assert move(r, "candidate", 2) == first
    assert len(r.metadata.find(AliasMove)) == 1


def test_a_protected_alias_takes_permission_reason_and_an_approved_version(r):
    with pytest.raises(Refused, match=r"permission 'model\.release'"):
        move(r, may_release=False)
    with pytest.raises(InvalidInput, match="no reason"):
        move(r, reason=" ")
    with pytest.raises(Refused, match=r"delay@1 is registered; `rota models approve delay@1"):
        move(r)
    made = decide(r)
    move(r)
    (entry,) = r.metadata.find(AliasMove)
    assert (entry.actor, entry.reason, entry.number, entry.before) == ("olga", "it is better", 1, 0)
    assert entry.evidence == {"approvals": [f"approval:delay@1@{made.at_us}"], "reviewers": ["rosa"]}
    assert {e.cause for e in r.metadata.edges([node(entry)], "causes")} == {"model_version:delay@1", f"approval:delay@1@{made.at_us}"}


def test_every_alias_that_the_policy_protects_has_the_gate(r):
    store(r, ReleasePolicy("delay", "manual", protected=("champion", "gold")))
    with pytest.raises(Refused, match="protected alias 'gold'"):
        move(r, "gold")


@pytest.mark.parametrize("protected", [("champion",), ()])
def test_where_an_endpoint_serves_the_champion_follows_its_rollouts(r, protected):
    store(r, ReleasePolicy("delay", "manual", protected=protected), Endpoint("gate", "delay"))
    decide(r)
    with pytest.raises(Refused, match=r"follows the rollouts of endpoints \['gate'\].*`rota deploy delay@NUMBER`, or `rota rollback gate"):
        move(r)
    store(r, Alias("delay", "champion", 1, NOON_US))
    with pytest.raises(Refused, match="follows the rollouts"):
        alias_moves.remove(r, "delay", "champion", actor="olga", reason="x", may_release=True)


def test_removing_an_alias_ends_its_history_and_a_protected_one_takes_the_permission(r):
    decide(r)
    move(r)
    with pytest.raises(Refused, match=r"model\.release"):
        alias_moves.remove(r, "delay", "champion", actor="olga", reason="gone", may_release=False)
    alias_moves.remove(r, "delay", "champion", actor="olga", reason="gone", may_release=True)
    assert [(m.number, m.before, m.reason) for m in alias_moves.history(r.metadata, "delay", "champion")] == [(1, 0, "it is better"), (0, 1, "gone")]
    with pytest.raises(NotFound):
        alias_moves.remove(r, "delay", "champion", actor="olga", reason="gone", may_release=True)


def test_a_version_decided_on_while_its_alias_moves_is_looked_at_again(r, monkeypatch):
    store(r, ReleasePolicy("delay", "manual", questions=(BIAS,)))
    answer(r)
    decide(r)
    checked = readiness.check_ready

    def bad_news_meanwhile(*given, **told):
        found = checked(*given, **told)
        monkeypatch.setattr(readiness, "check_ready", checked)
        answer(r, text="small carriers", acceptable=False)
        return found

    monkeypatch.setattr(readiness, "check_ready", bad_news_meanwhile)
    with pytest.raises(Refused, match="bias"):
        move(r)
    assert r.metadata.find(Alias) == []


def test_moves_at_once_are_one_history_without_a_gap(r):
    decide(r, number=1)
    decide(r, number=2)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: move(r, number=1 + n % 2), range(40)))
    moves = alias_moves.history(r.metadata, "delay", "champion")
    assert [m.move for m in moves] == list(range(1, len(moves) + 1))
    assert [m.before for m in moves] == [0, *(m.number for m in moves[:-1])]
    assert model_versions.resolve(r.metadata, "delay@champion").number == moves[-1].number


def test_the_delivery_that_the_reviewer_chose_travels_with_the_approval(r):
    chosen = Canary(steps=[10, 50], hold="1h", shadow="2h")
    made = decide(r, delivery=chosen, rollout=False)
    assert made.delivery == chosen
    event = r.metadata.events(0)[-1]
    assert msgspec.convert(event.body["delivery"], Canary) == chosen
    assert event.body["rollout"] is False
    assert readiness.readiness(r.metadata, model_versions.get(r.metadata, "delay", 1), now_us=NOON_US).delivery == chosen


def test_of_several_approvers_the_last_who_chose_a_delivery_is_heard(r):
    store(r, ReleasePolicy("delay", "manual", approvals=2))
    decide(r, by="rosa", delivery=Canary(steps=[10]))
    decide(r, by="paul")
    assert r.metadata.events(0)[-1].body["delivery"]["steps"] == [10]


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("registered", "PendingManualApproval"),
        ("in_review", "PendingManualApproval"),
        ("changes_requested", "PendingManualApproval"),
        ("approved", "Approved"),
        ("rejected", "Rejected"),
    ],
)
def test_sagemaker_has_its_words_for_it(status, word):
    assert version(1, status).approval_status == word


def test_an_approval_without_its_record_opens_nothing(r):
    store(r, msgspec.structs.replace(model_versions.get(r.metadata, "delay", 1), status="approved"))
    with pytest.raises(Refused, match="0 of the 1 approvals"):
        move(r)
