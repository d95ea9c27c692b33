"""Nouns of development, operationalization and continuous training: pipelines, releases, runs, steps, gates, triggers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from rota.errors import InvalidInput
from rota.records import own_metric
from rota.records.breakdown import Breakdown
from rota.records.data import Feature
from rota.records.dataset import DatasetDefinition
from rota.records.own_metric import OwnMetric
from rota.records.record import Record, check_name
from rota.records.time import Micros, micros

Problem = str
"""The name of a problem type, one of `rota.problems`."""
RunStatus = Literal["queued", "running", "parked", "succeeded", "blocked", "failed", "cancelled"]
ENDED: frozenset[str] = frozenset({"succeeded", "blocked", "failed", "cancelled"})


class Gate(Record, frozen=True):
    """One condition of gate 2 on a candidate model.

    threshold: metric at least (or at most, for a loss) `bound`. champion: metric not worse than the champion's on the same
    rows by more than `bound`. slice: the threshold holds in every slice of `column` with at least `min_rows` rows.
    `word` is how the threshold was written, "at_least" or "at_most"; it must be the direction that is better ("": either).
    A gate that cannot be judged refuses the candidate, unless `unjudged` is "pass"; a champion gate of a first version has nothing to
    compare and refuses nothing.
    """

    kind: Literal["threshold", "champion", "slice"]
    metric: str
    bound: float
    column: str | None = None
    min_rows: int = 200
    word: Literal["", "at_least", "at_most"] = ""
    unjudged: Literal["block", "pass"] = "block"


class Trigger(Record, frozen=True):
    """A cause of a PipelineRun: a cron schedule, so many new rows, an alert's kind, or a person."""

    kind: Literal["schedule", "new_data", "alert", "manual", "code"]
    spec: str = ""
    rows: int = 0
    cooldown: str = "0s"


class RetryPolicy(Record, frozen=True):
    """How often a step in a process of its own is begun in all when that process dies or takes too long; once, unless it is said.

    An engine that does not answer and a worker that dies count for nothing: such a step is always begun again.
    """

    attempts: int = 1
    retry_on_timeout: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.attempts <= 100:
            raise InvalidInput(f"a retry policy with attempts={self.attempts}: give 1 to 100", attempts=self.attempts)


class TrainingPipeline(Record, frozen=True):
    """A declared continuous-training pipeline: the fixed graph STEPS around the project's own training function.

    `train` is given as the function itself or as "module:name" and is kept as this text, by which a worker imports it. `metrics` are
    functions of the project's own (`@rota.metric`), kept as `OwnMetric`, which gates may name besides the metrics of the problem.
    `weight` is the weight of a row, a column or SQL expression over the label source's fields (`rota.sql("amount")`, or its text): it reaches the
    training function and counts in the evaluation. `group` is a field of the label source by which rows belong together (a query whose
    documents are ranked, a patient). `validation` is held out of the training rows by time, for early stopping: a share (0.1: the newest
    tenth), or a length such as "7d"; None holds nothing out.
    """

    name: str
    train: Any
    dataset: DatasetDefinition
    problem: Problem = "classification"
    gates: Sequence[Gate] = ()
    triggers: Sequence[Trigger] = ()
    parameters: Mapping[str, Any] = {}
    max_runs_per_week: int = 14
    give_up_after: int = 5
    retry: RetryPolicy = RetryPolicy()
    metrics: Sequence[Any] = ()
    weight: Feature | None = None
    group: str = ""
    validation: float | str | None = None

    STEPS = ("ingest", "validate_data", "transform", "train", "evaluate", "validate_model", "register")

    def __post_init__(self) -> None:
        check_name("pipeline", self.name)
        msgspec.structs.force_setattr(self, "train", _reference(self.name, self.train))
        for field in ("gates", "triggers"):
            msgspec.structs.force_setattr(self, field, tuple(getattr(self, field)))
        msgspec.structs.force_setattr(self, "metrics", tuple(map(_own_metric, self.metrics)))
        if isinstance(self.weight, str):
            msgspec.structs.force_setattr(self, "weight", Feature(self.weight))
        if self.group and self.group not in self.dataset.labels.fields:
            raise InvalidInput(
                f"pipeline {self.name!r}: group {self.group!r} is no field of the label source; its fields are {sorted(self.dataset.labels.fields)}",
                pipeline=self.name,
            )
        _check_validation(self.name, self.validation)
        for gate in self.gates:
            if gate.kind == "slice" and gate.column not in self.dataset.labels.fields:
                raise InvalidInput(f"pipeline {self.name!r}: slice column {gate.column!r} is no field of the label source", pipeline=self.name)


class PipelineRelease(Record, frozen=True):
    """An immutable package of a project: source bundle, environment lock, commit; the digest names the content.

    `committed_us` is when its commit was made, 0 where that is not known.
    """

    digest: str
    project: str
    bundle: str
    module: str
    commit: str
    dirty: bool
    lock: str
    python: str
    created_us: Micros
    committed_us: Micros = 0


class Deployed(Record, frozen=True):
    """Which release and definition of a pipeline is active in an environment."""

    pipeline: str
    environment: str
    release: str
    definition: TrainingPipeline
    since_us: Micros


