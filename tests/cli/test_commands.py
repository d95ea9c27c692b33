"""The commands on a real home: what they print for people and for programs, what they change, and how they refuse."""

import getpass
import json
import re
import sqlite3
from contextlib import closing

import msgspec
import polars as pl
import pytest

from rota.cli.app import ENTRIES, load
from rota.ports.metadata import Batch
from rota.records.experiment import ab_test, kpi
from rota.records.model import Alias
from rota.records.release import Canary, Endpoint, Release, Rollout, Route, error_rate
from rota.records.run import Run, RunQuery
from rota.testing.story import NOON_US, alert, version

LISTS = (
    "experiments list",
    "project show",
    "pipeline list",
    "pipeline releases",
    "runs list",
    "rollout list",
    "endpoints list",
    "monitor alerts",
    "monitor slices delay",
    "data list",
    "features list",
    "features search",
    "features status",
    "features compact",
    "sources list",
    "sources status",
    "models list",
    "models search",
    "models alias history delay",
    "report models",
    "audit list",
    "events list",
    "lineage nodes --type Model",
    "lineage events",
)
SHOWS = (
    "sources show arrivals",
    "experiments show trees",
    "project show delays",
    "runs show r1",
    "runs show e1de",
    "runs list --experiment trees",
    "runs search roc_auc>0.5",
    "runs compare e1de e2tr",
    "rollout show rollout.delay.1",
    "data show delay@1",
    "data schema list",
    "data schema show delay",
    "models show delay@champion",
    "models policy delay",
    "models policy *",
    "models review delay@2",
    "models compare delay",
    "models card delay@1",
    "outcomes show delay",
    "lineage causes model_version:delay@1",
    "lineage effects run:r1",
    "lineage explain delay@1",
    "lineage nodes",
    "gc --dry-run",
    "gc",
    "audit verify",
    "audit head",
    "monitor show delay",
    "features show origin_delays",
    "features usage origin_delays:last",
    "features get origin_delays:last --entity origin=JFK",
    "features materialize",
)
UNKNOWN = {
    "experiments show nix": "rota experiments list",
    "runs show nix": "rota runs list",
    "runs search roc_auc>>1": "roc_auc>>1",
    "runs compare e1de": "2 to 20",
    "runs reproduce e1de": "not started by a script",
    "runs delete nix": "rota runs list",
    "experiments delete Default": "always there",
    "project show nix": "rota project show",
    "pipeline run nix --local": "rota apply",
    "init ../X": "project name",
    "rollout show nix": "rota rollout list",
    "rollback nix --reason r": "rota endpoints list",
    "deploy nix@1": "there is no model 'nix'",
    "deploy delay": "MODEL@NUMBER",
    "data show delay@9": "rota data list",
    "data show delay": "NAME@NUMBER",
    "data build nix": "declared are",
    "data profile delay@1": "build it again",
    "data schema show nix": "first training run",
    "features parity nix": "rota endpoints list",
    "monitor show nix": "rota endpoints list",
    "features show origin_delay": "is it 'origin_delays'?",
    "features usage origin_delays:lost": "is it 'last'?",
    "features versions nix": "there are ['origin_delays']",
    "features retire origin_delays": "VIEW@vNUMBER",
    "features retire origin_delays@v9": "no version origin_delays@v9",
    "features get nix": "no feature service 'nix'",
    "features get origin_delays:last": "origin",
    "features get origin_delays:last --entity colour=red": "the fields are {'origin': 'string'}",
    "features get origin_delays:last --entity origin": "KEY=VALUE",
    "features materialize nix": "no feature view 'nix'",
    "features compact nix": "there is no source 'nix'",
    "features historical -f origin_delays:last --labels nix.csv --output o.csv": "nix.csv cannot be read",
    "sources ingest nix": "the sources are ['arrivals']",
    "sources show nix": "the sources are ['arrivals']",
    "models show delay@winner": "no alias 'winner'",
    "models approve delay@9 --reason r": "it has [1, 2]",
    "models approve delay@2 --reason r --steps five": "5,25,50",
    "models request-changes delay@1 --reason r": "already approved",
    "models reject delay --reason r": "MODEL@NUMBER",
    "models register delay --run nix": "no run 'nix'",
    "models tag delay@1 team": "KEY=VALUE",
    "models describe nix text": "no model 'nix'",
    "models delete delay --reason r": "endpoints ['delay'] serve it",
    "models rename delay late": "endpoints ['delay'] serve it",
    "models alias set delay@champion 2 --reason r": "rota rollback delay",
    "models alias set delay@3 2 --reason r": "reads as a version",
    "models alias set delay 2 --reason r": "MODEL@ALIAS",
    "models alias remove delay@nix --reason r": "no alias 'nix'",
    "models withdraw delay@2": "no review of delay@2 is open",
    "models risk answer delay@2 bias none": "asks no question 'bias'",
    "models policy delay --file nix.toml": "cannot be read",
    "models policy delay manual --file policy.toml": "either a level or a file",
    "models search colour='red'": "no attribute 'colour'",
    "audit verify --head 7": "POSITION:HASH",
    "lineage causes nix": "kind:key",
    "lineage prediction nix": "in no prediction log",
    "lineage explain nix@1": "there is no model 'nix'",
    "lineage graph nix": "kind:key",
    "lineage nodes --type Modell": "there are",
    "lineage row nix --at 2013-07-15": "the sources are ['arrivals']",
    "lineage row arrivals --key origin": "FIELD=VALUE",
    "note add nix text": "kind:key",
    "artifacts list": "--run ID",
    "artifacts get nix --out o": "no digest",
    "artifacts archive nix --out o": "model_version:NAME@NUMBER",
    "hold place nix --reason r": "kind:key",
    "hold lift run:r1 --reason r": "not held",
    "models card delay@9": "it has [1, 2]",
    "models card delay@1 --edit nix --text t": "no section 'nix'",
    "models card delay@1 --edit limits": "--text or by --file",
    "models card delay@1 --text t": "--edit limits",
    "models card delay@1 --edit limits --file nix.txt": "nix.txt cannot be read",
    "outcomes show nix": "rota endpoints list",
    "outcomes report nix --file nix.csv": "nix.csv cannot be read",
    "monitor ack nix": "rota monitor alerts",
    "monitor run nix": "no monitor",
    "train nix": "rota apply",
    "plan nix.py": "no project file",
    "down": "rota up",
}


