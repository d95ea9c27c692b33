"""One value, one meaning: single values, columns and cells are compared with an oracle that knows the table of docs/types.md by itself."""

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.errors import InvalidInput
from rota.manage.features.rows import column_conversion, table_adapters
from rota.manage.features.rows.coercion import cell
from rota.manage.features.rows.value_columns import column_of
from rota.records.values import coerce

KINDS = ("float", "int", "bool", "string", "timestamp")
FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
REFUSED = "refused"


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def outcome(action: Callable[..., Any], *given: Any, **options: Any) -> Any:
    try:
        return action(*given, **options)
    except InvalidInput:
        return REFUSED


def same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and (one == other) and (not isinstance(one, float) or math.copysign(1, one) == math.copysign(1, other))


def of_column(column: pl.Series, kind: Any, *, cells: bool = False) -> list[Any]:
    found = column_conversion.fitted(column, kind, "the column", cells=cells)
    return [REFUSED if misfit else value for value, misfit in zip(found.values.to_list(), found.misfits.to_list(), strict=True)]


def expected_number(kind: str, value: Fraction | float) -> Any:  # noqa: PLR0911 - a table
    """The oracle for numbers: exact rationals, and floats for what no rational is."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if kind == "string":
        return REFUSED
    if kind == "float":
        try:
            return float(value)
        except OverflowError:
            return REFUSED
    if isinstance(value, float):
        if math.isinf(value) or abs(value) > 2**53 - 1:
            return REFUSED
        value = Fraction(value)
    if value.denominator != 1:
        return REFUSED
    whole = value.numerator
    if kind == "bool":
        return bool(whole) if whole in (0, 1) else REFUSED
    low, high = (-(2**63), 2**63 - 1) if kind == "int" else (micros(FIRST), micros(LAST))
    return whole if low <= whole <= high else REFUSED


edges = st.sampled_from([0, 1, -1, 2, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64 - 1, 10**30, 1001, micros(LAST)])
integers = edges | st.integers(-(2**70), 2**70)
floats = st.sampled_from([0.0, -0.0, 1.0, 1001.0, 0.5, 1e300, math.inf, -math.inf, math.nan, 2.0**53 - 1, 2.0**53, 2.0**63, 1e18]) | st.floats()
decimals = st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**20), max_value=10**20)


@given(integers | floats)
def test_a_number_is_the_same_as_a_python_value_a_numpy_scalar_and_a_column_of_any_width(value: float) -> None:
    forms: list[Any] = [value]
    columns = [column_of("x", [value, None]), pl.Series("x", [value, None], dtype=pl.Object)]
    if isinstance(value, float):
        forms += [np.float64(value), np.longdouble(value), np.array(value), Decimal(value)]
        columns += [pl.Series("x", [value, None], dtype=pl.Float64)]
        narrow = np.float32(value) if abs(value) < 1e30 or math.isinf(value) else None
        if narrow is not None and (float(narrow) == value):
            forms.append(narrow)
            columns.append(pl.Series("x", [value, None], dtype=pl.Float32))
    else:
        forms += [Fraction(value), Decimal(value)]
        for low, high, scalar, dtype in (
            (-(2**7), 2**7 - 1, np.int8, pl.Int8),
            (0, 2**8 - 1, np.uint8, pl.UInt8),
            (-(2**31), 2**31 - 1, np.int32, pl.Int32),
            (-(2**63), 2**63 - 1, np.int64, pl.Int64),
            (0, 2**64 - 1, np.uint64, pl.UInt64),
            (-(2**127), 2**127 - 1, None, pl.Int128),
        ):
            if low <= value <= high:
                columns.append(pl.Series("x", [value, None], dtype=dtype))
                forms += [scalar(value)] if scalar else []
        if abs(value) < 10**35:
            columns.append(pl.Series("x", [Decimal(value), None], dtype=pl.Decimal(38, 0)))
    for kind in KINDS:
        right = expected_number(kind, value if isinstance(value, float) else Fraction(value))
        for form in forms:
            # A Decimal holds a whole float exactly, so nothing is in doubt about it.
            exact = isinstance(form, Decimal) and isinstance(value, float) and math.isfinite(value)
            wanted = expected_number(kind, Fraction(value)) if exact and kind != "float" else right
            wanted = 0.0 if exact and wanted == 0 and kind == "float" and not Decimal(value).is_signed() else wanted
            assert same(outcome(coerce, kind, form), wanted), (kind, type(form))
        for column in columns:
            made = of_column(column, kind)
            assert same(made[0], right), (kind, column.dtype)
            assert made[1] is None


@given(decimals)
def test_a_decimal_is_rounded_once(value: Decimal) -> None:
    for kind in KINDS:
        right = expected_number(kind, Fraction(value))
        if kind == "float":
            right = float(value)
        assert same(outcome(coerce, kind, value), right)
        assert same(
            of_column(pl.Series("x", [value], dtype=pl.Decimal(38, 3)), kind)[0], right if value else abs(right) if kind == "float" else right
        )


@pytest.mark.parametrize(
    "missing", [None, math.nan, np.float32("nan"), Decimal("nan"), pd.NA, pd.NaT, np.datetime64("NaT", "us"), np.timedelta64("NaT", "s")], ids=repr
)
def test_what_means_missing_is_null_for_every_type(missing: Any) -> None:
    for kind in KINDS:
        assert coerce(kind, missing) is None  # type: ignore[arg-type]
        assert of_column(column_of("x", [missing]), kind) == [None]
        assert of_column(pl.Series("x", [missing], dtype=pl.Object), kind) == [None]


moments = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29))  # noqa: DTZ001
offsets = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(moments, st.none() | offsets)
def test_a_moment_is_the_same_as_a_datetime_a_numpy_time_a_text_and_a_column(moment: datetime, offset: timezone | None) -> None:
    zoned = moment.replace(tzinfo=offset or UTC)
    right = micros(zoned)
    given = zoned if offset else moment
    assert coerce("timestamp", given) == coerce("timestamp", given.isoformat()) == cell("timestamp", given.isoformat(" ")) == right
    for column in (column_of("x", [given]), pl.Series("x", [given], dtype=pl.Object), pl.Series("x", [given.isoformat()])):
        assert of_column(column, "timestamp") == [right]
    naive = moment if offset is None else zoned.astimezone(UTC).replace(tzinfo=None)
    assert coerce("timestamp", np.datetime64(naive, "us")) == right
    assert of_column(pl.Series("x", [naive]), "timestamp") == [right]
    if 1700 < moment.year < 2250:
        finer = np.datetime64(naive, "ns") + np.timedelta64(999, "ns")
        assert coerce("timestamp", finer) == right
        assert coerce("timestamp", pd.Timestamp(finer)) == right
        assert coerce("timestamp", pd.Timestamp(given)) == right
        assert of_column(pl.Series("x", np.array([finer])), "timestamp") == [right]
    for kind in ("float", "int", "bool", "string"):
        assert outcome(coerce, kind, given) == REFUSED
        with pytest.raises(InvalidInput, match="the column has the type Datetime"):
            of_column(pl.Series("x", [naive]), kind)


def test_days_are_their_first_moment_and_times_of_a_day_or_lengths_are_no_moments() -> None:
    right = micros(datetime(2026, 2, 3, tzinfo=UTC))
    for day in (date(2026, 2, 3), np.datetime64("2026-02-03"), pd.Timestamp("2026-02-03"), "2026-02-03", "20260203", "2026-W06-2", "2026-034"):
        assert coerce("timestamp", day) == right
        assert of_column(column_of("x", [day]), "timestamp") == [right]
    for other in (
        timedelta(1),
        np.timedelta64(5, "us"),
        pd.Timedelta("1D"),
        datetime.now(UTC).time(),
        pd.Period("2026-02"),
        np.datetime64(10**15, "s"),
        "10:00",
    ):
        for kind in ("float", "int", "bool", "timestamp"):
            assert outcome(coerce, kind, other) == REFUSED, (kind, other)


@given(st.sampled_from(["ns", "us", "ms"]), st.integers(-(2**63), 2**63 - 1))
def test_a_datetime_column_of_any_unit_has_its_calendar_or_is_refused(unit: Any, value: int) -> None:
    per_us = {"ns": Fraction(1, 1000), "us": Fraction(1), "ms": Fraction(1000)}[unit]
    right = math.floor(value * per_us)
    found = of_column(pl.Series("x", [value]).cast(pl.Datetime(unit)), "timestamp")
    assert found == [right if micros(FIRST) <= right <= micros(LAST) else REFUSED]


DIGITS = "0123456789"
texts = (
    st.sampled_from(["1001.0", " 7 ", "1e3", "+1", "-0", ".5", "5.", "1_000", "0x10", "1,5", "inf", "-Infinity", "nan", "NaN", "true", "FALSE"])
    | st.sampled_from(["9007199254740993", "9007199254740993.0", "9223372036854775808", "1e400", "1e-400", "00123", "\u0663", "1\n", "", " "])
    | st.sampled_from(["2013-07-15", "tRUE", "t", "1.0", "0.0", "\u0131nf"])
    | st.from_regex(r"[+-]?[0-9]{1,20}(\.[0-9]{0,5})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
    | st.text("0123456789+-.eEinfa tT:Z", max_size=12)
)  # fmt: skip


def expected_cell(kind: str, text: str) -> Any:  # noqa: PLR0911 - a table
    """The oracle for cells: Python's own readers of numbers, kept from what they take besides."""
    bare = text.strip(" \t\r\n")
    if bare.lower() == "nan":
        return None if kind == "float" else REFUSED
    if kind == "bool" and bare in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return bare.lower() == "true"
    if not bare or set(bare) - set("0123456789+-.eE") or bare.startswith(("e", "E")):
        if bare.lower().lstrip("+-") not in ("inf", "infinity") or len(bare) - len(bare.lstrip("+-")) > 1:
            return REFUSED
        return expected_number(kind, float(bare))
    exponent = bare.lower().partition("e")[2].lstrip("+-")
    try:
        number = float(bare)
        exact = Fraction(bare) if len(exponent) <= 3 else None
    except ValueError:
        return REFUSED
    if math.isinf(number) or exact is None:
        return REFUSED
    if kind == "float":
        return number
    digits = bare.lstrip("+-")
    return expected_number(kind, exact if digits.isdigit() and len(digits) <= 19 else number)


