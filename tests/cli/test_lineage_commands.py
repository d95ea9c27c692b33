"""Lineage, notes, artifacts and garbage on the command line."""

import json
import tarfile

import msgspec
import pytest

from rota.manage.experiments import artifacts
from rota.ports.metadata import Batch
from rota.records.data import Feature, FeatureService, OnDemandFeatureView
from rota.records.model import ModelBundle, ModelVersion, Transformation
from rota.records.record import encode
from rota.records.tracking import DEFAULT_EXPERIMENT, ExperimentRun
from rota.testing.story import NOON_US


@pytest.fixture
def stored(home):
    """The story, with real bytes behind version 1 and a tracked run with one file."""
    with home.open() as platform:
        r = platform.repositories
        version = r.metadata.get(ModelVersion, "delay", 1)
        features = FeatureService("s", [OnDemandFeatureView("request", inputs={"x": "float"}, features={"x": Feature("x")})])
        bundle = r.blobs.put(encode(ModelBundle("delay", "lightgbm", r.blobs.put(b"the model"), "regression", features, Transformation(()), (), ())))
        batch = Batch()
        batch.put(msgspec.structs.replace(version, bundle=bundle, experiment_run="e1"), replacing=version)
        r.metadata.commit(batch)
        run = ExperimentRun("e1", DEFAULT_EXPERIMENT, "first", "finished", NOON_US)
        r.tracking.create_run(run)
        artifacts.store(r, artifacts.run_root(run), "notes/plan.txt", [b"the ", b"plan"])
    return home


def test_the_types_of_nodes_and_the_nodes_of_a_type_are_listed(stored):
    types = {each["name"]: each["concept"] for each in json.loads(stored.rota("lineage", "nodes", "--json").stdout)}
    assert (types["Model"], types["Run"], types["Experiment"]) == ("artifact", "execution", "context")
    nodes = json.loads(stored.rota("lineage", "nodes", "--type", "Model", "--json").stdout)
    assert [node["node"] for node in nodes] == ["model_version:delay@1", "model_version:delay@2"]
    assert nodes[0]["facts"]["metrics"]["roc_auc"] == 0.71
    for name in types:
        answer = stored.rota("lineage", "nodes", "--type", name, "--json")
        assert answer.exit_code == 0, answer.output
    assert [each["node"] for each in json.loads(stored.rota("lineage", "nodes", "--type", "ExperimentRun", "--json").stdout)] == [
        "experiment_run:e2trial",
        "experiment_run:e1",
        "experiment_run:e1deepertrees",
    ]


def test_a_graph_is_written_in_three_forms(stored):
    words = ["lineage", "graph", "model_version:delay@1", "--format"]
    assert {node["node"] for node in json.loads(stored.rota(*words, "json").stdout)["nodes"]} >= {"run:r1", "dataset_version:delay@1"}
    assert stored.rota(*words, "dot").stdout.startswith("digraph lineage {")
    assert "flowchart LR\n" in stored.rota(*words, "mermaid").stdout


def test_a_version_is_explained_in_sentences_and_as_json(stored):
    shown = stored.rota("lineage", "explain", "delay@champion").stdout
    assert "delay@1, approved" in shown
    assert "commit c0ffee" in shown
    told = json.loads(stored.rota("lineage", "explain", "delay@1", "--json").stdout)
    assert (told["code"]["commit"], told["tracked_run"]["id"], told["execution"]["id"]) == ("c0ffee", "e1", "r1")
    assert stored.rota("lineage", "explain", "delay@1", "--at", "1999-01-01").exit_code == 1


def test_a_note_is_kept_with_author_and_time_and_is_part_of_the_explanation(stored):
    made = json.loads(stored.rota("note", "add", "run:r1", "the week of the [bold]storm[/bold]", "--tag", "data", "--json").stdout)
    assert made["author"]
    assert made["at_us"]
    assert [note["text"] for note in json.loads(stored.rota("note", "list", "run:r1", "--json").stdout)] == ["the week of the [bold]storm[/bold]"]
    assert "[bold]storm" in stored.rota("note", "list", "run:r1").stdout
    assert stored.rota("note", "list", "run:r2", "--json").stdout.strip() == "[]"


