"""Online reads: values, statuses and event times of entities that are there, unknown, null, too old, many, or wrongly asked for."""

import math
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.backends.memory.online import MemoryOnline
from rota.errors import InvalidInput
from rota.manage.features.online.reader import OnlineFeatures, merge, stored_view, upserts
from rota.records.data import Entity, Feature, FeatureService, FeatureView, OnDemandFeatureView, Source

NOW = 1_373_860_800_000_000
HOUR = 3_600_000_000
FIELDS = {"driver": "int", "city": "string", "day": "timestamp", "at": "timestamp", "rate": "float", "trips": "int", "note": "string", "ok": "bool"}
source = Source("rides", FIELDS, "at")
driver, city = Entity("driver", ["driver"]), Entity("city", ["city"])
SCALARS = {name: Feature(name) for name in ("rate", "trips", "note", "ok")}


def store(*services: FeatureService, rows: list[dict[str, Any]]) -> MemoryOnline:
    online = MemoryOnline()
    for view in {view.name: view for service in services for view in service.stored_views}.values():
        online.update(upserts(stored_view(view), [dict.fromkeys(FIELDS) | row for row in rows], NOW), merge)
    return online


def service(**changes: Any) -> FeatureService:
    scalars = FeatureView("stats", [driver], source, SCALARS, **{"ttl": "2h"} | changes)
    windows = FeatureView("windows", [driver], source, {"n": Feature("rate", "count", "1h"), "mean": Feature("rate", "mean", "1h")}, ttl="2h")
    asked = OnDemandFeatureView("asked", {"km": "float"}, {"log": Feature("ln(km)"), "twice": Feature("2 * km")})
    return FeatureService("s", [scalars, asked, windows])


def row(driver: int | None = 7, **values: Any) -> dict[str, Any]:
    return {"driver": driver, "at": NOW - HOUR, "rate": 0.5, "trips": 3, "note": "ü", "ok": True} | values


def reader(rows: list[dict[str, Any]], features: FeatureService | None = None) -> OnlineFeatures:
    features = features or service()
    return OnlineFeatures(store(features, rows=rows), features)


def test_an_answer_has_feasts_form_in_the_order_of_the_service() -> None:
    response = reader([row()]).read([{"driver": 7, "km": math.e}], NOW)
    expected = {"driver": [7], "stats__rate": [0.5], "stats__trips": [3], "stats__note": ["ü"], "stats__ok": [True], "asked__log": [1.0]}
    expected |= {"asked__twice": [2 * math.e], "windows__n": [1], "windows__mean": [0.5]}
    assert response.to_dict() == expected
    assert list(response.to_dict()) == list(expected)
    assert response.names == tuple(expected)[1:]
    assert response.rows() == [{name: values[0] for name, values in expected.items()}]
    assert len(response) == 1


@pytest.mark.parametrize("asked", [[7], [7, 8], [8, 7, 7, None, 9], []], ids=str)
def test_one_row_many_rows_and_columns_give_the_same_answers(asked: list[int | None]) -> None:
    """Several ways lead to an answer; the generated ones for a single row must not differ from the general one."""
    read = reader([row(), row(8, rate=None, at=NOW - 3 * HOUR), row(9, note=None)]).read
    columns = read({"driver": asked, "km": [2.0] * len(asked)}, NOW)
    singles = [read([{"driver": each, "km": 2.0}], NOW) for each in asked]
    together = read([{"driver": each, "km": 2.0} for each in asked], NOW)
    for shape in ("to_dict", "statuses", "event_times"):
        whole = getattr(columns, shape)()
        assert getattr(together, shape)() == whole
        assert {name: [getattr(single, shape)()[name][0] for single in singles] for name in whole} == whole
        assert all(len(values) == len(asked) for values in whole.values())
    assert columns.rows() == together.rows() == [single.rows()[0] for single in singles]


