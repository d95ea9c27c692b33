"""Runs: the durable queue. A run is claimed under a lease; each finished step commits with everything it caused."""

from collections.abc import Collection
from typing import Any, Protocol

from rota.ports.metadata import Batch
from rota.records.filters import Page
from rota.records.run import EVERY_RUN, Lease, Run, RunQuery, RunStatus, Step
from rota.records.time import Micros


class Runs(Protocol):
    """The journal and queue of durable runs. Times called `now_us` are the platform's clock; leases use the engine's own.

    Law:
    - `submit` stores a queued run once: a second run with the same id changes nothing and returns False, so a schedule's
      deterministic id fires once. `batch` commits with it, or not at all when the id exists. With `exclusive`, also
      False (nothing stored) while another run of the same workflow and subject has not ended.
    - `claim` gives the oldest runnable run (queued; parked with wake_us <= now_us or a signal waiting; running with an
      expired lease) to exactly one caller, with a fence larger than any before, or None. `workflows` limits the choice: the runs of a
      lane wait for each other, oldest first, and never for those of another lane. A lease is over when its time has passed, and also
      when this queue object saw it unchanged for `lease_s` of its own monotonic time: a clock that jumps back keeps nobody waiting.
      A run whose record cannot be read ends as failed, named, and the next is looked for.
    - `record`, `park`, `finish` and `renew` raise `LostLease` and write nothing when the lease's fence is not the
      newest. `record` is idempotent by step name: the first result stays and a second raises `Conflict`.
    - `record` and `finish` commit `batch` in the same transaction as the step or the ending.
    - `park` gives the lease back: nothing is held while a run waits. With `after_s` the run is not runnable before so many seconds
      have passed on the clock of leases, whatever the platform's clock does. With `now_us`, what is left of the wait stays the same
      when the platform's clock is set back by more than a minute. `signal` stores a payload by name (a repeated name
      keeps the first) and wakes the run; a signal sent before the run waits is not lost.
    - `cancel` ends an open run as cancelled at once, whoever holds it, with `reason` as its error, and commits `batch` with it; the
      holder has lost its lease. Raises `Conflict` when the run has ended, `NotFound` when there is none.
    - `get` gives one run, or None. `find` gives every run that fits, in the order of submission: for decisions. `page` gives at
      most `limit` of them (1 to MAX_PAGE, else `InvalidInput`) for lists and for the newest few; `after` is the `next` of the page
      before with the same query (else `InvalidInput`). A walk gives each run that was there all the while once.
    - `forget` removes runs that have ended, with their journals and signals, and returns how many; open and unknown ones stay
      as they are, and so may the run that was claimed last. The id of a forgotten run is free again.
    - Everything survives kill -9 at any moment. Thread-safe, multi-process.
    """

    def submit(self, run: Run, batch: Batch | None = None, *, exclusive: bool = False) -> bool: ...

    def claim(self, worker: str, now_us: Micros, *, lease_s: float, workflows: Collection[str] | None = None) -> Lease | None: ...

    def renew(self, lease: Lease, *, lease_s: float) -> None: ...

    def journal(self, run_id: str) -> list[Step]: ...

    def record(self, lease: Lease, step: Step, batch: Batch) -> None: ...

    def park(self, lease: Lease, *, wake_us: Micros, waiting_for: str = "", now_us: Micros = 0, after_s: float = 0.0) -> None: ...

    def cancel(self, run_id: str, *, ended_us: Micros, reason: str = "", batch: Batch | None = None) -> Run: ...

    def finish(
        self, lease: Lease, status: RunStatus, *, ended_us: Micros, result: Any = None, error: str = "", batch: Batch | None = None
    ) -> None: ...

    def signal(self, run_id: str, name: str, payload: Any) -> None: ...

    def signals(self, run_id: str) -> dict[str, Any]: ...

    def get(self, run_id: str) -> Run | None: ...

    def find(self, query: RunQuery = EVERY_RUN) -> list[Run]: ...

    def page(self, query: RunQuery = EVERY_RUN, *, after: str = "", limit: int = 1_000) -> Page[Run]: ...

    def forget(self, names: Collection[str]) -> int: ...
