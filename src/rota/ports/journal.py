"""Journal: append-only segments in which a process acknowledges what it received before anything else happens to it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Chunk:
    """Entries of one segment: payloads that end at `end`, the byte offset from which the next read continues."""

    segment: str
    start: int
    end: int
    payloads: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class DamagedSegment:
    """A segment with bytes that are not what was written: where it lies now, and what is wrong with it."""

    stream: str
    segment: str
    place: str
    reason: str


class Journal(Protocol):
    """Streams of byte entries, each process writing its own segment.

    Law:
    - `append` returns once every payload survives kill -9 of this process (with `sync`, also a power cut); entries of one
      call are contiguous and in order. It returns (segment, end offset). A full disk raises `Unavailable`, and what was
      acknowledged before stays readable. A segment that somebody removed, moved or cut since the last call takes no more entries.
    - `read` yields chunks of every segment of a stream after the offsets in `after` (absent = 0), at most `max_bytes` of
      payload a chunk, never a torn entry: a half-written tail is left for later. A damaged entry is passed over and its segment noted;
      whole entries behind it and later segments are read. A segment that was dropped since is passed over.
    - `drop` removes a segment that no living writer holds and whose end is `end`; otherwise it does nothing and returns False. A damaged
      one is set apart instead, never deleted. `damaged` lists those that were set apart, those that this process met in place,
      and those that somebody took from their writer.
    - `segments` gives the segments that there are with their sizes in bytes, of which the last few may be a tail that is not whole.
    - Streams are safe slash-separated names. Many processes may write and read one stream.
    """

    def append(self, stream: str, payloads: Sequence[bytes], *, sync: bool = False) -> tuple[str, int]: ...

    def read(self, stream: str, after: dict[str, int] | None = None, *, max_bytes: int = 16_000_000) -> Iterator[Chunk]: ...

    def drop(self, stream: str, segment: str, end: int) -> bool: ...

    def damaged(self) -> list[DamagedSegment]: ...

    def segments(self, stream: str) -> dict[str, int]: ...

    def streams(self) -> list[str]: ...

    def close(self) -> None: ...
