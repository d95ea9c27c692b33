"""MLflow's own client over HTTP: `rota server` beside `mlflow server`, both on SQLite and both synced at every commit.

    python benchmarks/metadata/mlflow_http.py                                # 100,000 runs in both stores
    python benchmarks/metadata/mlflow_http.py --small                        # 5,000 runs
    python benchmarks/metadata/mlflow_http.py --mlflow path/to/python        # an interpreter that has MLflow

One unmodified client of MLflow 3.17.2 sends each call in turn to four servers: Rota, MLflow as it sets its file up (a rollback
journal), MLflow with its file switched to a write-ahead log, and a stub that answers constants, which is what the client itself
costs. Rota's file is a write-ahead log with synchronous=FULL; every request to it carries a token that it looks up.
Both stores hold the same runs, written by bulk SQL, and answer the same searches; their answers are compared.
"""

import argparse
import http.client
import json
import os
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from peers.many_runs import PAGE, SEARCHES
from store import environment, filled

HERE = Path(__file__).parent
START_S = 180
BASE = "/api/2.0/mlflow"
ROTA, PLAIN, WAL, STUB = "Rota", "MLflow", "MLflow, WAL", "the client alone"
Measured = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--mlflow", default="", help="interpreter with MLflow; otherwise one is made")
    asked = parser.parse_args()
    count, rounds = (5_000, 20) if asked.small else (asked.runs, asked.rounds)
    python = str(Path(asked.mlflow or environment()).absolute())
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        home, plain, wal = (Path(name, each) for each in ("rota", "mlflow", "wal"))
        home.mkdir()
        plain.mkdir()
        filled(f"sqlite:///{home}/metadata.db", count)
        subprocess.run([python, str(HERE / "peers" / "mlflow_client.py"), "fill", str(count), str(plain)], check=True, env=clean(), cwd=plain)
        shutil.copytree(plain, wal)
        before = switched(wal / "mlflow.db")
        url, token, ours = stack.enter_context(rota(home))
        first, theirs = stack.enter_context(mlflow(python, plain))
        second, _ = stack.enter_context(mlflow(python, wal))
        constants = stack.enter_context(stub(recorded(url, token)))
        told = ask(python, token, rounds, [url, first, second, constants])
        show(told, count, before)
        for who, process in ((ROTA, ours), (PLAIN, theirs)):
            print(f"resident memory of {who}: {' + '.join(f'{mb:.0f}' for mb in memory_mb(process))} MB")


def show(told: Measured, count: int, before: str) -> None:
    print(f"MLflow {told['version']}, its journal mode {before}; {count:,} runs; milliseconds, median (95th percentile)")
    for name, measured in told["costs_s"].items():
        costs = dict(zip((ROTA, PLAIN, WAL, STUB), measured, strict=True))
        middle = {who: statistics.median(each) for who, each in costs.items()}
        beyond = {who: middle[who] - middle[STUB] for who in middle}
        ratios = ", ".join(f"{who} / Rota {middle[who] / middle[ROTA]:.1f}x ({_ratio(beyond[who], beyond[ROTA])})" for who in (PLAIN, WAL))
        print(f"{name}: {ratios}")
        print("    " + "   ".join(f"{who} {middle[who] * 1e3:.2f} ({ninety_fifth(each) * 1e3:.2f})" for who, each in costs.items()))
    equal = [name for name in SEARCHES if told["answers"][name][0] == told["answers"][name][1]]
    print(f"in brackets: without what the client itself costs; equal answers: {len(equal)} of {len(SEARCHES)} searches")


def _ratio(theirs: float, ours: float) -> str:
    return f"{theirs / ours:.1f}x" if ours > 0 else "not more than the client"


def ninety_fifth(costs: list[float]) -> float:
    return sorted(costs)[int(len(costs) * 0.95)]


def ask(python: str, token: str, rounds: int, urls: list[str]) -> Measured:
    """One client with one token, which MLflow's server ignores."""
    command = [python, str(HERE / "peers" / "mlflow_client.py"), "ask", str(rounds), *urls]
    done = subprocess.run(command, env=clean() | {"MLFLOW_TRACKING_TOKEN": token}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"the client failed:\n{done.stderr[-3_000:]}")
    found: Measured = json.loads(done.stdout.splitlines()[-1])
    return found


@contextmanager
def rota(home: Path) -> Iterator[tuple[str, str, int]]:
    port = free_port()
    env = {**clean(), "ROTA_HOME": str(home), "ROTA_CONTROL_PORT": str(port)}
    with served([sys.executable, "-m", "rota.cli", "server"], env, port, home) as process:
        yield f"http://127.0.0.1:{port}", (home / "token").read_text().strip(), process


@contextmanager
def mlflow(python: str, folder: Path) -> Iterator[tuple[str, int]]:
    port = free_port()
    store = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]
    command = [str(Path(python).with_name("mlflow")), "server", *store, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    env = {**clean(), "PATH": f"{Path(python).parent}:{os.environ['PATH']}"}
    with served(command, env, port, folder) as process:
        yield f"http://127.0.0.1:{port}", process


@contextmanager
def served(command: list[str], env: dict[str, str], port: int, folder: Path) -> Iterator[int]:
    """A server in a process group of its own, ended with its children."""
    said = folder / "server.log"
    with said.open("wb") as log, subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=log, start_new_session=True) as process:
        try:
            until = time.monotonic() + START_S
            while not answers(port):
                if process.poll() is not None or time.monotonic() > until:
                    sys.exit(f"{command[0]} did not start:\n{said.read_text()[-2_000:]}")
                time.sleep(0.1)
            yield process.pid
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(15)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def recorded(url: str, token: str) -> dict[str, bytes]:
    """Answers of Rota that the stub gives again, by path."""
    host = url.removeprefix("http://")

    def said(method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        connection = http.client.HTTPConnection(host, timeout=60)
        connection.request(method, f"{BASE}/{path}", json.dumps(body) if body is not None else None, {"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        return text

    text, order = next(iter(SEARCHES.values()))
    found = {"runs/search": said("POST", "runs/search", {"experiment_ids": ["bench"], "filter": text, "order_by": order, "max_results": PAGE})}
    run = json.loads(found["runs/search"])["runs"][0]["info"]["run_id"]
    found["experiments/get-by-name"] = said("GET", "experiments/get-by-name?experiment_name=bench")
    found["runs/get"] = said("GET", f"runs/get?run_id={run}")
    found["runs/create"] = json.dumps({"run": json.loads(found["runs/get"])["run"]}).encode()
    return {f"{BASE}/{path}": body for path, body in found.items()}


@contextmanager
def stub(constants: dict[str, bytes]) -> Iterator[str]:
    """A server that answers at once, whatever is asked."""

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            body = constants.get(self.path.partition("?")[0], b"{}")
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the name that http.server looks for

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()


def switched(file: Path) -> str:
    """Put MLflow's file into a write-ahead log, which it keeps; the mode that it was in."""
    connection = sqlite3.connect(file)
    before = connection.execute("PRAGMA journal_mode").fetchone()[0]
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    return str(before)


def memory_mb(process: int) -> list[float]:
    """Resident memory of a process and of everything in its group."""
    group = os.getpgid(process)
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if entry.name.isdigit() and os.getpgid(int(entry.name)) == group:
                line = next(line for line in (entry / "status").read_text().splitlines() if line.startswith("VmRSS"))
                found.append(int(line.split()[1]) / 1e3)
    return sorted(found, reverse=True)


def clean() -> dict[str, str]:
    """The environment without settings of either, and without either's reports to its makers."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "ROTA_", "PYTHON"))}
    return kept | {"MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
