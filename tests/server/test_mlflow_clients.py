"""Unmodified MLflow clients, each in an environment of its own, against a control plane on a socket."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

PEERS = Path.home() / ".cache" / "rota-peers"


@pytest.mark.slow
@pytest.mark.parametrize(("environment", "release"), [("mlflow2", "2.22.5"), ("mlflow3", "3.17.2")])
def test_an_unmodified_client_does_its_whole_work_here(owner: Any, root: Path, environment: str, release: str, tmp_path: Path) -> None:
    python = PEERS / environment / "bin" / "python"
    if not python.exists():
        message = (
            f"MLflow {release} is not installed; to run this test: uv venv {python.parents[1]} && uv pip install --python {python} mlflow=={release}"
        )
        if os.environ.get("REQUIRE_ENGINES"):
            pytest.fail(message)
        pytest.skip(message)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTHON"))}
    client = {
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{owner.port}",
        "MLFLOW_TRACKING_TOKEN": owner.headers["Authorization"].removeprefix("Bearer "),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GIT_PYTHON_REFRESH": "quiet",
    }
    steps = root / "tests" / "engines" / "mlflow_steps.py"
    done = subprocess.run([python, steps], env=clean | client, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-4_000:]
    assert done.stdout.count("passed") == 10