def test_each_value_says_why_it_is_null() -> None:
    old = NOW - 2 * HOUR - 1
    response = reader([row(), row(8, rate=None), row(9, at=old), row(10, at=NOW - 2 * HOUR)]).read(
        {"driver": [7, 8, 9, 10, 404, None], "km": [1.0, None, 1.0, 1.0, 1.0, 1.0]}, NOW
    )
    gone = ["OUTSIDE_MAX_AGE", "PRESENT", "NOT_FOUND", "NOT_FOUND"]
    statuses = response.statuses()
    assert statuses["stats__rate"] == ["PRESENT", "NULL_VALUE", *gone]
    assert statuses["stats__trips"] == ["PRESENT", "PRESENT", *gone]
    assert statuses["windows__n"] == ["PRESENT", "PRESENT", *gone]
    assert statuses["windows__mean"] == ["PRESENT", "NULL_VALUE", "OUTSIDE_MAX_AGE", "NULL_VALUE", "NOT_FOUND", "NOT_FOUND"]
    assert statuses["driver"] == ["PRESENT"] * 5 + ["NULL_VALUE"]
    assert statuses["asked__twice"] == ["PRESENT", "NULL_VALUE", *["PRESENT"] * 4]
    values = response.to_dict()
    assert values["stats__trips"] == [3, 3, None, 3, None, None]
    assert all((value is None) == (status != "PRESENT") for name in values for value, status in zip(values[name], statuses[name], strict=True))


@pytest.mark.parametrize("rate", [None, 0.0])
def test_a_view_of_numbers_alone_tells_null_from_zero(rate: float | None) -> None:
    features = FeatureService("s", [FeatureView("numbers", [driver], source, {"rate": Feature("rate"), "trips": Feature("trips")}, ttl="2h")])
    online = reader([row(rate=rate), row(8)], features)
    assert online.vectors([{"driver": 7}], NOW) == [{"numbers__rate": rate, "numbers__trips": 3}]
    assert online.read([{"driver": 7}], NOW).to_dict() == {"driver": [7], "numbers__rate": [rate], "numbers__trips": [3]}
    assert online.read([{"driver": 7}], NOW + HOUR + 1).to_dict() == {"driver": [7], "numbers__rate": [None], "numbers__trips": [None]}
    assert online.read([{"driver": 7}], NOW + HOUR).to_dict()["numbers__trips"] == [3]
    assert online.read([{"driver": 7}, {"driver": 8}], NOW).to_dict()["numbers__rate"] == [rate, 0.5]


