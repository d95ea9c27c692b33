"""Sequential intervals cover the truth at every look at once, and the e-process keeps its promise."""

import math

import numpy as np
import pytest

from rota.errors import InvalidInput
from rota.stats.sequential import (
    Level,
    e_process,
    half_width,
    mean_interval,
    paired_difference,
    share_slower,
)

LOOKS = [30, 60, 100, 200, 400, 800, 1_600, 3_200]


def test_the_two_sided_sequence_is_the_published_formula():
    alpha, n, tuned = 0.05, 500, 500
    doubled = -2 * math.log(alpha)
    rho = math.sqrt((doubled + math.log(doubled + 1)) / tuned)
    expected = math.sqrt(2 * (n * rho**2 + 1) / (n**2 * rho**2) * math.log(math.sqrt(n * rho**2 + 1) / alpha))
    assert half_width(n, Level(alpha, tuned)) == pytest.approx(expected)


def test_looking_again_and_again_misses_the_truth_in_at_most_5_percent_of_streams():
    random = np.random.default_rng(1)
    level, missed = Level(0.05, 500), 0
    for _ in range(1_000):
        values = random.exponential(1.0, LOOKS[-1])
        intervals = [mean_interval(float(values[:n].mean()), float(values[:n].std()), n, level) for n in LOOKS]
        missed += any(not interval.lower <= 1.0 <= interval.upper for interval in intervals)
    assert missed / 1_000 <= 0.05


def test_pairing_makes_the_interval_narrower_when_rows_are_hard_for_both():
    random = np.random.default_rng(3)
    hardness = random.exponential(1, 2_000)
    stable, candidate = hardness + random.normal(0, 0.05, 2_000), hardness + 0.05 + random.normal(0, 0.05, 2_000)
    paired, unpaired = paired_difference(candidate, stable), paired_difference(candidate, random.permutation(stable))
    assert paired.lower > 0 > unpaired.lower
    assert paired.estimate == pytest.approx(unpaired.estimate)


def test_one_sided_bounds_are_tighter_and_the_other_side_is_open():
    both, lower, upper = (mean_interval(0.0, 1.0, 1_000, Level(side=side)) for side in ("both", "lower", "upper"))
    assert lower.lower > both.lower
    assert lower.upper == math.inf
    assert upper.upper < both.upper
    assert upper.lower == -math.inf


def test_small_or_empty_arms_say_nothing():
    assert mean_interval(1.0, 0.1, 29).lower == -math.inf
    assert paired_difference([], []).n == 0
    assert share_slower([1.0] * 10, [1.0] * 100, ratio=1.2).lower == 0.0


def test_nonsense_is_refused():
    with pytest.raises(InvalidInput, match="alpha"):
        Level(alpha=1.5)


def latencies(n: int, seed: int, factor: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(8, 0.5, n) * factor


def test_a_slow_candidate_is_proven_slow_and_an_equal_one_fast_enough():
    slow = share_slower(latencies(20_000, 1, 1.8), latencies(20_000, 2), ratio=1.2)
    equal = share_slower(latencies(20_000, 3), latencies(20_000, 4), ratio=1.2)
    assert slow.lower > 0.05
    assert equal.upper < 0.05
    assert equal.lower <= equal.estimate <= equal.upper


def test_a_candidate_exactly_at_the_ratio_is_rarely_proven_slow_however_often_one_looks():
    proven = 0
    for seed in range(200):
        candidate, stable = latencies(4_000, 2 * seed, 1.2), latencies(4_000, 2 * seed + 1)
        proven += any(share_slower(candidate[:n], stable[:n], ratio=1.2, level=Level(0.05, 4_000)).lower > 0.05 for n in range(500, 4_001, 500))
    assert proven / 200 <= 0.05


def test_the_e_process_seldom_crosses_under_the_sign_flip_null_even_for_heavy_tails():
    random = np.random.default_rng(4)
    crossed = np.mean([e_process(random.standard_t(2, 200)).max() >= 20 for _ in range(1_000)])
    assert crossed <= 0.05


def test_the_e_process_grows_on_a_better_challenger_whatever_the_unit_of_the_loss():
    random = np.random.default_rng(5)
    assert np.mean([e_process(random.normal(0.5, 1.0, 90)).max() > 20 for _ in range(200)]) > 0.9
    days = random.normal(1.0, 1.0, 30)
    assert e_process(days)[-1] > 20
    assert e_process(days * 1e-6) == pytest.approx(e_process(days))
    assert e_process(-days)[-1] < 1
    assert e_process(np.zeros(5)).tolist() == [1.0] * 5
    assert e_process([]).shape == (0,)


def test_the_latency_bound_spends_half_of_alpha_on_the_candidates_share():
    stable, candidate = np.arange(1_000_000) / 1_000_000, np.arange(1_000) / 1_000
    level = Level(0.05, 1_000, "upper")
    threshold = 0.95 - math.sqrt(0.05 * 0.95) * half_width(1_000_000, Level(0.025, 1_000, "upper"))
    share = np.mean(candidate > threshold)
    smooth = (share * 1_000 + 1) / 1_002
    expected = share + math.sqrt(smooth * (1 - smooth)) * half_width(1_000, Level(0.025, 1_000, "upper"))
    assert share_slower(candidate, stable, ratio=1.0, level=level).upper == pytest.approx(expected)
