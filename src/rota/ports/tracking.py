"""Tracking: experiments, runs and everything logged into them, in a form that is quick to write and to search."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rota.ports.metadata import Batch
from rota.records.filters import Page, Query
from rota.records.time import Micros
from rota.records.tracking import Experiment, ExperimentRun, MetricPoint, RunInput, RunOutput, TrackedStatus


@dataclass(frozen=True, slots=True)
class Logged:
    """What one call logs into a run, together or not at all. `removed_tags` are keys."""

    metrics: Sequence[MetricPoint] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    removed_tags: Collection[str] = ()
    inputs: Sequence[RunInput] = ()
    outputs: Sequence[RunOutput] = ()


@dataclass(frozen=True, slots=True)
class RunChange:
    """New values of a run's own fields; None leaves a field as it is, `deleted_us=0` restores a deleted run."""

    name: str | None = None
    status: TrackedStatus | None = None
    ended_us: Micros | None = None
    deleted_us: Micros | None = None


class Tracking(Protocol):
    """The repository of experiments and their runs; it shares its transactions with the metadata store.

    Law:
    - Every verb that writes is atomic and durable on return (kill -9, power cut) and commits `batch` in the same
      transaction. Thread-safe, multi-process.
    - The experiment DEFAULT_EXPERIMENT, named "Default", is always there. `create_experiment` raises `Conflict` when id or
      name is taken, also by a deleted experiment; `replace_experiment` when `before` is not what is stored, or the new name
      is taken.
    - `create_run` raises `Conflict` for a known id, `NotFound` for an unknown experiment and `Refused` for a deleted one.
      `run` gives everything but the series: the newest point of a metric is the one with the largest (step, at_us, value).
    - `log` raises `NotFound` for an unknown run, `Refused` for a deleted one, and `InvalidInput` when a parameter has
      another value already (the same value again is no change). Tags are replaced. An equal metric point is stored once, so
      logging twice is harmless. A repeated input (name, digest) or output (model) is stored once. NaN and infinities come back as they are.
    - Keys, values and times that an engine could not give back (`MAX_KEY` and its like in `rota.records.tracking`, a NUL, more
      than 64 bits) raise `InvalidInput`, and nothing is written.
    - `history` gives a metric's points by (step, at_us, value) from `start` on, at most `limit`.
    - `change_run` sets the fields that the change gives and returns the run.
    - `search_runs` and `search_experiments` answer `rota.records.filters.Query` over the given experiments (ids); a run
      without the asked metric, parameter or tag fails every condition on it, also `!=`, but IS NULL; a NaN is `!=`
      everything. Nulls come last in either order, NaN before them; ties are broken by start (newest first), then id. Pages
      neither repeat nor lose a run while nothing is written. A page of another search, or an attribute that there is not,
      raises `InvalidInput`.
    - `purge_runs` and `purge_experiment` (with its runs) remove rows for good; unknown ids are no-ops. Purging the default
      experiment is `Refused`.
    """

    def create_experiment(self, experiment: Experiment, batch: Batch | None = None) -> None: ...

    def experiment(self, id: str) -> Experiment | None: ...

    def experiment_named(self, name: str) -> Experiment | None: ...

    def replace_experiment(self, experiment: Experiment, *, before: Experiment, batch: Batch | None = None) -> None: ...

    def search_experiments(self, query: Query) -> Page[Experiment]: ...

    def create_run(self, run: ExperimentRun, batch: Batch | None = None) -> None: ...

    def run(self, id: str) -> ExperimentRun | None: ...

    def change_run(self, id: str, change: RunChange, batch: Batch | None = None) -> ExperimentRun: ...

    def log(self, run: str, logged: Logged, batch: Batch | None = None) -> None: ...

    def history(self, run: str, key: str, *, start: int = 0, limit: int = 25_000) -> list[MetricPoint]: ...

    def search_runs(self, experiments: Sequence[str], query: Query) -> Page[ExperimentRun]: ...

    def purge_runs(self, runs: Collection[str], batch: Batch | None = None) -> None: ...

    def purge_experiment(self, id: str, batch: Batch | None = None) -> None: ...
