"""Pacing: how often an idle thread looks for work, and how it is woken at once where work is known to have come."""

import threading
from dataclasses import dataclass

IDLE_S = 1.0
"""The longest time between two looks: what other machines submit is seen that late."""
FADING = 1.25
"""By how much each look that finds nothing lengthens the wait for the next."""


@dataclass(slots=True)
class Pace:
    """The waits of one thread: `poll_s` right after work, longer with each look that found none. `bell` set: it looks at once."""

    poll_s: float
    bell: threading.Event
    idle_s: float = IDLE_S
    _wait_s: float = 0.0

    def wait(self) -> None:
        """Sleep after a look that found nothing."""
        self._wait_s = min(max(self._wait_s * FADING, self.poll_s), max(self.idle_s, self.poll_s))
        if self.bell.wait(self._wait_s):
            self._wait_s = 0.0
        self.bell.clear()

    def worked(self) -> None:
        """The look found work: the next ones follow quickly."""
        self._wait_s = 0.0
