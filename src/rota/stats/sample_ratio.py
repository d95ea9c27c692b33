"""Whether units came into the arms of an experiment in the shares that were planned: a sequential test, valid at every look.

The multinomial e-value of Lindon and Malek, "Anytime-valid inference for multinomial count data" (2022): the counts' likelihood with shares
drawn from a Dirichlet distribution around the planned ones, divided by their likelihood at the planned ones. Under the plan it ever
reaches 1 / alpha with probability at most alpha (Ville, 1939). Two Dirichlet distributions are mixed, a wide one, which finds coarse
mismatches early, and a narrow one, which finds small ones in many units.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rota.errors import InvalidInput

CONCENTRATIONS = (100.0, 10_000.0)


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """The counts, what was planned of them, and the evidence against the plan; `p_value` is valid at every look."""

    counts: tuple[int, ...]
    planned: tuple[float, ...]
    log_evidence: float

    @property
    def p_value(self) -> float:
        """One over the evidence, at most 1. Of the largest evidence seen so far it is an anytime-valid p-value."""
        return math.exp(-max(0.0, self.log_evidence))


def sample_ratio(counts: Sequence[int], planned: Sequence[float]) -> SampleRatio:
    """The test of counts of units against planned shares, which are positive and sum to 1 (or to any total: they are scaled)."""
    if len(counts) != len(planned) or len(counts) < 2 or min(planned) <= 0 or min(counts) < 0:
        raise InvalidInput(f"counts {list(counts)} and planned shares {list(planned)}: give one positive share for each of two or more counts")
    shares = tuple(each / sum(planned) for each in planned)
    logs = [_log_evidence(counts, shares, concentration) for concentration in CONCENTRATIONS]
    most = max(logs)
    mixed = most + math.log(sum(math.exp(each - most) for each in logs) / len(logs))
    return SampleRatio(tuple(counts), shares, mixed)


def _log_evidence(counts: Sequence[int], shares: Sequence[float], concentration: float) -> float:
    total = math.lgamma(concentration) - math.lgamma(concentration + sum(counts))
    for count, share in zip(counts, shares, strict=True):
        prior = concentration * share
        total += math.lgamma(prior + count) - math.lgamma(prior) - count * math.log(share)
    return total
