"""Times that came as numbers and lie just after 1970: seconds or milliseconds taken for microseconds more often than history, so it is said."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from rota.records.schema import Type
from rota.records.time import DAY_US, Micros, iso
from rota.records.values import plain, whole

EARLY_US: Micros = 3_652 * DAY_US
"""1980: milliseconds of today, read as microseconds, are 1970."""
_MOST = 1_000


class DoubtfulRows(UserWarning):
    """Rows were taken that hardly mean what they say."""


class DoubtfulTimes(DoubtfulRows):
    """Times came as numbers and all lie before 1980: seconds or milliseconds, perhaps, read as the microseconds that they were taken for."""


def of_rows(fields: Mapping[str, Type], rows: Iterable[Mapping[str, Any]], now_us: Micros) -> list[str]:
    """What to say of rows as somebody gave them: a sentence for each timestamp field in which every time is a number before 1980.

    Nothing where the platform's own clock stands before 1980 (a replay). The first thousand rows are looked at.
    """
    if now_us < EARLY_US:
        return []
    seen = list(islice(rows, _MOST))
    return [said for name, kind in fields.items() if kind == "timestamp" and (said := of_values(name, (row.get(name) for row in seen)))]


def of_values(name: str, values: Iterable[Any]) -> str:
    """A sentence when every time among the values of a field is a number of 1970 to 1979, else nothing."""
    newest = -1
    for value in values:
        known = plain(value)
        if known is not None:
            number = None if isinstance(known, str) else whole(known)
            if number is None or not 0 <= number < EARLY_US:
                return ""
            newest = max(newest, number)
    if newest < 0:
        return ""
    return (
        f"field {name!r}: every time is a number before 1980, the latest {newest} is {iso(newest)}: a number is microseconds since 1970; "
        "were they seconds or milliseconds, give microseconds or ISO 8601 texts (for files: timestamp_format)"
    )
