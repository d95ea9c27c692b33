"""One entity's record in a windowed view: a tile for each hop in which something happened, read, changed and written back.

A tile holds, for each distinct expression that is counted or summed, how many values there were and their sum; and for each
min, max and last its value so far. Counts and sums of a row that was corrected are subtracted; a smallest value cannot be,
so where rows have ids the record keeps, behind the tiles, what each row of a tile gave, and folds that again.

Two formats, told apart by the first byte; both begin with tag, newest event time, tiles kept and width:
T: id, count, sum, count, sum ... of each tile, in order, as float64 (a tile id is timestamp // hop, exact up to 2^53).
V, with min, max or last: the length of the tiles; the same list as MessagePack with the values behind the sums (whole
   numbers keep all their digits); then the plan of the values, and the rows of each tile or null.
"""

import struct
from array import array
from bisect import bisect_left
from collections.abc import Callable, MutableSequence, Sequence
from typing import Any, NamedTuple

import msgspec

from rota.records.time import Micros

SUMS, VALUES = b"T", b"V"
_HEAD = struct.Struct("<cqIH")
_LONG = struct.Struct("<cqIHI")
Value = float | int | bool | str
Plan = tuple[tuple[str, int], ...]
"""For each value of a tile: min, max or last, and which of a row's values it is folded from."""
Given = tuple[Micros, Micros, tuple[Value | None, ...]]
"""What one row gives to the values of its tile: event time, created time, values."""
_pack = msgspec.msgpack.encode
_read_tiles = msgspec.msgpack.Decoder(list[Any]).decode
_read_rest = msgspec.msgpack.Decoder(tuple[Plan, dict[int, msgspec.Raw] | None]).decode
_read_rows = msgspec.msgpack.Decoder(list[tuple[Micros, Micros, tuple[Value | None, ...]]]).decode


class Part(NamedTuple):
    """What one row adds to the tiles of its entity."""

    tile: int
    given: Given
    sums: Sequence[float]


class Shape(NamedTuple):
    """What the record of a view looks like: tiles kept, counted expressions, folded values, and whether rows can be taken back."""

    keep: int
    sums: int
    plan: Plan = ()
    identified: bool = False

    @property
    def width(self) -> int:
        return 1 + 2 * self.sums + len(self.plan)


