"""MemoryRuns: the reference for the Runs port. It shares the lock and the store of a MemoryMetadata."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import msgspec

from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.shared.lease_watch import LeaseWatch
from rota.backends.shared.page_token import page_limit, token_of, values_after
from rota.backends.shared.run_transitions import (
    cancelled,
    check_after_s,
    check_lease_s,
    check_signal,
    check_step,
    claimed,
    ended,
    held,
    is_from_later,
    parked,
    rebase_told,
    rebased,
    run_listing,
    submitted,
)
from rota.backends.shared.stored_form import body_of, json_of
from rota.errors import Conflict, NotFound
from rota.ports.metadata import Batch
from rota.records.filters import Page
from rota.records.record import decode
from rota.records.run import ENDED, EVERY_RUN, Lease, Run, RunQuery, RunStatus, Step
from rota.records.time import Micros


@dataclass(slots=True)
class _QueuedRun:
    """A run as JSON with what belongs to it; `lease_until` is on the lease clock."""

    body: str
    position: int
    lease_until: float = 0.0
    signalled: bool = False
    steps: dict[str, str] = field(default_factory=dict)
    signals: dict[str, str] = field(default_factory=dict)

    @property
    def run(self) -> Run:
        return decode(self.body, Run)


class MemoryRuns:
    """`rota.ports.runs.Runs` in dictionaries; batches go to `metadata`. Leases are measured by `monotonic`, in seconds, and watched by `watch`."""

    def __init__(
        self, metadata: MemoryMetadata, *, monotonic: Callable[[], float] = time.monotonic, watch: Callable[[], float] = time.monotonic
    ) -> None:
        self._metadata = metadata
        self._lock = metadata.lock
        self._monotonic = monotonic
        self._watch = LeaseWatch(watch)
        self._entries: dict[str, _QueuedRun] = {}
        self._fence = 0
        self._submitted = 0

    def submit(self, run: Run, batch: Batch | None = None, *, exclusive: bool = False) -> bool:
        body = body_of(submitted(run))
        with self._lock:
            if run.id in self._entries or (exclusive and self._has_open_run(run)):
                return False
            self._metadata.commit(batch or Batch())
            self._submitted += 1
            self._entries[run.id] = _QueuedRun(body, self._submitted)
        return True

    def claim(self, worker: str, now_us: Micros, *, lease_s: float, workflows: Collection[str] | None = None) -> Lease | None:
        check_lease_s(lease_s)
        with self._lock:
            pairs = self._oldest_first()
            for run, entry in pairs:
                if is_from_later(run, now_us):
                    after = rebased(run, now_us)
                    self._metadata.commit(rebase_told(run, after, now_us))
                    entry.body = body_of(after)
            ends = [(run.id, run.fence, entry.lease_until) for run, entry in pairs if entry.lease_until > self._monotonic()]
            for run_id, _, _ in self._watch.over(ends, lease_s=lease_s):
                self._entries[run_id].lease_until = float("-inf")
            for run, entry in self._oldest_first():
                if (workflows is None or run.workflow in workflows) and self._is_runnable(run, entry, now_us):
                    self._fence += 1
                    taken = claimed(run, worker, self._fence, now_us)
                    entry.body, entry.signalled, entry.lease_until = body_of(taken), False, self._monotonic() + lease_s
                    return Lease(taken, worker, self._fence)
        return None

    def renew(self, lease: Lease, *, lease_s: float) -> None:
        check_lease_s(lease_s)
        with self._lock:
            self._held(lease)
            self._entries[lease.run.id].lease_until = self._monotonic() + lease_s

    def journal(self, run_id: str) -> list[Step]:
        with self._lock:
            bodies = list(self._entries[run_id].steps.values()) if run_id in self._entries else []
        return sorted((decode(body, Step) for body in bodies), key=lambda step: (step.position, step.name))

    def record(self, lease: Lease, step: Step, batch: Batch) -> None:
        check_step(lease, step)
        body = body_of(step)
        with self._lock:
            self._held(lease)
            journal = self._entries[step.run].steps
            if step.name in journal:
                raise Conflict(
                    f"run {step.run!r} has a result of step {step.name!r} already; replay it from the journal", run=step.run, step=step.name
                )
            self._metadata.commit(batch)
            journal[step.name] = body

    def park(self, lease: Lease, *, wake_us: Micros, waiting_for: str = "", now_us: Micros = 0, after_s: float = 0.0) -> None:
        check_after_s(after_s)
        with self._lock:
            run = parked(self._held(lease), wake_us, waiting_for, now_us)
            entry = self._entries[run.id]
            entry.lease_until = self._monotonic() + after_s if after_s else 0.0
            entry.body, entry.signalled = body_of(run), entry.signalled or waiting_for in entry.signals

    def finish(self, lease: Lease, status: RunStatus, *, ended_us: Micros, result: Any = None, error: str = "", batch: Batch | None = None) -> None:
        with self._lock:
            body = body_of(ended(self._held(lease), status, ended_us, result, error))
            self._metadata.commit(batch or Batch())
            self._entries[lease.run.id].body = body

    def cancel(self, run_id: str, *, ended_us: Micros, reason: str = "", batch: Batch | None = None) -> Run:
        with self._lock:
            entry = self._entries.get(run_id)
            run = cancelled(entry.run if entry else None, run_id, ended_us, reason)
            self._metadata.commit(batch or Batch())
            self._entries[run_id].body = body_of(run)
        return run

    def signal(self, run_id: str, name: str, payload: Any) -> None:
        check_signal(run_id, name)
        body = json_of(payload)
        with self._lock:
            if run_id not in self._entries:
                raise NotFound(f"run {run_id!r} does not exist, so it cannot get signal {name!r}", run=run_id)
            entry = self._entries[run_id]
            entry.signals.setdefault(name, body)
            entry.signalled = True

    def signals(self, run_id: str) -> dict[str, Any]:
        with self._lock:
            stored = dict(self._entries[run_id].signals) if run_id in self._entries else {}
        return {name: msgspec.json.decode(stored[name]) for name in sorted(stored)}

    def forget(self, names: Collection[str]) -> int:
        with self._lock:
            over = {name for name in names if name in self._entries and self._entries[name].run.status in ENDED}
            for name in over:
                del self._entries[name]
        return len(over)

    def get(self, run_id: str) -> Run | None:
        with self._lock:
            return self._entries[run_id].run if run_id in self._entries else None

    def find(self, query: RunQuery = EVERY_RUN) -> list[Run]:
        return [run for run, _ in self._sorted(query)]

    def page(self, query: RunQuery = EVERY_RUN, *, after: str = "", limit: int = 1_000) -> Page[Run]:
        found = self._sorted(query)
        if after:
            last = tuple(values_after(run_listing(query), after, ((int,), (int,))))
            found = [pair for pair in found if (_age(*pair) < last if query.newest_first else _age(*pair) > last)]
        shown = found[: page_limit(limit)]
        return Page([run for run, _ in shown], token_of(run_listing(query), _age(*shown[-1])) if len(found) > limit else "")

    def _sorted(self, query: RunQuery) -> list[tuple[Run, _QueuedRun]]:
        with self._lock:
            pairs = self._oldest_first()
        found = [pair for pair in pairs if _fits(pair[0], query)]
        return found[::-1] if query.newest_first else found

    def _held(self, lease: Lease) -> Run:
        entry = self._entries.get(lease.run.id)
        return held(entry.run if entry else None, lease)

    def _oldest_first(self) -> list[tuple[Run, _QueuedRun]]:
        pairs = [(entry.run, entry) for entry in self._entries.values()]
        return sorted(pairs, key=lambda pair: _age(*pair))

    def _has_open_run(self, run: Run) -> bool:
        open_runs = (other for other, _ in self._oldest_first() if other.status not in ENDED)
        return any((other.workflow, other.subject) == (run.workflow, run.subject) for other in open_runs)

    def _is_runnable(self, run: Run, entry: _QueuedRun, now_us: Micros) -> bool:
        free = entry.lease_until <= self._monotonic()
        if run.status == "parked":
            return free and (run.wake_us <= now_us or entry.signalled)
        return run.status == "queued" or (run.status == "running" and free)


def _age(run: Run, entry: _QueuedRun) -> tuple[int, int]:
    return run.created_us, entry.position


def _fits(run: Run, query: RunQuery) -> bool:
    return (
        (not query.workflow or run.workflow == query.workflow)
        and (not query.subject or run.subject == query.subject)
        and (not query.statuses or run.status in query.statuses)
    )
