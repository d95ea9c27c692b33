"""An engine that is opened when it is first asked, and again after a while when that failed: its process starts while it is away."""

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

from rota.errors import RotaError, Unavailable

T = TypeVar("T")
AGAIN_S = 1.0


def opened_later(open_engine: Callable[[], T], *, again_s: float = AGAIN_S, timer: Callable[[], float] = time.monotonic) -> T:
    """Stands for what `open_engine` gives. Until it opens, every verb raises its error, as `Unavailable` for `again_s` without another try."""
    return cast("T", _OpenedLater(open_engine, again_s, timer))


class _OpenedLater:
    def __init__(self, open_engine: Callable[[], Any], again_s: float, timer: Callable[[], float]) -> None:
        self._open, self._again_s, self._timer = open_engine, again_s, timer
        self._lock = threading.Lock()
        self._engine: Any = None
        self._failure: tuple[float, RotaError] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._opened(), name)

    def close(self) -> None:
        """Close what was opened."""
        if self._engine is not None:
            self._engine.close()

    def _opened(self) -> Any:
        if self._engine is not None:
            return self._engine
        with self._lock:
            if self._engine is None:
                if self._failure is not None and self._timer() < self._failure[0]:
                    raise self._failure[1]
                try:
                    self._engine = self._open()
                except RotaError as error:
                    told = error if isinstance(error, Unavailable) else Unavailable(str(error), **error.facts)
                    self._failure = (self._timer() + self._again_s, told)
                    raise told from error
            return self._engine
