"""Compute: an answer belongs to its question, and nothing of a finished function goes on."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rota.backends.inline_compute import InlineCompute
from rota.backends.local_processes import LocalProcesses
from rota.errors import Interrupted, Refused, Unavailable

STEPS = """
import ctypes, os, signal, socket, subprocess, sys, threading, time
from pathlib import Path

def echo(arguments): return arguments["value"]
def fork_and_return(arguments):
    pid = os.fork()
    return {"from": "parent" if pid else "child"}
def fork_and_raise(arguments):
    if os.fork() == 0:
        raise SystemExit(0) if arguments["exit"] else ValueError("the child's own")
    time.sleep(0.2)
    return "parent"
def fork_and_write(arguments):
    if os.fork() == 0:
        for descriptor in range(3, 60):
            try: os.write(descriptor, b'{"result": "forged"}\\n' * 10)
            except OSError: pass
        os._exit(0)
    os.wait()
    return "parent"
def fork_below_python(arguments):
    libc = ctypes.CDLL(None)
    return {"from": "parent" if libc.fork() else "child"}
def fill_the_disk(arguments):
    with open(arguments["file"], "wb", buffering=0) as file:
        while True: file.write(b"0" * 65_536)
def fill_the_disk_by_numpy(arguments):
    import numpy
    numpy.save(arguments["file"], numpy.zeros(8_000_000))
def fill_the_disk_and_hide_it(arguments):
    try: fill_the_disk(arguments)
    except OSError as error: raise RuntimeError("the model could not be written") from error
def ask_an_engine(arguments):
    from rota.errors import Unavailable
    raise Unavailable("the store does not answer")
def write_into_everything(arguments):
    for descriptor in range(3, 60):
        try: os.write(descriptor, b'{"result": "forged"}\\n' * 10)
        except OSError: pass
    return "written"
def close_everything(arguments):
    os.closerange(3, 60)
    time.sleep(600)
def leave_a_child(arguments):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    return child.pid
def leave_a_daemon(arguments):
    code = "import os, sys, time\\nif os.fork(): os._exit(0)\\nos.setsid()\\nif os.fork(): os._exit(0)\\n"
    code += "open(sys.argv[1], 'w').write(str(os.getpid()))\\n"
    subprocess.run([sys.executable, "-c", code + "time.sleep(600)", arguments["file"] + ".part"], check=True)
    while not Path(arguments["file"] + ".part").exists() or not Path(arguments["file"] + ".part").read_text(): time.sleep(0.01)
    os.rename(arguments["file"] + ".part", arguments["file"])
    if arguments.get("linger"): time.sleep(600)
    return int(Path(arguments["file"]).read_text())
def leave_a_thread(arguments):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    return os.getpid()
def huge(arguments): return "x" * arguments["size"]
def panic(arguments):
    class Panic(BaseException): pass
    raise Panic("a Rust library panicked")
def interrupt(arguments): raise KeyboardInterrupt
def deaf(arguments):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(arguments["file"]).write_text(str(os.getpid()))
    ctypes.PyDLL(None).sleep(600)
def tidy(arguments):
    def end(*_): Path(arguments["file"] + ".tidied").touch(); os._exit(0)
    signal.signal(signal.SIGTERM, end)
    Path(arguments["file"]).write_text(str(os.getpid()))
    time.sleep(600)
