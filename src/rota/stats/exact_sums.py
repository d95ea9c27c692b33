"""Exact sums: numbers split into whole multiples of powers of two, which add up without error in any order and subtract as well.

A finite float is a whole number times a power of two, so a sum of floats is exact where it is kept as whole numbers ("digits") of a
few powers, as in the superaccumulators of Kulisch (Computer Arithmetic and Validity, 2008, section 8). What comes in later, what is
taken out again and what else was added cannot change the result: it is the sum of the real numbers, rounded once, half to even. A mean is
the exact sum divided by the count, rounded once. Whole numbers of 64 bits keep all their digits. A sum beyond the largest
float is infinite; zero is 0.0.

Digits of one number are floats on a fixed grid of powers (`digits`), for sums that are stored; digits of a column are 64-bit integers
on powers chosen for it (`columns`), most often one or two. Which powers those are does not change what is answered.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Digits = Mapping[int, Integers]
"""A column of numbers, or of sums of them: for each exponent e whole numbers, which count 2**e."""

WIDTH, _OFFSET = 45, -19
"""The fixed grid has the powers 2**(45 * place - 19): what is near 1 has two digits, a number of at most 26 bits one."""
LOWEST, HIGHEST = -24, 23
"""Places of the grid that finite floats reach."""
MOST_ADDED, AT_ONCE = 2.0**46, 128
"""Digits up to this size add up in a float without error, so many of them at once."""
_INTEGRAL = 1.5 * 2.0**52
"""A float below 2**51 that this is added to and subtracted from again has lost its fraction, rounded half to even."""
_UNITS = {place: 2.0 ** (WIDTH * place + _OFFSET) for place in range(-20, 21)}
_ONE, _PER_ONE = _UNITS[0], 1.0 / _UNITS[0]
_NEXT, _PER_NEXT = _UNITS[-1], 1.0 / _UNITS[-1]
_SINGLE = 2.0**26
_EXACT = 2**53
_SPLITTER = 2.0**27 + 1
_DOUBT = 2.0**-40


def digits(value: float) -> Sequence[tuple[int, float]]:
    """A finite number as (place, digit) on the fixed grid; a digit is a whole number, at most 2**45 in size."""
    if -_SINGLE < value < _SINGLE:
        first = (value * _PER_ONE + _INTEGRAL) - _INTEGRAL
        rest = value - first * _ONE
        if not rest:
            return ((0, first),)
        second = (rest * _PER_NEXT + _INTEGRAL) - _INTEGRAL
        if second * _NEXT == rest:
            return ((0, first), (-1, second)) if first else ((-1, second),)
    return _digits(value)


def _digits(value: float) -> list[tuple[int, float]]:
    if not float(value).is_integer() or abs(value) < _EXACT:
        rest, found = float(value), []
        while rest:
            place = (math.frexp(rest)[1] - 1 - _OFFSET) // WIDTH
            digit = float(round(math.ldexp(rest, -WIDTH * place - _OFFSET)))
            rest -= math.ldexp(digit, WIDTH * place + _OFFSET)
            found.append((place, digit))
        return found
    whole, place, found = int(value) << -_OFFSET, 0, []
    while whole:
        digit = whole & ((1 << WIDTH) - 1)
        digit -= (digit >> (WIDTH - 1)) << WIDTH
        if digit:
            found.append((place, float(digit)))
        whole, place = (whole - digit) >> WIDTH, place + 1
    return found


def carried(digit: float) -> tuple[float, float]:
    """A digit that became large, as one of at most 2**44 in size and what it adds to the digit of the next place."""
    carry = float(round(digit * 2.0**-WIDTH))
    return digit - carry * 2.0**WIDTH, carry


def total_reader(parts: Sequence[tuple[int, int]]) -> Callable[[Sequence[float]], float]:
    """The function that reads a sum out of a row of numbers, rounded once; parts are the digits' places and where in the row they stand."""
    exact = mean_reader(parts)
    if any(place not in _UNITS for place, _ in parts):
        return lambda row: exact(row, 1)
    units = [(at, _UNITS[place]) for place, at in parts]

    def quick(row: Sequence[float]) -> float:
        return math.fsum([row[at] * unit for at, unit in units]) if type(row[0]) is float else exact(row, 1)

    return quick


