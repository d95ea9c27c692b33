"""Upkeep of the online store: a durable run for each source of which some view lacks history online.

An ingestion and a registration bring their rows online themselves. What is left for the upkeep is what a kill left behind, an online
store that was away, emptied or restored, and rows dated ahead that have come due.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rota.durable.workflow import Context
from rota.manage.features.materialization.materialize import Materializer
from rota.ports.clock import Clock
from rota.ports.runs import Runs
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

    Views that are behind are left alone the first time they are seen: who ingested is just bringing the rows online.
    """

    materializer: Materializer
    runs: Runs
    clock: Clock
    _behind: frozenset[str] = field(default_factory=frozenset)

    def submit(self) -> list[str]:
        """Look once, and submit what is due; returns the sources."""
        lacking = self.materializer.lacking()
        states = {source: {each.state for each in histories} for source, histories in lacking.items()}
        due = [source for source, found in states.items() if "not online" in found or source in self._behind]
        self._behind = frozenset(states)
        now_us = self.clock.now_us()
        return [source for source in due if self.runs.submit(_run(source, now_us), exclusive=True)]


def _run(source: str, now_us: int) -> Run:
    return Run(f"{MATERIALIZE}.{source}.{now_us}", MATERIALIZE, source, {"source": source}, now_us, "upkeep")
