"""The examination of a home: each fault is made for real, named, and answered with what to do; a sound home is well."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

from rota import addresses, wiring
from rota.manage.signals import platform_alerts
from rota.manage.signals.platform_state import sizes
from rota.ports.metadata import Batch
from rota.records.condition import Condition
from rota.records.project import UseCase
from rota.records.signal import Event
from rota.records.tracking import Experiment
from rota.settings import Settings
from rota.supervisor.doctor import examine


@pytest.fixture
def home(told_home: Path, tmp_path: Path) -> Path:
    """A home with records, blobs and a table."""
    place = shutil.copytree(told_home, tmp_path / "home")
    place.chmod(0o700)
    with wiring.opened(settings(place)) as platform:
        platform.repositories.tables.append("sources/sales", pl.DataFrame({"id": [1, 2]}))
        platform.repositories.blobs.put(b"a model of many bytes" * 100)
        platform.access.owner_token.make()
    return place


def settings(home: Path, **changes: object) -> Settings:
    return Settings(home=home, **{"control_port": 0, "prediction_port": 0, **changes})  # type: ignore[arg-type]


def found(home: Path, *, deep: bool = False, **changes: object) -> dict[str, tuple[str, str]]:
    return {each.name: (each.status, each.message) for each in examine(settings(home, **changes), deep=deep)}


def ill(home: Path, **options: object) -> dict[str, tuple[str, str]]:
    return {name: what for name, what in found(home, **options).items() if what[0] != "well" and name != "processes"}  # type: ignore[arg-type]


@pytest.mark.parametrize("deep", [False, True])
def test_a_sound_home_is_well_and_is_not_changed(home: Path, deep: bool) -> None:
    before = sizes(home)
    assert ill(home, deep=deep) == {}
    assert found(home)["processes"][0] == "degraded", "nothing runs, which is worth saying"
    assert sizes(home) == before


def test_what_does_not_exist_is_said_and_not_made(tmp_path: Path) -> None:
    assert found(tmp_path / "none")["home"][0] == "failed"
    assert not (tmp_path / "none").exists()


def test_a_home_and_secrets_that_others_may_read(home: Path) -> None:
    home.chmod(0o755)
    (home / "token").chmod(0o644)
    said = ill(home)
    assert said["home"] == ("degraded", f"{home} has mode 0755, so others on this machine may enter it: `chmod 700 {home}`")
    assert (said["secret:token"][0], "`chmod 600" in said["secret:token"][1]) == ("failed", True)


def test_a_damaged_database_is_named_and_the_other_checks_go_on(home: Path) -> None:
    with closing(sqlite3.connect(home / "metadata.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with (home / "metadata.db").open("r+b") as file:
        file.seek(4_096 * 3)
        file.write(os.urandom(4_096 * 4))
    said = found(home)
    assert said["metadata"][0] == "failed" or any(name.startswith("examination") for name in said)
    assert said["disk"][0] == "well"


def test_an_audit_log_that_was_edited(home: Path) -> None:
    with closing(sqlite3.connect(home / "metadata.db")) as connection:
        connection.execute("DROP TRIGGER audit_no_update")
        connection.execute("UPDATE audit SET hash = 'edited' WHERE position = 1")
        connection.commit()
    assert ill(home)["audit log"][0] == "failed"


def test_a_blob_and_a_table_file_that_were_damaged(home: Path) -> None:
    blob = max((file for file in (home / "blobs").rglob("*") if file.is_file()), key=lambda file: file.stat().st_mtime)
    blob.chmod(0o600)
    with blob.open("r+b") as file:
        file.seek(10)
        file.write(b"X")
    parquet = next((home / "tables").rglob("*.parquet"))
    os.truncate(parquet, parquet.stat().st_size // 2)
    said = ill(home)
    assert (said["blobs"][0], "restore" in said["blobs"][1]) == ("failed", True)
    assert (said["tables"][0], "sources/sales" in said["tables"][1]) == ("failed", True)


def test_a_clock_that_lies_behind_what_was_stored(home: Path) -> None:
    with wiring.opened(settings(home)) as platform:
        batch = Batch()
        batch.event(Event("data.arrived", "sales", platform.repositories.clock.now_us() + 86_400_000_000, {"rows": 1}))
        platform.repositories.metadata.commit(batch)
    assert ill(home)["clock"][0] == "degraded"


def test_processes_that_are_published_and_gone_and_a_port_that_is_taken(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert ill(home, control_port=taken.getsockname()[1])["port:control_port"][0] == "failed"
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True)
    addresses.publish(home, {"control": 1, "prediction": 2, "pid": int(ended.stdout), "children": {}})
    assert found(home)["processes"] == ("degraded", "published as running and not there: supervisor; `rota up` starts what is missing")


def test_a_number_that_a_stranger_has_by_now_is_no_running_platform(home: Path) -> None:
    addresses.publish(home, {"control": 1, "prediction": 2, "pid": os.getpid(), "children": {"worker-0": os.getppid()}})
    assert found(home)["processes"] == ("degraded", "published as running and not there: supervisor, worker-0; `rota up` starts what is missing")


def test_a_store_of_an_older_layout_is_left_as_it_is(home: Path) -> None:
    with closing(sqlite3.connect(home / "metadata.db")) as connection:
        connection.execute("UPDATE rota_schema SET version = 3")
        connection.commit()
    status, message = ill(home)["metadata"]
    assert (status, "so its records were not examined" in message) == ("degraded", True)
    with closing(sqlite3.connect(home / "metadata.db")) as connection:
        assert connection.execute("SELECT version FROM rota_schema").fetchall() == [(3,)]
    assert [file.name for file in home.glob("metadata.db.*before*")] == []


def test_what_the_platform_found_wrong_itself_is_told_too(home: Path) -> None:
    with wiring.opened(settings(home)) as platform:
        r = platform.repositories
        platform_alerts.settle(r.metadata, [Condition("journal:predictions", "failed", "it cannot be drained")], actor="w", now_us=r.clock.now_us())
    assert ill(home)["alert:journal:predictions"] == ("failed", "it cannot be drained")


def test_the_command_ends_with_1_when_something_failed(home: Path) -> None:
    command = [sys.executable, "-m", "rota.cli", "--home", str(home), "doctor", "--json"]
    environment = {**os.environ, "ROTA_CONTROL_PORT": "0", "ROTA_PREDICTION_PORT": "0"}
    well = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert well.returncode == 0, well.stdout + well.stderr
    (home / "token").chmod(0o644)
    ill = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert ill.returncode == 1
    assert {each["name"] for each in json.loads(ill.stdout) if each["status"] == "failed"} == {"secret:token"}


def test_names_that_read_alike_are_named(home: Path) -> None:
    with wiring.opened(Settings(home=home)) as platform:
        batch = Batch()
        for name in ("twice", "Twice"):
            batch.put(UseCase(name, "tell", "money", "roc_auc"))
        platform.repositories.metadata.commit(batch)
        tracking = platform.repositories.tracking
        for number, name in enumerate(("trees", "TREES")):
            tracking.create_experiment(Experiment(f"{number}" * 18, name))
    status, message = found(home)["names"]
    assert status == "degraded"
    assert "a use case: 'Twice' and 'twice'" in message
    assert "an experiment: 'TREES' and 'trees'" in message