def mean_reader(parts: Sequence[tuple[int, int]]) -> Callable[[Sequence[float], int], float]:
    """As `total_reader` for a mean: the function takes the row and the count."""
    least = min((place for place, _ in parts), default=0)
    exponent = WIDTH * least + _OFFSET
    shifted = sorted((WIDTH * (place - least), at) for place, at in parts)

    def exact(row: Sequence[float], count: int) -> float:
        return rounded(sum([int(row[at]) << shift for shift, at in shifted]), exponent, count)

    if len(parts) != 2 or exponent > 0:
        return exact
    (_, lower), (between, upper) = shifted

    def exact_pair(row: Sequence[float], count: int) -> float:
        return ((int(row[upper]) << between) + int(row[lower])) / (count << -exponent)

    return exact_pair if all(place in _UNITS for place, _ in parts) else exact


def rounded(whole: int, exponent: int, count: int = 1) -> float:
    """whole * 2**exponent / count as the nearest float, half to even; infinite beyond the largest."""
    try:
        return (whole << exponent) / count if exponent > 0 else whole / (count << -exponent)
    except OverflowError:
        return math.inf if whole > 0 else -math.inf


def columns(values: NDArray[np.generic], most_added: int) -> Digits:
    """A column of finite floats or 64-bit integers as digits of which `most_added` add up in 64 bits."""
    width = min(50, 62 - most_added.bit_length())
    whole = _large_integers(values)
    if whole is not None:
        return {32: whole >> 32, 0: whole & 0xFFFFFFFF}
    return _split(values.astype(np.float64, copy=False), lambda largest: largest - width)


