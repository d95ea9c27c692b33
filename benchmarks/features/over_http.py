"""Online features over HTTP: POST /get-online-features of a prediction process beside Feast's feature server on SQLite, same body.

    python benchmarks/features/over_http.py [--entities 30000] [--calls 3000] [--no-peer] [--json]

One caller on one kept connection, 3 views x 10 float features of 1 and of 100 entities; microseconds per request as the caller sees
them. Both servers run as one process of their own; an empty endpoint of ours (GET /v2/health/live) shows what HTTP itself costs.
The caller is a bare socket, so that its own time does not level the difference.
"""

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from online import LIMIT, PEER, engines, service
from peers.environment import python_of

from rota.settings import Settings
from rota.wiring import opened

HERE = Path(__file__).parent
START_S = 120
EMPTY, ROTA, FEAST = "Rota, empty endpoint", "Rota, POST /get-online-features", "Feast feature server, SQLite"


class Caller:
    """One kept connection; a call sends a whole request and reads a whole response."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __call__(self, request: bytes) -> bytes:
        self._socket.sendall(request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._received()
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(next(line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")))
        assert head.split()[1] == b"200", data[:1_000]
        while len(body) < length:
            body += self._received()
        return body

    def _received(self) -> bytes:
        data = self._socket.recv(1_000_000)
        assert data, "the server closed the connection"
        return data


def posted(rows: list[int]) -> bytes:
    references = [name.replace("__", ":") for name in service().feature_names]
    body = json.dumps({"features": references, "entities": {"driver": rows}, "full_feature_names": True}).encode()
    head = f"POST /get-online-features HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def measured(port: int, requests: list[bytes]) -> dict[str, float]:
    call = Caller(port)
    for request in requests[:50]:
        call(request)
    took = []
    for request in requests:
        began = time.perf_counter_ns()
        call(request)
        took.append(time.perf_counter_ns() - began)
    took.sort()
    return {"p50_us": took[len(took) // 2] / 1_000, "p99_us": took[len(took) * 99 // 100] / 1_000}


@contextmanager
def running(command: list[str], port: int, **variables: str) -> Iterator[int]:
    """A server of its own process, until it listens; ended by its id."""
    with subprocess.Popen(command, env={**os.environ, **variables}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + START_S
            while not listens(port):
                assert process.poll() is None, f"{command} ended"
                assert time.monotonic() < until, f"{command} does not listen"
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entities", type=int, default=30_000)
    parser.add_argument("--calls", type=int, default=3_000)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    draw = random.Random(11)
    asked = {rows: [posted([draw.randrange(options.entities) for _ in range(rows)]) for _ in range(options.calls // rows + 50)] for rows in (1, 100)}
    empty = [b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"] * options.calls
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as other:
        with opened(Settings(home=Path(home))) as platform:
            assert LIMIT in engines(platform, service(), options.entities)
        rota = [str(Path(sys.executable).with_name("rota")), "serve"]
        ours = free_port()
        with running(rota, ours, ROTA_HOME=home, ROTA_PREDICTION_PORT=str(ours)):
            found = json.loads(Caller(ours)(asked[1][0]))
            assert found["results"][30]["statuses"] == ["PRESENT"]
            results.append({"server": EMPTY, "rows": 0} | measured(ours, empty))
            results += [{"server": ROTA, "rows": rows} | measured(ours, requests) for rows, requests in asked.items()]
        if not options.no_peer:
            theirs = free_port()
            command = [str(python_of(PEER)), str(HERE / "peers" / "feast_server.py"), other, str(options.entities), str(theirs)]
            with running(command, theirs):
                names = json.loads(Caller(theirs)(asked[1][0]))["metadata"]["feature_names"]
                assert sorted(names) == sorted(found["metadata"]["feature_names"])
                results += [{"server": FEAST, "rows": rows} | measured(theirs, requests) for rows, requests in asked.items()]
    show(results, as_json=options.json)


def show(results: list[dict[str, Any]], *, as_json: bool) -> None:
    ours = {each["rows"]: each["p50_us"] for each in results if each["server"] != FEAST}
    for each in results:
        each["of_rota"] = each["p50_us"] / ours[each["rows"]]
        each["of_empty"] = each["p50_us"] / ours[0]
    if as_json:
        json.dump(results, sys.stdout, indent=1)
        return
    print(f"{'server':34}{'rows':>6}{'p50 us':>10}{'p99 us':>10}{'x Rota':>9}{'x empty':>9}")
    for each in results:
        print(f"{each['server']:34}{each['rows']:>6}{each['p50_us']:>10.0f}{each['p99_us']:>10.0f}{each['of_rota']:>9.2f}{each['of_empty']:>9.2f}")


if __name__ == "__main__":
    main()
