"""Incoming rows are checked value by value; stored rows come back as they were."""

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from rota.errors import InvalidInput
from rota.manage.features.online import row_codec
from rota.manage.features.online.reader import merge, stored_view, upserts
from rota.manage.features.online.row_codec import RowView
from rota.manage.features.rows import coercion, column_conversion
from rota.records.data import Entity, Feature, FeatureService, FeatureView, OnDemandFeatureView, Source

FIELDS = {"id": "int", "at": "timestamp", "amount": "float", "ok": "bool", "note": "string"}
source = Source("events", FIELDS, "at", id_field="id")
JULY = 1_373_860_800_000_000


def test_values_are_brought_into_their_declared_types() -> None:
    row = {"id": 7.0, "at": "2013-07-15T04:00:00Z", "amount": 3, "ok": True, "note": "日本"}
    assert coercion.check_events(source, [row]) == [{"id": 7, "at": JULY, "amount": 3.0, "ok": True, "note": "日本"}]
    moment = datetime(2013, 7, 15, 4, tzinfo=UTC)
    assert coercion.check_events(source, [{"id": 1, "at": moment, "amount": float("nan")}]) == [
        {"id": 1, "at": JULY, "amount": None, "ok": None, "note": None}
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "7"), ("id", True), ("id", 7.5), ("id", 2**63), ("id", None), ("at", "yesterday"), ("at", 1.5), ("at", 10**18), ("at", None),
        ("at", ""), ("amount", "3"), ("amount", True), ("amount", 10**400), ("amount", []), ("ok", 2), ("ok", "true"), ("note", 5),
        ("note", b"x"), ("note", "\ud800"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_its_field_and_row(field: str, value: Any) -> None:
    good = {"id": 1, "at": JULY}
    with pytest.raises(InvalidInput, match=f"row 1, field '{field}'") as error:
        coercion.check_events(source, [good, {**good, field: value}])
    assert error.value.facts["field"] == field
    assert error.value.facts["row"] == 1


def test_fields_that_nobody_declared_and_things_that_are_no_rows_are_refused() -> None:
    with pytest.raises(InvalidInput, match="'ammount'"):
        coercion.check_events(source, [{"id": 1, "at": JULY, "ammount": 2.0}])
    with pytest.raises(InvalidInput, match="row 0"):
        coercion.check_events(source, [[1, 2]])  # type: ignore[list-item]


def test_a_request_holds_what_the_service_needs_and_may_hold_more() -> None:
    view = FeatureView("v", [Entity("thing", ["id"])], source, {"amount": Feature("amount")})
    service = FeatureService("s", [view, OnDemandFeatureView("r", {"km": "float"}, {"km": Feature("km")})])
    assert coercion.check_requests(service, [{"id": 3, "km": 2, "unit": "other"}, {}]) == [{"id": 3, "km": 2.0}, {"id": None, "km": None}]
    with pytest.raises(InvalidInput, match="row 0, field 'km': 'far'"):
        coercion.check_requests(service, [{"km": "far"}])


def test_columns_of_other_widths_and_times_conform() -> None:
    frame = pl.DataFrame({"at": [datetime(2013, 7, 15, 4)], "amount": pl.Series([2], dtype=pl.Int16), "id": pl.Series([1], dtype=pl.UInt8)})  # noqa: DTZ001
    made = column_conversion.conform(frame, {"at": "timestamp", "amount": "float", "id": "int"}, what="the frame")
    assert made.rows() == [(JULY, 2.0, 1)]
    with pytest.raises(InvalidInput, match="column 'at' of the frame has the type Datetime"):
        column_conversion.conform(frame, {"at": "string"}, what="the frame")
    with pytest.raises(InvalidInput, match="lacks the columns"):
        column_conversion.conform(frame, {"gone": "int"}, what="the frame")


def view_of_all_types(**changes: Any) -> FeatureView:
    features = {"amount": "amount", "id": "id", "ok": "ok", "note": "note", "at": "at", "shout": "upper(note)"} | changes
    return FeatureView("all", [Entity("thing", ["note", "id"])], source, {name: Feature(sql) for name, sql in features.items()})


@pytest.mark.parametrize(
    "row",
    [
        {"id": 5, "at": JULY, "amount": 2.5, "ok": True, "note": "a"},
        {"id": -(2**63), "at": 0, "amount": None, "ok": None, "note": ""},
        {"id": 2**63 - 1, "at": -1, "amount": float("inf"), "ok": False, "note": None},
        {"id": 0, "at": JULY, "amount": -0.0, "ok": None, "note": "x" * 100_000},
    ],
)
def test_a_stored_row_comes_back_with_its_nulls(row: dict[str, Any]) -> None:
    view = RowView(view_of_all_types())
    values = dict(zip(sorted(view.view.features), view.decode(view.encode(row, JULY), JULY), strict=True))
    shout = None if row["note"] is None else row["note"].upper()
    assert values == {**row, "shout": shout}


def test_many_features_keep_their_own_nulls() -> None:
    features = {f"f{i:03d}": Feature("amount" if i % 3 else "null") for i in range(150)}
    view = RowView(FeatureView("wide", [Entity("thing", ["id"])], source, features))
    values = view.decode(view.encode({"id": 1, "at": 0, "amount": 1.5}, 0), 0)
    assert values == tuple(1.5 if i % 3 else None for i in range(150))


def test_keys_tell_entities_views_and_definitions_apart() -> None:
    one = RowView(view_of_all_types())
    keys = [
        one.key({"note": note, "id": number})
        for note, number in [("a", 1), ("a", 11), ("a1", 1), ("", 1), ("1:a", 1), ("x" * 1_000, 1), ("x" * 1_001, 1)]
    ]
    assert len(set(keys)) == len(keys)
    assert all(key is not None and len(key) <= 500 for key in keys)
    assert one.key({"note": None, "id": 1}) is None
    assert row_codec.prefix(view_of_all_types(amount="amount + 1")) != one.prefix


def test_the_order_in_which_features_were_written_does_not_matter() -> None:
    view = view_of_all_types()
    turned = FeatureView(view.name, view.entities, view.source, dict(reversed(view.features.items())))
    row = {"id": 5, "at": JULY, "amount": 2.5, "ok": True, "note": "a"}
    assert row_codec.prefix(turned) == row_codec.prefix(view)
    assert RowView(turned).encode(row, 1) == RowView(view).encode(row, 1)


def test_the_newest_row_stays_in_whatever_order_rows_come() -> None:
    view = stored_view(view_of_all_types())
    row = {"id": 5, "at": JULY, "amount": 2.5, "ok": True, "note": "a"}
    older, newer = upserts(view, [{**row, "at": JULY - 1}], 9)[0][1], upserts(view, [row], 5)[0][1]
    corrected = upserts(view, [{**row, "amount": 1.0}], 6)[0][1]
    assert merge(None, older) == older
    assert merge(older, newer) == merge(newer, older) == newer
    assert merge(newer, corrected) == merge(corrected, newer) == corrected
    same = upserts(view, [{**row, "amount": 9.0}], 6)[0][1]
    assert merge(same, corrected) == merge(corrected, same)


def test_rows_without_an_entity_are_not_stored() -> None:
    assert upserts(stored_view(view_of_all_types()), [{"id": 1, "at": 0, "note": None}], 0) == []