def all_commands():
    for entry in ENTRIES:
        found = load(entry.name)
        for name, command in getattr(found, "commands", {"": found}).items():
            yield f"{entry.name} {name}".strip(), command


def test_the_help_lists_the_seven_processes_in_order_and_the_platform_last(empty):
    panels = re.findall(r"─ (\d [A-Z][\w ]+|Platform) ─", empty.rota("--help").output)
    assert [panel[0] for panel in panels] == ["1", "2", "3", "4", "5", "6", "7", "P"]


def test_the_table_says_what_the_commands_themselves_say():
    for entry in ENTRIES:
        first = load(entry.name).help.strip().splitlines()[0]
        assert first == entry.help, entry.name


@pytest.mark.parametrize(("words", "command"), [pytest.param(*found, id=found[0]) for found in all_commands()])
def test_every_command_says_what_it_does_and_gives_an_example_of_itself(words, command):
    assert command.help.splitlines()[0].endswith(".")
    assert f"Example: rota {words}" in command.help


@pytest.mark.parametrize("words", [*LISTS, *SHOWS])
def test_what_is_stored_can_be_read_by_people_and_by_programs(home, words):
    shown, parsed = home.rota(*words.split()), home.rota(*words.split(), "--json")
    assert (shown.exit_code, parsed.exit_code) == (0, 0), shown.output + parsed.output
    assert shown.output.strip()
    assert json.loads(parsed.stdout)


def test_parity_of_no_prediction_could_not_be_judged(home):
    shown, parsed = home.rota("features", "parity", "delay"), home.rota("features", "parity", "delay", "--json")
    assert (shown.exit_code, parsed.exit_code) == (1, 1)
    assert "could not compare" in shown.output
    assert json.loads(parsed.stdout) == {
        "state": "could not",
        "outcome": "inconclusive",
        "predictions": 0,
        "not_compared": 0,
        "left_out": 0,
        "differences": [],
    }


