"""`rota init` makes a project that runs at once: every command that it prints works, to the registered model."""

import csv
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from rota.develop import project_template
from rota.errors import InvalidInput, NotFound, Refused
from rota.supervisor.running import up


def run(folder, *command):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ROTA_")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def rota(folder, *arguments):
    return run(folder, sys.executable, "-m", "rota.cli", *arguments)


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["lightgbm", "sklearn"])
def test_a_new_project_runs_to_a_registered_model(tmp_path, framework):
    made = json.loads(rota(tmp_path, "init", "returns", "--framework", framework, "--json"))
    assert len(made["commit"]) == 40
    project = tmp_path / "returns"
    run(project, sys.executable, "make_data.py")
    rota(project, "apply", "project.py")
    rota(project, "sources", "ingest", "orders")
    rota(project, "data", "build", "returns")
    assert "best of 12 trials" in run(project, sys.executable, "explore.py")
    found = json.loads(rota(project, "runs", "list", "--experiment", "returns", "--json"))
    assert len(found) == 14  # the look around, the search, its trials
    assert {run["inputs"][0]["node"] for run in found} == {"dataset_version:returns@1"}
    assert not found[-1]["untracked_input"]
    assert found[-1]["source"]["commit"] == made["commit"]
    done = json.loads(rota(project, "pipeline", "run", "returns", "--local", "--json"))
    assert done["status"] == "succeeded", done
    assert json.loads(rota(project, "models", "show", "returns@1", "--json"))["version"]["metrics"]["roc_auc"] > 0.6
    assert "sent back" in rota(project, "project", "show")
    run(project, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    serves_what_it_trained_on(project)


def serves_what_it_trained_on(project):
    """The README's last commands: the first answers are whole, and features recomputed from history are those they saw."""
    rota(project, "models", "approve", "returns@1", "--reason", "the gates passed")
    customers = sorted({row["customer"] for row in csv.DictReader((project / "data/orders.csv").read_text().splitlines())})[:20]
    asked = [{"customer": name, "placed_at": "2030-01-01T12:00:00Z", "basket": 40, "channel": "web"} for name in [*customers, "nobody"]]
    with up(project / ".rota", control_port=0, prediction_port=0) as client:
        answers = first_answers(client, "returns", asked)
        assert [bool(each.get("missing")) for each in answers] == [False] * 20 + [True]
        assert answers.warnings[0].startswith("1 of 21 rows: habits__basket_30d")
        (view,) = json.loads(rota(project, "features", "status", "--json"))
        assert (view["state"], view["not_online"]) == ("fresh", 0)
        chain = json.loads(rota(project, "lineage", "prediction", answers[0]["prediction_id"], "--json"))
        assert "model_version:returns@1" in {link["node"] for link in chain}
        parity = json.loads(rota(project, "features", "parity", "returns", "--json"))
    assert (parity["state"], parity["predictions"], parity["differences"]) == ("equal", 21, [])
    online = rota(project, "features", "get", "habits:orders_30d", "--entity", f"customer={customers[0]}", "--json")
    assert json.loads(online)[0]["value"] == orders_of(project, customers[0])


def first_answers(client, endpoint, rows):
    """The answers once the rollout of the approval has reached the prediction process."""
    deadline = time.monotonic() + 120
    while True:
        try:
            return client.predict(endpoint, rows)
        except NotFound:
            assert time.monotonic() < deadline, f"endpoint {endpoint} was not served"
            time.sleep(0.1)


def orders_of(project, customer):
    """How many orders of a customer became known in the last thirty days: counted in the file."""
    since = datetime.now(UTC) - timedelta(days=30)
    rows = csv.DictReader((project / "data/orders.csv").read_text().splitlines())
    return sum(row["customer"] == customer and datetime.fromisoformat(row["known_at"]) >= since for row in rows)


def test_the_files_are_whole_and_named_after_the_project(tmp_path):
    written = project_template.write(tmp_path / "churn", "churn", "sklearn")
    assert {str(path.relative_to(tmp_path / "churn")) for path in written} == set(project_template.FILES)
    for path in written:
        text = path.read_text()
        assert "$name" not in text
        if path.suffix == ".py":
            compile(text, str(path), "exec")


@pytest.mark.parametrize("name", ["", "../x", "Churn", "a b", "-rf", "x" * 64])
def test_an_unfit_name_writes_nothing(tmp_path, name):
    with pytest.raises(InvalidInput, match="project name"):
        project_template.write(tmp_path / "made", name, "sklearn")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_with_content_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(Refused, match="not an empty directory"):
        project_template.write(tmp_path, "churn", "sklearn")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_inside_a_work_tree_no_second_history_is_begun(tmp_path):
    run(tmp_path, "git", "init", "--quiet")
    (tmp_path / "churn").mkdir()
    project_template.write(tmp_path / "churn", "churn", "sklearn")
    assert project_template.begin_history(tmp_path / "churn") == ""
    assert not (tmp_path / "churn" / ".git").exists()
