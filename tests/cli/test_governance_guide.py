"""docs/governance.md: its commands exist with the options it shows, its policy is one, its tables are what the code does."""

import re
import shlex

import pytest

from rota.errors import NotFound, Refused
from rota.manage.governance import decisions, policies
from rota.manage.governance.decisions import ReviewDecision
from rota.manage.models import model_versions
from rota.ports.metadata import Batch
from rota.server.access.permissions import permission_of, routes_of
from rota.server.app import create
from rota.testing.story import version


@pytest.fixture(scope="module")
def guide(root):
    return (root / "docs" / "governance.md").read_text()


def blocks(guide, language=""):
    return [text for found, text in re.findall(r"^```(\w*)\n(.*?)^```$", guide, re.DOTALL | re.MULTILINE) if found == language]


def test_every_command_of_the_guide_exists_with_its_options(guide, empty):
    lines = [line for block in blocks(guide) for line in block.splitlines() if line.startswith("rota ")]
    assert len(lines) > 15
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        depth = 3 if words[1] in ("alias", "risk") else 2
        told = empty.rota(*words[:depth], "--help")
        assert told.exit_code == 0, line
        for option in (word for word in words if word.startswith("--")):
            assert option in told.stdout, line


def test_the_policy_of_the_guide_is_one(guide):
    (text,) = blocks(guide, "toml")
    policy = policies.parse(text, "delay")
    assert (policy.approvals, policy.valid, [q.id for q in policy.questions]) == (2, "90d", ["bias"])


ACTS = {"request review": "request", "withdraw": "withdraw", "approve": "approve", "request changes": "request_changes", "reject": "reject"}


def test_the_table_of_statuses_is_what_happens_and_all_else_is_refused(guide, home):
    rows = re.findall(r"^\| ([a-z_, ]+) \| ([a-z ]+) \| ([a-z_, ]+) \|$", guide, re.MULTILINE)
    told = {(status, ACTS[act]): after for before, act, after in rows if act in ACTS for status in before.split(", ")}
    told = {key: after.rpartition(" ")[2] for key, after in told.items()}
    assert len(told) == 10
    with home.open() as platform:
        for status in ("registered", "in_review", "changes_requested", "approved", "rejected"):
            for act in ACTS.values():
                assert reached(platform.repositories, status, act) == told.get((status, act)), (status, act)


def reached(r, status, act):
    """The status after an act on a new version that was brought to a status, None when the act was refused."""
    number = model_versions.next_number(r.metadata, "delay")
    batch = Batch()
    batch.put(version(number, "registered"))
    r.metadata.commit(batch)
    paths = {"in_review": ["request"], "changes_requested": ["request_changes"], "approved": ["approve"], "rejected": ["reject"]}
    try:
        for step in [*paths.get(status, []), act]:
            take(r, number, step)
    except (Refused, NotFound):
        return None
    return model_versions.get(r.metadata, "delay", number).status


def take(r, number, act):
    told = {"actor": "anna", "now_us": r.clock.now_us()}
    if act == "request":
        decisions.request_review(r.metadata, "delay", number, **told)
    elif act == "withdraw":
        decisions.withdraw(r.metadata, "delay", number, **told)
    else:
        decisions.decide(r, "delay", number, ReviewDecision(act, "rosa", "so"))


def test_the_routes_of_the_guide_have_the_permissions_it_says(guide, home):
    with home.open() as platform:
        known = {(method, route.path): permission_of(route) for route in routes_of(create(platform).routes) for method in route.methods}
    assert known["POST", "/v1/models/{model}/{number}/decision"] == "model.approve"
    for line, permission in re.findall(r"^\| (`.*`.*) \| (model\.[a-z]+)", guide, re.MULTILINE):
        for verb, path in re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/v1[^`]*)`", line):
            assert known[verb, path] == permission, (verb, path)
