"""A process of a home is known by what the kernel says of it, and by nothing that a file says."""

import fcntl
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from rota.supervisor.process_table import GENERATION, children_of, end, supervisor_of

SLEEP = "import signal, sys, time; 'worker' in sys.argv and signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(1_000)"


@contextmanager
def started(home, *words, **variables):
    """A process with a command line and an environment, which does nothing."""
    environment = {**os.environ, "ROTA_HOME": str(home), **variables}
    process = subprocess.Popen([sys.executable, "-c", SLEEP, *words], env=environment, stdout=subprocess.PIPE)
    process.stdout.readline()
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_children_of_this_home_are_found_and_others_are_not(tmp_path):
    mark = {GENERATION: "abc"}
    with (
        started(tmp_path, "rota.cli", "serve", "--name", "serve-0", **mark) as serving,
        started(tmp_path, "rota.cli", "worker", "--name", "worker-0", **mark) as working,
        started(tmp_path / "other", "rota.cli", "serve", "--name", "serve-0", **mark),
        started(tmp_path, "rota.cli", "serve", "--name", "serve-7"),  # by hand
        started(tmp_path, "rota.cli", "runs", "list", **mark),
        started(tmp_path, "somebody's", "serve", **mark),
    ):
        found = children_of(tmp_path)
        assert [(each.kind, each.name, each.pid, each.generation) for each in found] == [
            ("worker", "worker-0", working.pid, "abc"),
            ("serve", "serve-0", serving.pid, "abc"),
        ]
        assert end(found, within_s=2.0) == [found[0]]
        assert (serving.wait(60), working.wait(60)) == (-signal.SIGTERM, -signal.SIGKILL)
        for each in found:
            each.send(signal.SIGKILL)  # of one that is gone nothing happens
            each.close()


@pytest.mark.parametrize("holds", [True, False])
def test_the_supervisor_is_who_holds_the_lock(tmp_path, holds):
    lock = (tmp_path / "up.lock").open("a+")
    assert supervisor_of(tmp_path, [os.getpid()]) is None, "we are not looking for ourselves"
    if holds:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.set_inheritable(lock.fileno(), True)
    process = subprocess.Popen([sys.executable, "-c", SLEEP], pass_fds=[lock.fileno()] if holds else [])
    try:
        found = supervisor_of(tmp_path, [process.pid])
        assert (found.pid if found else None) == (process.pid if holds else None)
        if found:
            found.close()
    finally:
        process.kill()
        process.wait()
        lock.close()


@pytest.mark.parametrize(("words", "is_ours"), [(["/opt/bin/rota", "up"], True), (["-m", "rota.cli", "up"], True), (["tmpfiles", "--clean"], False)])
def test_the_supervisor_is_known_by_the_lock_on_its_home_too_and_not_taken_for_another_program(tmp_path, words, is_ours):
    lock_it = f"import fcntl, os; fcntl.flock(os.open({str(tmp_path)!r}, os.O_RDONLY), fcntl.LOCK_EX); {SLEEP}"
    process = subprocess.Popen([sys.executable, "-c", lock_it, *words], stdout=subprocess.PIPE)
    process.stdout.readline()
    try:
        found = supervisor_of(tmp_path)
        assert (found.pid if found else None) == (process.pid if is_ours else None)
        if found:
            found.close()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
