"""The ends of processes by model versions, and the marks of calls as others than their process read them: the supervisor, when one hangs.

Nothing here loads models or their libraries. `call_marks` writes the marks.
"""

import os
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from rota.records.time import Micros

ENDS = "model_ends.jsonl"
"""The file of HOME/run in which each end is a line."""
SIZE, NAMES = 1_024, 1_000
"""Bytes of a mark, and of the version's names in it."""
HEAD = struct.Struct("<QQ")  # since when (ns of the steady clock; 0: no call), the thread
"""What a mark begins with."""


class ModelEnd(msgspec.Struct, frozen=True):
    """One end of a process by a version: `cause` is a signal in words, or "hung"."""

    bundle: str
    model: str
    number: int
    endpoint: str
    process: str
    cause: str
    at_us: Micros


class Called(msgspec.Struct, frozen=True):
    """The version that a thread is calling."""

    bundle: str
    model: str
    number: int
    endpoint: str


def blame_hung(folder: Path, process: str, *, silent_s: float, now_us: Micros) -> ModelEnd | None:
    """Note which version a process hung in that answers nobody for `silent_s` seconds and is about to be killed; None when it called none.

    Of the calls that are as old as the silence it is the last one: what holds the interpreter lets no other begin, and a call that blocks the
    event loop alone is older than those that other threads go on with. `folder` is HOME/run; asked before a successor begins.
    """
    try:
        marks = (folder / f"{process}.calling").read_bytes()
    except OSError:
        return None
    latest_ns = time.monotonic_ns() - int(silent_s * 0.5e9)  # the question that got no answer may have been asked while the call began
    calls = [(since, called) for called, _, since in calls_in(marks) if since <= latest_ns]
    if not calls:
        return None
    called = max(calls, key=lambda call: call[0])[1]
    end = ModelEnd(called.bundle, called.model, called.number, called.endpoint, process, "hung", now_us)
    append(folder / ENDS, end)
    return end


def append(ends: Path, end: ModelEnd) -> None:
    """Add an end to the file, synced."""
    out = os.open(ends, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(out, msgspec.json.encode(end) + b"\n")
        os.fsync(out)
    finally:
        os.close(out)


def calls_in(marks: bytes) -> Iterator[tuple[Called, int, int]]:
    """The calls under way: which version, in which thread, since when."""
    for at in range(0, len(marks) - SIZE + 1, SIZE):
        since, ident = HEAD.unpack_from(marks, at)
        if since:
            with suppress(msgspec.DecodeError):
                yield msgspec.json.decode(marks[at + 16 : at + 16 + NAMES].rstrip(b"\0"), type=Called), ident, since


def decoded(lines: bytes) -> Iterator[ModelEnd]:
    """The ends in the bytes of the file."""
    for line in lines.splitlines():
        with suppress(msgspec.DecodeError):  # half a line of a process that was killed while it wrote
            yield msgspec.json.decode(line, type=ModelEnd)
