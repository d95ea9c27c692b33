"""Windows online, offline and by counting on fingers: the same answer at every moment, whatever is late, tied, corrected or repeated."""

import math
import struct
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from rota import count, last, maximum, mean, minimum, share, total
from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.tables import MemoryTables
from rota.errors import InvalidInput
from rota.manage.features.join.point_in_time import historical
from rota.manage.features.online import tiles
from rota.manage.features.online.reader import merge, stored_view
from rota.manage.features.online.row_codec import layout
from rota.manage.features.online.window_view import WindowView
from rota.manage.features.writer import Feed
from rota.records.data import Entity, Feature, FeatureService, FeatureView, Source
from rota.records.time import micros
from rota.testing.clock import FakeClock

MINUTE = 60_000_000
START = 1_373_860_800_000_000
FIELDS = {"id": "int", "shop": "string", "at": "timestamp", "x": "float", "n": "int", "b": "bool", "word": "string", "moment": "timestamp"}
COLUMNS = ("x", "n", "b", "word", "moment")
shop = Entity("shop", ["shop"])


def features(*windows: str) -> dict[str, Feature]:
    made: dict[str, Feature] = {}
    for window in windows:
        for column in ("x", "n", "b", "moment"):
            made |= {f"min_{column}_{window}": minimum(column, window=window), f"max_{column}_{window}": maximum(column, window=window)}
        made |= {f"last_{column}_{window}": last(column, window=window) for column in COLUMNS}
        made |= {f"n_{window}": count(window=window), f"sum_{window}": total("n % 100", window=window)}
        made |= {f"mean_{window}": mean("n % 8", window=window), f"share_{window}": share("b", window=window)}
    return made


