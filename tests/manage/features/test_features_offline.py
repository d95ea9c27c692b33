"""Features at a moment, against a brute force that reads every row for every question."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.backends.memory.tables import MemoryTables
from rota.errors import InvalidInput
from rota.manage.features.expressions.equivalence_check import same
from rota.manage.features.join.point_in_time import historical
from rota.records.data import Entity, Feature, FeatureService, FeatureView, OnDemandFeatureView, Source

MINUTE = 60_000_000
START = 1_373_860_800_000_000
FIELDS = {"id": "int", "shop": "string", "at": "timestamp", "amount": "float", "web": "bool"}
sales = Source("sales", FIELDS, "at", id_field="id")
shop = Entity("shop", ["shop"])
newest = FeatureView("newest", [shop], sales, {"amount": Feature("amount"), "double": Feature("2 * amount")}, ttl="30m")
windows = FeatureView(
    "windows",
    [shop],
    sales,
    {
        "mean": Feature("amount", "mean", "1h"),
        "sum": Feature("amount", "sum", "20m"),
        "n": Feature("amount", "count", "1h"),
        "web": Feature("web", "share", "1h"),
    },
    hop="15m",
    ttl="2h",
)
service = FeatureService(
    "s", [newest, windows, OnDemandFeatureView("request", {"price": "float"}, {"log": Feature("ln(price)"), "one": Feature("1")})]
)


def tables_with(rows: list[dict[str, Any]]) -> MemoryTables:
    tables = MemoryTables()
    schema = {"id": pl.Int64, "shop": pl.String, "at": pl.Int64, "amount": pl.Float64, "web": pl.Boolean, "created_us": pl.Int64}
    tables.append("sources/sales", pl.DataFrame(rows, schema=schema))
    return tables


def spine_of(questions: list[tuple[str | None, int | None]]) -> pl.DataFrame:
    return pl.DataFrame(
        {"shop": [q[0] for q in questions], "t": [q[1] for q in questions], "price": 1.0},
        schema={"shop": pl.String, "t": pl.Int64, "price": pl.Float64},
    )


def by_hand(rows: list[dict[str, Any]], name: str | None, t: int | None, known_until: int) -> dict[str, Any]:
    """The definition, read aloud."""
    answer = dict.fromkeys(service.feature_names) | {"request__log": 0.0, "request__one": 1}
    if name is None or t is None:
        return answer
    current: dict[int, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row["created_us"]):
        if row["created_us"] <= known_until:
            current[row["id"]] = row
    mine = [row for row in current.values() if row["shop"] == name and row["at"] <= t]
    if not mine:
        return answer
    last = max(mine, key=lambda row: (row["at"], row["created_us"]))
    if t - last["at"] <= 30 * MINUTE:
        answer["newest__amount"] = last["amount"]
        answer["newest__double"] = None if last["amount"] is None else 2 * last["amount"]
    if t - last["at"] <= 120 * MINUTE:
        for feature, column, width in (("mean", "amount", 60), ("sum", "amount", 20), ("n", "amount", 60), ("web", "web", 60)):
            low = (t - width * MINUTE) // (15 * MINUTE) * (15 * MINUTE)
            values = [float(row[column]) for row in mine if row["at"] >= low and row[column] is not None]
            total = sum(values)
            answer[f"windows__{feature}"] = (
                len(values) if feature == "n" else None if not values else total if feature == "sum" else total / len(values)
            )
    return answer


moments = st.integers(0, 40).map(lambda step: START + step * 5 * MINUTE) | st.integers(START, START + 200 * MINUTE)
events = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.integers(0, 12),
            "shop": st.sampled_from(["a", "b", None]),
            "at": moments,
            "amount": st.sampled_from([None, 0.0, 1.0, -2.5, 1e9, 0.1]),
            "web": st.sampled_from([None, True, False]),
        }
    ),
    max_size=25,
).map(lambda rows: [{**row, "created_us": START + i} for i, row in enumerate(rows)])
questions = st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.none() | moments), max_size=15)


@given(rows=events, asked=questions, known=st.integers(0, 26))
def test_features_are_what_a_brute_force_finds(rows: list[dict[str, Any]], asked: list[tuple[str | None, int | None]], known: int) -> None:
    spine = spine_of(asked)
    made = historical(tables_with(rows), service, spine, timestamp="t", known_until_us=START + known)
    assert made.columns == [*spine.columns, *service.feature_names]
    assert made.select(spine.columns).equals(spine)
    for (name, t), row in zip(asked, made.iter_rows(named=True), strict=True):
        for feature, expected in by_hand(rows, name, t, START + known).items():
            assert row[feature] is expected or same(row[feature], expected, absolute=1e-6), (feature, name, t)


def test_no_rows_and_no_tables_give_nulls() -> None:
    made = historical(MemoryTables(), service, spine_of([("a", START)]), timestamp="t")
    assert made.select("newest__amount", "windows__n").row(0) == (None, None)
    assert historical(MemoryTables(), service, spine_of([]), timestamp="t").height == 0


def test_a_row_is_null_just_after_its_ttl() -> None:
    tables = tables_with([{"id": 1, "shop": "a", "at": START, "amount": 3.0, "web": None, "created_us": START}])
    made = historical(tables, service, spine_of([("a", START + 30 * MINUTE), ("a", START + 30 * MINUTE + 1), ("a", START - 1)]), timestamp="t")
    assert made["newest__amount"].to_list() == [3.0, None, None]


def test_serving_knows_a_late_row_only_after_it_came() -> None:
    tables = tables_with([{"id": 1, "shop": "a", "at": START, "amount": 3.0, "web": None, "created_us": START + 10 * MINUTE}])
    spine = spine_of([("a", START + 9 * MINUTE), ("a", START + 10 * MINUTE)])
    assert historical(tables, service, spine, timestamp="t")["windows__sum"].to_list() == [3.0, 3.0]
    assert historical(tables, service, spine, timestamp="t", as_of="served", materialized={})["windows__sum"].to_list() == [None, 3.0]


def test_a_row_loaded_ahead_of_its_time_is_not_known_before_it() -> None:
    tables = tables_with([{"id": 1, "shop": "a", "at": START + 10 * MINUTE, "amount": 3.0, "web": None, "created_us": START}])
    spine = spine_of([("a", START + 9 * MINUTE), ("a", START + 10 * MINUTE)])
    for as_of in ("event", "served"):
        made = historical(tables, service, spine, timestamp="t", as_of=as_of, materialized={})
        assert made.select("newest__amount", "windows__sum").rows() == [(None, None), (3.0, 3.0)]


def test_frames_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidInput, match="already has the columns"):
        historical(MemoryTables(), service, spine_of([]).with_columns(newest__amount=1.0), timestamp="t")
    with pytest.raises(InvalidInput, match="lacks the columns"):
        historical(MemoryTables(), service, spine_of([]).drop("price"), timestamp="t")
    with pytest.raises(InvalidInput, match=r"row 0, column 'shop' of the frame, for view 'newest', \(type Int32\): 7 is no string"):
        historical(MemoryTables(), service, spine_of([("a", START)]).with_columns(shop=pl.lit(7, dtype=pl.Int32)), timestamp="t")


def test_large_frames_keep_their_exactness() -> None:
    """After a hundred thousand large values a running sum must still know small ones."""
    count = 100_000
    amounts = np.full(count, 1e9)
    amounts[-50:] = 0.1
    at = START + np.arange(count) * MINUTE
    rows = pl.DataFrame({"id": np.arange(count), "shop": "a", "at": at, "amount": amounts, "web": True, "created_us": at})
    tables = MemoryTables()
    tables.append("sources/sales", rows)
    t = int(at[-1]) + 119 * MINUTE
    made = historical(tables, FeatureService("w", [windows]), pl.DataFrame({"shop": ["a"], "t": [int(at[-1])]}), timestamp="t")
    low = (int(at[-1]) - 20 * MINUTE) // (15 * MINUTE) * (15 * MINUTE)
    assert made["windows__sum"].item() == pytest.approx(0.1 * float((at >= low).sum()), rel=1e-9)
    late = historical(tables, FeatureService("w", [windows]), pl.DataFrame({"shop": ["a"], "t": [t]}), timestamp="t")
    assert late["windows__n"].item() == 0
