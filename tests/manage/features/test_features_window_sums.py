"""Sums and means over windows, online and offline, against fractions: the sum of the real numbers, rounded once, bit for bit.

Whatever the column of the other entities holds, whatever was corrected and how late it came.
"""

import functools
import itertools
import math
import random
import struct
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from fractions import Fraction
from typing import Any

import msgspec
import polars as pl
import pytest

from rota import count, maximum, mean, share, total
from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.tables import MemoryTables
from rota.manage.features.join.parity import parity
from rota.manage.features.join.point_in_time import historical
from rota.manage.features.materialization.push_stream import PushStream, Stores
from rota.manage.features.online import tiles
from rota.manage.features.online.reader import merge
from rota.manage.features.online.row_codec import layout
from rota.manage.features.online.window_view import WindowView
from rota.manage.features.writer import Feed
from rota.records.data import Entity, Feature, FeatureService, FeatureView, Source
from rota.records.time import micros
from rota.testing.clock import FakeClock

MINUTE = 60_000_000
START = 1_373_860_800_000_000
FIELDS = {"id": "int", "shop": "string", "at": "timestamp", "x": "float", "n": "int", "b": "bool"}
LARGEST, FLOAT32 = 1.7976931348623157e308, 3.4028234663852886e38
shop = Entity("shop", ["shop"])
PYTHON: Mapping[str, Callable[[Any], Any]] = {
    "x": lambda row: row["x"],
    "n": lambda row: row["n"],
    "b": lambda row: row["b"],
    "1": lambda row: 1,
    "x / 3": lambda row: None if row["x"] is None else row["x"] / 3,
    "n % 8": lambda row: None if row["n"] is None else int(math.copysign(abs(row["n"]) % 8, row["n"])),
}
"""The expressions over a row, written a second time."""
WINDOWS = ((("1h", "10m"), "15m"), (("7m", "90s"), "3m"), (("12h",), "1m"))


def features(windows: Sequence[str], *, folded: bool) -> dict[str, Feature]:
    made: dict[str, Feature] = {}
    for window, (name, column) in itertools.product(windows, enumerate(("x", "n", "x / 3", "n % 8"))):
        made |= {f"sum_{name}_{window}": total(column, window=window), f"mean_{name}_{window}": mean(column, window=window)}
    for window in windows:
        made |= {f"count_{window}": count(window=window), f"count_x_{window}": Feature("x", "count", window)}
        made |= {f"share_{window}": share("b", window=window), f"sum_b_{window}": total("b", window=window)}
        made |= {f"max_{window}": maximum("n", window=window)} if folded else {}
    return made


@functools.cache
def registered(shape: int, identified: bool, folded: bool) -> tuple[FeatureService, WindowView, MemoryMetadata]:
    windows, hop = WINDOWS[shape]
    source = Source("sales", FIELDS, "at", id_field="id" if identified else None)
    service = FeatureService("s", [FeatureView("v", [shop], source, features(windows, folded=folded), hop=hop)])
    metadata = MemoryMetadata()
    Feed(metadata, MemoryTables(), MemoryOnline(), MemoryJournal(), FakeClock(START)).register([service])
    return service, WindowView(service.stored_views[0]), metadata


