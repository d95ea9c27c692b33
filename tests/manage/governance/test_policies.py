"""Policy files: what they may say, what is refused, and the audit entry that keeps the one before."""

import pytest

from rota.backends.memory.metadata import MemoryMetadata
from rota.errors import InvalidInput
from rota.manage.governance import policies
from rota.manage.models import registered_models
from rota.records.model import ReleasePolicy, RiskQuestion

WHOLE = """
level = "manual"
four_eyes = true
approvals = 2
valid = "90d"
protected = ["champion", "gold"]

[[questions]]
id = "bias"
category = "ethical"
text = "Who could be treated unfairly?"

[[questions]]
id = "cost"
category = "business"
text = "What does an error cost?"
required = false
"""
REFUSED = {
    "levle = 'manual'": r"unknown keys \['levle'\]; known are \['approvals', 'four_eyes'",
    "level = 'sometimes'": "does not fit",
    "approvals = 'two'": "does not fit",
    "approvals = 0": "between 1 and 20",
    "approvals = 21": "between 1 and 20",
    "level = 'automatic'\napprovals = 2": "can never be reached",
    "valid = 'soon'": "not a number and a unit",
    "valid = '0d'": "expire at once",
    "protected = ['a b']": "protected alias name 'a b'",
    "questions = ['bias']": "does not fit",
    "[[questions]]\nid = 'a'\ncategory = 'moral'\ntext = 't'": "does not fit",
    "[[questions]]\nid = 'a'\ncategory = 'legal'\ntext = 't'\nweight = 3": r"unknown keys \['weight'\]",
    "[[questions]]\nid = 'a'\ncategory = 'legal'\n": "does not fit",
    "[[questions]]\nid = 'a'\ncategory = 'legal'\ntext = 't'\n" * 2: r"\['a'\] are there twice",
    "level = ": "not valid TOML",
    "model = 'other'": "is for model 'other', not for 'delay'",
}


def test_a_file_says_the_whole_policy():
    assert policies.parse(WHOLE, "delay") == ReleasePolicy(
        "delay",
        "manual",
        four_eyes=True,
        approvals=2,
        valid="90d",
        questions=(
            RiskQuestion("bias", "ethical", "Who could be treated unfairly?"),
            RiskQuestion("cost", "business", "What does an error cost?", required=False),
        ),
        protected=("champion", "gold"),
    )


def test_an_empty_file_lets_a_person_approve():
    assert policies.parse("", "delay") == ReleasePolicy("delay", "semi-automatic")


@pytest.mark.parametrize(("text", "why"), REFUSED.items())
def test_what_a_file_may_not_say_is_named(text, why):
    with pytest.raises(InvalidInput, match=why):
        policies.parse(text, "delay")


def test_the_model_is_given_named_by_the_file_or_assumed_in_this_order():
    assert policies.parse("model = 'delay'").model == "delay"
    assert policies.parse("model = 'delay'", otherwise="x").model == "delay"
    assert policies.parse("", otherwise="x").model == "x"
    assert policies.parse("", "*").model == "*"
    with pytest.raises(InvalidInput, match="names no model"):
        policies.parse("")
    with pytest.raises(InvalidInput, match="model name"):
        policies.parse("", "../x")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "policy.toml").write_bytes(b"\xff\xfe")
    for name in ("policy.toml", "nix.toml", "."):
        with pytest.raises(InvalidInput, match="cannot be read"):
            policies.read(tmp_path / name, "delay")


def test_a_policy_is_put_in_force_once_and_the_audit_log_keeps_the_one_before():
    metadata = MemoryMetadata()
    strict = policies.parse(WHOLE, "delay")
    for policy in (ReleasePolicy("delay"), strict, strict):
        policies.put(metadata, policy, actor="rosa", now_us=5)
    assert registered_models.release_policy(metadata, "delay") == strict
    entries = metadata.audit()
    assert [(e.actor, e.action, e.subject, e.body["before"] and e.body["before"]["level"], e.body["after"]["approvals"]) for e in entries] == [
        ("rosa", "policy.set", "delay", None, 1),
        ("rosa", "policy.set", "delay", "automatic", 2),
    ]
