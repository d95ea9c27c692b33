"""How far a source is online: the journal ranges that were applied, and the views whose history is there; one value, changed with the rows.

The online store says this of itself, so a store that was emptied, restored or exchanged says what it lacks. A view without a mark
is not written by pushes: history and pushes would otherwise be a number that looks whole and is none. Whoever brings its history
online marks it "filling" first (from then on pushes are added, for what was pushed before is read from the table), and whole in the end.
"""

from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from rota.records.time import Micros

_APPLIED = b"\x00a"
_CATALOG, _HISTORY, _REBUILDS, _STORE, _NUMBER, _LOSSES = "", "/", " ", "@", "#", "~"
_pack = msgspec.msgpack.Encoder().encode
_read = msgspec.msgpack.Decoder(dict[str, Any]).decode


class HistoryMark(NamedTuple):
    """From which version of its source's table a view is online (None: there was no table), and when the earliest row that was
    dated later than that moment comes due. Not `whole`: its rows are being written, and not all of them are there."""

    version: int | None = None
    due_us: Micros | None = None
    whole: bool = True


FILLING = HistoryMark(whole=False)


@dataclass(frozen=True, slots=True)
class StreamState:
    """Of one source: how far each segment of its journal is applied, as byte offsets; the newest catalog version that its online rows are
    known to need (see `registration.catalog`); and the marks of its views, by the first bytes of their keys."""

    ends: Mapping[str, int] = field(default_factory=dict)
    catalog_version: int = 0
    history: Mapping[bytes, HistoryMark] = field(default_factory=dict)
    rebuilds: int = 0
    """How often online rows were replaced as a whole: whoever looked at them before has to look again."""
    store: str = ""
    number: int = 0
    """Which state this is, and how far it has come: metadata knows both (see `online_extent`)."""
    losses: str = ""
    """The online store's own losses (`StoreReport`) before the rows were brought online from the beginning."""

    def encoded(self) -> bytes:
        """The stored bytes."""
        values: dict[str, Any] = dict(sorted(self.ends.items()))
        if self.catalog_version:
            values[_CATALOG] = self.catalog_version
        if self.history:
            values[_HISTORY] = dict(sorted(self.history.items()))
        if self.rebuilds:
            values[_REBUILDS] = self.rebuilds
        if self.store:
            values[_STORE], values[_NUMBER] = self.store, self.number
        if self.losses:
            values[_LOSSES] = self.losses
        return _pack(values)


def key(source: str) -> bytes:
    """The key under which the online store keeps a source's state; it sorts before all rows and tiles."""
    return _APPLIED + source.encode()


@lru_cache(64)  # one push looks at the same bytes several times
def decoded(data: bytes | None) -> StreamState:
    """The state of stored bytes; None: nothing was ever applied. Its mappings are not changed by anybody."""
    if not data:
        return StreamState()
    values = _read(data)
    version = values.pop(_CATALOG, 0)
    marks, rebuilds = values.pop(_HISTORY, None), values.pop(_REBUILDS, 0)
    store, number, losses = values.pop(_STORE, ""), values.pop(_NUMBER, 0), values.pop(_LOSSES, "")
    history = {} if marks is None else {prefix: HistoryMark(*mark) for prefix, mark in marks.items()}
    return StreamState(values, version, history, rebuilds, store, number, losses)


def beside(data: bytes | None, segment: str) -> StreamState:
    """The state without one segment: whether it is the same as before tells whether somebody else has written meanwhile."""
    state = decoded(data)
    return replace(state, ends={name: end for name, end in state.ends.items() if name != segment})


def catalog_version(data: bytes | None) -> int:
    """The catalog version of stored bytes alone."""
    return decoded(data).catalog_version


def written(data: bytes | None) -> AbstractSet[bytes]:
    """The views that pushes are added to: those with a mark."""
    return decoded(data).history.keys()


def with_version(old: bytes | None, version: bytes) -> bytes:
    """The merge that raises the catalog version."""
    state = decoded(old)
    return replace(state, catalog_version=max(state.catalog_version, int.from_bytes(version, "big"))).encoded()


def with_marks(old: bytes | None, marks: Mapping[bytes, HistoryMark]) -> bytes:
    """The stored bytes with these marks."""
    state = decoded(old)
    return replace(state, history={**state.history, **marks}).encoded()


def without_mark(old: bytes | None, prefix: bytes) -> bytes:
    """The merge that takes the mark of one view off."""
    state = decoded(old)
    return replace(state, history={view: mark for view, mark in state.history.items() if view != prefix}).encoded()


def begun(old: bytes | None, prefixes: Collection[bytes]) -> bytes:
    """The stored bytes of a source of which nothing is stored anywhere: its views are whole from their first row on."""
    state = decoded(old)
    if state.ends:  # another process began it meanwhile
        return state.encoded()
    return replace(state, history={**dict.fromkeys(prefixes, HistoryMark()), **state.history}).encoded()
