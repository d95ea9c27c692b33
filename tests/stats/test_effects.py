"""Effects of a treatment: the delta method and CUPED against their formulas, simulation and scipy."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_ind

from rota.errors import InvalidInput
from rota.stats import effects
from rota.stats.sequential import Level


def visits(random, units, *, per_unit=0.0):
    """Clicks and views of units that differ in how much they view and how often they click."""
    views = 1 + random.poisson(4, units)
    rates = random.beta(2 + per_unit, 8, units)
    return random.binomial(views, rates).astype(float), views.astype(float)


def test_a_mean_is_compared_as_by_welch():
    random = np.random.default_rng(1)
    ours, theirs = random.normal(1.1, 1, 200), random.normal(1, 2, 300)
    found, known = effects.difference(ours, theirs), ttest_ind(ours, theirs, equal_var=False)
    assert found.z == pytest.approx(known.statistic, rel=1e-12)
    assert found.estimate == pytest.approx(ours.mean() - theirs.mean())
    assert found.relative == pytest.approx(found.estimate / theirs.mean())


def test_the_variance_of_a_ratio_is_the_delta_methods():
    clicks, views = visits(np.random.default_rng(2), 500)
    values = effects.linearized(clicks, views)
    covariance = np.cov(clicks, views)
    mean, ratio = views.mean(), clicks.sum() / views.sum()
    delta = (covariance[0, 0] - 2 * ratio * covariance[0, 1] + ratio**2 * covariance[1, 1]) / mean**2 / len(views)
    assert values.mean() == pytest.approx(ratio, rel=1e-12)
    assert values.var(ddof=1) / len(values) == pytest.approx(delta, rel=1e-12)


def test_ratios_of_units_cover_the_truth_where_rows_as_units_do_not():
    random = np.random.default_rng(3)
    z = [effects.difference(effects.linearized(*visits(random, 200)), effects.linearized(*visits(random, 200))).z for _ in range(2_000)]
    assert np.std(z) == pytest.approx(1.0, abs=4 / math.sqrt(2 * 2_000))


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_cuped_takes_the_squared_correlation_of_the_variance_and_leaves_the_effect(correlation):
    random = np.random.default_rng(4)
    x = [random.standard_normal(20_000) for _ in range(2)]
    arms = [
        correlation * each + math.sqrt(1 - correlation**2) * random.standard_normal(20_000) + effect
        for each, effect in zip(x, (0.1, 0.0), strict=True)
    ]
    adjusted, share = effects.adjusted(arms, x)
    assert share == pytest.approx(correlation**2, abs=0.02)
    assert adjusted[0].var() / arms[0].var() == pytest.approx(1 - correlation**2, abs=0.02)
    assert effects.difference(*adjusted).estimate == pytest.approx(0.1, abs=4 * math.sqrt(2 / 20_000))


def test_a_covariate_that_is_not_known_or_does_not_vary_changes_nothing():
    arms = [np.arange(5.0), np.arange(7.0)]
    for covariates in ([np.full(5, np.nan), np.full(7, np.nan)], [np.ones(5), np.ones(7)]):
        adjusted, share = effects.adjusted(arms, covariates)
        assert share == 0.0
        assert all(map(np.array_equal, adjusted, arms))
    with pytest.raises(InvalidInput, match="a covariate for each unit"):
        effects.adjusted(arms, [np.ones(5), np.ones(6)])


def test_an_equal_arm_is_hardly_ever_excluded_under_fifty_looks():
    random = np.random.default_rng(5)
    false = 0
    for _ in range(120):
        ours, theirs = random.exponential(1, 5_000), random.exponential(1, 5_000)
        looks = (effects.always_valid(effects.difference(ours[:n], theirs[:n]), Level(0.05, 5_000)) for n in range(100, 5_001, 100))
        false += any(each.lower > 0 or each.upper < 0 for each in looks)
    assert false / 120 <= 0.05


def test_periods_are_weighed_alike_for_all_arms():
    """An arm that has its share in the good season is not better for it."""
    random = np.random.default_rng(6)
    good, bad = (lambda n: random.normal(10, 1, n)), (lambda n: random.normal(0, 1, n))
    periods = [[good(900), good(100)], [bad(100), bad(900)]]
    (ours, _), (theirs, _) = effects.period_weighted(periods)
    assert ours - theirs == pytest.approx(0, abs=0.5)
    assert effects.stratified([(p[0], p[1]) for p in periods]).estimate == pytest.approx(0, abs=0.5)
    assert np.concatenate([p[0] for p in periods]).mean() - np.concatenate([p[1] for p in periods]).mean() > 7


def test_a_period_without_two_units_of_an_arm_is_counted_with_its_neighbour():
    whole = [np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0])]
    split = [[whole[0][:1], whole[1][:0]], [whole[0][1:], whole[1]], [np.empty(0), np.empty(0)]]
    assert np.allclose(effects.period_weighted(split), effects.period_weighted([whole]))
    assert effects.period_weighted([[whole[0], whole[1][:1]]]) == []


def test_units_without_an_event_bound_its_share_at_every_look():
    level = Level(0.1, 100, "both")
    found = effects.without_events(1_000, 500, level)
    assert (1 - found.upper) ** 1_000 * 1_001 == pytest.approx(0.05)  # the evidence against that share is 1 / 0.05
    assert (1 + found.lower) ** 500 * 501 == pytest.approx(0.05)
    assert (found.estimate, found.n) == (0.0, 1_500)
    assert effects.without_events(0, 0, level).upper == 1.0
