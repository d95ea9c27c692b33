"""Good and bad candidates on real processes under load: what becomes of each unattended, how fast the traffic moves, and what callers see of it.

    PYTHONPATH=. python benchmarks/rollouts/processes.py [--rate 100] [--switches 20]

`rota up` with two prediction processes serves a scikit-learn pipeline; callers ask at a fixed rate all the while. Then candidates are approved one
after the other and nobody touches anything: one as good, one that fails for a quarter of the rows, one that is many times as slow, and, on
a replayed clock where an hour of labels takes a moment, one whose answers are wrong. For each: its end, the time from its approval to that,
and how many requests failed. Then rollbacks by command, one after the other: until both
processes say that they serve the release, and until the last answer of the version that was left, by the prediction log.
"""

import argparse
import http.client
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import rota
from rota.addresses import published
from rota.client import Client
from rota.manage.models import endpoints
from rota.records.release import Canary, Endpoint, Serving, error_rate, latency_p95, metric
from rota.records.time import HOUR_US, Micros, parse_time
from rota.settings import load
from rota.wiring import Platform, opened

SEEN, ASKED = "abc", "abcd"
"""Kinds that the models were fitted on, and those that callers ask for: a model that does not ignore new ones fails for a quarter of them."""
QUICK = Canary(steps=[20, 50], hold="5s", analysis=[error_rate(margin=0.02), latency_p95(ratio=2.0)], max_duration="30m")
BY_LABELS = Canary(steps=[30], hold="6h", analysis=[metric("squared_error", margin=0.05)], max_duration="6d")
LONGEST_S = 300.0
LONGEST_HOURS = 24 * 6
REPLAY_FROM_US: Micros = parse_time("2025-06-02T00:00:00Z")


def fitted(kind: str) -> tuple[Any, pd.DataFrame]:
    """The model of a candidate, and rows like those that it was fitted on."""
    random = np.random.default_rng(5)
    count = 200_000 if kind == "slow" else 2_000
    frame = pd.DataFrame({"kind": random.choice(list(SEEN), count), "x": random.normal(size=count), "y": random.normal(size=count)})
    truth = true_value(frame) * (-1 if kind == "wrong" else 1) + random.normal(scale=0.1, size=count)
    encoder = OneHotEncoder(handle_unknown="error" if kind == "errors" else "ignore", sparse_output=False)
    columns = ColumnTransformer([("kind", encoder, ["kind"])], remainder="passthrough")
    last = KNeighborsRegressor(5, algorithm="brute") if kind == "slow" else LinearRegression()
    return make_pipeline(columns, last).fit(frame, truth), frame


def true_value(rows: Any) -> Any:
    """What a right model answers."""
    return 2 * rows["x"] - rows["y"]


@dataclass
class Callers:
    """Threads that ask for one row each time, together at a fixed rate; a candidate that fails is covered by the stable version."""

    client: Client
    rate: float
    threads: int = 8
    asked: int = 0
    failed: list[str] = field(default_factory=list)

    @contextmanager
    def asking(self) -> Iterator[None]:
        over = threading.Event()
        running = [threading.Thread(target=self._ask, args=(number, over)) for number in range(self.threads)]
        for each in running:
            each.start()
        try:
            yield
        finally:
            over.set()
            for each in running:
                each.join()

    def _ask(self, number: int, over: threading.Event) -> None:
        """One connection that is kept, and no request asked twice."""
        random = np.random.default_rng(number)
        connection = http.client.HTTPConnection("127.0.0.1", int(str(published(self.client.home)["prediction"])), timeout=60)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {(self.client.home / 'token').read_text().strip()}"}
        due = time.monotonic()
        while not over.is_set():
            due += self.threads / self.rate
            row = {"kind": str(random.choice(list(ASKED))), "x": float(random.normal()), "y": float(random.normal())}
            self.asked += 1
            try:
                connection.request("POST", "/v1/endpoints/value/predict", json.dumps({"rows": [row]}), headers)
                response = connection.getresponse()
                said = response.read().decode()
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(f"{type(error).__name__}: {error}")
                connection.close()
            else:
                if response.status >= 400:
                    self.failed.append(f"{response.status} {said}"[:300])
            over.wait(max(0.0, due - time.monotonic()))
        connection.close()


@dataclass
class Running:
    """A home that is up: its HTTP side, and its stores."""

    client: Client
    platform: Platform

    def register(self, kind: str) -> int:
        """The number of a new version that is a candidate of this kind."""
        model, frame = fitted(kind)
        return self.platform.models.register_fitted("value", model, input_example=frame.head(50), actor="owner").number

    def approve(self, number: int) -> None:
        """Approve a version; the loop delivers it."""
        self.client.post(f"/v1/models/value/{number}/decision", {"decision": "approve", "reason": "a candidate of the benchmark"})