class Tiles:
    """A record opened for change."""

    __slots__ = ("_keep", "_plan", "_rows", "_width", "newest_us", "numbers")

    def __init__(self, newest_us: Micros, keep: int, width: int, numbers: MutableSequence[Any], plan: Plan, rows: dict[int, Any] | None) -> None:
        self.newest_us = newest_us
        self._keep = keep
        self._width = width
        self.numbers = numbers
        self._plan = plan
        self._rows = rows  # tile -> list of Given, or its bytes while nobody needs it

    @classmethod
    def empty(cls, shape: Shape) -> "Tiles":
        return cls(-(2**63), shape.keep, shape.width, [] if shape.plan else array("d"), shape.plan, {} if shape.plan and shape.identified else None)

    @classmethod
    def parse(cls, data: bytes) -> "Tiles":
        if data[:1] == SUMS:
            _, newest_us, keep, width = _HEAD.unpack_from(data)
            numbers = array("d")
            numbers.frombytes(memoryview(data)[_HEAD.size :])
            return cls(newest_us, keep, width, numbers, (), None)
        _, newest_us, keep, width, size = _LONG.unpack_from(data)
        plan, rows = _read_rest(memoryview(data)[_LONG.size + size :])
        return cls(newest_us, keep, width, _read_tiles(memoryview(data)[_LONG.size : _LONG.size + size]), plan, rows)

    def add(self, part: Part) -> None:
        """Count one row."""
        at = self._place(part.tile)
        for i, number in enumerate(part.sums, at + 1):
            self.numbers[i] += number
        self.newest_us = max(self.newest_us, part.given[0])
        if self._rows is not None:
            self.given(part.tile).append(part.given)
            self._fold_again(part.tile, at)
        elif self._plan:
            self._fold(at, [part.given])

    def gather(self, part: Part) -> None:
        """`add` for many rows: call `settle` behind the last one."""
        if self._rows is None:
            self.add(part)
            return
        at = self._place(part.tile)
        for i, number in enumerate(part.sums, at + 1):
            self.numbers[i] += number
        self.given(part.tile).append(part.given)

    def settle(self, newest_us: Micros) -> None:
        """Fold what was gathered; `newest_us` is the newest event time, also of rows that do not count any more."""
        self.newest_us = newest_us
        for tile in self._rows or ():
            self._fold_again(tile, self._place(tile))

    def take(self, part: Part) -> None:
        """Take a row away that was counted before; nothing happens where its tile has gone already."""
        at = self._found(part.tile)
        if at is None:
            return
        for i, number in enumerate(part.sums, at + 1):
            self.numbers[i] -= number
        if self._rows is not None and part.given in (given := self.given(part.tile)):
            given.remove(part.given)
            self._fold_again(part.tile, at)

    def renew(self, old: Part, new: Part) -> None:
        """Put the values of a row in the place of those that it gave before: same tile, same sums."""
        at = self._found(old.tile)
        if at is not None and self._rows is not None and old.given in (given := self.given(old.tile)):
            given[given.index(old.given)] = new.given
            self._fold_again(old.tile, at)

    def join(self, other: "Tiles") -> None:
        """Count all rows of another record of the same view."""
        for start in range(0, len(other.numbers), self._width):
            at = self._place(int(other.numbers[start]))
            for i in range(1, self._width - len(self._plan)):
                self.numbers[at + i] += other.numbers[start + i]
            if self._rows is not None:
                tile = int(other.numbers[start])
                self.given(tile).extend(other.given(tile))
                self._fold_again(tile, at)
            else:
                for i, (kind, _) in enumerate(self._plan, self._width - len(self._plan)):
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
        if not self._plan:
            return sums_record(self.newest_us, self._keep, self._width, numbers.tobytes())  # type: ignore[attr-defined]
        packed = _pack(numbers)
        return _LONG.pack(VALUES, self.newest_us, self._keep, self._width, len(packed)) + packed + _pack((self._plan, self._rows))

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
            values = len(self._plan)
            empty = [float(tile), *[0.0] * (self._width - 1 - values)]
            self.numbers[at:at] = [tile, *empty[1:], *[None] * values] if isinstance(self.numbers, list) else array("d", empty)
        return at

    def given(self, tile: int) -> list[Given]:
        """What each row of a tile gave, where rows can be taken back."""
        assert self._rows is not None
        known = self._rows.get(tile)
        if not isinstance(known, list):
            known = self._rows[tile] = [] if known is None else _read_rows(known)
        return known

    def _fold_again(self, tile: int, at: int) -> None:
        first = at + self._width - len(self._plan)
        self.numbers[first : at + self._width] = [None] * len(self._plan)
        self._fold(at, self.given(tile))

    def _fold(self, at: int, given: Sequence[Given]) -> None:
        for i, (kind, of) in enumerate(self._plan, at + self._width - len(self._plan)):
            self.numbers[i] = folded(kind, [self.numbers[i], *(fold_of(kind, row, of) for row in given)])


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


def joined(old: bytes, new: bytes) -> bytes:
    """The record of the rows of both records."""
    tiles = Tiles.parse(old)
    tiles.join(Tiles.parse(new))
    return tiles.dump()


def fold_of(kind: str, given: Given, of: int) -> Any:
    """What one row alone would leave in a tile; a last value stands with its times, which decide between rows."""
    value = given[2][of]
    return value if value is None or kind != "last" else (given[0], given[1], value)


def folded(kind: str, states: Sequence[Any]) -> Any:
    """Several states of a min, max or last as one; None is no value."""
    known = [state for state in states if state is not None]
    return _PICKS[kind](known) if known else None


def _last(states: Sequence[Any]) -> Any:
    """Ordered by event time, then created time, then the value itself."""
    return max(map(tuple, states))


_PICKS: dict[str, Callable[[Any], Any]] = {"min": min, "max": max, "last": _last}
_FOLDS: dict[str, Callable[[Any, Any], Any]] = {kind: lambda a, b, kind=kind: folded(kind, [a, b]) for kind in _PICKS}  # type: ignore[misc]
