"""Feature SQL over timestamps: parts of a moment, truncation, and local time, each in both forms.

Local time takes a zone's offsets from one table, made by asking Polars once: rows and columns cannot disagree about when the
clocks change. Beyond the years 1900 to 2100 a local time is null: its rules are not known.
"""

from bisect import bisect_right
from collections.abc import Callable
from datetime import date
from functools import lru_cache

import polars as pl
from polars.exceptions import PolarsError

from rota.errors import InvalidInput
from rota.manage.features.expressions.column_arithmetic import divided
from rota.manage.features.expressions.operators import Term, Writer
from rota.records.time import DAY_US, FIRST_US, HOUR_US, LAST_US, SECOND_US, Micros

_FIRST_LOCAL_US, _LAST_LOCAL_US = -2_208_988_800_000_000, 4_102_444_800_000_000 - 1
_EPOCH_DAY = date(1970, 1, 1).toordinal()


def part(write: Writer, name: str, a: Term) -> Term:
    """EXTRACT(name FROM timestamp)."""
    _check(a, f"extract({name} from ...)")
    if name in _CLOCK:
        unit, modulus, shift, first = _CLOCK[name]
        return write.strict("int", f"({a.code} // {unit} + {shift}) % {modulus} + {first}", (a.column // unit + shift) % modulus + first, (a,))
    if name == "second":
        minute = 60 * SECOND_US
        return write.strict("float", f"{a.code} % {minute} / 1e6", divided((a.column % minute).cast(pl.Float64), 1e6), (a,))
    if name == "epoch":
        return write.strict("float", f"{a.code} / 1e6", divided(a.column.cast(pl.Float64), 1e6), (a,))
    if name not in _CALENDAR:
        raise InvalidInput(f"extract({name} from ...) is unknown; the parts are {sorted([*_CLOCK, *_CALENDAR, 'second', 'epoch'])}", part=name)
    column = _CALENDAR[name](_known(a).cast(pl.Datetime("us"))).cast(pl.Int64)
    return write.strict("int", f"{name}({a.code})", column, (_twice(a),), nullable=True)


def truncated(write: Writer, unit: str, a: Term) -> Term:
    """DATE_TRUNC(unit, timestamp): the beginning of the unit in which the moment lies; a week begins on Monday."""
    _check(a, f"date_trunc('{unit}', ...)")
    if unit in _LENGTHS:
        length = _LENGTHS[unit]
        begin = (a.column.cast(pl.Int128) // length * length).cast(pl.Int64, strict=False)  # of the first moments there are it lies before them
        return write.strict("timestamp", f"whole({a.code} // {length} * {length})", begin, (a,), nullable=True)
    if unit not in _TRUNCATED:
        raise InvalidInput(f"date_trunc({unit!r}, ...) is unknown; the units are {[*_LENGTHS, *_TRUNCATED]}", unit=unit)
    column = _known(a).cast(pl.Datetime("us")).dt.truncate(_TRUNCATED[unit]).dt.epoch("us")
    return write.strict("timestamp", f"first_of_{unit}({a.code})", column, (_twice(a),), nullable=True)


def at_zone(write: Writer, a: Term, zone: str) -> Term:
    """timestamp AT TIME ZONE 'zone': what the clocks of a place show, for example to extract its hour."""
    _check(a, "at time zone")
    offsets(zone)  # an unknown zone is refused here
    inside = pl.when(a.column.is_between(_FIRST_LOCAL_US, _LAST_LOCAL_US)).then(a.column)
    column = inside.cast(pl.Datetime("us")).dt.replace_time_zone("UTC").dt.convert_time_zone(zone).dt.replace_time_zone(None).dt.epoch("us")
    name = write.function(f"local_{zone}", lambda at_us: local(zone, at_us))
    return write.strict("timestamp", f"{name}({a.code})", column, (_twice(a),), nullable=True)


def local(zone: str, at_us: Micros) -> Micros | None:
    """The local time of a moment as microseconds, or null beyond the years for which zones have rules."""
    if not _FIRST_LOCAL_US <= at_us <= _LAST_LOCAL_US:
        return None
    starts, shifts = offsets(zone)
    return at_us + shifts[bisect_right(starts, at_us) - 1]


@lru_cache(maxsize=256)
def offsets(zone: str) -> tuple[tuple[Micros, ...], tuple[Micros, ...]]:
    """When each offset of a zone begins, and the offset; raises `InvalidInput` for a zone that does not exist.

    Each day on which the offset differs from the day before is searched for the very microsecond.
    """
    days = pl.Series(range(_FIRST_LOCAL_US, _LAST_LOCAL_US + 1, DAY_US), dtype=pl.Int64)
    shift = _shifts(zone, days)
    changed = (shift != shift.shift(1)).fill_null(value=False)
    low, high, before = (days - DAY_US).filter(changed), days.filter(changed), shift.shift(1).filter(changed)
    while len(low) and (high - low).max() > 1:  # type: ignore[operator]
        middle = (low + high) // 2
        earlier = _shifts(zone, middle) == before
        low, high = (
            pl.select(pl.when(earlier).then(middle).otherwise(low)).to_series(),
            pl.select(pl.when(earlier).then(high).otherwise(middle)).to_series(),
        )
    return (_FIRST_LOCAL_US, *high.to_list()), (int(shift[0]), *shift.filter(changed).to_list())


def _shifts(zone: str, at: pl.Series) -> pl.Series:
    try:
        shown = at.cast(pl.Datetime("us")).dt.replace_time_zone("UTC").dt.convert_time_zone(zone).dt.replace_time_zone(None)
    except PolarsError:
        raise InvalidInput(f"there is no time zone {zone!r}; write for example 'America/New_York'", zone=zone) from None
    return shown.dt.epoch("us") - at


def _check(a: Term, what: str) -> None:
    if a.type != "timestamp":
        raise InvalidInput(f"{what} takes a timestamp, not {a.type}")


def _known(a: Term) -> pl.Expr:
    return pl.when(a.column.is_between(FIRST_US, LAST_US)).then(a.column)


def _twice(a: Term) -> Term:
    return Term(a.type, a.code, a.column, a.nullable, 2 * a.size, a.literal)


def _first_of_week(at_us: Micros) -> Micros | None:
    if not FIRST_US <= at_us <= LAST_US:
        return None
    return (at_us + 3 * DAY_US) // (7 * DAY_US) * (7 * DAY_US) - 3 * DAY_US


def _first(months: int) -> Callable[[Micros], Micros | None]:
    """The first moment of the block of months in which a moment lies."""

    def first(at_us: Micros) -> Micros | None:
        if not FIRST_US <= at_us <= LAST_US:
            return None
        day = date.fromordinal(_EPOCH_DAY + at_us // DAY_US)
        return (day.replace(month=(day.month - 1) // months * months + 1, day=1).toordinal() - _EPOCH_DAY) * DAY_US

    return first


_CLOCK: dict[str, tuple[int, int, int, int]] = {
    "hour": (HOUR_US, 24, 0, 0),
    "minute": (60 * SECOND_US, 60, 0, 0),
    "dow": (DAY_US, 7, 4, 0),
    "isodow": (DAY_US, 7, 3, 1),
}
_CALENDAR: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "year": lambda a: a.dt.year(),
    "quarter": lambda a: a.dt.quarter(),
    "month": lambda a: a.dt.month(),
    "week": lambda a: a.dt.week(),
    "day": lambda a: a.dt.day(),
    "doy": lambda a: a.dt.ordinal_day(),
}
_LENGTHS = {"second": SECOND_US, "minute": 60 * SECOND_US, "hour": HOUR_US, "day": DAY_US}
_TRUNCATED = {"week": "1w", "month": "1mo", "quarter": "1q", "year": "1y"}
FUNCTIONS: dict[str, Callable[[Micros], Micros | None]] = {
    "first_of_week": _first_of_week,
    "first_of_month": _first(1),
    "first_of_quarter": _first(3),
    "first_of_year": _first(12),
}
"""What generated row code may call beside `scalars.FUNCTIONS`."""
