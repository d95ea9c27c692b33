"""Values of other libraries: what they hold, how they are shown, and what becomes of them in JSON."""

import json
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

import numpy as np
import pandas as pd
import pytest

from rota.client import _encoded
from rota.errors import InvalidInput
from rota.records.values import as_json, coerce, measured, shown


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("float", np.float32(0.1)), ("float", np.float64(0.1)), ("float", Decimal("0.1")), ("float", Fraction(1, 3)), ("float", math.nan),
        ("float", np.float32("nan")), ("float", pd.NA), ("int", np.int64(7)), ("int", np.uint8(7)), ("int", Decimal(2**60)), ("int", pd.NaT),
        ("bool", np.True_), ("string", np.str_("é")), ("string", UUID(int=7)), ("timestamp", datetime(2026, 2, 3, tzinfo=UTC)),
        ("timestamp", date(2026, 2, 3)), ("timestamp", np.datetime64("2026-02-03T04", "ns")),
        ("timestamp", pd.Timestamp("2026-02-03", tz="Asia/Tokyo")), ("float[2]", np.array([0.1, 2.0])), ("int[]", np.array([2**60, 1])),
        ("float[]", [np.float32(0.1), Decimal("0.1")]), ("decimal(38,2)", Decimal("999999999999999999.99")), ("decimal(5,2)", Decimal("0.10")),
        ("bytes", bytes(range(256))),
    ],
)  # fmt: skip
def test_what_the_client_sends_is_the_value_that_was_given(kind, value):
    sent = json.loads(_encoded({"rows": [{"x": value, "deep": (value, None)}]}), parse_constant=pytest.fail)["rows"][0]
    assert coerce(kind, sent["x"]) == coerce(kind, sent["deep"][0]) == coerce(kind, value)


def test_what_json_has_no_form_for_is_refused_before_it_is_sent():
    with pytest.raises(InvalidInput, match=r"the rows cannot be sent: 1j cannot be sent as JSON"):
        _encoded({"rows": [{"x": 1j}]})
    with pytest.raises(TypeError, match=r"np\.timedelta64"):
        as_json(np.timedelta64(5, "s"))


def test_a_measured_value_may_be_a_bool():
    assert [measured(value) for value in (True, np.False_, 2, np.float32(0.5), None, math.nan)] == [1.0, 0.0, 2.0, 0.5, None, None]
    for other in ("1", b"1", [1], datetime.now(UTC)):
        with pytest.raises(InvalidInput):
            measured(other)


def test_a_value_is_shown_in_about_a_hundred_characters():
    assert shown("x" * 1_000) == "'" + "x" * 99 + "..."
    assert shown(10**5_000) == "an integer of 16610 bits"
    assert shown([10**5_000]) == "a list"
