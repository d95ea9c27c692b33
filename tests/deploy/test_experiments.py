"""Experiments, walked: A/B tests by planned looks or whenever one looks, guardrails, assignment in doubt, a bandit that moves the split."""

import msgspec
import numpy as np
import pytest

from rota.deploy import experiment_judge, online_results, rollout_explanation, rollout_states
from rota.deploy.delivery import Deliveries
from rota.errors import InvalidInput, NotFound, Refused
from rota.manage.models import strategies
from rota.records.experiment import ab_test, bandit, kpi
from rota.records.record import decode, encode
from rota.records.release import Canary, Endpoint, Rollout, error_rate
from rota.records.signal import Alert
from rota.testing.story import approval
from rota.testing.story import version as version_of

REVENUE = kpi("revenue")


@pytest.fixture
def random():
    return np.random.default_rng(11)


def begin(place, strategy, *numbers):
    place.store(Endpoint("delay", "delay", strategy))
    if len(numbers) > 1:
        Deliveries(place.repositories).start_experiment("delay", numbers, actor="olga")
    else:
        place.start()
    place.work()


def run_of(place):
    return place.metadata.find(Rollout, order="-started_us")[0]


def split(place):
    return {route.number: (route.role, route.weight) for route in place.releases()[-1].routes}


def units(place, random, counts, means, *, rows=1, errors=None, **options):
    """So many units of each version came, each bringing its revenue; `errors` of a version's predictions failed."""
    for number, count in counts.items():
        names = [f"u{number}.{place.asked}.{n}" for n in range(count)]
        asked = {"units": names * rows, "revision": place.releases()[-1].revision, "errors": (errors or {}).get(number, 0)}
        ids = place.ask(count * rows, number=number, role="stable" if number == 1 else "canary", **asked, **options)
        place.report("revenue", dict(zip(ids, random.normal(means[number], 1.0, len(ids)), strict=True)))


def planned(**options):
    return ab_test(REVENUE, **{"units": 1_000, "looks": 5, **options})


def primary(place):
    return [verdict for entry in run_of(place).history for verdict in entry["verdicts"] if verdict["check"] == "primary"]


def test_a_version_that_wins_at_a_planned_look_is_promoted_and_everything_comes_out_again(place, random):
    begin(place, planned())
    assert split(place) == {1: ("stable", 50), 2: ("canary", 50)}
    assert place.releases()[-1].salt == "rollout.delay.2"
    units(place, random, {1: 110, 2: 105}, {1: 1.0, 2: 1.3})
    place.work(1)
    assert (place.rollout().state, primary(place)[-1]["seen"], primary(place)[-1]["outcome"]) == ("canary", 1, "inconclusive")
    place.clock.advance(place.clock.now_us() + 60_000_000)
    units(place, random, {1: 200, 2: 200}, {1: 1.0, 2: 1.5})
    place.work(1)
    assert place.rollout().state == "promoted"
    assert "look 3 of 5" in place.rollout().reason
    assert split(place) == {2: ("stable", 100)}
    found = rollout_explanation.explain(place.repositories, "rollout.delay.2")
    assert found.agrees, [each for each in found.decisions if not each.agrees]
    assert all(each.is_exact for each in found.decisions)


def test_a_version_that_is_worse_is_taken_back_at_a_look(place, random):
    begin(place, planned())
    units(place, random, {1: 300, 2: 300}, {1: 1.5, 2: 1.0})
    place.work(1)
    assert place.rollout().state == "rolled_back"
    assert "loses" in place.rollout().reason
    assert split(place) == {1: ("stable", 100)}


def test_the_last_look_without_a_winner_ends_it(place, random):
    begin(place, planned())
    units(place, random, {1: 520, 2: 500}, {1: 1.0, 2: 1.0})
    place.work(1)
    assert place.rollout().state == "rolled_back"
    assert "look 5 of 5" in place.rollout().reason
    assert "no winner" in place.rollout().reason


def test_a_planned_look_is_taken_once_and_by_the_units_that_came_first(place, random):
    begin(place, planned())
    units(place, random, {1: 101, 2: 101}, {1: 1.0, 2: 1.0})
    place.work(1)
    first = primary(place)[-1]["message"]
    assert "look 1 of 5" in first
    units(place, random, {1: 50, 2: 50}, {1: 1.0, 2: 9.0})
    place.work(1)
    later = primary(place)[-1]
    assert (later["outcome"], later["seen"]) == ("inconclusive", 1)
    assert "look 2 of 5 is at 400" in later["missing"]
    assert later["lower"] > 0  # the confidence sequence says so, and the plan does not look yet


