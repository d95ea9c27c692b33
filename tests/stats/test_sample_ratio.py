"""The sequential sample ratio test: its evidence in closed form, how often it alarms without reason, and what it finds."""

import math

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import dirichlet_multinomial, multinomial

from rota.errors import InvalidInput
from rota.stats.sample_ratio import CONCENTRATIONS, sample_ratio


@pytest.mark.parametrize(("counts", "planned"), [((10, 12), (50, 50)), ((900, 80, 130), (80, 10, 10)), ((0, 0), (1, 3))])
def test_the_evidence_is_the_ratio_of_two_multinomial_likelihoods(counts, planned):
    shares = np.array(planned) / sum(planned)
    null = multinomial.logpmf(counts, sum(counts), shares)
    mixed = [dirichlet_multinomial.logpmf(counts, each * shares, sum(counts)) - null for each in CONCENTRATIONS]
    assert sample_ratio(counts, planned).log_evidence == pytest.approx(logsumexp(mixed) - math.log(2), abs=1e-9)


def worlds(share, *, count, units=10_000, looks=50, seed=3):
    """Whether each of some experiments alarmed at one of its looks."""
    random = np.random.default_rng(seed)
    ours = random.binomial(units // looks, share, (count, looks)).cumsum(axis=1)
    every = np.arange(1, looks + 1) * (units // looks)
    return [any(sample_ratio((a, n - a), (1, 1)).p_value < 0.001 for a, n in zip(row.tolist(), every.tolist(), strict=True)) for row in ours]


def test_a_planned_split_is_hardly_ever_taken_for_a_mismatch():
    assert sum(worlds(0.5, count=400)) == 0


def test_a_mismatch_of_three_points_is_found():
    assert np.mean(worlds(0.53, count=60)) > 0.95


@pytest.mark.parametrize(("counts", "planned"), [((1,), (1,)), ((1, 2), (1,)), ((1, 2), (1, 0)), ((-1, 2), (1, 1))])
def test_counts_without_planned_shares_are_refused(counts, planned):
    with pytest.raises(InvalidInput, match="one positive share for each"):
        sample_ratio(counts, planned)
