"""Windowed aggregates online: one record per entity with a tile for each hop in which something happened.

A tile holds, for each distinct expression of the view, how many values there were and their sum. The window of length W
at time t is the tiles from floor(t - W, hop) on: exactly the rows with floor(t - W, hop) <= timestamp <= t, because
nothing that is stored happened after t. A late row goes to its own tile while the longest window can still reach it.
Tiles add up: the merge of two records is the record of all their rows. Values that are null or not finite do not take part.

Record: tag "T", newest event time, tiles kept, width, then the tiles in order: id, count, sum, count, sum ... as float64
(a tile id is timestamp // hop, exact in a float up to 2^53).
"""

import math
import struct
from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from rota.errors import InvalidInput
from rota.manage.features import expressions
from rota.manage.features.stored import Entities, layout
from rota.records.data import Aggregation, FeatureView
from rota.records.time import Micros, micros

TILES = b"T"
_HEAD = struct.Struct("<cqIH")
_MOST_TILES = 4_096


class WindowView(Entities):
    """A view of windowed features as it is stored."""

    def __init__(self, view: FeatureView) -> None:
        super().__init__(view)
        self.view = view
        self.timestamp_field = view.source.timestamp_field
        self.ttl_us = micros(view.ttl) if view.ttl is not None else None
        self.hop_us = micros(view.hop)
        self.sqls = slots(view)
        self._compute = expressions.compile_values(self.sqls, view.source.fields)
        self._width = 1 + 2 * len(self.sqls)
        self.keep = tiles_kept(view)
        self.empty = (None,) * len(view.features)
        windows = sorted({micros(feature.window or "") for feature in view.features.values()})
        self._windows = [
            (window, sorted({self.sqls.index(f.sql) for f in view.features.values() if micros(f.window or "") == window})) for window in windows
        ]
        self._features: list[tuple[Aggregation, tuple[int, int]]] = [
            (feature.aggregation or "count", (micros(feature.window or ""), self.sqls.index(feature.sql))) for _, feature in layout(view)
        ]

    def encode(self, row: Mapping[str, Any], sign: float = 1.0) -> bytes:
        """The record of one row; with sign -1 the record that takes the row away again."""
        event_us = row[self.timestamp_field]
        tile = array("d", [event_us // self.hop_us])
        for value in self._compute(row):
            tile.extend(contribution(value, sign))
        return self.record(event_us, tile.tobytes())

    def record(self, newest_us: Micros, tiles: bytes) -> bytes:
        return _HEAD.pack(TILES, newest_us, self.keep, self._width) + tiles

    def decode(self, data: bytes | None, now_us: Micros) -> tuple[Any, ...]:
        """The feature values at a moment, in the order of `layout`; all null for an unknown entity or one without rows for the view's ttl."""
        if not data:
            return self.empty
        newest_us = _HEAD.unpack_from(data)[1]
        if self.ttl_us is not None and now_us - newest_us > self.ttl_us:
            return self.empty
        tiles = array("d")
        tiles.frombytes(memoryview(data)[_HEAD.size :])
        width, ids = self._width, tiles[:: self._width]
        folded: dict[tuple[int, int], tuple[float, float]] = {}
        for window_us, used in self._windows:
            first = bisect_left(ids, (now_us - window_us) // self.hop_us) * width
            for slot in used:
                folded[window_us, slot] = (sum(tiles[first + 1 + 2 * slot :: width]), sum(tiles[first + 2 + 2 * slot :: width]))
        return tuple([finish(aggregation, *folded[place]) for aggregation, place in self._features])


def contribution(value: Any, sign: float = 1.0) -> tuple[float, float]:
    """What one value adds to its tile: a count and a sum."""
    if value is None:
        return 0.0, 0.0
    if type(value) is str:
        return sign, 0.0
    value = float(value)
    return (sign, sign * value) if math.isfinite(value) else (0.0, 0.0)


def contributions(view: FeatureView) -> list[pl.Expr]:
    """`contribution` over columns: c0, s0, c1, s1 ... for the distinct expressions of the view."""
    columns = []
    for slot, sql in enumerate(slots(view)):
        value = expressions.column(sql, view.source.fields)
        counts, total = value.is_not_null(), pl.lit(0.0)
        if expressions.type_of(sql, view.source.fields) != "string":
            number = value.cast(pl.Float64)
            counts = number.is_finite().fill_null(value=False)
            total = pl.when(counts).then(number).otherwise(0.0)
        columns += [counts.cast(pl.Float64).alias(f"c{slot}"), total.alias(f"s{slot}")]
    return columns


def finish(aggregation: Aggregation, count: float, total: float) -> float | int | None:
    """The aggregate of a window: an empty one has the count 0 and nothing else."""
    if aggregation == "count":
        return round(count)
    if count <= 0:
        return None
    return total if aggregation == "sum" else total / count


def add(old: bytes, new: bytes) -> bytes:
    """The record of the rows of both records."""
    _, newest_us, keep, width = _HEAD.unpack_from(old)
    _, other_us, *_ = _HEAD.unpack_from(new)
    tiles, more = array("d"), array("d")
    tiles.frombytes(memoryview(old)[_HEAD.size :])
    more.frombytes(memoryview(new)[_HEAD.size :])
    for start in range(0, len(more), width):
        ids = tiles[::width]
        place = bisect_left(ids, more[start])
        at = place * width
        if place < len(ids) and ids[place] == more[start]:
            for i in range(1, width):
                tiles[at + i] += more[start + i]
        else:
            tiles[at:at] = more[start : start + width]
    del tiles[: _expired(tiles, keep, width)]
    return _HEAD.pack(TILES, max(newest_us, other_us), keep, width) + tiles.tobytes()


def _expired(tiles: Sequence[float], keep: int, width: int) -> int:
    """Leading numbers that belong to tiles no window can reach any more."""
    if not tiles:
        return 0
    ids = tiles[::width]
    return bisect_left(ids, ids[-1] - keep + 1) * width


def slots(view: FeatureView) -> list[str]:
    """The distinct expressions of a windowed view."""
    return sorted({feature.sql for feature in view.features.values()})


def tiles_kept(view: FeatureView) -> int:
    """Tiles that the longest window can reach, and one more for clocks that differ a little."""
    hop_us = micros(view.hop)
    if hop_us < 1:
        raise InvalidInput(f"feature view {view.name!r}: hop {view.hop!r} is zero; give at least a second", view=view.name)
    longest = max(micros(feature.window or "") for feature in view.features.values())
    kept = -(-longest // hop_us) + 2
    if kept > _MOST_TILES:
        raise InvalidInput(
            f"feature view {view.name!r}: its longest window has {kept} hops of {view.hop}, at most {_MOST_TILES} are kept; choose a longer hop",
            view=view.name,
        )
    return kept
