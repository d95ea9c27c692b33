"""Thompson sampling: beliefs in closed form, shares that keep their floors, and what top-two sampling plays."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from rota.errors import InvalidInput
from rota.stats import thompson
from rota.stats.thompson import Belief


def test_of_two_arms_the_belief_is_normal():
    found = thompson.belief([(1.0, 0.01), (1.1, 0.03)], seed=1)
    z = 0.1 / math.sqrt(0.04)
    assert found.best[1] == pytest.approx(norm.cdf(z), abs=4 * 0.5 / math.sqrt(thompson.DRAWS))
    assert found.loss[1] == pytest.approx(0.2 * (norm.pdf(z) - z * norm.sf(z)), abs=0.005)
    assert thompson.belief([(1.0, 0.01), (1.1, 0.03)], seed=1) == found


@pytest.mark.parametrize("top_two", [False, True])
@pytest.mark.parametrize("best", [(0.5, 0.5), (1.0, 0.0), (0.97, 0.02, 0.01), (0.0, 0.0, 1.0), (0.4, 0.3, 0.2, 0.1)])
def test_shares_sum_to_a_hundred_and_keep_their_floor(best, top_two):
    found = thompson.weights(Belief(best, (0.0,) * len(best)), floor=5, top_two=top_two)
    assert sum(found) == 100
    assert min(found) >= 5
    assert [found[place] for place in np.argsort(best)] == sorted(found)


def test_shares_follow_the_belief():
    assert thompson.weights(Belief((0.7, 0.3), (0.0, 0.0)), floor=1) == (70, 30)
    assert thompson.weights(Belief((1.0, 0.0), (0.0, 0.0)), floor=5) == (95, 5)


def test_top_two_plays_the_best_of_a_draw_half_the_time():
    random = np.random.default_rng(2)
    means, spread = np.array([0.0, 0.5, 0.8]), 0.6
    first = (means + spread * random.standard_normal((200_000, 3))).argmax(axis=1)
    best = np.bincount(first, minlength=3) / len(first)
    second = np.array([[each / (1 - best[top]) if place != top else 0.0 for place, each in enumerate(best)] for top in range(3)])
    played = 0.5 * best + 0.5 * best @ second
    assert thompson.weights(Belief(tuple(best), (0.0,) * 3), floor=1, top_two=True) == pytest.approx(played * 100, abs=1)


@pytest.mark.parametrize("estimates", [[(1.0, 0.1)], [(1.0, -0.1), (1.0, 0.1)], [(math.nan, 0.1), (1.0, 0.1)]])
def test_estimates_that_are_none_are_refused(estimates):
    with pytest.raises(InvalidInput, match="finite mean"):
        thompson.belief(estimates, seed=1)


def test_floors_that_leave_nothing_are_refused():
    with pytest.raises(InvalidInput, match="at most 33"):
        thompson.weights(Belief((0.5, 0.3, 0.2), (0.0,) * 3), floor=34)
