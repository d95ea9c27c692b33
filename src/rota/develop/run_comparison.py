"""Compare runs side by side: parameters, metrics, data, code and environment."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rota.errors import InvalidInput
from rota.records.tracking import ExperimentRun

MAX_RUNS = 20
Section = str


@dataclass(frozen=True, slots=True)
class Row:
    """One name with its value in each run (None: not there)."""

    section: Section
    name: str
    values: tuple[Any, ...]

    @property
    def differs(self) -> bool:
        return any(value != self.values[0] for value in self.values[1:])


@dataclass(frozen=True, slots=True)
class RunComparison:
    """`rows` in the order parameters, metrics, data, code and environment; values in the order of `runs`."""

    runs: tuple[ExperimentRun, ...]
    rows: tuple[Row, ...]

    def section(self, name: Section) -> list[Row]:
        return [row for row in self.rows if row.section == name]


_NEVER_EQUAL = frozenset({"command", "pid"})
SECTIONS: Mapping[Section, Callable[[ExperimentRun], Mapping[str, Any]]] = {
    "parameters": lambda run: run.parameters,
    "metrics": lambda run: run.metrics,
    "data": lambda run: {each.name: each.node or f"{each.source or each.source_type} {each.digest[:12]}".strip() for each in run.inputs},
    "circumstances": lambda run: {name: run.source[name] for name in sorted(run.source) if name not in _NEVER_EQUAL},
}


def compare(runs: Sequence[ExperimentRun]) -> RunComparison:
    """Every name that one of the runs has, section by section."""
    if not 2 <= len(runs) <= MAX_RUNS:
        raise InvalidInput(f"{len(runs)} runs cannot be compared; give 2 to {MAX_RUNS}", runs=len(runs))
    rows: list[Row] = []
    for section, of in SECTIONS.items():
        found = [of(run) for run in runs]
        rows += [Row(section, name, tuple(each.get(name) for each in found)) for name in sorted({name for each in found for name in each})]
    return RunComparison(tuple(runs), tuple(rows))
