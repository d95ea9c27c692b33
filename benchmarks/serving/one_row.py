"""What one prediction of one row costs over HTTP: CPU time of the server per request, beside a bare uvicorn echo and FastAPI by hand.

    python benchmarks/serving/one_row.py [--seconds 4] [--rounds 3] [--connections 16] [--only echo converted ...]

Every server is one process; 2,000 different rows are sent in turn over kept connections, servers in turns, median of the rounds. The model is one
pipeline (scaler and one-hot encoder before a forest of 100 trees, depth 12; ten columns of which three are texts) for all of them. CPU time is read
from /proc, so that what else runs on the machine moves a figure little; requests/s/core is its inverse.

    echo        uvicorn, raw ASGI, the body back
    fastapi     FastAPI by hand: a typed body, a DataFrame, predict_proba
    fastapi+0   the same with a model that costs nothing
    converted   Rota: the version's conversion, one row, log on
    split       the same with a canary of half the traffic
    native      Rota: the same version served by scikit-learn, as it is without a conversion
    lightgbm    Rota: LightGBM's C library on the same data
    constant    Rota: a model that costs next to nothing (a ridge regression, converted)
"""

import argparse
import asyncio
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightgbm
import msgspec
import numpy as np
import pandas as pd
import uvloop
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from rota.manage.adoption import registration
from rota.ports.metadata import Batch
from rota.records.model import ModelBundle
from rota.records.record import decode, encode
from rota.records.release import Endpoint, Release, Route
from rota.settings import Settings
from rota.wiring import Platform, opened

HERE = Path(__file__).parent
ROWS, BODIES = 20_000, 2_000
NUMBERS, TEXTS = [f"n{place}" for place in range(7)], ["cut", "color", "clarity"]
START_S = 120
OURS = ("converted", "split", "native", "lightgbm", "constant")
PEERS = ("echo", "fastapi", "fastapi+0")


def table() -> tuple[pd.DataFrame, np.ndarray]:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({name: random.normal(place, 1 + place, ROWS) for place, name in enumerate(NUMBERS)})
    for place, name in enumerate(TEXTS):
        frame[name] = random.choice([f"{name}-{each}" for each in range(5 + place)], ROWS)
    value = frame.n0 + frame.n1**2 / 3 + (frame.cut == "cut-1") * 2 - frame.n2 / 4 + random.normal(size=ROWS)
    return frame, (value > value.median()).astype(int).to_numpy()


def pipeline(model: Any) -> Pipeline:
    columns = ColumnTransformer([("numbers", StandardScaler(), NUMBERS), ("texts", OneHotEncoder(handle_unknown="ignore"), TEXTS)])
    return Pipeline([("columns", columns), ("model", model)])


def bodies(frame: pd.DataFrame, wrap: Any) -> list[bytes]:
    return [json.dumps(wrap(row)).encode() for row in frame[:BODIES].to_dict("records")]


def made(home: Path) -> tuple[str, dict[str, tuple[Route, ...]]]:
    """A home with the versions; returns the owner's token, and what each endpoint serves."""
    frame, target = table()
    forest = pipeline(RandomForestClassifier(100, max_depth=12, random_state=0, n_jobs=2)).fit(frame, target)
    coded = frame.assign(**{name: frame[name].astype("category") for name in TEXTS})
    boosted = lightgbm.LGBMClassifier(n_estimators=100, num_leaves=31, verbose=-1).fit(coded, target)
    with opened(Settings(home=home)) as platform:
        found = {
            "forest": register(platform, "forest", forest, frame),
            "boosted": register(platform, "boosted", boosted, frame),
            "ridge": register(platform, "ridge", pipeline(Ridge()).fit(frame, target), frame),
        }
        blobs = platform.repositories.blobs
        plain = blobs.put(encode(msgspec.structs.replace(decode(blobs.get(found["forest"]), ModelBundle), engine=None)))
        routes = {
            "converted": (Route("forest", 1, found["forest"], "stable", 100),),
            "split": (Route("forest", 1, found["forest"], "stable", 50), Route("boosted", 1, found["boosted"], "canary", 50)),
            "native": (Route("forest", 1, plain, "stable", 100),),
            "lightgbm": (Route("boosted", 1, found["boosted"], "stable", 100),),
            "constant": (Route("ridge", 1, found["ridge"], "stable", 100),),
        }
        platform.access.owner_token.make()
        (home / "forest.skops").write_bytes(blobs.get(decode(blobs.get(found["forest"]), ModelBundle).blob))
        platform.compute.close()
    return next(file.read_text().strip() for file in home.glob("*token*")), routes


def register(platform: Platform, name: str, model: Any, frame: pd.DataFrame) -> str:
    adopter = platform.models.adopter
    version = registration.register(adopter, name, registration.of_model(model, name, adopter, input_example=frame[:2_000]), actor="ana")
    assert version.bundle, version.unservable
    print(f"{name}: {version.engine.sentence if version.engine else 'no engine'}", flush=True)
    return version.bundle