def killed(arguments): os.kill(os.getpid(), signal.SIGKILL)
def killed_with_its_keeper(arguments):
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)
"""


@pytest.fixture
def compute() -> Iterator[LocalProcesses]:
    processes = LocalProcesses()
    yield processes
    processes.close()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "answer_steps.py").write_text(STEPS)
    return tmp_path


@pytest.mark.parametrize("function", ["fill_the_disk", "fill_the_disk_by_numpy", "fill_the_disk_and_hide_it"])
def test_a_full_disk_says_nothing_of_the_function(compute, project, small_disk, function) -> None:
    with pytest.raises(Unavailable, match=f"answer_steps:{function} is to be run again: a disk is full") as raised:
        compute.run(f"answer_steps:{function}", {"file": str(small_disk / "model.npy")}, path=project)
    assert raised.value.facts["traceback"]


def test_an_engine_that_is_away_says_nothing_of_the_function(compute, project) -> None:
    for each in (compute, InlineCompute()):
        with pytest.raises(Unavailable, match=r"an engine did not answer .Unavailable: the store does not answer"):
            each.run("answer_steps:ask_an_engine", {}, path=project)
        with pytest.raises(Refused):
            each.run("answer_steps:echo", {}, path=project)


def until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def goes_on(compute: LocalProcesses, project: Path) -> None:
    """The next questions get their own answers."""
    for value in ("one", "two", "three"):
        assert compute.run("answer_steps:echo", {"value": value}, path=project) == value


@pytest.mark.parametrize("name", ["fork_and_return", "fork_below_python"])
def test_a_fork_that_returns_does_not_answer_the_next_question(compute: LocalProcesses, project: Path, name: str) -> None:
    assert compute.run(f"answer_steps:{name}", {}, path=project) == {"from": "parent"}
    goes_on(compute, project)


@pytest.mark.parametrize("leaves", [True, False])
def test_a_fork_that_raises_does_not_answer_either(compute: LocalProcesses, project: Path, leaves: bool) -> None:
    assert compute.run("answer_steps:fork_and_raise", {"exit": leaves}, path=project) == "parent"
    goes_on(compute, project)


def test_a_fork_has_no_channel_to_write_into(compute: LocalProcesses, project: Path) -> None:
    assert compute.run("answer_steps:fork_and_write", {}, path=project) == "parent"
    goes_on(compute, project)


@pytest.mark.parametrize("name", ["write_into_everything", "close_everything"])
def test_a_function_that_spoils_its_channel_is_named(compute: LocalProcesses, project: Path, name: str) -> None:
    with pytest.raises(Interrupted, match=f"answer_steps:{name} .*channel") as caught:
        compute.run(f"answer_steps:{name}", {}, path=project)
    assert caught.value.facts["cause"] == "garbled"
    goes_on(compute, project)


def test_what_a_finished_function_left_running_ends_with_it(compute: LocalProcesses, project: Path, tmp_path: Path) -> None:
    left = compute.run("answer_steps:leave_a_child", {}, path=project)
    assert gone(left)
    daemon = compute.run("answer_steps:leave_a_daemon", {"file": str(tmp_path / "pid")}, path=project)
    assert gone(daemon)
    goes_on(compute, project)


def test_threads_of_a_finished_function_end_with_its_process(compute: LocalProcesses, project: Path) -> None:
    assert gone(compute.run("answer_steps:leave_a_thread", {}, path=project))
    goes_on(compute, project)


def test_when_the_caller_is_killed_a_daemon_with_a_session_of_its_own_dies_too(project: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom rota.backends.local_processes import LocalProcesses\n"
        "LocalProcesses().run('answer_steps:leave_a_daemon', {'file': sys.argv[2], 'linger': True}, path=Path(sys.argv[1]))"
    )
    caller = psutil.Popen([sys.executable, "-c", code, str(project), str(tmp_path / "pid")])
    until((tmp_path / "pid").exists)
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    until(lambda: gone(int((tmp_path / "pid").read_text())))


@pytest.mark.parametrize(("name", "tidied"), [("tidy", True), ("deaf", False)])
def test_a_stopped_function_is_asked_to_end_and_then_made_to(compute: LocalProcesses, project: Path, tmp_path: Path, name: str, tidied: bool) -> None:
    file = tmp_path / "pid"
    with pytest.raises(Interrupted) as caught:
        compute.run(f"answer_steps:{name}", {"file": str(file)}, path=project, stopped=lambda: file.exists() and file.read_text() != "")
    assert caught.value.facts["cause"] == "stopped"
    assert gone(int(file.read_text()))
    assert (tmp_path / "pid.tidied").exists() is tidied
    goes_on(compute, project)


def test_an_answer_that_is_too_large_says_what_to_do(compute: LocalProcesses, project: Path) -> None:
    with pytest.raises(Refused, match=r"answer_steps:huge .* write bulk data to a file"):
        compute.run("answer_steps:huge", {"size": 64_000_001}, path=project)
    goes_on(compute, project)


@pytest.mark.parametrize(("name", "type_"), [("panic", "Panic"), ("interrupt", "KeyboardInterrupt")])
def test_an_exception_that_is_no_ordinary_one_is_refused_by_name(compute: LocalProcesses, project: Path, name: str, type_: str) -> None:
    with pytest.raises(Refused, match=type_):
        compute.run(f"answer_steps:{name}", {}, path=project)
    goes_on(compute, project)


@pytest.mark.parametrize("name", ["killed", "killed_with_its_keeper"])
def test_a_killed_process_says_what_may_have_killed_it(compute: LocalProcesses, project: Path, name: str) -> None:
    with pytest.raises(Interrupted, match=f"answer_steps:{name} died .*memory") as caught:
        compute.run(f"answer_steps:{name}", {}, path=project)
    assert caught.value.facts["cause"] == "died"
    goes_on(compute, project)


def test_threads_that_ask_at_once_each_get_their_own_answer(compute: LocalProcesses, project: Path) -> None:
    wrong = []

    def ask(name: str) -> None:
        for number in range(5):
            value = f"{name} {number} {os.getpid()}"
            if compute.run("answer_steps:echo", {"value": value}, path=project) != value:
                wrong.append(value)

    threads = [threading.Thread(target=ask, args=(f"thread {number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
