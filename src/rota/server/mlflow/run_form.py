"""A run on MLflow's wire, and the tags through which MLflow says what a run's record has fields for.

A run looks alike whichever side tracked it: `mlflow.user`, `mlflow.parentRunId`, `mlflow.runName` and the `mlflow.source.*`
tags are read into the record when a run is created, and shown as tags of runs that Rota tracked itself.
"""

from collections.abc import Mapping

from rota.manage.experiments import artifacts
from rota.records.time import Micros
from rota.records.tracking import ExperimentRun, MetricPoint, RunInput, TrackedStatus
from rota.server.mlflow.wire import number, pairs_of

RUN_NAME = "mlflow.runName"
PARENT = "mlflow.parentRunId"
USER = "mlflow.user"
SOURCE_TAGS: Mapping[str, str] = {
    "mlflow.source.git.commit": "commit",
    "mlflow.source.git.branch": "branch",
    "mlflow.source.git.repoURL": "repository",
    "mlflow.source.name": "script",
    "mlflow.source.type": "source_type",
}
"""MLflow's tag of each captured fact about the source."""
STATUSES: Mapping[str, TrackedStatus] = {
    "RUNNING": "running",
    "SCHEDULED": "scheduled",
    "FINISHED": "finished",
    "FAILED": "failed",
    "KILLED": "killed",
    "1": "running",
    "2": "scheduled",
    "3": "finished",
    "4": "failed",
    "5": "killed",
}
LOGGED_MODEL = "logged_model"
"""The `source_type` of an input that is a logged model, not data."""


def source_of(tags: Mapping[str, str]) -> dict[str, str]:
    """The facts about the source that tags tell."""
    return {fact: tags[tag] for tag, fact in SOURCE_TAGS.items() if tags.get(tag)}


def tags_of(run: ExperimentRun) -> dict[str, str]:
    """A run's tags, with those that follow from its fields."""
    derived = {tag: run.source[fact] for tag, fact in SOURCE_TAGS.items() if run.source.get(fact)}
    derived |= {tag: value for tag, value in ((USER, run.owner), (PARENT, run.parent)) if value}
    return {**derived, **run.tags, RUN_NAME: run.name}


def info(run: ExperimentRun, *, deleted: bool = False) -> dict[str, object]:
    """The head of a run; `deleted` when its experiment is."""
    found: dict[str, object] = {
        "run_id": run.id,
        "run_uuid": run.id,
        "run_name": run.name,
        "experiment_id": run.experiment,
        "user_id": run.owner,
        "status": run.status.upper(),
        "start_time": run.started_us // 1_000,
        "artifact_uri": artifacts.uri(artifacts.run_root(run)),
        "lifecycle_stage": "deleted" if deleted or run.deleted_us is not None else "active",
    }
    if run.ended_us is not None:
        found["end_time"] = run.ended_us // 1_000
    return found


def shown(run: ExperimentRun, *, deleted: bool = False) -> dict[str, object]:
    """A whole run."""
    data = [each for each in run.inputs if each.source_type != LOGGED_MODEL]
    models = [each for each in run.inputs if each.source_type == LOGGED_MODEL]
    return {
        "info": info(run, deleted=deleted),
        "data": {
            "metrics": [metric(point) for point in run.latest],
            "params": pairs_of(run.parameters),
            "tags": pairs_of(tags_of(run)),
        },
        "inputs": {"dataset_inputs": [_dataset(each) for each in data], "model_inputs": [{"model_id": each.name} for each in models]},
        "outputs": {"model_outputs": [{"model_id": output.model, "step": output.step} for output in run.outputs]},
    }


def metric(point: MetricPoint) -> dict[str, object]:
    """One point of a metric."""
    return {"key": point.key, "value": number(point.value), "timestamp": point.at_us // 1_000, "step": point.step}


def ended(status: TrackedStatus, at_us: Micros) -> Micros | None:
    """When a run of this status ended, if it did."""
    return at_us if status in ("finished", "failed", "killed") else None


def _dataset(data: RunInput) -> dict[str, object]:
    dataset = {"name": data.name, "digest": data.digest, "source_type": data.source_type, "source": data.source}
    dataset |= {name: value for name, value in (("schema", data.schema), ("profile", data.profile)) if value}
    return {"dataset": dataset, "tags": pairs_of(data.tags)}
