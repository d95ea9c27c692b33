"""Windowed aggregates online: which tiles a view keeps of each entity, and what its windows answer out of them.

The window of length W at time t is the tiles from floor(t - W, hop) on: exactly the rows with
floor(t - W, hop) <= timestamp <= t, because nothing that is stored happened after t. A late row goes to its own tile while the
longest window can still reach it. Values that are null or not finite do not take part.

count, sum, mean and share need the count and the sum of each expression; min, max and last fold values as they are, so whole
numbers keep all digits, and last takes texts too. Of rows at one event time the one created last is the last, of those the
one with the largest value. `rota.manage.features.online.tiles` has the record's bytes.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from rota.errors import InvalidInput
from rota.manage.features.expressions import compiler
from rota.manage.features.online import tiles
from rota.manage.features.online.row_codec import Entities, event_time, layout, ttl_us
from rota.manage.features.online.tiles import Folds, TileLayout, TileUpdate, Value
from rota.records.data import Aggregation, Expression, Feature, FeatureView, text_of
from rota.records.schema import Type
from rota.records.time import Micros, micros

TILES = (tiles.SUMS, tiles.VALUES)
"""First bytes of the records of windowed views."""
FOLDED = ("min", "max", "last")
_MOST_TILES = 4_096
add = tiles.joined


class WindowView(Entities):
    """A view of windowed features as it is stored."""

    def __init__(self, view: FeatureView) -> None:
        super().__init__(view)
        self.view = view
        self.timestamp_field = view.source.timestamp_field
        self.ttl_us = ttl_us(view)
        self.hop_us = micros(view.hop)
        self.keep = tiles_kept(view)
        self.layout = TileLayout(self.keep, len(slots(view)), folds(view), view.source.id_field is not None)
        self.expressions = [*slots(view), *folded_slots(view)]
        self.empty = (None,) * len(view.features)
        self._compute = compiler.compile_values(self.expressions, view.source.fields)
        kinds = [compiler.type_of(expression, view.source.fields) for expression in self.expressions]
        self._texts = [kind == "string" for kind in kinds[: self.layout.sums]]
        self._kept = [_KEPT[kind] for kind in kinds[self.layout.sums :]]
        self._answers = [self._answer(feature) for _, feature in layout(view)]

    def tile_update(self, row: Mapping[str, Any], created_us: Micros) -> TileUpdate:
        """What a row adds to its entity's tiles."""
        event_us = row[self.timestamp_field]
        values, counted = self._compute(row), self.layout.sums
        sums: list[float] = []
        for value, text in zip(values, self._texts, strict=False):
            if value is None:
                sums += (0.0, 0.0)
            elif text:
                sums += (1.0, 0.0)
            else:
                number = float(value)
                sums += (1.0, number) if math.isfinite(number) else (0.0, 0.0)
        kept = tuple([keep(value) for keep, value in zip(self._kept, values[counted:], strict=True)]) if self._kept else ()
        return TileUpdate(event_us // self.hop_us, (event_us, created_us, kept), sums)

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
        numbers, width = tiles.numbers_of(data), self.layout.width
        ids = numbers[::width]
        starts: dict[Micros, int] = {}
        values = []
        for window_us, answer in self._answers:
            if window_us not in starts:
                starts[window_us] = bisect_left(ids, (now_us - window_us) // self.hop_us) * width
            values.append(answer(numbers, starts[window_us]))
        return tuple(values)

    def _answer(self, feature: Feature) -> tuple[Micros, Callable[[Sequence[Any], int], Any]]:
        """The feature's window, and how it is read from the tiles that begin at a place."""
        width, kind = self.layout.width, feature.aggregation or "count"
        window_us = micros(feature.window or "")
        if kind in FOLDED:
            at = 1 + 2 * self.layout.sums + self.layout.folds.index((kind, folded_slots(self.view).index(feature.expression)))

            def fold(numbers: Sequence[Any], first: int) -> Any:
                found = tiles.folded(kind, numbers[first + at :: width])
                return found[2] if found is not None and kind == "last" else found

            return window_us, fold
        slot = 1 + 2 * slots(self.view).index(feature.expression)
        return window_us, lambda numbers, first: finish(kind, sum(numbers[first + slot :: width]), sum(numbers[first + slot + 1 :: width]))


def contributions(view: FeatureView) -> list[pl.Expr]:
    """What rows count and sum, over columns: c0, s0, c1, s1 ... for each of `slots`."""
    columns = []
    for slot, each in enumerate(slots(view)):
        expression = compiler.compiled(each, view.source.fields)
        counts, total = expression.column.is_not_null(), pl.lit(0.0)
        if expression.type != "string":
            number = expression.column.cast(pl.Float64)
            counts = number.is_finite().fill_null(value=False)
            total = pl.when(counts).then(number).otherwise(0.0)
        columns += [counts.cast(pl.Float64).alias(f"c{slot}"), total.alias(f"s{slot}")]
    return columns


def values_taken(view: FeatureView) -> list[pl.Expr]:
    """What rows give to min, max and last, over columns: v0, v1 ... for each of `folded_slots`."""
    columns = []
    for slot, each in enumerate(folded_slots(view)):
        expression = compiler.compiled(each, view.source.fields)
        value = expression.column
        if expression.type == "float":
            value = pl.when(value.is_finite()).then(value + 0.0)
        columns.append(value.alias(f"v{slot}"))
    return columns


def finish(aggregation: Aggregation, count: float, total: float) -> float | int | None:
    """The aggregate of a window: an empty one has the count 0 and nothing else."""
    if aggregation == "count":
        return round(count)
    if count <= 0:
        return None
    return total if aggregation == "sum" else total / count


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
