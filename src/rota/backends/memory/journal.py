"""A journal in memory: the reference that says what every journal does."""

import threading
from collections.abc import Iterator, Sequence

from rota.backends.shared.safe_names import check_path
from rota.errors import InvalidInput
from rota.ports.journal import Chunk, DamagedSegment


class MemoryJournal:
    """Journal (port) of one process, gone with it. An offset counts payload bytes plus one for each entry."""

    def __init__(self) -> None:
        self._segments: dict[tuple[str, str], list[bytes]] = {}
        self._writing: dict[str, str] = {}
        self._opened = 0
        self._lock = threading.Lock()

    def append(self, stream: str, payloads: Sequence[bytes], *, sync: bool = False) -> tuple[str, int]:  # noqa: ARG002 - memory has nothing to sync
        check_path("stream", stream)
        with self._lock:
            if stream not in self._writing:
                self._opened += 1
                self._writing[stream] = f"{self._opened:016d}.seg"
            segment = self._writing[stream]
            entries = self._segments.setdefault((stream, segment), [])
            entries.extend(bytes(payload) for payload in payloads)
            return segment, _size(entries)

    def read(self, stream: str, after: dict[str, int] | None = None, *, max_bytes: int = 16_000_000) -> Iterator[Chunk]:
        check_path("stream", stream)
        with self._lock:
            found = sorted((segment, list(entries)) for (name, segment), entries in self._segments.items() if name == stream)
        for segment, entries in found:
            yield from _chunks(segment, entries, (after or {}).get(segment, 0), max_bytes)

    def drop(self, stream: str, segment: str, end: int) -> bool:
        check_path("stream", stream)
        if "/" in segment:
            raise InvalidInput(f"{segment!r} is no segment name", segment=segment)
        with self._lock:
            entries = self._segments.get((stream, segment))
            if entries is None or self._writing.get(stream) == segment or _size(entries) != end:
                return False
            del self._segments[stream, segment]
            return True

    def damaged(self) -> list[DamagedSegment]:
        return []

    def segments(self, stream: str) -> dict[str, int]:
        check_path("stream", stream)
        with self._lock:
            return {segment: _size(entries) for (name, segment), entries in sorted(self._segments.items()) if name == stream}

    def streams(self) -> list[str]:
        with self._lock:
            return sorted({stream for stream, _ in self._segments})

    def close(self) -> None:
        self._writing.clear()


def _size(entries: Sequence[bytes]) -> int:
    return sum(len(entry) + 1 for entry in entries)


def _chunks(segment: str, entries: list[bytes], after: int, max_bytes: int) -> Iterator[Chunk]:
    start = end = taken = 0
    payloads: list[bytes] = []
    for entry in entries:
        if end >= after:
            if payloads and taken + len(entry) > max_bytes:
                yield Chunk(segment, start, end, tuple(payloads))
                payloads, taken = [], 0
            start = start if payloads else end
            payloads.append(entry)
            taken += len(entry)
        end += len(entry) + 1
    if payloads:
        yield Chunk(segment, start, end, tuple(payloads))