class World:
    """A platform in memory with one view; `prepared` worlds are copied, for registering takes its time."""

    def __init__(self, *, identified: bool, windows: Sequence[str], hop: str, ttl: str | None = None) -> None:
        source = Source("sales", FIELDS, "at", id_field="id" if identified else None)
        self.service = FeatureService("s", [FeatureView("v", [shop], source, features(*windows), hop=hop, ttl=ttl)])
        self.view = stored_view(self.service.stored_views[0])
        self.metadata = MemoryMetadata()
        self.tables, self.online, self.journal, self.clock = MemoryTables(), MemoryOnline(), MemoryJournal(), FakeClock(START)
        Feed(self.metadata, self.tables, self.online, self.journal, self.clock).register([self.service])

    def opened(self) -> "World":
        world = object.__new__(World)
        world.service, world.view, world.metadata = self.service, self.view, MemoryMetadata()
        world.metadata.__dict__.update({name: deepcopy(value) for name, value in self.metadata.__dict__.items() if "lock" not in name})
        world.tables, world.online, world.journal, world.clock = MemoryTables(), MemoryOnline(), MemoryJournal(), FakeClock(START)
        world.again()
        world.received: list[tuple[int, dict[str, Any]]] = []
        return world

    feed: Feed
    received: list[tuple[int, dict[str, Any]]]

    def again(self) -> None:
        """What another process would open."""
        self.feed = Feed(self.metadata, self.tables, self.online, self.journal, self.clock)
        self.feed._compiled = {self.view.prefix: self.view}  # compiling takes longer than all the rest

    def push(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.clock.advance(self.clock.now_us() + 1)
        self.feed.pushes.push("sales", rows)
        self.received += [(self.clock.now_us(), dict(row)) for row in rows]

    def serves(self, name: str) -> dict[str, Any]:
        (data,) = self.online.read([self.view.key({"shop": name})])
        values = self.view.decode(data, self.clock.now_us())
        return dict(zip([f"v__{feature}" for feature, _ in layout(self.view.view)], values, strict=True))

    def trains(self, asked: Sequence[tuple[str, int]], as_of: str) -> list[dict[str, Any]]:
        self.feed.pushes.flush("sales")
        spine = pl.DataFrame(asked, schema={"shop": pl.String, "t": pl.Int64}, orient="row")
        return historical(self.tables, self.service, spine, timestamp="t", as_of=as_of, materialized={}).drop("shop", "t").to_dicts()  # type: ignore[arg-type]

    def counted(self, name: str, at: int, as_of: str) -> dict[str, Any]:
        """The features by the rule itself; as it was served, an entity is known from its first row on, even one that was corrected away."""
        view = self.service.stored_views[0]
        known = [(created, row) for created, row in self.received if as_of == "event" or max(created, row["at"]) <= at]
        seen = any(row["shop"] == name and row["at"] <= at for _, row in known)
        if view.source.id_field:
            known = list({row["id"]: (created, row) for created, row in known}.values())
        mine = [(created, row) for created, row in known if row["shop"] == name and row["at"] <= at]
        alive = bool(mine) if as_of == "event" else seen
        return {f"v__{key}": self._one(feature, mine, at) if alive else None for key, feature in view.features.items()}

    def _one(self, feature: Feature, rows: Sequence[tuple[int, dict[str, Any]]], at: int) -> Any:
        hop = micros(self.service.stored_views[0].hop)
        start = (at - micros(feature.window or "")) // hop * hop
        inside = [(row["at"], created, row) for created, row in rows if row["at"] >= start]
        column, _, modulus = feature.text.partition(" % ")
        values = [(event, created, _value(row, column, modulus)) for event, created, row in inside]
        values = [each for each in values if each[2] is not None and not (isinstance(each[2], float) and not math.isfinite(each[2]))]
        plain = [value for *_, value in values]
        answers = {
            "count": lambda: len(plain),
            "sum": lambda: float(sum(plain)) if plain else None,
            "mean": lambda: sum(plain) / len(plain) if plain else None,
            "share": lambda: sum(plain) / len(plain) if plain else None,
            "min": lambda: min(plain, default=None),
            "max": lambda: max(plain, default=None),
            "last": lambda: max(values)[2] if values else None,
        }
        return answers[feature.aggregation or ""]()


def _value(row: Mapping[str, Any], column: str, modulus: str) -> Any:
    value = 1 if column == "1" else row[column]
    if isinstance(value, float):
        return value + 0.0  # of -0.0 and 0.0 neither is less; both forms answer 0.0
    if value is None or not modulus:
        return value
    rest = abs(value) % int(modulus)
    return rest if value >= 0 else -rest  # as SQL has it


WINDOWS = ((("1h", "10m"), "15m"), (("7m",), "3m"), (("90s",), "1h"))
SHAPES = [(identified, windows, hop) for identified in (True, False) for windows, hop in WINDOWS]
PREPARED = {shape: World(identified=shape[0], windows=shape[1], hop=shape[2]) for shape in SHAPES}
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]  # a world of rows shrinks for minutes
times = st.integers(0, 6).map(lambda n: -n * 13 * MINUTE) | st.integers(-90 * MINUTE, 0)
rows = st.fixed_dictionaries(
    {
        "id": st.integers(0, 6),
        "shop": st.sampled_from(["a", "a", "a", "b", None]),
        "at": times,
        "x": st.sampled_from([None, math.nan, math.inf, -0.0, 0.0, 1.5, -3.25, 1e300]),
        "n": st.none() | st.sampled_from([2**63 - 1, 2**53 + 1, 2**53, -(2**63), 0, 7]),
        "b": st.sampled_from([None, True, False]),
        "word": st.sampled_from([None, "", "é", "z", "日本"]),
        "moment": st.none() | st.sampled_from([START, START - 1, 0]),
    }
)
kinds = st.sampled_from(["push", "push", "again", "wait", "another"])
steps = st.lists(st.tuples(kinds, st.lists(rows, min_size=1, max_size=5)), min_size=1, max_size=6)


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return repr(a) == repr({key: b[key] for key in a}) and a.keys() == b.keys()  # 0.0 is not -0.0, 1 is not True


def clean(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "x": None if row["x"] is not None and math.isnan(row["x"]) else row["x"]}


