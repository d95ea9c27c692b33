"""Shadow scoring: candidates see the same requests and features after the callers have their answers, on one thread."""

import logging
import queue
import threading
from collections.abc import Callable

log = logging.getLogger("rota.serve")
Task = Callable[[], None]


class ShadowThread:
    """Runs tasks in order; an offer is declined, not waited for, once `capacity` tasks are queued."""

    def __init__(self, capacity: int) -> None:
        self._queue: queue.Queue[Task | None] = queue.Queue(capacity)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def offer(self, task: Task) -> bool:
        """Queue a task, or return False at once when too much is waiting."""
        self._start()
        try:
            self._queue.put_nowait(task)
        except queue.Full:
            return False
        return True

    def close(self) -> None:
        """Finish what was taken and end the thread."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _start(self) -> None:
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="rota-shadow", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        while (task := self._queue.get()) is not None:
            try:
                task()
            except Exception:  # one failed task must not end the thread
                log.exception("shadow scoring failed", extra={"action": "shadow"})