def test_artifacts_are_listed_got_and_archived(stored, tmp_path, check_archive):
    of_run = json.loads(stored.rota("artifacts", "list", "--run", "e1", "--json").stdout)
    assert [(piece["path"], piece["size"]) for piece in of_run] == [("files/notes/plan.txt", 8)]
    of_model = json.loads(stored.rota("artifacts", "list", "--model", "delay@1", "--json").stdout)
    assert {piece["about"] for piece in of_model} == {"bundle", "named by bundle"}
    assert len(json.loads(stored.rota("artifacts", "list", "--model", "delay@1", "--type", "bundle", "--json").stdout)) == 1
    out = tmp_path / "plan.txt"
    assert stored.rota("artifacts", "get", "0/e1/artifacts/notes/plan.txt", "--out", str(out)).exit_code == 0
    assert out.read_bytes() == b"the plan"
    assert stored.rota("artifacts", "get", of_run[0]["digest"], "--out", str(tmp_path / "again")).exit_code == 0
    tar = tmp_path / "delay.tar"
    assert stored.rota("artifacts", "archive", "model_version:delay@1", "--out", str(tar)).exit_code == 0
    with tar.open("rb") as file:
        assert check_archive(file)["node"] == "model_version:delay@1"
    with tarfile.open(tar) as opened:
        assert {"manifest.json", "version.json", "explanation.json"} <= set(opened.getnames())


@pytest.mark.parametrize("path", ["0/e1/artifacts/../../secret", "0/e1/artifacts//etc/passwd", "0/e1/artifacts/%2e%2e/x", "0/e1/artifacts/nothing"])
def test_what_is_not_an_artifact_is_refused_and_leaves_no_file(stored, tmp_path, path):
    out = tmp_path / "out"
    out.mkdir()
    answer = stored.rota("artifacts", "get", path, "--out", str(out / "file"))
    assert answer.exit_code == 1
    assert list(out.iterdir()) == []


def test_a_damaged_artifact_leaves_no_file(stored, tmp_path):
    digest = json.loads(stored.rota("artifacts", "list", "--run", "e1", "--json").stdout)[0]["digest"]
    (stored.path / "blobs" / digest[:2] / digest).write_bytes(b"the plot")
    out = tmp_path / "out"
    out.mkdir()
    answer = stored.rota("artifacts", "get", digest, "--out", str(out / "file"))
    assert (answer.exit_code, list(out.iterdir())) == (1, [])
    assert "does not hold what was stored" in answer.stderr


def test_garbage_is_planned_and_collected_and_a_hold_is_placed_and_lifted(stored, monkeypatch):
    monkeypatch.setenv("ROTA_RETENTION_GRACE_HOURS", "0")
    with stored.open() as platform:
        orphan = platform.repositories.blobs.put(b"nobody's")
    planned = json.loads(stored.rota("gc", "--dry-run", "--json").stdout)
    assert [(each["what"], each["name"], each["size_bytes"]) for each in planned["removals"]] == [("blob", orphan, 8)]
    assert "1 things would be removed, 8 bytes" in stored.rota("gc", "--dry-run").stdout
    assert json.loads(stored.rota("gc", "--json").stdout)["removals"] == planned["removals"]
    assert "nothing to remove" in stored.rota("gc").stdout
    assert stored.rota("hold", "place", "model_version:delay@1", "--reason", "claim").exit_code == 0
    assert [hold["reason"] for hold in json.loads(stored.rota("hold", "list", "--json").stdout)] == ["claim"]
    assert stored.rota("hold", "lift", "model_version:delay@1", "--reason", "settled").exit_code == 0
    assert stored.rota("hold", "list", "--json").stdout.strip() == "[]"
    actions = [entry["action"] for entry in json.loads(stored.rota("audit", "list", "--json").stdout)]
    assert actions[-3:] == ["garbage.collect", "hold.place", "hold.lift"]
