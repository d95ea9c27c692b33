"""Every error that Rota raises on purpose.

RotaError
├── InvalidInput   the caller's value is wrong: change the value
├── NotFound       the named thing does not exist: check the name, or create it
├── Conflict       someone else changed or created the thing first: read again, then decide
├── Refused        a gate, a policy or a state forbids the act: satisfy it, or ask whoever owns it
├── Corrupt        stored bytes are not what was stored: restore them; never retried
├── Unavailable    an engine did not answer: the one error that may be retried
├── Interrupted    work was ended before it was done (too long, killed, stopped): done again only where it says so
└── LostLease      another worker owns the run now: stop working on it at once

A class exists because a caller acts differently on it. HTTP status codes stand in `rota.http_status`, not here.
"""

import errno
import re
from collections.abc import Iterator


class RotaError(Exception):
    """Base of all errors of Rota; `facts` carries the names and values of the message as fields."""

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.facts = facts


class InvalidInput(RotaError):
    """The caller's value is wrong; the message names the thing, the value seen and what is expected."""


class NotFound(RotaError):
    """The named thing does not exist."""


class Conflict(RotaError):
    """The thing was changed or created by someone else in the meantime."""


class Refused(RotaError):
    """A gate, a policy or the state of the thing forbids the act."""


class Corrupt(RotaError):
    """Stored bytes do not match their digest or format."""


class Unavailable(RotaError):
    """An engine did not answer; retrying later may succeed."""


class Interrupted(RotaError):
    """Work in a process of its own was ended before it answered; the fact `cause` is timeout, died, garbled or stopped."""


class LostLease(RotaError):
    """The lease of a run was taken over by another worker; nothing was written."""


def is_engine_panic(error: BaseException) -> bool:
    """Whether an engine written in Rust gave up in the middle of its work: PyO3 raises that past `except Exception`."""
    return type(error).__name__ == "PanicException"


_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_ROOM = re.compile(
    r"No space left on device|Not enough free space|os error (28|122)\b|Disk quota exceeded|\d+ requested and \d+ written|database or disk is full"
)
"""How engines and libraries say that a disk is full where they keep no errno."""
_DEEPEST = 20


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what lies below it, the last cause last."""
    below: BaseException | None = error
    for _ in range(_DEEPEST):
        if below is None:
            return
        yield below
        below = below.__cause__ or below.__context__


def is_full_disk(error: BaseException) -> bool:
    """Whether an error, or one below it, says that a disk took no more."""
    return any((isinstance(each, OSError) and each.errno in _FULL) or _NO_ROOM.search(str(each)[-2_000:]) is not None for each in causes(error))
