"""Secrets come from the environment or from files and are seen nowhere else: not in logs, not in stores, not in answers."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rota.client import Client
from rota.errors import InvalidInput
from rota.settings import load
from rota.supervisor.processes import as_environment

HOOK = "https://hooks.invalid/services/hook-secret-4711"
KEY = "signing-key-secret-0815-signing-key-secret"


@pytest.mark.parametrize("name", ["metadata_url", "online_url", "alert_webhook", "signing_key"])
def test_a_secret_may_stand_in_a_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("redis://:pw@host/0-and-long-enough-for-a-signing-key\n")
    variable = f"ROTA_{name.upper()}"
    settings = load(tmp_path, {f"{variable}_FILE": str(tmp_path / "secret")})
    assert getattr(settings, name) == "redis://:pw@host/0-and-long-enough-for-a-signing-key"
    assert "pw" not in repr(settings)
    with pytest.raises(InvalidInput, match=f"{variable} and {variable}_FILE are both set"):
        load(tmp_path, {variable: "x", f"{variable}_FILE": str(tmp_path / "secret")})
    with pytest.raises(InvalidInput, match="cannot be read: No such file"):
        load(tmp_path, {f"{variable}_FILE": str(tmp_path / "none")})


def test_only_secrets_have_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="host_file"):
        load(tmp_path, {"ROTA_HOST_FILE": "x"})


def test_a_process_of_the_platform_gets_no_token_of_who_started_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hook").write_text(HOOK)
    for name, value in {"ROTA_TOKEN": "rota_mine", "ROTA_ALERT_WEBHOOK_FILE": str(tmp_path / "hook")}.items():
        monkeypatch.setenv(name, value)
    passed = as_environment(load(tmp_path, home=str(tmp_path)))
    assert not {"ROTA_TOKEN", "ROTA_ALERT_WEBHOOK_FILE"} & set(passed)
    assert load(tmp_path, passed).alert_webhook == HOOK


@pytest.fixture
def up(tmp_path: Path) -> Iterator[tuple[Path, Client]]:
    """A real platform whose secrets come from files, and everything that it said."""
    home, log = tmp_path / "home", tmp_path / "log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ROTA_")}
    for name, secret in (("ALERT_WEBHOOK", HOOK), ("SIGNING_KEY", KEY)):
        (tmp_path / name).write_text(secret)
        environment[f"ROTA_{name}_FILE"] = str(tmp_path / name)
    environment |= {"ROTA_HOME": str(home), "ROTA_CONTROL_PORT": "0", "ROTA_PREDICTION_PORT": "0", "ROTA_TOKEN": ""}
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "rota.cli", "up"], env=environment, stdout=output, stderr=output, cwd=tmp_path)
    client = Client(home, patience_s=120)
    try:
        until = time.monotonic() + 120
        while not (home / "ports.json").exists() and time.monotonic() < until:
            time.sleep(0.05)
        client.get("/v1/loop")
        yield home, client
    finally:
        client.close()
        process.send_signal(signal.SIGTERM)
        process.wait()


@pytest.mark.slow
def test_a_real_run_leaves_its_secrets_in_no_log_no_store_and_no_answer(up: tuple[Path, Client], tmp_path: Path) -> None:
    home, client = up
    made = client.post("/v1/tokens", {"holder": "ana", "role": "reviewer", "expires": "1d"})
    owner = (home / "token").read_text().strip()
    answers = json.dumps([client.get(path) for path in ("/v1/loop", "/v1/audit", "/v1/tokens", "/v1/whoami", "/v1/events", "/openapi.json")])
    status = subprocess.run(
        [sys.executable, "-m", "rota.cli", "--home", str(home), "status", "--json"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    answers += status.stdout + status.stderr
    hidden = [b"hook-secret-4711", KEY.encode(), made["secret"].encode(), owner.encode()]
    for secret in hidden:
        assert secret.decode() not in answers
        for file in home.rglob("*"):
            if file.is_file() and file.name not in ("token", "data.mdb", "lock.mdb"):
                assert secret not in file.read_bytes(), file
    said = (tmp_path / "log").read_bytes()
    for secret in hidden:
        assert secret not in said
