"""Nouns of experimentation: experiments, their runs, what is logged into a run, and models that a run logged."""

from collections.abc import Mapping
from typing import Literal

from rota.records.record import Record
from rota.records.time import Micros

TrackedStatus = Literal["scheduled", "running", "finished", "failed", "killed"]
LoggedModelStatus = Literal["pending", "ready", "failed"]
DEFAULT_EXPERIMENT = "0"
"""The id of the experiment "Default", which every store has."""
MAX_KEY = 250
MAX_PARAMETER = 6_000
MAX_TAG = 8_000
MAX_EXPERIMENT_NAME = 500
"""Characters of a key (metric, parameter, tag), a parameter's and a tag's value, and an experiment's name."""
MAX_EXPERIMENTS = 10_000
"""Experiments that one search covers; clients that search all of them name each."""


class Experiment(Record, frozen=True):
    """A named group of runs. The name is unique among all experiments, also the deleted ones; the id never changes."""

    id: str
    name: str
    project: str = "default"
    created_us: Micros = 0
    updated_us: Micros = 0
    tags: Mapping[str, str] = {}
    deleted_us: Micros | None = None


class MetricPoint(Record, frozen=True):
    """One value of a metric's series; `value` may be NaN or infinite. Equal points are one point."""

    key: str
    value: float
    step: int = 0
    at_us: Micros = 0


class RunInput(Record, frozen=True):
    """Data that a run read. `node` is its lineage node ("dataset_version:flights@3") when Rota knows the data, else "".

    `schema` and `profile` are JSON texts as the caller gave them.
    """

    name: str
    digest: str
    source_type: str = ""
    source: str = ""
    node: str = ""
    schema: str = ""
    profile: str = ""
    tags: Mapping[str, str] = {}

    @property
    def context(self) -> str | None:
        """What the run used the data for ("training"), where the caller said so with MLflow's tag."""
        return self.tags.get("mlflow.data.context")


class RunOutput(Record, frozen=True):
    """A logged model that a run made at a step."""

    model: str
    step: int = 0


class ExperimentRun(Record, frozen=True):
    """One tracked execution: parameters (texts, written once), the newest point of each metric, tags, inputs and outputs.

    `source` is what was captured when the run began: commit, digest of the local diff, environment lock, Python, platform,
    command, seeds, notebook. `experiment` is the experiment's id; `parent` the id of the run this one is nested in.
    """

    id: str
    experiment: str
    name: str
    status: TrackedStatus
    started_us: Micros
    ended_us: Micros | None = None
    owner: str = ""
    parent: str = ""
    parameters: Mapping[str, str] = {}
    latest: tuple[MetricPoint, ...] = ()
    tags: Mapping[str, str] = {}
    source: Mapping[str, str] = {}
    inputs: tuple[RunInput, ...] = ()
    outputs: tuple[RunOutput, ...] = ()
    deleted_us: Micros | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """The newest value of each metric."""
        return {point.key: point.value for point in self.latest}


class ModelMetric(Record, frozen=True):
    """The newest finite value of a metric that judges a logged model, on the named data ("" = not said), measured by `run`."""

    key: str
    value: float
    step: int = 0
    at_us: Micros = 0
    run: str = ""
    dataset: str = ""
    digest: str = ""


class LoggedModel(Record, frozen=True):
    """A model that a run logged; `pending` until its files are complete. The id is "m-" and 32 hexadecimal digits.

    `unservable` says why a version of it could not be served; tracking keeps it all the same.
    """

    id: str
    experiment: str
    name: str
    run: str = ""
    status: LoggedModelStatus = "pending"
    type: str = ""
    created_us: Micros = 0
    updated_us: Micros = 0
    tags: Mapping[str, str] = {}
    parameters: Mapping[str, str] = {}
    metrics: tuple[ModelMetric, ...] = ()
    deleted_us: Micros | None = None
    unservable: str = ""


class ArtifactFile(Record, frozen=True):
    """A file below an artifact root ("EXPERIMENT/RUN/artifacts", "EXPERIMENT/models/m-.../artifacts"): its bytes are the blob `digest`."""

    root: str
    path: str
    digest: str
    size: int
    at_us: Micros = 0
