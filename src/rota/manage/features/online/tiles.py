"""One entity's record in a windowed view: a tile for each hop in which something happened, read, changed and written back.

A tile holds, for each distinct expression that is counted or summed, how many values there were and their exact sum; and for each
min, max and last its value so far. A sum is kept as digits on a fixed grid (see `rota.stats.exact_sums`), so a row that was
corrected is subtracted without a trace. A smallest value cannot be subtracted: where rows have ids the record keeps, behind the
tiles, the values of each row of a tile, and folds those again.

Two formats, told apart by the first byte; both begin with tag, newest event time, tiles kept, and which columns of counts and
digits this entity needs, as codes (see `count_code` and `digit_code`):
S: the id and the columns of each tile, in order, as float64 (a tile id is timestamp // hop, exact up to 2^53).
W, with min, max or last: the length of the tiles; the same list as MessagePack with the folded values behind the columns (whole
   numbers keep all their digits); then which folds they are, and the values of each tile's rows or null.
T and V are those of earlier releases, with a count and a rounded sum for each expression: they are read, and written anew in the
formats above. A sum that had overflowed there is left out with its values, until the view's history is brought online again: what such
a release left has no mark of its history, so that a worker does that by itself.
"""

import math
import struct
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, MutableSequence, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from rota.records.time import Micros
from rota.stats import exact_sums

SUMS, VALUES = b"S", b"W"
_EARLIER_SUMS, _EARLIER_VALUES = b"T", b"V"
TAGS = (SUMS, VALUES, _EARLIER_SUMS, _EARLIER_VALUES)
"""First bytes of the records of windowed views."""
_HEAD = struct.Struct("<cqII")
_LONG = struct.Struct("<cqIII")
_EARLIER_HEAD = struct.Struct("<cqIH")
_EARLIER_LONG = struct.Struct("<cqIHI")
_CODE_BYTES = 4
_CODES_EACH, _ZERO_PLACE, _COUNT = 64, 32, 63
_MOST = exact_sums.MOST_ADDED
Value = float | int | bool | str
Folds = tuple[tuple[str, int], ...]
"""For each folded value of a tile: min, max or last, and which of a row's values it is folded from."""
RowValues = tuple[Micros, Micros, tuple[Value | None, ...]]
"""What one row contributes to the folded values of its tile: event time, created time (both in microseconds), values."""
Counted = Sequence[tuple[int, float]]
"""Numbers to be added to a tile, each with the code of its column."""
_pack = msgspec.msgpack.encode
_read_tiles = msgspec.msgpack.Decoder(list[Any]).decode
_read_rest = msgspec.msgpack.Decoder(tuple[Folds, dict[int, msgspec.Raw] | None]).decode
_read_rows = msgspec.msgpack.Decoder(list[tuple[Micros, Micros, tuple[Value | None, ...]]]).decode


def count_code(slot: int) -> int:
    """The code of the column that counts the values of an expression, given by its number in the view."""
    return slot * _CODES_EACH + _COUNT


def digit_code(slot: int, place: int) -> int:
    """The code of the column that sums one digit of the values of an expression."""
    return slot * _CODES_EACH + _ZERO_PLACE + place


class TileUpdate(NamedTuple):
    """What one row adds to the tiles of its entity: the tile's id, values to fold, counts and digits."""

    tile: int
    values: RowValues
    sums: Counted


class TileLayout(NamedTuple):
    """The layout of a view's records: tiles kept, folded values, and whether rows have ids and can be corrected."""

    keep: int
    folds: Folds = ()
    identified: bool = False


class TileColumns:
    """The columns of counts and digits of a record: their codes in rising order, and where each stands behind a tile's id."""

    __slots__ = ("codes", "offsets", "packed")

    def __init__(self, codes: Iterable[int]) -> None:
        self.codes = sorted(codes)
        self.offsets: Mapping[int, int] = {code: offset for offset, code in enumerate(self.codes, 1)}
        self.packed = array("I", self.codes).tobytes()

    def digits_of(self, slot: int) -> list[tuple[int, int]]:
        """The digits of an expression: (place, offset)."""
        base = digit_code(slot, 0)
        return [(code - base, offset) for code, offset in self.offsets.items() if base - _ZERO_PLACE <= code < count_code(slot)]