def test_an_always_valid_test_decides_whenever_it_is_looked_at(place, random):
    begin(place, ab_test(REVENUE, design="always_valid"))
    units(place, random, {1: 300, 2: 300}, {1: 1.0, 2: 2.0})
    place.work(1)
    assert place.rollout().state == "promoted"


def test_a_loss_wins_by_being_lower(place, random):
    begin(place, ab_test("squared_error", design="always_valid"))
    for number, answer in ((1, 0.9), (2, 0.6)):
        for truth in (0.5, 0.4):
            place.ask(100, number=number, role="stable" if number == 1 else "canary", answer=answer, truth=truth, revision=1)
    place.work(1)
    assert place.rollout().state == "promoted", place.rollout().history


def test_a_winner_that_harms_a_guardrail_is_not_promoted(place, random):
    begin(place, planned(guardrails=[error_rate(margin=0.01)]))
    units(place, random, {1: 400, 2: 400}, {1: 1.0, 2: 2.0}, errors={2: 100})
    place.work(1)
    assert place.rollout().state == "rolled_back"
    assert "error_rate of version 2" in place.rollout().reason


def test_a_winner_waits_for_its_guardrails(place, random):
    begin(place, planned(guardrails=[kpi("revenue", margin=0.001, per="unit")], units=200))
    units(place, random, {1: 150, 2: 150}, {1: 1.0, 2: 1.6})
    place.work(1)
    assert place.rollout().state == "promoted"
    begin_again = [each["outcome"] for each in place.rollout().history[-1]["verdicts"]]
    assert begin_again == ["pass", "pass", "pass"]


def test_versions_that_never_fail_pass_the_error_rate_guardrail_once_enough_units_came(place, random):
    begin(place, planned(guardrails=[error_rate(margin=0.03)], units=200))
    units(place, random, {1: 100, 2: 100}, {1: 1.0, 2: 2.0})
    place.work(1)
    assert place.rollout().state == "canary"
    assert "none of 200 units failed, which bounds the difference by 0.08" in place.rollout().missing
    units(place, random, {1: 300, 2: 300}, {1: 1.0, 2: 2.0})
    place.work(1)
    assert place.rollout().state == "promoted", place.rollout().missing


def test_arms_that_did_not_come_as_planned_block_every_conclusion(place, random):
    begin(place, planned(guardrails=[error_rate(margin=0.01)]))
    units(place, random, {1: 700, 2: 300}, {1: 1.0, 2: 3.0})
    place.work(1)
    assert place.rollout().phase == "held"
    assert "sample ratio mismatch" in place.rollout().missing
    [alert] = place.metadata.find(Alert, {"endpoint": "delay"})
    assert "sample ratio mismatch" in alert.message
    assert "is not decided on now" in alert.message
    assert split(place)[2] == ("canary", 50)


def test_an_assignment_in_doubt_ends_as_the_strategy_says(place, random):
    begin(place, planned(on_inconclusive="roll_back"))
    units(place, random, {1: 700, 2: 300}, {1: 1.0, 2: 3.0})
    place.work(1)
    assert place.rollout().state == "rolled_back"
    assert place.rollout().reason.startswith("not to be decided, so not judged: units: version 2 300, version 1 700: a sample ratio mismatch")


def test_an_experiment_is_stored_and_read(place, random):
    begin(place, planned(guardrails=[error_rate(), kpi("refund", margin=1, per="order")]))
    assert decode(encode(place.rollout()), Rollout) == place.rollout()
    assert decode(encode(planned()), Canary) == planned()


def test_more_candidates_than_shares_are_refused(place):
    place.store(Endpoint("delay", "delay", planned(weight=1)))
    with pytest.raises(InvalidInput, match="cannot be shared by 2"):
        Deliveries(place.repositories).start_experiment("delay", [2, 3], actor="olga")
    place.store(Endpoint("delay", "delay", bandit(REVENUE, window="1h", floor=33)))
    with pytest.raises(InvalidInput, match="is more than 100"):
        Deliveries(place.repositories).start_experiment("delay", [2, 3, 4], actor="olga")
    with pytest.raises(Refused, match="rota experiment plan delay"):
        Deliveries(place.repositories).plan("delay", "delay")


def test_units_in_several_arms_block_every_conclusion(place, random):
    begin(place, planned())
    for later, (number, first) in enumerate([(1, 0), (2, 200), (2, 0)]):
        names, at_us = [f"u{first + n}" for n in range(200)], place.clock.now_us() + later
        place.ask(200, number=number, role="stable" if number == 1 else "canary", units=names, revision=1, at_us=at_us)
    place.work(1)
    assert "seen in several arms" in place.rollout().missing
    assert place.rollout().phase == "held"


