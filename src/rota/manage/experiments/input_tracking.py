"""Track which data a run reads: readers of Rota's data report it, and the open run records it.

    with input_tracking.noting(session.note_input):
        ...                                # any code that reads datasets or features

A reader calls `note` without knowing whether anybody listens; the innermost listener of this context is called.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from rota.records.tracking import RunInput

UNTRACKED = "rota.untracked_input"
"""The tag of an ended run: "true" when it noted no data that Rota knows."""

Listener = Callable[[RunInput], None]
_listener: ContextVar[Listener | None] = ContextVar("rota.inputs", default=None)


@contextmanager
def noting(listener: Listener) -> Iterator[None]:
    """Call the listener with every input that is read within the block."""
    outer = _listener.get()
    token = _listener.set(listener)
    try:
        yield
    finally:
        try:
            _listener.reset(token)
        except ValueError:  # entered in one notebook cell and left in another: those are different contexts
            _listener.set(outer)


def listening() -> bool:
    """Whether anybody hears: a digest need not be computed for nobody."""
    return _listener.get() is not None


def note(read: RunInput) -> None:
    """Say that data is being read."""
    listener = _listener.get()
    if listener is not None:
        listener(read)


def untracked(inputs: Sequence[RunInput]) -> bool:
    """Whether a run with these inputs tells nothing of where its data came from."""
    return not any(each.node for each in inputs)
