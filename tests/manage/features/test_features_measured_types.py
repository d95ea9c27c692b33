"""Lists, categories, decimals, bytes and blobs: names of types, columns against single values, stored rows, SQL over lists, windows."""

import json
import math
from decimal import Decimal, localcontext
from enum import Enum
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.manage.features.test_features_coercion import REFUSED, of_column, outcome

import rota
from rota.backends.inputs.file_input import FileInput
from rota.backends.inputs.sql_input import SqlInput
from rota.backends.memory.blobs import MemoryBlobs
from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.runs import MemoryRuns
from rota.backends.memory.tables import MemoryTables
from rota.backends.memory.tracking import MemoryTracking
from rota.errors import InvalidInput
from rota.manage.features.definitions import registration
from rota.manage.features.expressions import compiler, equivalence_check
from rota.manage.features.expressions.operators import DTYPES
from rota.manage.features.online.row_codec import RowView
from rota.manage.features.online.row_codec_batch import RowBatches
from rota.manage.features.rows import column_conversion
from rota.manage.features.rows.coercion import cell
from rota.manage.features.rows.source_table import CREATED
from rota.manage.features.store import Store
from rota.manage.features.writer import Feed
from rota.manage.repositories import Repositories
from rota.ports.inputs import Inputs
from rota.records.data import Entity, Feature, FeatureView, Source, last, mean
from rota.records.fields import Field
from rota.records.schema import Type
from rota.records.time import parse_time
from rota.records.value_types import check_type, family, width
from rota.records.values import coerce
from rota.testing import FakeClock

KINDS: tuple[Type, ...] = ("float[3]", "float[]", "int[]", "int[2]", 'category["a","b"]', "decimal(7,3)", "decimal(38,0)", "bytes", "blob")
finite = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(-(2**63), 2**63 - 1)


class Payment(Enum):
    CASH = "cash"
    CARD = "card"


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        (list[float], "float[]"),
        (list[int], "int[]"),
        ("float[384]", "float[384]"),
        ("Array(Float32)", "float[]"),
        ("decimal(12,2)", "decimal(12,2)"),
        (bytes, "bytes"),
        ("Bytes", "bytes"),
        (Literal["cash", "card"], 'category["cash","card"]'),
        (Payment, 'category["cash","card"]'),
        ('category[ "cash", "card" ]', 'category["cash","card"]'),
        (rota.category("é", 'it"s'), 'category["é","it\\"s"]'),
    ],
)
def test_types_with_measures_are_named_in_pythons_and_feasts_words_too(dtype: object, kind: str) -> None:
    assert Field("x", dtype).type == kind
    assert Source("s", {"at": "timestamp", "x": dtype}, "at").fields["x"] == kind  # type: ignore[dict-item]  # types as users write them


@pytest.mark.parametrize(
    "wrong",
    ["float[0]", "float[70000]", "float[-1]", "text[]", "decimal(39,2)", "decimal(2,3)", "decimal(0,0)", "category[]", 'category["a","a"]',
     "category[1]", "category", 'category["a"', "list", "", list[str], dict, 7],
)  # fmt: skip
def test_what_names_no_type_is_refused_with_the_types_there_are(wrong: Any) -> None:
    with pytest.raises(InvalidInput, match="field 'x'"):
        Field("x", wrong)


def exact(kind: Type, value: Any) -> Any:
    """An oracle of its own for decimals: exact fractions."""
    digits, _, places = kind.removeprefix("decimal(").removesuffix(")").partition(",")
    scaled = Fraction(value) * 10 ** int(places)
    with localcontext(prec=80):
        return Decimal(scaled.numerator).scaleb(-int(places)) if scaled.denominator == 1 and abs(scaled) < 10 ** int(digits) else REFUSED


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9) | st.integers(-(10**40), 10**40))
def test_a_decimal_is_exact_or_refused_however_it_comes(value: Any) -> None:
    for kind in ("decimal(7,3)", "decimal(38,0)", "decimal(20,20)"):
        right = exact(kind, value)
        forms = [value, Decimal(value), Fraction(value)]
        if abs(Decimal(value).as_tuple().exponent) < 30:  # type: ignore[arg-type]  # of a finite number
            forms.append(f"{Decimal(value):f}")
        assert [outcome(coerce, kind, form) for form in forms] == [right] * len(forms)
        if -(2**63) <= value < 2**63 and isinstance(value, int):
            assert of_column(pl.Series("x", [value, None]), kind) == [right, None]
        assert of_column(pl.Series("x", [value, None], dtype=pl.Object), kind) == [right, None]


