"""How long a loop that looks for work waits until it looks again: quick while things happen, slow when nothing does."""

import threading
import time
from collections.abc import Callable

QUIET_AFTER_S = 2.0
SLOWER = 1.3


class Pacing:
    """The waits of one loop, in seconds: `quick_s` for as long as it finds work and two seconds more, then longer and longer up to `slow_s`.

    So something new is noticed within `slow_s` after a quiet time, and within `quick_s` while things happen. Not thread-safe.

        pacing = Pacing(settings.poll_s)
        while not stop.wait(pacing.after(acted)): acted = look()
    """

    def __init__(self, quick_s: float, *, slow_s: float = 1.0, timer: Callable[[], float] = time.monotonic) -> None:
        self._quick_s, self._slow_s, self._timer = quick_s, max(quick_s, slow_s), timer
        self._acted_s = timer()
        self._wait_s = quick_s

    def after(self, acted: bool) -> float:
        """The wait after a look that found something to do, or found nothing."""
        now = self._timer()
        if acted:
            self._acted_s = now
        quiet = now - self._acted_s >= QUIET_AFTER_S
        self._wait_s = min(self._slow_s, self._wait_s * SLOWER) if quiet else self._quick_s
        return self._wait_s


class Pace:
    """The waits of one thread that a bell can wake: `bell` set, it looks at once, and again quickly."""

    def __init__(self, poll_s: float, bell: threading.Event, *, slow_s: float = 1.0, timer: Callable[[], float] = time.monotonic) -> None:
        self._pacing, self._bell = Pacing(poll_s, slow_s=slow_s, timer=timer), bell

    def wait(self) -> None:
        """Sleep after a look that found nothing."""
        if self._bell.wait(self._pacing.after(acted=False)):
            self.worked()
        self._bell.clear()

    def worked(self) -> None:
        """The look found work: the next ones follow quickly."""
        self._pacing.after(acted=True)
