"""A team's own metrics of scored rows: their functions are called in a process of its own, with the sources of the release to import from.

Gates measure a candidate by them (`MetricCalls.measured`, where whatever a function does wrong refuses it). Monitors and rollouts measure parts
of a log (`MetricCalls.each`), where what could not be measured is told beside what could: it is never taken for good.
"""

import importlib
import inspect
import json
import math
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from rota.errors import Interrupted, InvalidInput, NotFound, Refused
from rota.ports.compute import Compute
from rota.ports.metadata import Metadata
from rota.problems.problem_type import ScoredRows
from rota.records.own_metric import OwnMetric
from rota.records.record import plain
from rota.records.run import Deployed, PipelineRelease

MODULE = "rota.manage.models.own_metrics"
MONITOR_TIMEOUT_S = 300.0
"""The most that one metric may take of all days of a monitor's step, or all hours of a rollout's look."""
UNDEFINED, TOO_LONG = "gave NaN", "took too long"
"""How the reasons begin by which a metric has no value: not defined on the rows, or ended."""
_COLUMNS = ("truth", "answers", "weights", "groups")
Values = dict[str, float]


@dataclass(frozen=True, slots=True)
class PartMeasured:
    """The metrics of one part of the rows, and of those that have no value why not: what the function raised, gave, or that it was ended.

    NaN is no fault of a function, it says that its metric is not defined on the rows: then the reason is an UNDEFINED one.
    """

    values: Values = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def is_faulty(self, name: str) -> bool:
        """Whether a metric has no value although its function should have given one."""
        return name in self.failed and not self.failed[name].startswith(UNDEFINED)


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
            whole, *parts = self.compute.run(f"{MODULE}:measure", arguments, path=self.tree, timeout_s=self.timeout_s, stopped=self.stopped)
        found = iter(parts)
        return whole, {column: {value: next(found) for value in each} for column, each in members.items()}

    def each(self, metrics: Sequence[OwnMetric], parts: Sequence[ScoredRows]) -> list[PartMeasured]:
        """The metrics of each part. A function that raises spoils its own value of its part; one that hangs or dies, its own of all parts.

        Raises `Interrupted` when it was stopped, `Unavailable` where nothing could be started: both say nothing of a function.
        """
        found = [PartMeasured() for _ in parts]
        if not metrics or not parts:
            return found
        with tempfile.TemporaryDirectory(prefix="rota-metrics-", dir=self.temporary) as name:
            for number, part in enumerate(parts):
                folder = Path(name) / str(number)
                folder.mkdir()
                _save(folder, part)
            for metric in metrics:
                answers = self._each(metric, name, parts)
                for measured, (value, reason) in zip(found, answers, strict=True):
                    if reason:
                        measured.failed[metric.name] = reason
                    else:
                        measured.values[metric.name] = value
        return found

    def _each(self, metric: OwnMetric, folder: str, parts: Sequence[ScoredRows]) -> list[tuple[float, str]]:
        """Of each part the value of a metric, or 0 and why it has none."""
        arguments = {"folder": folder, "metric": plain(metric), "outputs": [list(part.outputs) for part in parts]}
        try:
            answers = self.compute.run(f"{MODULE}:measure_each", arguments, path=self.tree, timeout_s=self.timeout_s, stopped=self.stopped)
        except Interrupted as error:
            if error.facts.get("cause") == "stopped":
                raise
            hung = error.facts.get("cause") == "timeout"
            reason = f"{TOO_LONG}: it was ended after {self.timeout_s:g} s" if hung else f"its process ended before it answered: {error}"
            return [(0.0, reason)] * len(parts)
        except Refused as error:
            return [(0.0, f"cannot be called: {error.facts.get('type', '')}: {error.facts.get('error', error)}")] * len(parts)
        return [(float(value), str(reason)) for value, reason in answers]


