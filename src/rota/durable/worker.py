"""Workers: they claim runs and execute them under a lease, give back what they cannot finish, and end what is cancelled."""

import logging
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from rota.durable.workflow import Blocked, Context, Parked, Workflow, plain_result
from rota.errors import LostLease, RotaError, Unavailable, is_full_disk
from rota.ports.clock import Clock
from rota.ports.metadata import Batch
from rota.ports.runs import Runs
from rota.records.run import Lease, Run, RunStatus
from rota.records.signal import Event
from rota.records.time import iso

logger = logging.getLogger("rota.durable")

MAX_ATTEMPTS = 25
"""Starts and take-overs after which a run is given up: what killed so many workers would go on killing."""
LONGEST_ERROR = 20_000
LOOK_S = 0.5
"""Time between two looks at whether a run that is being executed was cancelled."""
OUTAGE_S = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
"""How long a run is left alone, the longer the more often in a row an engine was away."""


def cancel(runs: Runs, run_id: str, *, actor: str, reason: str, now_us: int) -> Run:
    """End an open run for good: its worker ends the step's processes within a second or two, and nothing more of it is stored.

    Raises `NotFound` for an unknown run and `Conflict` for one that has ended.
    """
    run, batch = runs.get(run_id), Batch()
    if run is not None:
        batch.event(Event("run.finished", run_id, now_us, {"workflow": run.workflow, "subject": run.subject, "status": "cancelled"}))
        batch.audit(actor, "run.cancel", run_id, now_us, reason=reason, workflow=run.workflow, of=run.subject, was=run.status)
    error = f"cancelled by {actor}{reason and f': {reason}'}"
    return runs.cancel(run_id, ended_us=now_us, reason=_storable(error), batch=batch)


