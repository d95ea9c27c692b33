"""Explain a model version: how it was made, why it has its status, and where it serves, out of all that was recorded."""

from collections.abc import Mapping, Sequence
from typing import Any

from rota.errors import Corrupt, NotFound
from rota.manage.lineage import executions, notes
from rota.manage.lineage import graph as lineage
from rota.manage.lineage.prediction_chain import aliases_at
from rota.manage.models import model_aliases, model_versions
from rota.manage.repositories import Repositories
from rota.ports.blobs import Blobs
from rota.ports.metadata import Metadata
from rota.records import check
from rota.records.check import CheckResult
from rota.records.dataset import DatasetVersion
from rota.records.model import AliasMove, Approval, ModelBundle, ModelVersion, ReviewRequest, RiskAnswer
from rota.records.profile import Profile
from rota.records.record import Record, decode, plain
from rota.records.release import Endpoint, Release, Rollout
from rota.records.run import PipelineRelease
from rota.records.signal import Alert, Note
from rota.records.time import Micros, iso
from rota.records.tracking import ExperimentRun


class Explanation(Record, frozen=True):
    """Everything behind a version, as it was known at `at_us`; what happened later is left out.

    `aliases` names the aliases that pointed at it then, `champion` the version that was champion then (0: none). `evaluation`
    holds candidate and champion on the same rows with their slices. `alert` is the one that started the training run.
    """

    version: ModelVersion
    at_us: Micros
    aliases: tuple[str, ...]
    champion: int
    dataset: DatasetVersion | None
    statistics: Mapping[str, Any]
    features: tuple[Mapping[str, Any], ...]
    parameters: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    gates: tuple[CheckResult, ...]
    approvals: tuple[Approval, ...]
    reviews: tuple[ReviewRequest, ...]
    risks: tuple[RiskAnswer, ...]
    alias_moves: tuple[AliasMove, ...]
    rollouts: tuple[Rollout, ...]
    releases: tuple[Release, ...]
    code: PipelineRelease | None
    execution: executions.Execution | None
    alert: Alert | None
    tracked_run: ExperimentRun | None
    notes: tuple[Note, ...]
    causes: tuple[str, ...]
    causes_complete: bool = True


def explain(repositories: Repositories, reference: str, *, at_us: Micros | None = None) -> Explanation:
    """The answer for "model@3" or "model@champion" (the alias as it stood at `at_us`; default: now)."""
    metadata = repositories.metadata
    until_us = repositories.clock.now_us() if at_us is None else at_us
    version = _resolve(metadata, reference, until_us, now=at_us is None)
    key: dict[str, str | int] = {"model": version.model, "number": version.number}
    trained = repositories.runs.get(version.run) if version.run else None
    run = executions.describe(repositories, trained) if trained else None
    bundle = _blob(repositories.blobs, version.bundle, ModelBundle)
    pointing = aliases_at(metadata, version.model, until_us)
    moves = [move for move in metadata.find(AliasMove, {"model": version.model}, order="at_us") if move.at_us <= until_us]
    dataset = _dataset(metadata, version.dataset)
    walked = lineage.walk(metadata, f"model_version:{version.id}", "causes")
    return Explanation(
        version=version,
        at_us=until_us,
        aliases=tuple(move.alias for move in pointing if move.number == version.number),
        champion=next((move.number for move in pointing if move.alias == "champion"), 0),
        dataset=dataset,
        statistics=_statistics(repositories.blobs, dataset),
        features=tuple(_view(view) for view in bundle.features.views) if bundle else (),
        parameters=version.parameters,
        evaluation=_json(repositories.blobs, version.evaluation),
        gates=run.gates if run else (),
        approvals=_until(metadata.find(Approval, key, order="at_us"), until_us),
        reviews=_until(metadata.find(ReviewRequest, key, order="at_us"), until_us),
        risks=_until(metadata.find(RiskAnswer, key, order="at_us"), until_us),
        alias_moves=tuple(move for move in moves if version.number in (move.number, move.before)),
        rollouts=_rollouts(metadata, version, until_us),
        releases=_releases(metadata, version, until_us),
        code=metadata.get(PipelineRelease, version.release) if version.release else None,
        execution=run,
        alert=metadata.get(Alert, run.trigger.removeprefix("alert:")) if run and run.trigger.startswith("alert:") else None,
        tracked_run=repositories.tracking.run(version.experiment_run) if version.experiment_run else None,
        notes=_until(_notes(metadata, version, run), until_us),
        causes=tuple(dict.fromkeys(edge.cause for edge in walked.edges)),
        causes_complete=walked.complete,
    )