@pytest.mark.parametrize("words", LISTS)
def test_an_empty_home_is_an_empty_list_and_a_sentence(empty, words):
    shown, parsed = empty.rota(*words.split()), empty.rota(*words.split(), "--json")
    assert shown.exit_code == 0
    assert len(shown.output.strip().splitlines()) == 1
    assert json.loads(parsed.stdout) == []


@pytest.mark.parametrize(("words", "hint"), UNKNOWN.items())
def test_an_error_is_one_line_on_stderr_with_a_way_on(home, words, hint):
    result = home.rota(*words.split())
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("rota: ")
    assert len(result.stderr.strip().splitlines()) == 1
    assert hint in result.stderr


@pytest.mark.parametrize(
    "words", ["nix", "runs nix", "rollback delay", "models approve delay@1", "predict delay", "models policy delay sometimes", "runs list --limit 0"]
)
def test_a_wrong_use_exits_with_2(home, words):
    assert home.rota(*words.split()).exit_code == 2


def test_a_setting_that_does_not_exist_is_an_error_and_a_variable_of_the_process_is_not(home, monkeypatch):
    monkeypatch.setenv("ROTA_GENERATION", "1")
    monkeypatch.setenv("ROTA_LOG", "json")
    assert home.rota("runs", "list").exit_code == 0
    monkeypatch.setenv("ROTA_WORKRES", "3")
    result = home.rota("runs", "list")
    assert result.exit_code == 1
    assert "workres" in result.stderr


def test_the_home_comes_from_the_variable_unless_the_option_says_otherwise(home, monkeypatch, tmp_path):
    monkeypatch.setenv("ROTA_HOME", str(tmp_path / "other"))
    assert "delay@1" in home.rota("models", "list").stdout
    type(home)(tmp_path / "third").rota("models", "list")
    assert not (tmp_path / "other").exists()


def test_approving_is_audited_under_the_callers_name_and_done_once(home):
    assert home.rota("models", "approve", "delay@2", "--reason", "better").exit_code == 0
    with home.open() as platform:
        (newest,) = platform.repositories.metadata.audit(3)
    assert (newest.actor, newest.action, newest.subject) == (getpass.getuser(), "version.approve", "delay@2")
    again = home.rota("models", "reject", "delay@2", "--reason", "no")
    assert again.exit_code == 1
    assert "already approved" in again.stderr


def test_only_an_approved_version_is_delivered_and_only_once(home):
    refused = home.rota("deploy", "delay@2")
    assert refused.exit_code == 1
    assert "a delivery needs an approved version: delay@2 is registered" in refused.stderr
    assert json.loads(home.rota("deploy", "delay@champion", "--json").stdout) == {"runs": ["rollout.delay.1"]}
    with home.open() as platform:
        (run,) = platform.repositories.runs.find(RunQuery("rollout"))
    assert run.arguments == {"endpoint": "delay", "model": "delay", "number": 1}
    assert "was delivered before" in home.rota("deploy", "delay@1").stderr


def test_a_rollback_returns_to_the_champion_before_and_says_why(home):
    assert "never had another champion" in home.rota("rollback", "delay", "--reason", "r").stderr
    with home.open() as platform:
        metadata = platform.repositories.metadata
        batch = Batch()
        batch.put(version(2, "approved"))
        batch.put(Alias("delay", "champion", 2, NOON_US))
        batch.put(Rollout("rollout.delay.2", "delay", "delay", 2, 1, "promoted", 3, NOON_US + 1, NOON_US + 2, "every step passed"))
        metadata.commit(batch)
    result = home.rota("rollback", "delay", "--reason", "complaints", "--json")
    assert json.loads(result.stdout)["routes"][0]["number"] == 1
    with home.open() as platform:
        assert platform.repositories.metadata.get(Alias, "delay", "champion").number == 1
        assert "complaints" in [entry.body.get("reason") for entry in platform.repositories.metadata.audit()]


