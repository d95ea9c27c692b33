"""Leases seen to stand still: the way to know that a holder is gone where a clock cannot be trusted."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TypeVar

S = TypeVar("S")


@dataclass(slots=True)
class LeaseWatch:
    """Remembers since when each lease has stood as it stands, by this process's own monotonic seconds. Not thread-safe.

    A living holder renews; a lease that somebody watched unchanged for its length is over, wherever its end lies by a clock that was set
    back meanwhile, or by one that began anew with the machine.
    """

    monotonic: Callable[[], float]
    _since: dict[tuple[str, int, float], float] = field(default_factory=dict)

    def over(self, leases: Collection[tuple[str, int, float]], *, lease_s: float) -> list[tuple[str, int, float]]:
        """Those of (run, fence, end) that stood still for so long."""
        now_s = self.monotonic()
        self._since = {lease: self._since.get(lease, now_s) for lease in leases}
        return [lease for lease, since_s in self._since.items() if now_s - since_s > lease_s]