class RenewedLease:
    """A worker's hold on one run: renewed in the background until it is lost, or given up because the worker stops."""

    def __init__(self, runs: Runs, lease: Lease, *, lease_s: float, stopping: threading.Event) -> None:
        self.lease = lease
        self._runs = runs
        self._lease_s = lease_s
        self._stopping = stopping
        self._lost = threading.Event()

    def stopped(self) -> bool:
        return self._lost.is_set() or self._stopping.is_set()

    def is_lost(self) -> bool:
        return self._lost.is_set()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Renew and look after the lease inside of this block."""
        done = threading.Event()
        thread = threading.Thread(target=self._look_after, args=(done,), name=f"lease-{self.lease.run.id}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _look_after(self, done: threading.Event) -> None:
        renew_s = self._lease_s / 3
        renewed, misses = time.monotonic(), 0
        while not done.wait(min(renew_s, LOOK_S)):
            try:
                if time.monotonic() - renewed >= renew_s * 0.9:
                    self._runs.renew(self.lease, lease_s=self._lease_s)
                    renewed, misses = time.monotonic(), self._told_renewed(misses)
                elif not self._is_ours():
                    self._lost.set()
            except LostLease:
                self._lost.set()
            except Unavailable as error:
                misses += 1
                if misses == 1:
                    logger.warning("lease not renewed: %s", error, extra={"action": "renew_failed", "run": self.lease.run.id})
            if self._lost.is_set():
                return

    def _told_renewed(self, misses: int) -> int:
        """An outage is over once the lease is renewed: that the queue can be read in between ends none."""
        if misses:
            facts = {"action": "renewed_again", "run": self.lease.run.id, "tries": misses}
            logger.info("lease renewed again, after %d tries", misses, extra=facts)
        return 0

    def _is_ours(self) -> bool:
        run = self._runs.get(self.lease.run.id)
        return run is not None and run.status == "running" and run.fence == self.lease.fence


@dataclass(frozen=True, slots=True)
class Worker:
    """Claims runs and executes them; several threads may share one. `stopping` set: each run is given back at its next chance."""

    name: str
    runs: Runs
    clock: Clock
    workflows: Mapping[str, Workflow]
    lease_s: float = 5.0
    pause: Callable[[float], None] = time.sleep
    stopping: threading.Event = field(default_factory=threading.Event)
    _holds: dict[str, RenewedLease] = field(default_factory=dict)
    _outages: dict[str, int] = field(default_factory=dict)

    def work_once(self) -> bool:
        """Execute one runnable run as far as it goes; False when there was none."""
        lease = self.claim()
        if lease is not None:
            self.execute(lease)
        return lease is not None

    def claim(self, workflows: Collection[str] | None = None) -> Lease | None:
        """The next run of these workflows, or of any that this worker knows."""
        known = list(self.workflows) if workflows is None else [name for name in workflows if name in self.workflows]
        return self.runs.claim(self.name, self.clock.now_us(), lease_s=self.lease_s, workflows=known)

    def execute(self, lease: Lease) -> None:
        """Execute a claimed run as far as it goes."""
        hold = RenewedLease(self.runs, lease, lease_s=self.lease_s, stopping=self.stopping)
        self._holds[lease.run.id] = hold
        try:
            with hold.kept():
                self._execute(lease, hold)
        except LostLease:
            self._tell_lost(lease)
        except Unavailable as error:  # the queue itself: the run is taken over when the lease ends
            logger.error("run left to a take-over", extra={"action": "run_left", "run": lease.run.id, "error": str(error)})
        finally:
            self._holds.pop(lease.run.id, None)

    def executing(self) -> list[str]:
        """The ids of the runs that are being executed."""
        return sorted(self._holds)

    def give_back(self) -> None:
        """Give up the hold on every run that is being executed, also of one whose code does not listen: the next worker goes on with it.

        What that code may still do is not stored. For a process that ends right after.
        """
        for hold in list(self._holds.values()):
            with suppress(LostLease, Unavailable):
                self.runs.park(hold.lease, wake_us=0)
                logger.warning("run given back", extra={"action": "run_given_back", "run": hold.lease.run.id, "worker": self.name})

    def _execute(self, lease: Lease, hold: RenewedLease) -> None:
        run = lease.run
        if run.attempts > MAX_ATTEMPTS:
            self._finish(lease, "failed", error=f"given up after {MAX_ATTEMPTS} workers died over this run or lost it; their logs say why")
            return
        try:
            context = Context(self.runs, lease, self.clock, hold, pause=self.pause)
            result = plain_result(self.workflows[run.workflow](context, run.arguments))
        except Parked as parked:
            self._park(lease, parked)
        except LostLease:
            raise
        except Unavailable as error:
            self._park(lease, Parked(0, outage=str(error)))
        except Blocked as blocked:
            self._finish(lease, "blocked", error=str(blocked))
        except RotaError as error:
            logger.error("run failed", extra={"action": "run_failed", "run": run.id, "error": str(error)})
            self._finish(lease, "failed", error=f"{type(error).__name__}: {error}")
        except Exception as error:
            if is_full_disk(error):
                self._park(lease, Parked(0, outage=f"a disk is full, make room ({type(error).__name__}: {error})"))
                return
            logger.exception("run failed", extra={"action": "run_failed", "run": run.id})
            self._finish(lease, "failed", error="".join(traceback.format_exception(error)[-3:]))
        else:
            self._finish(lease, "succeeded", result=result)

    def _park(self, lease: Lease, parked: Parked) -> None:
        if not parked.outage:
            self._end_outage(lease.run)
            self.runs.park(lease, wake_us=parked.wake_us, waiting_for=parked.waiting_for, now_us=self.clock.now_us())
            return
        times = self._outages.get(lease.run.id, 0)
        self._outages[lease.run.id] = times + 1
        if times == 0:
            message = "run waits for an engine: %s"
            logger.warning(message, parked.outage, extra={"action": "outage", "run": lease.run.id, "worker": self.name})
        waiting_for = f"an engine that does not answer: {_storable(parked.outage)[:300]}"
        self.runs.park(lease, wake_us=0, waiting_for=waiting_for, after_s=OUTAGE_S[min(times, len(OUTAGE_S) - 1)])

    def _end_outage(self, run: Run) -> None:
        if times := self._outages.pop(run.id, 0):
            logger.info("engines answer run %s again, after %d tries", run.id, times, extra={"action": "outage_over", "run": run.id, "tries": times})

    def _tell_lost(self, lease: Lease) -> None:
        """One line for an end that somebody else decided."""
        found = None
        with suppress(Unavailable):
            found = self.runs.get(lease.run.id)
        what = "run cancelled" if found is not None and found.status == "cancelled" else "lease lost"
        logger.info(what, extra={"action": what.replace(" ", "_"), "run": lease.run.id, "worker": self.name})

    def _finish(self, lease: Lease, status: RunStatus, *, result: Any = None, error: str = "") -> None:
        self._end_outage(lease.run)
        now_us = self.clock.now_us()
        batch = Batch()
        body = {"workflow": lease.run.workflow, "subject": lease.run.subject, "status": status}
        batch.event(Event("run.finished", lease.run.id, now_us, body))
        self.runs.finish(lease, status, ended_us=now_us, result=result, error=_storable(error), batch=batch)
        logger.info("run finished", extra={"action": "run_finished", "run": lease.run.id, "status": status, "at": iso(now_us)})


def _storable(error: str) -> str:
    """An error's text as every engine keeps it: no NUL, no half characters, and the end of a very long one."""
    return error[-LONGEST_ERROR:].replace("\0", "\\0").encode(errors="backslashreplace").decode()
