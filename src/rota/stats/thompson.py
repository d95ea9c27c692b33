"""Batched Thompson sampling: shares of the traffic for arms by how probable it is that each is the best, and when that is known well enough.

An arm's mean reward has, given its estimate and the estimate's variance, a normal posterior (flat prior; Kalkanli and Ozgur, "Batched Thompson
sampling", 2021, show that it loses nothing by batches that grow with what is known). `top_two` gives the share that Russo's top-two sampling
(2016, section 4.3, beta 1/2) plays on average: it finds the best arm sooner, at the price of half the traffic on others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rota.errors import InvalidInput

DRAWS = 20_000


@dataclass(frozen=True, slots=True)
class Belief:
    """How probable each arm is the best, and how much less than the best arm it is expected to bring (in units of the reward)."""

    best: tuple[float, ...]
    loss: tuple[float, ...]

    @property
    def leader(self) -> int:
        """The arm that is most probably the best."""
        return int(np.argmax(self.best))


def belief(estimates: Sequence[tuple[float, float]], *, seed: int) -> Belief:
    """What is believed of arms with these means and variances of the mean, by DRAWS draws of a generator with this seed: larger is better."""
    if len(estimates) < 2 or any(variance < 0 or not np.isfinite([mean, variance]).all() for mean, variance in estimates):
        raise InvalidInput(f"estimates {list(estimates)}: give a finite mean and its variance for each of two or more arms")
    means, variances = (np.array(column, dtype=np.float64) for column in zip(*estimates, strict=True))
    drawn = means + np.sqrt(variances) * np.random.default_rng(seed).standard_normal((DRAWS, len(means)))
    best = np.bincount(drawn.argmax(axis=1), minlength=len(means)) / DRAWS
    loss = (drawn.max(axis=1)[:, None] - drawn).mean(axis=0)
    return Belief(tuple(map(float, best)), tuple(map(float, loss)))


def weights(found: Belief, *, floor: int, top_two: bool = False) -> tuple[int, ...]:
    """Percent of the traffic for each arm: at least `floor`, else by the belief; they sum to 100."""
    arms = len(found.best)
    if not 0 < floor * arms <= 100:
        raise InvalidInput(f"a floor of {floor} percent for each of {arms} arms: give at least 1, and at most {100 // arms}")
    wanted = np.array(_top_two(found.best) if top_two else found.best)
    shares = np.maximum(wanted, floor / 100)
    while (excess := shares.sum() - 1) > 1e-12:  # what the floors cost is taken from the others in proportion
        free = shares > floor / 100 + 1e-12
        shares[free] -= excess * shares[free] / shares[free].sum()
        shares = np.maximum(shares, floor / 100)
    whole = np.maximum(np.floor(shares * 100 + 1e-9), floor).astype(int)
    rest = np.argsort(whole - shares * 100, kind="stable")
    whole[rest[: 100 - int(whole.sum())]] += 1
    return tuple(int(each) for each in whole)


def is_known(found: Belief, *, probability: float, loss: float) -> bool:
    """Whether the leader is the best with this probability, and is expected to lose at most so much against the best."""
    return found.best[found.leader] >= probability and found.loss[found.leader] <= loss


def _top_two(best: Sequence[float]) -> list[float]:
    """Half for the best arm of a draw, half for the best of the draws in which another one is."""
    likely = np.maximum(best, 1 / DRAWS)
    likely /= likely.sum()
    odds = likely / (1 - likely)
    shares = likely * (0.5 + 0.5 * (odds.sum() - odds))
    return [float(each) for each in shares / shares.sum()]
