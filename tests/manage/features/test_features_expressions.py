"""Feature SQL: the same answer for one row and for a column, and nothing but expressions."""

import math
import zoneinfo
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.errors import InvalidInput, Refused
from rota.manage.features.expressions import compiler, equivalence_check, operators, time_functions
from rota.records.schema import Type

COLUMNS: dict[str, Type] = {"x": "float", "y": "float", "i": "int", "j": "int", "b": "bool", "s": "string", "t": "timestamp"}
JULY = 1_373_893_323_000_000  # 2013-07-15T13:02:03Z, a Monday


def both_ways(sql: str, **row: Any) -> Any:
    """The value for the row, after checking that the column form gives the same."""
    columns = {name: COLUMNS[name] for name in row}
    (online,) = compiler.compile_values([sql], columns)(row)
    frame = pl.DataFrame([list(row.values()) or [0]], schema={n: operators.DTYPES[k] for n, k in columns.items()} or {"any": pl.Int64}, orient="row")
    offline = frame.select(compiler.column(sql, columns)).to_series().item()
    assert equivalence_check.same(online, offline) or (online is None and offline is None), f"{sql}: {online!r} online, {offline!r} offline"
    return online


@pytest.mark.parametrize(
    ("sql", "row", "expected"),
    [
        ("x + 1", {"x": 2.5}, 3.5),
        ("i / j", {"i": 5, "j": 2}, 2.5),
        ("i / j", {"i": 1, "j": 0}, math.inf),
        ("i / j", {"i": -1, "j": 0}, -math.inf),
        ("x / y", {"x": 0.0, "y": 0.0}, None),
        ("coalesce(x / y, 7)", {"x": 0.0, "y": 0.0}, None),  # nan is a value until the feature ends
        ("i % j", {"i": -5, "j": 3}, -2),
        ("i % j", {"i": 5, "j": 0}, None),
        ("x % y", {"x": -5.5, "y": 3.0}, -2.5),
        ("i * j", {"i": 2**62, "j": 4}, None),
        ("-i", {"i": -(2**63)}, None),
        ("ln(x)", {"x": 0.0}, -math.inf),
        ("ln(x)", {"x": -1.0}, None),
        ("sqrt(x)", {"x": -1.0}, None),
        ("exp(x)", {"x": 1000.0}, math.inf),
        ("log10(x)", {"x": 1000.0}, 3.0),
        ("floor(log10(x))", {"x": 1e300}, 300.0),
        ("power(x, 0.5)", {"x": 9.0}, 3.0),
        ("round(x)", {"x": 2.5}, 3.0),
        ("round(x)", {"x": -2.5}, -3.0),
        ("round(x, 1)", {"x": 0.25}, 0.3),
        ("cast(x as int)", {"x": 2.5}, 3),
        ("cast(x as int)", {"x": 1e300}, None),
        ("cast(s as float)", {"s": "-1.5e3"}, -1500.0),
        ("cast(s as int)", {"s": "1_0"}, None),
        ("cast(i as text)", {"i": -3}, "-3"),
        ("cast(t as text)", {"t": JULY}, "2013-07-15T13:02:03Z"),
        ("x > 1", {"x": None}, None),
        ("b and x > 1", {"b": False, "x": None}, False),
        ("log2(x)", {"x": 8.0}, 3.0),
        ("round(degrees(atan2(x, y)), 6)", {"x": 1.0, "y": -1.0}, 135.0),
        ("asin(x)", {"x": 2.0}, None),
        ("round(2 * 6371 * asin(sqrt(power(sin(radians(x) / 2), 2))), 3)", {"x": 1.0}, 111.195),
        ("sign(x) * trunc(y)", {"x": -3.0, "y": 2.9}, -2.0),
        ("mod(i, 3)", {"i": -5}, -2),
        ("left(s, 2) || right(s, 1)", {"s": "añb"}, "añb"),
        ("right(s, 0)", {"s": "abc"}, ""),
        ("substring(s from 2 for 2)", {"s": "日本語x"}, "本語"),
        ("replace(s, 'a', '$0')", {"s": "banana"}, "b$0n$0n$0"),
        ("starts_with(s, 'ba')", {"s": "banana"}, True),
        ("s like '%n_n%'", {"s": "banana"}, True),
        ("s like 'ba\\%'", {"s": "banana"}, False),
        ("s like 'a.c'", {"s": "abc"}, False),
        ("s like '%'", {"s": "two\nlines"}, True),
        ("date_trunc('week', t)", {"t": JULY}, JULY - 13 * 3_600_000_000 - 123_000_000),
        ("extract(week from t)", {"t": JULY}, 29),
        ("extract(quarter from t)", {"t": JULY}, 3),
        ("extract(second from t)", {"t": JULY + 500_000}, 3.5),
        ("extract(hour from t at time zone 'America/New_York')", {"t": JULY}, 9),
        ("date_part('hour', t)", {"t": JULY}, 13),
        ("extract(hour from t at time zone 'Asia/Kolkata')", {"t": 2**62}, None),
        ("b or x > 1", {"b": True, "x": None}, True),
        ("b and x > 1", {"b": True, "x": None}, None),
        ("not b", {"b": None}, None),
        ("x is null", {"x": None}, True),
        ("x is not null", {"x": None}, False),
        ("b is not true", {"b": None}, True),
        ("x / y = x / y", {"x": 0.0, "y": 0.0}, False),  # nan equals nothing
        ("x / y <> 1", {"x": 0.0, "y": 0.0}, True),
        ("x in (1, 2)", {"x": 2.0}, True),
        ("x not in (1, 2)", {"x": None}, None),
        ("s in ('a', 'it''s')", {"s": "it's"}, True),
        ("x between 1 and 2", {"x": 2.0}, True),
        ("case when x > 0 then 'up' when x < 0 then 'down' end", {"x": 0.0}, None),
        ("case i when 1 then 2 else 3.5 end", {"i": 1}, 2.0),
        ("if(x > 0, 1, 0)", {"x": None}, 0),
        ("coalesce(x, i, 0)", {"x": None, "i": 4}, 4.0),
        ("nullif(i, 4)", {"i": 4}, None),
        ("least(x, y)", {"x": None, "y": 2.0}, 2.0),
        ("greatest(i, 3)", {"i": 1}, 3),
        ("extract(hour from t)", {"t": JULY}, 13),
        ("extract(isodow from t)", {"t": JULY}, 1),
        ("extract(dow from t)", {"t": JULY - 86_400_000_000}, 0),
        ("extract(doy from t)", {"t": JULY}, 196),
        ("extract(hour from t)", {"t": -1}, 23),
        ("extract(year from t)", {"t": 2**62}, None),
        ("t - t", {"t": JULY}, 0),
        ("t >= '2013-07-15'", {"t": JULY}, True),
        ("lower(s)", {"s": "AbC"}, "abc"),
        ("length(s)", {"s": "日本"}, 2),
        ("trim(s)", {"s": "  a "}, "a"),
        ("concat(s, '-', s)", {"s": None}, "-"),
        ("s || 'x'", {"s": None}, None),
        ("1 + 1", {}, 2),
        ("null", {}, None),
    ],
)
def test_an_expression_means_the_same_online_and_offline(sql: str, row: dict[str, Any], expected: Any) -> None:
    assert both_ways(sql, **row) == expected


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Berlin", "Pacific/Auckland", "Asia/Kathmandu", "Australia/Lord_Howe", "UTC"])
def test_local_time_is_what_the_clocks_of_the_zone_show(zone: str) -> None:
    """Each minute around the changes of 2013 and 2024, and each 37 hours since 1970, against the standard library."""
    known = zoneinfo.ZoneInfo(zone)
    starts = [start for start in time_functions.offsets(zone)[0] if 0 < start < 1_735_689_600_000_000]
    moments = [start + shift for start in starts[-40:] for shift in (-1, 0, 1, 3_600_000_000)] + list(
        range(0, 1_735_689_600_000_000, 37 * 3_600_000_000)
    )
    frame = pl.DataFrame({"t": moments})
    offline = frame.select(compiler.column(f"t at time zone '{zone}'", {"t": "timestamp"})).to_series().to_list()
    for at_us, found in zip(moments, offline, strict=True):
        shown = datetime.fromtimestamp(at_us // 1_000_000, known)
        assert found == time_functions.local(zone, at_us) == at_us + round(shown.utcoffset().total_seconds()) * 1_000_000


def test_an_unknown_zone_or_unit_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="no time zone 'Mars/Base'"):
        compiler.type_of("t at time zone 'Mars/Base'", COLUMNS)
    with pytest.raises(InvalidInput, match=r"date_trunc\('era'|unknown"):
        compiler.type_of("date_trunc('decade', t)", COLUMNS)


