"""The platform's clocks: SystemClock follows the world, ReplayClock stands still until somebody advances it."""

import fcntl
import logging
import mmap
import os
import threading
import time
from pathlib import Path

from rota.errors import Corrupt, InvalidInput, Refused
from rota.records.time import Micros

logger = logging.getLogger("rota")

STEP_US = 10_000_000
"""The largest step back of the machine's clock that is waited out: what keeps clocks in time takes smaller ones."""
_SIZE = 8
_LATEST = 2**63 - 1


class SystemClock:
    """The machine's clock. A small step back is waited out, time stands still meanwhile; a clock that is set back is followed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest = 0

    def now_us(self) -> Micros:
        now_us = time.time_ns() // 1_000
        with self._lock:
            back_us = self._latest - now_us
            self._latest = now_us if back_us > STEP_US else max(self._latest, now_us)
            latest_us = self._latest
        if back_us > STEP_US:
            logger.warning("the machine's clock was set back by %.0f s", back_us / 1e6, extra={"action": "clock_set_back", "seconds": back_us / 1e6})
        return latest_us

    def advance(self, to_us: Micros) -> None:
        raise Refused(
            f"this platform follows the machine's clock, which cannot be moved to {to_us}; set clock = 'replay' to replay time", to_us=to_us
        )


class ReplayClock:
    """A moment kept in a small file that all processes of a home map into memory; 0 (1970) before the first `advance`.

    Reading costs one memory access: the number is aligned and written in one piece, so no reader sees half of it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._moment: memoryview | None = None
        self._lock = threading.Lock()

    def now_us(self) -> Micros:
        moment = self._moment or self._opened()
        return 0 if moment is None else int(moment[0])

    def advance(self, to_us: Micros) -> None:
        """The file's lock orders the processes, so the slower of two never moves time back."""
        if not 0 <= to_us <= _LATEST:
            raise InvalidInput(f"{to_us} is no moment in microseconds since 1970", to_us=to_us)
        with self._path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_size == 0:
                file.truncate(_SIZE)
            moment = self._moment or self._opened()
            if moment is None:
                raise Corrupt(f"clock file {self._path} vanished; advance again", path=str(self._path))
            if to_us < moment[0]:
                raise InvalidInput(f"the replayed clock stands at {moment[0]} and cannot go back to {to_us}", now_us=int(moment[0]), to_us=to_us)
            moment[0] = to_us

    def _opened(self) -> memoryview | None:
        with self._lock:
            if self._moment is None:
                self._moment = _mapped(self._path)
            return self._moment


def _mapped(path: Path) -> memoryview | None:
    """The file as one 64-bit number, or None while nobody has advanced the clock."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        size = os.fstat(descriptor).st_size
        if size == 0:
            return None
        if size != _SIZE:
            raise Corrupt(f"clock file {path} has {size} bytes instead of {_SIZE}; delete it and advance the clock again", path=str(path), size=size)
        return memoryview(mmap.mmap(descriptor, _SIZE)).cast("q")
    finally:
        os.close(descriptor)