class Run(Record, frozen=True):
    """One execution of a durable workflow ("train", "rollout", "monitor" ...), owned by one worker at a time.

    `fence` grows with every claim, so a worker that lost its lease can write nothing. A parked run waits for `wake_us`
    (the platform's clock) or for a signal named `waiting_for`, and holds no thread. `parked_us` is when it began to wait and `sleep_us`
    the moment that its workflow named; they differ from the clock by `ahead_us` once that was set back meanwhile.
    """

    id: str
    workflow: str
    subject: str
    arguments: Mapping[str, Any]
    created_us: Micros
    trigger: str = "manual"
    status: RunStatus = "queued"
    started_us: Micros | None = None
    ended_us: Micros | None = None
    wake_us: Micros = 0
    waiting_for: str = ""
    worker: str = ""
    fence: int = 0
    attempts: int = 0
    result: Any = None
    error: str = ""
    parked_us: Micros = 0
    sleep_us: Micros = 0
    ahead_us: Micros = 0


@dataclass(frozen=True, slots=True)
class RunQuery:
    """Which durable runs are asked for, by the order of their submission; an empty field asks for any."""

    workflow: str = ""
    subject: str = ""
    statuses: Collection[RunStatus] = ()
    newest_first: bool = True


EVERY_RUN = RunQuery()
OPEN_STATUSES: tuple[RunStatus, ...] = ("queued", "running", "parked")


class Step(Record, frozen=True):
    """A finished step in a run's journal; replaying the run returns `result` instead of doing the work again."""

    run: str
    name: str
    position: int
    result: Any
    started_us: Micros
    ended_us: Micros
    worker: str
    fence: int


class Lease(Record, frozen=True):
    """The right to work on a run until the lease ends, unless it is renewed."""

    run: Run
    worker: str
    fence: int


class Evaluation(Record, frozen=True):
    """Metrics of a model on one dataset version's test rows, whole and by slice.

    `intervals` are the two bounds between which a metric lies with 95 %, by the bootstrap over the days of the rows; empty for a champion that
    was scored again, with fewer than four days, and for metrics of a team's own. `slice_intervals` are those of the slices with most rows.
    `breakdown` has each class, label or target, the confusion and the calibration of a candidate.
    """

    model: str
    dataset: str
    rows: int
    metrics: Mapping[str, float]
    slices: Mapping[str, Mapping[str, Mapping[str, float]]] = {}
    intervals: Mapping[str, tuple[float, float]] = {}
    slice_intervals: Mapping[str, Mapping[str, Mapping[str, tuple[float, float]]]] = {}
    breakdown: Breakdown | None = None


def cron(expression: str, *, cooldown: str = "0s") -> Trigger:
    """Start a run on a cron schedule (five fields, UTC of the platform's clock)."""
    if len(expression.split()) != 5:
        raise InvalidInput(f'cron expression {expression!r} needs five fields; for example "0 3 * * 1" is Mondays at 03:00', cron=expression)
    micros(cooldown)
    return Trigger("schedule", expression, cooldown=cooldown)


def new_data(rows: int, *, cooldown: str = "0s") -> Trigger:
    """Start a run when so many new rows arrived since the last run."""
    if rows < 1:
        raise InvalidInput(f"new_data(rows={rows}): rows must be at least 1", rows=rows)
    micros(cooldown)
    return Trigger("new_data", rows=rows, cooldown=cooldown)


def on_alert(kind: str, *, cooldown: str = "7d") -> Trigger:
    """Start a run when an alert of this kind is raised, at most once per cool-down."""
    micros(cooldown)
    return Trigger("alert", kind, cooldown=cooldown)


def at_least(metric: str, bound: float) -> Gate:
    """The candidate's metric, of which more is better, must reach `bound`; `at_most` is for losses and errors."""
    return Gate("threshold", metric, bound, word="at_least")


def at_most(metric: str, bound: float) -> Gate:
    """The candidate's metric, of which less is better, must not exceed `bound`.

    >>> at_most("log_loss", 0.4).bound
    0.4
    """
    return Gate("threshold", metric, bound, word="at_most")


def not_worse_than_champion(metric: str, *, margin: float = 0.0) -> Gate:
    """The candidate may be worse than the champion, re-scored on the same test rows, by at most `margin`."""
    return Gate("champion", metric, margin)


def per_slice(column: str, metric: str, bound: float, *, min_rows: int = 200, unjudged: Literal["block", "pass"] = "block") -> Gate:
    """The threshold must hold in every slice of a column that has at least `min_rows` test rows: for a loss `bound` is the most it may be.

    When no slice has so many, the gate could not judge, which refuses the candidate; `unjudged="pass"` lets it through.
    """
    return Gate("slice", metric, bound, column=column, min_rows=min_rows, unjudged=unjudged)


def _own_metric(metric: Any) -> OwnMetric:
    """What a pipeline is given: a function that is a metric, a record of it, or this as it was stored."""
    return msgspec.convert(metric, OwnMetric) if isinstance(metric, Mapping) else own_metric.of(metric)


def _check_validation(pipeline: str, validation: object) -> None:
    if validation is None or (isinstance(validation, str) and micros(validation) > 0):
        return
    if isinstance(validation, bool | str) or not isinstance(validation, int | float) or not 0 < validation < 1:
        raise InvalidInput(
            f'pipeline {pipeline!r}: validation = {validation!r}; give a share of the training rows between 0 and 1, or a length such as "7d"',
            pipeline=pipeline,
        )


def _reference(pipeline: str, function: object) -> str:
    """Where a worker finds a training function; it must stand at the top level of its module."""
    if isinstance(function, str):
        return function
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if not callable(function) or not module or not name.isidentifier():
        raise InvalidInput(
            f'pipeline {pipeline!r}: train={function!r} is no function at the top level of a module; give such a function, or "module:name"',
            pipeline=pipeline,
        )
    return f"{module}:{name}"
