"""The registry and its governance on the command line: several people with tokens of their own around one model."""

import json

import pytest

import rota
from rota.errors import InvalidInput, Refused
from rota.manage.access import tokens
from rota.manage.experiments import artifacts
from rota.manage.models import registered_models
from rota.ports.tracking import Logged
from rota.records.model import ReleasePolicy
from rota.records.run import RunQuery
from rota.records.tracking import ExperimentRun, MetricPoint
from rota.testing.story import NOON_US

POLICY = """
level = "semi-automatic"
four_eyes = true
approvals = 2
valid = "90d"

[[questions]]
id = "bias"
category = "ethical"
text = "Who could be treated unfairly?"
"""
RUN = "a" * 32


@pytest.fixture
def people(home, monkeypatch):
    """Give a command as somebody: `people("rosa", "models", "list")`; names tell the role."""
    roles = {"anna": "data_scientist", "rosa": "reviewer", "paul": "reviewer", "olga": "operator", "abel": "auditor"}
    with home.open() as platform:
        made = {
            name: tokens.create(platform.repositories.metadata, name, role, actor="owner", now_us=platform.access.wall.now_us())[1]
            for name, role in roles.items()
        }

    def act(name, *words):
        monkeypatch.setenv("ROTA_TOKEN", made[name])
        return home.rota(*words)

    return act


def good(result):
    assert result.exit_code == 0, result.output
    return result.stdout


def tracked(home):
    """A tracked run with a metric and a file."""
    with home.open() as platform:
        r = platform.repositories
        run = ExperimentRun(RUN, "0", "trees", "finished", NOON_US)
        r.tracking.create_run(run)
        r.tracking.log(RUN, Logged(metrics=[MetricPoint("auc", 0.8)]))
        artifacts.store(r, artifacts.run_root(run), "model/MLmodel", [b"flavors: {}"])


def test_a_version_goes_from_review_over_risk_and_two_approvals_to_its_rollout(home, people, tmp_path):
    (tmp_path / "policy.toml").write_text(POLICY)
    good(people("rosa", "models", "policy", "delay", "--file", str(tmp_path / "policy.toml")))
    good(people("anna", "models", "request-review", "delay@2", "--comment", "better in winter"))
    refused = people("rosa", "models", "approve", "delay@2", "--reason", "good")
    assert "'bias' is not answered" in refused.stderr
    good(people("rosa", "models", "risk", "answer", "delay@2", "bias", "nobody, by carrier and airport"))
    assert "nobody, by carrier" in good(people("anna", "models", "risk", "list", "delay@2"))
    assert json.loads(good(people("rosa", "models", "approve", "delay@2", "--reason", "good", "--json")))["status"] == "in_review"
    shown = json.loads(good(people("anna", "models", "review", "delay@2", "--json")))
    assert shown["open"] == ["delay@2 is in_review; `rota models approve delay@2 --reason ...` decides"]
    assert shown["review"]["comment"] == "better in winter"
    words = ["models", "approve", "delay@2", "--reason", "good", "--steps", "10,50", "--hold", "2h", "--json"]
    assert json.loads(good(people("paul", *words)))["status"] == "approved"
    with home.open() as platform:
        event = [e for e in platform.repositories.metadata.events(0) if e.kind == "version.approved"][-1]
        while platform.loop.react():
            pass
        (run,) = platform.repositories.runs.find(RunQuery("rollout"))
    assert (event.body["delivery"]["steps"], event.body["delivery"]["hold"]) == ([10, 50], "2h")
    assert run.arguments["delivery"]["steps"] == [10, 50]
    told = good(people("anna", "models", "show", "delay@2"))
    assert "approve by rosa" in told
    assert "approve by paul" in told
    assert "good (until " in told
    assert "may be released" in told


