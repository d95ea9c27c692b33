"""Windowed aggregates online: which tiles a view keeps of each entity, and what its windows answer out of them.

The window of length W at time t is the tiles from floor(t - W, hop) on: exactly the rows with
floor(t - W, hop) <= timestamp <= t, because nothing that is stored happened after t. A late row goes to its own tile while the
longest window can still reach it. Values that are null or not finite do not take part.

count, sum, mean and share need the count and the exact sum of each expression (see `rota.stats.exact_sums`); each answer is rounded
once. min, max and last fold values as they are, so whole
numbers keep all digits, and last takes texts too. Of rows at one event time the one created last is the last, of those the
one with the largest value. `rota.manage.features.online.tiles` has the record's bytes.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from rota.errors import InvalidInput
from rota.manage.features.expressions import compiler
from rota.manage.features.expressions.column_arithmetic import positive_zero
from rota.manage.features.online import tiles
from rota.manage.features.online.row_codec import Entities, event_time, layout, ttl_us
from rota.manage.features.online.tiles import Counted, Folds, TileColumns, TileLayout, TileUpdate, Value
from rota.records.data import Expression, FeatureView, text_of
from rota.records.schema import Type
from rota.records.time import Micros, micros
from rota.records.value_types import sql_type
from rota.stats import exact_sums

FOLDED = ("min", "max", "last")
_MOST_TILES = 4_096
_FEW = 250
"""So many numbers are added up one by one quicker than all of the tiles' columns at once."""
_MOST_PLANS = 256


