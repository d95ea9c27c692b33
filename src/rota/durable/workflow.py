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
    running   an engine is away  -> parked          its worker, which asks again later
    running   its worker stops   -> parked          its worker
    running   returned           -> succeeded       its worker
    running   a gate refused     -> blocked         its worker
    running   raised             -> failed          its worker
    any open  cancelled          -> cancelled       a person
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, repeat
from typing import Any, Protocol, TypeVar

import msgspec

from rota.errors import Interrupted, InvalidInput, LostLease, Refused, RotaError, Unavailable, is_full_disk
from rota.ports.clock import Clock
from rota.ports.metadata import Batch, transact
from rota.ports.runs import Runs
from rota.records.record import encode
from rota.records.run import Lease, RetryPolicy, Run, Step
from rota.records.time import Micros

logger = logging.getLogger("rota.durable")

FOREVER: Micros = 2**62
RETRY_AFTER_S = (0.2, 1.0, 2.0)
"""Waits before an engine that did not answer is asked again; then its run is parked."""
ONCE = RetryPolicy()
CONFLICTS = 5
"""How often a step is done again because others were faster, before its run fails."""

T = TypeVar("T")
Workflow = Callable[["Context", Mapping[str, Any]], Any]


class Parked(BaseException):
    """Ends the call of a workflow that waits; no error, hence no Exception that the workflow's code could swallow.

    `outage` is what an engine that is away said: the run is looked at again after a while, and nothing is concluded from it.
    """

    def __init__(self, wake_us: Micros, waiting_for: str = "", *, outage: str = "") -> None:
        super().__init__(wake_us, waiting_for)
        self.wake_us = wake_us
        self.waiting_for = waiting_for
        self.outage = outage


class LeaseState(Protocol):
    """What a run's code sees of its worker's hold on it."""

    def stopped(self) -> bool:
        """Whether the work is wanted no longer, for either of the two reasons."""
        ...

    def is_lost(self) -> bool:
        """Whether the run is another worker's now, or was cancelled."""
        ...


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

    def __init__(self, runs: Runs, lease: Lease, clock: Clock, hold: LeaseState, *, pause: Callable[[float], None] = time.sleep) -> None:
        self._hold = hold
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

    def step(self, name: str, work: Callable[[StepWork], Any], *, retry: RetryPolicy = ONCE) -> Any:
        """Do the work once: a finished step's result comes from the journal, whoever did it and whenever.

        The result is what JSON keeps of it (a tuple comes back as a list, NaN as None), the first time as in a replay.
        `work` may be repeated when its worker dies before the commit or somebody changed what it read, so outside of the batch
        it must do only what can be repeated. An engine that is away is asked again, then the run is parked until it is back; a step whose
        own process died or took too long is repeated as `retry` says. Raises `Refused` when the journal holds another step at this place: the run was
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
        self._go_on()
        again = partial(logger.warning, "step again", extra={"action": "step_again", "run": self.run.id, "step": name})
        return transact(lambda: self._once(name, position, work, retry), attempts=CONFLICTS + 1, on_conflict=again)

    def _once(self, name: str, position: int, work: Callable[[StepWork], Any], retry: RetryPolicy) -> Any:
        started = time.time_ns() // 1_000
        todo, result = self._worked(name, work, retry)
        step = Step(self.run.id, name, position, result, started, time.time_ns() // 1_000, self._lease.worker, self._lease.fence)
        self._recorded(step, todo.batch)
        logger.info("step finished", extra={"action": "step_finished", "run": self.run.id, "step": name})
        return result

    def _worked(self, name: str, work: Callable[[StepWork], Any], retry: RetryPolicy) -> tuple[StepWork, Any]:
        """The work's result, begun again where its process was ended and the policy lets it."""
        for attempt in range(1, retry.attempts + 1):
            try:
                return self._answered(lambda: self._attempt(work))
            except Interrupted as error:
                self._go_on()
                repeated = attempt < retry.attempts and (error.facts.get("cause") != "timeout" or retry.retry_on_timeout)
                if not repeated:
                    raise
                logger.warning("step interrupted: %s", error, extra={"action": "step_again", "run": self.run.id, "step": name})
        raise AssertionError("a retry policy allows one attempt at least")

    def _attempt(self, work: Callable[[StepWork], Any]) -> tuple[StepWork, Any]:
        """Each attempt starts with an empty batch: what a failed one had collected must not be committed twice."""
        todo = StepWork(self.run, self._clock.now_us(), stopped=self._hold.stopped)
        try:
            return todo, plain_result(work(todo))
        except Exception as error:
            if isinstance(error, RotaError) or not is_full_disk(error):
                raise
            raise Unavailable(f"a disk is full ({type(error).__name__}: {error}); make room, and the step is done again", run=self.run.id) from error

    def _answered(self, act: Callable[[], T]) -> T:
        """The one place that asks an engine again which did not answer; when it stays away the run is parked, whatever catches exceptions."""
        for wait_s in RETRY_AFTER_S:
            try:
                return act()
            except Unavailable as error:
                logger.debug("asked again: %s", error, extra={"action": "retry", "run": self.run.id, "wait_s": wait_s})
                self._pause(wait_s)
                self._go_on()
        try:
            return act()
        except Unavailable as error:
            raise Parked(0, outage=str(error)) from error

    def _recorded(self, step: Step, batch: Batch) -> None:
        """Store a finished step, however long the queue is away: what was done, perhaps for an hour, is not done again for that."""
        waits = chain(RETRY_AFTER_S, repeat(RETRY_AFTER_S[-1]))
        while True:
            try:
                return self._runs.record(self._lease, step, batch)
            except Unavailable:
                self._pause(next(waits))
                self._go_on()

    def _go_on(self) -> None:
        """Between two pieces of work: whether there is still somebody who wants the next."""
        if self._hold.is_lost():
            raise LostLease(f"run {self.run.id!r} was cancelled or taken over; stop working on it", run=self.run.id)
        if self._hold.stopped():
            raise Parked(0)

    def _is_over(self, at_us: Micros) -> bool:
        """Whether a wait until a moment is over: by the clock, because it was woken for it, or because something was done behind it."""
        return self._clock.now_us() >= at_us or self.run.sleep_us == at_us or any(position >= self._position for position in self._journal)

    def sleep_until(self, at_us: Micros) -> None:
        """Go on when the platform's clock has reached the moment."""
        if not self._is_over(at_us):
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
        if not self._is_over(at_us):
            raise Parked(at_us, signal)
        return None

    def wait_for(self, signal: str, *, until_us: Micros = FOREVER) -> Any:
        """The signal's payload, or None when it did not come until then.

        The answer is a step of its own: a signal that comes after the waiting ended does not change what a replay does.
        """
        if not self._is_over(until_us) and signal not in self._runs.signals(self.run.id):
            raise Parked(until_us, signal)
        return self.step(f"{self._position}: wait for {signal}", lambda _: self._runs.signals(self.run.id).get(signal))


def plain_result(result: Any) -> Any:
    """What the journal would give back of a result."""
    try:
        return msgspec.json.decode(encode(result))
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(
            f"a {type(result).__name__} cannot be kept as JSON: {error}; return plain values, and bulk data as a blob's digest"
        ) from error
