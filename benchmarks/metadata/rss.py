"""Resident memory of the control plane beside MLflow's server, after the same few requests, on an empty home.

    python benchmarks/metadata/rss.py [--requests 50] [--no-peer] [--json]

Each server runs as users start it, with one process that answers; MLflow's helper processes are counted too (its first process only
watches). Megabytes as /proc says at the end (RSS), and PSS, which shares what several processes share; Linux only.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_S = 120
PEER = Path(__file__).resolve().parents[2] / ".peers" / "mlflow3" / "bin" / "mlflow"  # `make peers` makes it
SEARCH = "/api/2.0/mlflow/experiments/search"


def memory_mb(root: int) -> tuple[float, float, int]:
    """RSS, PSS and the number of a process and all its descendants."""
    family = [root]
    for pid in family:
        family += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    rss = pss = 0
    for pid in family:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            rss += int(rest.split()[0]) if name == "Rss" else 0
            pss += int(rest.split()[0]) if name == "Pss" else 0
    return rss / 1_024, pss / 1_024, len(family)


@contextmanager
def running(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log, cwd=folder, start_new_session=True)
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def ask(url: str, token: str) -> None:
    request = urllib.request.Request(url, json.dumps({"max_results": 100}).encode(), {"Content-Type": "application/json"}, method="POST")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    urllib.request.urlopen(request, timeout=30).read()


def measured(base: str, token_file: Path | None, process: subprocess.Popen[bytes], requests: int) -> dict[str, float]:
    until = time.monotonic() + START_S
    while True:
        try:
            ask(base + SEARCH, token_file.read_text().strip() if token_file else "")
            break
        except (OSError, urllib.error.URLError):
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"{process.args} did not answer") from None
            time.sleep(0.1)
    token = token_file.read_text().strip() if token_file else ""
    for _ in range(requests):
        ask(base + SEARCH, token)
    rss, pss, processes = memory_mb(process.pid)
    return {"rss_mb": round(rss, 1), "pss_mb": round(pss, 1), "processes": processes}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def rota(requests: int, folder: Path) -> dict[str, float]:
    port = free_port()
    with running(
        [sys.executable, "-m", "rota.cli", "server"], {"ROTA_HOME": str(folder / "home"), "ROTA_CONTROL_PORT": str(port)}, folder
    ) as process:
        return measured(f"http://127.0.0.1:{port}", folder / "home" / "token", process, requests)


def mlflow(requests: int, folder: Path) -> dict[str, float]:
    port = free_port()
    command = [str(PEER), "server", "--port", str(port), "--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    with running([*command, "--artifacts-destination", str(folder / "artifacts")], {}, folder) as process:
        return measured(f"http://127.0.0.1:{port}", None, process, requests)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=50)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = {}
    for name, measure in (("Rota, rota server", rota), ("MLflow, mlflow server --workers 1", mlflow)):
        if measure is mlflow and (given.no_peer or not PEER.exists()):
            continue
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            found[name] = measure(given.requests, Path(folder))
    if given.json:
        print(json.dumps(found))
        return
    for name, each in found.items():
        print(f"{name:<36} {each['rss_mb']:7.1f} MB RSS  {each['pss_mb']:7.1f} MB PSS  {each['processes']} processes")
    if len(found) == 2:
        ours, theirs = (each["pss_mb"] for each in found.values())
        print(f"MLflow holds {theirs / ours:.1f} times as much (PSS)")


if __name__ == "__main__":
    main()
