"""One entity's record in a windowed view: a tile for each hop in which something happened, read, changed and written back.

A tile holds, for each distinct expression that is counted or summed, how many values there were and their sum; and for each
min, max and last its value so far. Counts and sums of a row that was corrected are subtracted; a smallest value cannot be,
so where rows have ids the record keeps, behind the tiles, the values of each row of a tile, and folds those again.

Two formats, told apart by the first byte; both begin with tag, newest event time, tiles kept and width:
T: id, count, sum, count, sum ... of each tile, in order, as float64 (a tile id is timestamp // hop, exact up to 2^53).
V, with min, max or last: the length of the tiles; the same list as MessagePack with the folded values behind the sums (whole
   numbers keep all their digits); then which folds they are, and the values of each tile's rows or null.
"""

import struct
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, MutableSequence, Sequence
from typing import Any, NamedTuple

import msgspec

from rota.records.time import Micros

SUMS, VALUES = b"T", b"V"
_HEAD = struct.Struct("<cqIH")
_LONG = struct.Struct("<cqIHI")
Value = float | int | bool | str
Folds = tuple[tuple[str, int], ...]
"""For each folded value of a tile: min, max or last, and which of a row's values it is folded from."""
RowValues = tuple[Micros, Micros, tuple[Value | None, ...]]
"""What one row contributes to the folded values of its tile: event time, created time (both in microseconds), values."""
_pack = msgspec.msgpack.encode
_read_tiles = msgspec.msgpack.Decoder(list[Any]).decode
_read_rest = msgspec.msgpack.Decoder(tuple[Folds, dict[int, msgspec.Raw] | None]).decode
_read_rows = msgspec.msgpack.Decoder(list[tuple[Micros, Micros, tuple[Value | None, ...]]]).decode


class TileUpdate(NamedTuple):
    """What one row adds to the tiles of its entity: the tile's id, values to fold, and a count and a sum for each counted expression."""

    tile: int
    values: RowValues
    sums: Sequence[float]


class TileLayout(NamedTuple):
    """The layout of a view's records: tiles kept, counted expressions, folded values, and whether rows have ids and can be corrected."""

    keep: int
    sums: int
    folds: Folds = ()
    identified: bool = False

    @property
    def width(self) -> int:
        """Numbers of one tile: its id, a count and a sum for each counted expression, the folded values."""
        return 1 + 2 * self.sums + len(self.folds)


