"""Upkeep of the online store: a durable run for each source of which some view lacks history online.

An ingestion and a registration bring their rows online themselves. What is left for the upkeep is what a kill left behind, an online
store that was away, emptied or restored, and rows dated ahead that have come due.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from rota.durable.workflow import Context
from rota.errors import Conflict, RotaError
from rota.manage.features.materialization.materialize import Materializer
from rota.manage.signals import platform_alerts
from rota.manage.signals.hosts import part_of
from rota.ports.clock import Clock
from rota.ports.metadata import Metadata
from rota.ports.online import Online
from rota.ports.runs import Runs
from rota.records.condition import Condition
from rota.records.run import Run

MATERIALIZE = "materialize"
"""The name of the workflow; its subject is a source."""


@dataclass(frozen=True, slots=True)
class MaterializeWorkflow:
    """Brings online what the views over one source lack. Killed, it goes on with what is lacking then."""

    materializer: Materializer

    def __call__(self, context: Context, arguments: Mapping[str, Any]) -> dict[str, Any]:
        source = str(arguments["source"])
        done: dict[str, Any] = context.step("bring online", lambda _: {"keys": self.materializer.bring_online(source)})
        return {"source": source, **done}


@dataclass(slots=True)
class Upkeep:
    """Submits the runs; any number of workers may do so, a source has one open run at most.

    Views that are behind are left alone the first time they are seen: who ingested is just bringing the rows online. What is not online is
    told of by an alert for each source, and one for the store, as long as it lasts.
    """

    materializer: Materializer
    runs: Runs
    clock: Clock
    metadata: Metadata
    online: Online
    _behind: frozenset[str] = field(default_factory=frozenset)
    _identity: str = ""
    _conditions: tuple[Condition, ...] = ()

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What the last look found: of the online store, and of each source."""
        return self._conditions

    def submit(self) -> list[str]:
        """Look once, and submit what is due; returns the sources. A source that cannot be compared does not keep the others from it."""
        told = self.online.report()
        found = {source: self._looked_at(source) for source in self.materializer.sources()}
        due = [source for source, look in found.items() if look.is_urgent or (look.behind and source in self._behind)]
        self._behind = frozenset(source for source, look in found.items() if look.behind)
        store = Condition("online store", "degraded" if told.problem else "well", told.problem)
        self._conditions = (store, *(look.condition for look in found.values()))
        now_us = self.clock.now_us()
        with suppress(Conflict):  # another worker tells of the same
            platform_alerts.settle(self.metadata, self._conditions, actor="upkeep", now_us=now_us, is_over=_is_of_store)
        submitted = [source for source in due if self.runs.submit(_run(source, now_us), exclusive=True)]
        self._identity = told.identity
        return submitted

    def store_changed(self) -> bool:
        """Whether the online store was exchanged, emptied or started again since the last look: cheap, to be asked every few seconds."""
        return self.online.report().identity != self._identity

    def _looked_at(self, source: str) -> "_Look":
        name = f"online store:{source}"
        try:
            comparison, lacking = self.materializer.compare(source)
        except RotaError as error:
            return _Look(Condition(name, "failed", f"the online rows of source {source!r} cannot be compared with their history: {error}"))
        evidence = {"source": source, "views": sorted({each.view for each in lacking})}
        if comparison.lost:  # to bring it online again and again would not bring it back
            urgent = bool(comparison.broken)
            return _Look(Condition(name, "failed", comparison.lost, evidence), is_urgent=urgent)
        missing = [each for each in lacking if each.state == "not online"]
        if missing:
            return _Look(Condition(name, "failed", "; ".join(dict.fromkeys(each.problem for each in missing)), evidence), is_urgent=True)
        behind = [each for each in lacking if each.state == "behind"]
        if behind and source in self._behind:
            return _Look(Condition(name, "degraded", "; ".join(dict.fromkeys(each.problem for each in behind)), evidence), behind=True)
        return _Look(Condition(name, "well"), behind=bool(behind))


def _is_of_store(name: str) -> bool:
    return part_of(name) == "online store"


@dataclass(frozen=True, slots=True)
class _Look:
    """What was found of one source: what to tell, and whether to bring something online, at once or when it is still so the next time."""

    condition: Condition
    is_urgent: bool = False
    behind: bool = False


def _run(source: str, now_us: int) -> Run:
    return Run(f"{MATERIALIZE}.{source}.{now_us}", MATERIALIZE, source, {"source": source}, now_us, "upkeep")
