"""Makers for deployment: a log that says what a test wants it to say, and a platform in memory with one prediction process."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from rota.backends.memory.blobs import MemoryBlobs
from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.runs import MemoryRuns
from rota.backends.memory.tables import MemoryTables
from rota.backends.memory.tracking import MemoryTracking
from rota.deploy import releases
from rota.deploy.delivery import rollout_run
from rota.deploy.rollout import RolloutWorkflow
from rota.durable.worker import Worker
from rota.manage.repositories import Repositories
from rota.manage.signals import business_outcomes, labels, prediction_log
from rota.ports.metadata import Batch
from rota.records.model import Alias, ModelVersion
from rota.records.release import Canary, Endpoint, Release, Rollout, Serving, error_rate
from rota.records.run import Run
from rota.records.signal import Label, Outcome, Prediction
from rota.records.time import HOUR_US
from rota.testing import FakeClock, FakeSeconds
from rota.testing.story import NOON_US, approval, version

ENDPOINT = Endpoint("delay", "delay", Canary(shadow="1h", steps=[10, 50], hold="2h", analysis=[error_rate(margin=0.1)], patience=2))


@dataclass
class Place:
    """One endpoint, version 1 as champion, and a process that serves what it is told unless it `refuses`."""

    clock: FakeClock = field(default_factory=lambda: FakeClock(NOON_US))
    seconds: FakeSeconds = field(default_factory=FakeSeconds)
    refuses: str = ""
    asked: int = 0

    def __post_init__(self) -> None:
        metadata = MemoryMetadata()
        runs = MemoryRuns(metadata, monotonic=self.seconds)
        self.repositories = Repositories(
            metadata, runs, MemoryBlobs(), MemoryTables(), MemoryOnline(), MemoryJournal(), self.clock, MemoryTracking(metadata)
        )
        self.metadata, self.runs = metadata, runs
        self.store(
            ENDPOINT,
            version(1, "approved"),
            version(2, "approved"),
            version(3, "approved"),
            *(approval(n) for n in (1, 2, 3)),
            Alias("delay", "champion", 1, NOON_US),
        )

    def store(self, *records: Any) -> None:
        batch = Batch()
        for record in records:
            batch.put(record)
        self.metadata.commit(batch)

    def serve(self) -> None:
        """What the release poller of a prediction process would report."""
        newest = releases.current_release(self.metadata, "delay")
        if newest is None:
            return
        refused = self.refuses and any(route.number == 2 for route in newest.routes)
        revision = newest.revision - 1 if refused else newest.revision
        self.store(Serving("delay", "serve-0", revision, self.clock.now_us(), f"revision {newest.revision}: {self.refuses}" if refused else ""))

    def worker(self) -> Worker:
        return Worker("w", self.runs, self.clock, {"rollout": RolloutWorkflow(self.repositories)})

    def start(self, number: int = 2) -> Run:
        found = self.metadata.get(ModelVersion, "delay", number)
        assert found is not None
        run = rollout_run(ENDPOINT, found, now_us=self.clock.now_us())
        self.runs.submit(run)
        return run

    def work(self, hours: float = 0.0) -> None:
        self.clock.advance(self.clock.now_us() + int(hours * HOUR_US))
        while self.worker().work_once():
            pass

    def rollout(self, number: int = 2) -> Rollout:
        found = self.metadata.get(Rollout, f"rollout.delay.{number}")
        assert found is not None
        return found

    def releases(self) -> list[Release]:
        return self.metadata.find(Release, {"endpoint": "delay"}, order="revision")

    def ask(self, count: int, *, number: int = 1, role: str = "stable", **options: Any) -> list[str]:
        """Log predictions: `errors` of them failed, with `latency_us`, `answer`, `truth` and `ids` as given."""
        ids = options.get("ids") or [f"p{self.asked + n}" for n in range(count)]
        self.asked += count
        failing = options.get("errors", 0)
        log = [
            Prediction(
                prediction_id=each,
                endpoint="delay",
                at_us=options.get("at_us", self.clock.now_us()),
                model="delay",
                number=number,
                role=role,
                revision=options.get("revision", 1),
                unit=options["units"][n] if "units" in options else each,
                request={},
                features={"spend": float(options["spend"][n])} if "spend" in options else {},
                answer=None if n < failing else options.get("answer", 0.5),
                latency_us=options.get("latency_us", 1_000),
                error="broken" if n < failing else "",
                routed_by=options.get("routed_by", ""),
            )
            for n, each in enumerate(ids)
        ]
        prediction_log.append(self.repositories.journal, "delay", log)
        if "truth" in options:
            at_us = options.get("known_us", self.clock.now_us())
            labels.append(self.repositories.journal, "delay", [Label(each, options["truth"], at_us) for each in ids], at_us)
        return ids

    def report(self, name: str, values: Mapping[str, float]) -> None:
        """Report business outcomes by prediction id."""
        at_us = self.clock.now_us()
        found = [Outcome(each, name, float(value), at_us) for each, value in values.items()]
        business_outcomes.append(self.repositories.journal, "delay", found, at_us)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    place = Place()
    monkeypatch.setattr(releases.time, "sleep", lambda seconds: place.serve())
    return place
