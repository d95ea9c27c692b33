"""Resolve what a new version is registered from: a logged model, another version or a run's files, and what the run measured.

A source is a place of this platform: "models:/m-..." (a logged model), "models:/NAME/NUMBER" (another version), "runs:/RUN/PATH"
or "mlflow-artifacts:/ROOT/PATH". Every other address, a file or a URL, is refused before anything is read.
"""

import math
import re

from rota.errors import NotFound
from rota.manage.experiments import artifacts
from rota.manage.experiments.artifacts import ArtifactLocation
from rota.manage.repositories import Repositories
from rota.records.model import ModelVersion
from rota.records.tracking import LoggedModel

NO_FILES = "it has no files"
UNCONVERTED = "its files were not made into a bundle that a prediction process loads"
_VERSION = re.compile(r"models:/([^/@]+)/([0-9]{1,18})")


def drafted(repositories: Repositories, model: str, source: str, run: str = "") -> tuple[ModelVersion, ArtifactLocation]:
    """The version that a source makes, still without number, moment and files, and where its files are now.

    Its metrics, parameters and data are those of the run that made it.
    """
    place = _place(repositories, source)
    run = run or place.run
    tracked = repositories.tracking.run(run) if run else None
    if run and tracked is None:
        raise NotFound(f"there is no tracked run {run!r}; give the run that made {source!r}, or none", run=run)
    data = [i.node.removeprefix("dataset_version:") for i in tracked.inputs if i.node.startswith("dataset_version:")] if tracked else []
    version = ModelVersion(
        model=model,
        number=0,
        bundle="",
        format="",
        run="",
        dataset=data[0] if data else "",
        release="",
        created_us=0,
        metrics={key: value for key, value in tracked.metrics.items() if math.isfinite(value)} if tracked else {},
        parameters=dict(tracked.parameters) if tracked else {},
        source=source,
        unservable=_unservable(repositories, place),
        experiment_run=run,
    )
    return version, place


def check(repositories: Repositories, source: str) -> None:
    """Raise `NotFound`, naming what is there, unless a source of a run has files: a version without any could never be served."""
    place = _place(repositories, source)
    if artifacts.files(repositories.metadata, place.root, place.folder):
        return
    names = {file.path.partition("/")[0] for file in artifacts.files(repositories.metadata, place.root)}
    models = {model.name for model in repositories.metadata.find(LoggedModel, {"run": place.run}) if model.deleted_us is None} if place.run else set()
    raise NotFound(f"there is nothing at {source!r}; run {place.run!r} kept {sorted(names | models) or 'nothing'}", source=source, run=place.run)


def _unservable(repositories: Repositories, place: ArtifactLocation) -> str:
    """Why a version cannot be served yet: nobody looked at its files, or tracking knew a reason when it kept them."""
    if not artifacts.files(repositories.metadata, place.root, place.folder):
        return NO_FILES
    model = repositories.metadata.get(LoggedModel, place.model) if place.model else None
    return (model.unservable if model else "") or UNCONVERTED


def causes(version: ModelVersion, place: ArtifactLocation) -> list[str]:
    """The lineage nodes that a registered version came from."""
    nodes = [f"experiment_run:{version.experiment_run}"] if version.experiment_run else []
    if place.model:
        nodes.append(f"logged_model:{place.model}")
    if match := _VERSION.fullmatch(version.source):
        nodes.append(f"model_version:{match[1]}@{int(match[2])}")
    return nodes + ([f"dataset_version:{version.dataset}"] if version.dataset else [])


def _place(repositories: Repositories, source: str) -> ArtifactLocation:
    match = _VERSION.fullmatch(source)
    if match is None:
        return artifacts.resolve(repositories, source)
    version = repositories.metadata.get(ModelVersion, match[1], int(match[2]))
    if version is None or version.status == "deleted" or not version.artifacts:
        raise NotFound(f"there is no version {match[2]} of model {match[1]!r} whose files could be registered again", model=match[1])
    return ArtifactLocation(version.artifacts, run=version.experiment_run)
