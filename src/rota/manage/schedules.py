"""Schedules: which tick of a cron expression is due, and a name for each tick that makes firing it twice impossible."""

from croniter import croniter

from rota.errors import InvalidInput
from rota.records.time import Micros, from_datetime, to_datetime


def latest_tick(expression: str, *, after_us: Micros, until_us: Micros) -> Micros | None:
    """The newest tick in (after_us, until_us], or None. Missed ticks coalesce into it: a late worker fires once."""
    try:
        tick = from_datetime(croniter(expression, to_datetime(until_us + 1)).get_prev(type(to_datetime(0))))
    except (ValueError, KeyError) as error:
        raise InvalidInput(f"cron expression {expression!r} is not valid: {error}", cron=expression) from error
    return tick if tick > after_us else None


def next_tick(expression: str, *, after_us: Micros) -> Micros:
    """The first tick after a moment."""
    return from_datetime(croniter(expression, to_datetime(after_us)).get_next(type(to_datetime(0))))
