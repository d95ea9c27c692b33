"""How a run changes hands, the same in every queue: pure functions from a run to the run after the move.

queued, parked or abandoned -> claimed -> running -> parked or ended. Only the holder of the newest fence makes a move.
"""

from typing import Any

import msgspec

from rota.backends.shared.stored_form import json_of
from rota.errors import InvalidInput, LostLease
from rota.records.run import ENDED, Lease, Run, RunQuery, RunStatus, Step
from rota.records.time import Micros


def submitted(run: Run) -> Run:
    """A run as it enters the queue; raises `InvalidInput` for one that has a past."""
    if not run.id or run.status != "queued" or run.fence:
        raise InvalidInput(
            f"run {run.id!r} with status {run.status!r} and fence {run.fence} cannot be submitted; submit a new queued run", run=run.id
        )
    return run


def claimed(run: Run, worker: str, fence: int, now_us: Micros) -> Run:
    """`attempts` counts starts and take-overs; waking from a wait is no attempt."""
    return msgspec.structs.replace(
        run,
        status="running",
        worker=worker,
        fence=fence,
        attempts=run.attempts + (run.status != "parked"),
        started_us=now_us if run.started_us is None else run.started_us,
        wake_us=0,
        waiting_for="",
    )


def parked(run: Run, wake_us: Micros, waiting_for: str) -> Run:
    return msgspec.structs.replace(run, status="parked", worker="", wake_us=wake_us, waiting_for=waiting_for)


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


def check_lease_s(lease_s: float) -> float:
    if not 0 < lease_s < float("inf"):
        raise InvalidInput(f"lease_s = {lease_s} must be a positive number of seconds", lease_s=lease_s)
    return lease_s


def check_signal(run_id: str, name: str) -> None:
    if not name:
        raise InvalidInput(f"a signal to run {run_id!r} needs a name", run=run_id)
