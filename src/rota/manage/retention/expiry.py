"""Expiry: which records retention lets go, together with what only they name.

Removed are tracked runs, experiments and logged models that people deleted `trash_days` ago, logged models that stayed
pending for `pending_days`, and files whose root belongs to nothing any more. A deleted model version keeps its record for
good, so that what it predicted can be explained; its files and its bundle go. Nothing that a hold reaches, and nothing that
a live version, an alias, a release or an approval's evidence rests on, is ever removed.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from rota.manage.experiments import artifacts
from rota.manage.repositories import Repositories
from rota.manage.retention import holds
from rota.records.filters import Query
from rota.records.model import Alias, ModelVersion
from rota.records.record import Record
from rota.records.time import DAY_US, HOUR_US, Micros
from rota.records.tracking import DEFAULT_EXPERIMENT, ArtifactFile, Experiment, ExperimentRun, LoggedModel

_PAGE = 1_000
T = TypeVar("T")


class Rules(Record, frozen=True):
    """How long things are kept: days, and hours of grace for uploads in progress."""

    trash_days: float = 30
    pending_days: float = 7
    run_days: float = 365
    grace_hours: float = 24

    @property
    def grace_us(self) -> Micros:
        return round(self.grace_hours * HOUR_US)


@dataclass(slots=True)
class Expired:
    """What may go. `versions` are deleted ones, whose record stays and whose blobs no longer count."""

    runs: dict[str, ExperimentRun] = field(default_factory=dict)
    experiments: list[Experiment] = field(default_factory=list)
    models: dict[str, LoggedModel] = field(default_factory=dict)
    versions: set[str] = field(default_factory=set)
    files: list[ArtifactFile] = field(default_factory=list)


def expired(repositories: Repositories, rules: Rules) -> Expired:
    """What has had its time now."""
    metadata, now_us = repositories.metadata, repositories.clock.now_us()
    held = holds.held_nodes(metadata)
    versions = metadata.find(ModelVersion)
    named = _named(versions, held)
    trash_us, found = now_us - round(rules.trash_days * DAY_US), Expired()
    aliased = {f"{alias.model}@{alias.number}" for alias in metadata.find(Alias)}
    for version in versions:
        if version.status == "deleted" and version.updated_us <= trash_us and version.id not in aliased and f"model_version:{version.id}" not in held:
            found.versions.add(version.id)
    for experiment in all_experiments(repositories):
        _of_experiment(repositories, experiment, found, trash_us, named)
    for model in metadata.find(LoggedModel):
        deleted = model.deleted_us is not None and model.deleted_us <= trash_us
        pending = model.status == "pending" and model.updated_us <= now_us - round(rules.pending_days * DAY_US)
        if model.id not in named and (deleted or pending or (model.run and model.run in found.runs)):
            found.models[model.id] = model
    found.files = list(_files(repositories, found, now_us - rules.grace_us))
    return found


def _named(versions: Collection[ModelVersion], held: Collection[str]) -> set[str]:
    """Ids of tracked runs, logged models and experiments that a live version or a hold keeps."""
    live = [version for version in versions if version.status != "deleted"]
    named = {version.experiment_run for version in live} | {node.partition(":")[2] for node in held}
    return named | {part for version in live for text in (version.source, version.artifacts) for part in text.split("/")} - {""}


def _of_experiment(repositories: Repositories, experiment: Experiment, into: Expired, trash_us: Micros, named: Collection[str]) -> None:
    """Its runs that have had their time; the experiment itself when it was deleted and nothing of it stays."""
    gone = experiment.deleted_us is not None and experiment.deleted_us <= trash_us and experiment.id not in (*named, DEFAULT_EXPERIMENT)
    stays = False
    for run in all_runs(repositories, experiment.id):
        deleted = run.deleted_us is not None and run.deleted_us <= trash_us
        if (deleted or gone) and run.id not in named:
            into.runs[run.id] = run
        else:
            stays = True
    if gone and not stays:
        into.experiments.append(experiment)


def _files(repositories: Repositories, into: Expired, young_us: Micros) -> Iterator[ArtifactFile]:
    """Files of what goes, and old ones whose root belongs to nothing."""
    metadata = repositories.metadata
    dying = {artifacts.run_root(run) for run in into.runs.values()} | {artifacts.model_root(model) for model in into.models.values()}
    living: set[str] = set()
    for version in metadata.find(ModelVersion):
        (dying if version.id in into.versions else living).add(version.artifacts)
    for experiment in all_experiments(repositories):
        living |= {artifacts.run_root(run) for run in all_runs(repositories, experiment.id)}
    living |= {artifacts.model_root(model) for model in metadata.find(LoggedModel)}
    living -= dying
    for file in metadata.find(ArtifactFile):
        if file.root not in living and (file.root in dying or file.at_us <= young_us):
            yield file


def all_experiments(repositories: Repositories) -> Iterator[Experiment]:
    """Every experiment, also the deleted ones."""
    page = ""
    while True:
        found = repositories.tracking.search_experiments(Query(limit=_PAGE, page=page, view="all"))
        yield from found.items
        page = found.next
        if not page:
            return


def all_runs(repositories: Repositories, experiment: str) -> Iterator[ExperimentRun]:
    """Every run of an experiment, also the deleted ones."""
    page = ""
    while True:
        found = repositories.tracking.search_runs([experiment], Query(limit=_PAGE, page=page, view="all"))
        yield from found.items
        page = found.next
        if not page:
            return