def columns_on_grid(values: NDArray[np.generic]) -> dict[int, Integers]:
    """A column of finite floats or 64-bit integers as digits of the fixed grid, by their place."""
    whole = _large_integers(values)
    if whole is not None:
        upper = ((whole >> 25) + 1) >> 1
        return {1: upper, 0: (whole - (upper << 26)) << 19}
    found = _split(values.astype(np.float64, copy=False), lambda largest: WIDTH * ((largest - 1 - _OFFSET) // WIDTH) + _OFFSET, shorten=False)
    return {(exponent - _OFFSET) // WIDTH: whole for exponent, whole in found.items()}


def _large_integers(values: NDArray[np.generic]) -> Integers | None:
    """The column if it holds integers that floats do not."""
    whole = values.astype(np.int64, copy=False) if values.dtype == np.int64 else None
    return whole if whole is not None and _size(whole) >= _EXACT else None


def _split(values: Floats, exponent_for: Callable[[int], int], *, shorten: bool = True) -> dict[int, Integers]:
    """Whole numbers of the power that fits the largest value, then of the one that fits the largest rest, until nothing is left."""
    found: dict[int, Integers] = {}
    rest = values
    while largest := _size(rest):
        exponent = exponent_for(math.frexp(largest)[1])
        whole = np.trunc(_scaled(rest, -exponent))
        rest = rest - _scaled(whole, exponent)
        found[exponent] = whole.astype(np.int64)
    if found and shorten:
        last = found.pop(exponent)
        union = int(np.bitwise_or.reduce(last))
        zeros = (union & -union).bit_length() - 1
        found[exponent + zeros] = last >> zeros
    return found


def sums(of: Digits, rows: int) -> Floats:
    """Sums given as digits, each rounded once."""
    if not of:
        return np.zeros(rows)
    if len(of) == 1:
        ((exponent, whole),) = of.items()
        return _scaled(whole.astype(np.float64), exponent)
    parts, scale = _expansion(of)
    if scale is None:
        return _one_by_one(of, np.arange(rows), np.ones(rows, dtype=np.int64))
    return _scaled(_rounded(parts)[0], scale)


def means(of: Digits, counts: Integers) -> Floats:
    """Sums given as digits, each divided by its count and rounded once; nan where the count is zero."""
    rows = len(counts)
    if not of:
        return np.where(counts > 0, 0.0, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        if len(of) == 1:
            ((exponent, whole),) = of.items()
            if _size(whole) < _EXACT:
                divided = whole / counts
                return _settled(divided, exponent, _too_small(divided, exponent), of, counts)
        parts, scale = _expansion(of)
        if scale is None:
            return _one_by_one(of, np.arange(rows), counts)
        total_, tail = _rounded(parts)
        divided = total_ / counts
        inexact = np.flatnonzero((tail != 0) & (counts & (counts - 1) != 0))
        doubtful = np.zeros(rows, dtype=bool)
        if len(inexact):
            divided[inexact], doubtful[inexact] = _corrected(divided[inexact], total_[inexact], tail[inexact], counts[inexact])
        return _settled(divided, scale, doubtful | _too_small(divided, scale), of, counts)


def _corrected(quotient: Floats, total_: Floats, tail: Floats, counts: Integers) -> tuple[Floats, NDArray[np.bool_]]:
    """Quotients of total + tail, and where it cannot be said how they are rounded.

    The remainder of a quotient is a float and found without error (Dekker, Numerische Mathematik 18, 1971, section 5).
    """
    shifted = quotient * _SPLITTER
    upper = shifted - (shifted - quotient)
    count = counts.astype(np.float64)
    remainder = (total_ - upper * count) - (quotient - upper) * count
    more = (remainder + tail) / count
    low, high = quotient + more * (1 - _DOUBT), quotient + more * (1 + _DOUBT)
    return low, (low != high) | (counts >= 2**26)


def _settled(found: Floats, scale: int, doubtful: NDArray[np.bool_], of: Digits, counts: Integers) -> Floats:
    """Quotients brought to their size, the doubtful ones worked out one by one."""
    made, places = _scaled(found, scale), np.flatnonzero(doubtful & (counts > 0))
    if len(places):
        made[places] = _one_by_one(of, places, counts)
    return made


def _too_small(found: Floats, scale: int) -> NDArray[np.bool_]:
    """Where a quotient would be rounded a second time because it is smaller than normal floats are."""
    if scale > -900:
        return np.zeros(len(found), dtype=bool)
    small: NDArray[np.bool_] = (np.abs(found) < math.ldexp(1.0, min(1_000, -1_000 - scale))) & (found != 0)
    return small


def _one_by_one(of: Digits, places: Iterable[int], counts: Integers) -> Floats:
    least = min(of)
    rows = ((sum(int(whole[i]) << (exponent - least) for exponent, whole in of.items()), int(counts[i])) for i in places)
    return np.array([rounded(whole, least, count) if count else math.nan for whole, count in rows], dtype=np.float64)


def _expansion(of: Digits) -> tuple[list[Floats], int | None]:
    """Digits as floats that do not overlap, the largest first, in units of 2**scale; the scale is None where floats do not reach so far."""
    exponents = sorted(of)
    scale = 0 if exponents[0] > -900 and exponents[-1] < 850 else exponents[-1] - 850
    if exponents[0] - scale < -900:
        return [], None
    parts: list[Floats] = []
    carry: Integers | int = 0
    for exponent, above in zip(exponents, [*exponents[1:], None], strict=True):
        whole, carry = of[exponent] + carry, 0
        gap = 62 if above is None else above - exponent
        if gap < 62:
            carry = (whole + (1 << (gap - 1))) >> gap
            whole = whole - (carry << gap)
        if gap > 54 and _size(whole) >= _EXACT:
            upper = (whole + (1 << 30)) >> 31
            parts.append(_scaled((whole - (upper << 31)).astype(np.float64), exponent - scale))
            parts.append(_scaled(upper.astype(np.float64), exponent + 31 - scale))
        else:
            parts.append(_scaled(whole.astype(np.float64), exponent - scale))
    return parts[::-1], scale


def _rounded(parts: Sequence[Floats]) -> tuple[Floats, Floats]:
    """The sum of floats that do not overlap, the largest first, rounded once, and what was lost by that (to its own last digits).

    As `math.fsum` ends: the first error that is not zero rounds the sum, and what is below it decides a tie.
    """
    total_, error, tail = parts[0], np.zeros(len(parts[0])), np.zeros(len(parts[0]))
    for part in parts[1:]:
        clear = error == 0
        if clear.all():
            added = total_ + part
            error = part - (added - total_)
            total_ = added
            continue
        tail = tail + np.where(clear, 0.0, part)
        added = np.where(clear, total_ + part, total_)
        error = np.where(clear, part - (added - total_), error)
        total_ = added
    if not tail.any():
        return total_, error
    twice = 2 * error
    moved = total_ + twice
    tied = ((tail > 0) == (error > 0)) & (tail != 0) & (error != 0) & (moved - total_ == twice)
    return np.where(tied, moved, total_), np.where(tied, error - twice, error) + tail


def _scaled(values: Floats, exponent: int) -> Floats:
    """values * 2**exponent."""
    if not exponent:
        return values
    with np.errstate(over="ignore"):
        return values * 2.0**exponent if -1_000 < exponent < 1_000 else np.ldexp(values, exponent)


def _size(values: NDArray[np.generic]) -> float:
    """The largest value without its sign."""
    return max(values.max(), -float(values.min())) if len(values) else 0
