"""Clock: what time it is for the loop."""

from typing import Protocol

from rota.records.time import Micros


class Clock(Protocol):
    """The platform's clock: schedules, holds, freshness and the log's timestamps follow it, leases never do.

    Law: `now_us` never goes backwards as seen by one process, unless the machine's clock was set back by more than ten seconds; it costs
    under 5 microseconds, is thread-safe, and is the same in every process of a platform up to the engine's resolution. `advance` moves
    a replayed clock forward and raises `Refused` on a clock that follows the world, `InvalidInput` when the moment lies in the past.
    """

    def now_us(self) -> Micros: ...

    def advance(self, to_us: Micros) -> None: ...