def test_a_rollout_is_listed_while_it_waits_and_held_and_obeys_its_verbs(home):
    assert home.rota("deploy", "delay@1").exit_code == 0
    (waiting,) = [each for each in json.loads(home.rota("rollout", "list", "--json").stdout) if each["id"] == "rollout.delay.1"]
    assert waiting["state"] in ("waiting", "promoted")
    with home.open() as platform:
        batch = Batch()
        batch.put(Rollout("rollout.delay.2", "delay", "delay", 2, 1, "canary", 1, NOON_US, held_us=NOON_US, missing="error rate: 4 of about 90 rows"))
        platform.repositories.metadata.commit(batch)
        platform.repositories.runs.submit(Run("rollout.delay.2", "rollout", "delay", {"model": "delay", "number": 2, "endpoint": "delay"}, NOON_US))
    assert "canary, held" in home.rota("rollout", "list").stdout
    shown = home.rota("rollout", "show", "rollout.delay.2").stdout
    assert "held undecided since" in shown
    assert "error rate: 4 of about 90 rows" in shown
    refused = home.rota("rollout", "undo", "rollout.delay.2", "--reason", "r")
    assert "undo is for one that is promoted; this one can promote, abort, pause, resume" in refused.stderr
    refused = home.rota("rollout", "promote", "rollout.delay.2", "--reason", "r")
    assert "needs an approved version" in refused.stderr
    assert "goes on" in home.rota("rollout", "resume", "rollout.delay.2").stdout
    assert json.loads(home.rota("rollout", "abort", "rollout.delay.2", "--reason", "r", "--json").stdout)["commands"][-1]["verb"] == "abort"


def test_a_rollout_is_explained_and_exits_with_1_where_a_decision_does_not_come_out(home):
    verdict = {"check": "answers", "outcome": "pass", "message": "version 2 answered 9 of 9 predictions", "rows": 9}
    entry = {"at_us": NOON_US, "stage": "0 canary 50%", "outcome": "pass", "verdicts": [verdict]}
    rollout = Rollout("rollout.delay.2", "delay", "delay", 2, 1, "promoted", 1, NOON_US, NOON_US, "r", strategy=Canary(steps=[50]))
    with home.open() as platform:
        batch = Batch()
        batch.put(rollout)
        platform.repositories.metadata.commit(batch)
    result = home.rota("rollout", "explain", "rollout.delay.2")
    assert (result.exit_code, "every decision comes out as it was" in result.stdout) == (0, True)
    with home.open() as platform:
        batch = Batch()
        batch.put(msgspec.structs.replace(rollout, history=(entry,)))
        platform.repositories.metadata.commit(batch)
    result = home.rota("rollout", "explain", "rollout.delay.2", "--json")
    assert (result.exit_code, json.loads(result.stdout)["decisions"][0]["agrees"]) == (1, False)
    assert "rota rollout list" in home.rota("rollout", "explain", "nix").stderr


def test_a_plan_says_how_long_a_rollout_takes_and_exits_with_1_where_it_does_not_decide(home):
    with home.open() as platform:
        strategy = Canary(steps=[50], analysis=[error_rate(margin=0.01)])
        batch = Batch()
        batch.put(msgspec.structs.replace(platform.repositories.metadata.get(Endpoint, "delay"), rollout=strategy))
        platform.repositories.metadata.commit(batch)
    result = home.rota("rollout", "plan", "delay@1", "delay", "--json")
    found = json.loads(result.stdout)
    assert (found["decides"], [each["analysis"] for each in found["needs"]], result.exit_code) == (False, ["error_rate"], 1)
    shown = home.rota("rollout", "plan", "delay", "delay")
    assert "undecided when its 48.0 h are over" in " ".join(shown.stdout.split())
    assert "there is no endpoint 'nix'" in home.rota("rollout", "plan", "delay", "nix").stderr