class World:
    """A platform in memory with one windowed view, and all that it was given."""

    def __init__(self, shape: int = 0, *, identified: bool = True, folded: bool = False) -> None:
        self.service, self.view, metadata = registered(shape, identified, folded)
        self.metadata = MemoryMetadata()
        self.metadata.__dict__.update({name: deepcopy(value) for name, value in metadata.__dict__.items() if "lock" not in name})
        self.tables, self.online, self.clock = MemoryTables(), MemoryOnline(), FakeClock(START)
        self.feed = Feed(self.metadata, self.tables, self.online, MemoryJournal(), self.clock)
        self.received: list[tuple[int, dict[str, Any]]] = []

    def push(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.clock.advance(self.clock.now_us() + 1)
        whole = [{"id": 0, "shop": "a", "at": self.clock.now_us(), "x": None, "n": None, "b": None, **row} for row in rows]
        self.feed.pushes.push("sales", whole)
        self.received += [(self.clock.now_us(), row) for row in whole]

    def serves(self, name: str) -> dict[str, Any]:
        (data,) = self.online.read([self.view.key({"shop": name})])
        return dict(zip([f"v__{each}" for each, _ in layout(self.view.view)], self.view.decode(data, self.clock.now_us()), strict=True))

    def trains(self, asked: Sequence[tuple[str, int]], as_of: str) -> list[dict[str, Any]]:
        self.feed.pushes.flush("sales")
        spine = pl.DataFrame(asked, schema={"shop": pl.String, "t": pl.Int64}, orient="row")
        return historical(self.tables, self.service, spine, timestamp="t", as_of=as_of, materialized={}).drop("shop", "t").to_dicts()  # type: ignore[arg-type]

    def expected(self, name: str, at: int, as_of: str) -> dict[str, Any]:
        """The features by fractions; as it was served, an entity is known from its first row on, even one that was corrected away."""
        known = [(created, row) for created, row in self.received if as_of == "event" or max(created, row["at"]) <= at]
        seen = any(row["shop"] == name and row["at"] <= at for _, row in known)
        rows = list({row["id"]: row for _, row in known}.values()) if self.view.view.source.id_field else [row for _, row in known]
        mine = [row for row in rows if row["shop"] == name and row["at"] <= at]
        alive = bool(mine) if as_of == "event" else seen
        return {f"v__{key}": self._one(feature, mine, at) if alive else None for key, feature in self.view.view.features.items()}

    def _one(self, feature: Feature, rows: Sequence[Mapping[str, Any]], at: int) -> Any:
        hop = micros(self.view.view.hop)
        start = (at - micros(feature.window or "")) // hop * hop
        values = [PYTHON[feature.text](row) for row in rows if row["at"] >= start]
        values = [value for value in values if value is not None and math.isfinite(value)]
        if feature.aggregation in ("count", "max"):
            return len(values) if feature.aggregation == "count" else max(values, default=None)
        exact = sum(map(Fraction, values), Fraction(0))
        return rounded(exact, 1 if feature.aggregation == "sum" else len(values)) if values else None


def rounded(value: Fraction, divisor: int) -> float:
    divided = value / divisor
    try:
        return divided.numerator / divided.denominator
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def bits(values: Mapping[str, Any]) -> dict[str, Any]:
    """Floats as their bits: 0.0 is not -0.0, and 1 not 1.0."""
    return {name: struct.pack("d", value) if isinstance(value, float) else (type(value), value) for name, value in values.items()}


def a_number(draw: random.Random) -> float:
    while True:
        (value,) = struct.unpack("d", draw.randbytes(8))
        if math.isfinite(value):
            return float(value)


PALETTES: Sequence[Callable[[random.Random], Any]] = (
    lambda draw: round(draw.gammavariate(2, 20), 2),
    lambda draw: draw.choice([0.7, 20.5, 20.1, 20.2, 20.3, FLOAT32, 1e30, 1e12, 1e17]),
    lambda draw: draw.choice([LARGEST, -LARGEST, 1.7e308, 1.0, 0.1, 1e-300, 5e-324, -5e-324]),
    lambda draw: draw.choice([None, -0.0, 0.0, math.inf, -math.inf, 1.5, -3.25]),
    lambda draw: draw.gauss(0, 1) * 10.0 ** draw.randint(-9, 9),
    a_number,
    lambda draw: float(draw.randint(-500, 500)),
)
INTEGERS = (7, 2**63 - 1, -(2**63), 2**53 + 1, 2**53, 0, None, 1, -1)


def play(seed: int) -> None:
    """One random world, played to its end."""
    draw = random.Random(seed)
    world = World(draw.randrange(len(WINDOWS)), identified=draw.random() < 0.6, folded=draw.random() < 0.3)
    palettes = draw.sample(PALETTES, draw.randint(1, 3))
    served: list[tuple[str, int, dict[str, Any]]] = []
    names = ("a", "b", "c")
    for _ in range(draw.randint(1, 7)):
        if draw.random() < 0.3:
            world.clock.advance(world.clock.now_us() + draw.choice([1, 11, 45]) * MINUTE)
        rows = [a_row(draw, palettes, world.clock.now_us()) for _ in range(draw.choice([1, 2, 5, 30]))]
        if world.view.view.source.id_field:
            rows = list({row["id"]: row for row in rows}.values())
        world.push(rows)
        if draw.random() < 0.2:
            world.feed.materializer.materialize("v")
        served += [(name, world.clock.now_us(), world.serves(name)) for name in names]
    asked = [(name, at) for name, at, _ in served]
    for (name, at, online), offline in zip(served, world.trains(asked, "served"), strict=True):
        right = bits(world.expected(name, at, "served"))
        assert bits(online) == right, f"online, seed {seed}: {name} at {at}"
        assert bits(offline) == right, f"as served, seed {seed}: {name} at {at}"
    asked += [(name, at - draw.choice([2, 17, 50]) * MINUTE) for name, at in asked]
    for (name, at), offline in zip(asked, world.trains(asked, "event"), strict=True):
        assert bits(offline) == bits(world.expected(name, at, "event")), f"by event, seed {seed}: {name} at {at}"
    world.feed.materializer.materialize("v")
    for name in names:
        assert bits(world.serves(name)) == bits(world.expected(name, world.clock.now_us(), "served")), f"materialized, seed {seed}: {name}"


def a_row(draw: random.Random, palettes: Sequence[Callable[[random.Random], Any]], now_us: int) -> dict[str, Any]:
    late = draw.choice([0, 0, draw.randint(0, 90 * MINUTE), draw.randint(0, 6) * 13 * MINUTE])
    return {
        "id": draw.randrange(40),
        "shop": draw.choice(["a", "a", "b", "c", None]),
        "at": now_us - late,
        "x": draw.choice(palettes)(draw),
        "n": draw.choice(INTEGERS),
        "b": draw.choice([None, True, False]),
    }


@pytest.mark.parametrize("seed", range(8))
def test_windows_are_the_exact_sums_in_both_forms(seed: int) -> None:
    play(seed)


@pytest.mark.slow
def test_random_windows_are_the_exact_sums_in_both_forms(fuzz: Callable[[Callable[[int], object]], None]) -> None:
    fuzz(play)


def features_of(world: World, name: str = "a") -> tuple[dict[str, Any], dict[str, Any]]:
    """What is served now, and what training has for this moment."""
    online = world.serves(name)
    (offline,) = world.trains([(name, world.clock.now_us())], "served")
    assert bits(online) == bits(offline)
    return online, offline


@pytest.mark.parametrize("sentinel", [FLOAT32, LARGEST, 1e30, -1e17])
def test_a_sum_does_not_depend_on_other_entities(sentinel: float) -> None:
    world = World()
    world.push([{"id": 1, "shop": "b", "x": sentinel}, {"id": 2, "x": 0.7}, {"id": 3, "x": 20.5}])
    trained = world.trains([(name, world.clock.now_us()) for name in "ab"], "served")
    assert [(row["v__sum_0_1h"], row["v__mean_0_1h"]) for row in trained] == [(21.2, 10.6), (sentinel, sentinel)]
    assert list(map(bits, trained)) == [bits(world.serves(name)) for name in "ab"]


@pytest.mark.parametrize("wrong", [1e12, 1e17, FLOAT32, LARGEST, -LARGEST, math.inf])
def test_a_correction_leaves_nothing_of_what_it_corrects(wrong: float) -> None:
    world = World()
    for row in ({"id": 1, "x": wrong}, {"id": 2, "x": 20.1}, {"id": 3, "x": 20.3}, {"id": 1, "x": 20.2}):
        world.push([row])
    online, _ = features_of(world)
    assert online["v__mean_0_1h"] == rounded(Fraction(20.1) + Fraction(20.2) + Fraction(20.3), 3) == 20.2


def test_whole_numbers_keep_their_digits() -> None:
    world = World()
    world.push([{"id": i, "n": n} for i, n in enumerate((7, 2**63 - 1, -(2**63), 1))])
    online, _ = features_of(world)
    assert (online["v__sum_1_1h"], online["v__mean_1_1h"]) == (7.0, 1.75)
    world.push([{"id": 3, "n": 2**63 - 1}])  # beyond 64 bits a sum is the nearest float
    assert features_of(world)[0]["v__sum_1_1h"] == float(2**63 - 1 + 6)


def test_what_differs_from_duckdb_on_purpose() -> None:
    """The rows on windows of the table in docs/features.md."""
    duckdb = pytest.importorskip("duckdb", reason="pip install duckdb")
    world = World()
    world.push([{"id": i, "x": x, "n": 2**63 - 1} for i, x in enumerate((0.1, 0.2, 0.3, math.inf))])
    online, _ = features_of(world)
    assert [online[f"v__{name}_1h"] for name in ("sum_0", "mean_0", "count_x", "sum_1")] == [0.6, 0.2, 3, 2.0**65]
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t AS SELECT unnest([0.1::DOUBLE, 0.2, 0.3]) AS x, 9223372036854775807 AS n")
        assert connection.execute("SELECT sum(x), avg(x), sum(n) FROM t").fetchall() == [(0.6000000000000001, 0.20000000000000004, 3 * (2**63 - 1))]
        assert connection.execute("SELECT sum(x), count(x) FROM (SELECT 'inf'::DOUBLE AS x)").fetchall() == [(math.inf, 1)]


def test_a_sum_beyond_the_largest_float_is_infinite_and_comes_back() -> None:
    world = World()
    world.push([{"id": i, "x": 1.7e308} for i in range(3)])
    online, _ = features_of(world)
    assert (online["v__sum_0_1h"], online["v__mean_0_1h"]) == (math.inf, 1.7e308)
    world.push([{"id": i, "x": 1.0} for i in range(3)])
    online, _ = features_of(world)
    assert (online["v__sum_0_1h"], online["v__mean_0_1h"]) == (3.0, 1.0)


def test_digits_that_cancel_are_no_values() -> None:
    """Rows that made a digit so large that it was carried are corrected away: its digits cancel, and there is no count."""
    view, hop = World().view, micros(World().view.view.hop)
    corrected = [view.tile_update({"at": START + 2 * hop, "x": 100.49 * 2.0**-19}, START) for _ in range(40)]
    rows = [(None, view.tile_update({"at": START, "x": None}, START)), *((None, each) for each in corrected), *((each, None) for each in corrected)]
    data = tiles.changed(view.layout, rows, None)
    data = tiles.changed(view.layout, [(None, view.tile_update({"at": START + view.keep * hop, "x": None}, START))], data)  # the first tile goes
    values = dict(zip([name for name, _ in layout(view.view)], view.decode(data, START + view.keep * hop), strict=True))
    assert (values["sum_0_1h"], values["mean_0_1h"], values["count_x_1h"]) == (None, None, 0)


@pytest.mark.parametrize("identified", [True, False])
def test_many_rows_in_many_tiles(identified: bool) -> None:
    """Digits grow past what is carried, and more tiles than add up in a float."""
    world = World(2, identified=identified)
    draw = random.Random(3)
    world.clock.advance(START + 720 * MINUTE)
    rows = [{"id": i, "at": START + i * 18 * 1_000_000, "x": draw.random() * 2.0**25, "n": draw.choice(INTEGERS)} for i in range(2_400)]
    for start in range(0, len(rows), 800):
        world.push(rows[start : start + 800])
    right = bits(world.expected("a", world.clock.now_us(), "served"))
    assert bits(features_of(world)[0]) == right
    world.feed.materializer.materialize("v")
    assert bits(world.serves("a")) == right


def test_tiles_of_an_earlier_release_are_read_and_are_exact_again_once_materialized() -> None:
    """With rounded sums, as that release wrote them: a count and a sum of each expression as float64, behind the tile's id."""
    world = World(identified=False)
    world.push([{"x": value, "n": 2**63 - 1} for value in (0.1, 0.2, 0.3)])
    key = world.view.key({"shop": "a"})
    assert key is not None
    (new,) = world.online.read([key])
    hop = micros(world.view.view.hop)
    texts = sorted({each.text for each in world.view.view.features.values()})
    sums = {"1": (3, 3.0), "b": (0, 0.0), "n": (3, 3 * 2.0**63), "n % 8": (3, 21.0), "x": (3, 0.1 + 0.2 + 0.3), "x / 3": (3, 0.2)}
    numbers = [float(START // hop), *(number for text in texts for number in sums[text])]
    old = struct.pack(f"<cqIH{len(numbers)}d", b"T", world.clock.now_us(), world.view.keep, len(numbers), *numbers)
    world.online.update([(key, old)], lambda _, value: value)
    served = world.serves("a")
    assert (served["v__sum_0_1h"], served["v__count_x_1h"], served["v__mean_3_1h"]) == (0.1 + 0.2 + 0.3, 3, 7.0)
    world.push([{"x": 0.4, "n": 1}])
    assert world.serves("a")["v__sum_0_1h"] == rounded(Fraction(0.1 + 0.2 + 0.3) + Fraction(0.4), 1)
    assert merge(old, new)[:1] == tiles.SUMS
    world.feed.materializer.materialize_incremental("v")
    right = bits(world.expected("a", world.clock.now_us(), "served"))
    assert bits(world.serves("a")) == right
    world.online.update([(key, old)], lambda _, value: value)
    source = world.view.view.source
    PushStream(Stores(world.metadata, world.tables, world.online, MemoryJournal(), world.clock), source).unmark(world.view.prefix)
    assert world.feed.materializer.bring_online("sales") == 1  # as a worker does by itself: such a release left no marks
    assert bits(world.serves("a")) == right


def test_folded_tiles_of_an_earlier_release_are_read() -> None:
    world = World(folded=True)
    world.push([{"id": 1, "x": 0.5, "n": 3}])
    key = world.view.key({"shop": "a"})
    assert key is not None
    (data,) = world.online.read([key])
    now = world.clock.now_us()
    slots = 6
    numbers = [now // micros(world.view.view.hop), *[1.0, 0.5] * slots, 3]
    packed = msgspec.msgpack.encode(numbers)
    rows = {numbers[0]: [(now, now, (3,))]}
    old = struct.pack("<cqIHI", b"V", now, world.view.keep, len(numbers), len(packed)) + packed
    old += msgspec.msgpack.encode((world.view.layout.folds, rows))
    world.online.update([(key, old)], lambda _, value: value)
    assert (world.serves("a")["v__sum_0_1h"], world.serves("a")["v__max_1h"], world.serves("a")["v__count_1h"]) == (0.5, 3, 1)
    world.push([{"id": 2, "x": 0.25, "n": 9}])
    assert (world.serves("a")["v__sum_0_1h"], world.serves("a")["v__max_1h"], world.serves("a")["v__count_1h"]) == (0.75, 9, 2)
    assert data[:1] == world.online.read([key])[0][:1] == tiles.VALUES


def test_parity_compares_sums_to_the_last_bit() -> None:
    world = World()
    world.push([{"id": 1, "x": 0.1}, {"id": 2, "x": 0.2}])
    served = {"prediction_id": ["p"], "at_us": [world.clock.now_us()], "shop": ["a"]}
    served |= {name: [value] for name, value in world.serves("a").items()}
    world.feed.pushes.flush("sales")
    assert parity(world.tables, world.service, pl.DataFrame(served), materialized={}).height == 0
    off = pl.DataFrame(served).with_columns(pl.col("v__sum_0_1h") + 2.0**-54)
    assert parity(world.tables, world.service, off, materialized={})["feature"].to_list() == ["v__sum_0_1h"]