@pytest.mark.parametrize(
    ("name", "words", "permission"),
    [
        ("anna", "models approve delay@2 --reason r", "model.approve"),
        ("anna", "models policy delay automatic", "model.approve"),
        ("anna", "models risk answer delay@2 bias none", "model.approve"),
        ("anna", "deploy delay@1", "model.release"),
        ("anna", "rollback delay --reason r", "model.release"),
        ("anna", "models return delay@1 --reason r", "model.release"),
        ("anna", "models alias set delay@champion 1 --reason r", "model.release"),
        ("rosa", "models register delay --run x", "model.register"),
        ("rosa", "models tag delay@1 a=b", "model.register"),
        ("rosa", "models alias set delay@candidate 1 --reason r", "model.register"),
        ("olga", "models approve delay@2 --reason r", "model.approve"),
        ("abel", "models request-review delay@2", "model.register"),
        ("anna", "audit verify", "audit.read"),
    ],
)
def test_training_registering_approving_and_releasing_are_different_hands(people, name, words, permission):
    refused = people(name, *words.split())
    assert refused.exit_code == 1
    assert f"lacks the permission '{permission}'" in refused.stderr


def test_a_version_is_registered_from_a_tracked_run_and_found_again(home, people):
    tracked(home)
    made = json.loads(good(people("anna", "models", "register", "churn", "--run", RUN, "--json")))
    assert (made["number"], made["registered_by"], made["metrics"], made["experiment_run"]) == (1, "anna", {"auc": 0.8}, RUN)
    good(people("anna", "models", "tag", "churn@1", "team=ops", "draft=yes"))
    good(people("anna", "models", "tag", "churn@1", "--remove", "draft"))
    good(people("anna", "models", "describe", "churn@1", "for gates only", "--owner", "bea"))
    good(people("anna", "models", "describe", "churn", "who leaves"))
    found = json.loads(good(people("abel", "models", "search", "metrics.auc > 0.7 and tags.team = 'ops'", "--json")))
    assert [(v["model"], v["owner"], v["tags"], v["description"]) for v in found] == [("churn", "bea", {"team": "ops"}, "for gates only")]
    assert [m["description"] for m in json.loads(good(people("abel", "models", "search", "name = 'churn'", "--models", "--json")))] == ["who leaves"]


def test_registering_in_python_is_the_same(home):
    tracked(home)
    version = rota.register_model("churn", run=RUN, artifact="model", tags={"a": "b"}, home=home.path)
    assert (version.id, version.source, version.tags) == ("churn@1", f"runs:/{RUN}/model", {"a": "b"})
    assert rota.register_model("churn", run=RUN, home=home.path).number == 2


def test_an_alias_is_set_shown_and_removed_with_its_history(people):
    good(people("anna", "models", "alias", "set", "delay@candidate", "2", "--reason", "for the analysts"))
    assert "delay@2" in good(people("abel", "models", "search", "alias = 'candidate'"))
    good(people("anna", "models", "alias", "remove", "delay@candidate", "--reason", "done"))
    moves = json.loads(good(people("abel", "models", "alias", "history", "delay@candidate", "--json")))
    assert [(m["actor"], m["before"], m["number"], m["reason"]) for m in moves] == [("anna", 0, 2, "for the analysts"), ("anna", 2, 0, "done")]


def test_the_champion_without_an_endpoint_is_moved_by_the_operator_to_an_approved_version_only(home, people):
    tracked(home)
    good(people("anna", "models", "register", "churn", "--run", RUN))
    refused = people("olga", "models", "alias", "set", "churn@champion", "1", "--reason", "go")
    assert "churn@1 is registered" in refused.stderr
    good(people("rosa", "models", "approve", "churn@1", "--reason", "fine", "--no-rollout"))
    good(people("olga", "models", "alias", "set", "churn@champion", "1", "--reason", "go"))
    assert "approve by rosa" in good(people("abel", "models", "show", "churn@champion"))


def test_a_version_is_deleted_renamed_and_its_number_gone(home, people):
    tracked(home)
    for _ in range(2):
        good(people("anna", "models", "register", "churn", "--run", RUN))
    good(people("anna", "models", "delete", "churn@2", "--reason", "leak"))
    good(people("anna", "models", "rename", "churn", "leavers"))
    made = json.loads(good(people("anna", "models", "register", "leavers", "--run", RUN, "--json")))
    assert made["number"] == 3
    good(people("anna", "models", "delete", "leavers", "--reason", "never used"))
    assert "no model 'leavers'" in people("anna", "models", "describe", "leavers", "x").stderr


