"""Group-sequential tests against published boundaries, closed forms and simulated trials."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from rota.errors import InvalidInput
from rota.stats import group_sequential as tests

PUBLISHED = {
    1: [1.960],
    2: [2.963, 1.969],
    3: [3.710, 2.511, 1.993],
    4: [4.333, 2.963, 2.359, 2.014],
    5: [4.877, 3.357, 2.680, 2.290, 2.031],
}
"""O'Brien-Fleming boundaries by the spending function of Lan and DeMets, two-sided 0.05: Proschan, Lan and Wittes (2006), and gsDesign's sfLDOF."""


@pytest.mark.parametrize(("looks", "expected"), PUBLISHED.items())
def test_boundaries_are_the_published_ones_to_three_digits(looks, expected):
    assert tests.boundaries(looks) == pytest.approx(expected, abs=6e-4)


@pytest.mark.parametrize(("looks", "alpha"), [(1, 0.05), (5, 0.01), (10, 0.05), (50, 0.05)])
def test_the_error_spent_by_all_looks_is_the_level(looks, alpha):
    found = tests.crossing(tests.boundaries(looks, alpha), 0.0)
    assert found.upper[-1] == pytest.approx(alpha / 2, rel=1e-5)
    assert found.upper == pytest.approx(found.lower, rel=1e-6)
    assert found.upper == pytest.approx([tests.spent((look + 1) / looks, alpha) for look in range(looks)], rel=1e-3, abs=1e-12)


def test_one_look_is_the_fixed_test():
    assert tests.boundaries(1, 0.05)[0] == pytest.approx(norm.ppf(0.975), abs=1e-6)
    assert tests.needed_drift(1, 0.05, 0.8) == pytest.approx(norm.ppf(0.975) + norm.ppf(0.8), abs=2e-3)
    assert tests.needed_units(1.0, 0.1) == pytest.approx(4 * ((norm.ppf(0.975) + norm.ppf(0.8)) / 0.1) ** 2, rel=1e-3)


def test_five_looks_cost_the_published_few_percent_of_rows():
    inflation = (tests.needed_drift(5, 0.05, 0.8) / (norm.ppf(0.975) + norm.ppf(0.8))) ** 2
    assert inflation == pytest.approx(1.025, abs=0.005)  # Jennison and Turnbull (2000), table 7.1 has 1.02 to 1.03


def test_power_is_what_simulated_trials_have():
    looks, drift, trials = 5, 2.9, 40_000
    random = np.random.default_rng(7)
    steps = random.standard_normal((trials, looks)) / math.sqrt(looks) + drift / looks
    z = steps.cumsum(axis=1) / np.sqrt(np.arange(1, looks + 1) / looks)
    bounds = np.array(tests.boundaries(looks))
    crossed = (z > bounds).cumsum(axis=1) > 0
    assert tests.crossing(bounds, drift).upper == pytest.approx(crossed.mean(axis=0), abs=4 * 0.5 / math.sqrt(trials))


@pytest.mark.parametrize(("looks", "alpha"), [(0, 0.05), (5, 0.0), (5, 1.0)])
def test_a_test_without_looks_or_level_is_refused(looks, alpha):
    with pytest.raises(InvalidInput, match="at least 1 look"):
        tests.boundaries(looks, alpha)