@given(st.integers(-(10**17), 10**17), st.integers(0, 6))
def test_a_column_of_decimals_is_what_its_values_are(digits: int, scale: int) -> None:
    value = Decimal(digits).scaleb(-scale)
    for kind in ("decimal(7,3)", "decimal(30,6)", "decimal(38,0)"):
        assert of_column(pl.Series("x", [value, None], dtype=pl.Decimal(38, scale)), kind) == [exact(kind, value), None]


@given(st.integers(-(10**15) + 1, 10**15 - 1), st.integers(0, 15))
def test_a_float_of_fifteen_digits_is_the_decimal_that_it_was(digits: int, scale: int) -> None:
    written = Decimal(digits).scaleb(-scale)
    assert coerce("decimal(38,15)", float(written)) == written
    assert coerce("decimal(38,15)", json.loads(json.dumps(float(written)))) == written


def listed(kind: Type, value: list[Any]) -> Any:
    """An oracle for lists: one coercion for each number, none of them missing or infinite."""
    element, _, length = kind.removesuffix("]").partition("[")
    if length and len(value) != int(length):
        return REFUSED
    numbers = [outcome(coerce, element, each) for each in value]
    return REFUSED if any(each is None or each == REFUSED or math.isinf(each) for each in numbers) else numbers


@given(st.lists(finite | integers | st.sampled_from([math.nan, math.inf, None, True, 2.0**53, "1"]), max_size=4))
def test_a_list_is_what_its_numbers_are_however_it_comes(value: list[Any]) -> None:
    for kind in ("float[3]", "float[]", "int[]", "int[2]"):
        right = listed(kind, value)
        forms = [value, tuple(value)]
        columns = [pl.Series("x", [value, None], dtype=pl.Object)]
        if value and len(set(map(type, value))) == 1 and isinstance(value[0], float | int) and not isinstance(value[0], bool):
            forms.append(np.array(value))
            columns.append(pl.Series("x", [value, None], dtype=pl.List(pl.Float64 if isinstance(value[0], float) else pl.Int64)))
            columns.append(pl.Series("x", [value, None], dtype=pl.Array(pl.Float64 if isinstance(value[0], float) else pl.Int64, len(value))))
        for form in forms:
            assert outcome(coerce, kind, form) == right, form
        for column in columns:
            assert of_column(column, kind) == [right, None], column.dtype


def test_a_list_says_which_of_its_numbers_is_wrong() -> None:
    for value, said in (
        ([1, None, 3], "number 2 of a float\\[3\\] is missing"),
        ([1, 2, math.inf], "number 3 of a float\\[3\\] is infinite"),
        ([1, "2", 3], "number 2 of a float\\[3\\]: '2' is no number"),
        ([1, 2], "a list of 2 numbers is no float\\[3\\], which has 3 numbers"),
        (np.zeros((2, 3)), "an array of 2 dimensions is no float\\[3\\]"),
        (7, "7 is no float\\[3\\]; give a list of numbers"),
    ):
        with pytest.raises(InvalidInput, match=said):
            coerce("float[3]", value)


def test_a_value_outside_a_domain_is_named_with_what_was_meant() -> None:
    with pytest.raises(InvalidInput, match="'crad' is outside the domain of its category, which has 'cash', 'card'; did you mean 'card'"):
        coerce(rota.category("cash", "card"), "crad")


def test_cells_of_csv_hold_lists_as_json_and_decimals_as_they_are_written() -> None:
    assert cell("float[2]", " [0.5, -1] ") == [0.5, -1.0]
    assert cell("decimal(5,2)", " 01.50 ") == Decimal("1.50")
    assert cell('category["a"," b"]', " b") == " b"
    assert cell("bytes", "YWI=") == b"ab"
    for kind, text in (("float[2]", "0.5 -1"), ("decimal(5,2)", "1e2"), ('category["a"]', " a")):
        assert outcome(cell, kind, text) == REFUSED


