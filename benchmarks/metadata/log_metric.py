"""What `log_metric` costs its caller, and what is left of 100,000 calls when the process is killed -9 right after the last.

    python benchmarks/metadata/log_metric.py                             # 200,000 calls; MLflow 3.17.2 beside it
    python benchmarks/metadata/log_metric.py --small                     # 20,000 calls, 100 of MLflow's
    python benchmarks/metadata/log_metric.py --mlflow path/to/python     # an interpreter that has MLflow

Both are asynchronous calls: Rota's survives a kill of the process once it returned (memory-mapped spool), MLflow's
(synchronous=False) waits in the process's memory. The store is SQLite for both. The clock's own two calls are in all figures.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import rota
from rota.settings import Settings
from rota.wiring import opened

HERE = Path(__file__).parent
PEER = "mlflow==3.17.2"
KILLED = """
import os, signal, sys, rota
with rota.track("bench", home=sys.argv[1]) as run:
    print(run.id, flush=True)
    for step in range(int(sys.argv[2])):
        run.log_metric("loss", step, step=step)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=200_000)
    parser.add_argument("--peer-calls", type=int, default=500)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--mlflow", default="", help="interpreter with MLflow; otherwise one is made")
    asked = parser.parse_args()
    calls, peer_calls = (20_000, 100) if asked.small else (asked.calls, asked.peer_calls)
    with tempfile.TemporaryDirectory() as folder:
        ours = measured(folder, calls)
    with tempfile.TemporaryDirectory() as folder:
        theirs, flush_s, version = mlflow(asked.mlflow or environment(), folder, peer_calls)
    with tempfile.TemporaryDirectory() as folder:
        again = measured(folder, calls)
    for name, costs in (("rota", ours), (f"mlflow {version}, synchronous=False", theirs), ("rota again", again)):
        middle, slow, worst = statistics.median(costs) / 1e3, percentile(costs, 99) / 1e3, max(costs) / 1e3
        print(f"{name:36} median {middle:8.2f} us   p99 {slow:9.2f} us   worst {worst:10.1f} us")
    ratio = statistics.median(theirs) / max(statistics.median(ours), statistics.median(again))
    print(f"{'mlflow / rota (the slower), median':36} {ratio:8.0f}x   (mlflow's flush of {peer_calls}: {flush_s:.2f} s)")
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'killed -9 after the last of':36} {100_000:,} calls: {killed(folder, 100_000):,} lost")


def measured(folder: str, calls: int) -> list[int]:
    """Nanoseconds of each call, while the background thread stores."""
    with rota.track("bench", home=folder) as run:
        run.log_metric("loss", 0.0)
        log, clock, costs = run.log_metric, time.perf_counter_ns, [0] * calls
        for step in range(calls):
            begun = clock()
            log("loss", 0.5, step)
            costs[step] = clock() - begun
    return costs


def killed(folder: str, calls: int) -> int:
    """How many of the calls are not found after the process was killed and its spool drained."""
    done = subprocess.run([sys.executable, "-c", KILLED, folder, str(calls)], stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    with opened(Settings(home=Path(folder))) as platform:
        platform.housekeeping.run()
        found = platform.repositories.tracking.history(done.stdout.strip(), "loss", limit=2 * calls)
    return calls - len({point.step for point in found})


def mlflow(python: str, folder: str, calls: int) -> tuple[list[int], float, str]:
    command = [python, str(HERE / "peers" / "mlflow_log_metric.py"), str(calls), folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "GIT_PYTHON_REFRESH": "quiet"}, cwd=folder)
    if done.returncode:
        sys.exit(f"MLflow failed:\n{done.stderr[-2_000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return found["costs_ns"], found["flush_s"], found["version"]


def environment() -> str:
    made = subprocess.run(
        [sys.executable, str(HERE.parent / "features" / "peers" / "environment.py"), PEER], stdout=subprocess.PIPE, text=True, check=True
    )
    return made.stdout.strip().splitlines()[-1]


def percentile(costs: list[int], percent: int) -> float:
    return statistics.quantiles(costs, n=100)[percent - 1]


if __name__ == "__main__":
    main()