@given(texts, st.sampled_from(["float", "int", "bool"]))
def test_a_cell_is_the_number_that_it_writes(text: str, kind: Any) -> None:
    right = expected_cell(kind, text)
    assert same(outcome(cell, kind, text), right)
    for others in ([], ["1"], ["x", None]):
        assert same(of_column(pl.Series("x", [text, *others]), kind, cells=True)[0], right)
    if right is not None:
        assert outcome(coerce, kind, text) == REFUSED  # anywhere else a text is a text
        assert of_column(pl.Series("x", [text]), kind) == [REFUSED]


DAYS = r"(2013|0001|9999|2016|0000)(-?)(07|12|02|W29|W53|366|196|13)(-?)(15|31|1|30|)"
CLOCKS = r"(0[0-9]|2[0-5])(:?[0-6][0-9](:?(59|60|[0-5][0-9])([.,][0-9]{1,9})?)?)?"
times = st.from_regex(rf"\A ?{DAYS}([Tt ]{CLOCKS}(Z|z|[+-]0[0-9](:?[0-5][0-9])?)?)?\Z")


@given(st.lists(times | st.from_regex(r"\A[+-]?[0-9]{7,20}(\.0*)?\Z"), min_size=1, max_size=8))
def test_a_column_of_texts_is_read_as_each_text_is(column: list[str]) -> None:
    assert of_column(pl.Series("x", column), "timestamp") == [outcome(coerce, "timestamp", text) for text in column]
    assert of_column(pl.Series("x", column), "timestamp", cells=True) == [outcome(cell, "timestamp", text) for text in column]


