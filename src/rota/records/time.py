"""Time as Rota keeps it: whole microseconds since 1970-01-01 UTC (`Micros`), and durations such as "3h" or "56d"."""

import re
from datetime import UTC, datetime

from rota.errors import InvalidInput

Micros = int

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([smhdw])")
SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US
DAY_US = 86_400 * SECOND_US
LAST_US = 253_402_300_800 * SECOND_US - 1
"""The last microsecond of the year 9999, beyond which a moment has no calendar date."""


def micros(duration: str) -> Micros:
    """Length of a duration in microseconds.

    >>> micros("3h")
    10800000000
    """
    match = _DURATION.fullmatch(duration.strip()) if isinstance(duration, str) else None
    if match is None:
        raise InvalidInput(
            f'duration {duration!r} is not a number and a unit; write for example "30m", "3h" or "56d" (units: s m h d w)',
            duration=duration,
        )
    return round(float(match[1]) * _UNITS_S[match[2]] * SECOND_US)


def from_datetime(moment: datetime) -> Micros:
    """Microseconds of a datetime; a naive one is taken as UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    delta = aware - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * SECOND_US + delta.microseconds


def to_datetime(at_us: Micros) -> datetime:
    """UTC datetime of a moment."""
    return datetime.fromtimestamp(at_us // SECOND_US, UTC).replace(microsecond=at_us % SECOND_US)


def parse_time(text: str) -> Micros:
    """Moment of an ISO 8601 text; without an offset it is UTC."""
    try:
        return from_datetime(datetime.fromisoformat(text))
    except (TypeError, ValueError):
        raise InvalidInput(f"{text!r} is not an ISO 8601 time; write for example 2013-07-15T04:00:00Z", time=text) from None


def iso(at_us: Micros) -> str:
    """ISO 8601 text of a moment, to the second unless it has a fraction; "never" past the year 9999.

    >>> iso(1373860800000000)
    '2013-07-15T04:00:00Z'
    """
    if at_us > LAST_US:
        return "never"
    return to_datetime(at_us).isoformat().replace("+00:00", "Z")