def test_event_times_are_those_of_the_entitys_row_even_when_it_is_too_old() -> None:
    old = NOW - 3 * HOUR
    response = reader([row(), row(9, at=old)]).read({"driver": [7, 9, 404], "km": [1.0] * 3}, NOW)
    assert response.event_times()["stats__rate"] == response.event_times()["windows__n"] == [NOW - HOUR, old, None]
    assert response.event_times()["driver"] == response.event_times()["asked__log"] == [None] * 3
    with_times = response.to_dict(include_event_timestamps=True)
    assert with_times["stats__rate__ts"] == [(NOW - HOUR) // 1_000_000, old // 1_000_000, 0]
    assert with_times["stats__rate"] == [0.5, None, None]


def test_a_view_without_ttl_never_grows_too_old() -> None:
    features = FeatureService("s", [FeatureView("stats", [driver], source, SCALARS)])
    response = reader([row(at=0)], features).read([{"driver": 7}], NOW)
    assert response.statuses()["stats__rate"] == ["PRESENT"]
    assert response.to_dict()["stats__rate"] == [0.5]


def test_a_part_of_the_features_is_read_from_the_whole_views_rows() -> None:
    whole = service()
    part = FeatureService("p", whole.views, selected=("windows__n", "stats__ok", "asked__twice", "stats__note"))
    online = store(whole, rows=[row()])
    for asked in ([{"driver": 7, "km": 2.0}], [{"driver": 7, "km": 2.0}, {"driver": 8, "km": 2.0}]):
        response = OnlineFeatures(online, part).read(asked, NOW)
        assert list(response.to_dict()) == ["driver", *part.selected]
        assert list(response.rows()[0].values()) == [7, 1, True, 4.0, "ü"]
        assert list(response.statuses()) == ["driver", *part.selected]
        vectors = OnlineFeatures(online, part).vectors(asked, NOW)
        assert vectors[0] == {"windows__n": 1, "stats__ok": True, "asked__twice": 4.0, "stats__note": "ü"}
        assert list(vectors[0]) == list(part.selected)


def test_views_of_several_entities_are_found_by_their_own_keys() -> None:
    trip = Entity("trip", ["city", "day"])
    views = [
        FeatureView(name, [entity], source, {"rate": Feature("rate")}) for name, entity in [("a", driver), ("b", city), ("c", trip), ("d", city)]
    ]
    features = FeatureService("s", views)
    rows = [{"driver": 7, "city": "ü" * 600, "day": NOW, "at": NOW, "rate": 2.0}, {"driver": 8, "city": "x", "day": 5, "at": NOW, "rate": 3.0}]
    read = reader(rows, features).read
    asked = [{"driver": 7, "city": "ü" * 600, "day": "2013-07-15T04:00:00Z"}, {"driver": 8, "city": "ü" * 600, "day": 5}]
    assert read(asked, NOW).to_dict() == {
        "driver": [7, 8],
        "city": ["ü" * 600] * 2,
        "day": [NOW, 5],
        "a__rate": [2.0, 3.0],
        "b__rate": [2.0, 2.0],
        "c__rate": [2.0, None],
        "d__rate": [2.0, 2.0],
    }
    assert read(asked[1:], NOW).statuses()["c__rate"] == ["NOT_FOUND"]
    assert read([{**asked[0], "day": None}], NOW).statuses()["c__rate"] == ["NOT_FOUND"]


def test_a_service_of_the_request_alone_needs_no_store() -> None:
    features = FeatureService("s", [OnDemandFeatureView("asked", {"km": "float"}, {"twice": Feature("2 * km")})])
    response = OnlineFeatures(MemoryOnline(), features).read([{"km": 2}, {"km": None}], NOW)
    assert response.to_dict() == {"asked__twice": [4.0, None]}
    assert response.statuses() == {"asked__twice": ["PRESENT", "NULL_VALUE"]}
    assert OnlineFeatures(MemoryOnline(), features).read([{"km": 2.0}], NOW).to_dict() == {"asked__twice": [4.0]}


def test_short_names_are_given_unless_two_would_be_the_same() -> None:
    read = reader([row()])
    assert list(read.read([{"driver": 7, "km": 1.0}], NOW, full_feature_names=False).to_dict())[:3] == ["driver", "rate", "trips"]
    twice = FeatureService("t", [FeatureView(name, [driver], source, {"rate": Feature("rate")}) for name in ("a", "b")])
    with pytest.raises(InvalidInput, match=r"called 'rate'.*full_feature_names"):
        OnlineFeatures(MemoryOnline(), twice).read([{"driver": 7}], NOW, full_feature_names=False)
    key = FeatureService("t", [FeatureView("a", [driver], source, {"driver": Feature("driver")})])
    with pytest.raises(InvalidInput, match="called 'driver'"):
        OnlineFeatures(MemoryOnline(), key).read([{"driver": 7}], NOW, full_feature_names=False)


WRONG: list[tuple[Any, str]] = [
    ([{"driver": "7", "km": 1.0}], r"row 0, field 'driver' \(int\).*'7' is no integer"),
    ([{"driver": True, "km": 1.0}], r"field 'driver' \(int\).*True is no integer"),
    ([{"driver": 2**63, "km": 1.0}], "is no integer of 64 bits"),
    ([{"driver": 10**5_000, "km": 1.0}], "field 'driver'"),
    ([{"driver": 7, "km": 1.0}, {"driver": 1.5, "km": 1.0}], r"row 1, field 'driver'.*1\.5"),
    ([{"driver": [7], "km": 1.0}], r"field 'driver'.*\[7\]"),
    ([{"driver": 7, "km": "far"}], "field 'km'"),
    ([{"driver": 7}], r"row 0 lacks the field 'km' \(float\).*null"),
    ([{"driver": 7, "km": 1.0}, {"Driver": 7, "km": 1.0}], r"row 1 lacks the field 'driver'.*Driver"),
    ([{"driver": 7, "km": 1.0}, 7], "row 1 is 7"),
    (["driver"], "row 0 is 'driver'"),
    ("driver", "give a list of dicts"),
    (7, "give a list of dicts"),
    (None, "give a list of dicts"),
    ({"driver": [7]}, "lack the field 'km'"),
    ({"driver": [7, 8], "km": [1.0]}, "different lengths"),
    ({"driver": 7, "km": [1.0]}, r"column 'driver' is 7"),
    ({"driver": "77", "km": [1.0, 1.0]}, "column 'driver' is '77'"),
]


@pytest.mark.parametrize(("asked", "message"), WRONG, ids=[message[:30] for _, message in WRONG])
def test_what_was_asked_wrongly_is_named(asked: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        reader([row()]).read(asked, NOW)
    assert len(str(caught.value)) < 700


def test_other_fields_are_left_out() -> None:
    response = reader([row()]).read([{"driver": 7, "km": 1.0, "view": "x", "stats__rate": 9, 5: 6}], NOW)
    assert response.to_dict()["stats__rate"] == [0.5]
    assert "view" not in response.to_dict()


def test_numbers_of_numpy_count_as_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    read = reader([row()]).read
    assert read([{"driver": numpy.int64(7), "km": numpy.float32(2)}], NOW).to_dict()["asked__twice"] == [4.0]
    assert read({"driver": numpy.array([7, 8]), "km": numpy.ones(2)}, NOW).to_dict()["stats__rate"] == [0.5, None]


def test_changing_an_answer_changes_no_other_answer() -> None:
    response = reader([row()]).read([{"driver": 7, "km": 1.0}], NOW)
    response.to_dict()["driver"].append(8)
    response.to_dict()["stats__rate"].clear()
    assert response.to_dict()["driver"] == [7]
    assert response.to_dict()["stats__rate"] == [0.5]


def test_a_hundred_thousand_rows_are_read_in_one_call() -> None:
    read = reader([row(number, trips=number) for number in range(1_000)]).read
    response = read({"driver": [number % 2_000 for number in range(100_000)], "km": [1.0] * 100_000}, NOW)
    trips = response.to_dict()["stats__trips"]
    assert trips[:1_000] == list(range(1_000))
    assert trips[1_000:2_000] == [None] * 1_000
    assert trips == trips[:2_000] * 50
    assert response.statuses()["stats__trips"].count("NOT_FOUND") == 50_000


def test_names_that_are_code_stay_names() -> None:
    """Fields of a source are any text; they get into generated functions only as quoted texts."""
    name = "x']; import os; row['\\\n{}"
    strange = Source("strange", {name: "int", "at": "timestamp", "rate": "float"}, "at")
    features = FeatureService("s", [FeatureView("v", [Entity("e", [name])], strange, {"rate": Feature("rate")})])
    online = MemoryOnline()
    online.update(upserts(stored_view(features.stored_views[0]), [{name: 5, "at": NOW, "rate": 1.0}], NOW), merge)
    assert OnlineFeatures(online, features).read([{name: 5}], NOW).to_dict() == {name: [5], "v__rate": [1.0]}


def test_a_damaged_row_is_no_answer() -> None:
    features = service()
    view = stored_view(features.stored_views[0])
    online = MemoryOnline()
    online.update([(view.key_of(7) or b"", b"R123")], lambda _, new: new)
    with pytest.raises(struct.error):
        OnlineFeatures(online, features).read([{"driver": 7, "km": 1.0}], NOW).to_dict()


values = st.none() | st.floats(allow_nan=False) | st.just(-0.0)


@given(
    st.dictionaries(
        st.integers(0, 5),
        st.tuples(values, st.none() | st.integers(-(2**63), 2**63 - 1), st.none() | st.text(max_size=20), st.integers(0, 4 * HOUR)),
    ),
    st.lists(st.none() | st.integers(0, 7), max_size=12),
)
def test_reads_equal_a_look_into_a_dict(stored: dict[int, tuple[float | None, int | None, str | None, int]], asked: list[int | None]) -> None:
    features = FeatureService("s", [FeatureView("stats", [driver], source, SCALARS, ttl="2h")])
    rows = [row(number, rate=rate, trips=trips, note=note, ok=None, at=NOW - age) for number, (rate, trips, note, age) in stored.items()]
    online = OnlineFeatures(store(features, rows=rows), features)

    def expected(number: int | None) -> tuple[Any, str, int | None]:
        if number is None or number not in stored:
            return (None,) * 3, "NOT_FOUND", None
        *found, age = stored[number]
        return (tuple(found), "", NOW - age) if age <= 2 * HOUR else ((None,) * 3, "OUTSIDE_MAX_AGE", NOW - age)

    response = online.read({"driver": asked}, NOW)
    answers = [expected(number) for number in asked]
    got = response.to_dict()
    assert list(zip(got["stats__rate"], got["stats__trips"], got["stats__note"], strict=True)) == [found for found, _, _ in answers]
    assert response.statuses()["stats__rate"] == [why or ("NULL_VALUE" if found[0] is None else "PRESENT") for found, why, _ in answers]
    assert response.event_times()["stats__note"] == [at_us for _, _, at_us in answers]
    vectors = online.vectors([{"driver": number} for number in asked], NOW)
    assert [tuple(vector.values())[:3] for vector in vectors] == [found for found, _, _ in answers]
    for number, vector in zip(asked, vectors, strict=True):
        assert online.vectors([{"driver": number}], NOW) == [vector]


def test_vectors_of_an_entity_asked_twice_do_not_share(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors: Callable[..., list[dict[str, Any]]] = reader([row()]).vectors
    one, other = vectors([{"driver": 7, "km": 1.0}] * 2, NOW)
    one.clear()
    assert other["stats__rate"] == 0.5
