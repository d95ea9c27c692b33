"""Memory, start and rest of a prediction process that serves one converted forest, beside what its imports alone take.

    python benchmarks/serving/memory.py

Memory is read when a report has given freed memory back to the system; CPU of the start is that from the command to readiness.
"""

import sys
import tempfile
import time
from pathlib import Path

from one_row import bodies, cpu_s, load, made, memory_mb, release, serving, table, wait_ready

PORT = 18_100
IDLE_S = 20.0


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        home = Path(place) / "home"
        token, routes = made(home)
        release(home, {"converted": routes["converted"]})
        variables = {"ROTA_HOME": str(home), "ROTA_PREDICTION_PORT": str(PORT)}
        with serving([str(Path(sys.executable).with_name("rota")), "serve"], PORT, **variables) as pid:
            wait_ready(PORT)
            print(f"ready after {cpu_s(pid):.2f} s of CPU, RSS {memory_mb(pid)[0]}, PSS {memory_mb(pid)[1]} MB", flush=True)
            contents = bodies(table()[0], lambda row: {"rows": [row]})
            load(PORT, "/v1/endpoints/converted/predict", contents, token, connections=16, seconds=3)
            time.sleep(25)
            before = cpu_s(pid)
            time.sleep(IDLE_S)
            rss, pss = memory_mb(pid)
            print(f"after requests and a rest RSS {rss}, PSS {pss} MB; idle {(cpu_s(pid) - before) / IDLE_S:.2%} of a core")


if __name__ == "__main__":
    main()