def test_a_misspelt_function_is_answered_with_the_one_that_was_meant() -> None:
    with pytest.raises(InvalidInput, match=r"did you mean substring\?"):
        compiler.type_of("substrin(s, 1)", COLUMNS)


def test_one_function_computes_all_features_in_order() -> None:
    compute = compiler.compile_values(["1.609 * x", "x / 2", "1.609 * x > 100"], COLUMNS)
    assert compute({"x": 100.0}) == (160.9, 50.0, True)
    assert compute({}) == (None, None, None)


def test_equal_text_over_equal_types_is_compiled_once_and_unrelated_columns_do_not_matter() -> None:
    text = "sqrt(x) + 17.25"
    before = compiler.compiled(text, {"x": "float"})
    assert compiler.compiled(text, {"x": "float"}) is before
    assert compiler.compiled(text, COLUMNS) is before
    assert compiler.compiled(text, {"x": "int"}) is not before
    function = compiler.compile_values([text, "x"], {"x": "float"})
    assert compiler.compile_values([text, "x"], COLUMNS) is function
    assert compiler.compile_values(["x", text], {"x": "float"}) is not function


def test_what_was_compiled_is_not_kept_beyond_a_bound() -> None:
    for number in range(3_000):
        compiler.columns_of(f"x + {number}", {"x": "float"})
    kept = [compiler._cached.cache_info(), compiler._columns_read.cache_info()]
    assert all(info.maxsize is not None and info.currsize <= info.maxsize < 3_000 for info in kept)


