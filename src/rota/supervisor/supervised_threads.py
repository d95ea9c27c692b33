"""Supervised threads: whatever one raises, it is started again with back-off, and its condition says how it is."""

import logging
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from rota.errors import Unavailable
from rota.records.condition import Condition

logger = logging.getLogger("rota.supervisor")

BACKOFF_S = (0.1, 0.5, 1.0, 5.0, 15.0, 30.0)
STUCK_S = 300.0
"""After how long in one and the same piece of work a thread is told of as stuck."""


@dataclass(slots=True)
class SupervisedThread:
    """Repeats one piece of work until it is told to stop. An exception of any kind, a Rust panic or an exit too, ends that piece only.

    `work` says whether there was something to do; `rest` is how to wait when there was not. An engine that is away is waited for with the
    same back-off, and told of by one line when it goes and one when it is back.
    """

    name: str
    work: Callable[[], bool]
    rest: Callable[[], None]
    stop: threading.Event
    is_patient: bool = False
    """Whether a piece of work may take any time, as executing a run may."""
    _failures: int = 0
    _error: str = ""
    _away: bool = False
    _began_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> threading.Thread:
        """The thread, running."""
        thread = threading.Thread(target=self.run, name=self.name, daemon=True)
        thread.start()
        return thread

    def run(self) -> None:
        """Work until told to stop."""
        while not self.stop.is_set():
            try:
                acted = self._once()
                if not acted and not self.stop.is_set():
                    self.rest()
            except BaseException as error:  # noqa: BLE001  # the next round tries again, and the condition tells
                self._failed(error)
                self.stop.wait(BACKOFF_S[min(self._failures, len(BACKOFF_S)) - 1])

    def condition(self) -> Condition:
        """How the thread is; it is called by others."""
        with self._lock:
            failures, error, away, began_s = self._failures, self._error, self._away, self._began_s
        name, evidence = f"thread:{self.name}", {"failures": failures}
        if failures and away:
            return Condition(name, "degraded", f"waits for an engine, asked {failures} times: {error}", evidence)
        if failures:
            return Condition(
                name, "failed", f"failed {failures} times in a row and is started again and again; the log has the rest: {error}", evidence
            )
        if began_s and not self.is_patient and time.monotonic() - began_s > STUCK_S:
            return Condition(name, "degraded", f"has been in one piece of work for {time.monotonic() - began_s:.0f} s; `py-spy dump` shows where")
        return Condition(name, "well")

    def _once(self) -> bool:
        with self._lock:
            self._began_s = time.monotonic()
        acted = self.work()
        with self._lock:
            failures, away = self._failures, self._away
            self._failures, self._error, self._away, self._began_s = 0, "", False, 0.0
        if failures:
            what = "engines answer again" if away else "works again"
            logger.info("thread %s: %s, after %d failures", self.name, what, failures, extra={"action": "thread_well", "of": self.name})
        return acted

    def _failed(self, error: BaseException) -> None:
        away = isinstance(error, Unavailable)
        with self._lock:
            changed = self._failures == 0 or away != self._away
            self._failures, self._away, self._began_s = self._failures + 1, away, 0.0
            self._error = f"{type(error).__name__}: {error}"
        if not changed:
            return
        facts = {"action": "unavailable" if away else "thread_failed", "of": self.name}
        if away:
            logger.warning("an engine did not answer, it is waited for: %s", error, extra=facts)
        else:
            told = "".join(traceback.format_exception(error))
            logger.error("thread %s failed and is started again: %s\n%s", self.name, error, told, extra=facts)
