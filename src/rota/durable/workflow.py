"""Durable workflows: a run is a function replayed over its journal, so that it survives the death of its worker.

A workflow is an ordinary function `workflow(context, arguments)`. What it does, it does in `context.step(name, work)`; a step's
result and everything it stored commit in one transaction, and when the run is taken over the function runs again from the top
with finished steps answered from the journal. Sleeping and waiting end the call (`Parked`) and hold no thread.

    (status, event) -> status                       who
    queued    claimed            -> running         a worker
    parked    time or signal     -> running         a worker
    running   lease expired      -> running         another worker, with a larger fence
    running   taken over too often -> failed        the last worker (MAX_ATTEMPTS)
    running   sleeps or waits    -> parked          its worker
    running   returned           -> succeeded       its worker
    running   a gate refused     -> blocked         its worker
    running   raised             -> failed          its worker
    any       cancelled          -> cancelled       a person
"""

import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import msgspec

from rota.errors import InvalidInput, LostLease, Refused, RotaError, Unavailable
from rota.ports.clock import Clock
from rota.ports.metadata import Batch, transact
from rota.ports.runs import Runs
from rota.records.record import encode
from rota.records.run import Lease, Run, RunStatus, Step
from rota.records.signal import Event
from rota.records.time import Micros, iso

logger = logging.getLogger("rota.durable")

FOREVER: Micros = 2**62
RETRY_AFTER_S = (0.2, 1.0, 5.0)
CONFLICTS = 5
"""How often a step is done again because others were faster, before its run fails."""
MAX_ATTEMPTS = 25
"""Starts and take-overs after which a run is given up: what killed so many workers would go on killing."""
LONGEST_ERROR = 20_000

T = TypeVar("T")
Workflow = Callable[["Context", Mapping[str, Any]], Any]


class Parked(BaseException):
    """Ends the call of a workflow that waits; no error, hence no Exception that the workflow's code could swallow."""

    def __init__(self, wake_us: Micros, waiting_for: str = "") -> None:
        super().__init__(wake_us, waiting_for)
        self.wake_us = wake_us
        self.waiting_for = waiting_for


class Blocked(Refused):
    """A gate stopped the run: it ends as `blocked` with this message as its reason, which is an answer and no failure."""


@dataclass(slots=True)
class StepWork:
    """What a step does to the repositories: collected here, committed with the step's result."""

    run: Run
    now_us: Micros
    batch: Batch = field(default_factory=Batch)
    stopped: Callable[[], bool] = lambda: False
    """Whether the work is wanted no longer (its run was cancelled, its worker is told to stop): long work asks now and then."""

    @property
    def node(self) -> str:
        return f"run:{self.run.id}"

    def used(self, *nodes: str) -> None:
        """These lineage nodes were inputs of the run."""
        self.batch.link(self.node, nodes, self.now_us)

    def made(self, *nodes: str) -> None:
        """These lineage nodes came out of the run."""
        for node in nodes:
            self.batch.link(node, [self.node], self.now_us)


