"""The scalar functions of generated row code: total functions that never raise, with the answers of IEEE 754 and C99.

Python's `math` raises where C and Polars give inf or nan; these give the same inf or nan. Arguments are never None.
"""

import math
import re
from datetime import date

from rota.records.time import DAY_US, FIRST_US, LAST_US, iso

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?$"
INTEGER = r"^[+-]?[0-9]{1,19}$"
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_number, _integer = re.compile(NUMBER), re.compile(INTEGER)


def whole(value: int) -> int | None:
    return value if INT_MIN <= value <= INT_MAX else None


def divide(a: float, b: float) -> float:
    if b:
        return a / b
    return math.nan if not a or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1.0, b)


def whole_remainder(a: int, b: int) -> int | None:
    if not b:
        return None
    rest = abs(a) % abs(b)
    return -rest if a < 0 else rest


def remainder(a: float, b: float) -> float:
    try:
        return math.fmod(a, b)
    except ValueError:
        return math.nan


def power(a: float, b: float) -> float:
    try:
        return math.pow(a, b)
    except OverflowError:
        return -math.inf if a < 0 and b % 2 == 1 else math.inf
    except ValueError:
        if a:
            return math.nan
        return math.copysign(math.inf, a) if b % 2 == 1 else math.inf


def ln(a: float) -> float:
    return math.log(a) if a > 0 else (-math.inf if a == 0 else math.nan)


def log10(a: float) -> float:
    return math.log10(a) if a > 0 else (-math.inf if a == 0 else math.nan)


def log2(a: float) -> float:
    return math.log2(a) if a > 0 else (-math.inf if a == 0 else math.nan)


def exp(a: float) -> float:
    try:
        return math.exp(a)
    except OverflowError:
        return math.inf


def sqrt(a: float) -> float:
    return math.sqrt(a) if a >= 0 else math.nan


def sin(a: float) -> float:
    return math.sin(a) if math.isfinite(a) else math.nan


def cos(a: float) -> float:
    return math.cos(a) if math.isfinite(a) else math.nan


def tan(a: float) -> float:
    return math.tan(a) if math.isfinite(a) else math.nan


def asin(a: float) -> float:
    return math.asin(a) if -1 <= a <= 1 else math.nan


def acos(a: float) -> float:
    return math.acos(a) if -1 <= a <= 1 else math.nan


def sign(a: float) -> float:
    return a if a == 0 or math.isnan(a) else math.copysign(1.0, a)


def trunc(a: float) -> float:
    return math.copysign(float(math.trunc(a)), a) if math.isfinite(a) else a


def floor(a: float) -> float:
    return math.copysign(float(math.floor(a)), a) if math.isfinite(a) else a


def ceil(a: float) -> float:
    return math.copysign(float(math.ceil(a)), a) if math.isfinite(a) else a


def round_half_away(a: float, digits: int) -> float:
    """Half away from zero, as SQL rounds."""
    scale = 10.0**digits
    scaled = a * scale
    if not math.isfinite(scaled):
        return a
    down = float(math.floor(abs(scaled)))
    return math.copysign(down + 1.0 if abs(scaled) - down >= 0.5 else down, a) / scale


def to_int(a: float) -> int | None:
    return whole(int(round_half_away(a, 0))) if math.isfinite(a) else None


def text_to_float(a: str) -> float | None:
    return float(a) if _number.match(a) and not a.endswith("\n") else None


def text_to_int(a: str) -> int | None:
    return whole(int(a)) if _integer.match(a) and not a.endswith("\n") else None


def float_to_text(a: float) -> str:
    return repr(a)


def time_to_text(a: int) -> str | None:
    return iso(a) if FIRST_US <= a <= LAST_US else None


def least(*values: float | None) -> float | None:
    return _least_greatest(values, smallest=True)


def greatest(*values: float | None) -> float | None:
    return _least_greatest(values, smallest=False)


def _least_greatest(values: tuple[float | None, ...], *, smallest: bool) -> float | None:
    best: float | None = None
    for value in values:
        if value is None:
            continue
        if isinstance(value, float) and math.isnan(value):
            return value
        if best is None or (value < best if smallest else value > best):
            best = value
    return best + 0.0 if isinstance(best, float) else best


def year(a: int) -> int | None:
    return _date(a).year if FIRST_US <= a <= LAST_US else None


def month(a: int) -> int | None:
    return _date(a).month if FIRST_US <= a <= LAST_US else None


def quarter(a: int) -> int | None:
    return (_date(a).month + 2) // 3 if FIRST_US <= a <= LAST_US else None


def week(a: int) -> int | None:
    return _date(a).isocalendar().week if FIRST_US <= a <= LAST_US else None


def day(a: int) -> int | None:
    return _date(a).day if FIRST_US <= a <= LAST_US else None


def doy(a: int) -> int | None:
    return _date(a).timetuple().tm_yday if FIRST_US <= a <= LAST_US else None


def _date(a: int) -> date:
    return date.fromordinal(_EPOCH_DAY + a // DAY_US)


FUNCTIONS = {
    function.__name__: function
    for function in (
        whole, divide, whole_remainder, remainder, power, ln, log10, log2, exp, sqrt, sin, cos, tan, asin, acos, sign, trunc, floor, ceil,
        round_half_away, to_int, text_to_float, text_to_int, float_to_text, time_to_text, least, greatest, year, quarter, month, week, day, doy,
        math.cbrt, math.tanh, math.atan, math.atan2, math.radians, math.degrees,
    )
} | {f"math_{function.__name__}": function for function in (math.log, math.sqrt, math.sin, math.cos, math.asin, math.acos)}  # fmt: skip
"""What generated row code may call: nothing else is in its namespace."""
