"""Strategies are compiled to stages: the short form as before, Argo Rollouts' steps, blue-green and shadow."""

import pytest

from rota.errors import InvalidInput
from rota.manage.models import strategies
from rota.manage.models.delivery_stages import longest_us, stages, steps, wait_us
from rota.records.release import Canary, analysis, blue_green, error_rate, pause, set_mirror, set_weight, shadow
from rota.records.time import DAY_US, HOUR_US

ERRORS = error_rate(margin=0.1)


def shown(strategy):
    return [(stage.label, stage.hold_us // HOUR_US, stage.is_mirrored, stage.waits, stage.is_judged) for stage in stages(strategy)]


def test_the_short_form_is_a_shadow_and_a_judged_stage_for_each_step():
    assert shown(Canary(shadow="1h", steps=[10, 50], hold="2h")) == [
        ("0 shadow 0%", 1, True, False, True),
        ("1 canary 10%", 2, True, False, True),
        ("2 canary 50%", 2, True, False, True),
    ]
    assert stages(Canary(steps=[])) == []


def test_the_short_form_and_its_steps_are_one_strategy():
    written = Canary(steps=[set_mirror(), pause("1h"), analysis(), set_weight(10), pause("2h"), analysis()])
    assert stages(written) == stages(Canary(shadow="1h", steps=[10], hold="2h"))
    assert list(map(str, steps(Canary(shadow="1h", steps=[10], hold="2h")))) == [
        "set_mirror()", "pause(1h)", "analysis()", "set_weight(10)", "pause(2h)", "analysis()",
    ]  # fmt: skip


def test_steps_hold_wait_and_judge_where_they_say_so():
    written = Canary(steps=[5, set_mirror(False), set_weight(20), pause("1h"), pause(), analysis(ERRORS), pause("3h"), set_weight(40), pause("1h")])
    assert shown(written) == [
        ("0 canary 5%", 0, True, False, True),
        ("1 canary 20%", 1, False, True, True),
        ("2 canary 20%", 3, False, False, False),
        ("3 canary 40%", 1, False, False, False),
    ]
    assert stages(written)[1].analyses == (ERRORS,)


def test_blue_green_is_a_preview_and_one_switch_and_a_shadow_waits_for_a_person():
    assert shown(blue_green(preview="2h", analysis=[ERRORS])) == [("0 shadow 0%", 2, True, False, True)]
    assert shown(shadow("2h", analysis=[ERRORS])) == [("0 shadow 0%", 2, True, False, True), ("1 shadow 0%", 0, True, True, False)]


def test_what_is_stated_nowhere_lasts_six_times_the_stages_and_two_days_at_least():
    assert longest_us(Canary(steps=[50], hold="1h")) == 2 * DAY_US
    assert longest_us(Canary(steps=[25, 50], hold="1d", shadow="3d")) == 30 * DAY_US
    assert longest_us(Canary(steps=[50], hold="1h", max_duration="3h")) == 3 * HOUR_US


def test_a_short_hold_is_looked_at_less_often_the_longer_it_decides_nothing():
    (stage,) = stages(Canary(steps=[50], hold="2s"))
    assert [wait_us(stage, undecided) for undecided in (0, HOUR_US, 30 * DAY_US)] == [2_000_000, HOUR_US // 10, HOUR_US]


@pytest.mark.parametrize("weight", [-1, 100])
def test_a_weight_leaves_the_stable_version_some_traffic(weight):
    with pytest.raises(InvalidInput, match="from 0 to 99"):
        set_weight(weight)


@pytest.mark.parametrize(
    ("strategy", "why"),
    [
        (Canary(steps=[set_weight(5), analysis(ERRORS)]), "an analysis step has no pause before it"),
        (Canary(steps=[set_weight(5), pause("1h")], analysis=[ERRORS]), "is never asked"),
        (Canary(strategy="blue_green", shadow="1h", steps=[5]), "strategy = 'blue_green' has no steps, and 5 are there"),
        (blue_green(preview="0s"), "give it some time"),
    ],
)
def test_what_a_strategy_cannot_mean_is_a_fault(strategy, why):
    assert why in "; ".join(strategies.faults(strategy, None))


@pytest.mark.parametrize("strategy", [blue_green(preview="1h", analysis=[ERRORS]), shadow("1h"), Canary(steps=[set_weight(5), pause("1h")])])
def test_what_works_has_no_fault(strategy):
    assert strategies.faults(strategy, None) == []
