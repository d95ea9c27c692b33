"""Tracked runs: everything logged is there afterwards, also when the block raises or its process is killed."""

import hashlib
import itertools
import json
import math
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import rota
from rota.backends.memory_blobs import MemoryBlobs
from rota.backends.memory_metadata import MemoryMetadata
from rota.backends.sql_engine import open_engine
from rota.backends.sql_metadata import SqlMetadata
from rota.develop.tracking import Tracker
from rota.errors import InvalidInput, NotFound, Refused
from rota.manage.provenance import captured, installed_packages
from rota.records.run import ExperimentRun
from rota.testing.clock import FakeClock

NOON_US = 1_373_889_600_000_000


class Store(MemoryMetadata):
    """A metadata store that counts its commits."""

    def __init__(self):
        super().__init__()
        self.commits = 0

    def commit(self, batch):
        self.commits += 1
        super().commit(batch)


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def clock():
    return FakeClock(NOON_US)


@pytest.fixture
def tracker(store, clock):
    return Tracker(store, MemoryBlobs(), clock, new_id=map("run{}".format, itertools.count(1)).__next__)


def stored(store, identity="run1"):
    return store.get(ExperimentRun, identity)


def test_a_finished_run_holds_what_was_logged(tracker, store, clock):
    with tracker.run("late-flights", "deeper trees") as run:
        run.log_params({"depth": 8}, rate=0.1)
        run.log_metric("log_loss", 0.48)
        run.log_metrics({"log_loss": 0.46, "auc": 0.75})
        run.set_tag("idea", "more depth")
        clock.advance(NOON_US + 60_000_000)
    found = stored(store)
    assert (found.experiment, found.name, found.status) == ("late-flights", "deeper trees", "finished")
    assert (found.started_us, found.ended_us) == (NOON_US, NOON_US + 60_000_000)
    assert found.parameters == {"depth": 8, "rate": 0.1}
    assert found.metrics == {"log_loss": 0.46, "auc": 0.75}
    assert found.tags == {"idea": "more depth"}


def test_a_run_is_there_as_running_before_anything_is_logged(tracker, store):
    with tracker.run("e"):
        assert stored(store).status == "running"
        assert stored(store).name == "run1"


def test_runs_of_an_experiment_are_found_in_order(tracker, store, clock):
    for _ in range(3):
        with tracker.run("e"):
            clock.advance(clock.now_us() + 1)
    assert [run.id for run in store.find(ExperimentRun, {"experiment": "e"}, order="-started_us")] == ["run3", "run2", "run1"]


@pytest.mark.parametrize("error", [ValueError("no convergence"), KeyboardInterrupt()])
def test_a_block_that_raises_ends_as_failed_and_the_error_goes_on(tracker, store, error):
    with pytest.raises(type(error)):
        broken(tracker, error)
    found = stored(store)
    assert found.status == "failed"
    assert found.tags["error"].startswith(type(error).__name__)
    assert found.metrics == {"loss": 3.0}
    assert found.ended_us == NOON_US


def broken(tracker, error):
    with tracker.run("e") as run:
        run.log_metric("loss", 3.0)
        raise error


def test_nothing_is_logged_into_an_ended_run(tracker):
    with tracker.run("e") as run:
        pass
    for log in (lambda: run.log_metric("auc", 1.0), lambda: run.log_params(a=1), lambda: run.log_artifact("a", b""), lambda: run.end("failed")):
        with pytest.raises(Refused, match="'run1' has finished"):
            log()


def test_a_run_may_be_ended_inside_its_block(tracker, store):
    with tracker.run("e") as run:
        run.end("failed")
    assert stored(store).status == "failed"


def test_fast_logging_is_stored_seldom_and_completely(store, clock):
    with Tracker(store, MemoryBlobs(), clock, flush_s=60, new_id=lambda: "run1").run("e") as run:
        for step in range(5_000):
            run.log_metric("loss", 1 / (step + 1))
        assert store.commits < 5
    assert stored(store).metrics == {"loss": 1 / 5_000}


def test_a_value_is_stored_soon_though_nothing_follows_it(store, clock):
    with Tracker(store, MemoryBlobs(), clock, flush_s=0.05, new_id=lambda: "run1").run("e") as run:
        run.log_metric("first", 1.0)
        run.log_metric("second", 2.0)
        assert eventually(lambda: stored(store).metrics == {"first": 1.0, "second": 2.0})
        assert stored(store).status == "running"


