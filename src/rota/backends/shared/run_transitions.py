"""How a run changes hands, the same in every queue: pure functions from a run to the run after the move.

queued, parked or abandoned -> claimed -> running -> parked or ended; any open one -> cancelled. Only the holder of the newest fence makes a move.
"""

from typing import Any

import msgspec

from rota.backends.shared.stored_form import json_of
from rota.errors import Conflict, InvalidInput, LostLease, NotFound
from rota.ports.metadata import Batch
from rota.records.run import ENDED, Lease, Run, RunQuery, RunStatus, Step
from rota.records.time import SECOND_US, Micros

CLOCK_JUMP_US = 60 * SECOND_US
"""How far a stored moment may lie ahead of now before it says that the clock was set back: hosts' clocks differ by less."""
_NEVER = 2**61
"""A wake-up behind this moment is none: the run waits for a signal."""


def submitted(run: Run) -> Run:
    """A run as it enters the queue; raises `InvalidInput` for one that has a past."""
    if not run.id or run.status != "queued" or run.fence:
        raise InvalidInput(
            f"run {run.id!r} with status {run.status!r} and fence {run.fence} cannot be submitted; submit a new queued run", run=run.id
        )
    return run


def claimed(run: Run, worker: str, fence: int, now_us: Micros) -> Run:
    """`attempts` counts starts and take-overs; waking from a wait is no attempt."""
    awake = run.status != "parked" or run.wake_us <= now_us
    return msgspec.structs.replace(
        run,
        status="running",
        worker=worker,
        fence=fence,
        attempts=run.attempts + (run.status != "parked"),
        started_us=now_us if run.started_us is None else run.started_us,
        wake_us=0,
        waiting_for="",
        parked_us=0,
        sleep_us=run.sleep_us if awake else 0,
    )


def parked(run: Run, wake_us: Micros, waiting_for: str, now_us: Micros) -> Run:
    """A moment that lies behind the run's own time follows from what the run saw before the clock was set back."""
    due_us = wake_us - run.ahead_us if now_us and now_us + run.ahead_us <= wake_us < _NEVER else wake_us
    return msgspec.structs.replace(
        run, status="parked", worker="", wake_us=due_us, waiting_for=waiting_for, parked_us=now_us, sleep_us=wake_us or run.sleep_us
    )


def is_from_later(run: Run, now_us: Micros) -> bool:
    """Whether a parked run began to wait when the clock stood well ahead of now: it was set back since."""
    return run.status == "parked" and run.parked_us > now_us + CLOCK_JUMP_US and run.wake_us < _NEVER


def rebased(run: Run, now_us: Micros) -> Run:
    """A run that waited when the clock was set back, with what was left of its wait."""
    back_us = run.parked_us - now_us
    return msgspec.structs.replace(run, wake_us=run.wake_us - back_us, parked_us=now_us, ahead_us=run.ahead_us + back_us)


def rebase_told(before: Run, after: Run, now_us: Micros) -> Batch:
    """The audit entry of a wait that was moved with the clock."""
    batch = Batch()
    batch.audit("rota", "run.rebase", before.id, now_us, waited_until_us=before.wake_us, waits_until_us=after.wake_us)
    return batch


def cancelled(run: Run | None, run_id: str, ended_us: Micros, reason: str) -> Run:
    """An open run as a person ended it; whoever holds it has lost its lease."""
    if run is None:
        raise NotFound(f"there is no run {run_id!r}; `rota runs list` shows them", run=run_id)
    if run.status in ENDED:
        raise Conflict(f"run {run_id!r} has ended already, as {run.status}; only an open run can be cancelled", run=run_id, status=run.status)
    return msgspec.structs.replace(run, status="cancelled", ended_us=ended_us, error=reason, worker="")


def ended(run: Run, status: RunStatus, ended_us: Micros, result: Any, error: str) -> Run:
    if status not in ENDED:
        raise InvalidInput(f"run {run.id!r} cannot end as {status!r}; endings are {sorted(ENDED)}", run=run.id, status=status)
    return msgspec.structs.replace(run, status=status, ended_us=ended_us, result=msgspec.json.decode(json_of(result)), error=error)


def held(run: Run | None, lease: Lease) -> Run:
    """The stored run when the lease still owns it; raises `LostLease` otherwise."""
    if run is None or run.status != "running" or run.fence != lease.fence:
        now = "is gone" if run is None else f"is {run.status} with fence {run.fence} of worker {run.worker!r}"
        raise LostLease(
            f"worker {lease.worker!r} lost run {lease.run.id!r}: it held fence {lease.fence}, the run {now}; nothing was written, stop working on it",
            run=lease.run.id,
            fence=lease.fence,
        )
    return run


def run_listing(query: RunQuery) -> tuple[object, ...]:
    """What decides the runs of a list and their order."""
    return "runs", query.workflow, query.subject, sorted(query.statuses), query.newest_first


def check_step(lease: Lease, step: Step) -> None:
    if step.run != lease.run.id:
        raise InvalidInput(f"step {step.name!r} belongs to run {step.run!r}, the lease to {lease.run.id!r}", run=lease.run.id, step=step.name)


def check_after_s(after_s: float) -> float:
    if not 0 <= after_s < float("inf"):
        raise InvalidInput(f"after_s = {after_s} must be a number of seconds, 0 or more", after_s=after_s)
    return after_s


def check_lease_s(lease_s: float) -> float:
    if not 0 < lease_s < float("inf"):
        raise InvalidInput(f"lease_s = {lease_s} must be a positive number of seconds", lease_s=lease_s)
    return lease_s


def check_signal(run_id: str, name: str) -> None:
    if not name:
        raise InvalidInput(f"a signal to run {run_id!r} needs a name", run=run_id)
