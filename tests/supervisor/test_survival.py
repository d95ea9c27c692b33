"""A supervisor meets a full disk, no descriptors, logs that nobody reads, and a process that hangs: what runs goes on."""

import os
import resource
import subprocess
import sys
from contextlib import contextmanager, suppress

import psutil
import pytest

pytestmark = pytest.mark.slow


@contextmanager
def filled(folder):
    """Take all room that is left in a file system."""
    with (folder / "filling").open("wb") as file:
        for piece in (1_000_000, 4_096, 1):
            try:
                while True:
                    os.write(file.fileno(), b"x" * piece)
            except OSError:
                continue
    yield
    (folder / "filling").unlink()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system of its own can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_and_the_death_of_children_end_nothing_else(platform, callers, kill, eventually, small_disk):
    up = platform(prediction_processes=2, online_size_mb=16)
    up.home = small_disk / "home"
    up.settings["home"] = up.home
    up.serve_a_model().up()
    serving, dying = up.child("serve-0"), up.child("serve-1")
    with filled(small_disk):
        kill(dying)
        kill(up.child("server"))
        eventually(lambda: len(up.logged("child_died")) >= 2, "the supervisor saw both")
        kill(up.child("worker-0"))
        eventually(lambda: len(up.logged("child_died")) >= 3, "the supervisor goes on")
        eventually(lambda: any(each["condition"] == "supervisor:ports.json" for each in up.logged("condition")), "it says what is full")
        with callers(up.ports()["prediction"]) as calling:
            calling.more()
        assert up.process.poll() is None
        assert psutil.pid_exists(serving)
        lines = [each for each in up.logged("condition") if each["condition"] == "supervisor:ports.json"]
        assert len(lines) == 1, "once, however often it is tried"
    eventually(lambda: up.child("serve-1") not in (0, dying) and up.is_up(), "everything is back")
    eventually(lambda: up.conditions()["supervisor:ports.json"]["status"] == "well", "and well")


def test_no_descriptor_left_keeps_a_child_from_starting_and_nothing_else(platform, callers, kill, eventually):
    up = platform(prediction_processes=2).serve_a_model().up()
    supervisor = psutil.Process(up.process.pid)
    soft, hard = supervisor.rlimit(resource.RLIMIT_NOFILE)
    dying = up.child("serve-1")
    supervisor.rlimit(resource.RLIMIT_NOFILE, (3, hard))
    kill(dying)
    eventually(lambda: any("cannot be started" in each["message"] for each in up.logged("condition")), "it says so")
    with callers(up.ports()["prediction"]) as calling:
        calling.more()
    assert calling.failures == []
    supervisor.rlimit(resource.RLIMIT_NOFILE, (soft, hard))
    eventually(lambda: up.child("serve-1") not in (0, dying), "there is a new one")
    assert len([each for each in up.logged("condition") if each["condition"] == "child:serve-1" and each["status"] == "failed"]) == 1


def test_a_log_that_nobody_reads_stops_nobody(platform, callers, kill, eventually):
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 512)
    os.set_blocking(writing, True)
    up = platform().serve_a_model().up(stdout=writing, stderr=writing)
    os.close(writing)
    for name in ("serve-0", "server", "serve-0"):
        before = up.child(name)
        kill(before)
        eventually(lambda name=name, before=before: up.child(name) not in (0, before) and up.is_up(), "it is back")
    with callers(up.ports()["prediction"]) as calling:
        calling.more()
    assert calling.failures == []
    assert up.rota("down").returncode == 0
    assert up.process.wait(60) == 0
    os.close(reading)


def test_without_standard_streams_files_keep_their_content(platform, kill, eventually):
    up = platform().serve_a_model()
    shell = f"exec {sys.executable} -m rota.cli up <&- >&- 2>&-"
    up.process = subprocess.Popen(["sh", "-c", shell], env=up.environment, cwd=up.folder)
    eventually(up.is_up, "it is up")
    before = up.child("serve-0")
    kill(before)
    eventually(lambda: up.child("serve-0") not in (0, before) and up.is_up(), "it is back")
    assert (up.home / "up.lock").read_bytes() == b""


def test_a_crash_loop_is_a_condition_and_slows_down(platform, kill, eventually):
    up = platform().serve_a_model().up()
    for count in range(1, 4):
        pid = eventually(lambda: up.child("worker-0") if psutil.pid_exists(up.child("worker-0")) else 0, "it runs")
        kill(pid)
        eventually(lambda count=count: len(up.logged("child_died")) >= count, "it was seen")
    condition = eventually(lambda: (found := up.conditions()["child:worker-0"])["evidence"].get("deaths") == 3 and found, "it is written")
    assert condition["status"] in ("degraded", "failed")
    assert condition["evidence"]["exit"] == -9
    assert "was killed by SIGKILL" in condition["message"]
    eventually(lambda: up.conditions()["child:worker-0"]["status"] == "well", "it lives long enough to be well again")


HANG = """
import ctypes, rota.serve.predicting as predicting
libc = ctypes.PyDLL(None)  # keeps the interpreter's lock while it sleeps
original = predicting.PredictionCore.prepare
def prepare(self, endpoint, rows, *more, **options):
    if rows and rows[0].get("distance") == -1.0:
        libc.sleep(100_000)
    return original(self, endpoint, rows, *more, **options)
predicting.PredictionCore.prepare = prepare
"""


def test_a_process_that_hangs_is_told_of_killed_and_replaced_while_its_sibling_answers(platform, callers, eventually):
    up = platform(prediction_processes=2, hang_after_s=3).serve_a_model()
    (up.folder / "sitecustomize.py").write_text(f"import sys\nif 'serve' in sys.orig_argv:\n    exec({HANG!r})\n")
    os.environ["PYTHONPATH"] = str(up.folder)
    try:
        up.up()
    finally:
        del os.environ["PYTHONPATH"]
    before = {up.child("serve-0"), up.child("serve-1")}
    request = "import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]));"
    request += "c.request('POST', '/v1/endpoints/delay/predict', '{\"rows\": [{\"distance\": -1.0}]}'); c.getresponse()"
    with subprocess.Popen([sys.executable, "-c", request, str(up.ports()["prediction"])], stderr=subprocess.DEVNULL) as hanging:
        told = eventually(lambda: up.logged("child_hung"), "the watchdog saw it")[0]
        hanging.wait(60)
    assert "did not move for 3 s" in told["message"]
    assert "in prepare" in told["stack"]
    eventually(lambda: len({up.child("serve-0"), up.child("serve-1")} - before) == 1 and up.is_ready(), "one of them is new")
    assert any("hung" in line["message"] for line in up.logged("condition") if line["condition"] == f"child:{told['child']}")
    with callers(up.ports()["prediction"]) as calling:
        calling.more()
    assert calling.failures == []
