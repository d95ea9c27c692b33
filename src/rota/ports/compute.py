"""Compute: where heavy steps with users' code run."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol


class Compute(Protocol):
    """Runs `function(arguments)` apart from the worker's own process.

    Law: `function` is "module:name", imported where it runs with `path` first on sys.path; arguments and result are JSON-able
    (bulk data travels as files). An exception of the function raises `Refused` with its type, message and the last lines
    of its traceback. What was ended before it answered raises `Interrupted` with the fact `cause`: "timeout" after `timeout_s`, "stopped"
    after `stopped` (asked several times a second) became true, "died", or "garbled" where its answer was none. `Unavailable` is
    raised where nothing could be started, and where the function met a full disk or an engine that is away: it is to be run again.
    An answer belongs to its request: nothing that an earlier function left behind can give it, and once `run` has returned or raised,
    nothing that the function started is running: it was asked to end (SIGTERM), then made to. When the calling process dies, what it
    started dies too. Thread-safe.
    """

    def run(
        self,
        function: str,
        arguments: Mapping[str, Any],
        *,
        path: Path | None = None,
        timeout_s: float = 3_600,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Any: ...

    def close(self) -> None: ...
