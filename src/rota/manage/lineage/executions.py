"""Describe an execution: trigger, times, steps, executor, components, parameters, environment, scores.

All of it was recorded by the run itself: the person who wrote the training function logged nothing.
"""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from rota.errors import NotFound
from rota.manage.lineage.node_types import event_type
from rota.manage.repositories import Repositories
from rota.ports.metadata import Metadata
from rota.records import check
from rota.records.check import CheckResult
from rota.records.model import ModelVersion
from rota.records.record import Record
from rota.records.run import PipelineRelease, Run, RunStatus, Step, TrainingPipeline
from rota.records.signal import Alert
from rota.records.time import Micros, parse_time


class ExecutedStep(Record, frozen=True):
    """One step of a run; `failed` is the one at which the run broke off (it has no journal entry, hence no times)."""

    name: str
    status: str
    started_us: Micros | None = None
    ended_us: Micros | None = None
    executor: str = ""


class Execution(Record, frozen=True):
    """A durable run in ML Metadata's sense. `components` are versions by name: Rota, Python, libraries, the release's digest and commit.

    `environment` is where it ran, `lock` the blob of its environment lock. `scores` are the metrics of what it made. `checks` are all that
    it checked, of each check the newest result: the gates of a training, what a monitor watched.
    """

    id: str
    workflow: str
    subject: str
    status: RunStatus
    trigger: str
    triggered_us: Micros
    created_us: Micros
    started_us: Micros | None
    ended_us: Micros | None
    executor: str
    attempts: int
    steps: tuple[ExecutedStep, ...]
    components: Mapping[str, str]
    parameters: Mapping[str, Any]
    environment: str
    lock: str
    scores: Mapping[str, float]
    gates: tuple[CheckResult, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    error: str = ""
    checks: tuple[CheckResult, ...] = ()


def get(repositories: Repositories, run_id: str) -> Run:
    """A durable run, or `NotFound`."""
    found = repositories.runs.get(run_id)
    if found is None:
        raise NotFound(f"there is no run {run_id!r}; `rota runs list` shows them", run=run_id)
    return found


def describe(repositories: Repositories, run: Run, steps: Sequence[Step] | None = None) -> Execution:
    """What is known of a run; `steps` is its journal where the caller has read it already."""
    metadata = repositories.metadata
    journal = repositories.runs.journal(run.id) if steps is None else steps
    results = {step.name: step.result for step in journal if isinstance(step.result, Mapping)}
    deployed = results.get("begin", {}).get("deployed", {})
    release = metadata.get(PipelineRelease, deployed["release"]) if deployed else None
    node = f"run:{run.id}"
    caused = {edge.cause for edge in metadata.edges([node], "causes") if event_type(edge.cause, node) == "INPUT"}
    made = {edge.effect for edge in metadata.edges([node], "effects")}
    return Execution(
        id=run.id,
        workflow=run.workflow,
        subject=run.subject,
        status=run.status,
        trigger=run.trigger,
        triggered_us=_triggered(metadata, run),
        created_us=run.created_us,
        started_us=run.started_us,
        ended_us=run.ended_us,
        executor=run.worker,
        attempts=run.attempts,
        steps=_steps(run, journal),
        components=_components(metadata, results, release, made),
        parameters=dict(deployed.get("definition", {}).get("parameters", run.arguments)),
        environment=str(run.arguments.get("environment", "")),
        lock=release.lock if release else "",
        scores=dict(results.get("evaluate", {}).get("candidate", {}).get("metrics", {})),
        gates=tuple(check.from_stored(each) for each in results.get("validate_model", {}).get("gates", ())),
        checks=checked(journal),
        inputs=tuple(sorted(caused)),
        outputs=tuple(sorted(made)),
        error=run.error,
    )


def checked(journal: Sequence[Step]) -> tuple[CheckResult, ...]:
    """All that the steps of a run checked, of each check the newest result."""
    newest: dict[tuple[str, str], CheckResult] = {}
    for step in journal:
        stored = [each for name in ("checks", "gates") for each in step.result.get(name, ())] if isinstance(step.result, Mapping) else []
        newest |= {(found.check, found.subject): found for found in map(check.from_stored, stored)}
    return tuple(newest.values())


def components() -> dict[str, str]:
    """The versions that execute here and now."""
    return {"rota": version("rota"), "python": platform.python_version()}


def _triggered(metadata: Metadata, run: Run) -> Micros:
    """When what started the run happened; a person's wish is the run's own beginning."""
    kind, _, rest = run.trigger.partition(":")
    if kind == "alert" and (alert := metadata.get(Alert, rest)) is not None:
        return alert.raised_us
    if kind == "schedule" and " at " in rest:
        return parse_time(rest.rpartition(" at ")[2])
    position = rest.rpartition("@")[2]
    if kind == "new_data" and position.isdecimal():
        events = metadata.events(int(position) - 1, limit=1)
        return events[0].at_us if events and events[0].position == int(position) else run.created_us
    return run.created_us


def _steps(run: Run, journal: Sequence[Step]) -> tuple[ExecutedStep, ...]:
    done = [ExecutedStep(step.name, "succeeded", step.started_us, step.ended_us, step.worker) for step in journal]
    if run.workflow == "train" and run.status == "failed":
        names = {step.name for step in journal}
        broken = next((name for name in ("begin", *TrainingPipeline.STEPS) if name not in names), "")
        done += [ExecutedStep(broken, "failed", executor=run.worker)] if broken else []
    return tuple(done)


def _components(metadata: Metadata, results: Mapping[str, Any], release: PipelineRelease | None, produced: set[str]) -> dict[str, str]:
    found = dict(results.get("begin", {}).get("components", {}))
    found |= results.get("train", {}).get("libraries", {})
    if release is not None:
        commit = release.commit + ("+local changes" if release.dirty else "")
        found |= {"python": release.python, "project": release.project, "release": release.digest, "commit": commit}
    made_versions = [metadata.get(ModelVersion, *_model_key(node)) for node in produced if node.startswith("model_version:")]
    found["format"] = next((each.format for each in made_versions if each is not None), "")
    return {name: value for name, value in found.items() if value}


def _model_key(node: str) -> tuple[str, int]:
    name, _, number = node.partition(":")[2].rpartition("@")
    return name, int(number)