class WindowView(Entities):
    """A view of windowed features as it is stored."""

    def __init__(self, view: FeatureView) -> None:
        super().__init__(view)
        self.view = view
        self.timestamp_field = view.source.timestamp_field
        self.ttl_us = ttl_us(view)
        self.hop_us = micros(view.hop)
        self.keep = tiles_kept(view)
        self.layout = TileLayout(self.keep, folds(view), view.source.id_field is not None)
        counted, folded = slots(view), folded_slots(view)
        self.expressions = [*counted, *folded]
        self.empty = (None,) * len(view.features)
        self._compute = compiler.compile_values(self.expressions, view.source.fields)
        kinds = [compiler.type_of(expression, view.source.fields) for expression in folded]
        self._kept = [_KEPT[sql_type(kind)] for kind in kinds]
        self.totalled = totalled(view)
        self._counted = [((tiles.count_code(i), 1.0), tiles.digit_code(i, 0) if sums else None) for i, sums in enumerate(self.totalled)]
        self._plans: dict[bytes, list[WindowReads]] = {}

    def tile_update(self, row: Mapping[str, Any], created_us: Micros) -> TileUpdate:
        """What a row adds to its entity's tiles."""
        event_us = row[self.timestamp_field]
        values, counted = self._compute(row), len(self.totalled)
        kept = tuple([keep(value) for keep, value in zip(self._kept, values[counted:], strict=True)]) if self._kept else ()
        return TileUpdate(event_us // self.hop_us, (event_us, created_us, kept), self.counted(values))

    def counted(self, values: Sequence[Any]) -> Counted:
        """What the values of `slots` count and add."""
        sums: list[tuple[int, float]] = []
        for value, (one, zero) in zip(values, self._counted, strict=False):
            if value is None or (value.__class__ is float and value - value):  # which is nan for what is not finite
                continue
            sums.append(one)
            if zero is not None:
                for place, digit in exact_sums.digits(value):
                    sums.append((zero + place, digit))
        return sums

    def tile_updates(self, rows: Iterable[tuple[Micros, Mapping[str, Any]]]) -> list[TileUpdate]:
        """`tile_update` of many (created time, row)."""
        return [self.tile_update(row, created_us) for created_us, row in rows]

    def encode(self, row: Mapping[str, Any], created_us: Micros = 0) -> bytes:
        """The record of one row."""
        return tiles.changed(self.layout, [(None, self.tile_update(row, created_us))], None)

    def decode(self, data: bytes | None, now_us: Micros) -> tuple[Any, ...]:
        """The feature values at a moment, in the order of `layout`; all null for an unknown entity or one without rows for the view's ttl."""
        if not data:
            return self.empty
        if now_us - event_time(data) > self.ttl_us:
            return self.empty
        columns, numbers = tiles.opened(data)
        width = 1 + len(columns.codes) + len(self.layout.folds)
        ids = numbers[::width]
        values: list[Any] = [None] * len(self.empty)
        for window in self._plans.get(columns.packed) or self._planned(columns):
            first = bisect_left(ids, (now_us - window.length_us) // self.hop_us) * width
            few = len(numbers) - first < _FEW
            sums = [sum(numbers[first + offset :: width]) for offset in window.summed] if few else self._sums(window, numbers, first, width)
            for place, answer in window.answers:
                values[place] = answer(sums)
            for place, kind, offset in window.folds:
                found = tiles.folded(kind, numbers[first + offset :: width])
                values[place] = found[2] if found is not None and kind == "last" else found
        return tuple(values)

    def _sums(self, window: "WindowReads", numbers: Sequence[Any], first: int, width: int) -> Sequence[float]:
        """The sums of columns over many tiles, all of them at once; whole numbers where they may not fit a float."""
        if self.layout.folds:
            table = np.array([numbers[first + offset :: width] for offset in window.summed], dtype=np.float64)
            table = table.T if len(window.summed) else np.empty((0, 0))
        else:
            table = np.frombuffer(numbers).reshape(-1, width)[first // width :]  # type: ignore[call-overload]  # it is an array of floats
        found = np.add.reduce(table if len(table) <= exact_sums.AT_ONCE else table.astype(np.int64), 0).tolist()
        return found if self.layout.folds else [found[offset] for offset in window.summed]

    def _planned(self, columns: TileColumns) -> "list[WindowReads]":
        """How the features are read from records with these columns."""
        if len(self._plans) >= _MOST_PLANS:
            self._plans = {}
        reads: dict[Micros, WindowReads] = {}
        counted, folded, codes = slots(self.view), folded_slots(self.view), columns.offsets
        for place, (_, feature) in enumerate(layout(self.view)):
            kind, length_us = feature.aggregation or "count", micros(feature.window or "")
            window = reads.setdefault(length_us, WindowReads(length_us, [], [], []))
            if kind in FOLDED:
                window.folds.append((place, kind, 1 + len(codes) + self.layout.folds.index((kind, folded.index(feature.expression)))))
                continue
            slot = counted.index(feature.expression)
            counts = codes.get(tiles.count_code(slot))
            digits = columns.digits_of(slot) if kind != "count" and counts is not None else []
            at = [] if counts is None else [window.sum_of(offset) for offset in (counts, *(offset for _, offset in digits))]
            window.answers.append((place, _answer(kind, at, [digit for digit, _ in digits])))
        made = self._plans[columns.packed] = list(reads.values())
        return made


class WindowReads(NamedTuple):
    """What is read of the tiles in a window: columns to sum, features made of the sums, and folds as (place, kind, offset)."""

    length_us: Micros
    summed: list[int]
    answers: list[tuple[int, Callable[[Sequence[float]], float | None]]]
    folds: list[tuple[int, str, int]]

    def sum_of(self, offset: int) -> int:
        """Where the sum of a column stands among the sums."""
        if offset not in self.summed:
            self.summed.append(offset)
        return self.summed.index(offset)


def _answer(kind: str, at: Sequence[int], places: Sequence[int]) -> Callable[[Sequence[float]], float | None]:
    """A feature out of the sums of columns: `at` are the count's and those of the digits; no columns are no values."""
    if not at:
        return (lambda _: 0) if kind == "count" else (lambda _: None)
    counts = at[0]
    if kind == "count":
        return lambda sums: int(sums[counts])
    digits = list(zip(places, at[1:], strict=True))
    if kind == "sum":
        total = exact_sums.total_reader(digits)
        return lambda sums: total(sums) if sums[counts] > 0 else None
    mean = exact_sums.mean_reader(digits)
    return lambda sums: mean(sums, int(sums[counts])) if sums[counts] > 0 else None


def contributions(view: FeatureView) -> list[pl.Expr]:
    """What rows count and sum, over columns: s0, s1 ... for each of `slots`, null where a row does not take part."""
    columns = []
    for slot, each in enumerate(slots(view)):
        expression = compiler.compiled(each, view.source.fields)
        value = expression.column
        if expression.type == "float":
            value = pl.when(value.is_finite()).then(value)
        elif expression.type != "int":
            value = pl.when(value.is_not_null()).then(pl.lit(1) if expression.type != "bool" else value.cast(pl.Int64))
        columns.append(value.alias(f"s{slot}"))
    return columns


def totalled(view: FeatureView) -> list[bool]:
    """For each of `slots` whether it is summed, not only counted."""
    summed = {feature.expression for feature in view.features.values() if feature.aggregation in ("sum", "mean", "share")}
    return [expression in summed for expression in slots(view)]


def values_taken(view: FeatureView) -> list[pl.Expr]:
    """What rows give to min, max and last, over columns: v0, v1 ... for each of `folded_slots`."""
    columns = []
    for slot, each in enumerate(folded_slots(view)):
        expression = compiler.compiled(each, view.source.fields)
        value = expression.column
        if expression.type == "float":
            value = pl.when(value.is_finite()).then(positive_zero(value))
        columns.append(value.alias(f"v{slot}"))
    return columns


def slots(view: FeatureView) -> list[Expression]:
    """The distinct expressions of a windowed view that are counted or summed."""
    return sorted({feature.expression for feature in view.features.values() if feature.aggregation not in FOLDED}, key=text_of)


def folded_slots(view: FeatureView) -> list[Expression]:
    """The distinct expressions of a windowed view of which there is a min, max or last."""
    return sorted({feature.expression for feature in view.features.values() if feature.aggregation in FOLDED}, key=text_of)


def folds(view: FeatureView) -> Folds:
    """The folded values that each tile of a view holds: which fold, and of which of `folded_slots`."""
    folded = folded_slots(view)
    return tuple(sorted({(f.aggregation or "", folded.index(f.expression)) for f in view.features.values() if f.aggregation in FOLDED}))


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


def _finite(value: float | None) -> float | None:
    return value + 0.0 if value is not None and math.isfinite(value) else None  # -0.0 is 0.0: they compare equal


def _whole(value: Value | None) -> Value | None:
    return value


_KEPT: Mapping[Type, Callable[[Any], Any]] = {"float": _finite, "int": _whole, "bool": _whole, "string": _whole, "timestamp": _whole}
