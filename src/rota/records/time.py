"""Time as Rota keeps it: whole microseconds since 1970-01-01 UTC (`Micros`), and durations such as "3h" or "56d"."""

import re
from datetime import UTC, date, datetime, timedelta

from rota.errors import InvalidInput

Micros = int

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([smhdw])")
SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US
DAY_US = 86_400 * SECOND_US
FIRST_US, LAST_US = -62_135_596_800 * SECOND_US, 253_402_300_800 * SECOND_US - 1
"""The first microsecond of the year 1 and the last of the year 9999, outside of which a moment has no calendar date."""
_TIME = re.compile(
    r"(?P<year>[0-9]{4})(?P<dash>-?)(?:(?P<month>[0-9]{2})(?P=dash)(?P<day>[0-9]{2})|W(?P<week>[0-9]{2})(?:(?P=dash)(?P<weekday>[1-7]))?"
    r"|(?<=-)(?P<yearday>[0-9]{3}))"
    r"(?:[Tt ](?P<hour>[0-9]{2})(?:(?P<colon>:?)(?P<minute>[0-5][0-9])(?:(?P=colon)(?P<second>[0-5][0-9]|60)(?:[.,](?P<fraction>[0-9]+))?)?)?"
    r"(?:[Zz]|(?P<sign>[+\-\u2212])(?P<hours>[01][0-9]|2[0-3])(?::?(?P<minutes>[0-5][0-9])(?::?(?P<seconds>[0-5][0-9]))?)?)?)?"
)
_USUAL = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{3}(?:[0-9]{3})?)?(?:Z|[+\-](?:[01][0-9]|2[0-3]):[0-5][0-9])?"
)
"""What most texts look like, and every Python reads alike."""
_DAY_AND_MONTH = re.compile(r"\s*[0-9]{1,2}([/.-])[0-9]{1,2}\1([0-9]{4}|[0-9]{2})(?![0-9])")
_SPACES = " \t\r\n"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = _EPOCH.toordinal()


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
    """Microseconds of a datetime; a naive one is taken as UTC. What is finer than a microsecond (pandas) is left off."""
    if type(moment) is datetime:
        past = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
        return (past.days * 86_400 + past.seconds) * SECOND_US + past.microseconds
    # A subclass computes in its own way, and perhaps in a smaller range.
    seconds = (moment.toordinal() - _EPOCH_DAY) * 86_400 + moment.hour * 3_600 + moment.minute * 60 + moment.second
    return seconds * SECOND_US + moment.microsecond - (moment.utcoffset() or timedelta(0)) // timedelta(microseconds=1)


def to_datetime(at_us: Micros) -> datetime:
    """UTC datetime of a moment."""
    return datetime.fromtimestamp(at_us // SECOND_US, UTC).replace(microsecond=at_us % SECOND_US)


def parse_time(text: str) -> Micros:
    """Moment of an ISO 8601 text; without an offset it is UTC, without a time of day the day's first moment.

    Dates are 2013-07-15, 2013-W29-1, 2013-W29 (its Monday) or 2013-196, times 04, 04:00, 04:00:00 or 04:00:00.5 (or a comma), both
    also without their "-" and ":" (but not 2013196); between them is "T" or one space. 24:00 is the next day's beginning, the leap
    second 23:59:60 the next second. What is finer than a microsecond is left off. Spaces around the text do not count. Raises
    `InvalidInput` for any other text, and for a moment outside of the years 1 to 9999. It does not follow Python's version.

    >>> parse_time("2013-W29-1T06:00+02") == parse_time("20130715T04Z")
    True
    """
    try:
        at_us = from_datetime(datetime.fromisoformat(text)) if _USUAL.fullmatch(text) else _moment(text)
    except (TypeError, ValueError):  # no text, or no such day
        at_us = None
    if at_us is None or not FIRST_US <= at_us <= LAST_US:
        raise InvalidInput(f"{text!r:.200} is not an ISO 8601 time; {way_out(text)}", time=text)
    return at_us


def _moment(text: str) -> Micros | None:
    """The moment of a text in any ISO 8601 form; None for another form and no time of day, `ValueError` for a day that there is not."""
    found = _TIME.fullmatch(text.strip(_SPACES))
    if found is None:
        return None
    hour, minute, second = (int(found[part] or 0) for part in ("hour", "minute", "second"))
    micro = int((found["fraction"] or "")[:6].ljust(6, "0"))
    if hour > 24 or (hour == 24 and (minute or second or int(found["fraction"] or 0))):
        return None
    offset_s = int(found["hours"] or 0) * 3_600 + int(found["minutes"] or 0) * 60 + int(found["seconds"] or 0)
    seconds = (_day(found) - _EPOCH_DAY) * 86_400 + hour * 3_600 + minute * 60 + second - (offset_s if found["sign"] == "+" else -offset_s)
    if second == 60 and (seconds % 86_400 or to_datetime(seconds * SECOND_US).strftime("%m-%d") not in ("01-01", "07-01")):
        return None  # leap seconds end a June or a December in UTC
    return seconds * SECOND_US + micro


def _day(found: re.Match[str]) -> int:
    """The ordinal number of the date."""
    year = int(found["year"])
    if found["month"]:
        return date(year, int(found["month"]), int(found["day"])).toordinal()
    if found["week"]:
        return date.fromisocalendar(year, int(found["week"]), int(found["weekday"] or 1)).toordinal()
    first, number = date(year, 1, 1).toordinal(), int(found["yearday"])
    if not 1 <= number <= (366 if year % 4 == 0 and (year % 100 or year % 400 == 0) else 365):
        raise ValueError(number)
    return first + number - 1


def is_ambiguous(text: object) -> bool:
    """Whether a text is a date whose day cannot be told from its month: 03/02/2026."""
    return isinstance(text, str) and _DAY_AND_MONTH.match(text) is not None


def way_out(text: object) -> str:
    """What to do about a text that is no time."""
    if is_ambiguous(text):
        return "which number is its day and which its month is not known: write 2026-02-03, or name its form by timestamp_format"
    return "write for example 2013-07-15T04:00:00Z"


def iso(at_us: Micros) -> str:
    """ISO 8601 text of a moment, to the second unless it has a fraction; "never" past the year 9999.

    >>> iso(1373860800000000)
    '2013-07-15T04:00:00Z'
    """
    if at_us > LAST_US:
        return "never"
    return to_datetime(at_us).isoformat().replace("+00:00", "Z")


def lasted(start_us: Micros | None, end_us: Micros | None) -> str:
    """How long something took, for people; "" unless both moments are known."""
    if start_us is None or end_us is None:
        return ""
    seconds = (end_us - start_us) / 1e6
    if seconds < 10:
        return f"{seconds:.3f} s"
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 3_600:.1f} h" if seconds < 259_200 else f"{seconds / 86_400:.1f} days"
