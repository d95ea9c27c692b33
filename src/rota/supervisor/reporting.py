"""Reporting of a server process: a thread of its own stores what it says of itself, away from the event loop and from answers."""

import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from rota.manage.signals.process_reports import REPORT_S, Reporter
from rota.supervisor import freed_memory
from rota.supervisor.http_server import QuietServer
from rota.supervisor.supervised_threads import SupervisedThread

LEAVE_WITHIN_S = 1.0
"""How long the end of a process waits for its report to be removed; a store that is away keeps it."""


class ReportingThread:
    """Reports now and then for as long as a `with` block runs. While the metadata store is away nothing is reported, and said once.

    `settles`: whether it raises and resolves the platform's alerts too, as workers do.
    """

    def __init__(self, reporter: Reporter, *, settles: bool = False, now_us: Callable[[], int] = lambda: 0, every_s: float = REPORT_S) -> None:
        self._reporter, self._settles, self._now_us = reporter, settles, now_us
        self._stop = threading.Event()
        self._every_s = every_s
        self._work = SupervisedThread("report", self._report, self._rest, self._stop)
        self._thread = threading.Thread(target=self._run, name="rota-report", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(LEAVE_WITHIN_S)

    def _run(self) -> None:
        self._work.run()
        self._reporter.leave()

    def _rest(self) -> None:
        self._stop.wait(self._every_s)

    def _report(self) -> bool:
        freed_memory.give_back()
        conditions = self._reporter.report()
        if self._settles:
            self._reporter.settle(conditions, whole=(), now_us=self._now_us())
        return False


def server_figures(server: QuietServer) -> Mapping[str, float]:
    """Connections and requests of a server now."""
    return {"connections": float(len(server.server_state.connections)), "requests_in_flight": float(server.in_flight)}
