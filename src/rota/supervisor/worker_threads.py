"""The threads of one worker process: one reacts to events, one claims runs for the lanes that execute them, one keeps the home tidy, one reports."""

import faulthandler
import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial

from rota.durable.lanes import LANES, waiting
from rota.durable.pacing import Pace
from rota.errors import RotaError
from rota.manage.signals import platform_alerts
from rota.manage.signals.process_reports import REPORT_S
from rota.records.condition import Condition
from rota.records.run import OPEN_STATUSES, RunQuery
from rota.supervisor import freed_memory
from rota.supervisor.lanes import LaneThreads
from rota.supervisor.supervised_threads import SupervisedThread
from rota.wiring import Platform

logger = logging.getLogger("rota.supervisor")
SLOW_S = 2.0
"""Time between two looks at events, schedules and open runs when nothing has happened for a while."""
NO_RUN_S = 30.0
"""Time between two looks at runs where none can become due, should the thread that looks at events wake nobody."""
ONLINE_LOOK_S = 5.0
"""Time between two looks at whether the online store was exchanged."""
LEAVE_WITHIN_S = 6.0
"""How long runs may take to be parked once the worker is told to stop; then they are given back as they are."""
LAST_REPORT_S = 0.5
"""How long a report that is being stored is waited for, before it is removed."""
GONE_WITHIN_S = 9.0
"""When the process ends at the latest, whatever holds it."""
_NEVER = 2**63
_OPEN = RunQuery(statuses=OPEN_STATUSES)


def run_worker(platform: Platform, name: str, stop: threading.Event) -> None:
    """React to events and execute runs until `stop` is set. The process is to end then, within a moment: no run is held any longer."""
    _WorkerProcess(platform, name, stop).run()