def values_of(kind: Type) -> st.SearchStrategy[Any]:
    match family(kind):
        case "list":
            numbers = finite if kind.startswith("float") else integers
            length = width(kind) if "[]" not in kind else None
            return st.lists(numbers, min_size=length or 0, max_size=length or 5)
        case "category":
            return st.sampled_from(["a", "b"])
        case "decimal":
            places = 3 if kind == "decimal(7,3)" else 0
            return st.integers(-(10**7) + 1, 10**7 - 1).map(lambda digits: Decimal(digits).scaleb(-places))
        case "bytes":
            return st.binary(max_size=20)
        case _:
            return st.binary(min_size=32, max_size=32).map(bytes.hex)


SOURCE = Source("s", {"k": "int", "at": "timestamp", "n": "float", **{f"x{place}": kind for place, kind in enumerate(KINDS)}}, "at")
VIEW = FeatureView("v", [Entity("k", ["k"])], SOURCE, {name: Feature(name) for name in SOURCE.fields if name not in ("k", "at")})
rows_of_all_types = st.fixed_dictionaries(
    {"k": integers, "at": st.just(5), "n": st.none() | finite, **{f"x{place}": st.none() | values_of(kind) for place, kind in enumerate(KINDS)}}
)


@given(st.lists(rows_of_all_types, min_size=1, max_size=5))
def test_rows_are_stored_online_as_they_are_one_by_one_and_all_at_once(rows: list[dict[str, Any]]) -> None:
    view = RowView(VIEW)
    frame = pl.DataFrame(rows, schema={**{name: DTYPES[kind] for name, kind in SOURCE.fields.items()}}).with_columns(pl.lit(9).alias(CREATED))
    stored = [view.encode(row, 9) for row in rows]
    assert RowBatches(view).stored(frame) == stored
    names = sorted(VIEW.features)
    assert [dict(zip(names, view.decode(data, 5), strict=True)) for data in stored] == [{name: row[name] for name in names} for row in rows]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("e", "float[3]"), ("h", "int[]"), ("array_length(h)", "int"), ("cardinality(e)", "int"), ("e[2]", "float"), ("h[4]", "int"),
        ("array_sum(e)", "float"), ("array_sum(h)", "int"), ("array_avg(h)", "float"), ("array_min(e)", "float"), ("array_max(h)", "int"),
        ("l2_norm(e)", "float"), ("inner_product(e, f)", "float"), ("l2_distance(e, g)", "float"), ("cosine_similarity(e, f)", "float"),
        ("coalesce(e, f)", "float[3]"), ("case when n > 0 then h end", "int[]"), ("e is null", "bool"), ("l2_norm(e) * n", "float"),
        ("c", 'category["a","b"]'), ("c = 'a'", "bool"), ("upper(c)", "string"), ("d", "decimal(7,3)"), ("cast(d as double precision) / 3", "float"),
        ("d > d", "bool"), ("cast(d as text)", "string"), ("b", "bytes"), ("b is null", "bool"), ("r", "blob"),
    ],
)  # fmt: skip
def test_sql_over_types_with_measures_is_the_same_online_and_offline(text: str, kind: Type) -> None:
    fields: dict[str, Type] = {
        "e": "float[3]", "f": "float[3]", "g": "float[]", "h": "int[]", "n": "float", "c": 'category["a","b"]', "d": "decimal(7,3)", "b": "bytes",
        "r": "blob",
    }  # fmt: skip
    assert compiler.check(text, fields) == compiler.type_of(text, fields) == kind
    assert equivalence_check.verify(text, fields) > 2
    frame = pl.DataFrame({name: [None] for name in fields}, schema={name: DTYPES[each] for name, each in fields.items()})
    assert frame.select(compiler.column(text, fields).alias("y")).schema["y"] == DTYPES[kind]