def test_what_other_releases_answered_is_no_part_of_it(place, random):
    begin(place, planned())
    place.ask(5_000, revision=0)
    units(place, random, {1: 300, 2: 300}, {1: 1.0, 2: 2.0})
    place.work(1)
    assert place.rollout().state == "promoted"


def test_a_canary_that_failed_counts_for_its_arm_though_the_stable_version_answered(place, random):
    begin(place, ab_test(error_rate(), design="always_valid"))
    place.ask(300, revision=1)
    ids = place.ask(300, number=2, role="canary", errors=200, revision=1)
    place.ask(200, ids=ids[:200], units=ids[:200], revision=1)
    place.work(1)
    assert place.rollout().state == "rolled_back"
    assert "version 1 300, as planned" in place.rollout().history[0]["verdicts"][0]["message"].replace("units: version 2 300, ", "")


def test_the_best_of_several_versions_wins(place, random):
    begin(place, planned(units=900), 2, 3)
    assert split(place) == {1: ("stable", 50), 2: ("canary", 25), 3: ("canary", 25)}
    units(place, random, {1: 460, 2: 230, 3: 230}, {1: 1.0, 2: 1.5, 3: 2.0})
    place.work(1)
    assert (run_of(place).state, run_of(place).candidate, run_of(place).arms) == ("promoted", 3, (2,))
    assert split(place) == {3: ("stable", 100)}
    assert rollout_states.state_of(place.metadata, run_of(place)) == "promoted"
    won, lost = (online_results.of_version(place.metadata, "delay", number)[0] for number in (3, 2))
    assert (won.state, won.against, lost.state, lost.against) == ("promoted", (1, 2), "version 3 won", (1, 3))
    assert won.sentence.startswith("ab against version 1, 2 at delay: promoted, revenue_per_prediction of version 3")
    assert [each.check for each in won.verdicts] == ["assignment", "primary", "primary"]
    assert online_results.of_version(place.metadata, "delay", 1) == []


def test_a_winner_whose_approval_ended_is_held(place, random):
    begin(place, planned())
    units(place, random, {1: 400, 2: 400}, {1: 1.0, 2: 2.0})
    taken = approval(2)
    place.store(msgspec.structs.replace(taken, expires_us=place.clock.now_us() + 1))
    place.work(1)
    assert place.rollout().state == "canary"
    assert "won and may not be promoted" in place.rollout().history[-1]["verdicts"][-1]["message"]
    assert split(place)[2] == ("canary", 50)


def test_without_units_it_is_held_when_its_time_is_over_and_can_be_stopped(place, random):
    begin(place, planned(max_duration="2d"))
    place.work(49)
    assert place.rollout().phase == "held"
    Deliveries(place.repositories).command("rollout.delay.2", "abort", actor="olga", reason="the campaign is over")
    place.work()
    assert (place.rollout().state, "the campaign is over" in place.rollout().reason) == ("rolled_back", True)


def test_a_long_experiment_keeps_each_planned_look(place, random):
    begin(place, planned(units=2_000, max_duration="60d"))
    for _ in range(40):
        units(place, random, {1: 12, 2: 12}, {1: 1.0, 2: 1.0})
        place.work(1)
    looks = [verdict["seen"] for verdict in primary(place) if "; look " in verdict["message"]]
    assert looks == [1, 2]
    assert len(run_of(place).history) < 40
    assert rollout_explanation.explain(place.repositories, "rollout.delay.2").agrees


def test_cuped_takes_what_a_stored_feature_tells(place, random):
    begin(place, ab_test(REVENUE, design="always_valid", cuped="spend", hold="2h"))
    for number in (1, 2):
        spend = random.normal(10, 5, 400)
        ids = place.ask(400, number=number, role="stable" if number == 1 else "canary", spend=spend, revision=1)
        place.report("revenue", dict(zip(ids, spend + random.normal(number * 0.5, 0.5, 400), strict=True)))
    place.work(2)
    message = primary(place)[-1]["message"]
    assert "CUPED takes 99% of the variance" in message
    assert place.rollout().state == "promoted"


def test_a_planned_test_is_planned_at_its_start_from_the_traffic(place, random):
    ids = place.ask(2_000, at_us=place.clock.now_us() - 3_600_000_000)
    place.report("revenue", dict(zip(ids, random.normal(1.0, 2.0, 2_000), strict=True)))
    begin(place, ab_test(REVENUE, min_effect=0.2, looks=1))
    found = place.rollout()
    assert found.strategy.test.units == pytest.approx(4 * (2.0 * 2.8016 / 0.2) ** 2, rel=0.1)
    assert "units find a difference of 0.2" in found.plan["message"]