def test_threads_log_into_one_run_without_losing_each_other(tracker, store):
    with tracker.run("e") as run:
        threads = [
            threading.Thread(target=lambda worker=worker: [run.log_metric(f"m{worker}.{i}", float(i)) for i in range(50)]) for worker in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(stored(store).metrics) == 400


def test_an_artifact_is_kept_with_its_lineage(tracker, store, tmp_path):
    (tmp_path / "notes.txt").write_bytes(b"from a file")
    with tracker.run("e") as run:
        digest = run.log_artifact("plot.svg", b"<svg/>")
        assert stored(store).tags == {"artifact.plot.svg": digest}, "an artifact is stored when log_artifact returns"
        from_file = run.log_artifact(tmp_path / "notes.txt")
    assert digest == hashlib.sha256(b"<svg/>").hexdigest()
    assert tracker.blobs.get(digest) == b"<svg/>"
    assert tracker.blobs.get(from_file) == b"from a file"
    assert stored(store).tags["artifact.notes.txt"] == from_file
    assert {edge.effect for edge in store.edges(["experiment_run:run1"], "effects")} == {f"blob:{digest}", f"blob:{from_file}"}


def test_an_artifact_without_bytes_or_file_is_named(tracker, tmp_path):
    with pytest.raises(NotFound, match=r"there is no file .*missing\.png"), tracker.run("e") as run:
        run.log_artifact(tmp_path / "missing.png")


def test_foreign_values_become_what_json_can_hold(tracker, store):
    with tracker.run("e") as run:
        run.log_params(missing=math.nan, kind=np.float32, path=tracker, nested={"a": [1, 2.5, None]}, flag=True)
        run.log_metrics({"auc": np.float32(0.5), "n": np.int64(3)})
    found = stored(store)
    assert found.parameters["missing"] == "nan"
    assert found.parameters["kind"] == "<class 'numpy.float32'>"
    assert found.parameters["nested"] == {"a": [1, 2.5, None]}
    assert found.parameters["flag"] is True
    assert found.metrics == {"auc": 0.5, "n": 3.0}


def test_a_metric_that_is_no_number_to_compare_by_becomes_a_tag(tracker, store):
    with tracker.run("e") as run:
        run.log_metrics({"auc": 0.7, "loss": math.inf})
        run.log_metric("auc", math.nan)
    assert stored(store).metrics == {"auc": 0.7}
    assert stored(store).tags == {"metric.loss": "inf", "metric.auc": "nan"}


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 251, 7, None])
def test_a_name_that_cannot_be_shown_is_refused(tracker, name):
    with tracker.run("e") as run, pytest.raises(InvalidInput, match="cannot name a parameter"):
        run.log_metrics({name: 1.0})


def test_a_metric_that_is_no_number_is_refused(tracker):
    with tracker.run("e") as run, pytest.raises(InvalidInput, match="metric 'auc': 'high' is no number"):
        run.log_metric("auc", "high")


@pytest.mark.parametrize("experiment", ["", "../up", "a b", "x" * 200])
def test_an_experiment_has_a_safe_name(tracker, store, experiment):
    with pytest.raises(InvalidInput, match="experiment name"), tracker.run(experiment):
        pass
    assert store.commits == 0


def test_where_a_run_comes_from_is_captured_without_asking(tracker, store, tmp_path):
    with tracker.run("e", seeds=[7, 11], directory=tmp_path, command=["train.py", "--depth", "8"]):
        pass
    source = stored(store).source
    assert (source["script"], source["command"], source["seeds"]) == ("train.py", "train.py --depth 8", "7, 11")
    assert source["python"] == ".".join(map(str, sys.version_info[:3]))
    packages = tracker.blobs.get(source["packages"]).decode().splitlines()
    assert any(line.startswith("msgspec==") for line in packages)
    assert packages == sorted(packages)
    assert (source["commit"], source["dirty"]) == ("", "unknown")


def test_equal_environments_have_equal_digests():
    assert installed_packages() == installed_packages()


def test_the_commit_is_captured_and_whether_files_differ_from_it(tmp_path):
    git(tmp_path, "init", "--quiet")
    (tmp_path / "train.py").write_text("pass\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    clean = captured(tmp_path, [])
    assert len(clean["commit"]) == 40
    assert clean["dirty"] == "no"
    (tmp_path / "train.py").write_text("changed\n")
    assert captured(tmp_path, []) == {**clean, "dirty": "yes"}


def test_a_repository_without_a_commit_does_not_keep_a_run_from_being_tracked(tmp_path):
    git(tmp_path, "init", "--quiet")
    assert captured(tmp_path, [])["commit"] == ""


def git(folder, *arguments):
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, "-C", str(folder), *arguments], check=True)


def test_track_keeps_runs_in_the_home_of_the_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROTA_HOME", "house")
    with rota.track("tuning", seeds=[1]) as run:
        run.log_metric("auc", 0.7)
        with rota.track("tuning", "inner") as inner:
            inner.log_artifact("a.bin", b"a" * 1_000_000)
    assert in_home(tmp_path / "house", run.id).metrics == {"auc": 0.7}
    assert in_home(tmp_path / "house", inner.id).status == "finished"
    with rota.track("tuning", home=tmp_path / "other") as other:
        pass
    assert in_home(tmp_path / "other", other.id).status == "finished"


CHILD = """
import time, rota
with rota.track("tuning", "killed", seeds=[7]) as run:
    run.log_params(depth=8)
    run.log_metric("auc", 0.7)
    digest = run.log_artifact("model.txt", b"weights")
    run.log_metric("loss", 0.5)
    run.log_metric("last", 0.4)
    print(run.id, digest, flush=True)
    time.sleep(600)
"""


def test_a_killed_process_leaves_its_run_with_what_it_had_logged(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", CHILD], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        identity, digest = child.stdout.readline().split()
        assert eventually(lambda: "last" in in_home(tmp_path / ".rota", identity).metrics), "a silent block's last values are stored by the timer"
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    found = in_home(tmp_path / ".rota", identity)
    assert (found.status, found.ended_us) == ("running", None)
    assert found.parameters == {"depth": 8}
    assert found.metrics == {"auc": 0.7, "loss": 0.5, "last": 0.4}
    assert found.tags == {"artifact.model.txt": digest}
    assert found.source["seeds"] == "7"
    assert len(json.dumps(found.source["packages"])) == 66


def in_home(home, identity):
    metadata = SqlMetadata(open_engine(home / "metadata.db"))
    try:
        return metadata.get(ExperimentRun, identity)
    finally:
        metadata.close()


def eventually(is_so, within_s=10.0):
    end = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
