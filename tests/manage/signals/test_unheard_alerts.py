"""What an alert trigger waits for is told when it is declared: at plan, in words that count days and labels."""

import pytest

from rota.manage.signals import unheard_alerts
from rota.records.run import on_alert
from rota.stats.concept_drift import LABELLED_DAYS, performance_alarm


class Declared:
    """As much of a pipeline as is looked at."""

    def __init__(self, *triggers):
        self.triggers = triggers


@pytest.mark.parametrize(
    ("kind", "watched", "told"),
    [
        ("performance", True, "cannot fire before 44 days with 20 labels each"),
        ("drift", True, ""),
        ("drift", False, "never fires"),
        ("performance", False, "never fires"),
    ],
)
def test_a_trigger_that_must_wait_says_for_what(kind, watched, told):
    notes = unheard_alerts.notes([Declared(on_alert(kind))], watched=watched)
    assert bool(notes) == bool(told)
    assert told in " ".join(notes)


def test_the_days_told_are_those_that_the_alarm_really_needs():
    excess = [0.01 * (-1) ** day for day in range(LABELLED_DAYS - 7)] + [0.9] * 7

    def state(days):
        return performance_alarm(days[:-14], days[-14:], days_between_false_alarms=90).state

    assert (state(excess[1:]), state(excess)) == ("learning", "alarm")
