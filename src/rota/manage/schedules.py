"""Schedules: which tick of a cron expression is due. Expressions have five fields and are read in UTC."""

from datetime import datetime

from croniter import croniter

from rota.errors import InvalidInput
from rota.records.time import Micros, from_datetime, to_datetime


def latest_tick(expression: str, *, after_us: Micros, until_us: Micros) -> Micros | None:
    """The newest tick in (after_us, until_us], or None. Missed ticks coalesce into it: a late worker fires once."""
    tick = _tick(expression, until_us + 1, "get_prev")
    return tick if tick > after_us else None


def next_tick(expression: str, *, after_us: Micros) -> Micros:
    """The first tick after a moment."""
    return _tick(expression, after_us, "get_next")


def check(expression: str) -> None:
    """Raises `InvalidInput` for an expression that is not valid or that no date ever meets."""
    next_tick(expression, after_us=0)


def _tick(expression: str, from_us: Micros, move: Literal["get_prev", "get_next"]) -> Micros:
    if len(expression.split()) != 5 or "r" in expression.lower().replace("fri", "").replace("mar", "").replace("apr", "").replace("thur", ""):
        raise InvalidInput(f"cron {expression!r}")
    raise NotImplementedError
