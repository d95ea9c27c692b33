"""Compute inside the calling process: the reference, for tests and debuggers. Nothing is isolated and no time-out is kept."""

import importlib
import json
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rota.errors import InvalidInput, Refused, Unavailable, causes, is_full_disk

_TRACEBACK_LINES = 20


class InlineCompute:
    """Compute (port) by a plain call, one at a time. Modules found under `path` are imported afresh for each run."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def run(
        self,
        function: str,
        arguments: Mapping[str, Any],
        *,
        path: Path | None = None,
        timeout_s: float = 3_600,  # noqa: ARG002
        stopped: Callable[[], bool] = lambda: False,  # noqa: ARG002
    ) -> Any:
        check_function(function)
        passed = json.loads(to_json(f"the arguments of {function}", arguments))
        with self._lock, _importing_from(path):
            return json.loads(run_function(function, passed))

    def close(self) -> None:
        """Nothing is held open."""


def check_function(function: str) -> None:
    """A function is named "module:name"."""
    module, _, name = function.partition(":")
    if not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise InvalidInput(f'function {function!r} is not written "module:name", for example "project.training:train"', function=function)


def to_json(what: str, value: Any) -> str:
    """JSON of a value, NaN and infinities included; the receiver of this text is Python too."""
    try:
        return json.dumps(value if not isinstance(value, Mapping) else dict(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{what} cannot be written as JSON: {error}; pass plain values, and bulk data as files", what=what) from error


def run_function(function: str, arguments: Mapping[str, Any]) -> str:
    """JSON of what the function returned; whatever it raises comes as `Refused` with type, message and traceback tail, and as `Unavailable`
    where a disk was full or an engine away: that says nothing of the function."""
    module, _, name = function.partition(":")
    try:
        result = getattr(importlib.import_module(module), name)(arguments)
    except (Exception, SystemExit) as error:
        raise raised(function, **failure(error)) from error
    try:
        return to_json(f"the result of {function}, a {type(result).__name__},", result)
    except InvalidInput as error:
        raise raised(function, "TypeError", str(error), "") from error


def raised(function: str, type_: str, message: str, tail: str, away: str = "") -> Refused | Unavailable:
    """The error for a function that raised; `away` is what it could not do without."""
    facts = {"function": function, "type": type_, "error": message, "traceback": tail}
    if away:
        return Unavailable(f"{function} is to be run again: {away} ({type_}: {message})", away=away, **facts)
    return Refused(f"{function} raised {type_}: {message}\n{tail}".rstrip(), **facts)


def failure(error: BaseException) -> dict[str, str]:
    """What `raised` is told of an exception: type, message, the last lines of its traceback, and whether a disk or an engine is to blame."""
    return {"type_": type(error).__name__, "message": str(error), "tail": _tail(error), "away": _away(error)}


def _away(error: BaseException) -> str:
    """Why the function may do better later: somewhere below the exception a disk was full, or an engine did not answer."""
    if is_full_disk(error):
        return "a disk is full, make room"
    return "an engine did not answer" if any(isinstance(each, Unavailable) for each in causes(error)) else ""


def _tail(error: BaseException) -> str:
    lines = "".join(traceback.format_exception(error)).splitlines()
    return "\n".join(lines[-_TRACEBACK_LINES:])


@contextmanager
def _importing_from(path: Path | None) -> Iterator[None]:
    if path is None:
        yield
        return
    entry = str(path.resolve())
    sys.path.insert(0, entry)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(entry)
        for name in [name for name, module in list(sys.modules.items()) if str(getattr(module, "__file__", None) or "").startswith(entry + "/")]:
            del sys.modules[name]
