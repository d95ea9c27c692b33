"""MemoryTracking: the reference for the Tracking port, and the store of fast tests. Nothing outlives the process."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.shared.tracked_form import (
    DEFAULT,
    EMPTY,
    changed_parameter,
    changed_run,
    check_asked,
    check_experiment,
    check_logged,
    check_run,
    deleted_experiment,
    deleted_run,
    experiment_fields,
    logged_at_start,
    newest,
    no_experiment,
    no_run,
    place,
    refuse_default,
    run_fields,
    taken,
)
from rota.errors import Conflict, InvalidInput
from rota.ports.metadata import Batch
from rota.ports.tracking import Logged, RunChange
from rota.records.filters import Page, Query, View
from rota.records.searching import matches, ordered, paged
from rota.records.tracking import MAX_EXPERIMENTS, Experiment, ExperimentRun, MetricPoint, RunInput, RunOutput

NOTHING = Batch()


@dataclass
class _Run:
    """A run as it grows; `head` holds what is not logged."""

    head: ExperimentRun
    parameters: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    series: dict[str, dict[tuple[int, int, int], MetricPoint]] = field(default_factory=dict)
    inputs: dict[tuple[str, str], RunInput] = field(default_factory=dict)
    outputs: dict[str, RunOutput] = field(default_factory=dict)

    def check(self, logged: Logged) -> None:
        for key, value in logged.parameters.items():
            if self.parameters.get(key, value) != value:
                raise changed_parameter(self.head.id, key, self.parameters[key], value)

    def add(self, logged: Logged) -> None:
        self.parameters.update(logged.parameters)
        for key in logged.removed_tags:
            self.tags.pop(key, None)
        self.tags.update(logged.tags)
        for point in logged.metrics:
            self.series.setdefault(point.key, {}).setdefault(place(point), point)
        for data in logged.inputs:
            self.inputs.setdefault((data.name, data.digest), msgspec.structs.replace(data, tags=dict(data.tags)))
        for output in logged.outputs:
            self.outputs.setdefault(output.model, output)

    def record(self) -> ExperimentRun:
        last = newest(point for points in self.series.values() for point in points.values())
        return msgspec.structs.replace(
            self.head,
            parameters=dict(sorted(self.parameters.items())),
            tags=dict(sorted(self.tags.items())),
            latest=tuple(last[key] for key in sorted(last)),
            inputs=tuple(self.inputs.values()),
            outputs=tuple(self.outputs.values()),
        )


class MemoryTracking:
    """`rota.ports.tracking.Tracking` in dictionaries, under the lock of the metadata store whose batches it commits."""

    def __init__(self, metadata: MemoryMetadata) -> None:
        self._metadata = metadata
        self._experiments: dict[str, Experiment] = {DEFAULT.id: DEFAULT}
        self._runs: dict[str, _Run] = {}

    def create_experiment(self, experiment: Experiment, batch: Batch | None = None) -> None:
        check_experiment(experiment)
        with self._metadata.lock:
            if experiment.id in self._experiments:
                raise taken("experiment", experiment.id)
            self._refuse_taken_name(experiment)
            self._metadata.commit(batch or NOTHING)
            self._experiments[experiment.id] = _own(experiment)

    def experiment(self, id: str) -> Experiment | None:
        with self._metadata.lock:
            stored = self._experiments.get(id)
        return None if stored is None else _own(stored)

    def experiment_named(self, name: str) -> Experiment | None:
        with self._metadata.lock:
            return next((_own(each) for each in self._experiments.values() if each.name == name), None)

    def replace_experiment(self, experiment: Experiment, *, before: Experiment, batch: Batch | None = None) -> None:
        check_experiment(experiment)
        with self._metadata.lock:
            if self._experiments.get(experiment.id) != before:
                raise Conflict(f"experiment {experiment.id!r} is not as it was read; read it again, then decide", experiment=experiment.id)
            self._refuse_taken_name(experiment)
            self._metadata.commit(batch or NOTHING)
            self._experiments[experiment.id] = _own(experiment)

    def search_experiments(self, query: Query) -> Page[Experiment]:
        with self._metadata.lock:
            seen = [_own(each) for each in self._experiments.values() if _visible(each.deleted_us, query.view)]
        seen.sort(key=lambda experiment: (-experiment.created_us, experiment.id))
        check_asked(query, experiment_fields(DEFAULT))
        kept = [each for each in seen if all(matches(comparison, experiment_fields(each)) for comparison in query.where)]
        return paged(ordered(kept, query.order, lambda each: experiment_fields(each, unit_us=1)), query, scope="experiments")

    def create_run(self, run: ExperimentRun, batch: Batch | None = None) -> None:
        check_run(run)
        with self._metadata.lock:
            experiment = self._experiments.get(run.experiment)
            if experiment is None:
                raise no_experiment(run.experiment)
            if experiment.deleted_us is not None:
                raise deleted_experiment(run.experiment)
            if run.id in self._runs:
                raise taken("run", run.id)
            self._metadata.commit(batch or NOTHING)
            made = self._runs[run.id] = _Run(msgspec.structs.replace(run, source=dict(run.source)))
            made.add(logged_at_start(run))

    def run(self, id: str) -> ExperimentRun | None:
        with self._metadata.lock:
            stored = self._runs.get(id)
            return None if stored is None else stored.record()

    def change_run(self, id: str, change: RunChange, batch: Batch | None = None) -> ExperimentRun:
        with self._metadata.lock:
            stored = self._found(id)
            head = changed_run(stored.head, change)
            check_run(head)
            self._metadata.commit(batch or NOTHING)
            stored.head = head
            return stored.record()

    def log(self, run: str, logged: Logged, batch: Batch | None = None) -> None:
        check_logged(logged)
        with self._metadata.lock:
            stored = self._found(run)
            if stored.head.deleted_us is not None:
                raise deleted_run(run)
            stored.check(logged)
            self._metadata.commit(batch or NOTHING)
            stored.add(logged)

    def history(self, run: str, key: str, *, start: int = 0, limit: int = 25_000) -> list[MetricPoint]:
        with self._metadata.lock:
            stored = self._runs.get(run)
            points = sorted(stored.series.get(key, {}).items()) if stored else []
        return [point for _, point in points[max(start, 0) :][: max(limit, 0)]]

    def search_runs(self, experiments: Sequence[str], query: Query) -> Page[ExperimentRun]:
        if len(set(experiments)) > MAX_EXPERIMENTS:
            raise InvalidInput(f"a search covers at most {MAX_EXPERIMENTS} experiments, not {len(set(experiments))}; search them in parts")
        with self._metadata.lock:
            seen = [run.record() for run in self._runs.values() if run.head.experiment in experiments and _visible(run.head.deleted_us, query.view)]
        seen.sort(key=lambda run: (-run.started_us, run.id))
        check_asked(query, run_fields(EMPTY))
        kept = [run for run in seen if all(matches(comparison, run_fields(run)) for comparison in query.where)]
        arranged = ordered(kept, query.order, lambda run: run_fields(run, unit_us=1))
        return paged(arranged, query, scope=repr(sorted(set(experiments))))

    def purge_runs(self, runs: Collection[str], batch: Batch | None = None) -> None:
        with self._metadata.lock:
            self._metadata.commit(batch or NOTHING)
            self._drop(runs)

    def purge_experiment(self, id: str, batch: Batch | None = None) -> None:
        refuse_default(id)
        with self._metadata.lock:
            self._metadata.commit(batch or NOTHING)
            self._drop([run.head.id for run in self._runs.values() if run.head.experiment == id])
            self._experiments.pop(id, None)

    def _found(self, id: str) -> _Run:
        if id not in self._runs:
            raise no_run(id)
        return self._runs[id]

    def _drop(self, runs: Iterable[str]) -> None:
        for run in runs:
            self._runs.pop(run, None)

    def _refuse_taken_name(self, experiment: Experiment) -> None:
        if any(each.name == experiment.name and each.id != experiment.id for each in self._experiments.values()):
            raise taken("experiment", experiment.name)


def _own(experiment: Experiment) -> Experiment:
    """A copy whose tags nobody else holds."""
    return msgspec.structs.replace(experiment, tags=dict(experiment.tags))


def _visible(deleted_us: int | None, view: View) -> bool:
    return view == "all" or (deleted_us is None) == (view == "active")