@settings(phases=PHASES)
@given(shape=st.sampled_from(SHAPES), drawn=steps)
def test_online_is_offline_is_the_rule(shape: Any, drawn: list[tuple[str, list[dict[str, Any]]]]) -> None:
    world = PREPARED[shape].opened()
    served: list[tuple[str, int, dict[str, Any]]] = []
    before: list[dict[str, Any]] = []
    for step, batch in drawn:
        if step == "wait":
            world.clock.advance(world.clock.now_us() + 11 * MINUTE)
        if step == "another":
            world.again()
        pushed = before if step == "again" and before else [{**row, "at": world.clock.now_us() + row["at"]} for row in map(clean, batch)]
        if world.service.stored_views[0].source.id_field:
            pushed = list({row["id"]: row for row in pushed}.values())
        world.push(pushed)
        before = pushed
        served += [(name, world.clock.now_us(), world.serves(name)) for name in ("a", "b")]
    asked = [(name, at) for name, at, _ in served]
    for (name, at, online), offline in zip(served, world.trains(asked, "served"), strict=True):
        assert same(online, world.counted(name, at, "served"))
        assert same(offline, online)
    asked += [(name, at - 17 * MINUTE) for name, at in asked]
    for (name, at), offline in zip(asked, world.trains(asked, "event"), strict=True):
        assert same(offline, world.counted(name, at, "event"))
    pushed_state = {name: world.serves(name) for name in ("a", "b")}
    world.feed.materializer.materialize("v")
    assert pushed_state == {name: world.serves(name) for name in ("a", "b")}
    if before:
        world.push(before)
        assert all(same(world.serves(name), world.counted(name, world.clock.now_us(), "served")) for name in ("a", "b"))


def test_texts_and_unknown_types_are_refused_where_they_have_no_order() -> None:
    source = Source("sales", FIELDS, "at")
    feed = Feed(MemoryMetadata(), MemoryTables(), MemoryOnline(), MemoryJournal(), FakeClock(START))
    for feature in (minimum("word", window="1h"), maximum("upper(word)", window="1h")):
        with pytest.raises(InvalidInput, match=r"(min|max) takes float or int or bool or timestamp, but .* is string"):
            feed.register([FeatureView("v", [shop], source, {"f": feature})])
    with pytest.raises(InvalidInput, match="choose a longer hop"):
        feed.register([FeatureView("v", [shop], source, {"f": last("word", window="365d")}, hop="1m")])


def test_values_that_are_expired_are_null_and_records_without_folds_keep_their_bytes() -> None:
    source = Source("sales", FIELDS, "at")
    summed = WindowView(FeatureView("v", [shop], source, {"n": count(window="1h")}, ttl="30m"))
    row = {"shop": "a", "at": START, "x": 2.0}
    codes = (tiles.count_code(0),)  # a view that only counts keeps no sums
    assert summed.encode(row, START) == struct.pack("<cqIII2d", b"S", START, 6, 1, *codes, START // (15 * MINUTE), 1.0)
    codes = (tiles.digit_code(0, -1), tiles.digit_code(0, 0), tiles.count_code(0))
    numbers = (START // (15 * MINUTE), 2.25 * 2.0**40, 2.0**20, 1.0)
    summed = WindowView(FeatureView("v", [shop], source, {"n": total("x", window="1h")}, ttl="30m"))
    assert summed.encode({**row, "x": 2.0 + 2.25 * 2.0**-24}, START) == struct.pack("<cqI4I4d", b"S", START, 6, 3, *codes, *numbers)
    folded = WindowView(FeatureView("v", [shop], source, {"m": minimum("x", window="1h"), "l": last("x", window="1h")}, ttl="30m"))
    data = folded.encode(row, START)
    assert folded.decode(data, START + 30 * MINUTE) == (2.0, 2.0)
    assert folded.decode(data, START + 30 * MINUTE + 1) == folded.decode(None, START) == (None, None)
    assert folded.decode(merge(data, folded.encode({**row, "x": 1.0, "at": START + 1}, START)), START + MINUTE) == (1.0, 1.0)


def test_a_busy_entity_forgets_rows_that_no_window_reaches() -> None:
    view = WindowView(FeatureView("v", [shop], Source("sales", FIELDS, "at", id_field="id"), {"m": minimum("x", window="1h")}))
    data, sizes = None, []
    for hour in range(8):
        rows = [{"shop": "a", "at": START + 60 * hour * MINUTE + i * MINUTE, "x": float(i)} for i in range(50)]
        data = tiles.changed(view.layout, [(None, view.tile_update(row, START)) for row in rows], data)
        sizes.append(len(data))
    assert max(sizes[2:]) <= min(sizes[2:]) * 1.05
