"""A team's own metrics of a scored model: their functions are called in a process of its own, with the sources of the release to import from."""

import importlib
import inspect
import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from rota.errors import InvalidInput
from rota.ports.compute import Compute
from rota.problems.problem_type import ScoredRows
from rota.records.own_metric import OwnMetric
from rota.records.record import plain

WHOLE = ""
_COLUMNS = ("truth", "answers", "weights", "groups")
Values = dict[str, float]


@dataclass(frozen=True, slots=True)
class MetricCalls:
    """Where a project's metrics are called: the engine, the unpacked sources of the release, how long at most, and where columns lie meanwhile."""

    compute: Compute
    tree: Path
    timeout_s: float
    stopped: Callable[[], bool]
    temporary: Path | None = None

    def measured(
        self, metrics: Sequence[OwnMetric], rows: ScoredRows, slices: Mapping[str, pl.Series]
    ) -> tuple[Values, dict[str, dict[str, Values]]]:
        """Each metric that is defined, of all rows and of the rows of each value of a slice column; a truth that is not known is NaN, or None.

        Raises `Refused` with what a function raised, or when it gave no number between the ends that it declares.
        """
        if not metrics:
            return {}, {}
        with tempfile.TemporaryDirectory(prefix="rota-metrics-", dir=self.temporary) as name:
            folder = Path(name)
            _save(folder, rows)
            members = {column: _members(values) for column, values in slices.items()}
            for number, places in enumerate(places for each in members.values() for places in each.values()):
                np.save(folder / f"part{number}.npy", places)
            arguments = {
                "folder": name,
                "metrics": plain(list(metrics)),
                "outputs": list(rows.outputs),
                "parts": sum(map(len, members.values())),
            }
            whole, *parts = self.compute.run(
                "rota.train.own_metrics:measure", arguments, path=self.tree, timeout_s=self.timeout_s, stopped=self.stopped
            )
        found = iter(parts)
        return whole, {column: {value: next(found) for value in each} for column, each in members.items()}


def measure(arguments: Mapping[str, Any]) -> list[Values]:
    """What the compute engine calls: each metric of all rows, then of each part that was saved beside them."""
    folder = Path(arguments["folder"])
    rows = _loaded(folder, tuple(arguments["outputs"]))
    metrics = [msgspec.convert(each, OwnMetric) for each in arguments["metrics"]]
    functions = {metric: _function(metric) for metric in metrics}
    parts = [np.load(folder / f"part{number}.npy") for number in range(arguments["parts"])]
    return [_values(functions, each) for each in (rows, *(rows.at(places) for places in parts))]


def _values(functions: Mapping[OwnMetric, Callable[[ScoredRows], Any]], rows: ScoredRows) -> Values:
    found = {metric.name: _value(metric, function(rows)) for metric, function in functions.items()}
    return {name: value for name, value in found.items() if not math.isnan(value)}


def _value(metric: OwnMetric, given: Any) -> float:
    try:
        value = float(given)
    except (TypeError, ValueError):
        raise InvalidInput(
            f"metric {metric.name!r} gave {str(given)[:100]!r}, which is no number; give a float, NaN where it is not defined"
        ) from None
    lowest, highest = metric.ends
    if value < lowest or value > highest or math.isinf(value):
        raise InvalidInput(f"metric {metric.name!r} gave {value:g}; it is declared to lie between {lowest:g} and {highest:g}, and to be finite")
    return value


def _function(metric: OwnMetric) -> Callable[[ScoredRows], Any]:
    """The project's function; one with a single parameter takes the rows, else it takes truth and answers."""
    module, _, name = metric.function.partition(":")
    function = getattr(importlib.import_module(module), name)
    if len(inspect.signature(function).parameters) == 1:
        return function  # type: ignore[no-any-return]
    return lambda rows: function(rows.truth, rows.answers)


def _members(values: pl.Series) -> dict[str, NDArray[np.int64]]:
    """The places of the rows of each value."""
    return {str(value): np.flatnonzero((values == value).fill_null(False).to_numpy()) for value in values.drop_nulls().unique().sort().to_list()}


def _save(folder: Path, rows: ScoredRows) -> None:
    for name in _COLUMNS:
        column = getattr(rows, name)
        if column is not None and column.dtype == object:
            (folder / f"{name}.json").write_text(json.dumps(column.tolist()))
        elif column is not None:
            np.save(folder / f"{name}.npy", column)


def _loaded(folder: Path, outputs: tuple[str, ...]) -> ScoredRows:
    found = [_column(folder, name) for name in _COLUMNS]
    return ScoredRows(found[0], found[1], outputs, *found[2:])  # type: ignore[arg-type]


def _column(folder: Path, name: str) -> NDArray[Any] | None:
    if (folder / f"{name}.npy").exists():
        loaded: NDArray[Any] = np.load(folder / f"{name}.npy")
        return loaded
    if not (folder / f"{name}.json").exists():
        return None
    values = json.loads((folder / f"{name}.json").read_text())
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