def sentences(record: Explanation) -> dict[str, str]:
    """The answer in a few lines, by what they speak of."""
    version = record.version
    said = {"version": f"{version.id}, {version.status}, registered {iso(version.created_us)} because of {version.trigger}"}
    standing = f"is {', '.join(record.aliases)}" if record.aliases else "has no alias"
    said["standing"] = f"{standing} at {iso(record.at_us)}; champion is " + (f"version {record.champion}" if record.champion else "no version")
    if record.alert:
        said["cause"] = f"alert {record.alert.kind} of {record.alert.subject}: {record.alert.message}"
    if record.dataset:
        at = ", ".join(f"{source}@{number}" for source, number in record.dataset.sources.items())
        span = f"from {iso(record.dataset.start_us)} to {iso(record.dataset.end_us)}"
        said["data"] = f"{record.dataset.id}: {record.dataset.rows} rows {span}, out of {at or 'no source'}"
    if record.features:
        said["features"] = ", ".join(f"{view['name']} ({len(view['features'])})" for view in record.features)
    said["parameters"] = ", ".join(f"{name} = {value}" for name, value in record.parameters.items()) or "none"
    said["metrics"] = ", ".join(f"{name} {value:.4g}" for name, value in version.metrics.items()) or "none"
    said |= {f"gate {gate.check}": f"{check.WORDS[gate.outcome]}: {gate.message}" for gate in record.gates}
    said |= {f"review {iso(each.at_us)}": f"asked by {each.requested_by}, {each.state}: {each.comment}" for each in record.reviews}
    said |= {f"risk {each.question}": f"{each.answer} ({'acceptable' if each.acceptable else 'blocks'}, {each.answered_by})" for each in record.risks}
    said |= {f"{each.decision} {iso(each.at_us)}": f"{each.reviewer}: {each.reason}" for each in record.approvals}
    said |= {
        f"{each.alias} {iso(each.at_us)}": f"{each.before or 'none'} -> {each.number or 'none'} by {each.actor}: {each.reason}"
        for each in record.alias_moves
    }
    said |= {f"rollout {each.id}": f"{each.state.replace('_', ' ')} after {len(each.history)} verdicts: {each.reason}" for each in record.rollouts}
    said |= {f"release {each.endpoint}@{each.revision}": _split(each) for each in record.releases}
    if record.code:
        said["code"] = (
            f"commit {record.code.commit or 'none'}{' + local changes' if record.code.dirty else ''}, lock {record.code.lock[:12] or 'none'}"
        )
    if record.execution:
        made = ", ".join(f"{name} {value}" for name, value in record.execution.components.items() if name not in ("commit", "release"))
        said["run"] = f"{record.execution.id} by {record.execution.executor or 'no worker'}, {made}"
    if record.tracked_run:
        said["tracked run"] = f"{record.tracked_run.id} {record.tracked_run.name} of {record.tracked_run.owner}"
    if not record.causes_complete:
        said["causes"] = f"the {len(record.causes)} nearest are listed, more lie behind them"
    return said | {f"note {iso(note.at_us)}": f"{note.author}: {note.text}" for note in record.notes}


def _resolve(metadata: Metadata, reference: str, at_us: Micros, *, now: bool) -> ModelVersion:
    model, _, which = reference.partition("@")
    if now or not which or which.isdecimal():
        version = model_versions.resolve(metadata, reference)
    else:
        move = model_aliases.at(metadata, model, which, at_us)
        if move is None or not move.number:
            raise NotFound(f"model {model!r} had no alias {which!r} at {iso(at_us)}", model=model, alias=which)
        version = model_versions.get(metadata, model, move.number)
    if version.created_us > at_us:
        raise NotFound(f"{version.id} was not there at {iso(at_us)}; it was registered at {iso(version.created_us)}", version=version.id)
    return version


def _dataset(metadata: Metadata, id: str) -> DatasetVersion | None:
    name, _, number = id.rpartition("@")
    return metadata.get(DatasetVersion, name, int(number)) if number.isascii() and number.isdigit() else None


def _statistics(blobs: Blobs, dataset: DatasetVersion | None) -> dict[str, Any]:
    """The snapshot's statistics by column."""
    profile = _blob(blobs, dataset.statistics, Profile) if dataset and dataset.statistics else None
    return plain(profile) if profile else {}


def _view(view: Any) -> dict[str, Any]:
    source = getattr(view, "source", None)
    return {
        "name": view.name,
        "source": source.name if source else "request",
        "features": {name: plain(each) for name, each in view.features.items()},
    }


def _rollouts(metadata: Metadata, version: ModelVersion, until_us: Micros) -> tuple[Rollout, ...]:
    found = [r for endpoint in metadata.find(Endpoint, {"model": version.model}) for r in metadata.find(Rollout, {"endpoint": endpoint.name})]
    mine = [r for r in found if (r.model, r.candidate) == (version.model, version.number) and r.started_us <= until_us]
    return tuple(sorted(mine, key=lambda rollout: rollout.started_us))


def _releases(metadata: Metadata, version: ModelVersion, until_us: Micros) -> tuple[Release, ...]:
    found = [r for endpoint in metadata.find(Endpoint, {"model": version.model}) for r in metadata.find(Release, {"endpoint": endpoint.name})]
    routed = [r for r in found if any((route.model, route.number) == (version.model, version.number) for route in r.routes)]
    return tuple(sorted((r for r in routed if r.since_us <= until_us), key=lambda release: release.since_us))


def _notes(metadata: Metadata, version: ModelVersion, run: executions.Execution | None) -> list[Note]:
    nodes = [f"model_version:{version.id}", f"registered_model:{version.model}", f"dataset_version:{version.dataset}"]
    nodes += [f"run:{run.id}"] if run else []
    nodes += [f"experiment_run:{version.experiment_run}"] if version.experiment_run else []
    return sorted((note for node in nodes for note in notes.of(metadata, node)), key=lambda note: note.at_us)


def _until(found: Sequence[Any], until_us: Micros) -> tuple[Any, ...]:
    return tuple(each for each in found if each.at_us <= until_us)


def _split(release: Release) -> str:
    return ", ".join(f"v{route.number} {route.role} {route.weight}%" for route in release.routes) + f" since {iso(release.since_us)}"


def _blob(blobs: Blobs, digest: str, kind: type[Any]) -> Any:
    """The record in a blob, or None where retention has removed it."""
    try:
        return decode(blobs.get(digest), kind) if digest else None
    except (NotFound, Corrupt):
        return None


def _json(blobs: Blobs, digest: str) -> dict[str, Any]:
    return _blob(blobs, digest, dict) or {}
