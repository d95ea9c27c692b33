"""Tracking in real processes that are killed while they write, and series that are long."""

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rota.backends.sql.metadata import SqlMetadata
from rota.backends.sql.tracking import SqlTracking
from rota.ports.tracking import Logged, Tracking
from rota.records.model import Alias
from rota.records.tracking import ExperimentRun, MetricPoint, RunInput

IMPORTS = """
import os, sys
from rota.backends.sql.engine import open_engine
from rota.backends.sql.tracking import SqlTracking
from rota.ports.metadata import Batch
from rota.ports.tracking import Logged
from rota.records.model import Alias
from rota.records.tracking import ExperimentRun, MetricPoint, RunInput, RunOutput

def batch(number):
    made = Batch()
    made.create(Alias("flights", f"a{number:06}", number, 0))
    return made

url, name = sys.argv[1:]
tracking = SqlTracking(open_engine(url))
os.write(1, b"ready\\n")
"""

LOG = """
for number in range(100_000):
    tracking.log(name, Logged(
        metrics=[MetricPoint(f"m{key}", float(number), number) for key in range(200)],
        parameters={f"p{number}": "x"}, tags={"last": str(number)}, inputs=[RunInput("d", str(number))]), batch(number))
    os.write(1, f"{number}\\n".encode())
"""

CREATE = """
for number in range(100_000):
    tracking.create_run(ExperimentRun(f"{name}{number:06}", "0", "", "running", number, latest=(MetricPoint("m", 1.0),),
        parameters={f"p{key}": "x" for key in range(20)}, tags={f"t{key}": "x" for key in range(20)}, outputs=(RunOutput("m-1"),)), batch(number))
    os.write(1, f"{number}\\n".encode())
"""

SHARED = """
sys.stdin.read(1)
for number in range(25):
    tracking.log("r1", Logged(metrics=[MetricPoint("shared", float(number), number, int(name))], parameters={f"{name}.{number}": "x"}))
    tracking.create_run(ExperimentRun(f"{name}.{number}", "0", "", "running", number))
"""

Start = Callable[[str, str], "subprocess.Popen[str]"]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/metadata.db" if request.param == "sqlite" else str(request.getfixturevalue("postgres_store"))


@pytest.fixture
def metadata(url: str) -> Iterator[SqlMetadata]:
    metadata = SqlMetadata(url)
    yield metadata
    metadata.close()


@pytest.fixture
def tracking(metadata: SqlMetadata) -> Tracking:
    tracking = SqlTracking(metadata.engine)
    tracking.create_run(ExperimentRun("r1", "0", "", "running", 0))
    return tracking


@pytest.fixture
def start(url: str, tracking: Tracking) -> Iterator[Start]:
    children: list[subprocess.Popen[str]] = []

    def begin(script: str, name: str) -> "subprocess.Popen[str]":
        child = subprocess.Popen([sys.executable, "-c", IMPORTS + script, url, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        children.append(child)
        return child

    yield begin
    for child in children:
        if child.poll() is None:
            child.kill()
        child.communicate()


def acknowledged(child: "subprocess.Popen[str]", after: int) -> int:
    """Kill -9 the child once it has acknowledged `after` writes, at no particular moment of the next; how many it acknowledged."""
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    lines = [child.stdout.readline() for _ in range(after)]
    time.sleep(random.uniform(0, 0.02))
    child.kill()
    lines += child.stdout.readlines()
    return len([line for line in lines if line.endswith("\n")])


@pytest.mark.parametrize("after", [1, 6])
def test_a_kill_while_logging_leaves_whole_batches_and_all_acknowledged_ones(
    start: Start, tracking: Tracking, metadata: SqlMetadata, after: int
) -> None:
    told = acknowledged(start(LOG, "r1"), after)
    run = tracking.run("r1")
    assert run is not None
    stored = len(run.parameters)
    assert stored - told in (0, 1)  # one more may be committed that was not yet acknowledged
    assert run.parameters.keys() == {f"p{number}" for number in range(stored)}
    assert run.tags == {"last": str(stored - 1)}
    assert run.inputs == tuple(RunInput("d", str(number)) for number in range(stored))
    assert run.metrics == {f"m{key}": float(stored - 1) for key in range(200)}
    expected = [float(number) for number in range(stored)]
    assert all([point.value for point in tracking.history("r1", f"m{key}")] == expected for key in range(200))
    assert [alias.number for alias in metadata.find(Alias)] == list(range(stored))


@pytest.mark.parametrize("after", [1, 12])
def test_a_kill_while_creating_runs_leaves_whole_runs(start: Start, tracking: Tracking, metadata: SqlMetadata, after: int) -> None:
    told = acknowledged(start(CREATE, "new"), after)
    stored = len(metadata.find(Alias))
    assert stored - told in (0, 1)
    for number in range(stored):
        run = tracking.run(f"new{number:06}")
        assert run is not None
        assert (len(run.parameters), len(run.tags), len(run.latest), len(run.outputs)) == (20, 20, 1, 1)
    assert tracking.run(f"new{stored:06}") is None


@pytest.mark.slow
def test_eight_processes_write_at_once_and_lose_nothing(start: Start, tracking: Tracking) -> None:
    children = [start(SHARED, str(number)) for number in range(8)]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("g")
        child.stdin.flush()
    assert [child.wait(300) for child in children] == [0] * 8
    run = tracking.run("r1")
    assert run is not None
    assert len(run.parameters) == 200
    assert len(tracking.history("r1", "shared")) == 200
    assert run.latest == (MetricPoint("shared", 24.0, 24, 7),)
    assert all(tracking.run(f"{writer}.{number}") for writer in range(8) for number in range(25))


def test_a_long_series_is_read_in_parts(tracking: Tracking) -> None:
    points = [MetricPoint("loss", 1 / (1 + step), step, step) for step in range(100_000)]
    for start in range(0, len(points), 10_000):
        tracking.log("r1", Logged(metrics=points[start : start + 10_000]))
    read: list[MetricPoint] = []
    while part := tracking.history("r1", "loss", start=len(read)):
        assert len(part) <= 25_000
        read += part
    assert read == points