def test_a_request_is_withdrawn_and_changes_are_requested(people):
    good(people("anna", "models", "request-review", "delay@2"))
    good(people("anna", "models", "withdraw", "delay@2", "--reason", "found a leak"))
    good(people("anna", "models", "request-review", "delay@2"))
    good(people("rosa", "models", "request-changes", "delay@2", "--reason", "describe it"))
    assert "request-review delay@2" in people("rosa", "models", "approve", "delay@2", "--reason", "r").stderr


def test_versions_are_compared_for_people_and_for_programs(people):
    assert "roc_auc 0.71" in good(people("abel", "models", "compare", "delay"))
    found = json.loads(good(people("abel", "models", "compare", "delay", "--version", "2", "--json")))
    assert [t["number"] for t in found["series"]] == [2]


def test_the_head_of_the_audit_log_is_printed_and_checked(people):
    head = good(people("abel", "audit", "head")).strip()
    position = int(head.partition(":")[0])
    assert "the chain is whole" in good(people("abel", "audit", "verify", "--head", head))
    other = people("abel", "audit", "verify", "--head", f"{position}:{'0' * 64}")
    assert other.exit_code == 1
    assert "written anew" in other.stderr
    assert "its tail was cut off" in people("abel", "audit", "verify", "--head", f"{position + 1}:{'0' * 64}").stderr


PROJECT = """
import rota
source = rota.PushSource("arrivals", fields={"id": "string", "at": "timestamp"}, timestamp_field="at", id_field="id")
%s
"""


def test_a_policy_beside_the_project_is_recorded_by_apply(home, tmp_path, people):
    folder = tmp_path / "flights"
    folder.mkdir()
    (folder / "project.py").write_text(PROJECT % "")
    (folder / "policy.toml").write_text("model = 'delay'\nlevel = 'manual'")
    with home.open() as platform:
        planned = platform.projects.plan(folder / "project.py")
        changes = platform.projects.apply(folder / "project.py", actor="otto")
        assert planned == changes
        assert ("add", "release_policy", "delay") in [(c.what, c.kind, c.name) for c in changes]
        assert registered_models.release_policy(platform.repositories.metadata, "delay") == ReleasePolicy("delay", "manual")
        again = platform.projects.apply(folder / "project.py", actor="otto")
        assert "release_policy" not in [c.kind for c in again]
    (folder / "policy.toml").write_text("level = 'manual'")
    with home.open() as platform, pytest.raises(InvalidInput, match="names no model"):
        platform.projects.apply(folder / "project.py")
    (folder / "policy.toml").write_text("model = 'delay'\nlevel = 'automatic'")
    (folder / "project.py").write_text(PROJECT % "policy = rota.ReleasePolicy('delay', 'manual')")
    with home.open() as platform, pytest.raises(InvalidInput, match="keep one of them"):
        platform.projects.apply(folder / "project.py")


@pytest.mark.parametrize("where", ["file", "project"])
def test_who_deploys_a_pipeline_does_not_set_the_policy_with_it(home, tmp_path, where):
    folder = tmp_path / "flights"
    folder.mkdir()
    (folder / "project.py").write_text(PROJECT % ("policy = rota.ReleasePolicy('delay', 'automatic')" if where == "project" else ""))
    if where == "file":
        (folder / "policy.toml").write_text("model = 'delay'\nlevel = 'automatic'")
    with home.open() as platform:
        platform.identity = tokens.Identity("mia", "ml_engineer")
        with pytest.raises(Refused, match=r"lacks the permission 'model\.approve'"):
            platform.projects.apply(folder / "project.py", actor="mia")
        assert registered_models.release_policy(platform.repositories.metadata, "delay").level == "semi-automatic"
        platform.identity = tokens.OWNER
        platform.projects.apply(folder / "project.py", actor="owner")
        platform.identity = tokens.Identity("mia", "ml_engineer")
        platform.projects.apply(folder / "project.py", actor="mia")  # nothing about the policy changes any more
