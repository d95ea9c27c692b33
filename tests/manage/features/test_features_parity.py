"""Training == serving: whatever was pushed, late, twice or corrected, the offline features are the ones that serving saw."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.tables import MemoryTables
from rota.errors import InvalidInput
from rota.manage.features.join.parity import parity
from rota.manage.features.join.point_in_time import historical
from rota.manage.features.online.reader import OnlineFeatures
from rota.manage.features.writer import Feed
from rota.records.data import Entity, Feature, FeatureService, FeatureView, OnDemandFeatureView, Source
from rota.testing.clock import FakeClock

MINUTE = 60_000_000
START = 1_373_860_800_000_000
shop = Entity("shop", join_keys=["shop"])


def service(*, identified: bool) -> FeatureService:
    """Newest rows with and without expiry, two windows with and without expiry, and a request feature."""
    sales = Source(
        "sales",
        {"id": "int", "shop": "string", "at": "timestamp", "amount": "float", "online": "bool", "note": "string"},
        "at",
        id_field="id" if identified else None,
    )
    newest = {"amount": Feature("amount"), "rate": Feature("ln(amount)"), "shout": Feature("upper(note)"), "web": Feature("online")}
    windows = {
        "mean_1h": Feature("amount", "mean", "1h"),
        "sum_25m": Feature("amount", "sum", "25m"),
        "notes_1h": Feature("note", "count", "1h"),
        "web_share": Feature("online", "share", "1h"),
    }
    return FeatureService(
        "sales_features",
        [
            FeatureView("newest", [shop], sales, newest),
            FeatureView("fresh", [shop], sales, {"amount": Feature("amount")}, ttl="20m"),
            FeatureView("windows", [shop], sales, windows, hop="10m"),
            FeatureView("short_lived", [shop], sales, {"n": Feature("amount", "count", "30m")}, hop="7m", ttl="15m"),
            OnDemandFeatureView("request", {"price": "float"}, {"log_price": Feature("ln(1 + price)"), "two": Feature("2")}),
        ],
    )


class World:
    """A feed on memory stores, and a log of what was served."""

    def __init__(self, features: FeatureService, *, flush_on_the_way: bool = True) -> None:
        self.clock = FakeClock(START)
        self.tables, self.online = MemoryTables(), MemoryOnline()
        self.feed = Feed(MemoryMetadata(), self.tables, self.online, MemoryJournal(), self.clock)
        self.feed.register([features])
        self.service = features
        self.serving = OnlineFeatures(self.online, features)
        self.log: list[dict[str, Any]] = []
        self.flush_on_the_way = flush_on_the_way

    def push(self, rows: list[dict[str, Any]]) -> None:
        self.feed.pushes.push("sales", [{**row, "at": self.clock.now_us() - row["at"] * MINUTE} for row in rows])

    def predict(self) -> None:
        requests = [{"shop": shop, "price": 3.5} for shop in ("a", "b", "nobody", None)]
        for request, vector in zip(requests, self.serving.vectors(requests, self.clock.now_us()), strict=True):
            self.log.append({"prediction_id": str(len(self.log)), "at_us": self.clock.now_us(), **request, **vector})
        self.clock.advance(self.clock.now_us() + 1)

    def step(self, kind: str, value: Any) -> None:
        if kind == "push":
            self.push(value)
        elif kind == "wait":
            self.clock.advance(self.clock.now_us() + value * MINUTE)
        elif kind == "flush":
            self.feed.pushes.flush("sales")
        elif kind == "materialize":
            self.feed.materializer.materialize("windows")

    def differences(self) -> pl.DataFrame:
        self.feed.pushes.flush("sales")
        return parity(self.tables, self.service, pl.DataFrame(self.log, infer_schema_length=None), materialized={})


row = st.fixed_dictionaries(
    {
        "id": st.integers(0, 8),
        "shop": st.sampled_from(["a", "b", None]),
        "at": st.sampled_from([0, 0, 0, 1, 5, 9, 10, 19, 20, 21, 35, 60, 90, 200]),  # minutes late
        "amount": st.sampled_from([None, 0.0, -1.0, 0.1, 0.2, 7.25, 1e6]),
        "online": st.sampled_from([None, True, False]),
        "note": st.sampled_from([None, "", "x"]),
    }
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.lists(row, min_size=1, max_size=4)),
        st.tuples(st.just("wait"), st.sampled_from([1, 5, 10, 15, 20, 61])),
        st.tuples(st.sampled_from(["flush", "materialize"]), st.none()),
    ),
    min_size=1,
    max_size=15,
)


@given(steps=steps)
def test_rows_without_ids_are_served_as_they_are_recomputed(steps: list[tuple[str, Any]]) -> None:
    world = World(service(identified=False))
    for kind, value in steps:
        world.step(kind, value)
        world.predict()
    assert world.differences().rows() == []


@given(steps=steps)
def test_repeated_and_corrected_rows_are_served_as_they_are_recomputed(steps: list[tuple[str, Any]]) -> None:
    world = World(service(identified=True))
    for kind, value in steps:
        world.step(kind, value)
        world.predict()
    assert world.differences().rows() == []


def test_a_correction_that_changes_only_the_time_within_a_tile_keeps_the_view_from_being_too_old() -> None:
    world = World(service(identified=True))
    row = {"id": 0, "shop": "a", "at": 0, "amount": 1.0, "online": None, "note": None}
    for kind, value in [("push", [row]), ("wait", 5), ("push", [row]), ("wait", 11)]:
        world.step(kind, value)
    world.predict()
    assert world.log[0]["short_lived__n"] == 1
    assert world.differences().rows() == []


def test_a_wrong_cell_is_found_and_named() -> None:
    world = World(service(identified=True))
    world.push([{"id": 1, "shop": "a", "at": 0, "amount": 2.0, "online": True, "note": "x"}])
    world.predict()
    world.log[0]["windows__mean_1h"] = 2.5
    assert world.differences().rows() == [("0", START, "windows__mean_1h", "2.5", "2.0")]


def test_a_log_without_a_feature_is_refused() -> None:
    world = World(service(identified=True))
    with pytest.raises(InvalidInput, match="request__two"):
        parity(world.tables, world.service, pl.DataFrame({"prediction_id": [], "at_us": []}), materialized={})


def test_what_was_served_is_not_asked_for_without_when_rows_came_online() -> None:
    world = World(service(identified=True))
    spine = pl.DataFrame({"shop": ["a"], "t": [START]})
    with pytest.raises(InvalidInput, match="needs to know when ingested rows came online"):
        historical(world.tables, world.service, spine, timestamp="t", as_of="served")
