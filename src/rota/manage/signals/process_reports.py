"""Process reports: what each process of a platform says of itself every ten seconds, and the platform's alerts that follow from it."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rota.errors import Conflict, RotaError
from rota.manage.signals import alerts, platform_alerts, silences
from rota.manage.signals.hosts import Host, part_of
from rota.manage.signals.silences import Silences, is_heard
from rota.ports.clock import Clock
from rota.ports.metadata import Batch, Metadata
from rota.records.condition import Condition, ProcessReport
from rota.records.time import Micros

REPORT_S = 10.0
_OF_CONTROL_PLANES = {"blobs", "metadata", "prediction process", "worker"}
REPORTED_PARTS = frozenset({"conditions", "endpoint", "host name", "prediction log", "releases", "thread", *_OF_CONTROL_PLANES})
"""The parts that processes tell of in their reports and nowhere else: what none of them names is well, or gone with its process."""


@dataclass(frozen=True, slots=True)
class Reporter:
    """Stores the reports of one process, dated by `wall`, the machine's clock; `conditions` and `figures` are asked each time."""

    metadata: Metadata
    wall: Clock
    host: Host
    process: str
    kind: Literal["control plane", "worker", "prediction process"]
    started_us: Micros
    conditions: Callable[[], Sequence[Condition]] = tuple
    figures: Callable[[], Mapping[str, float]] = dict
    _silences: Silences = field(default_factory=Silences)

    def report(self) -> Sequence[Condition]:
        """Store what the process says of itself now; returns its conditions, also those that are well, which are not stored."""
        now_us, before = self.wall.now_us(), self.metadata.get(ProcessReport, self.process)
        conditions = self.host.told([*self.conditions(), self._namesake(before, now_us)])
        batch = Batch()
        batch.put(
            ProcessReport(
                process=self.process,
                kind=self.kind,
                host=self.host.name,
                pid=os.getpid(),
                started_us=self.started_us,
                at_us=now_us,
                conditions=tuple(condition for condition in conditions if condition.status != "well"),
                figures={"resident_bytes": resident_bytes(), **self.figures()},
                home=self.host.home,
            )
        )
        self.metadata.commit(batch)
        return conditions

    def leave(self) -> None:
        """Remove the report: the process ends as it was told to. A successor that reports already, and a store that is away, keep it."""
        with suppress(RotaError):
            found = self.metadata.get(ProcessReport, self.process)
            if found is not None and (found.pid, found.home) == (os.getpid(), self.host.home):
                batch = Batch()
                batch.remove(found)
                self.metadata.commit(batch)

    def settle(self, conditions: Sequence[Condition], *, whole: Collection[str], now_us: Micros) -> None:
        """Raise and resolve the alerts of the platform, by the conditions of this process and by what others report.

        What another process finds ill is not well because this one finds it so, and stays ill while that process is silent: nobody looked
        again. It is over when the report is: its process ended in order, or was forgotten. Prediction processes raise no alerts
        themselves; it is done here. `whole` are the parts of which `conditions` names everything, beside those of reports.
        """
        reports = self.metadata.find(ProcessReport)
        others = [report for report in reports if report.process != self.process]
        heard = self._silences.look(others)
        there = {condition.name for condition in heard if condition.status == "well"}
        speaking = [each for each in others if each.kind == "prediction process" and silences.condition_name(each.process) in there]
        told = [condition for report in speaking for condition in report.conditions]
        ill = {condition.name for report in others for condition in report.conditions}
        own = [condition for condition in conditions if condition.status != "well" or condition.name not in ill]
        looked = [*told, *own, *heard, Condition(silences.condition_name(self.process), "well"), *self._of_gone(reports)]
        with suppress(Conflict):  # another process settled the same alert at the same moment
            is_over = self.host.covers(REPORTED_PARTS | set(whole), ill)
            platform_alerts.settle(self.metadata, looked, actor=self.process, now_us=now_us, is_over=is_over)

    def _of_gone(self, reports: Sequence[ProcessReport]) -> list[Condition]:
        """The end of alerts about processes, and of hosts, of which no report is left."""
        there, hosts = {report.process for report in reports}, {report.host for report in reports} | {self.host.name, ""}
        found = []
        for alert in alerts.open_alerts(self.metadata, platform_alerts.PLATFORM):
            if part_of(alert.subject) == silences.PART and alert.subject.partition(":")[2] not in there:
                found.append(Condition(alert.subject, "well", "the process ended in order, or was not heard of for a day"))
            elif self.host.host_of(alert.subject) not in hosts:
                found.append(Condition(alert.subject, "well", "no process of this host was heard of for a day"))
        return found

    def _namesake(self, before: ProcessReport | None, now_us: Micros) -> Condition:
        """Whether another home tells of its processes under the same names."""
        if before is None or before.home in ("", self.host.home) or not is_heard(before, now_us):
            return Condition("host name", "well")
        message = (
            f"two homes call their host {self.host.name!r} in one metadata store, {before.home} and {self.host.home}: each hides what the other "
            "tells; give one of them another `host_name`"
        )
        return Condition("host name", "failed", message, {"homes": sorted([before.home, self.host.home])})


@dataclass(slots=True)
class Lasting:
    """Passes on what was not well at two looks in a row: what only passes by, as at a start, is nobody's alert."""

    _before: frozenset[str] = frozenset()

    def of(self, conditions: Sequence[Condition]) -> list[Condition]:
        """The conditions without those that are not well for the first time."""
        before, self._before = self._before, frozenset(each.name for each in conditions if each.status != "well")
        return [each for each in conditions if each.status == "well" or each.name in before]


def ill_elsewhere(metadata: Metadata, process: str) -> set[str]:
    """The names of what other processes reported as not well."""
    return {condition.name for report in metadata.find(ProcessReport) if report.process != process for condition in report.conditions}


def resident_bytes() -> float:
    """Memory of this process that lies in RAM; 0 where the system does not tell."""
    try:
        return float(int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    except OSError:
        return 0.0
