"""Autologging: a library's fits log themselves into the tracked run around them."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol


class FitLog(Protocol):
    """Where one fit is logged. No verb ever raises: what cannot be kept is a warning in the log, and `guarded` does the same for
    a block of an autologger's own work."""

    def params(self, values: Mapping[str, Any]) -> None: ...

    def metric(self, name: str, value: float, step: int = 0) -> None: ...

    def artifact(self, name: str, data: bytes) -> None: ...

    def data(self, rows: Any, name: str) -> None: ...

    def model(self, fitted: Any, signature: str = "") -> None: ...

    def guarded(self) -> AbstractContextManager[None]: ...


Fitting = Callable[[str], AbstractContextManager[FitLog | None]]
"""Opened around a fit with the estimator's name. Gives None when nothing shall be logged: the fit is part of another one, or
there is no run to log into. Never raises by itself; what the fit raises passes through and ends a run of the fit's own as failed."""


class Autologger(Protocol):
    """Law: `install` changes a library so that every fit runs inside `fitting`, and returns what undoes it completely. The results
    of fits, their errors and their signatures stay as they are; only the outermost fit is logged."""

    def install(self, fitting: Fitting) -> Callable[[], None]: ...
