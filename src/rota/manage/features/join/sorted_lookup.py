"""Moments of entities in order, found by binary search: entity number and time packed into one 64-bit key.

A merge of both sides (`join_asof`) walks every row; a search touches only what is asked for, and the packed key of a million
rows is one sorted array. Numbers of entities are 0, 1, 2 ...; where number and time do not fit into 64 bits together, times
are replaced by their ranks, which always do.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

Ints = np.ndarray
_ROOM = 2**62


class Timeline:
    """Rows (entity, moment), in whatever order they come."""

    def __init__(self, entities: Ints, moments: Ints) -> None:
        self._low, self._high = (int(moments.min()), int(moments.max())) if len(moments) else (0, 0)
        self._ranks = None
        count = int(entities.max()) + 1 if len(entities) else 1
        if (self._high - self._low + 2) * count > _ROOM:
            self._ranks = np.unique(moments)
            self._low, self._high = 0, len(self._ranks) - 1
            moments = np.searchsorted(self._ranks, moments)
        self._width = self._high - self._low + 2
        self.keys = entities * self._width  # then in place: fresh pages cost more than the arithmetic
        self.keys += moments
        self.keys -= self._low - 1
        """Grow with (entity, moment); equal keys are equal pairs."""

    def at(self, entities: Ints, moments: Ints) -> Ints:
        """The keys of questions; a moment before all rows gets one that lies between two entities."""
        if self._ranks is not None:
            moments = np.searchsorted(self._ranks, moments, side="right") - 1
        keys: Ints = entities * self._width + (np.clip(moments, self._low - 1, self._high) - (self._low - 1))
        return keys

    def last(self, ordered: Ints, entities: Ints, moments: Ints) -> Ints:
        """For each question the place in `ordered` (the keys, sorted) of the entity's last row at or before the moment, or -1."""
        asked = self.at(entities, moments)
        order = np.argsort(asked)
        places = np.empty(len(asked), dtype=np.int64)
        places[order] = np.searchsorted(ordered, asked[order], side="right") - 1
        found = ordered[np.maximum(places, 0)] // self._width == entities if len(ordered) else np.zeros(len(asked), dtype=bool)
        return np.where(found & (places >= 0) & (entities >= 0), places, -1)


@dataclass(frozen=True, slots=True)
class Ordered:
    """Keys in order, and which row stands at each place: `order` of all of them (None: their own), but `rows` at `places`."""

    keys: Ints
    order: Ints | None
    places: Ints
    rows: Ints

    def row(self, places: Ints) -> Ints:
        """The rows at places; -1 stays."""
        found = places if self.order is None else through(places, self.order)
        if not len(self.places):
            return found
        near = np.minimum(np.searchsorted(self.places, places), len(self.places) - 1)
        return np.where(self.places[near] == places, self.rows[near], found)

    def ranks(self) -> Ints:
        """The place of each row."""
        order = np.arange(len(self.keys)) if self.order is None else self.order.copy()
        order[self.places] = self.rows
        ranks = np.empty_like(order)
        ranks[order] = np.arange(len(order))
        return ranks


def ordered_by(keys: Ints, second: Ints | None, encode: Callable[[Ints], list[bytes]]) -> Ordered:
    """Rows in the order of (key, second, their bytes); keys that stand in order already are left where they are.

    `encode` is asked for the bytes of those rows only that agree in both numbers.
    """
    order = None if len(keys) < 2 or bool((keys[1:] >= keys[:-1]).all()) else np.argsort(keys)
    ordered = keys if order is None else keys[order]
    same = ordered[1:] == ordered[:-1]
    if second is None or not same.any():
        return Ordered(ordered, order, _NOWHERE, _NOWHERE)
    places = np.flatnonzero(np.append(same, False) | np.insert(same, 0, False))
    rows = places if order is None else order[places]
    group = pl.DataFrame({"row": rows, "key": ordered[places], "second": second[rows]})
    tied = group.select(pl.struct("key", "second").is_duplicated()).to_series()
    if tied.any():
        data = pl.Series([b""] * group.height, dtype=pl.Binary).scatter(tied.arg_true(), pl.Series(encode(rows[tied.to_numpy()]), dtype=pl.Binary))
        group = group.with_columns(data.alias("data")).sort("key", "second", "data", maintain_order=True)
    else:
        group = group.sort("key", "second", maintain_order=True)
    settled = group["row"].to_numpy()
    moved = settled != rows
    return Ordered(ordered, order, places[moved], settled[moved])


def through(places: Ints, targets: Ints) -> Ints:
    """Places led through a list of places; -1 stays."""
    if not len(targets):
        return np.full(len(places), -1)
    return np.where(places >= 0, targets[places], -1)


_NOWHERE = np.array([], dtype=np.int64)
