"""Silences: which processes stopped telling of themselves, and the end of what is known of those that are gone for good."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from rota.errors import Conflict
from rota.ports.metadata import Batch, Metadata
from rota.records.condition import Condition, ProcessReport
from rota.records.time import DAY_US, Micros

HEARD_WITHIN_S = 30.0
"""A process whose last report is older than three of them is not there."""
SILENT_S = 60.0
"""After how long without a new report a process is told of: longer than a process waits before it tries a store again that was away."""
FORGOTTEN_US = DAY_US
"""After how long the report of a process that ended without a word is removed, and with it what it told of."""
PART = "process"


@dataclass(frozen=True, slots=True)
class _Hearing:
    at_us: Micros
    since_s: float
    has_changed: bool = False


@dataclass(slots=True)
class Silences:
    """Tells which processes are silent by whether their reports change while this one looks: clocks of hosts differ, and jump."""

    timer: Callable[[], float] = time.monotonic
    _heard: dict[str, _Hearing] = field(default_factory=dict)
    _looked_s: float = float("-inf")

    def look(self, reports: Sequence[ProcessReport]) -> list[Condition]:
        """A condition for each process that was seen to report, or did not for too long; of others nothing is known yet."""
        now_s = self.timer()
        was_away = now_s - self._looked_s > HEARD_WITHIN_S  # this process stood still, and cannot blame others for their silence
        self._looked_s = now_s
        before, self._heard = ({} if was_away else self._heard), {}
        found = []
        for report in reports:
            hearing = before.get(report.process, _Hearing(report.at_us, now_s))
            if hearing.at_us != report.at_us:
                hearing = _Hearing(report.at_us, now_s, has_changed=True)
            self._heard[report.process] = hearing
            if now_s - hearing.since_s > SILENT_S:
                found.append(_silent(report))
            elif hearing.has_changed:
                found.append(Condition(condition_name(report.process), "well"))
        return found


def condition_name(process: str) -> str:
    """The name of the condition that a process tells of itself."""
    return f"{PART}:{process}"


def is_heard(report: ProcessReport, now_us: Micros) -> bool:
    """Whether the process was heard of lately; a report of the future is one of before the clock was set back."""
    return abs(now_us - report.at_us) <= HEARD_WITHIN_S * 1_000_000


def forget(metadata: Metadata, now_us: Micros) -> list[str]:
    """Remove the reports of processes that were not heard of for a day, by the machine's clock; returns their names."""
    gone = [report for report in metadata.find(ProcessReport) if abs(now_us - report.at_us) > FORGOTTEN_US]
    for report in gone:
        batch = Batch()
        batch.remove(report)
        with suppress(Conflict):  # it is there again, or another worker was faster
            metadata.commit(batch)
    return [report.process for report in gone]


def _silent(report: ProcessReport) -> Condition:
    message = (
        f"{report.kind} {report.process} on {report.host} (pid {report.pid}) tells nothing of itself any more: it hangs, was stopped, or its host is "
        f"gone; look at it with `rota status` there. One that was taken away for good is forgotten a day after its last report"
    )
    return Condition(condition_name(report.process), "failed", message, {"host": report.host, "pid": report.pid, "last_report_us": report.at_us})