NO_COLUMNS = TileColumns(())


@lru_cache(maxsize=1_024)
def _columns(packed: bytes) -> TileColumns:
    codes = array("I")
    codes.frombytes(packed)
    return TileColumns(codes)


class Tiles:
    """A record opened for change."""

    __slots__ = ("_columns", "_folds", "_keep", "_rows", "_width", "newest_us", "numbers")

    def __init__(
        self, newest_us: Micros, keep: int, columns: TileColumns, numbers: MutableSequence[Any], folds: Folds, rows: dict[int, Any] | None
    ) -> None:
        self.newest_us = newest_us
        self._keep = keep
        self._columns = columns
        self._width = 1 + len(columns.codes) + len(folds)
        self.numbers = numbers
        self._folds = folds
        self._rows = rows  # tile -> list of RowValues, or its bytes while nobody needs it

    @classmethod
    def empty(cls, layout: TileLayout) -> "Tiles":
        """The record of an entity without rows."""
        rows: dict[int, Any] | None = {} if layout.folds and layout.identified else None
        return cls(-(2**63), layout.keep, NO_COLUMNS, [] if layout.folds else array("d"), layout.folds, rows)

    @classmethod
    def parse(cls, data: bytes) -> "Tiles":
        """A stored record."""
        tag = data[:1]
        if tag == SUMS:
            _, newest_us, keep, count = _HEAD.unpack_from(data)
            start = _HEAD.size + _CODE_BYTES * count
            return cls(newest_us, keep, _columns(data[_HEAD.size : start]), _floats(data, start), (), None)
        if tag == VALUES:
            _, newest_us, keep, count, size = _LONG.unpack_from(data)
            start = _LONG.size + _CODE_BYTES * count
            folds, rows = _read_rest(memoryview(data)[start + size :])
            return cls(newest_us, keep, _columns(data[_LONG.size : start]), _read_tiles(memoryview(data)[start : start + size]), folds, rows)
        if tag == _EARLIER_SUMS:
            _, newest_us, keep, width = _EARLIER_HEAD.unpack_from(data)
            columns, numbers = _converted(_floats(data, _EARLIER_HEAD.size), width, folds=0)
            return cls(newest_us, keep, columns, array("d", numbers), (), None)
        _, newest_us, keep, width, size = _EARLIER_LONG.unpack_from(data)
        start = _EARLIER_LONG.size
        folds, rows = _read_rest(memoryview(data)[start + size :])
        columns, numbers = _converted(_read_tiles(memoryview(data)[start : start + size]), width, folds=len(folds))
        return cls(newest_us, keep, columns, numbers, folds, rows)

    @property
    def columns(self) -> TileColumns:
        """What stands behind a tile's id."""
        return self._columns

    def add(self, update: TileUpdate) -> None:
        """Count one row."""
        self._count(update.tile, update.sums)
        self.newest_us = max(self.newest_us, update.values[0])
        if self._rows is not None:
            self.row_values(update.tile).append(update.values)
            self._fold_again(update.tile)
        elif self._folds:
            self._fold(self._place(update.tile), [update.values])

    def add_unfolded(self, update: TileUpdate) -> None:
        """`add` for many rows, folded later: call `finalize` after the last row."""
        if self._rows is None:
            self.add(update)
            return
        self._count(update.tile, update.sums)
        self.row_values(update.tile).append(update.values)

    def finalize(self, newest_us: Micros) -> None:
        """Fold what `add_unfolded` left; `newest_us` is the newest event time, also of rows that do not count any more."""
        self.newest_us = newest_us
        for tile in self._rows or ():
            self._fold_again(tile)

    def subtract(self, update: TileUpdate) -> None:
        """Subtract a row that was counted before; nothing happens where its tile has gone already."""
        if self._found(update.tile) is None:
            return
        self._count(update.tile, [(code, -number) for code, number in update.sums])
        if self._rows is not None and update.values in (known := self.row_values(update.tile)):
            known.remove(update.values)
            self._fold_again(update.tile)

    def replace(self, old: TileUpdate, new: TileUpdate) -> None:
        """Put the values of a row in the place of its earlier ones: same tile, same sums."""
        self.newest_us = max(self.newest_us, new.values[0])
        at = self._found(old.tile)
        if at is not None and self._rows is not None and old.values in (known := self.row_values(old.tile)):
            known[known.index(old.values)] = new.values
            self._fold_again(old.tile)

    def join(self, other: "Tiles") -> None:
        """Count all rows of another record of the same view."""
        codes, folds = other.columns.codes, len(self._folds)
        width = 1 + len(codes) + folds
        for start in range(0, len(other.numbers), width):
            tile, end = int(other.numbers[start]), start + width
            self._count(tile, list(zip(codes, other.numbers[start + 1 : end - folds], strict=True)))
            if self._rows is not None:
                self.row_values(tile).extend(other.row_values(tile))
                self._fold_again(tile)
            else:
                mine = self._place(tile) + self._width - folds
                for i, (kind, _) in enumerate(self._folds):
                    self.numbers[mine + i] = _FOLDS[kind](self.numbers[mine + i], other.numbers[end - folds + i])
        self.newest_us = max(self.newest_us, other.newest_us)

    def dump(self) -> bytes:
        """The record's bytes, without the tiles that no window reaches any more."""
        ids = self.numbers[:: self._width]
        gone = bisect_left(ids, ids[-1] - self._keep + 1) if ids else 0
        if gone:
            if self._rows:
                for tile in ids[:gone]:
                    self._rows.pop(tile, None)
            del self.numbers[: gone * self._width]
            self._spread([code for code, offset in self._columns.offsets.items() if any(self.numbers[offset :: self._width])])
        if not self._folds:
            return sums_record(self.newest_us, self._keep, self._columns, self.numbers.tobytes())  # type: ignore[attr-defined]
        packed = _pack(self.numbers)
        head = _LONG.pack(VALUES, self.newest_us, self._keep, len(self._columns.codes), len(packed))
        return head + self._columns.packed + packed + _pack((self._folds, self._rows))

    def row_values(self, tile: int) -> list[RowValues]:
        """The values of each row of a tile, where rows can be corrected."""
        assert self._rows is not None
        known = self._rows.get(tile)
        if not isinstance(known, list):
            known = self._rows[tile] = [] if known is None else _read_rows(known)
        return known

    def _count(self, tile: int, sums: Counted) -> None:
        """Add counts and digits to a tile."""
        at, numbers, offsets, most = self._place(tile), self.numbers, self._columns.offsets, _MOST
        for i, (code, number) in enumerate(sums):
            offset = offsets.get(code)
            if offset is None:
                self._spread({*self._columns.codes, *(code for code, _ in sums)})
                self._count(tile, sums[i:])
                return
            made = numbers[at + offset] = numbers[at + offset] + number
            if made > most or made < -most:
                self._carry(tile, code)
                self._count(tile, sums[i + 1 :])
                return

    def _carry(self, tile: int, code: int) -> None:
        """Bring a digit that became large into its range, and the rest of it to the next place."""
        at = self._place(tile) + self._columns.offsets[code]
        self.numbers[at], carry = exact_sums.carried(self.numbers[at])
        self._count(tile, [(code + 1, carry)])

    def _spread(self, codes: Iterable[int]) -> None:
        """Give the record these columns; those that it has not yet are zero, those that it has not any more were."""
        columns, before, width = _columns(array("I", sorted(codes)).tobytes()), self._columns, self._width
        if columns is before:
            return
        folds, tiles = len(self._folds), len(self.numbers) // width
        self._columns, self._width = columns, 1 + len(columns.codes) + folds
        if not tiles:
            return
        zeros = [0.0] * (tiles * self._width)
        numbers: Any = zeros if self._folds else array("d", zeros)
        moved = [(offset, before.offsets[code]) for code, offset in columns.offsets.items() if code in before.offsets]
        for to, start in [(0, 0), *moved, *((self._width - i, width - i) for i in range(1, folds + 1))]:
            numbers[to :: self._width] = self.numbers[start::width]
        self.numbers = numbers

    def _found(self, tile: int) -> int | None:
        at = self._at(tile)
        return at if at < len(self.numbers) and self.numbers[at] == tile else None

    def _at(self, tile: int) -> int:
        """Where a tile begins among the numbers, or would; most often it is the last one."""
        end = len(self.numbers)
        last = self.numbers[end - self._width] if end else -math.inf
        if tile >= last:
            return end if tile > last else end - self._width
        return bisect_left(self.numbers[:: self._width], tile) * self._width

    def _place(self, tile: int) -> int:
        """Where a tile begins; an empty one is made where there is none."""
        at = self._at(tile)
        if at == len(self.numbers) or self.numbers[at] != tile:
            columns = [0.0] * len(self._columns.codes)
            self.numbers[at:at] = [tile, *columns, *[None] * len(self._folds)] if self._folds else array("d", [tile, *columns])
        return at

    def _fold_again(self, tile: int) -> None:
        at = self._place(tile)
        first = at + self._width - len(self._folds)
        self.numbers[first : at + self._width] = [None] * len(self._folds)
        self._fold(at, self.row_values(tile))

    def _fold(self, at: int, rows: Sequence[RowValues]) -> None:
        for i, (kind, of) in enumerate(self._folds, at + self._width - len(self._folds)):
            self.numbers[i] = folded(kind, [self.numbers[i], *(fold_of(kind, row, of) for row in rows)])


