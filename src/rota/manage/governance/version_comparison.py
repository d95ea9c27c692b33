"""Compare versions of a model: on the same test rows, over its trainings, and while each served.

Only versions that were scored on one dataset version can be compared by a metric: a training scores its candidate and the
champion of that time on the same rows, so the stored evaluations of a dataset version are a fair table.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from rota.manage.governance import evidence
from rota.manage.models import model_versions, registered_models
from rota.manage.repositories import Repositories
from rota.ports.metadata import Metadata
from rota.records.model import Alias, ModelVersion
from rota.records.release import Rollout
from rota.records.time import Micros


@dataclass(frozen=True, slots=True)
class Scored:
    """A version's metrics on one dataset version, with the rows they were measured on and their slices."""

    number: int
    metrics: Mapping[str, float]
    rows: int = 0
    slices: Mapping[str, Mapping[str, Mapping[str, float]]] | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Versions scored on the same rows of a dataset version, oldest version first."""

    dataset: str
    scored: tuple[Scored, ...]


@dataclass(frozen=True, slots=True)
class Trained:
    """One point of a model's quality over its trainings; metrics of different datasets are near each other, not comparable."""

    number: int
    at_us: Micros
    run: str
    dataset: str
    trigger: str
    status: str
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class OnlineResult:
    """How a version did while it was delivered and served: its rollouts, and metrics on labelled predictions by endpoint."""

    number: int
    rollouts: tuple[Rollout, ...]
    performance: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class VersionComparison:
    """Champion, challengers and their relatives side by side."""

    model: str
    aliases: Mapping[str, int]
    tables: tuple[Table, ...]
    series: tuple[Trained, ...]
    online: tuple[OnlineResult, ...]


def compare(repositories: Repositories, model: str, numbers: Collection[int] = ()) -> VersionComparison:
    """Everything that can be said about these versions of a model (all of them without a choice), newest datasets first."""
    metadata = repositories.metadata
    found = [v for v in model_versions.of_model(metadata, model) if not numbers or v.number in numbers]
    for number in numbers:
        model_versions.live(metadata, model, number)
    aliases = {alias.alias: alias.number for alias in metadata.find(Alias, {"model": model})}
    return VersionComparison(model, aliases, tables(repositories, found), series(found), tuple(online(metadata, version) for version in found))


def tables(repositories: Repositories, versions: Collection[ModelVersion]) -> tuple[Table, ...]:
    """The stored scores of these versions by dataset version, the newest dataset first; a dataset with one version is left out."""
    scored: dict[str, dict[int, Scored]] = {}
    wanted = {version.number for version in versions}
    for version in versions:
        for role, evaluation in evidence.evaluations(repositories, version).items():
            number = version.number if role == "candidate" else _number(evaluation.model)
            if number in wanted:
                row = Scored(number, evaluation.metrics, evaluation.rows, evaluation.slices)
                scored.setdefault(evaluation.dataset, {}).setdefault(number, row)
    newest = {dataset: max(rows) for dataset, rows in scored.items()}
    shared = sorted((d for d, rows in scored.items() if len(rows) > 1), key=lambda dataset: -newest[dataset])
    return tuple(Table(dataset, tuple(scored[dataset][number] for number in sorted(scored[dataset]))) for dataset in shared)


def series(versions: Collection[ModelVersion]) -> tuple[Trained, ...]:
    """Quality over the trainings of a model, oldest first."""
    ordered = sorted(versions, key=lambda version: version.number)
    return tuple(Trained(v.number, v.created_us, v.run or v.experiment_run, v.dataset, v.trigger, v.status, v.metrics) for v in ordered)


def online(metadata: Metadata, version: ModelVersion) -> OnlineResult:
    """The online results of a version."""
    endpoints = registered_models.endpoints(metadata, version.model)
    delivered = tuple(rollout for endpoint in endpoints for rollout in evidence.rollouts(metadata, endpoint, version))
    measured: dict[str, Any] = {endpoint.name: evidence.performance(metadata, endpoint.name, version.number) for endpoint in endpoints}
    return OnlineResult(version.number, delivered, {name: found for name, found in measured.items() if found})


def _number(reference: str) -> int:
    """The number in "model@3"; 0 for another text."""
    _, _, number = reference.rpartition("@")
    return int(number) if number.isascii() and number.isdecimal() else 0
