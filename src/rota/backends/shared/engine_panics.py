"""Panics of engines written in Rust: PyO3 raises them past `except Exception`, and one would end the thread that asked."""

from collections.abc import Iterator
from contextlib import contextmanager

from rota.errors import is_engine_panic


class EnginePanicked(Exception):
    """An engine gave up in the middle of its work: bytes it did not expect, or a mistake of its own."""


@contextmanager
def panics_caught() -> Iterator[None]:
    """Raise a Rust panic as `EnginePanicked`, which is an ordinary exception."""
    try:
        yield
    except BaseException as error:
        if not is_engine_panic(error):
            raise
        raise EnginePanicked(str(error)) from error