class Tiles:
    """A record opened for change."""

    __slots__ = ("_folds", "_keep", "_rows", "_width", "newest_us", "numbers")

    def __init__(self, newest_us: Micros, keep: int, width: int, numbers: MutableSequence[Any], folds: Folds, rows: dict[int, Any] | None) -> None:
        self.newest_us = newest_us
        self._keep = keep
        self._width = width
        self.numbers = numbers
        self._folds = folds
        self._rows = rows  # tile -> list of RowValues, or its bytes while nobody needs it

    @classmethod
    def empty(cls, layout: TileLayout) -> "Tiles":
        """The record of an entity without rows."""
        rows: dict[int, Any] | None = {} if layout.folds and layout.identified else None
        return cls(-(2**63), layout.keep, layout.width, [] if layout.folds else array("d"), layout.folds, rows)

    @classmethod
    def parse(cls, data: bytes) -> "Tiles":
        """A stored record."""
        if data[:1] == SUMS:
            _, newest_us, keep, width = _HEAD.unpack_from(data)
            numbers = array("d")
            numbers.frombytes(memoryview(data)[_HEAD.size :])
            return cls(newest_us, keep, width, numbers, (), None)
        _, newest_us, keep, width, size = _LONG.unpack_from(data)
        folds, rows = _read_rest(memoryview(data)[_LONG.size + size :])
        return cls(newest_us, keep, width, _read_tiles(memoryview(data)[_LONG.size : _LONG.size + size]), folds, rows)

    def add(self, update: TileUpdate) -> None:
        """Count one row."""
        at = self._place(update.tile)
        for i, number in enumerate(update.sums, at + 1):
            self.numbers[i] += number
        self.newest_us = max(self.newest_us, update.values[0])
        if self._rows is not None:
            self.row_values(update.tile).append(update.values)
            self._fold_again(update.tile, at)
        elif self._folds:
            self._fold(at, [update.values])

    def add_unfolded(self, update: TileUpdate) -> None:
        """`add` for many rows, folded later: call `finalize` after the last row."""
        if self._rows is None:
            self.add(update)
            return
        at = self._place(update.tile)
        for i, number in enumerate(update.sums, at + 1):
            self.numbers[i] += number
        self.row_values(update.tile).append(update.values)

    def finalize(self, newest_us: Micros) -> None:
        """Fold what `add_unfolded` left; `newest_us` is the newest event time, also of rows that do not count any more."""
        self.newest_us = newest_us
        for tile in self._rows or ():
            self._fold_again(tile, self._place(tile))

    def subtract(self, update: TileUpdate) -> None:
        """Subtract a row that was counted before; nothing happens where its tile has gone already."""
        at = self._found(update.tile)
        if at is None:
            return
        for i, number in enumerate(update.sums, at + 1):
            self.numbers[i] -= number
        if self._rows is not None and update.values in (known := self.row_values(update.tile)):
            known.remove(update.values)
            self._fold_again(update.tile, at)

    def replace(self, old: TileUpdate, new: TileUpdate) -> None:
        """Put the values of a row in the place of its earlier ones: same tile, same sums."""
        at = self._found(old.tile)
        if at is not None and self._rows is not None and old.values in (known := self.row_values(old.tile)):
            known[known.index(old.values)] = new.values
            self._fold_again(old.tile, at)

    def join(self, other: "Tiles") -> None:
        """Count all rows of another record of the same view."""
        for start in range(0, len(other.numbers), self._width):
            at = self._place(int(other.numbers[start]))
            for i in range(1, self._width - len(self._folds)):
                self.numbers[at + i] += other.numbers[start + i]
            if self._rows is not None:
                tile = int(other.numbers[start])
                self.row_values(tile).extend(other.row_values(tile))
                self._fold_again(tile, at)
            else:
                for i, (kind, _) in enumerate(self._folds, self._width - len(self._folds)):
                    self.numbers[at + i] = _FOLDS[kind](self.numbers[at + i], other.numbers[start + i])
        self.newest_us = max(self.newest_us, other.newest_us)

    def dump(self) -> bytes:
        """The record's bytes, without the tiles that no window reaches any more."""
        numbers, ids = self.numbers, self.numbers[:: self._width]
        gone = bisect_left(ids, ids[-1] - self._keep + 1) if ids else 0
        if gone:
            if self._rows:
                for tile in ids[:gone]:
                    self._rows.pop(tile, None)
            del numbers[: gone * self._width]
        if not self._folds:
            return sums_record(self.newest_us, self._keep, self._width, numbers.tobytes())  # type: ignore[attr-defined]
        packed = _pack(numbers)
        return _LONG.pack(VALUES, self.newest_us, self._keep, self._width, len(packed)) + packed + _pack((self._folds, self._rows))

    def _found(self, tile: int) -> int | None:
        ids = self.numbers[:: self._width]
        place = bisect_left(ids, tile)
        return place * self._width if place < len(ids) and ids[place] == tile else None

    def _place(self, tile: int) -> int:
        """Where a tile begins among the numbers; an empty one is made where there is none."""
        ids = self.numbers[:: self._width]
        place = bisect_left(ids, tile)
        at = place * self._width
        if place == len(ids) or ids[place] != tile:
            values = len(self._folds)
            empty = [float(tile), *[0.0] * (self._width - 1 - values)]
            self.numbers[at:at] = [tile, *empty[1:], *[None] * values] if isinstance(self.numbers, list) else array("d", empty)
        return at

    def row_values(self, tile: int) -> list[RowValues]:
        """The values of each row of a tile, where rows can be corrected."""
        assert self._rows is not None
        known = self._rows.get(tile)
        if not isinstance(known, list):
            known = self._rows[tile] = [] if known is None else _read_rows(known)
        return known

    def _fold_again(self, tile: int, at: int) -> None:
        first = at + self._width - len(self._folds)
        self.numbers[first : at + self._width] = [None] * len(self._folds)
        self._fold(at, self.row_values(tile))

    def _fold(self, at: int, rows: Sequence[RowValues]) -> None:
        for i, (kind, of) in enumerate(self._folds, at + self._width - len(self._folds)):
            self.numbers[i] = folded(kind, [self.numbers[i], *(fold_of(kind, row, of) for row in rows)])


def sums_record(newest_us: Micros, keep: int, width: int, numbers: bytes) -> bytes:
    """A record without folded values, of numbers in the form that it keeps them in."""
    return _HEAD.pack(SUMS, newest_us, keep, width) + numbers


def numbers_of(data: bytes) -> Sequence[Any]:
    """The tiles of a record as one flat sequence: all that reading needs."""
    if data[:1] == SUMS:
        numbers = array("d")
        numbers.frombytes(memoryview(data)[_HEAD.size :])
        return numbers
    size = _LONG.unpack_from(data)[4]
    return _read_tiles(memoryview(data)[_LONG.size : _LONG.size + size])


def changed(layout: TileLayout, changes: Iterable[tuple[TileUpdate | None, TileUpdate | None]], old: bytes | None) -> bytes:
    """An entity's record after each (row that it had counted, row that takes its place); either may be missing."""
    record = Tiles.parse(old) if old else Tiles.empty(layout)
    for taken, added in changes:
        if taken is not None and added is not None and taken[:1] + taken[2:] == added[:1] + added[2:]:
            record.replace(taken, added)
            continue
        if taken is not None:
            record.subtract(taken)
        if added is not None:
            record.add(added)
    return record.dump()


def joined(old: bytes, new: bytes) -> bytes:
    """The record of the rows of both records."""
    tiles = Tiles.parse(old)
    tiles.join(Tiles.parse(new))
    return tiles.dump()


def fold_of(kind: str, values: RowValues, of: int) -> Any:
    """The folded value of one row alone; a last value stands with its times, which decide between rows."""
    value = values[2][of]
    return value if value is None or kind != "last" else (values[0], values[1], value)


def folded(kind: str, states: Sequence[Any]) -> Any:
    """Several states of a min, max or last as one; None is no value."""
    known = [state for state in states if state is not None]
    return _PICKS[kind](known) if known else None


def _last(states: Sequence[Any]) -> Any:
    """Ordered by event time, then created time, then the value itself."""
    return max(map(tuple, states))


_PICKS: dict[str, Callable[[Any], Any]] = {"min": min, "max": max, "last": _last}
_FOLDS: dict[str, Callable[[Any, Any], Any]] = {kind: lambda a, b, kind=kind: folded(kind, [a, b]) for kind in _PICKS}  # type: ignore[misc]
