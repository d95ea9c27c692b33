"""Clocks that obey a test."""

import threading

from rota.errors import InvalidInput
from rota.records.time import Micros


class FakeClock:
    """A `rota.ports.clock.Clock` that stands still until it is advanced.

    >>> clock = FakeClock(start=1_000)
    >>> clock.advance(2_500)
    >>> clock.now_us()
    2500
    """

    def __init__(self, start: Micros = 0) -> None:
        self._now_us = start
        self._lock = threading.Lock()

    def now_us(self) -> Micros:
        return self._now_us

    def advance(self, to_us: Micros) -> None:
        with self._lock:
            if to_us < self._now_us:
                raise InvalidInput(f"the clock stands at {self._now_us} and cannot go back to {to_us}", now_us=self._now_us, to_us=to_us)
            self._now_us = to_us


class FakeSeconds:
    """A clock of seconds for leases: call it to read, `pass_by` to let time pass."""

    def __init__(self, start: float = 1_000.0) -> None:
        self._now_s = start

    def __call__(self) -> float:
        return self._now_s

    def pass_by(self, seconds: float) -> None:
        self._now_s += seconds
