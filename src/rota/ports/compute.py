"""Compute: where heavy steps with users' code run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class Compute(Protocol):
    """Runs `function(arguments)` apart from the worker's own process.

    Law: `function` is "module:name", imported where it runs with `path` first on sys.path; arguments and result are JSON-able
    (bulk data travels as files). An exception of the function raises `Refused` with its type, message and the last lines
    of its traceback; a dead process or a passed `timeout_s` raises `Unavailable`, and nothing of it keeps running. When the calling
    process dies, what it started dies too. Thread-safe.
    """

    def run(self, function: str, arguments: Mapping[str, Any], *, path: Path | None = None, timeout_s: float = 3_600) -> Any: ...

    def close(self) -> None: ...
