"""Distances between histograms against scipy and closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import distance as oracle

from rota.errors import InvalidInput
from rota.stats.distances import jensen_shannon, ks, l_infinity, psi

COUNTS = st.lists(st.tuples(st.integers(0, 1_000), st.integers(0, 1_000)), min_size=1, max_size=20).filter(
    lambda pairs: sum(a for a, _ in pairs) > 0 and sum(b for _, b in pairs) > 0
)


@given(COUNTS)
def test_jensen_shannon_agrees_with_scipy_and_all_lie_between_0_and_1(pairs):
    p, q = zip(*pairs, strict=True)
    assert jensen_shannon(p, q) == pytest.approx(oracle.jensenshannon(p, q, base=2), abs=1e-7)
    assert 0 <= l_infinity(p, q) <= 2 * ks(p, q) + 1e-12
    assert ks(p, q) <= 1 + 1e-12
    assert psi(p, q) >= 0
    assert psi(p, q) == pytest.approx(psi(q, p))


@given(COUNTS, st.integers(2, 50))
def test_distances_compare_shares_not_sizes(pairs, factor):
    p = np.array([a for a, _ in pairs])
    for distance in (psi, jensen_shannon, l_infinity, ks):
        assert distance(p, p * factor) == pytest.approx(0, abs=1e-7)


def test_closed_forms():
    assert psi([50, 50], [80, 20]) == pytest.approx(0.3 * math.log(1.6) - 0.3 * math.log(0.4))
    assert l_infinity([50, 50, 0], [20, 50, 30]) == pytest.approx(0.3)
    assert ks([50, 30, 20], [20, 30, 50]) == pytest.approx(0.3)
    assert jensen_shannon([1, 0], [0, 1]) == 1


def test_an_empty_histogram_is_refused():
    with pytest.raises(InvalidInput, match="without rows"):
        ks([0, 0], [1, 2])