class _WorkerProcess:
    def __init__(self, platform: Platform, name: str, stop: threading.Event) -> None:
        self.platform = platform
        self.name = name
        self.stop = stop
        self.worker = platform.processes.worker(name, stopping=stop)
        self.lanes = [LaneThreads(lane) for lane in LANES]
        self._events, self._runs = threading.Event(), threading.Event()
        self._tidy_at = float("-inf")
        self._whole: frozenset[str] = frozenset()
        self._reporter = platform.processes.reporter("worker", name, self.conditions, self.figures)
        platform.housekeeping.process = self._reporter.process
        poll_s = platform.settings.poll_s
        self._paces = {"loop": Pace(poll_s, self._events, slow_s=SLOW_S), "runs": Pace(poll_s, self._runs, slow_s=SLOW_S)}
        self._no_run_due: tuple[str, int, int] | None = None  # mark of the store, and between which moments no run becomes due by time alone
        look_s = min(ONLINE_LOOK_S, platform.settings.housekeeping_s)
        rests: dict[str, Callable[[], None]] = {
            "runs": self._rest_from_runs,
            "housekeeping": partial(self._rest, look_s),
            "report": partial(self._rest, REPORT_S),
        }
        works = {"loop": self._react, "runs": self._claim, "housekeeping": self._keep_tidy, "report": self._report}
        self.threads = [SupervisedThread(name, work, rests.get(name) or self._paces[name].wait, stop) for name, work in works.items()]
        self.executors = [
            SupervisedThread(f"{lane.lane.name}-{number}", partial(self._execute_next, lane), lambda: None, stop, is_patient=True)
            for lane in self.lanes
            for number in range(lane.lane.threads)
        ]

    def run(self) -> None:
        started = {thread.name: thread.start() for thread in [*self.threads, *self.executors]}
        self.stop.wait()
        faulthandler.dump_traceback_later(GONE_WITHIN_S, exit=True)  # also when a library holds the interpreter's lock
        deadline = time.monotonic() + LEAVE_WITHIN_S
        while self.worker.executing() and time.monotonic() < deadline:
            time.sleep(0.05)
        self.worker.give_back()
        started["report"].join(LAST_REPORT_S)
        self._reporter.leave()
        logger.info("worker stops", extra={"action": "worker_stops", "worker": self.name})

    def conditions(self) -> list[Condition]:
        """How everything is that this process knows of."""
        collected = platform_alerts.collected(self.platform.condition_sources)
        self._whole = collected.whole
        others = [thread for thread in [*self.threads, *self.executors] if thread.name != "report"]
        reporting = Condition("thread:report", "well")  # it is what asks; where it fails there is no report, which others see
        return [*(thread.condition() for thread in others), reporting, *collected.conditions]

    def figures(self) -> Mapping[str, float]:
        """Runs by lane, how old the oldest that could go on is, and what this process executes."""
        r = self.platform.repositories
        found = {f"executing_runs_{lane.lane.name}": float(lane.busy) for lane in self.lanes}
        queues = waiting(r.runs, r.clock.now_us())
        found |= {f"waiting_runs_{name}": float(queue.runs) for name, queue in queues.items()}
        found["oldest_waiting_s"] = max(queue.oldest_s for queue in queues.values())
        return found

    def _react(self) -> bool:
        acted = self.platform.loop.advance()
        if acted:
            self._paces["loop"].worked()
        if acted or (self._no_run_due is not None and not self._is_no_run_due()):
            self._runs.set()
        return acted

    def _claim(self) -> bool:
        """Give the oldest run of the lanes that have a thread free to its lane. Nothing is read while no run can have become due."""
        if self._is_no_run_due():
            return False
        self._no_run_due, mark, now_us = None, self.platform.repositories.metadata.mark(), self.platform.repositories.clock.now_us()
        free = [workflow for lane in self.lanes if lane.is_free for workflow in lane.lane.workflows]
        lease = self.worker.claim(free) if free else None
        if lease is None:
            if all(lane.is_idle for lane in self.lanes):
                self._no_run_due = (mark, now_us, self._next_due_us())
            return False
        next(lane for lane in self.lanes if lease.run.workflow in lane.lane.workflows).give(lease)
        self._paces["runs"].worked()
        return True

    def _is_no_run_due(self) -> bool:
        """Whether nothing was committed since no run was due, and neither has the time come nor the clock been set back."""
        known = self._no_run_due
        if known is None:
            return False
        mark, from_us, until_us = known
        return from_us <= self.platform.repositories.clock.now_us() < until_us and self.platform.repositories.metadata.mark() == mark

    def _next_due_us(self) -> int:
        """When the first open run wakes by the platform's clock; one that waits for a lease or an engine may go on at any time."""
        return min((run.wake_us if run.status == "parked" else 0 for run in self.platform.repositories.runs.find(_OPEN)), default=_NEVER)

    def _execute_next(self, lane: LaneThreads) -> bool:
        return lane.execute_next(self.worker.execute, self._executed)

    def _executed(self) -> None:
        """A run ended or waits: there are events to react to, and a thread for the next."""
        self._events.set()
        self._runs.set()

    def _keep_tidy(self) -> bool:
        """Look at the online store often, and do the rest of housekeeping when it is time."""
        now, first = time.monotonic(), self._tidy_at == float("-inf")
        if not first and now >= self._tidy_at:
            self.platform.housekeeping.run()
        elif first or self._is_online_store_exchanged():
            self.platform.housekeeping.upkeep.submit()  # predictions may be waiting for it
            self._runs.set()
        if first or now >= self._tidy_at:
            self._tidy_at = time.monotonic() + self.platform.settings.housekeeping_s
        return False

    def _is_online_store_exchanged(self) -> bool:
        """One that does not answer is not known to be; it is looked at again, and housekeeping tells of it."""
        try:
            return self.platform.housekeeping.upkeep.store_changed()
        except RotaError:
            return False

    def _report(self) -> bool:
        """Store what this process says of itself, and settle the alerts about the platform; memory that runs have freed goes back before."""
        freed_memory.give_back()
        conditions = self._reporter.report()
        self._reporter.settle(conditions, whole=self._whole, now_us=self.platform.repositories.clock.now_us())
        return False

    def _rest_from_runs(self) -> None:
        """While no run can become due, the loop's look wakes this thread when that is over."""
        if self._is_no_run_due():
            self._runs.wait(NO_RUN_S)
            self._runs.clear()
        else:
            self._paces["runs"].wait()

    def _rest(self, seconds: float) -> None:
        self.stop.wait(seconds)
