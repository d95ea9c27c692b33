"""Cron schedules: which tick of an expression is due. Expressions have five fields and are read in UTC."""

import re
from datetime import datetime
from typing import Literal

from croniter import croniter

from rota.errors import InvalidInput
from rota.records.time import Micros, from_datetime, to_datetime

_NAMES = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mon|tue|wed|thu|fri|sat|sun"
LONGEST = 1_000
_FIELD = re.compile(rf"(?:[0-9*,/#?l-]|{_NAMES})+", re.IGNORECASE)
"""What croniter would take besides (seconds, years, random and hashed fields) has no tick that everybody agrees on."""


def latest_tick(expression: str, *, after_us: Micros, until_us: Micros) -> Micros | None:
    """The newest tick in (after_us, until_us], or None. Missed ticks coalesce into it: a late worker fires once."""
    tick = _tick(expression, until_us + 1, "get_prev")
    return tick if tick > after_us else None


def next_tick(expression: str, *, after_us: Micros) -> Micros:
    """The first tick after a moment."""
    return _tick(expression, after_us, "get_next")


def check(expression: str) -> None:
    """Raise `InvalidInput` for an expression that is not valid or that no date meets."""
    next_tick(expression, after_us=0)


def _tick(expression: str, from_us: Micros, move: Literal["get_prev", "get_next"]) -> Micros:
    if len(expression) > LONGEST:
        raise InvalidInput(f"the cron expression {expression[:50]!r}... has {len(expression)} characters; at most {LONGEST} are read")
    fields = expression.split()
    if len(fields) != 5 or not all(_FIELD.fullmatch(field) for field in fields):
        raise InvalidInput(f'cron expression {expression!r} is not five fields; for example "0 3 * * 1" is Mondays at 03:00', cron=expression)
    try:
        return from_datetime(getattr(croniter(expression, to_datetime(from_us)), move)(datetime))
    except (ValueError, KeyError) as error:
        raise InvalidInput(f"cron expression {expression!r} is not valid: {error}", cron=expression) from error
