"""Times and durations: exact, in UTC, and refused when they are something else."""

import doctest
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.errors import InvalidInput
from rota.records import time
from rota.records.time import DAY_US, LAST_US, from_datetime, iso, micros, parse_time, to_datetime

MOMENTS = st.integers(-62_135_596_800_000_000, LAST_US)


def test_the_examples_run():
    assert doctest.testmod(time).failed == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0), ("1s", 1), ("30m", 1_800), ("3h", 10_800), ("1.5h", 5_400), ("56d", 56 * 86_400), ("2 w", 1_209_600), (" 1d ", 86_400)],
)
def test_a_duration_is_a_number_and_a_unit(text, seconds):
    assert micros(text) == seconds * 1_000_000


BAD = ["", "h", "3", "-3h", "3 hours", "3H", "1e3s", "3h30m", "٣h", "nanh", "infd", "9" * 400 + "h", "3h; drop", None, 3, 3.0, timedelta(hours=3)]


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_anything_else_is_no_duration(text):
    with pytest.raises(InvalidInput, match="is not a number and a unit"):
        micros(text)


@given(MOMENTS)
def test_a_moment_reads_back_exactly(at_us):
    assert from_datetime(to_datetime(at_us)) == at_us
    assert parse_time(iso(at_us)) == at_us


@given(MOMENTS, MOMENTS)
def test_moments_order_as_their_dates_do(one, other):
    assert (one < other) == (to_datetime(one) < to_datetime(other))


def test_a_time_without_an_offset_is_utc():
    assert parse_time("2013-07-15T04:00:00") == parse_time("2013-07-15T04:00:00Z") == parse_time("2013-07-15T06:00:00+02:00")
    assert from_datetime(datetime(2013, 7, 15)) == from_datetime(datetime(2013, 7, 15, tzinfo=UTC)) == parse_time("2013-07-15")  # noqa: DTZ001
    assert from_datetime(datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))) == 0


@pytest.mark.parametrize("text", ["", "yesterday", "2013-13-01", "2013-02-30", "1373860800", "2013-07-15T25:00:00", None, 7, "2013-07-15\0"])
def test_anything_else_is_no_time(text):
    with pytest.raises(InvalidInput, match="is not an ISO 8601 time"):
        parse_time(text)


def test_a_moment_without_a_date_is_never():
    assert iso(LAST_US) == "9999-12-31T23:59:59.999999Z"
    assert iso(LAST_US + 1) == iso(2**62) == "never"
    assert iso(-DAY_US) == "1969-12-31T00:00:00Z"
