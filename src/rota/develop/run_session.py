"""The block of a tracked run: its record, its metric spool, the inputs it read, and how it ends, also by an error, a fork or SIGTERM."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from rota.develop import artifact_logging
from rota.develop.spool import Header, Spool
from rota.develop.tracker_stores import TrackerStores
from rota.errors import Refused
from rota.manage.experiments import input_tracking, notebook
from rota.ports.metadata import Batch
from rota.ports.tracking import Logged, RunChange
from rota.records.time import Micros
from rota.records.tracking import MAX_TAG, ExperimentRun, RunInput, TrackedStatus


class RunSession:
    """A run from the start of its block to its end. Thread-safe."""

    def __init__(self, stores: TrackerStores, record: ExperimentRun) -> None:
        self.stores = stores
        self.begun = record
        self.status: TrackedStatus = "scheduled"
        self.inputs: tuple[RunInput, ...] = ()
        """What this process noted that the run read."""
        self._process = os.getpid()
        self._exits = ExitStack()

    @property
    def record(self) -> ExperimentRun:
        """The run as it is stored now."""
        return self.stores.tracking.run(self.begun.id) or self.begun

    def open(self) -> ExitStack:
        """Store the run as running and collect what its block reads; the stack is closed when the block ends. `Refused` a second time."""
        if self.status != "scheduled":
            raise Refused(f"run {self.begun.id!r} has had its block; track another one", run=self.begun.id)
        stores, begun = self.stores, self.begun
        header = Header(begun.id, stores.config.ticks_per_us, ends=True)
        self._spool = Spool(stores.config.spool, header, stores.config.ticks, full=self._wake_flusher, forked=self._add_to_flusher)
        self.append = self._spool.append
        self._spool.alive(begun.started_us)  # before the record is there: whatever finds the one can end the other
        batch = Batch()
        batch.link(f"experiment_run:{begun.id}", [f"experiment_run:{begun.parent}"] if begun.parent else [], begun.started_us)
        try:
            stores.tracking.create_run(begun, batch)
        except BaseException:
            self._spool.close(remove=True)
            raise
        self.status = "running"
        stores.flusher.add(self._spool, begun.id)
        self._exits.enter_context(input_tracking.noting(self.note_input))
        self._exits.enter_context(_terminated_as_error())
        return self._exits

    def close(self, error: BaseException | None) -> None:
        """Leave the block: the run is finished, or failed or killed by `error`, unless it was ended before."""
        self._exits.close()
        if self.status == "running":
            status = _status_after(error)
            self.end(status, "" if status == "finished" or error is None else f"{type(error).__name__}: {error}"[:MAX_TAG])

    def end(self, status: TrackedStatus, error: str = "") -> None:
        """Store the rest. What cannot be stored now stays in the spool, with the way the run ended."""
        self.refuse_ended()
        ended_us, stored = self.stores.repositories.clock.now_us(), False
        self.status = status
        self._spool.ending(status, ended_us)
        try:
            self.flush()
            if os.getpid() == self._process:  # a forked child only adds its points: the run is its parent's
                self._store_end(status, ended_us, error)
            stored = True
        finally:
            self.stores.flusher.remove(self._spool, lambda: self._spool.close(remove=stored))

    def flush(self) -> None:
        """Store every metric point that was appended before."""
        self.stores.flusher.flush(self._spool)

    def log(self, logged: Logged, batch: Batch | None = None) -> None:
        """Store parameters, tags or inputs, together with `batch`."""
        self.refuse_ended()
        self.stores.tracking.log(self.begun.id, logged, batch)

    def note_input(self, data: RunInput) -> None:
        """Record that the run read some data, with a lineage edge when the data have a node."""
        batch = Batch()
        batch.link(f"experiment_run:{self.begun.id}", [data.node] if data.node else [], self.stores.repositories.clock.now_us())
        self.log(Logged(inputs=[data]), batch)
        self.inputs = (*self.inputs, data)

    def refuse_ended(self) -> None:
        """`Refused` outside of the block."""
        if self.status != "running":
            raise Refused(f"run {self.begun.id!r} has {self.status} and takes no more values; log inside its block", run=self.begun.id)

    def _store_end(self, status: TrackedStatus, ended_us: Micros, error: str) -> None:
        self.stores.drain(self.begun.id)  # of children that were forked and are gone
        tags = {input_tracking.UNTRACKED: "true" if input_tracking.untracked(self.inputs) else "false", **({"error": error} if error else {})}
        self.stores.tracking.log(self.begun.id, Logged(tags=tags))
        executed = notebook.executed()
        if executed is not None:
            artifact_logging.artifact(self.stores.repositories, self.begun, "notebook.ipynb", executed.source, "")
        self.stores.tracking.change_run(self.begun.id, RunChange(status=status, ended_us=ended_us))

    def _wake_flusher(self) -> None:
        self.stores.flusher.wake()

    def _add_to_flusher(self) -> None:
        self.stores.flusher.add(self._spool, self.begun.id)


class _Terminated(SystemExit):
    """SIGTERM reached a block; 143 is what a shell says of a process that it ended."""


@contextmanager
def _terminated_as_error() -> Iterator[None]:
    """Within the block SIGTERM is an error that unwinds it, where nobody else takes care of that signal."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def stop(*_: object) -> None:
        raise _Terminated(143)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _status_after(error: BaseException | None) -> TrackedStatus:
    if isinstance(error, KeyboardInterrupt | _Terminated):
        return "killed"
    return "finished" if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)) else "failed"