@contextmanager
def serving(command: Sequence[str], port: int, **variables: str) -> Iterator[int]:
    """A server process that listens; its process id."""
    began = time.perf_counter()
    with subprocess.Popen(command, env={**os.environ, **variables}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            until = time.monotonic() + START_S
            while not listens(port):
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{command} does not listen: {(process.stderr.read() if process.stderr else b'').decode()[-2_000:]}")
                time.sleep(0.05)
            print(f"  listens after {time.perf_counter() - began:.1f} s", flush=True)
            yield process.pid
        finally:
            process.terminate()
            process.wait(30)


def listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


class Caller(asyncio.Protocol):
    """One kept connection, one request at a time."""

    def __init__(self, requests: list[bytes], first: int, until: float, latencies: list[float], done: "asyncio.Future[int]") -> None:
        self._requests, self._next, self._until, self._latencies, self._done = requests, first, until, latencies, done
        self._buffer, self._answered, self._sent = b"", 0, 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(error or RuntimeError("the server closed the connection"))

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._requests[self._next % len(self._requests)])
        self._next += 1

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        assert head.split(b" ", 2)[1] == b"200", self._buffer[:1_000]
        self._latencies.append(time.perf_counter() - self._sent)
        self._answered, self._buffer = self._answered + 1, b""
        if time.perf_counter() < self._until:
            self._send()
        elif not self._done.done():
            self._done.set_result(self._answered)
            self._transport.close()


def load(port: int, path: str, contents: list[bytes], token: str, *, connections: int, seconds: float) -> tuple[int, list[float]]:
    """Answered requests and their latencies."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer {token}\r\nContent-Length: "
    requests = [f"{head}{len(body)}\r\n\r\n".encode() + body for body in contents]

    async def run() -> tuple[int, list[float]]:
        loop, until = asyncio.get_running_loop(), time.perf_counter() + seconds
        futures, latencies = [], list[float]()
        for number in range(connections):
            done: asyncio.Future[int] = loop.create_future()
            await loop.create_connection(lambda done=done, number=number: Caller(requests, number * 97, until, latencies, done), "127.0.0.1", port)
            futures.append(done)
        return sum(await asyncio.gather(*futures)), latencies

    return uvloop.run(run())


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> tuple[int, int]:
    """RSS and PSS."""
    found = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return tuple(int(found[name].split()[0]) // 1024 for name in ("Rss", "Pss"))  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--only", nargs="*", default=[*PEERS, *OURS])
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        homes = {name: Path(place) / name for name in ("converted", "native")}
        token, routes = made(homes["converted"])
        shutil.copytree(homes["converted"], homes["native"])
        release(homes["converted"], {name: each for name, each in routes.items() if name != "native"})
        release(homes["native"], {"native": routes["native"]})
        found: dict[str, list[float]] = {}
        for _ in range(chosen.rounds):
            for name in chosen.only:
                found.setdefault(name, []).append(measured(name, homes["native" if name == "native" else "converted"], token, chosen))
        echo = statistics.median(found.get("echo", [float("nan")]))
        for name, each in found.items():
            cpu = statistics.median(each)
            print(f"{name:10} {cpu:9.1f} us CPU a request, {1e6 / cpu:8.0f} requests/s/core, {cpu / echo:6.2f}x the echo")


def release(home: Path, routes: Mapping[str, tuple[Route, ...]]) -> None:
    """Let the home serve these; a model that scikit-learn serves stands apart, for its library would count as the others' memory."""
    with opened(Settings(home=home)) as platform:
        batch = Batch()
        for name, each in routes.items():
            batch.put(Endpoint(name, each[0].model))
            batch.put(Release(name, 1, each, "", platform.repositories.clock.now_us()))
        platform.repositories.metadata.commit(batch)
        platform.compute.close()


def measured(name: str, home: Path, token: str, chosen: argparse.Namespace) -> float:
    """CPU microseconds a request of one server, in one round."""
    ours, port = name in OURS, 18_000 + [*PEERS, *OURS].index(name)
    peer = [sys.executable, str(HERE / "peers.py"), name, str(port), str(home)]
    command = [str(Path(sys.executable).with_name("rota")), "serve"] if ours else peer
    variables = {"ROTA_HOME": str(home), "ROTA_PREDICTION_PORT": str(port), "ROTA_PREDICT_TIMEOUT_S": "60"} if ours else {}
    contents = bodies(table()[0], (lambda row: {"rows": [row]}) if ours else (lambda row: row))
    with serving(command, port, **variables) as pid:
        path = f"/v1/endpoints/{name}/predict" if ours else "/predict"
        options = {"connections": chosen.connections, "token": token}
        if ours:
            wait_ready(port)
        load(port, path, contents, seconds=0.5, **options)
        before, began = cpu_s(pid), time.perf_counter()
        answered, latencies = load(port, path, contents, seconds=chosen.seconds, **options)
        took, cpu = time.perf_counter() - began, (cpu_s(pid) - before) / answered * 1e6
        latencies.sort()
        p50, p99 = (latencies[int(len(latencies) * each)] * 1e3 for each in (0.5, 0.99))
        rss, pss = memory_mb(pid)
        print(f"{name:10} {cpu:9.1f} us CPU, {answered / took:8.0f}/s, p50 {p50:.2f}, p99 {p99:.2f} ms, RSS {rss}, PSS {pss} MB", flush=True)
        return cpu


def wait_ready(port: int) -> None:
    for _ in range(600):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as asked:
            asked.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            if b" 200 " in asked.recv(4_096):
                return
        time.sleep(0.1)
    raise RuntimeError("the prediction process does not become ready")


if __name__ == "__main__":
    main()