def sums_record(newest_us: Micros, keep: int, columns: TileColumns, numbers: bytes) -> bytes:
    """A record without folded values, of numbers in the form that it keeps them in."""
    return _HEAD.pack(SUMS, newest_us, keep, len(columns.codes)) + columns.packed + numbers


def opened(data: bytes) -> tuple[TileColumns, Sequence[Any]]:
    """The columns and the tiles of a record, these as one flat sequence: all that reading needs."""
    tag = data[:1]
    if tag == SUMS:
        start = _HEAD.size + _CODE_BYTES * _HEAD.unpack_from(data)[3]
        return _columns(data[_HEAD.size : start]), _floats(data, start)
    if tag == VALUES:
        _, _, _, count, size = _LONG.unpack_from(data)
        start = _LONG.size + _CODE_BYTES * count
        return _columns(data[_LONG.size : start]), _read_tiles(memoryview(data)[start : start + size])
    earlier = Tiles.parse(data)
    return earlier.columns, earlier.numbers


def _converted(numbers: Sequence[Any], width: int, *, folds: int) -> tuple[TileColumns, list[Any]]:
    """The tiles of an earlier release, each an id, a count and a sum in turns, then the folded values."""
    counted: list[dict[int, float]] = []
    for start in range(0, len(numbers), width):
        pairs, found = numbers[start + 1 : start + width - folds], dict[int, float]()
        for slot, (count, total) in enumerate(zip(pairs[::2], pairs[1::2], strict=True)):
            if math.isfinite(total):
                found |= {count_code(slot): count} | {digit_code(slot, place): digit for place, digit in exact_sums.digits(total)}
        counted.append(found)
    columns = TileColumns({code for found in counted for code in found})
    made: list[Any] = []
    for start, found in zip(range(0, len(numbers), width), counted, strict=True):
        made += [numbers[start], *(found.get(code, 0.0) for code in columns.codes), *numbers[start + width - folds : start + width]]
    return columns, made


def _floats(data: bytes, start: int) -> "array[float]":
    numbers = array("d")
    numbers.frombytes(memoryview(data)[start:])
    return numbers


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
