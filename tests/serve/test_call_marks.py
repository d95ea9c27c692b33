"""A version that ends its process is named by the successor, put out of service, and its endpoint falls back."""

import subprocess
import sys
import textwrap
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from rota.errors import Unavailable
from rota.manage.signals import alerts
from rota.ports.metadata import Batch
from rota.records.release import OutOfService, Route, Serving
from rota.serve import call_marks, model_ends
from rota.serve.call_marks import CallMarks, Limits, barred
from rota.serve.model_ends import ModelEnd
from rota.serve.predicting import PredictionCore
from rota.serve.release_cache import ReleaseCache
from rota.serve.release_poller import ReleasePoller

CRASHING = textwrap.dedent("""
    import ctypes, os, signal, sys, threading, time
    from pathlib import Path
    from types import SimpleNamespace
    from rota.manage.models.loading import LoadedModel
    from rota.records.release import Route
    from rota.serve.call_marks import CallMarks

    class Model:
        def __init__(self, act): self.act = act
        def predict(self, matrix): self.act()

    marks = CallMarks(Path(sys.argv[1]), "serve-0", lambda: int(sys.argv[3]))
    marks.start()
    def ask(number, act):
        route = Route("flights", number, "bundle%d" % number, "stable", 100)
        marks.marked(LoadedModel("", None, Model(act), None), route, "delay").predictor.predict(None)
    started = threading.Event()
    threading.Thread(target=ask, args=(1, lambda: (started.set(), time.sleep(600))), daemon=True).start()  # an innocent call under way
    started.wait()
    acts = {"segv": lambda: ctypes.string_at(8), "abort": os.abort}
    acts |= {"bus": lambda: os.kill(os.getpid(), signal.SIGBUS), "kill": lambda: os.kill(os.getpid(), 9)}
    ask(2, acts[sys.argv[2]])
""")


def crashed(folder: Path, how: str, at_us: int = 0) -> int:
    return subprocess.run(
        [sys.executable, "-c", CRASHING, str(folder), how, str(at_us)], check=False, timeout=300, stderr=subprocess.DEVNULL
    ).returncode


@pytest.mark.parametrize(("how", "signal", "cause"), [("segv", -11, "Segmentation fault"), ("abort", -6, "Aborted"), ("bus", -7, "Bus error")])
def test_the_successor_names_the_version_whose_call_a_signal_ended_and_no_other(tmp_path: Path, how: str, signal: int, cause: str) -> None:
    assert crashed(tmp_path, how) == signal
    assert CallMarks(tmp_path, "serve-0", lambda: 7, Limits(ends=1)).out_of_service() == {
        "bundle2": OutOfService("bundle2", "flights", 2, "delay", "serve-0", cause, 7)
    }


def test_a_process_killed_from_outside_blames_nobody(tmp_path: Path) -> None:
    assert crashed(tmp_path, "kill") == -9
    assert CallMarks(tmp_path, "serve-0", lambda: 7, Limits(ends=1)).out_of_service() == {}


def test_siblings_learn_of_it_and_one_crash_is_not_yet_enough(tmp_path: Path) -> None:
    sibling = CallMarks(tmp_path, "serve-1", lambda: 0)
    crashed(tmp_path, "segv")
    CallMarks(tmp_path, "serve-0", lambda: 1)
    assert sibling.out_of_service() == {}
    crashed(tmp_path, "segv")
    CallMarks(tmp_path, "serve-0", lambda: 2)
    assert list(sibling.out_of_service()) == ["bundle2"]


@pytest.mark.parametrize(("times", "out"), [((0,), False), ((0, 100), True), ((0, 101), False), ((0, 150, 200), True)])
def test_ends_count_together_within_a_time(times: tuple[int, ...], out: bool) -> None:
    ends = [ModelEnd("b", "flights", 2, "delay", "serve-0", "hung", at_us) for at_us in times]
    assert (list(barred(ends, Limits(2, 100))) == ["b"]) is out


class Endless:
    def __init__(self) -> None:
        self.left = threading.Event()

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        self.left.wait(60)
        return np.zeros(len(matrix))