@given(st.lists(finite, min_size=3, max_size=3), st.lists(finite, min_size=3, max_size=3))
def test_functions_of_vectors_are_those_of_numpy(one: list[float], other: list[float]) -> None:
    fields: dict[str, Type] = {"e": "float[3]", "f": "float[3]"}
    texts = ["inner_product(e, f)", "l2_distance(e, f)", "cosine_similarity(e, f)", "l2_norm(e)", "array_avg(e)", "e[3]"]
    inner, distance, cosine, norm, average, third = compiler.compile_values(texts, fields)({"e": one, "f": other})
    a, b = np.array(one, dtype=np.longdouble), np.array(other, dtype=np.longdouble)
    assert third == one[2]
    with np.errstate(all="ignore"):
        if np.abs(a).max() < 1e100 and np.abs(b).max() < 1e100:
            assert math.isclose(inner, float(a @ b), rel_tol=1e-9, abs_tol=1e-9 * float(np.abs(a) @ np.abs(b)))
            assert math.isclose(distance, float(np.sqrt(((a - b) ** 2).sum())), rel_tol=1e-9, abs_tol=1e-300)
            assert math.isclose(norm, float(np.sqrt((a**2).sum())), rel_tol=1e-9, abs_tol=1e-300)
            assert math.isclose(average, float(a.mean()), rel_tol=1e-9, abs_tol=1e-9 * float(np.abs(a).max()))
    if min(math.hypot(*one), math.hypot(*other)) > 1e-100 and max(math.hypot(*one), math.hypot(*other)) < 1e100:
        assert math.isclose(cosine, float(a @ b / np.sqrt((a**2).sum() * (b**2).sum())), rel_tol=1e-9, abs_tol=1e-9)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("e + 1", "array_sum"), ("e = f", "l2_distance"), ("inner_product(e, h2)", "one length"), ("e[0]", "counted from 1"), ("e[4]", "no place"),
        ("d + 1", "cast the value first"), ("d > 1", "cast them to one type"), ("array_sum(n)", "takes a list"), ("b = b", "no order"),
        ("upper(d)", "cast"), ("cosine_similarity(e)", "takes 2 lists"), ("array_sums(e)", "did you mean array_sum"), ("least(e, f)", "l2_distance"),
    ],
)  # fmt: skip
def test_sql_that_means_nothing_for_a_type_is_refused_with_the_way_out(text: str, said: str) -> None:
    fields: dict[str, Type] = {"e": "float[3]", "f": "float[3]", "h2": "float[2]", "n": "float", "d": "decimal(7,3)", "b": "bytes"}
    with pytest.raises(InvalidInput, match=said):
        compiler.check(text, fields)


def test_windows_count_any_type_and_refuse_other_aggregates_with_the_way_out() -> None:
    fields: dict[str, Type] = {"k": "int", "at": "timestamp", "e": "float[2]", "d": "decimal(7,3)", "b": "bytes", "c": 'category["a","b"]'}
    source = Source("s", fields, "at")

    def checked(feature: Feature) -> None:
        registration.check(MemoryMetadata(), MemoryTables(), [source, FeatureView("v", [Entity("k", ["k"])], source, {"x": feature})])

    for text in ("l2_norm(e)", "cast(d as double precision)", "array_length(e)"):
        checked(mean(text, window="1h"))
    checked(last("c", window="1h"))
    for name in "edb":
        checked(Feature(name, "count", "1h"))
    for name, said in (("e", "array_avg"), ("d", "cast"), ("b", "count them")):
        with pytest.raises(InvalidInput, match=said):
            checked(last(name, window="1h"))


def test_a_matrix_has_as_many_columns_of_a_value_as_it_has_numbers() -> None:
    assert [width(kind) for kind in ("float", "float[384]", "int[2]", 'category["a"]', "decimal(5,2)", "timestamp")] == [1, 384, 2, 1, 1, 1]
    for kind in ("float[]", "bytes", "blob"):
        with pytest.raises(InvalidInput, match="matrix"):
            width(kind)
    assert check_type('category[ "a" ]') == 'category["a"]'


def test_a_column_of_another_kind_is_refused_as_a_whole() -> None:
    for column, kind in (
        (pl.Series("x", [["a"]]), "float[]"),
        (pl.Series("x", [[1.0]]), "decimal(5,2)"),
        (pl.Series("x", [b"ab"]), 'category["a"]'),
        (pl.Series("x", [{"a": 1}]), "bytes"),
    ):
        with pytest.raises(InvalidInput, match=f"has the type {column.dtype}".replace("(", "\\(").replace(")", "\\)").replace("{", "\\{")):
            column_conversion.fitted(column, kind, "the column")