@dataclass(frozen=True, slots=True)
class TeamMetrics:
    """The metrics that a deployed pipeline declares, and where they are called."""

    metrics: tuple[OwnMetric, ...]
    calls: MetricCalls

    def named(self, name: str) -> OwnMetric | None:
        return next((metric for metric in self.metrics if metric.name == name), None)

    def each(self, parts: Sequence[ScoredRows], *, but: Collection[str] = ()) -> list[PartMeasured]:
        """Each metric of each part; those of the names `but` are not called, and say so."""
        asked = [metric for metric in self.metrics if metric.name not in but]
        found = self.calls.each(asked, parts)
        for metric in self.metrics:
            if metric.name in but:
                for measured in found:
                    measured.failed[metric.name] = f"{TOO_LONG} on another day of this run, and was not called again"
        return found


@dataclass(frozen=True, slots=True)
class DeployedMetrics:
    """Finds the metrics of a model's deployed pipeline; its sources are those of the release that is deployed."""

    metadata: Metadata
    compute: Compute
    release_tree: Callable[[PipelineRelease], Path]
    environment: str
    timeout_s: float = MONITOR_TIMEOUT_S
    temporary: Callable[[], Path | None] = lambda: None

    def of(self, model: str, stopped: Callable[[], bool]) -> TeamMetrics | None:
        """None for a model that no pipeline here trains, or whose pipeline declares no metric."""
        deployed = self.metadata.get(Deployed, model, self.environment)
        if deployed is None or not deployed.definition.metrics:
            return None
        release = self.metadata.get(PipelineRelease, deployed.release)
        if release is None:
            raise NotFound(f"pipeline release {deployed.release} is unknown; apply the project again", release=deployed.release)
        calls = MetricCalls(self.compute, self.release_tree(release), self.timeout_s, stopped, self.temporary())
        return TeamMetrics(tuple(deployed.definition.metrics), calls)


def declared(metadata: Metadata, model: str) -> tuple[OwnMetric, ...]:
    """The metrics that the deployed pipelines of a model declare, in any environment."""
    found = metadata.find(Deployed, {"pipeline": model})
    return tuple({metric.name: metric for deployed in found for metric in deployed.definition.metrics}.values())


def measure(arguments: Mapping[str, Any]) -> list[Values]:
    """What the compute engine calls: each metric of all rows, then of each part that was saved beside them."""
    folder = Path(arguments["folder"])
    rows = _loaded(folder, tuple(arguments["outputs"]))
    metrics = [msgspec.convert(each, OwnMetric) for each in arguments["metrics"]]
    functions = {metric: _function(metric) for metric in metrics}
    parts = [np.load(folder / f"part{number}.npy") for number in range(arguments["parts"])]
    return [_values(functions, each) for each in (rows, *(rows.at(places) for places in parts))]


def measure_each(arguments: Mapping[str, Any]) -> list[tuple[float, str]]:
    """What the compute engine calls for a part each: the value of one metric, or 0 and why there is none."""
    metric = msgspec.convert(arguments["metric"], OwnMetric)
    function = _function(metric)
    folder = Path(arguments["folder"])
    return [_told(metric, function, _loaded(folder / str(number), tuple(outputs))) for number, outputs in enumerate(arguments["outputs"])]


def _told(metric: OwnMetric, function: Callable[[ScoredRows], Any], rows: ScoredRows) -> tuple[float, str]:
    try:
        value = metric.checked(function(rows))
    except InvalidInput as error:
        return 0.0, str(error)
    except Exception as error:  # noqa: BLE001 - the function is the project's, and what it raises is told
        return 0.0, f"raised {type(error).__name__}: {error}"
    return (0.0, f"{UNDEFINED}: it is not defined on these {len(rows)} rows") if math.isnan(value) else (value, "")


def _values(functions: Mapping[OwnMetric, Callable[[ScoredRows], Any]], rows: ScoredRows) -> Values:
    found = {metric.name: metric.checked(function(rows)) for metric, function in functions.items()}
    return {name: value for name, value in found.items() if not math.isnan(value)}


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
