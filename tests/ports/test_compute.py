"""Compute: the law over every engine, and what only real processes can get wrong."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import psutil
import pytest

from rota.backends.inline_compute import InlineCompute
from rota.backends.local_processes import LocalProcesses
from rota.errors import Interrupted, Refused, Unavailable
from rota.testing.compute import ComputeContract


@pytest.fixture(scope="module")
def warm() -> Iterator[LocalProcesses]:
    processes = LocalProcesses()
    yield processes
    processes.close()


class TestLocalProcesses(ComputeContract):
    @pytest.fixture
    def compute(self, warm: LocalProcesses) -> LocalProcesses:
        return warm


class TestInlineCompute(ComputeContract):
    gaps: ClassVar = {
        "test_a_passed_timeout_ends_the_function": "a call in the own process cannot be ended",
        "test_a_dead_process_interrupts_and_the_next_run_works": "it would be the caller's own death",
    }
    deadly = frozenset({"test_a_dead_process_interrupts_and_the_next_run_works"})

    @pytest.fixture
    def compute(self) -> InlineCompute:
        return InlineCompute()


@pytest.fixture
def compute() -> Iterator[LocalProcesses]:
    processes = LocalProcesses()
    yield processes
    processes.close()


def test_a_child_without_work_ends_and_the_next_run_starts_another(tmp_path: Path) -> None:
    compute = LocalProcesses(idle_s=0.0)
    path = write(tmp_path / "code", "import os\ndef pid(_):\n    return os.getpid()\n")
    pid = compute.run("user_code:pid", {}, path=path)
    with suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(60)
    assert not psutil.pid_exists(pid)
    assert compute.run("user_code:pid", {}, path=path) != pid
    compute.close()


def write(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "user_code.py").write_text(text)
    return folder


def until(condition, seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


MEET = """
import os, time
from pathlib import Path
def meet(arguments):
    Path(arguments["folder"], str(os.getpid())).touch()
    while len(os.listdir(arguments["folder"])) < 2:
        time.sleep(0.01)
    return os.getpid()
"""
WHO = "import os\ndef who(arguments): return os.getpid()\n"
FAMILY = """
import subprocess, sys, time
from pathlib import Path
from typing import ClassVar
def family(arguments):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(arguments["file"]).write_text(str(child.pid))
    if arguments["linger"]:
        time.sleep(600)
    return child.pid
def busy(arguments):
    import ctypes, os
    Path(arguments["file"]).write_text(str(os.getpid()))
    ctypes.PyDLL(None).sleep(600)  # keeps the interpreter's lock
"""


def test_the_function_runs_in_another_process_that_stays_warm(compute: LocalProcesses, tmp_path: Path) -> None:
    project = write(tmp_path, WHO)
    first, second = (compute.run("user_code:who", {}, path=project) for _ in range(2))
    assert first == second != os.getpid()


def test_at_most_four_children_stay_and_the_least_used_ends_first(compute: LocalProcesses, tmp_path: Path) -> None:
    projects = [write(tmp_path / str(i), WHO) for i in range(5)]
    pids = [compute.run("user_code:who", {}, path=project) for project in projects]
    assert gone(pids[0])
    assert not any(gone(pid) for pid in pids[1:])


def test_two_runs_at_once_on_one_path_leave_one_child(compute: LocalProcesses, tmp_path: Path) -> None:
    project, met = write(tmp_path / "p", MEET), tmp_path / "met"
    met.mkdir()
    with ThreadPoolExecutor(2) as pool:
        pids = list(pool.map(lambda _: compute.run("user_code:meet", {"folder": str(met)}, path=project), range(2)))
    assert pids[0] != pids[1]
    assert until(lambda: sum(gone(pid) for pid in pids) == 1)


def test_a_thread_that_ends_does_not_take_its_warm_child_along(compute: LocalProcesses, tmp_path: Path) -> None:
    project = write(tmp_path, WHO)
    pids: list[int] = []
    starter = threading.Thread(target=lambda: pids.append(compute.run("user_code:who", {}, path=project)))
    starter.start()
    starter.join()
    assert compute.run("user_code:who", {}, path=project) == pids[0]


def test_a_child_killed_while_idle_is_replaced(compute: LocalProcesses, tmp_path: Path) -> None:
    project = write(tmp_path, WHO)
    pid = compute.run("user_code:who", {}, path=project)
    os.kill(pid, signal.SIGKILL)
    assert until(lambda: gone(pid))
    assert compute.run("user_code:who", {}, path=project) != pid


def test_a_timeout_ends_what_the_function_started(compute: LocalProcesses, tmp_path: Path) -> None:
    project, file = write(tmp_path / "p", FAMILY + WHO), tmp_path / "pid"
    compute.run("user_code:who", {}, path=project)  # the time-out is not for starting Python
    for timeout_s in (1.5, 6, 24, 96):  # a busy machine may need longer for the function to begin
        with pytest.raises(Interrupted, match=f"after {timeout_s:g} s".replace(".", r"\.")):
            compute.run("user_code:family", {"file": str(file), "linger": True}, path=project, timeout_s=timeout_s)
        if file.exists():
            break
    assert until(lambda: gone(int(file.read_text())))


def test_close_ends_running_and_idle_children_and_refuses_more(compute: LocalProcesses, tmp_path: Path) -> None:
    project, file = write(tmp_path / "p", FAMILY + WHO), tmp_path / "pid"
    idle = compute.run("user_code:who", {}, path=write(tmp_path / "q", WHO))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(compute.run, "user_code:family", {"file": str(file), "linger": True}, path=project)
        assert until(lambda: file.exists() and file.read_text())
        compute.close()
        with pytest.raises(Interrupted, match="SIGKILL"):
            running.result(timeout=60)
    assert until(lambda: gone(idle) and gone(int(file.read_text())))
    with pytest.raises(Refused, match="closed"):
        compute.run("user_code:who", {}, path=project)


CALL = """
import sys
from pathlib import Path
from typing import ClassVar
from rota.backends.local_processes import LocalProcesses
LocalProcesses().run(f"user_code:{sys.argv[1]}", {"file": sys.argv[3], "linger": True}, path=Path(sys.argv[2]))
"""


@pytest.mark.parametrize("function", ["family", "busy"])
def test_when_the_caller_is_killed_the_child_and_its_children_die_too(tmp_path: Path, function: str) -> None:
    project, file = write(tmp_path / "p", FAMILY), tmp_path / "pid"
    caller = subprocess.Popen([sys.executable, "-c", CALL, function, str(project), str(file)])
    assert until(lambda: file.exists() and file.read_text())
    running = [child.pid for child in psutil.Process(caller.pid).children(recursive=True)]
    os.kill(caller.pid, signal.SIGKILL)
    caller.wait()
    assert until(lambda: all(gone(pid) for pid in [*running, int(file.read_text())]))


def test_nothing_stays_open_after_many_runs(tmp_path: Path) -> None:
    project = write(tmp_path, WHO)
    before = psutil.Process().num_fds()
    for _ in range(3):
        processes = LocalProcesses()
        processes.run("user_code:who", {}, path=project)
        processes.close()
    assert psutil.Process().num_fds() == before


def test_an_interpreter_that_does_not_exist_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="/no/such/python"):
        LocalProcesses(python="/no/such/python").run("json:dumps", {})
