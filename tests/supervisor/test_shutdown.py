"""`rota down` ends what runs on its home and nothing else, and resets nobody's request."""

import json
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def stranger():
    """A process that has nothing to do with Rota."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1_000)"])
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("how", ["rota down", "SIGTERM"])
def test_nobodys_request_is_reset_by_the_end(platform, callers, how):
    up = platform(prediction_processes=2).serve_a_model().up()
    with callers(up.ports()["prediction"], threads=4, keep_alive=how == "SIGTERM") as calling:
        if how == "SIGTERM":
            up.process.send_signal(signal.SIGTERM)
        else:
            down = up.rota("down")
            assert down.returncode == 0, down.stderr
            assert "ended   supervisor, server, worker-0, serve-0, serve-1" in down.stdout
        assert up.process.wait(60) == 0
    assert calling.failures == []
    assert up.logged("child_killed") == []
    assert up.processes() == []
    again = up.rota("down")
    assert again.returncode == 1
    assert "no platform runs on" in again.stderr


def test_what_a_killed_supervisor_left_is_ended_too_and_nobodys_request_is_reset(platform, callers, kill):
    up = platform(prediction_processes=2).serve_a_model().up()
    kill(up.process.pid)
    up.process.wait()
    with callers(up.ports()["prediction"], keep_alive=False) as calling:
        down = up.rota("down", "--json")
        assert down.returncode == 0, down.stderr
    assert {"serve-0", "serve-1"} <= set(json.loads(down.stdout)["ended"])
    assert calling.failures == []
    assert up.processes() == []
    assert not (up.home / "ports.json").exists()


def test_a_number_in_a_file_ends_nobody(platform, stranger, kill):
    up = platform()
    up.home.mkdir(parents=True)
    (up.home / "up.lock").touch()
    (up.home / "ports.json").write_text(json.dumps({"control": 1, "prediction": 2, "pid": stranger.pid, "children": {"server": stranger.pid}}))
    down = up.rota("down")
    assert down.returncode == 1
    assert f"names pid {stranger.pid}, which is not the supervisor of this home; that process was left alone" in down.stderr
    assert stranger.poll() is None
    assert not (up.home / "ports.json").exists()


def test_a_forged_number_beside_a_running_platform_ends_the_platform_and_not_the_stranger(platform, stranger):
    up = platform().serve_a_model().up()
    (up.home / "ports.json").write_text(json.dumps(up.ports() | {"pid": stranger.pid, "children": {"serve-0": stranger.pid}}))
    down = up.rota("down")
    assert down.returncode == 0, down.stderr
    assert "left alone" in down.stderr
    assert up.process.wait(60) == 0
    assert stranger.poll() is None
    assert up.processes() == []


def test_twice_at_once(platform):
    up = platform().serve_a_model().up()
    command = [sys.executable, "-m", "rota.cli", "down"]
    both = [subprocess.Popen(command, env=up.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [each.communicate(timeout=120) for each in both]
    assert 0 in [each.returncode for each in both]
    assert all("is down" in out or "no platform runs on" in err for out, err in answers), answers
    assert up.processes() == []