def test_an_experiment_is_planned_shown_listed_and_stopped(home):
    strategy = ab_test(kpi("revenue"), units=500)
    verdict = {
        "check": "primary",
        "outcome": "inconclusive",
        "message": "goes on",
        "subject": "revenue_per_prediction of version 2",
        "observed": 0.25,
    }
    entry = {"at_us": NOON_US, "stage": "0 canary 50%", "outcome": "inconclusive", "verdicts": [verdict]}
    with home.open() as platform:
        batch = Batch()
        batch.put(msgspec.structs.replace(platform.repositories.metadata.get(Endpoint, "delay"), rollout=strategy))
        batch.put(Rollout("experiment.delay.1", "delay", "delay", 2, 1, "canary", 0, NOON_US, history=(entry,), strategy=strategy))
        batch.put(
            Release("delay", 9, (Route("delay", 1, "b", "stable", 60), Route("delay", 2, "b", "canary", 40)), "", NOON_US, "experiment.delay.1")
        )
        platform.repositories.metadata.commit(batch)
        platform.repositories.runs.submit(Run("experiment.delay.1", "rollout", "delay", {}, NOON_US))
    result = home.rota("experiment", "plan", "delay", "--json")
    assert (result.exit_code, json.loads(result.stdout)["units"]) == (1, 500)
    assert "revenue_per_prediction" in home.rota("experiment", "plan", "delay").stdout
    shown = " ".join(home.rota("experiment", "show", "experiment.delay.1").stdout.split())
    assert "version 1 60 %, version 2 40 %" in shown
    assert "+0.25" in shown
    assert json.loads(home.rota("experiment", "show", "experiment.delay.1", "--json").stdout)["split"] == {"1": 60, "2": 40}
    assert "experiment.delay.1" in home.rota("experiment", "list").stdout
    assert [each["id"] for each in json.loads(home.rota("experiment", "list", "--json").stdout)] == ["experiment.delay.1"]
    assert "is the champion" in home.rota("experiment", "start", "delay", "1").stderr
    assert "has no reason" in home.rota("experiment", "stop", "experiment.delay.1", "--reason", " ").stderr
    assert home.rota("experiment", "stop", "experiment.delay.1", "--reason", "enough").exit_code == 0
    with home.open() as platform:
        assert platform.repositories.metadata.get(Rollout, "experiment.delay.1").commands[-1].verb == "abort"


@pytest.mark.parametrize("words", ["runs list --experiment trees", "runs search", "models list", "monitor alerts --limit 1"])
@pytest.mark.parametrize("json", [False, True])
def test_a_list_that_was_cut_off_says_so_beside_its_answer(home, words, json):
    limited = words if "--limit" in words else f"{words} --limit 1"
    shown = home.rota(*limited.split(), *(["--json"] if json else []))
    whole = home.rota(*limited.replace("--limit 1", "--limit 50").split())
    assert ("more follow" in shown.stderr) is (words != "monitor alerts --limit 1")  # of alerts there is one
    assert "more follow" not in whole.stderr


def test_a_policy_is_set_with_its_audit_entry(home):
    assert json.loads(home.rota("models", "policy", "delay", "manual", "--json").stdout)["level"] == "manual"
    with home.open() as platform:
        (newest,) = platform.repositories.metadata.audit(3)
    assert (newest.action, newest.body["before"], newest.body["after"]["level"]) == ("policy.set", None, "manual")


def test_training_is_queued_for_a_worker_and_refused_while_one_is_active(home):
    assert "active run r1" in home.rota("train", "delay").stderr
    with home.open() as platform:
        lease = platform.repositories.runs.claim("w", NOON_US, lease_s=60)
        platform.repositories.runs.finish(lease, "succeeded", ended_us=NOON_US)
    run = json.loads(home.rota("train", "delay", "--json").stdout)["run"]
    assert json.loads(home.rota("runs", "show", run, "--json").stdout)["run"]["status"] == "queued"


def test_a_run_is_cancelled_once_with_its_reason(home):
    ended = json.loads(home.rota("runs", "cancel", "r1", "--reason", "wrong data", "--json").stdout)
    assert ended["status"] == "cancelled"
    assert ended["error"].endswith(": wrong data")
    assert "has ended already, as cancelled" in home.rota("runs", "cancel", "r1").stderr
    assert "there is no run 'nix'" in home.rota("runs", "cancel", "nix").stderr
    assert home.rota("train", "delay", "--json").exit_code == 0  # nothing is active any more
    with home.open() as platform:
        assert [entry.body["reason"] for entry in platform.repositories.metadata.audit() if entry.action == "run.cancel"] == ["wrong data"]


