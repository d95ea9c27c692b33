"""A real worker process: decisions beside a training, cancel, and an end within seconds that loses and doubles nothing."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rota.durable.worker import cancel
from rota.records.condition import ProcessReport
from rota.records.run import Run
from rota.settings import load
from rota.wiring import Platform, open_platform

STEPS = """
import ctypes, os, signal, subprocess, sys, time
from pathlib import Path
def hang(arguments):
    if arguments["deaf"]:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with open(arguments["file"], "a") as file: file.write(f"{os.getpid()}\\n")
    if not Path(arguments["file"] + ".go").exists():
        ctypes.PyDLL(None).sleep(600)
    return "trained"
"""
WORKER = """
import sys, threading, signal, time
from pathlib import Path
from rota.supervisor import children, worker_threads
from rota.settings import load
from rota.wiring import Processes

worker_threads.REPORT_S = 0.2
folder = Path(sys.argv[1])

def train(context, arguments):
    context.step("before", lambda work: "done")
    return context.step("train", lambda work: platform[0].compute.run("hang_steps:hang", dict(arguments), path=folder, stopped=work.stopped))

def stuck(context, arguments):
    def work(work):
        (folder / "stuck").touch()
        if not (folder / "go").exists():
            time.sleep(600)
        return "done"
    return context.step("stuck", work)

def monitor(context, arguments):
    return context.step("judge", lambda work: "judged")

platform = []
def workflows(self):
    platform.append(self.platform)
    return {"train": train, "rollout": stuck, "monitor": monitor}
Processes.workflows = workflows
children.worker(load(home=folder / "home"), sys.argv[2])
"""


def until(condition, what: str = "") -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


class Desk:
    """A home, and worker processes on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self.platform: Platform = open_platform(load(home=folder / "home"))
        (folder / "hang_steps.py").write_text(STEPS)
        (folder / "worker.py").write_text(WORKER)

    def worker(self, name: str) -> subprocess.Popen[bytes]:
        self.processes.append(subprocess.Popen([sys.executable, str(self.folder / "worker.py"), str(self.folder), name]))
        return self.processes[-1]

    def submit(self, id: str, workflow: str, **arguments: object) -> None:
        now_us = self.platform.repositories.clock.now_us()
        assert self.platform.repositories.runs.submit(Run(id, workflow, id, arguments, now_us))

    def train(self, id: str, *, deaf: bool = False) -> Path:
        self.submit(id, "train", file=str(self.folder / id), deaf=deaf)
        return self.folder / id

    def run(self, id: str) -> Run:
        found = self.platform.repositories.runs.get(id)
        assert found is not None
        return found


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    for process in desk.processes:
        process.kill()
        process.wait()
    desk.platform.close()


def pids_of(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def family(pid: int) -> list[int]:
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


@pytest.mark.slow
def test_decisions_do_not_wait_for_a_training_and_a_cancelled_one_ends_with_its_processes(desk: Desk) -> None:
    desk.worker("w0")
    file = desk.train("t0", deaf=True)
    until(lambda: pids_of(file), "the training begins")
    desk.train("t1")  # waits for its turn
    desk.submit("m0", "monitor")
    until(lambda: desk.run("m0").status == "succeeded", "the monitor's run")
    assert (desk.run("t0").status, desk.run("t1").status) == ("running", "queued")
    running = family(pids_of(file)[0])
    assert len(running) == 2
    now_us = desk.platform.repositories.clock.now_us()
    began = time.monotonic()
    cancel(desk.platform.repositories.runs, "t0", actor="anna", reason="wrong data", now_us=now_us)
    until(lambda: all(gone(pid) for pid in running), "the processes end")
    assert time.monotonic() - began < 60
    assert (desk.run("t0").status, desk.run("t0").error) == ("cancelled", "cancelled by anna: wrong data")
    until(lambda: desk.run("t1").status == "running", "the next training has the lane")
    metadata = desk.platform.repositories.metadata
    until(lambda: (report := metadata.get(ProcessReport, "w0")) is not None and report.figures["executing_runs_training"] == 1, "the report")
    report = metadata.get(ProcessReport, "w0")
    assert report is not None
    assert (report.kind, report.conditions) == ("worker", ())


@pytest.mark.slow
@pytest.mark.parametrize("deaf", [False, True])
def test_a_worker_that_is_told_to_stop_is_gone_soon_and_the_next_goes_on(desk: Desk, deaf: bool) -> None:
    first = desk.worker("w0")
    file = desk.train("t0", deaf=deaf)
    until(lambda: pids_of(file), "the training begins")
    running = family(pids_of(file)[0])
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) == 0
    assert all(gone(pid) for pid in running)
    assert desk.run("t0").status == "parked"
    (desk.folder / "t0.go").touch()
    desk.worker("w1")
    until(lambda: desk.run("t0").status == "succeeded", "the next worker goes on")
    assert (desk.run("t0").result, desk.run("t0").attempts) == ("trained", 1)
    assert [(step.name, step.worker) for step in desk.platform.repositories.runs.journal("t0")] == [("before", "w0"), ("train", "w1")]


@pytest.mark.slow
def test_a_worker_whose_own_step_does_not_listen_is_gone_too(desk: Desk) -> None:
    first = desk.worker("w0")
    desk.submit("r0", "rollout")
    until((desk.folder / "stuck").exists, "the step begins")
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) == 0
    assert desk.run("r0").status == "parked"
    (desk.folder / "go").touch()
    desk.worker("w1")
    until(lambda: desk.run("r0").status == "succeeded", "the next worker goes on")
    assert [step.worker for step in desk.platform.repositories.runs.journal("r0")] == ["w1"]
