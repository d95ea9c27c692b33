"""What an MLflow client did is Rota's own afterwards: runs, models, lineage, and a release that obeys the gate."""

import json
import subprocess
from typing import Any

import pytest

CHAMPION = """
import mlflow
client = mlflow.MlflowClient()
client.set_registered_model_alias("governed", "champion", "1")
print(client.get_model_version_by_alias("governed", "champion").version, mlflow.pyfunc.load_model("models:/governed@champion").metadata.run_id)
"""


def ask(compared: Any, program: str) -> "subprocess.CompletedProcess[str]":
    """A program of the client's environment against Rota."""
    return subprocess.run([str(compared.python), "-c", program], env=compared.served.env(), capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_a_run_that_a_client_tracked_is_shown_like_any_other(compared: Any) -> None:
    known = compared.rota["known"]
    shown = json.loads(compared.served.rota("runs", "show", known["fluent"], "--json"))
    assert (shown["name"], shown["status"], shown["experiment_name"]) == ("fluent", "finished", "first")
    assert shown["parameters"] == {"depth": "3", "rate": "0.1", "asynchronous": "yes"}
    assert {"loss": 0.25, "auc": 0.75}.items() <= shown["metrics"].items()
    assert known["fluent"] in compared.served.rota("runs", "search", "params.depth = '3' and metrics.loss < 0.3", "--json")
    child = json.loads(compared.served.rota("runs", "show", known["child"], "--json"))
    assert child["parent"] == known["parent"]


@pytest.mark.slow
def test_a_version_that_a_client_registered_leads_to_its_run(compared: Any) -> None:
    known = compared.rota["known"]
    shown = json.loads(compared.served.rota("models", "show", "iris@1", "--json"))["version"]
    assert (shown["experiment_run"], shown["tags"], shown["description"]) == (known["model_run"], {"checked": "yes"}, "the first")
    assert known["model_run"] in compared.served.rota("lineage", "causes", "model_version:iris@1", "--json")


@pytest.mark.slow
def test_a_client_makes_a_version_champion_once_somebody_has_approved_it(compared: Any) -> None:
    before = ask(compared, CHAMPION)
    assert before.returncode
    assert "PERMISSION_DENIED" in before.stderr
    compared.served.rota("models", "approve", "governed@1", "--reason", "looked at its trees")
    after = ask(compared, CHAMPION)
    assert after.stdout.split() == ["1", compared.rota["known"]["booster_run"]], after.stderr[-2_000:]
    assert json.loads(compared.served.rota("models", "show", "governed@champion", "--json"))["aliases"] == ["champion"]
    assert "through MLflow's API" in compared.served.rota("models", "alias", "history", "governed", "--json")


@pytest.mark.slow
def test_whatever_clients_did_the_audit_is_whole(compared: Any) -> None:
    assert "run.delete" in compared.served.rota("audit", "list", "--limit", "1000", "--json")
    compared.served.rota("audit", "verify")