class Context:
    """What a workflow sees of its run."""

    def __init__(self, runs: Runs, lease: Lease, clock: Clock, *, pause: Callable[[float], None] = time.sleep) -> None:
        self._runs = runs
        self._lease = lease
        self._clock = clock
        self._pause = pause
        self._journal = {step.position: step for step in runs.journal(lease.run.id)}
        self._names: set[str] = set()
        self._position = 0

    @property
    def run(self) -> Run:
        return self._lease.run

    def now_us(self) -> Micros:
        return self._clock.now_us()

    def step(self, name: str, work: Callable[[StepWork], Any]) -> Any:
        """Do the work once: a finished step's result comes from the journal, whoever did it and whenever.

        The result is what JSON keeps of it (a tuple comes back as a list, NaN as None), the first time as in a replay.
        `work` may be repeated when its worker dies before the commit or somebody changed what it read, so outside of the batch
        it must do only what can be repeated. Raises `Refused` when the journal holds another step at this place: the run was
        begun by other code; `InvalidInput` when the workflow uses a name twice.
        """
        if name in self._names:
            raise InvalidInput(
                f"run {self.run.id} has two steps named {name!r}; give each step of a workflow its own name", run=self.run.id, step=name
            )
        self._names.add(name)
        position, self._position = self._position, self._position + 1
        if done := self._journal.get(position):
            if done.name != name:
                raise Refused(
                    f"run {self.run.id} has step {done.name!r} at place {position}, this code has {name!r}: it was begun by another version; "
                    "let that version finish it, or cancel it",
                    run=self.run.id,
                )
            return done.result
        again = partial(logger.warning, "step again", extra={"action": "step_again", "run": self.run.id, "step": name})
        return transact(lambda: self._once(name, position, work), attempts=CONFLICTS + 1, on_conflict=again)

    def _once(self, name: str, position: int, work: Callable[[StepWork], Any]) -> Any:
        started = time.time_ns() // 1_000
        todo, result = self._retried(lambda: self._attempt(work))
        step = Step(self.run.id, name, position, result, started, time.time_ns() // 1_000, self._lease.worker, self._lease.fence)
        self._retried(lambda: self._runs.record(self._lease, step, todo.batch))
        logger.info("step finished", extra={"action": "step_finished", "run": self.run.id, "step": name})
        return result

    def _attempt(self, work: Callable[[StepWork], Any]) -> tuple[StepWork, Any]:
        """Each attempt starts with an empty batch: what a failed one had collected must not be committed twice."""
        todo = StepWork(self.run, self._clock.now_us())
        return todo, _plain(work(todo))

    def _retried(self, act: Callable[[], T]) -> T:
        """The one place that retries: an engine that did not answer is asked again three times."""
        for wait_s in RETRY_AFTER_S:
            try:
                return act()
            except Unavailable:
                logger.warning("retrying", extra={"action": "retry", "run": self.run.id, "wait_s": wait_s})
                self._pause(wait_s)
        return act()

    def sleep_until(self, at_us: Micros) -> None:
        """Go on when the platform's clock has reached the moment."""
        if self._clock.now_us() < at_us:
            raise Parked(at_us)

    def sleep_unless(self, at_us: Micros, signal: str, look: Callable[[], Any]) -> Any:
        """Go on when the platform's clock has reached the moment (None), or earlier with what `look` finds; `signal` wakes the sleeper to look.

        What was found is a step of its own and a sleep that nothing cut short is none, so a run that began before anybody could wake
        it goes on by its journal. Whatever is there when the moment comes is taken first.
        """
        name = f"{self._position}: {signal}"
        done = self._journal.get(self._position)
        if done is not None:
            return self.step(name, lambda _: done.result) if done.name == name else None
        found = look()
        if found is not None:
            return self.step(name, lambda _: found)
        if self._clock.now_us() < at_us:
            raise Parked(at_us, signal)
        return None

    def wait_for(self, signal: str, *, until_us: Micros = FOREVER) -> Any:
        """The signal's payload, or None when it did not come until then.

        The answer is a step of its own: a signal that comes after the waiting ended does not change what a replay does.
        """
        if self._position not in self._journal and signal not in self._runs.signals(self.run.id) and self._clock.now_us() < until_us:
            raise Parked(until_us, signal)
        return self.step(f"{self._position}: wait for {signal}", lambda _: self._runs.signals(self.run.id).get(signal))


@dataclass(frozen=True, slots=True)
class Worker:
    """Claims runs and executes them, one at a time."""

    name: str
    runs: Runs
    clock: Clock
    workflows: Mapping[str, Workflow]
    lease_s: float = 5.0
    pause: Callable[[float], None] = time.sleep

    def work_once(self) -> bool:
        """Execute one runnable run as far as it goes; False when there was none."""
        lease = self.runs.claim(self.name, self.clock.now_us(), lease_s=self.lease_s, workflows=list(self.workflows))
        if lease is None:
            return False
        try:
            with self._kept_alive(lease):
                self._execute(lease)
        except LostLease:
            logger.warning("lease lost", extra={"action": "lease_lost", "run": lease.run.id, "worker": self.name})
        except Unavailable as error:  # the queue itself: the run is taken over when the lease ends
            logger.error("run left to a take-over", extra={"action": "run_left", "run": lease.run.id, "error": str(error)})
        return True

    def _execute(self, lease: Lease) -> None:
        run = lease.run
        if run.attempts > MAX_ATTEMPTS:
            self._finish(lease, "failed", error=f"given up after {MAX_ATTEMPTS} workers died over this run or lost it; their logs say why")
            return
        try:
            context = Context(self.runs, lease, self.clock, pause=self.pause)
            result = _plain(self.workflows[run.workflow](context, run.arguments))
        except Parked as parked:
            self.runs.park(lease, wake_us=parked.wake_us, waiting_for=parked.waiting_for)
        except LostLease:
            raise
        except Blocked as blocked:
            self._finish(lease, "blocked", error=str(blocked))
        except RotaError as error:
            logger.error("run failed", extra={"action": "run_failed", "run": run.id, "error": str(error)})
            self._finish(lease, "failed", error=f"{type(error).__name__}: {error}")
        except Exception as error:
            logger.exception("run failed", extra={"action": "run_failed", "run": run.id})
            self._finish(lease, "failed", error="".join(traceback.format_exception(error)[-3:]))
        else:
            self._finish(lease, "succeeded", result=result)

    def _finish(self, lease: Lease, status: RunStatus, *, result: Any = None, error: str = "") -> None:
        now_us = self.clock.now_us()
        batch = Batch()
        body = {"workflow": lease.run.workflow, "subject": lease.run.subject, "status": status}
        batch.event(Event("run.finished", lease.run.id, now_us, body))
        self.runs.finish(lease, status, ended_us=now_us, result=result, error=_storable(error), batch=batch)
        logger.info("run finished", extra={"action": "run_finished", "run": lease.run.id, "status": status, "at": iso(now_us)})

    @contextmanager
    def _kept_alive(self, lease: Lease) -> Iterator[None]:
        done = threading.Event()

        def renew() -> None:
            while not done.wait(self.lease_s / 3):
                try:
                    self.runs.renew(lease, lease_s=self.lease_s)
                except LostLease:
                    return
                except Unavailable:
                    logger.warning("lease not renewed", extra={"action": "renew_failed", "run": lease.run.id})

        thread = threading.Thread(target=renew, name=f"lease-{lease.run.id}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _plain(result: Any) -> Any:
    """What the journal would give back of a result."""
    try:
        return msgspec.json.decode(encode(result))
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(
            f"a {type(result).__name__} cannot be kept as JSON: {error}; return plain values, and bulk data as a blob's digest"
        ) from error


def _storable(error: str) -> str:
    """An error's text as every engine keeps it: no NUL, no half characters, and the end of a very long one."""
    return error[-LONGEST_ERROR:].replace("\0", "\\0").encode(errors="backslashreplace").decode()
