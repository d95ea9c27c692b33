"""Group-sequential tests of O'Brien-Fleming form: how far a z statistic must be at each planned look, and how many rows a planned test takes.

The two-sided error is spent as Lan and DeMets (1983, alpha*_1) say, half of it on either side, one-sided alpha a at share t of the information:

    a(t) = 2 - 2 Phi(z_{1 - a/2} / sqrt(t))

and the boundary of each look follows by recursive numerical integration of the density of the statistic that has not crossed yet (Armitage,
McPherson and Rowe, 1969; Jennison and Turnbull, 2000, chapter 19). Looks that are left out only make the test stricter.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from rota.errors import InvalidInput

Floats = NDArray[np.float64]
HIGHEST = 8.0
"""A look with next to no information has this boundary: what lies beyond has a probability of 1e-15."""
_NORMAL = NormalDist()
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(201)


@dataclass(frozen=True, slots=True)
class Crossing:
    """The probabilities of having crossed the upper and the lower boundary by each look."""

    upper: tuple[float, ...]
    lower: tuple[float, ...]


def spent(share: float, alpha: float) -> float:
    """The one-sided error spent by a share (0 to 1) of the information, of a two-sided `alpha`."""
    if share <= 0:
        return 0.0
    return min(alpha / 2, 2 - 2 * _NORMAL.cdf(_NORMAL.inv_cdf(1 - alpha / 4) / math.sqrt(min(share, 1.0))))


@lru_cache(maxsize=256)
def boundaries(looks: int, alpha: float = 0.05) -> tuple[float, ...]:
    """The z beyond which each of so many equally spaced looks decides, for a two-sided `alpha`.

    >>> [round(each, 3) for each in boundaries(2)]
    [2.963, 1.969]
    """
    if looks < 1 or not 0 < alpha < 1:
        raise InvalidInput(f"looks={looks}, alpha={alpha}: a planned test has at least 1 look, and alpha lies between 0 and 1")
    found = list[float]()
    state = _Walk()
    for look in range(1, looks + 1):
        wanted = spent(look / looks, alpha) - spent((look - 1) / looks, alpha)
        bound = _solved(state, look / looks, wanted)
        found.append(bound)
        state = state.stepped(look / looks, bound, 0.0)
    return tuple(found)


def crossing(bounds: Sequence[float], drift: float) -> Crossing:
    """How often equally spaced looks have crossed, where z at the end has mean `drift` and variance 1."""
    state, upper, lower = _Walk(), [0.0], [0.0]
    for look, bound in enumerate(bounds, 1):
        share = look / len(bounds)
        edge = bound * math.sqrt(share)
        upper.append(upper[-1] + state.beyond(share, edge, drift))
        lower.append(lower[-1] + state.beyond(share, edge, drift, below=True))
        state = state.stepped(share, bound, drift)
    return Crossing(tuple(upper[1:]), tuple(lower[1:]))


@lru_cache(maxsize=256)
def needed_drift(looks: int, alpha: float, power: float) -> float:
    """The mean of z at the end by which the test decides for a real effect with this power; its square is what multiplies the rows."""
    bounds = boundaries(looks, alpha)
    low, high = 0.0, 20.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if crossing(bounds, middle).upper[-1] < power else (low, middle)
    return (low + high) / 2


def needed_units(variance: float, effect: float, *, looks: int = 1, alpha: float = 0.05, power: float = 0.8, share: float = 0.5) -> int:
    """Units of both arms together until an effect of this size is found, where a unit's values have this variance and `share` get the treatment."""
    if effect == 0 or variance < 0 or not 0 < share < 1:
        raise InvalidInput(f"effect={effect}, variance={variance}, share={share}: give an effect other than 0, and a share between 0 and 1")
    return math.ceil(variance * (1 / share + 1 / (1 - share)) * (needed_drift(looks, alpha, power) / effect) ** 2)


def normal_quantile(share: float) -> float:
    """The value below which a standard normal variable lies with this probability."""
    return _NORMAL.inv_cdf(share)


@dataclass(frozen=True, slots=True)
class _Walk:
    """The density, at some places with weights, of the statistic S = z sqrt(t) that has not crossed by the share t; at the start all is at 0."""

    share: float = 0.0
    places: Floats | None = None
    masses: Floats | None = None

    def beyond(self, share: float, edge: float, drift: float, *, below: bool = False) -> float:
        """The probability of being beyond +edge (below: under -edge) at the next look."""
        places, masses = self._held()
        step = share - self.share
        distance = edge + places + drift * step if below else edge - places - drift * step
        return float((masses * _tail(distance / math.sqrt(step))).sum())

    def stepped(self, share: float, bound: float, drift: float) -> "_Walk":
        """What has not crossed at the next look."""
        places, masses = self._held()
        step, edge = share - self.share, bound * math.sqrt(share)
        reach = min(edge, float(np.abs(places).max()) + abs(drift) * step + 9 * math.sqrt(step))
        there = reach * _NODES
        moved = (there[:, None] - places[None, :] - drift * step) / math.sqrt(step)
        density = np.exp(-(moved**2) / 2) @ masses / math.sqrt(2 * math.pi * step)
        return _Walk(share, there, density * reach * _WEIGHTS)

    def _held(self) -> tuple[Floats, Floats]:
        return (np.zeros(1), np.ones(1)) if self.places is None or self.masses is None else (self.places, self.masses)


def _solved(state: _Walk, share: float, wanted: float) -> float:
    low, high = 0.0, HIGHEST
    while high - low > 1e-8:
        middle = (low + high) / 2
        low, high = (middle, high) if state.beyond(share, middle * math.sqrt(share), 0.0) > wanted else (low, middle)
    return (low + high) / 2


def _tail(values: Floats) -> Floats:
    """The upper tail of the standard normal distribution."""
    return np.array([math.erfc(value / math.sqrt(2)) / 2 for value in values.tolist()])
