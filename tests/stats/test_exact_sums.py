"""Exact sums against fractions: digits add up to the number, and every sum and mean is the real one rounded once, half to even."""

import math
import struct
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.stats import exact_sums
from rota.stats.exact_sums import LOWEST, WIDTH, columns, columns_on_grid, digits, mean_reader, means, sums, total_reader

LARGEST, FLOAT32 = 1.7976931348623157e308, 3.4028234663852886e38
EDGES = [0.0, -0.0, 0.1, 0.7, 20.5, -20.1, 1.0, 3.0, 1e12, 1e17, 1e30, FLOAT32, -FLOAT32, LARGEST, -LARGEST, 1e-300, 5e-324, 2.0**-1022, 2.0**52 + 1]
floats = st.sampled_from(EDGES) | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**6), 10**6).map(lambda cents: cents / 100)
integers = st.sampled_from([0, 7, 2**53 + 1, 2**63 - 1, -(2**63)]) | st.integers(-(2**63), 2**63 - 1)
several = st.lists(floats, min_size=1, max_size=12) | st.lists(integers, min_size=1, max_size=12)


def rounded(value: Fraction, count: int = 1) -> float:
    """A fraction as the nearest float: Python divides whole numbers so."""
    divided = value / count
    try:
        return divided.numerator / divided.denominator
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def same(a: float, b: float) -> bool:
    return struct.pack("d", a) == struct.pack("d", b)


def on_grid(place: int) -> Fraction:
    return Fraction(2) ** (WIDTH * place - 19)


@given(several)
def test_digits_of_numbers_add_up_to_their_sum_and_mean(values: Sequence[float]) -> None:
    row: dict[int, float] = {}
    for value in values:
        found = digits(value)
        assert sum(Fraction(digit) * on_grid(place) for place, digit in found) == Fraction(value)
        assert all(digit == int(digit) and abs(digit) <= 2**WIDTH and place >= LOWEST for place, digit in found)
        for place, digit in found:
            row[place] = row.get(place, 0.0) + digit
    parts, numbers, total = [(place, at) for at, place in enumerate(row)], list(row.values()) or [0.0], sum(map(Fraction, values))
    assert same(total_reader(parts)(numbers), rounded(total))
    assert same(total_reader(parts)([int(number) for number in numbers]), rounded(total))
    assert same(mean_reader(parts)(numbers, len(values)), rounded(total, len(values)))


@given(several, st.sampled_from([1, 12, 5_000, 2**17, 2**29]), st.data())
def test_sums_and_means_over_any_rows_of_a_column_are_rounded_once(values: list[float], most_added: int, data: st.DataObject) -> None:
    column = np.array(values)
    ends = [sorted((data.draw(st.integers(0, len(values))), data.draw(st.integers(0, len(values))))) for _ in range(6)]
    split = columns(column, max(most_added, len(values)))
    running = {exponent: np.concatenate([[0], np.cumsum(whole)]) for exponent, whole in split.items()}
    of = {exponent: np.array([sums_[end] - sums_[start] for start, end in ends]) for exponent, sums_ in running.items()}
    counts = np.array([end - start for start, end in ends])
    for (start, end), total, mean in zip(ends, sums(of, len(ends)), means(of, counts), strict=True):
        exact = sum(map(Fraction, values[start:end]), Fraction(0))
        assert same(total, rounded(exact)), values[start:end]
        assert same(mean, rounded(exact, end - start)) if end > start else math.isnan(mean), values[start:end]


@given(several)
def test_a_column_on_the_grid_is_its_numbers_on_the_grid(values: list[float]) -> None:
    found = columns_on_grid(np.array(values))
    for i, value in enumerate(values):
        assert sum(int(whole[i]) * on_grid(place) for place, whole in found.items()) == Fraction(value)
        assert all(abs(int(whole[i])) <= 2**WIDTH for whole in found.values())


def test_usual_columns_need_one_or_two_digits() -> None:
    draw = np.random.default_rng(1)
    cents = np.round(draw.uniform(0.01, 1e5, 1_000), 2)
    assert [len(columns(column, 10_000)) for column in (np.ones(5), draw.integers(0, 10**6, 50), cents, draw.normal(size=100))] == [1, 1, 2, 2]
    assert len(columns(np.where(draw.random(1_000) < 0.01, FLOAT32, cents), 10_000)) <= 4
    assert sorted(columns_on_grid(cents)) == [-1, 0]
    assert sorted(columns_on_grid(draw.integers(0, 2**25, 50))) == [0]


@pytest.mark.parametrize(("digit", "kept"), [(2.0**46, 0.0), (-(2.0**46), 0.0), (2.0**50 + 3, 3.0), (-(2.0**52) - 5, -5.0)])
def test_a_large_digit_is_carried(digit: float, kept: float) -> None:
    rest, carry = exact_sums.carried(digit)
    assert (rest, carry * 2**WIDTH + rest) == (kept, digit)


@pytest.mark.parametrize("values", [[LARGEST] * 3, [-LARGEST] * 3, [LARGEST, LARGEST, -LARGEST], [1e308] * 5_000, [5e-324, -5e-324, 5e-324]])
def test_what_overflows_on_the_way_is_right_in_the_end(values: Any) -> None:
    of = {exponent: np.array([whole.sum()]) for exponent, whole in columns(np.array(values), len(values)).items()}
    exact = sum(map(Fraction, values))
    assert same(sums(of, 1)[0], rounded(exact))
    assert same(means(of, np.array([len(values)]))[0], rounded(exact, len(values)))


def test_nothing_sums_to_zero() -> None:
    assert sums({}, 2).tolist() == [0.0, 0.0]
    assert means({}, np.array([0, 3])).tolist()[1] == 0.0
    assert columns(np.array([0.0, -0.0]), 2) == {}
    assert columns(np.array([], dtype=np.int64), 0) == {}
