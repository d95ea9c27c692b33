"""Process reports: what each process of a platform says of itself every ten seconds, and the platform's alerts that follow from it."""

import os
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from rota.errors import Conflict
from rota.manage.signals import platform_alerts
from rota.ports.clock import Clock
from rota.ports.metadata import Batch, Metadata
from rota.records.condition import Condition, ProcessReport
from rota.records.time import Micros

REPORT_S = 10.0
HEARD_WITHIN_S = 30.0
"""A process whose last report is older than three of them is not there."""


@dataclass(frozen=True, slots=True)
class Reporter:
    """Stores the reports of one process, dated by `wall`, the machine's clock; `conditions` and `figures` are asked each time."""

    metadata: Metadata
    wall: Clock
    process: str
    kind: Literal["control plane", "worker", "prediction process"]
    started_us: Micros
    conditions: Callable[[], Sequence[Condition]] = tuple
    figures: Callable[[], Mapping[str, float]] = dict

    def report(self) -> Sequence[Condition]:
        """Store what the process says of itself now; returns its conditions, also those that are well, which are not stored."""
        conditions = self.conditions()
        batch = Batch()
        batch.put(
            ProcessReport(
                process=self.process,
                kind=self.kind,
                host=socket.gethostname(),
                pid=os.getpid(),
                started_us=self.started_us,
                at_us=self.wall.now_us(),
                conditions=tuple(condition for condition in conditions if condition.status != "well"),
                figures=self.figures(),
            )
        )
        self.metadata.commit(batch)
        return conditions

    def settle(self, conditions: Sequence[Condition], *, whole: Collection[str], now_us: Micros) -> None:
        """Raise and resolve the alerts of the platform; what another process that is there finds ill is not well because this one finds it so."""
        others = [report for report in self.metadata.find(ProcessReport) if report.process != self.process and is_heard(report, self.wall.now_us())]
        ill = {condition.name: condition for report in others for condition in report.conditions}
        own = [condition for condition in conditions if condition.status != "well" or condition.name not in ill]
        named = {condition.name for condition in own}
        elsewhere = [condition for name, condition in ill.items() if name.partition(":")[0] in whole and name not in named]
        with suppress(Conflict):  # another worker settled the same alert at the same moment
            platform_alerts.settle(self.metadata, [*own, *elsewhere], actor=self.process, now_us=now_us, whole=whole)


def is_heard(report: ProcessReport, now_us: Micros) -> bool:
    """Whether the process was heard of lately; a report of the future is one of before the clock was set back."""
    return abs(now_us - report.at_us) <= HEARD_WITHIN_S * 1_000_000