def test_foreign_columns_are_refused_by_name_and_only_where_they_are_needed() -> None:
    columns = {
        "list": pl.Series([[1]]), "array": pl.Series([[1, 2]], dtype=pl.Array(pl.Int64, 2)), "struct": pl.Series([{"a": 1}]),
        "bytes": pl.Series([b"x"]), "time": pl.Series([datetime.now(UTC).time()]), "duration": pl.Series([timedelta(1)]),
    }  # fmt: skip
    frame = pl.DataFrame({"id": [1], **columns})
    assert column_conversion.conform(frame, {"id": "int"}, what="the frame").rows() == [(1,)]
    for name, column in columns.items():
        for kind in KINDS:
            with pytest.raises(
                InvalidInput, match=rf"column '{name}' of the frame has the type {column.dtype.base_type().__name__}.*, which is no {kind}"
            ):
                column_conversion.conform(frame, {name: kind}, what="the frame")  # type: ignore[dict-item]


def test_categories_are_their_texts_and_a_column_of_nulls_is_null() -> None:
    for dtype in (pl.Categorical, pl.Enum(["a", "2026-02-03"])):
        column = pl.Series("x", ["a", "2026-02-03", None], dtype=dtype)
        assert of_column(column, "string") == ["a", "2026-02-03", None]
        assert of_column(column, "timestamp") == [REFUSED, micros(datetime(2026, 2, 3, tzinfo=UTC)), None]
        assert of_column(column, "int") == [REFUSED, REFUSED, None]
    for kind in KINDS:
        assert of_column(pl.Series("x", [None, None]), kind) == [None, None]


def test_a_pandas_frame_keeps_what_its_columns_mean() -> None:
    frame = pd.DataFrame(
        {
            "key": [1001.0, None],
            "wide": pd.array([2**60 + 1, None], dtype="Int64"),
            "ok": pd.array([True, None], dtype="boolean"),
            "text": pd.Series(["NA", None], dtype="string"),
            "kind": pd.Series(["a", None], dtype="category"),
            "mixed": [7, "7"],
            "at": pd.to_datetime(["2026-02-03T01:00+01:00", None]),
        }
    )
    fields: dict[str, Any] = {"key": "int", "wide": "int", "ok": "bool", "text": "string", "kind": "string", "at": "timestamp"}
    made = column_conversion.conform(table_adapters.columns(frame, what="the frame"), fields, what="the frame")
    assert made.rows() == [(1001, 2**60 + 1, True, "NA", "a", micros(datetime(2026, 2, 3, tzinfo=UTC))), (None,) * 6]
    with pytest.raises(InvalidInput, match=r"row 1, column 'mixed' .*'7' is no int"):
        column_conversion.conform(table_adapters.columns(frame, what="the frame"), {"mixed": "int"}, what="the frame")


def test_a_list_of_dicts_keeps_each_value_as_it_is() -> None:
    rows = [{"x": 2**53 + 1, "y": 1}, {"x": 0.5, "y": "1"}]
    made = table_adapters.columns(rows, what="the table")
    assert (made["x"].to_list(), made["y"].to_list()) == ([2**53 + 1, 0.5], [1, "1"])
    assert table_adapters.columns({"y": [1, "1"], "z": np.array([1, 2])}, what="the table")["y"].to_list() == [1, "1"]