def test_threads_that_compile_the_same_text_at_once_get_equal_answers() -> None:
    texts = [f"case when x > {number} then ln(x) else x end" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        functions = list(pool.map(lambda text: compiler.compile_values([text], {"x": "float"}), texts * 8))
    assert [function({"x": 20.0}) for function in functions] == [(math.log(20.0) if number < 20 else 20.0,) for number in range(40)] * 8


def test_unknown_names_are_named_and_the_known_ones_listed() -> None:
    with pytest.raises(InvalidInput, match=r"no column 'z'; the columns are \['b', 'i'"):
        compiler.column("z + 1", COLUMNS)
    with pytest.raises(InvalidInput, match=r"soundex is unknown; there are: .*coalesce"):
        compiler.column("soundex(s)", COLUMNS)


@pytest.mark.parametrize(
    "sql", ["s + 1", "x and b", "not x", "lower(x)", "extract(hour from x)", "case when b then 1 else 'a' end", "x < s", "s || 1", "least(b, b)"]
)
def test_types_that_do_not_fit_are_refused(sql: str) -> None:
    with pytest.raises(InvalidInput):
        compiler.type_of(sql, COLUMNS)


HOSTILE = [
    "__import__('os').system('true')",
    "__import__",
    "x.__class__",
    "().__class__.__bases__",
    "exec('1')",
    "eval(s)",
    "open('/etc/passwd')",
    "lambda: 1",
    "x; import os",
    "(select 1)",
    "x in (select 1)",
    "sum(x)",
    "count(*)",
    "*",
    "x as y",
    "$1",
    "?",
    "{{x}}",
    "[i for i in x]",
    "x if b else y",
    "",
    "   ",
    "-- nothing",
    "x, y",
    "1e999",
    "99999999999999999999",
    "'unfinished",
    "\x00",
    "cast(x as blob)",
    "x LIKE 'a%'",
    "a.b.c.d.e",
    "s || '\ud800'",
]


@pytest.mark.parametrize("sql", HOSTILE)
def test_hostile_text_is_refused_and_never_run(sql: str) -> None:
    with pytest.raises(InvalidInput):
        compiler.compile_values([sql], COLUMNS)


@pytest.mark.parametrize("text", ["'''", "\\", '"""', "\n", "\r\n", "') or __import__('os')", "{x}", "%s", "\\x27", "\u2028"])
def test_texts_and_names_stay_texts(text: str) -> None:
    quoted = text.replace("'", "''")
    column = f"odd {text}"
    assert both_ways(f"s = '{quoted}'", s=text) is True
    name = column.replace('"', '""')
    compute = compiler.compile_values([f'"{name}"'], {column: "string"})
    assert compute({column: "value"}) == ("value",)


@pytest.mark.parametrize(
    "sql", ["(" * 3000 + "x" + ")" * 3000, "-" * 200 + "x", " + ".join(["x"] * 500), "not " * 500 + "b", "abs(" * 900 + "x" + ")" * 900, "x" * 20_000]
)
def test_deep_or_long_text_is_an_error_and_no_crash(sql: str) -> None:
    with pytest.raises(InvalidInput):
        compiler.compile_values([sql], COLUMNS)


def test_an_expression_that_repeats_itself_cannot_explode() -> None:
    sql = "x"
    for _ in range(25):
        sql = f"case when {sql} > 0 then 1.0 else 2.0 end"
    with pytest.raises(InvalidInput, match="split it"):
        compiler.column(sql, COLUMNS)


def test_the_gate_passes_what_is_equal_and_counts_the_rows() -> None:
    sample = pl.DataFrame({"x": [1.0, 2.0], "s": ["a", None]})
    assert equivalence_check.verify("x * 2", {"x": "float", "s": "string"}, sample) > 2


def test_the_gate_refuses_forms_that_differ_and_shows_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(operators._FUNCTIONS, "floor", lambda column: column.ceil())
    with pytest.raises(Refused, match=r"computed differently online and offline: .* on the row \{'x': "):
        equivalence_check.verify("floor(x)", COLUMNS)


numbers = st.one_of(st.none(), st.floats(allow_nan=False), st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.5]))
integers = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(-10, 10))
numeric = st.deferred(
    lambda: st.one_of(
        st.sampled_from(["x", "y", "i", "j", "0", "1", "2.5", "null"]),
        st.tuples(numeric, st.sampled_from("+-*/%"), numeric).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        numeric.map(lambda a: f"(-{a})"),
        st.tuples(st.sampled_from(["abs", "floor", "ceil", "round", "sqrt"]), numeric).map(lambda p: f"{p[0]}({p[1]})"),
        st.tuples(st.sampled_from(["least", "greatest", "coalesce", "nullif"]), numeric, numeric).map(lambda p: f"{p[0]}({p[1]}, {p[2]})"),
        st.tuples(logical, numeric, numeric).map(lambda p: f"case when {p[0]} then {p[1]} else {p[2]} end"),
    )
)
logical = st.deferred(
    lambda: st.one_of(
        st.sampled_from(["b", "true", "null"]),
        st.tuples(numeric, st.sampled_from(["=", "<>", "<", "<=", ">", ">="]), numeric).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        st.tuples(logical, st.sampled_from(["and", "or"]), logical).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        logical.map(lambda a: f"(not {a})"),
        numeric.map(lambda a: f"({a} is null)"),
        numeric.map(lambda a: f"({a} in (0, 1, 2.5))"),
    )
)


