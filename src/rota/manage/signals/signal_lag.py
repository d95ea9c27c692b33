"""How far acknowledged signals are behind: bytes of the journal that are in no table yet, and the age of the oldest."""

from dataclasses import dataclass
from typing import Any

from rota.manage.repositories import Repositories
from rota.manage.signals.drains import STREAMS
from rota.manage.signals.signal_stream import SignalStream
from rota.records.time import Micros


@dataclass(frozen=True, slots=True)
class SignalLag:
    """Bytes that wait in one stream's journal, and since how long the oldest entry does, by the platform's clock."""

    size_bytes: int
    oldest_s: float


def lags(repositories: Repositories, now_us: Micros) -> dict[str, SignalLag]:
    """The lag of each stream that has entries in the journal; changes nothing."""
    r, found = repositories, dict[str, SignalLag]()
    for stream in STREAMS:
        for endpoint in stream.endpoints(r.journal):
            name = stream.table(endpoint)
            reached = {segment: max(0, r.tables.sequence(name, segment)) for segment in r.journal.segments(name)}
            size = sum(max(0, there - reached.get(segment, 0)) for segment, there in r.journal.segments(name).items())
            oldest_us = _oldest_us(stream, repositories, name, reached) if size else None
            found[name] = SignalLag(size, 0.0 if oldest_us is None else max(0.0, (now_us - oldest_us) / 1e6))
    return found


def _oldest_us(stream: SignalStream[Any], repositories: Repositories, name: str, reached: dict[str, int]) -> Micros | None:
    """When the first entry of the oldest segment with something new was received; None when there is no whole one."""
    chunk = next(repositories.journal.read(name, reached, max_bytes=1), None)
    if chunk is None:
        return None
    frame = stream.codec.frame(chunk.payloads[:1], dict)
    moments = frame["received_us" if "received_us" in frame.columns else "at_us"]
    oldest = moments.min()
    return oldest if isinstance(oldest, int) else None
