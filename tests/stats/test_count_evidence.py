"""The e-process on counts is the integral that it claims to be, is seldom wrong however often one looks, and finds what it should."""

import math

import numpy as np
import pytest

from rota.errors import InvalidInput
from rota.stats.count_evidence import ArmCounts, log_evidence, rate_ratio, share_difference
from rota.stats.sequential import Level

MINUTES = 60
LOOKS = (1, 2, 3, *range(5, 61, 5))


def integral(periods: list[ArmCounts], ratio: float, sign: int) -> float:
    """The evidence written down as a sum of binomial likelihoods over a fine grid of ratios."""
    weighed, weights = 0.0, 0.0
    for place in range(50_000):
        distance = (place + 0.5) / 10_000
        likelihood = 1.0
        for c in periods:
            q, null = (t * c.candidate_rows / (t * c.candidate_rows + c.stable_rows) for t in (ratio * math.exp(sign * distance), ratio))
            likelihood *= (q / null) ** c.candidate_hits * ((1 - q) / (1 - null)) ** c.stable_hits
        weight = math.exp(-(distance**2) / 2)
        weighed, weights = weighed + weight * likelihood, weights + weight
    return weighed / weights


@pytest.mark.parametrize("ratio", [0.5, 1.0, 3.0])
@pytest.mark.parametrize(("side", "sign"), [("above", 1), ("below", -1)])
def test_the_evidence_is_the_mixture_of_the_likelihoods(ratio, side, sign):
    periods = [ArmCounts(4, 100, 9, 400), ArmCounts(7, 300, 3, 300), ArmCounts(0, 50, 1, 900)]
    assert math.exp(log_evidence(periods, ratio, side)) == pytest.approx(integral(periods, ratio, sign), rel=1e-2)


def streams(count: int, *, candidate: float, stable: float, a_minute: int, seed: int) -> list[list[ArmCounts]]:
    """What is known at each of 60 looks, a minute apart; the stable version gets four times the traffic."""
    random, found = np.random.default_rng(seed), []
    for _ in range(count):
        rows = [random.poisson(a_minute * share, MINUTES) for share in (1, 4)]
        hits = [random.binomial(rows[arm], rate).cumsum() for arm, rate in enumerate((candidate, stable))]
        ours, theirs = (arm.cumsum() for arm in rows)
        found.append([ArmCounts(int(hits[0][m]), int(ours[m]), int(hits[1][m]), int(theirs[m])) for m in range(MINUTES)])
    return found


def ever(looks: list[ArmCounts], ratio: float, side: str) -> int:
    """The minute at which the evidence reaches 20, 0 when it never does."""
    return next((minute for minute in LOOKS if log_evidence([looks[minute - 1]], ratio, side) >= math.log(20)), 0)


@pytest.mark.parametrize(("stable", "ratio"), [(0.005, 1.0), (0.02, 2.0), (0.3, 1.0), (0.3, 2.0), (0.05, 1.3)])
def test_a_candidate_at_the_limit_is_seldom_beyond_it_however_often_one_looks(stable, ratio):
    worlds = streams(150, candidate=stable * ratio, stable=stable, a_minute=20, seed=int(1_000 * stable * ratio))
    for side in ("above", "below"):
        assert np.mean([ever(world, ratio, side) > 0 for world in worlds]) <= 0.05


def test_four_times_the_errors_are_found_and_as_many_are_cleared():
    found = [ever(world, 1.0, "above") for world in streams(100, candidate=0.02, stable=0.005, a_minute=20, seed=1)]
    assert np.mean(np.array(found) > 0) >= 0.9
    assert np.median([ever(world, 1.0, "above") for world in streams(30, candidate=0.02, stable=0.005, a_minute=200, seed=2)]) <= 3
    assert np.mean([ever(world, 2.0, "below") > 0 for world in streams(50, candidate=0.005, stable=0.005, a_minute=200, seed=3)]) >= 0.9


