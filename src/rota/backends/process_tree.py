"""The processes below one: found by their parents, ended until none is left.

On Linux a reaper (prctl PR_SET_CHILD_SUBREAPER) inherits every orphan below it, so also a daemon that forked twice and began a
session of its own stays findable. Where /proc is missing nothing is found, and a process group's signal is all there is.
"""

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PROC = Path("/proc")
_ROUND_S = 0.002
END_WITHIN_S = 5.0
"""How long `end_below` looks for processes that are born while others are ended, and for those that the kernel does not let go."""


def become_reaper() -> None:
    """Orphans below this process become its children, not init's."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """This process is killed when the thread that forked it ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def below(pid: int) -> list[int]:
    """Every living process below `pid`, zombies left out; parents before their children."""
    children: dict[int, list[tuple[int, bool]]] = {}
    for process, parent, is_zombie in _processes():
        children.setdefault(parent, []).append((process, is_zombie))
    found, unseen = list[int](), [pid]
    while unseen:
        for process, is_zombie in children.get(unseen.pop(0), ()):
            unseen.append(process)
            if not is_zombie:
                found.append(process)
    return found


def signal_below(pid: int, signal_: int, *, spare: frozenset[int] = frozenset()) -> list[int]:
    """Send a signal to every process below `pid`; returns who was sent it."""
    found = [process for process in below(pid) if process not in spare]
    for process in found:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal_)
    return found


def end_below(pid: int, *, spare: frozenset[int] = frozenset()) -> None:
    """Kill everything below `pid` until nothing is left."""
    deadline = time.monotonic() + END_WITHIN_S
    while signal_below(pid, signal.SIGKILL, spare=spare) and time.monotonic() < deadline:
        time.sleep(_ROUND_S)


def _processes() -> list[tuple[int, int, bool]]:
    """(process, parent, is zombie) of this machine."""
    found = []
    for folder in _PROC.glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_bytes().rpartition(b")")[2].split()[:2]
        except (OSError, ValueError):  # it ended meanwhile
            continue
        found.append((int(folder.name), int(parent), state in (b"Z", b"X")))
    return found


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