@contextmanager
def running(home: Path, strategy: Canary, **settings: Any) -> Iterator[Running]:
    """A running home with the endpoint `value`, served by a first version."""
    with rota.up(home, control_port=0, prediction_port=0, **settings) as client, opened(load(home=home, **settings)) as platform:
        if settings.get("clock") == "replay":
            client.advance(REPLAY_FROM_US)
        at = Running(client, platform)
        r = platform.repositories
        number = at.register("first")
        endpoints.create(r.metadata, Endpoint("value", "value", strategy), actor="owner", now_us=r.clock.now_us())
        at.approve(number)
        client.settle()
        yield at


def ended(client: Client, number: int, *, until: float) -> dict[str, Any]:
    """The rollout of a version once it is over; as it stands when the time is up."""
    while True:
        found = [each for each in client.get("/v1/rollouts", endpoint="value") if each.get("candidate") == number]
        if (found and found[0]["ended_us"]) or time.monotonic() > until:
            return found[0] if found else {"state": "never began", "reason": "", "history": []}
        time.sleep(0.05)


def unattended(at: Running, rate: float, kind: str) -> dict[str, Any]:
    """A candidate under load, to its end."""
    callers, number = Callers(at.client, rate), at.register(kind)
    with callers.asking():
        at.approve(number)
        begun = time.monotonic()
        rollout = ended(at.client, number, until=begun + LONGEST_S)
        took = time.monotonic() - begun
    return {"state": rollout["state"], "reason": rollout["reason"], "seconds": took, "asked": callers.asked, "failed": callers.failed}


def by_labels(at: Running, kind: str) -> dict[str, Any]:
    """A candidate that only labels can judge, hour by hour of a replayed clock."""
    random = np.random.default_rng(9)
    client, number = at.client, at.register(kind)
    at.approve(number)
    client.settle()
    begun_us = at.platform.repositories.clock.now_us()
    for hour in range(1, LONGEST_HOURS + 1):
        now_us = begun_us + hour * HOUR_US
        frame = pd.DataFrame({"kind": random.choice(list(SEEN), 60), "x": random.normal(size=60), "y": random.normal(size=60)})
        answers = client.predict("value", frame.to_dict("records"))
        truths = zip(answers, true_value(frame), strict=True)
        client.label("value", [{"prediction_id": each["prediction_id"], "value": float(truth), "at_us": now_us - 1} for each, truth in truths])
        client.advance(now_us)
        client.settle()
        found = [each for each in client.get("/v1/rollouts", endpoint="value") if each.get("candidate") == number]
        if found and found[0]["ended_us"]:
            return {"state": found[0]["state"], "reason": found[0]["reason"], "hours": hour}
    return {"state": found[0]["state"] if found else "never began", "reason": "", "hours": LONGEST_HOURS}


def switches(at: Running, rate: float, count: int) -> dict[str, Any]:
    """Promotions and rollbacks by command under load: seconds until both processes serve, and until the last answer of the version that was left."""
    client, callers, converged = at.client, Callers(at.client, rate), []
    with callers.asking():
        for turn in range(count):
            number = at.register("good")
            at.approve(number)
            rollout = ended(client, number, until=time.monotonic() + LONGEST_S)
            assert rollout["state"] == "promoted", (turn, rollout["reason"])
            begun = time.monotonic()
            release = client.post("/v1/endpoints/value/rollback", {"reason": "measured"})
            converged.append(_until_served(at, int(release["revision"]), begun))
            time.sleep(0.5)
    report = client.get("/v1/report/delivery", days=1)
    lasted = [each["lasted_us"] / 1e6 for each in report["taken_back"] if each["by"] == "rollback"]
    return {"converged": converged, "last_old": lasted, "asked": callers.asked, "failed": callers.failed}


def _until_served(at: Running, revision: int, begun: float) -> float:
    while any(each.revision < revision for each in at.platform.repositories.metadata.find(Serving, {"endpoint": "value"})):
        time.sleep(0.005)
    return time.monotonic() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    parser.add_argument("--switches", type=int, default=20)
    parser.add_argument("--kinds", nargs="*", default=["wrong", "good", "errors", "slow"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        home = Path(place) / "labels"
        with running(home, BY_LABELS, clock="replay") as at:
            for kind in {"wrong", "good"} & set(options.kinds):
                print(f"{kind:>7} by labels: {by_labels(at, kind)}", flush=True)
        home = Path(place) / "load"
        with running(home, QUICK, prediction_processes=2) as at:
            for kind in (each for each in ("good", "errors", "slow") if each in options.kinds):
                end = unattended(at, options.rate, kind)
                print(f"{kind:>7}: {end | {'failed': len(end['failed'])}} {end['failed'][:2]}", flush=True)
        home = Path(place) / "switches"
        with running(home, Canary(steps=[]), prediction_processes=2) as at:
            found = switches(at, options.rate, options.switches)
            for name in ("converged", "last_old"):
                print(f"{name}: median {statistics.median(found[name]):.3f} s, most {max(found[name]):.3f} s of {len(found[name])}")
            print(f"asked {found['asked']}, failed {len(found['failed'])} {found['failed'][:2]}")


if __name__ == "__main__":
    main()
