"""What a killed program had logged is there: 0 lost, whenever it was killed, from threads and forked children too."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

import rota
import rota.wiring

pytestmark = pytest.mark.slow


def home_of(folder):
    return rota.wiring.opened(rota.Settings(home=folder / ".rota"))


class Child:
    """A program of its own that is killed with signal 9."""

    def __init__(self, program, folder):
        environment = {**os.environ, "PYTHONPATH": ""}
        self.process = subprocess.Popen([sys.executable, "-c", program], cwd=folder, stdout=subprocess.PIPE, text=True, env=environment)

    def line(self):
        return self.process.stdout.readline().strip()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()


HUNDRED_THOUSAND = """
import os, signal, rota
with rota.track("tuning", "killed", seeds=[7]) as run:
    run.log_params(depth=8)
    run.log_artifact("model.txt", b"weights")
    print(run.id, flush=True)
    for step in range(100_000):
        run.log_metric("loss", step, step=step)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_of_a_hundred_thousand_metrics_none_is_lost_when_the_process_is_killed_after_the_last(tmp_path):
    child = Child(HUNDRED_THOUSAND, tmp_path)
    identity = child.line()
    assert child.process.wait() == -signal.SIGKILL
    child.kill()
    with home_of(tmp_path) as platform:
        tracking = platform.repositories.tracking
        assert tracking.run(identity).status == "running"
        platform.housekeeping.run()
        points = tracking.history(identity, "loss", limit=200_000)
        found = tracking.run(identity)
    assert [(point.step, point.value) for point in points] == [(step, float(step)) for step in range(100_000)]
    assert (found.status, found.ended_us) == ("killed", max(found.ended_us, points[-1].at_us))
    assert (found.parameters, found.source["seeds"]) == ({"depth": "8"}, "7")
    assert list((tmp_path / ".rota" / "spool").iterdir()) == []


MARKING = """
import sys, rota
with rota.track("tuning") as run:
    print(run.id, flush=True)
    for step in range(10_000_000):
        run.log_metric("loss", step, step=step)
        run.log_metric("auc", -step, step=step)
        if step % 500 == 0:
            print(step, flush=True)
"""


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_what_was_logged_before_the_last_mark_is_there_whenever_the_process_is_killed(tmp_path, seed):
    child = Child(MARKING, tmp_path)
    identity, mark, until = child.line(), 0, 500 * random.Random(seed).randrange(10, 160)
    while mark < until:
        mark = int(child.line())
    child.process.send_signal(signal.SIGKILL)
    child.process.wait()
    rest = [line for line in child.process.stdout.read().split("\n") if line.endswith("00")]
    child.process.stdout.close()
    mark = max([mark, *map(int, rest)])
    with rota.track("next", home=tmp_path / ".rota") as after:  # which drains what others left
        tracking = after.repositories.tracking
        for key, sign in (("loss", 1), ("auc", -1)):
            points = tracking.history(identity, key, limit=10_000_000)
            assert len(points) >= mark
            assert [(point.step, point.value) for point in points] == [(step, float(sign * step)) for step in range(len(points))]
        assert tracking.run(identity).status == "killed"


FORKING = """
import os, sys, threading, time, rota
with rota.track("forked") as run:
    run.log_metric("before", 1.0)
    children = []
    for number in range(3):
        pid = os.fork()
        if pid == 0:
            for step in range(5_000):
                run.log_metric("child%d" % number, step, step=step)
            run.log_param("child%d" % number, "told")
            (lambda: os.kill(os.getpid(), 9), lambda: os._exit(0), lambda: sys.exit(0))[number]()
        children.append(pid)
    for step in range(5_000):
        run.log_metric("parent", step, step=step)
    for pid in children:
        os.waitpid(pid, 0)
    print(run.id, flush=True)
"""


def test_a_forked_child_logs_into_a_spool_of_its_own_and_the_run_stays_its_parents(tmp_path):
    done = subprocess.run([sys.executable, "-c", FORKING], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    with home_of(tmp_path) as platform:
        tracking = platform.repositories.tracking
        found = tracking.run(done.stdout.strip())
        assert found.status == "finished"
        assert found.parameters == {"child0": "told", "child1": "told", "child2": "told"}
        for key in ("child0", "child1", "child2", "parent"):
            assert [point.step for point in tracking.history(found.id, key)] == list(range(5_000)), key
        assert list((tmp_path / ".rota" / "spool").iterdir()) == []


ORPHAN = """
import os, sys, time, rota
with rota.track("forked") as run:
    run.log_metric("parent", 1.0)
    if os.fork() == 0:
        run.log_metric("child", 1.0)
        print(run.id, os.getpid(), flush=True)
        time.sleep(600)
    time.sleep(600)
"""


def test_a_parents_death_is_noticed_while_its_forked_child_lives(tmp_path):
    parent = Child(ORPHAN, tmp_path)
    identity, child = parent.line().split()
    parent.process.send_signal(signal.SIGKILL)
    parent.process.wait()
    try:
        with home_of(tmp_path) as platform:
            platform.housekeeping.run()
            assert platform.repositories.tracking.run(identity).status == "killed"
            assert "parent" in platform.repositories.tracking.run(identity).metrics
    finally:
        os.kill(int(child), signal.SIGKILL)
        parent.process.stdout.close()


WRITER = """
import sys, rota
with rota.track("together") as run:
    for step in range(20_000):
        run.log_metric("loss", step, step=step)
    print(run.id)
"""


@pytest.mark.slow
def test_processes_track_in_one_home_at_once(tmp_path):
    writers = [subprocess.Popen([sys.executable, "-c", WRITER], cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    found = [writer.communicate(timeout=300)[0].strip() for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    with home_of(tmp_path) as platform:
        tracking = platform.repositories.tracking
        for identity in found:
            assert [point.step for point in tracking.history(identity, "loss")] == list(range(20_000))
        assert len({tracking.run(identity).experiment for identity in found}) == 1


SILENT = """
import time, rota

with rota.track("quiet") as run:
    run.log_metric("auc", 0.7)
    print(run.id, flush=True)
    time.sleep(600)
"""


def test_a_silent_block_is_seen_while_it_works_and_terminated_it_ends_as_killed(tmp_path):
    child = Child(SILENT, tmp_path)
    identity = child.line()
    try:
        with home_of(tmp_path) as platform:
            tracking, end = platform.repositories.tracking, time.monotonic() + 60
            while tracking.run(identity).metrics != {"auc": 0.7}:
                assert time.monotonic() < end, "a value is stored soon though nothing follows it"
                time.sleep(0.02)
            assert tracking.run(identity).status == "running"
            child.process.terminate()
            assert child.process.wait(120) == 143
            assert tracking.run(identity).status == "killed"
    finally:
        child.kill()
