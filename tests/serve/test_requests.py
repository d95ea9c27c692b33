"""What callers send is checked by field and row."""

import numpy as np
import pandas as pd
import pytest

from rota.errors import InvalidInput
from rota.serve.requests import check_ids, check_rows

FIELDS = {"f": "float", "i": "int", "b": "bool", "s": "string", "t": "timestamp"}
GOOD = {"f": 1.5, "i": 2, "b": True, "s": "x", "t": "2013-07-15T04:00:00Z"}


def test_a_good_row_passes_with_its_moment_in_microseconds():
    assert check_rows([GOOD], FIELDS) == [{**GOOD, "t": 1_373_860_800_000_000}]


def test_numbers_that_mean_the_same_are_taken():
    [row] = check_rows([{**GOOD, "f": 3, "i": 4.0, "t": 5}], FIELDS)
    assert (row["f"], row["i"], row["t"]) == (3.0, 4, 5)
    assert isinstance(row["f"], float)
    assert isinstance(row["i"], int)


def test_null_is_a_value_and_absence_is_not():
    assert check_rows([dict.fromkeys(FIELDS)], FIELDS) == [dict.fromkeys(FIELDS)]
    with pytest.raises(InvalidInput, match=r"row 1 lacks the field 'i'"):
        check_rows([GOOD, {key: value for key, value in GOOD.items() if key != "i"}], FIELDS)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("f", "1.5"),
        ("f", True),
        ("f", float("inf")),
        ("f", 10**400),
        ("f", [1.0]),
        ("i", 1.5),
        ("i", 2**63),
        ("i", float("inf")),
        ("i", False),
        ("i", "1"),
        ("b", 2),
        ("b", "true"),
        ("s", 1),
        ("s", {"a": 1}),
        ("t", "yesterday"),
        ("t", 1.5),
        ("t", 2**63),
        ("t", True),
        ("extra", {"deep": []}),
        ("extra", 2**64),
        ("extra", float("inf")),
        ("extra", "\ud800"),
        ("s", "\ud800"),
    ],
)
def test_a_foreign_value_is_named_by_row_and_field(field, value):
    with pytest.raises(InvalidInput, match="row 1") as caught:
        check_rows([GOOD, {**GOOD, field: value}], FIELDS)
    assert caught.value.facts["field"] == field
    assert caught.value.facts["row"] == 1


def test_fields_that_nobody_declared_are_kept_for_the_log():
    assert check_rows([{**GOOD, "flight_id": "AA1"}], FIELDS)[0]["flight_id"] == "AA1"


def test_nan_is_null():
    (row,) = check_rows([{**GOOD, "f": float("nan"), "i": float("nan"), "extra": float("nan")}], FIELDS)
    assert (row["f"], row["i"], row["extra"]) == (None, None, None)


def test_a_value_of_numpy_or_pandas_is_what_it_holds_declared_or_not():
    given = {
        "f": np.float32(0.5),
        "i": np.int8(7),
        "b": np.True_,
        "s": np.str_("x"),
        "t": np.datetime64("2013-07-15", "ns"),
        "extra": np.int64(3),
        "no": pd.NA,
    }
    (row,) = check_rows([given], FIELDS)
    assert row == {"f": 0.5, "i": 7, "b": True, "s": "x", "t": 1_373_846_400_000_000, "extra": 3, "no": None}
    assert list(map(type, row.values())) == [float, int, bool, str, int, int, type(None)]


def test_good_ids_pass():
    check_ids(["a", "b" * 128], 2)


@pytest.mark.parametrize("ids", [["a"], ["a", "a"], ["a", ""], ["a", "b" * 129], ["a", "b\n"], ["a", 7]])
def test_bad_ids_are_refused(ids):
    with pytest.raises(InvalidInput):
        check_ids(ids, 2)