def test_a_call_that_does_not_end_is_noted_and_ends_the_process(world, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(call_marks, "LOOK_S", 0.01)
    ended = threading.Event()
    marks = CallMarks(tmp_path, "serve-0", world.clock.now_us, Limits(ends=1, hung_s=0.02), end_process=ended.set)
    world.serve()
    loaded = world.core.served["delay"].stable
    endless = Endless()
    watch = threading.Thread(target=marks._watch, daemon=True)
    watch.start()
    marked = marks.marked(type(loaded.model)("", loaded.model.bundle, endless, loaded.model.transformer), loaded.route, "delay")
    call = threading.Thread(target=marked.predictor.predict, args=(np.zeros((1, 2)),))
    call.start()
    assert ended.wait(60)
    endless.left.set()
    call.join()
    (end,) = marks.out_of_service().values()
    assert (end.model, end.number, end.endpoint, end.cause) == ("flights", 1, "delay", "hung")


def test_without_a_call_under_way_the_watch_looks_seldom_and_misses_none_of_a_calls_time(world, tmp_path: Path) -> None:
    waits, ended = [], []
    marks = CallMarks(tmp_path, "serve-0", world.clock.now_us, Limits(ends=1, hung_s=60.0), end_process=lambda: ended.append(sum(waits)))

    class Stop:
        def wait(self, seconds: float) -> bool:
            waits.append(seconds)
            if len(waits) == 5:
                marks._set(marks._slot(), call_marks._names(world.route(1), "delay"))
            return len(waits) == 200

    marks._stop = Stop()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(call_marks.time, "monotonic", lambda: sum(waits))
        patched.setattr(call_marks.time, "monotonic_ns", lambda: int((sum(waits) - 9.0) * 1e9))  # the call began right after a look
        marks._watch()
    assert waits[:6] == [1.0, 10.0, 10.0, 10.0, 10.0, 1.0]
    assert ended == [41.0 - 9.0 + 61.0]


@pytest.fixture
def marks(world, tmp_path: Path):
    found = CallMarks(tmp_path, "host-0", world.clock.now_us, Limits(ends=1))
    source = replace(world.model_source, marks=found)
    world.poller = ReleasePoller(world.core, source, clock=world.clock, process="host-0", retry_s=0.0)
    return found


def end(marks: CallMarks, world, number: int) -> None:
    route = world.route(number)
    marks._note(model_ends.Called(route.bundle, "flights", number, "delay"), "Segmentation fault")


def answer(world) -> float:
    return world.core.predict("delay", [{"x": 1.0, "carrier": "UA"}]).predictions[0].answer


def test_an_endpoint_falls_back_to_the_version_before_and_an_alert_says_so(world, marks) -> None:
    world.serve(world.route(1))
    world.serve(world.route(2), revision=2)
    assert answer(world) == 202.0
    end(marks, world, 2)
    world.poller.poll()
    world.poller.poll()
    assert answer(world) == 102.0
    (serving,) = world.metadata.find(Serving)
    assert serving.error.startswith("revision 2: version 2 of model 'flights' is out of service on endpoint 'delay'")
    (alert,) = alerts.open_alerts(world.metadata, "")
    assert (alert.subject, alert.severity) == ("model:flights@2", "critical")
    world.serve(world.route(3), revision=3)
    assert answer(world) == 302.0


def test_a_canary_out_of_service_gives_its_share_to_the_stable_version(world, marks) -> None:
    world.serve(world.route(1, weight=0), world.route(2, role="canary", weight=100))
    assert answer(world) == 202.0
    end(marks, world, 2)
    world.poller.poll()
    assert answer(world) == 102.0
    assert [(route.number, route.weight) for route in world.core.served["delay"].release.routes] == [(1, 100)]


def test_where_nothing_is_left_the_endpoint_alone_is_away_and_says_why(world, marks) -> None:
    world.serve(world.route(1))
    world.serve(world.route(5), endpoint="other")
    end(marks, world, 1)
    world.poller.poll()
    assert sorted(world.core.served) == ["other"]
    assert "version 1 of model 'flights' is out of service" in world.poller.problems("delay")[0]


def test_all_machines_fall_back_by_the_record_and_a_return_counts_earlier_ends_no_more(world, marks, tmp_path) -> None:
    """Another home's process has no file that says so, only the record."""
    elsewhere = ReleasePoller(PredictionCore(world.journal, world.clock), world.model_source, clock=world.clock, process="other-0", retry_s=0.0)
    world.serve(world.route(1))
    world.serve(world.route(2), revision=2)
    end(marks, world, 2)
    world.poller.poll()
    elsewhere.poll()
    assert elsewhere._core.predict("delay", [{"x": 1.0, "carrier": "UA"}]).predictions[0].answer == 102.0
    (found,) = world.metadata.find(OutOfService)
    assert [event.subject for event in world.metadata.events(0) if event.kind == "version.withdrawn"] == ["flights@2"]
    batch = Batch()
    batch.put(msgspec.structs.replace(found, returned_us=world.clock.now_us()))
    world.metadata.commit(batch)
    world.poller.poll()
    assert answer(world) == 202.0
    world.clock.advance(world.clock.now_us() + 1)
    end(marks, world, 2)
    world.poller.poll()
    assert answer(world) == 102.0
    assert [each.returned_us for each in world.metadata.find(OutOfService)] == [None]


@pytest.mark.parametrize("keeps_blobs", [False, True])
def test_without_metadata_the_version_before_is_taken_from_disk(world, tmp_path, keeps_blobs) -> None:
    marks = CallMarks(tmp_path, "host-0", world.clock.now_us, Limits(ends=1))

    def started(metadata, blobs):
        cache = ReleaseCache(tmp_path / "serving", blobs, keeps_blobs=keeps_blobs)
        world.core = PredictionCore(world.journal, world.clock)
        source = replace(world.model_source, metadata=metadata, blobs=cache, marks=marks, cache=cache)
        world.poller = ReleasePoller(world.core, source, clock=world.clock, process="host-0", retry_s=0.0)
        return world.poller

    world.release(world.route(1))
    world.release(world.route(2), revision=2)
    running = started(metadata := Breakable(world.metadata), world.blobs)
    running.poll()
    assert answer(world) == 202.0
    metadata.away = True
    end(marks, world, 2)
    with pytest.raises(Unavailable):
        running.poll()
    assert answer(world) == 102.0
    successor = started(metadata, Breakable(world.blobs, away=keeps_blobs))
    with pytest.raises(Unavailable):
        successor.poll()
    assert answer(world) == 102.0
    metadata.away = False
    successor.poll()
    assert [each.number for each in world.metadata.find(OutOfService)] == [2]


@dataclass
class Breakable:
    """An engine that answers, or does not."""

    engine: object
    away: bool = False

    def __getattr__(self, name):
        if self.away:
            raise Unavailable("the server is away")
        return getattr(self.engine, name)


def test_a_process_killed_for_silence_blames_the_last_call_that_is_as_old_as_the_silence(tmp_path: Path, monkeypatch) -> None:
    marks = CallMarks(tmp_path, "serve-0", lambda: 7)
    now_s = [100.0]
    monkeypatch.setattr(call_marks.time, "monotonic_ns", lambda: int(now_s[0] * 1e9))
    assert model_ends.blame_hung(tmp_path, "serve-0", silent_s=20, now_us=1) is None
    gone_on = threading.Barrier(4)
    for number, at_s in ((1, 40.0), (2, 75.0), (3, 99.0)):  # one that waits for the interpreter, the one that holds it, one just begun
        now_s[0], begun = at_s, threading.Event()

        def call(number=number, begun=begun):
            with marks.calling(Route("flights", number, f"bundle{number}", "stable", 100), "delay"):
                begun.set()
                gone_on.wait(60)

        threading.Thread(target=call).start()
        assert begun.wait(60)
    now_s[0] = 100.0
    end = model_ends.blame_hung(tmp_path, "serve-0", silent_s=20, now_us=1)
    gone_on.wait(60)
    assert end == ModelEnd("bundle2", "flights", 2, "delay", "serve-0", "hung", 1)
    assert list(CallMarks(tmp_path, "serve-1", lambda: 7, Limits(ends=1)).out_of_service()) == ["bundle2"]
    assert model_ends.blame_hung(tmp_path, "serve-9", silent_s=20, now_us=1) is None


def test_a_successor_of_the_same_name_neither_ends_nor_loses_its_files_to_a_predecessor_that_is_still_leaving(tmp_path):
    """In a process of its own: a mapped file that is cut short ends whoever writes to it."""
    code = """
import sys, time
from pathlib import Path
from rota.records.release import Route
from rota.serve.call_marks import CallMarks
folder, route = Path(sys.argv[1]), Route("m", 1, "b" * 64, "stable", 100)
first = CallMarks(folder, "serve-0", lambda: 0)
first.start()
second = CallMarks(folder, "serve-0", lambda: 0)
second.start()
with first.calling(route, "e"):
    pass
first.close()
print(sorted(path.name for path in folder.iterdir()))
second.close()
print(sorted(path.name for path in folder.iterdir()))
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()) == (0, ["['serve-0.calling', 'serve-0.crash']", "[]"]), done.stderr