def test_a_rise_of_both_rates_between_two_splits_of_the_traffic_is_no_evidence():
    """Pooled, the candidate would look worse: it has most of its traffic in the bad hour."""
    periods = [ArmCounts(1, 100, 19, 1_900), ArmCounts(100, 1_000, 100, 1_000)]
    assert log_evidence(periods, 1.0, "above") < math.log(2)
    pooled = [ArmCounts(101, 1_100, 119, 2_900)]
    assert log_evidence(pooled, 1.0, "above") > math.log(20)


def test_the_bounds_are_where_the_evidence_is_enough():
    periods = [ArmCounts(24, 1_200, 24, 4_800)]
    found = rate_ratio(periods, alpha=0.05)
    assert found.estimate == pytest.approx(4.0)
    assert log_evidence(periods, found.lower, "above") == pytest.approx(math.log(20), abs=1e-3)
    assert log_evidence(periods, found.upper, "below") == pytest.approx(math.log(20), abs=1e-3)
    assert found.lower < 4 < found.upper


def test_without_hits_or_without_one_arm_nothing_is_known():
    for periods in ([], [ArmCounts(0, 100, 0, 100)], [ArmCounts(5, 10, 0, 0)]):
        found = rate_ratio(periods, alpha=0.05)
        assert (found.lower, found.upper) == (0.0, math.inf)
        assert math.isnan(found.estimate)
    only = rate_ratio([ArmCounts(9, 100, 0, 400)], alpha=0.05)
    assert (only.estimate, only.upper) == (math.inf, math.inf)
    assert only.lower > 1
    with pytest.raises(InvalidInput, match="no counts"):
        ArmCounts(5, 3, 0, 1)
    with pytest.raises(InvalidInput, match="ratio=0"):
        log_evidence([], 0.0, "above")


def test_a_difference_without_effect_is_rarely_called_one_and_a_real_one_is_found():
    random = np.random.default_rng(2)
    level = Level(0.05, 4_000, "lower")
    false, found = 0, 0
    for _ in range(500):
        stable, same, worse = (np.cumsum(random.random(4_000) < share) for share in (0.1, 0.1, 0.15))
        looks = range(200, 4_000, 200)
        false += any(share_difference([ArmCounts(int(same[n]), n + 1, int(stable[n]), n + 1)], level).lower > 0 for n in looks)
        found += any(share_difference([ArmCounts(int(worse[n]), n + 1, int(stable[n]), n + 1)], level).lower > 0 for n in looks)
    assert false / 500 <= 0.05
    assert found / 500 >= 0.95


def test_an_arm_without_errors_is_not_taken_for_perfect():
    assert share_difference([ArmCounts(0, 100, 0, 100)], Level()).upper > 0.05


def test_a_difference_from_a_multiple_is_that_of_the_scaled_arm():
    twice = share_difference([ArmCounts(40, 1_000, 20, 1_000)], Level(), ratio=2.0)
    once = share_difference([ArmCounts(40, 1_000, 20, 1_000)], Level())
    assert (twice.estimate, once.estimate) == (pytest.approx(0.0), pytest.approx(0.02))
    assert twice.upper - twice.lower > once.upper - once.lower


def test_small_or_empty_arms_say_nothing_of_a_difference():
    assert share_difference([ArmCounts(0, 0, 5, 100)], Level()).upper == math.inf
    assert share_difference([ArmCounts(0, 29, 5, 10_000)], Level()).upper == math.inf


def test_the_difference_over_periods_is_that_within_them():
    periods = [ArmCounts(0, 200, 0, 3_800), ArmCounts(400, 2_000, 400, 2_000)]
    found = share_difference(periods, Level())
    assert found.estimate == pytest.approx(0.0)
    assert found.lower < 0 < found.upper
    assert share_difference([ArmCounts(400, 2_200, 400, 5_800)], Level()).lower > 0.05