@given(sql=st.one_of(numeric, logical), x=numbers, y=numbers, i=integers, j=integers, b=st.sampled_from([None, True, False]))
def test_any_expression_means_the_same_online_and_offline(sql: str, x: Any, y: Any, i: Any, j: Any, b: Any) -> None:
    try:
        compiler.type_of(sql, COLUMNS)
    except InvalidInput:
        return  # too deep, or a null of no type
    both_ways(sql, x=x, y=y, i=i, j=j, b=b)


@pytest.mark.parametrize(
    "text",
    [
        "date_trunc('day', t at time zone 'Asia/Tokyo') at time zone 'Asia/Tokyo'",
        "(t at time zone 'Asia/Tokyo') at time zone 'UTC'",
        "t at time zone '+02:00'",
        "t at time zone 'UTC+2'",
        "t at time zone '-0330'",
    ],
)
def test_local_time_is_made_once_and_of_a_named_zone(text):
    with pytest.raises(InvalidInput, match="AT TIME ZONE"):
        compiler.check(text, {"t": "timestamp"})


@pytest.mark.parametrize("text", ["i + " + "9" * 5_000, "round(f, " + "9" * 5_000 + ")", "f + 1." + "9" * 5_000])
def test_a_number_of_thousands_of_digits_is_refused_in_words(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"the number 1?\.?9{15}.* digits; at most 400 are read"):
        compiler.type_of(text, {"i": "int", "f": "float"})


def test_a_case_of_hundreds_of_branches_is_refused_in_words_or_computed() -> None:
    text = "case " + " ".join(f"when i = {number} then {number}" for number in range(300)) + " end"
    with pytest.raises(InvalidInput, match="nested too deeply"):
        compiler.compile_values([text], {"i": "int"})