def test_a_test_that_cannot_be_planned_is_refused_before_any_traffic(place):
    place.store(Endpoint("delay", "delay", ab_test(REVENUE, min_effect=0.2)))
    place.start()
    place.work()
    assert place.metadata.find(Rollout) == []
    assert "cannot be planned: no unit came" in place.runs.get("rollout.delay.2").error


def test_a_bandit_moves_the_split_after_its_burn_in_and_promotes_the_best(place, random):
    begin(place, bandit(REVENUE, window="1h", burn_in=100, loss=0.0001, hold="1h"))
    assert split(place) == {1: ("stable", 50), 2: ("canary", 50)}
    units(place, random, {1: 50, 2: 50}, {1: 1.0, 2: 1.2})
    place.work(2)
    assert len(place.releases()) == 1
    units(place, random, {1: 80, 2: 80}, {1: 1.0, 2: 1.1})
    place.work(2)
    moved = split(place)
    assert moved[2][1] > 50
    assert place.releases()[-1].rollout == "rollout.delay.2"
    units(place, random, {1: 2_000 * moved[1][1] // 100, 2: 2_000 * moved[2][1] // 100}, {1: 1.0, 2: 1.6})
    place.work(2)
    assert place.rollout().state == "promoted"
    assert rollout_explanation.explain(place.repositories, "rollout.delay.2").agrees


def test_a_bandit_counts_a_prediction_once_its_window_has_closed(place, random):
    begin(place, bandit(REVENUE, window="5h", burn_in=100, hold="1h"))
    units(place, random, {1: 500, 2: 500}, {1: 1.0, 2: 1.4})
    place.work(1)
    assert (
        "0 of 100 units" in place.rollout().missing.replace("burn-in: ", "")
        or "burn-in: 0 of 100" in place.rollout().history[-1]["verdicts"][1]["message"]
    )
    assert len(place.releases()) == 1
    place.work(5)
    assert "the best with" in place.rollout().history[-1]["verdicts"][1]["message"]


def test_a_bandit_whose_champion_is_the_best_returns_to_it(place, random):
    begin(place, bandit(REVENUE, window="1h", burn_in=100, hold="1h"))
    units(place, random, {1: 500, 2: 500}, {1: 2.0, 2: 1.0})
    place.work(2)
    assert (place.rollout().state, "version 1 is the best" in place.rollout().reason) == ("rolled_back", True)


def test_an_experiment_is_started_of_ready_versions_of_an_endpoint_that_has_one(place):
    deliveries = Deliveries(place.repositories)
    with pytest.raises(Refused, match="delivers by 'canary'"):
        deliveries.start_experiment("delay", [2], actor="olga")
    place.store(Endpoint("delay", "delay", planned()), version_of(4, "registered"))
    for numbers, error, words in (
        ([], InvalidInput, "each once"),
        ([2, 2], InvalidInput, "each once"),
        ([1], Refused, "is the champion"),
        ([4], Refused, "4"),
        ([9], NotFound, "9"),
    ):
        with pytest.raises(error, match=words):
            deliveries.start_experiment("delay", numbers, actor="olga")


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        (ab_test(REVENUE), "needs units, or min_effect"),
        (planned(weight=0), "weight = 0"),
        (planned(looks=51), "looks = 51"),
        (planned(on_inconclusive="promote"), "never promoted"),
        (planned(hold="1s"), "time between two looks"),
        (ab_test("no_such_loss", units=10), "'no_such_loss' is unknown"),
        (planned(guardrails=[kpi("cost", margin=-1)]), "margin = -1"),
        (bandit(REVENUE, window="1h", burn_in=1), "burn_in = 1"),
        (msgspec.structs.replace(planned(), strategy="bandit"), "is none of strategy"),
        (msgspec.structs.replace(planned(), test=None), "write rota.ab_test"),
        (msgspec.structs.replace(planned(), steps=(5,)), "has no steps"),
    ],
)
def test_an_experiment_that_can_never_decide_is_refused_when_it_is_declared(strategy, words):
    assert any(words in fault for fault in strategies.faults(strategy, None)), list(strategies.faults(strategy, None))


def test_options_that_are_none_are_named():
    with pytest.raises(InvalidInput, match="no \\['unitz'\\]"):
        ab_test(REVENUE, unitz=5)
    with pytest.raises(InvalidInput, match="an outcome takes some time"):
        bandit(REVENUE, window="0s")


def test_a_split_shares_the_weight():
    assert experiment_judge.split(planned(weight=50).test, 1, [2, 3, 4]) == {2: 17, 3: 17, 4: 16, 1: 50}
    assert experiment_judge.split(bandit(REVENUE, window="1h").test, 1, [2, 3]) == {2: 34, 3: 33, 1: 33}
