"""Schedules: the newest tick that is due, and expressions that have none."""

from itertools import pairwise

import pytest

from rota.errors import InvalidInput
from rota.manage.models.cron import check, latest_tick, next_tick
from rota.records.time import DAY_US, HOUR_US, parse_time

FOUR = parse_time("2013-07-15T04:00:00Z")  # a Monday


def test_a_tick_is_due_exactly_when_it_is_reached():
    assert latest_tick("0 4 * * *", after_us=FOUR - 1, until_us=FOUR) == FOUR
    assert latest_tick("0 4 * * *", after_us=FOUR - DAY_US, until_us=FOUR - 1) is None


def test_a_tick_that_was_fired_is_not_due_again():
    assert latest_tick("0 4 * * *", after_us=FOUR, until_us=FOUR + DAY_US - 1) is None
    assert latest_tick("0 4 * * *", after_us=FOUR, until_us=FOUR + DAY_US) == FOUR + DAY_US


def test_missed_ticks_coalesce_into_the_newest():
    assert latest_tick("0 * * * *", after_us=FOUR, until_us=FOUR + 90 * DAY_US + 7) == FOUR + 90 * DAY_US


def test_the_next_tick_is_after_the_moment():
    assert next_tick("0 4 * * 1", after_us=FOUR) == FOUR + 7 * DAY_US
    assert next_tick("0 4 * * 1", after_us=FOUR - 1) == FOUR
    assert next_tick("*/30 * * * *", after_us=FOUR + 1) == FOUR + HOUR_US // 2


def test_ticks_follow_one_another_without_a_gap():
    ticks = [next_tick("*/7 3-5 * * mon-fri", after_us=FOUR)]
    for _ in range(100):
        ticks.append(next_tick("*/7 3-5 * * mon-fri", after_us=ticks[-1]))
    for before, after in pairwise(ticks):
        assert latest_tick("*/7 3-5 * * mon-fri", after_us=before, until_us=after) == after
        assert latest_tick("*/7 3-5 * * mon-fri", after_us=before, until_us=after - 1) is None


def test_a_platform_may_start_at_the_beginning_of_time():
    assert latest_tick("0 1 * * *", after_us=0, until_us=0) is None
    assert next_tick("0 1 * * *", after_us=0) == HOUR_US


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "a b c d e",
        "0 0 30 2 *",
        "60 * * * *",
        "R R * * *",
        "H * * * *",
        "* * * * * *",
        "@daily",
        "* * * * 8",
        "* * * *",
        "\0 * * * *",
        "9" * 9_999,
    ],
)
def test_an_expression_without_a_certain_tick_is_refused_by_everyone(expression):
    for ask in (
        lambda: latest_tick(expression, after_us=0, until_us=FOUR),
        lambda: next_tick(expression, after_us=FOUR),
        lambda: check(expression),
    ):
        with pytest.raises(InvalidInput, match="cron expression"):
            ask()