NOON = parse_time("2013-07-15T12:00:00Z")
fields_of_windows: dict[str, Type] = {"k": "int", "at": "timestamp", "c": 'category["a","b"]', "e": "float[2]", "d": "decimal(7,3)", "f": "blob"}


def test_windows_and_newest_rows_of_measured_types_are_the_same_online_and_offline() -> None:
    metadata, tables, online, journal, clock = MemoryMetadata(), MemoryTables(), MemoryOnline(), MemoryJournal(), FakeClock(NOON)
    feed = Feed(metadata, tables, online, journal, clock, inputs=Inputs(FileInput(), SqlInput({})))
    rooms = Repositories(metadata, MemoryRuns(metadata), MemoryBlobs(), tables, online, journal, clock, MemoryTracking(metadata))
    store = Store(rooms, feed)
    source = Source("s", fields_of_windows, "at")
    card = Entity("k", ["k"])
    windows = {
        "c": last("c", window="1h"), "f": last("f", window="1h"), "norm": mean("l2_norm(e)", window="1h"), "e": Feature("e", "count", "1h"),
        "d": mean("cast(d as double precision)", window="1h"),
    }  # fmt: skip
    newest = {name: Feature(name) for name in "cedf"}
    store.apply([FeatureView("w", [card], source, windows), FeatureView("v", [card], source, newest, ttl="1h")])
    rows = [
        {"k": 1, "at": NOON - 3_000_000, "c": "b", "e": [3, 4], "d": "0.125", "f": "0" * 64},
        {"k": 1, "at": NOON - 2_000_000, "c": "a", "e": None, "d": "0.375", "f": "f" * 64},
        {"k": 1, "at": NOON - 1_000_000, "c": None, "e": [6, 8], "d": None, "f": None},
        {"k": 2, "at": NOON - 7_200_000_000, "c": "a", "e": [1, 1], "d": 1, "f": "0" * 64},
    ]
    store.push("s", rows)
    names = [*(f"w:{name}" for name in windows), *(f"v:{name}" for name in newest)]
    asked = [{"k": 1}, {"k": 2}, {"k": 3}]
    served = store.get_online_features(names, asked, full_feature_names=True).rows()
    assert {name: served[0][name] for name in ("w__c", "w__f", "w__norm", "w__e", "w__d")} == {
        "w__c": "a", "w__f": "f" * 64, "w__norm": 7.5, "w__e": 2, "w__d": 0.25
    }  # fmt: skip
    assert {name: served[0][name] for name in ("v__c", "v__e", "v__d", "v__f")} == {"v__c": None, "v__e": [6.0, 8.0], "v__d": None, "v__f": None}
    assert [served[1][f"v__{name}"] for name in "cedf"] == [None] * 4, "older than the ttl"
    feed.pushes.flush("s")
    trained = store.get_historical_features([{**row, "event_timestamp": NOON} for row in asked], names, full_feature_names=True).to_polars()
    for name in served[0].keys() - {"k"}:
        assert trained[name].to_list() == [row[name] for row in served], name


def test_lists_and_decimals_identify_no_row_and_no_entity() -> None:
    for kind in ("float[2]", "decimal(7,3)", "bytes"):
        fields: dict[str, Type] = {"k": kind, "at": "timestamp", "x": "float"}
        with pytest.raises(InvalidInput, match="cannot identify rows"):
            registration.check(MemoryMetadata(), MemoryTables(), [Source("s", fields, "at", id_field="k")])
        source = Source("s", fields, "at")
        with pytest.raises(InvalidInput, match="an entity is found by int or string"):
            registration.check(MemoryMetadata(), MemoryTables(), [source, FeatureView("v", [Entity("k", ["k"])], source, {"x": Feature("x")})])


def test_a_category_may_get_values_and_lose_none() -> None:
    metadata, tables = MemoryMetadata(), MemoryTables()

    def declared(*values: str) -> Source:
        return Source("s", {"at": "timestamp", "x": rota.category(*values)}, "at")

    registration.register(metadata, tables, [declared("a", "b")], now_us=1)
    registration.register(metadata, tables, [declared("b", "c", "a")], now_us=2)
    with pytest.raises(InvalidInput, match=r"already has \['x'\] with other types"):
        registration.register(metadata, tables, [declared("a", "b")], now_us=3)
