"""Online: the newest feature row of each entity, by key, at microsecond cost."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

Merge = Callable[[bytes | None, bytes], bytes]


@dataclass(frozen=True, slots=True)
class StoreReport:
    """What an online store says of itself at a moment.

    `identity` is another one once the store was exchanged, emptied, restarted or set back from outside, so that it may lack what was
    written; updates leave it as it is. `losses` is another one each time the store has given up rows by itself, and "" as long as it
    has not. `problem` says why it may give up or refuse rows, and the way out; "" when nothing is known.
    """

    identity: str
    losses: str = ""
    problem: str = ""


class Online(Protocol):
    """A byte store for online feature rows; encoding and TTL are `manage.features`' business.

    Law:
    - `read` returns one value or None for each key, in order, all from one consistent snapshot; it never blocks on a writer.
    - `update` applies merge(old, new) for each (key, new) in order in ONE atomic transaction: readers see all of it or
      nothing, and a kill leaves all or nothing. `position` = (stream, number) is stored in the same transaction; an update
      whose number is not above the stream's last one is already applied and changes nothing (returns False).
    - Keys are 1-500 bytes, else `InvalidInput`. A full store raises `Unavailable` naming its size and setting.
    - A store that is exchanged, emptied or damaged from outside while it is open is used as it then is, from the next `report` or
      write at the latest; a damaged embedded one is set aside, and an empty one begun: its rows are derived, and can be rebuilt.
    - Thread-safe and multi-process; one writer at a time, others wait.
    """

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]: ...

    def update(self, rows: Iterable[tuple[bytes, bytes]], merge: Merge, *, position: tuple[str, int] | None = None) -> bool: ...

    def position(self, stream: str) -> int:
        """The last number applied of a stream, or -1."""
        ...

    def delete(self, prefix: bytes) -> int: ...

    def report(self) -> StoreReport:
        """What the store says of itself now: cheap enough for once a second."""
        ...

    def close(self) -> None: ...
