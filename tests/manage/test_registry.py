"""The model registry: numbers, references, decisions made once, aliases whose history is in the audit log."""

import pytest

from rota.backends.memory_metadata import MemoryMetadata
from rota.errors import Conflict, InvalidInput, NotFound, Refused
from rota.manage import registry
from rota.manage.chronicle import verify_audit
from rota.ports.metadata import Batch
from rota.records.model import Alias, Approval, ModelVersion, ReleasePolicy
from rota.testing.story import version


@pytest.fixture
def metadata():
    return MemoryMetadata()


def register(metadata, *numbers):
    for number in numbers:
        batch = Batch()
        registry.register(batch, version(number, "registered"))
        metadata.commit(batch)


def move(metadata, number, reason="", alias="champion"):
    batch = Batch()
    registry.move_alias(batch, metadata, Alias("delay", alias, number, 7, reason), actor="anna")
    metadata.commit(batch)


def decide(metadata, number, decision, now_us=5):
    seen = registry.get(metadata, "delay", number)
    metadata.commit(registry.decide(seen, decision, reviewer="anna", reason="looked at it", now_us=now_us, evidence={"roc_auc": 0.7}))


def test_numbers_start_at_one_and_grow_past_nine_and_without_regard_to_other_models(metadata):
    assert registry.next_number(metadata, "delay") == 1
    register(metadata, *range(1, 12))
    assert registry.next_number(metadata, "delay") == 12
    assert registry.next_number(metadata, "dela") == 1


def test_a_registration_is_a_record_an_event_and_an_audit_entry(metadata):
    register(metadata, 1)
    assert metadata.find(ModelVersion) == [version(1, "registered")]
    assert [(e.kind, e.subject, e.body) for e in metadata.events(0)] == [("version.registered", "delay@1", {"model": "delay", "number": 1})]
    assert [(a.action, a.subject, a.body["run"]) for a in metadata.audit()] == [("version.register", "delay@1", "r1")]


def test_of_two_registrations_with_one_number_the_second_leaves_nothing(metadata):
    register(metadata, 1)
    with pytest.raises(Conflict):
        register(metadata, 1)
    assert len(metadata.events(0)) == len(metadata.audit()) == 1


def test_a_reference_is_a_number_or_an_alias(metadata):
    register(metadata, 1, 2)
    move(metadata, 2)
    assert registry.resolve(metadata, "delay@1").number == 1
    assert registry.resolve(metadata, "delay@champion").number == 2
    assert registry.aliased(metadata, "delay").number == 2
    assert registry.aliased(metadata, "delay", "challenger") is None
    assert registry.aliased(metadata, "other") is None


@pytest.mark.parametrize("reference", ["", "delay", "@", "delay@", "@1", "@champion"])
def test_a_reference_with_a_missing_half_is_told_how_to_be_written(metadata, reference):
    with pytest.raises(InvalidInput, match="MODEL@NUMBER or MODEL@ALIAS"):
        registry.resolve(metadata, reference)


HOSTILE = [
    "delay@7",
    "delay@²",
    "delay@٣",
    "delay@-1",
    "delay@1.0",
    "delay@1@1",
    "delay@" + "9" * 5_000,
    "delay@../champion",
    "x' OR 1=1 --@champion",
]


@pytest.mark.parametrize("reference", HOSTILE, ids=range(len(HOSTILE)))
def test_a_reference_to_nothing_is_not_found_however_it_is_written(metadata, reference):
    register(metadata, 1)
    move(metadata, 1)
    with pytest.raises(NotFound):
        registry.resolve(metadata, reference)


def test_a_missing_version_names_those_that_exist(metadata):
    register(metadata, 1, 2)
    with pytest.raises(NotFound, match=r"no version 3; it has \[1, 2\]"):
        registry.get(metadata, "delay", 3)
    with pytest.raises(NotFound, match="it has none"):
        registry.resolve(metadata, "other@champion")


def test_an_alias_keeps_its_history_in_the_audit_log(metadata):
    register(metadata, 1, 2)
    for number, reason in ((1, "first"), (2, "better"), (1, "rolled back")):
        move(metadata, number, reason)
    history = [(a.actor, a.subject, a.body["before"], a.body["after"], a.body["reason"]) for a in metadata.audit() if a.action == "alias.move"]
    assert history == [
        ("anna", "delay@champion", None, 1, "first"),
        ("anna", "delay@champion", 1, 2, "better"),
        ("anna", "delay@champion", 2, 1, "rolled back"),
    ]
    assert verify_audit(metadata).reason == ""


def test_of_two_moves_from_one_state_one_wins(metadata):
    register(metadata, 1, 2)
    batches = [Batch(), Batch()]
    for number, batch in enumerate(batches, 1):
        registry.move_alias(batch, metadata, Alias("delay", "champion", number, 7), actor="anna")
    metadata.commit(batches[0])
    with pytest.raises(Conflict):
        metadata.commit(batches[1])
    assert registry.resolve(metadata, "delay@champion").number == 1


def test_an_approval_is_status_evidence_event_lineage_and_audit_at_once(metadata):
    register(metadata, 1)
    decide(metadata, 1, "approve")
    assert registry.get(metadata, "delay", 1).status == "approved"
    assert metadata.find(Approval) == [Approval("delay", 1, "approve", "anna", "looked at it", {"roc_auc": 0.7}, 5)]
    assert metadata.events(0)[-1].kind == "version.approved"
    assert [e.effect for e in metadata.edges(["model_version:delay@1"], "effects")] == ["approval:delay@1@5"]
    entry = metadata.audit()[-1]
    assert (entry.actor, entry.action, entry.body["before"], entry.body["after"]) == ("anna", "version.approve", "registered", "approved")


@pytest.mark.parametrize("first", ["approve", "reject"])
@pytest.mark.parametrize("second", ["approve", "reject"])
def test_a_decision_is_made_once(metadata, first, second):
    register(metadata, 1)
    decide(metadata, 1, first)
    with pytest.raises(Refused, match="a decision is made once"):
        decide(metadata, 1, second, now_us=6)
    assert len(metadata.find(Approval)) == 1


def test_a_rejection_starts_nothing(metadata):
    register(metadata, 1)
    decide(metadata, 1, "reject")
    assert registry.get(metadata, "delay", 1).status == "rejected"
    assert [event.kind for event in metadata.events(0)] == ["version.registered"]


def test_requested_changes_leave_the_decision_open(metadata):
    register(metadata, 1)
    decide(metadata, 1, "request_changes")
    decide(metadata, 1, "approve", now_us=6)
    assert [approval.decision for approval in metadata.find(Approval)] == ["request_changes", "approve"]


def test_of_two_reviewers_at_once_one_decides(metadata):
    register(metadata, 1)
    seen = registry.get(metadata, "delay", 1)
    batches = [registry.decide(seen, decision, reviewer="r", reason="", now_us=at) for at, decision in ((5, "approve"), (6, "reject"))]
    metadata.commit(batches[0])
    with pytest.raises(Conflict):
        metadata.commit(batches[1])
    assert registry.get(metadata, "delay", 1).status == "approved"
    assert len(metadata.find(Approval)) == 1


def test_without_a_policy_a_person_approves(metadata):
    assert registry.policy(metadata, "delay") == ReleasePolicy("delay", "semi-automatic")
    batch = Batch()
    batch.put(ReleasePolicy("delay"))
    metadata.commit(batch)
    assert registry.policy(metadata, "delay").level == "automatic"
