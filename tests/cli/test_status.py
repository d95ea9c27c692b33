"""`rota status` says how the platform is: of a running one what its control plane tells, else what the store knows, within 80 columns."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from rota import addresses
from rota.cli import show
from rota.manage.signals import platform_alerts
from rota.ports.metadata import Batch
from rota.records.backup import Backup
from rota.records.condition import Condition, ProcessReport
from rota.records.platform_state import PlatformState
from rota.records.record import plain
from rota.supervisor.troubles import Troubles

NOW_US = 1_373_889_600_000_000
WAY_OUT = "entries of predictions/delay cannot be carried into their table and wait in the journal: the bucket refuses this host; give its key back"
FIGURES = {"resident_bytes": 158e6, "connections": 2.0, "requests_in_flight": 0.0}
STATE = PlatformState(
    at_us=NOW_US,
    processes=(
        ProcessReport(
            "serve-0@web-1", "prediction process", "web-1", 14, 0, NOW_US - 4_000_000, figures={"resident_bytes": 158e6, "connections": 2.0}
        ),
        ProcessReport("serve-0@web-2", "prediction process", "web-2", 14_000, 0, NOW_US - 93_000_000),
        ProcessReport("worker-0@web-1", "worker", "web-1", 12, 0, NOW_US - 5_000_000, (Condition("thread:loop@web-1", "failed", "KeyError"),)),
    ),
    conditions=(
        Condition("backup", "degraded", "the backup failed"),
        Condition("journal:predictions/delay@web-1", "failed", WAY_OUT),
        Condition("thread:loop@web-1", "failed", "KeyError"),
    ),
    waiting_runs={"decisions": 0, "training": 3},
    oldest_waiting_s={"decisions": 0.0, "training": 200.0},
    finished_runs={"succeeded": 4, "failed": 1},
    journal_bytes={"predictions/delay": 12_345, "labels/delay": 0},
    journal_oldest_s={"predictions/delay": 7.0},
    online_behind_bytes={"orders": 2_000_000},
    disk_free_bytes=64_000_000_000,
    disk_total_bytes=270_000_000_000,
    home_bytes={"tables/": 1_200_000},
    last_backup=Backup("b1", "/var/backups/rota", NOW_US, "anna", "complete", ended_us=NOW_US - 3 * 3_600_000_000, size_bytes=1_200_000_000),
    unmeasured={"pushes": "Unavailable: the bucket does not answer"},
)


class Servers:
    """Both servers of a platform on one port, which answer what a test tells them to."""

    def __init__(self, home: Path) -> None:
        self.answers: dict[str, tuple[int, Mapping[str, Any]]] = {
            "/v1/platform": (200, plain(STATE)),
            "/v1/loop": (200, {"now_us": NOW_US, "now": "2013-07-15T12:00:00Z", "waiting": ["run train.1 queued"]}),
            "/readyz": (200, {"ready": True, "reasons": [], "warnings": []}),
            "/v2/health/ready": (200, {"ready": True}),
        }
        servers = self

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = servers.answers[self.path]
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        (home / "token").write_text("secret")
        (home / "token").chmod(0o600)
        port = self.server.server_address[1]
        children = {"server": 13, "worker-0": 12, "serve-0": 14}
        addresses.publish(home, {"control": port, "prediction": port, "pid": 11, "children": children})

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def servers(empty: Any) -> Iterator[Servers]:
    empty.path.mkdir(mode=0o700)
    running = Servers(empty.path)
    yield running
    running.close()


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show, "PIPED_WIDTH", 80)


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.usefixtures("narrow")
def test_it_tells_all_that_the_control_plane_knows_within_80_columns(empty: Any, servers: Servers) -> None:
    done = empty.rota("status")
    assert done.exit_code == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    for told in (
        "platform up, NOT WELL: 2 failed, 1 degraded",
        "supervisor pid 11",
        "server pid 13, has not reported yet",
        "worker-0@web-1 pid 12, heard 5 s ago",
        "serve-0@web-1 pid 14, heard 4 s ago, 158 MB, 2 connections",
        "serve-0@web-2 pid 14000, NO REPORT for 93 s",
        "queue training: 3 runs, oldest waits 3 min",
        "runs 4 succeeded, 1 failed",
        "journals predictions/delay: 12.3 kB, oldest 7 s",
        "online orders: 2.0 MB behind",
        "disk 64.0 GB of 270 GB are free; the home takes 1.2 MB",
        "last backup 3 h ago in /var/backups/rota, 1.2 GB",
        "not measured pushes: Unavailable: the bucket does not answer",
        f"failed journal:predictions/delay@web-1: {WAY_OUT}",
        "failed thread:loop@web-1: KeyError degraded backup: the backup failed",
        "waiting run train.1 queued",
    ):
        assert told in words(done.stdout), told


def test_as_json_it_is_whole(empty: Any, servers: Servers) -> None:
    found = json.loads(empty.rota("status", "--json").stdout)
    assert found["platform"] == json.loads(json.dumps(plain(STATE)))
    assert (found["up"], found["children"]["serve-0"], found["waiting"]) == (True, 14, ["run train.1 queued"])
    assert {each["subject"]: each["severity"] for each in found["alerts"]} == {
        "journal:predictions/delay@web-1": "critical",
        "thread:loop@web-1": "critical",
        "backup": "warning",
    }


def test_a_server_that_is_not_ready_says_why_and_warnings_are_shown(empty: Any, servers: Servers) -> None:
    servers.answers["/readyz"] = (
        503,
        {"ready": False, "reasons": [{"message": "no worker is heard of"}], "warnings": [{"message": "300 MB are free"}]},
    )
    servers.answers["/v2/health/ready"] = (200, {"ready": True, "warnings": ["the newest releases cannot be read"]})
    told = words(empty.rota("status").stdout)
    assert "no worker is heard of 300 MB are free" in told
    assert "the newest releases cannot be read" in told


def test_who_may_not_read_the_whole_platform_is_told_so_and_sees_the_rest(empty: Any, servers: Servers) -> None:
    servers.answers["/v1/platform"] = (403, {"error": "it is told to tokens that are not limited"})
    done = empty.rota("status")
    assert done.exit_code == 0
    assert "not known it is told to tokens that are not limited" in words(done.stdout)
    assert "supervisor pid 11" in words(done.stdout)
    assert "run train.1 queued" in words(done.stdout)


@pytest.fixture
def stored(home: Any) -> Any:
    """A home that is not up, with a report, an alert, a backup and what its supervisor wrote."""
    with home.open() as platform:
        now_us = platform.access.wall.now_us()
        batch = Batch()
        batch.put(ProcessReport("worker-0", "worker", "web-1", 12, 0, now_us - 600_000_000))
        batch.put(Backup("b1", "/var/backups", now_us - 7_300_000_000, "anna", "complete", ended_us=now_us - 7_300_000_000))
        platform.repositories.metadata.commit(batch)
        ill = Condition("journal:predictions", "failed", WAY_OUT)
        platform_alerts.settle(platform.repositories.metadata, [ill], actor="w", now_us=now_us)
    troubles = Troubles()
    troubles.seen("child:worker-0", "worker-0 was killed again and again", status="failed")
    troubles.write(home.path)
    return home


@pytest.mark.usefixtures("narrow")
def test_of_a_platform_that_is_down_it_tells_what_the_store_knows(stored: Any) -> None:
    done = stored.rota("status")
    told = words(done.stdout)
    assert done.exit_code == 1
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "NOT UP: no platform runs on" in told
    assert "What follows is what its store knows." in told
    assert "worker-0 pid 12, NO REPORT for 10 min" in told
    assert "last backup 2 h ago in /var/backups" in told
    assert f"failed journal:predictions: {WAY_OUT}" in told
    assert "failed child:worker-0: worker-0 was killed again and again" in told
    found = json.loads(stored.rota("status", "--json").stdout)
    assert (found["up"], found["platform"]["processes"][0]["process"]) == (False, "worker-0")


def test_a_control_plane_that_hangs_is_told_of_with_what_the_store_knows(stored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rota.cli.status.PATIENCE_S", 0.05)
    running, hangs = Servers(stored.path), threading.Event()
    running.answers["/readyz"] = _Held(hangs)  # type: ignore[assignment]
    done = stored.rota("status")
    hangs.set()
    running.close()
    assert done.exit_code == 1
    assert "NOT WELL: its control plane does not answer (timed out)" in words(done.stdout)
    assert "worker-0 pid 12, NO REPORT for 10 min" in words(done.stdout)


class _Held:
    """An answer that does not come before it is let go."""

    def __init__(self, go: threading.Event) -> None:
        self.go = go

    def __iter__(self) -> Iterator[Any]:
        self.go.wait(60)
        return iter((200, {"ready": True}))


def test_a_home_without_a_store_is_not_made(empty: Any) -> None:
    done = empty.rota("status")
    assert done.exit_code == 1
    assert "nothing is stored in" in done.stdout
    assert not empty.path.exists()


@pytest.mark.parametrize("harm", ["store", "supervisor", "ports"])
def test_what_cannot_be_read_is_told_and_hides_nothing_else(stored: Any, harm: str) -> None:
    files = {"store": stored.path / "metadata.db", "supervisor": stored.path / "run" / "supervisor.json", "ports": stored.path / "ports.json"}
    for file in stored.path.glob("metadata.db-*"):
        file.unlink()
    files[harm].write_bytes(b"{")
    done = stored.rota("status")
    assert done.exit_code == 1, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    told = words(done.stdout)
    expected: Mapping[str, Callable[[], bool]] = {
        "store": lambda: "the store cannot be read" in told and "child:worker-0" in told,
        "supervisor": lambda: "conditions:supervisor" in told and "journal:predictions" in told,
        "ports": lambda: "ports.json is damaged" in told and "journal:predictions" in told,
    }
    assert expected[harm](), told
