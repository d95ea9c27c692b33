"""Lanes: which workflows share threads, so that a decision never waits for a training.

    lane       workflows              threads of a worker    why
    decisions  rollout, adopt         2                      a judge or a rollback waits seconds, also while another release converges
    watching   monitor, materialize   1                      what is decided on, and what predictions need online
    training   train                  1                      fills a core by itself; more at once by more worker processes

In a lane the oldest run goes first; lanes do not wait for each other. Triggers have a thread of their own (`worker_threads`).
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from rota.records.run import Lease


@dataclass(frozen=True, slots=True)
class Lane:
    """Workflows that are executed by the same threads."""

    name: str
    workflows: tuple[str, ...]
    threads: int


LANES = (Lane("decisions", ("rollout", "adopt"), 2), Lane("watching", ("monitor", "materialize"), 1), Lane("training", ("train",), 1))


def lane_of(workflow: str) -> str:
    """The name of a workflow's lane; one that is in no lane has none."""
    return next((lane.name for lane in LANES if workflow in lane.workflows), "")


@dataclass(slots=True)
class LaneThreads:
    """What a lane's threads are given: at most as many claimed runs as there are threads free."""

    lane: Lane
    _claimed: queue.SimpleQueue[Lease] = field(default_factory=queue.SimpleQueue)
    _busy: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_free(self) -> bool:
        """Whether a thread waits for a run."""
        with self._lock:
            return self._busy < self.lane.threads

    @property
    def busy(self) -> int:
        """How many runs are being executed."""
        with self._lock:
            return self._busy

    def give(self, lease: Lease) -> None:
        """A claimed run for a thread that is free."""
        with self._lock:
            self._busy += 1
        self._claimed.put(lease)

    def execute_next(self, execute: Callable[[Lease], None], then: Callable[[], None]) -> bool:
        """Wait for a run, execute it; `then` is called when the thread is free again."""
        lease = self._claimed.get()
        try:
            execute(lease)
        finally:
            with self._lock:
                self._busy -= 1
            then()
        return True
