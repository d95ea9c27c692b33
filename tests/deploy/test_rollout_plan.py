"""Plan-time truth: how long a rollout takes to decide, from the traffic and labels that its endpoint has, and what would decide sooner."""

import numpy as np
import pytest

from rota.deploy import endpoint_traffic, rollout_plan, sample_size
from rota.deploy.decision_rules import judged_errors
from rota.deploy.delivery import Deliveries
from rota.deploy.endpoint_traffic import Traffic
from rota.errors import InvalidInput
from rota.records.record import decode, encode
from rota.records.release import Canary, Endpoint, Rollout, error_rate, latency_p95, metric, pause, set_mirror, set_weight
from rota.records.time import DAY_US, HOUR_US
from rota.stats.count_evidence import ArmCounts
from rota.testing.story import approval

BUSY = Traffic(7, 6_000, 0.005, {"1.2": 0.02}, 0.2, 24, 0.8, 2.0)
ERRORS = error_rate(margin=0.01)


def planned(strategy, traffic=BUSY):
    return rollout_plan.plan("delay", "delay", strategy, traffic)


def test_as_many_rows_as_are_planned_decide_in_four_worlds_of_five():
    rows = sample_size.to_clear_errors(ERRORS, rate=0.005, times=4)
    random = np.random.default_rng(1)
    hits = zip(random.binomial(rows, 0.005, 500), random.binomial(4 * rows, 0.005, 500), strict=True)
    counts = [ArmCounts(int(ours), rows, int(theirs), 4 * rows) for ours, theirs in hits]
    passed = np.mean([judged_errors(ERRORS, each, [each])[0] == "pass" for each in counts])
    assert 0.78 <= passed <= 0.93


@pytest.mark.parametrize("analysis", [error_rate(margin=0), error_rate(margin=0, ratio=1)])
def test_what_allows_nothing_never_decides_and_says_so(analysis):
    found = planned(Canary(steps=[50], analysis=[analysis]))
    assert (found.decides, found.hours) == (False, None)
    assert "an equal candidate is never told from a worse one" in found.needs[0].note


def test_a_plan_says_for_each_stage_and_analysis_how_many_rows_and_how_long():
    found = planned(Canary(shadow="1h", steps=[5], hold="30m", analysis=[ERRORS, latency_p95()]))
    assert [(need.stage, need.analysis, need.counted, need.an_hour) for need in found.needs] == [
        ("0 shadow 0%", "error_rate", "predictions", 6_000),
        ("0 shadow 0%", "latency_p95", "mirrored answers", 6_000),
        ("1 canary 5%", "error_rate", "predictions", 6_000),
        ("1 canary 5%", "latency_p95", "answers", 300),
    ]
    errors, mirrored, again, answers = found.needs
    assert errors.hours == errors.clears / 6_000
    assert again.hours == 0, "it passed in the shadow, on rows that count on"
    assert answers.hours == answers.clears / 300
    assert mirrored.hours < 1
    assert found.hours == pytest.approx(1 + 0.5 * np.ceil(answers.hours / 0.5)), "a stage lasts a whole number of holds"
    assert found.decides
    assert "expected to pass after about" in rollout_plan.told(found)


def test_a_quiet_endpoint_is_told_what_would_decide():
    slow = Traffic(7, 60, 0.005, {"1.2": 0.02}, 0.2, 24)
    found = planned(Canary(steps=[5], hold="30m", analysis=[error_rate(margin=0.004)], max_duration="1d"), slow)
    assert not found.decides
    assert found.ways_out[0].startswith('max_duration="')
    assert any(way.startswith("error_rate with margin=0.0") for way in found.ways_out)
    for way in found.ways_out:
        if "margin" in way:
            wider = float(way.split("margin=")[1].split()[0])
            assert planned(Canary(steps=[5], hold="30m", analysis=[error_rate(margin=wider)], max_duration="1d"), slow).decides
    found = planned(Canary(steps=[set_mirror(False), 5], hold="30m", analysis=[ERRORS], max_duration="8d"), slow)
    assert "a first step of 25 percent" in found.ways_out


def test_an_endpoint_without_traffic_never_decides():
    found = planned(Canary(steps=[5], analysis=[ERRORS]), Traffic(7, 0.0))
    assert (found.decides, found.hours) == (False, None)
    assert "no prediction was asked for in the last 7 days" in rollout_plan.told(found)


