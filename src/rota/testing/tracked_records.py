"""Small experiments, runs and points, for tests of tracking stores."""

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from rota.ports.metadata import Batch, Metadata
from rota.ports.tracking import Tracking
from rota.records.filters import Page
from rota.records.model import Alias
from rota.records.signal import Event
from rota.records.tracking import DEFAULT_EXPERIMENT, MAX_KEY, ExperimentRun, MetricPoint

Stores = tuple[Tracking, Metadata]
HOSTILE = ["'", '"; DROP TABLE tracked_runs; --', "50%", "a_b", "back\\slash", "`tick`", "ümlaut ☕ 中", "a.b/c d", "[*]?", "k" * MAX_KEY, " ", "\n"]
ODD = [math.nan, math.inf, -math.inf, 0.0, -1.5, 5e-324, 1.7976931348623157e308, 0.1 + 0.2]


def run(id: str = "r1", **changes: Any) -> ExperimentRun:
    made = ExperimentRun(id, DEFAULT_EXPERIMENT, f"name of {id}", "running", 1_000_000, owner="ada")
    return msgspec.structs.replace(made, **changes)


def point(key: str = "auc", value: float = 0.5, step: int = 0, at_us: int = 0) -> MetricPoint:
    return MetricPoint(key, value, step, at_us)


def batch_of(name: str, *, replacing: bool = False) -> Batch:
    """A batch that makes a record, or one that cannot be committed."""
    batch = Batch()
    record = Alias("flights", name, 1, 0)
    batch.put(record, replacing=msgspec.structs.replace(record, number=99) if replacing else None)
    batch.event(Event("commit.pushed", name, 7))
    return batch


def ids(page: Page[ExperimentRun]) -> list[str]:
    return [found.id for found in page.items]


def same(one: Sequence[MetricPoint], other: Sequence[MetricPoint]) -> bool:
    """Equal points, a NaN being equal to a NaN."""
    return [(p.key, repr(float(p.value)), p.step, p.at_us) for p in one] == [(p.key, repr(float(p.value)), p.step, p.at_us) for p in other]
