"""Flush metric points from spools into the tracking store: one background thread for all runs of a tracker."""

import logging
import threading
from collections.abc import Callable

from rota.develop.spool import Spool
from rota.errors import RotaError, Unavailable
from rota.ports.clock import Clock
from rota.ports.tracking import Logged, Tracking

logger = logging.getLogger("rota.develop")


class Flusher:
    """Stores what is in the spools every `every_s` seconds, and at once when a spool is full or `wake` is called."""

    def __init__(self, tracking: Tracking, clock: Clock, *, every_s: float) -> None:
        self._tracking = tracking
        self._clock = clock
        self._every_s = every_s
        self._lanes: dict[Spool, tuple[str, threading.Lock]] = {}
        self._wake = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    def add(self, spool: Spool, run: str) -> None:
        """Take care of a spool from now on."""
        self._lanes = {**self._lanes, spool: (run, threading.Lock())}
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="rota-tracking", daemon=True)
            self._thread.start()

    def wake(self) -> None:
        """Store as soon as possible."""
        self._wake.set()

    def flush(self, spool: Spool) -> None:
        """Store everything that was appended to a spool before; the caller's thread does it."""
        run, lane = self._lanes.get(spool, ("", threading.Lock()))
        with lane:
            for points in spool.pending():
                if points:
                    self._tracking.log(run, Logged(metrics=points))

    def remove(self, spool: Spool, after: Callable[[], None]) -> None:
        """Forget a spool; `after` is called when nobody reads it any more."""
        _, lane = self._lanes.get(spool, ("", threading.Lock()))
        with lane:
            self._lanes = {each: lane for each, lane in self._lanes.items() if each is not spool}
            after()

    def close(self) -> None:
        """End the thread; spools that are still there are not stored any more."""
        self._closed = True
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _work(self) -> None:
        while not self._closed:
            self._wake.wait(self._every_s)
            self._wake.clear()
            for spool in list(self._lanes):
                self._store(spool)

    def _store(self, spool: Spool) -> None:
        try:
            spool.alive(self._clock.now_us())
            self.flush(spool)
        except Unavailable as error:
            logger.warning("metrics wait in the spool, the tracking store did not answer: %s", error, extra={"action": "flush"})
        except RotaError as error:  # the run was deleted: whoever logs into it is told when the block ends
            logger.warning("metrics cannot be stored: %s", error, extra={"action": "flush"})