def test_a_loss_needs_hours_with_labels_and_waits_for_them():
    strategy = Canary(shadow="1d", steps=[50], analysis=[metric("log_loss", margin=0.01)])
    found = planned(strategy)
    assert (found.needs[0].clears, found.needs[0].hours, found.needs[0].is_least) == (30, 32.0, True)
    known = planned(strategy, Traffic(7, 6_000, hours_a_day=12, labelled=0.8, label_delay_hours=2.0, spreads={"log_loss": 0.02}))
    assert known.needs[0].clears > 30
    assert known.needs[0].hours == 2 * known.needs[0].clears + 2
    assert not known.needs[0].is_least
    unlabelled = planned(strategy, Traffic(7, 6_000, hours_a_day=24))
    assert unlabelled.hours is None
    assert "send labels, or leave out the metric analysis" in unlabelled.ways_out
    unseen = planned(Canary(steps=[set_mirror(False), 50], analysis=[metric("log_loss", margin=0.01)]))
    assert unseen.needs[0].note == "the candidate is not mirrored"


def test_a_strategy_without_an_analysis_takes_its_holds():
    assert planned(Canary(steps=[set_weight(5), pause("2h"), 50], hold="1h")).hours == 3


def test_the_traffic_of_an_endpoint_is_what_its_log_holds(place):
    now = place.clock.now_us()
    for hour in range(10):
        at = {"at_us": now - (10 - hour) * HOUR_US}
        place.ask(90, latency_us=1_000, **at)
        place.ask(6, latency_us=4_000, truth=1.0, known_us=now - (10 - hour) * HOUR_US + 3 * HOUR_US, **at)
        place.ask(4, errors=4, **at)
    place.ask(500, at_us=now - 9 * DAY_US)
    place.ask(100, role="shadow", number=2, at_us=now - HOUR_US)
    seen = endpoint_traffic.observed(place.repositories, "delay", [1.2], now_us=now)
    assert (seen.days, seen.rows_an_hour, seen.error_rate) == (pytest.approx(10 / 24), 100, 0.04)
    assert seen.slow == {"1.2": 0.0}
    assert (seen.labelled, seen.label_delay_hours, seen.hours_a_day) == (pytest.approx(0.06), pytest.approx(3), 24)
    assert endpoint_traffic.observed(place.repositories, "empty", [1.2], now_us=now).rows_an_hour == 0


def test_a_rollout_keeps_the_plan_that_its_start_made(place):
    place.store(Endpoint("delay", "delay", Canary(shadow="1h", steps=[50], analysis=[ERRORS, latency_p95(ratio=1.25)])))
    place.ask(300, at_us=place.clock.now_us() - HOUR_US)
    place.start()
    place.work()
    assert place.rollout().plan["decides"] is True
    assert decode(encode(place.rollout()), Rollout) == place.rollout(), "as every store but the one in memory keeps it"
    (begins,) = [each.body["message"] for each in place.metadata.events(0) if "begins" in each.body.get("message", "")]
    assert "an equal candidate is expected to pass after about" in begins


def test_a_version_is_planned_as_its_reviewer_wants_it_delivered(place):
    place.store(approval(2, delivery=Canary(steps=[25], hold="4h")))
    deliveries = Deliveries(place.repositories)
    assert [need.stage for need in deliveries.plan("delay@2", "delay").needs] == ["0 canary 25%"]
    assert [need.stage for need in deliveries.plan("delay", "delay").needs][:2] == ["0 shadow 0%"]
    with pytest.raises(InvalidInput, match="predicts with 'delay', not with 'churn'"):
        deliveries.plan("churn", "delay")


def test_the_spread_of_losses_is_that_of_the_newest_rollout_that_saw_it(place):
    strategy = Canary(shadow="40h", steps=[50], hold="2h", analysis=[metric("log_loss", margin=0.01)], max_duration="90d")
    place.store(Endpoint("delay", "delay", strategy))
    place.start()
    place.work()
    for hour in range(40):
        ids = place.ask(20, answer=0.5, truth=1.0)
        place.ask(20, number=2, role="shadow", answer=0.5 + 0.002 * (hour % 5), ids=ids)
        place.clock.advance(place.clock.now_us() + HOUR_US)
    place.work()
    spread = endpoint_traffic.observed(place.repositories, "delay", [], now_us=place.clock.now_us()).spreads["log_loss"]
    differences = [-np.log(0.5 + 0.002 * (hour % 5)) + np.log(0.5) for hour in range(40)]
    assert spread == pytest.approx(np.std(differences), rel=0.05)
