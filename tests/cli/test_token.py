"""Tokens on the command line: made, shown once, used by ROTA_TOKEN, ended; and who a command is given by."""

import getpass
import json
import stat

import pytest

from rota import addresses
from rota.manage.access import tokens
from rota.records.access import ROLES


@pytest.fixture
def make(home):
    def make(role, *more, holder="ana"):
        return json.loads(home.rota("token", "create", "--role", role, "--holder", holder, "--expires", "90d", *more, "--json").stdout)

    return make


def audited(home):
    with home.open() as platform:
        return [(entry.actor, entry.action) for entry in platform.repositories.metadata.audit()]


def test_the_owner_s_token_is_made_once_and_readable_by_the_owner_only(empty):
    first = empty.rota("token", "--show").stdout.strip()
    assert first.startswith("rota_")
    assert len(first) > 40
    assert stat.S_IMODE((empty.path / "token").stat().st_mode) == 0o600
    assert empty.rota("token", "--show").stdout.strip() == first
    told = empty.rota("token").stdout
    assert first not in told
    assert str(empty.path / "token") in told.replace("\n", "")
    assert "nothing runs on" in told


def test_the_owners_token_names_the_port_that_a_running_platform_has(empty):
    empty.path.mkdir(exist_ok=True)
    addresses.publish(empty.path, {"control": 47_111, "prediction": 47_112})
    told = empty.rota("token").stdout
    assert "http://127.0.0.1:47111/enter?token=TOKEN" in told
    assert "nothing runs" not in told


def test_a_renewed_owner_s_token_replaces_the_old_one_at_once(home, monkeypatch):
    old = home.rota("token", "--show").stdout.strip()
    assert home.rota("token", "renew").exit_code == 0
    new = home.rota("token", "--show").stdout.strip()
    with home.open() as platform:
        assert platform.access.recognise(old) is None
        assert platform.access.recognise(new) == tokens.OWNER
    assert audited(home)[-1] == (getpass.getuser(), "token.renew")
    monkeypatch.setenv("ROTA_TOKEN", old)
    assert home.rota("models", "list").exit_code == 1


def test_a_command_without_a_token_is_given_by_the_system_s_user(home, make):
    make("auditor")
    assert audited(home)[-1] == (getpass.getuser(), "token.create")


def test_a_command_with_a_token_is_given_by_its_holder_in_its_role(home, make, monkeypatch):
    monkeypatch.setenv("ROTA_TOKEN", make("data_engineer")["secret"])
    assert home.rota("sources", "list").exit_code == 0
    assert home.rota("data", "schema", "freeze", "delay").exit_code == 0
    refused = home.rota("train", "delay")
    assert refused.exit_code == 1
    assert "ana (data_engineer) lacks the permission 'train.start'" in refused.stderr
    monkeypatch.delenv("ROTA_TOKEN")


def test_the_token_may_stand_in_a_file(home, make, monkeypatch, tmp_path):
    (tmp_path / "secret").write_text(make("application")["secret"] + "\n")
    monkeypatch.setenv("ROTA_TOKEN_FILE", str(tmp_path / "secret"))
    assert "ana (application) lacks the permission 'model.read'" in home.rota("models", "list").stderr


@pytest.mark.parametrize("wrong", ["x", "rota_x", " "])
def test_a_token_that_opens_nothing_is_not_passed_over(home, monkeypatch, wrong):
    monkeypatch.setenv("ROTA_TOKEN", wrong)
    result = home.rota("models", "list")
    if wrong.strip():
        assert (result.exit_code, "opens nothing here" in result.stderr) == (1, True)
    else:
        assert result.exit_code == 0


def test_a_token_of_one_project_is_for_http_only(home, make, monkeypatch):
    monkeypatch.setenv("ROTA_TOKEN", make("ml_engineer", "--project", "flights")["secret"])
    refused = home.rota("models", "list")
    assert (refused.exit_code, "works over HTTP only" in refused.stderr) == (1, True)


def test_a_revoked_token_gives_no_more_commands(home, make, monkeypatch):
    token = make("auditor")
    assert home.rota("token", "revoke", token["id"]).exit_code == 0
    assert json.loads(home.rota("token", "list", "--json").stdout)[0]["state"] == "revoked"
    monkeypatch.setenv("ROTA_TOKEN", token["secret"])
    assert "opens nothing here" in home.rota("audit", "list").stderr


def test_a_secret_is_shown_once(home, make):
    token = make("reviewer", "--environment", "staging")
    listed = home.rota("token", "list").stdout + home.rota("token", "list", "--json").stdout + home.rota("audit", "list", "--json").stdout
    assert token["id"] in listed
    assert "staging" in listed
    assert token["secret"] not in listed
    with home.open() as platform:
        assert platform.access.recognise(token["secret"]) is None, "it is of another environment"


@pytest.mark.parametrize("role", [role for role in ROLES if role != "owner"])
def test_only_the_owner_makes_tokens(home, make, monkeypatch, role):
    monkeypatch.setenv("ROTA_TOKEN", make(role, holder="mallory")["secret"])
    for words in (
        ["token", "create", "--role", "owner", "--holder", "m", "--expires", "1d"],
        ["token", "list"],
        ["token", "--show"],
        ["token", "renew"],
    ):
        assert "lacks the permission 'token.manage'" in home.rota(*words).stderr


def test_the_tables_are_printed_for_people_and_for_programs(empty):
    assert empty.rota("token", "roles").stdout.strip() == tokens.table()
    assert json.loads(empty.rota("token", "roles", "--json").stdout) == {role: sorted(held) for role, held in ROLES.items()}
    assert json.loads(empty.rota("token", "routes", "--json").stdout)["GET /healthz"] == "no token"
    assert "| `POST /v1/tokens` | token.manage |" in empty.rota("token", "routes").stdout


def test_sessions_of_browsers_are_listed_and_ended(home, make, monkeypatch):
    token = make("auditor")
    with home.open() as platform:
        key = platform.access.begin_session(platform.access.recognise(token["secret"]), token["secret"])
    (listed,) = json.loads(home.rota("token", "sessions", "list", "--json").stdout)
    assert (listed["holder"], listed["token"], listed["state"]) == ("ana", token["id"], "valid")
    assert listed["id"] in home.rota("token", "sessions", "list", "--holder", "ana").stdout
    assert home.rota("token", "sessions", "list", "--holder", "nobody", "--json").stdout.strip() == "[]"
    assert home.rota("token", "sessions", "end", listed["id"]).exit_code == 0
    with home.open() as platform:
        assert platform.access.recognise_session(key) is None
    monkeypatch.setenv("ROTA_TOKEN", token["secret"])
    assert "lacks the permission 'token.manage'" in home.rota("token", "sessions", "list").stderr
