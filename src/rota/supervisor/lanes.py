"""The threads of a lane: at most as many claimed runs are given to it as threads are free."""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from rota.durable.lanes import Lane
from rota.records.run import Lease


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
    def is_idle(self) -> bool:
        """Whether nothing is being executed."""
        with self._lock:
            return self._busy == 0

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
