"""What applications do all the while: predict, label, push, train; each remembers what was acknowledged, and a prober what was refused."""

import http.client
import json
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.operation.chaos.world import World

from rota.client import Client
from rota.errors import RotaError

SHOPS = ("north", "south", "west")
PATIENCE_S = 300.0
PROJECT = """
import rota

fields = {"id": "string", "shop": "string", "asked_at": "timestamp", "amount": "float", "returned": "bool", "known_at": "timestamp"}
sales = rota.Source("sales", fields, timestamp_field="known_at", id_field="id")
shop = rota.Entity("shop", ["shop"])
recent = rota.FeatureView("recent", [shop], sales, {"mean_30d": rota.mean("amount", window="30d"), "count_30d": rota.count(window="30d")})
request = rota.OnDemandFeatureView("request", inputs={"amount": "float"}, features={"log_amount": rota.sql("ln(1 + amount)")})
features = rota.FeatureService("returns", [recent, request])


@rota.step
def train(data: rota.TrainingData):
    import lightgbm

    return lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1}, lightgbm.Dataset(data.train.x, data.train.y), 20)


pipeline = rota.TrainingPipeline(
    "returns",
    train=train,
    dataset=rota.DatasetDefinition(features, labels=sales, label=rota.sql("returned"), timestamp="asked_at", window="90d"),
    gates=[rota.at_least("roc_auc", 0.55)],
    max_runs_per_week=1000,
)
policy = rota.ReleasePolicy("returns", "automatic")
endpoint = rota.Endpoint("returns", model="returns", rollout=rota.Canary(steps=[50], hold="2s", patience=100))
monitor = rota.Monitor(endpoint, schedule="* * * * *")
"""


def history(now: datetime, count: int = 2_000) -> list[dict[str, Any]]:
    """Sales of the last forty days, each known a day later; small ones come back."""
    draw = random.Random(7)
    rows = []
    for number in range(count):
        asked_at = now - timedelta(days=40) + timedelta(days=38.9) * (number / count)
        amount = draw.lognormvariate(3, 1)
        row = {"id": f"h{number}", "shop": draw.choice(SHOPS), "asked_at": asked_at, "amount": amount, "known_at": asked_at + timedelta(days=1)}
        rows.append(row | {"returned": draw.random() < (0.8 if amount < 20 else 0.1)})
    return rows


@dataclass
class Acknowledged:
    """What the platform said it keeps."""

    predictions: dict[str, float] = field(default_factory=dict)
    labels: dict[str, float] = field(default_factory=dict)
    outcomes: dict[str, float] = field(default_factory=dict)
    pushes: dict[str, float] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)


@dataclass
class Load:
    """Threads that use a world; `seed` names their ids and draws their rows. A call is repeated until it is acknowledged, with the same ids."""

    world: World
    seed: int
    pause_s: float = 0.02
    kept: Acknowledged = field(default_factory=Acknowledged)
    refused: list[tuple[float, str]] = field(default_factory=list)
    """When a prediction that was asked once and not again was not answered, and why."""
    probes: int = 0
    unlogged: int = 0
    broken: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        acts: list[Callable[[Client, random.Random, int], None]] = [self._predict, self._push, self._train]
        for number, act in enumerate(acts):
            self._threads.append(threading.Thread(target=self._repeat, args=(act, number), daemon=True))
        self._threads.append(threading.Thread(target=self._probe, daemon=True))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each thread finish what it is at, so that everything asked for is acknowledged."""
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S + 60)
            assert not thread.is_alive(), "a call was never answered"
        assert not self.broken, self.broken[:3]

    def _repeat(self, act: Callable[[Client, random.Random, int], None], number: int) -> None:
        client, draw, turn = Client(self.world.home, patience_s=PATIENCE_S, wait_for_start=True), random.Random(f"{self.seed}.{number}"), 0
        try:
            while not self._stop.wait(self.pause_s):
                act(client, draw, turn)
                turn += 1
        except Exception as error:  # noqa: BLE001 - a thread that ends must be heard of
            self.broken.append(f"{act.__name__}: {type(error).__name__}: {error}")
        finally:
            client.close()

    def _predict(self, client: Client, draw: random.Random, turn: int) -> None:
        ids = [f"p{self.seed}-{turn}-{n}" for n in range(draw.randint(1, 5))]
        rows = [{"shop": draw.choice(SHOPS), "amount": draw.lognormvariate(3, 1)} for _ in ids]
        answers = client.predict("returns", rows, ids=ids)
        if not answers.logged:  # the disk is full: answered, and said not to be kept
            self.unlogged += len(ids)
            return
        self.kept.predictions.update({answer["prediction_id"]: answer["answer"] for answer in answers})
        now_us = time.time_ns() // 1_000
        labelled = [each for each in ids if draw.random() < 0.7]
        client.label("returns", [{"prediction_id": each, "value": float(draw.random() < 0.3), "at_us": now_us} for each in labelled])
        self.kept.labels.update(dict.fromkeys(labelled, 0.0))
        if turn % 10 == 0:
            client.outcome("returns", [{"prediction_id": each, "name": "revenue", "value": 1.0, "at_us": now_us} for each in ids])
            self.kept.outcomes.update(dict.fromkeys(ids, 1.0))

    def _push(self, client: Client, draw: random.Random, turn: int) -> None:
        now = datetime.now(UTC)
        ids = [f"s{self.seed}-{turn}-{n}" for n in range(draw.randint(1, 20))]
        rows = [
            {"id": each, "shop": draw.choice(SHOPS), "asked_at": now.isoformat(), "amount": draw.lognormvariate(3, 1), "known_at": now.isoformat()}
            | {"returned": draw.random() < 0.3}
            for each in ids
        ]
        client.push("sales", rows)
        self.kept.pushes.update({row["id"]: row["amount"] for row in rows})
        self._stop.wait(0.1)

    def _train(self, client: Client, draw: random.Random, _turn: int) -> None:
        with suppress(RotaError):  # one training at a time; and a start whose answer was lost is a start
            self.kept.runs.append(client.post("/v1/pipelines/returns/runs")["run"])
        self._stop.wait(draw.uniform(5, 20))

    def _probe(self) -> None:
        """Ask once and never again: what a caller without patience sees."""
        body = json.dumps({"rows": [{"shop": "north", "amount": 3.0}]}).encode()
        while not self._stop.wait(0.05):
            self.probes += 1
            try:
                ports = json.loads((self.world.home / "ports.json").read_text())
                connection = http.client.HTTPConnection("127.0.0.1", int(ports["prediction"]), timeout=60)
                connection.request("POST", "/v1/endpoints/returns/predict", body, self._headers())
                answer = connection.getresponse()
                text = answer.read()[:200]
                if answer.status != 200:
                    self.refused.append((time.monotonic(), f"{answer.status} {text!r}"))
                connection.close()
            except (OSError, ValueError, http.client.HTTPException) as error:
                self.refused.append((time.monotonic(), f"{type(error).__name__}: {error}"))

    def _headers(self) -> dict[str, str]:
        token = (self.world.home / "token").read_text().strip()
        return {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
