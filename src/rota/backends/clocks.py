"""The platform's clocks: SystemClock follows the world, ReplayClock stands still until somebody advances it."""

import fcntl
import mmap
import os
import threading
import time
from pathlib import Path

from rota.errors import Corrupt, InvalidInput, Refused
from rota.records.time import Micros

_SIZE = 8
_LATEST = 2**63 - 1


class SystemClock:
    """The machine's clock; when it is set back, time stands still here until the machine has caught up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest = 0

    def now_us(self) -> Micros:
        with self._lock:
            self._latest = max(self._latest, time.time_ns() // 1_000)
            return self._latest

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
