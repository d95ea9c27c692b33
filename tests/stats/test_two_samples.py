"""Distances and p values of raw samples are those of scipy."""

import numpy as np
import pytest
from scipy import special, stats

from rota.errors import InvalidInput
from rota.stats import distances
from rota.stats.two_samples import chi_square, ks_found, ks_p_value, pooled, sort_samples, upper_gamma

random = np.random.default_rng(7)
SAMPLES = [
    (random.normal(size=500), random.normal(0.2, 1.3, size=340)),
    (random.integers(0, 4, 200).astype(float), random.integers(1, 5, 90).astype(float)),
    (np.array([1.0]), np.array([1.0])),
    (np.array([-1e12, 3.0]), np.array([3.0, 3.0, 1e12])),
    (random.lognormal(size=1000), random.lognormal(size=1000)),
]


@pytest.mark.parametrize(("reference", "current"), SAMPLES)
def test_distances_of_numbers_are_those_of_scipy(reference, current):
    found = sort_samples(reference, current)
    assert found.ks == pytest.approx(stats.ks_2samp(reference, current).statistic, abs=1e-12)
    assert found.wasserstein == pytest.approx(stats.wasserstein_distance(reference, current), rel=1e-9)
    scaled = found.ks * np.sqrt(len(reference) * len(current) / (len(reference) + len(current)))
    assert ks_p_value(found.ks, len(reference), len(current)) == pytest.approx(special.kolmogorov(scaled), abs=1e-9)


@pytest.mark.parametrize("counts", [([10, 20, 30], [12, 20, 25]), ([500, 3, 0, 8], [400, 90, 0, 1]), ([7], [9]), (range(1, 60), range(60, 1, -1))])
def test_chi_square_is_that_of_scipy(counts):
    reference, current = (np.array(list(each)) for each in counts)
    table = np.stack([reference, current])
    expected = stats.chi2_contingency(table[:, table.sum(axis=0) > 0], correction=False)
    found = chi_square(reference, current)
    assert (found.statistic, found.degrees) == (pytest.approx(expected.statistic, abs=1e-9), expected.dof)
    assert found.p_value == pytest.approx(expected.pvalue, abs=1e-10)


@pytest.mark.parametrize("shape", [0.5, 1, 3.5, 40, 900])
def test_the_gamma_function_is_that_of_scipy(shape):
    for beyond in (0.0, 0.01, 1.0, shape, shape + 30, 3 * shape):
        assert upper_gamma(shape, beyond) == pytest.approx(special.gammaincc(shape, beyond), abs=1e-11)


def test_distances_on_bins_are_those_of_scipy():
    before, after = np.array([40, 25, 20, 10, 5]), np.array([30, 30, 22, 9, 9])
    p, q = before / before.sum(), after / after.sum()
    jensen_shannon = np.sqrt((stats.entropy(p, (p + q) / 2, base=2) + stats.entropy(q, (p + q) / 2, base=2)) / 2)
    assert distances.jensen_shannon(before, after) == pytest.approx(jensen_shannon, abs=1e-9)
    assert distances.psi(before, after) == pytest.approx(stats.entropy(p, q) + stats.entropy(q, p), abs=1e-9)


def test_the_smallest_distance_found_is_the_one_at_the_level():
    assert ks_p_value(ks_found(1e-3, 400, 250), 400, 250) == pytest.approx(1e-3, rel=1e-4)
    assert ks_found(1e-6, 3, 3) == 1.0


def test_rare_values_are_taken_together_and_no_row_is_lost():
    reference, current = pooled(np.array([500, 2, 1, 300, 0]), np.array([50, 1, 3, 20, 1]))
    assert (reference.tolist(), current.tolist()) == ([500, 300, 3], [50, 20, 5])


def test_an_infinity_is_a_value_at_the_end():
    assert sort_samples([1.0, 2.0], [1.0, np.inf]).ks == 0.5


@pytest.mark.parametrize("values", [[], [1.0, np.nan]])
def test_a_sample_that_is_empty_or_lacks_a_value_is_refused(values):
    with pytest.raises(InvalidInput, match="current sample"):
        sort_samples([1.0, 2.0], values)
