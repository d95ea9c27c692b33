"""Freed memory goes back to the system: the C library keeps what was freed between blocks that are still used, in each of its arenas."""

import ctypes

_C = ctypes.CDLL(None)
_ARENA_MAX = -8
"""M_ARENA_MAX of glibc's malloc.h."""
ARENAS = 2
"""Eight for each core are made otherwise, as threads meet each other, and each keeps the peak of its threads."""


def keep_few_arenas() -> None:
    """From now on threads share a few arenas. Called where a process begins; does nothing without glibc."""
    option = getattr(_C, "mallopt", None)
    if option is not None:
        option(_ARENA_MAX, ARENAS)


def give_back() -> None:
    """Give back what this process has freed: a millisecond or two after heavy work, microseconds otherwise. Does nothing without glibc."""
    trim = getattr(_C, "malloc_trim", None)
    if trim is not None:
        trim(0)