def test_a_monitor_run_is_queued_for_a_worker(home):
    run = json.loads(home.rota("monitor", "run", "delay", "--json").stdout)["run"]
    assert json.loads(home.rota("runs", "show", run, "--json").stdout)["run"]["arguments"] == {"endpoint": "delay"}


def test_an_alert_is_acknowledged_once(home):
    assert home.rota("monitor", "ack", "delay.drift.last").exit_code == 0
    assert "only an open one" in home.rota("monitor", "ack", "delay.drift.last").stderr
    assert json.loads(home.rota("monitor", "alerts", "--status", "open", "--json").stdout) == []


def test_rows_of_every_file_format_are_pushed(home, tmp_path):
    row = {"id": "a", "origin": "JFK", "at": NOON_US, "delay": 3.0}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n\n")
    pl.DataFrame([row | {"id": "b"}]).write_csv(tmp_path / "rows.csv")
    pl.DataFrame([row | {"id": "c"}]).write_parquet(tmp_path / "rows.parquet")
    for suffix in ("jsonl", "csv", "parquet"):
        result = home.rota("sources", "push", "arrivals", str(tmp_path / f"rows.{suffix}"), "--json")
        assert json.loads(result.stdout) == {"source": "arrivals", "accepted": 1}
    with home.open() as platform:
        assert platform.feed.pushes.flush("arrivals") == 3


@pytest.mark.parametrize(
    ("name", "content", "hint"),
    [
        ("no.csv", None, "cannot be read"),
        ("x.xls", "", "suffix"),
        ("x.jsonl", "[1]", "line 1 is a list"),
        ("x.jsonl", '{"id": "a"}\n{', "line 2 is not JSON"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_line(home, tmp_path, name, content, hint):
    if content is not None:
        (tmp_path / name).write_text(content)
    result = home.rota("sources", "push", "arrivals", str(tmp_path / name))
    assert result.exit_code == 1
    assert hint in result.stderr


@pytest.mark.parametrize(
    ("tampering", "position", "reason"),
    [
        ("UPDATE audit SET body = replace(body, 'good', 'evil') WHERE position = 2", 2, "its content is not what was written"),
        ("UPDATE audit SET hash = 'f' WHERE position = 3", 3, "its content is not what was written"),
        ("DELETE FROM audit WHERE position = 1", 1, "an entry is missing"),
        ("DELETE FROM audit WHERE position = 2", 2, "an entry is missing"),
    ],
)
def test_the_audit_chain_breaks_at_the_first_entry_that_was_tampered_with(home, tampering, position, reason):
    assert "3 entries, the chain is whole" in home.rota("audit", "verify").stdout
    with closing(sqlite3.connect(home.path / "metadata.db")) as connection, connection:
        for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute(tampering)
    result = home.rota("audit", "verify")
    assert result.exit_code == 1
    assert f"breaks at position {position}: {reason}" in result.stderr
    assert json.loads(home.rota("audit", "verify", "--json").stdout)["entries"] == position - 1


def test_names_are_printed_as_they_are_and_never_as_markup_or_terminal_commands(home):
    with home.open() as platform:
        batch = Batch()
        batch.put(alert("x", id="[red]a[/red]", message="\x1b[2Jgone"))
        platform.repositories.metadata.commit(batch)
    shown = home.rota("monitor", "alerts").stdout
    assert "[red]a[/red]" in shown
    assert "gone" in shown
    assert "\x1b" not in shown


def test_a_long_name_is_folded_and_never_cut_off(home):
    with home.open() as platform:
        platform.repositories.runs.submit(Run("n" * 300, "train", "other", {}, NOON_US + 1))
    first_column = [line.split(" ")[0] for line in home.rota("runs", "list").stdout.splitlines()]
    assert sum(cell.count("n") for cell in first_column if set(cell) == {"n"}) == 300


def test_events_are_listed_newest_first_and_as_many_as_asked(home):
    subjects = [event["subject"] for event in json.loads(home.rota("events", "list", "--limit", "2", "--json").stdout)]
    assert subjects == ["r2", "r1"]
