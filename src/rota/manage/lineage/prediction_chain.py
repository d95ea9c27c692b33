"""Trace a prediction id back to release, alias, version, approval, evaluation, run, data, features, commit, environment and trigger."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rota.errors import Corrupt, NotFound
from rota.manage.features.definitions import versions
from rota.manage.models import model_aliases
from rota.manage.repositories import Repositories
from rota.manage.signals import prediction_log, typed_values
from rota.ports.metadata import Metadata
from rota.records.data import FeatureView
from rota.records.dataset import DatasetVersion
from rota.records.model import AliasMove, Approval, ModelBundle, ModelVersion
from rota.records.record import decode, plain
from rota.records.release import Release, Rollout
from rota.records.run import PipelineRelease, Run
from rota.records.signal import Alert, Prediction
from rota.records.time import Micros, iso


@dataclass(frozen=True, slots=True)
class Link:
    """One station on the way back from a prediction: a node, what happened there in one sentence, and its facts."""

    node: str
    what: str
    facts: Mapping[str, Any]


def prediction_chain(repositories: Repositories, prediction_id: str) -> list[Link]:
    """Every station behind a prediction, as things stood when it was made; from the moment on at which it was answered."""
    metadata = repositories.metadata
    prediction = prediction_log.acknowledged(repositories.journal, repositories.tables, prediction_id)
    if prediction is None:
        raise NotFound(f"prediction {prediction_id!r} is in no prediction log; give the id as its answer named it", id=prediction_id)
    version = metadata.get(ModelVersion, prediction.model, prediction.number)
    chain = [_prediction_link(prediction), *_release_links(metadata, prediction), *_alias_links(metadata, prediction)]
    if version is None:
        return chain
    chain.append(Link(f"model_version:{version.id}", f"version {version.number} of {version.model}, {version.status}", plain(version)))
    chain += _approval_links(metadata, version, prediction.at_us)
    chain += _feature_links(repositories, version, prediction)
    return chain + _training_links(repositories, version)


def _prediction_link(prediction: Prediction) -> Link:
    answer = "no answer" if prediction.answer is None else f"answered {typed_values.shown(prediction.answer)}"
    return Link(f"prediction:{prediction.prediction_id}", f"{answer} at {iso(prediction.at_us)} as {prediction.role}", plain(prediction))


def _release_links(metadata: Metadata, prediction: Prediction) -> list[Link]:
    release = metadata.get(Release, prediction.endpoint, prediction.revision)
    if release is None:
        return []
    split = ", ".join(f"v{route.number} {route.role} {route.weight}%" for route in release.routes)
    links = [Link(f"release:{release.endpoint}@{release.revision}", f"endpoint served {split} since {iso(release.since_us)}", plain(release))]
    rollouts = [r for r in metadata.find(Rollout, {"endpoint": release.endpoint}) if r.model == prediction.model and r.candidate == prediction.number]
    links.extend(Link(f"rollout:{r.id}", f"version {r.candidate} was {r.state.replace('_', ' ')}: {r.reason}", plain(r)) for r in rollouts)
    return links


def _alias_links(metadata: Metadata, prediction: Prediction) -> list[Link]:
    """Which version each alias of the model named at that instant."""
    return [
        Link(
            f"alias_move:{m.model}@{m.alias}@{m.move}", f"{m.alias} was version {m.number} since {iso(m.at_us)}: {m.reason or 'no reason'}", plain(m)
        )
        for m in aliases_at(metadata, prediction.model, prediction.at_us)
    ]


def aliases_at(metadata: Metadata, model: str, at_us: Micros) -> list[AliasMove]:
    """The move that each alias of a model rested on at a moment, by alias; a removed alias is none."""
    names = sorted({move.alias for move in metadata.find(AliasMove, {"model": model})})
    moves = [model_aliases.at(metadata, model, name, at_us) for name in names]
    return [move for move in moves if move is not None and move.number]


def _approval_links(metadata: Metadata, version: ModelVersion, until_us: Micros) -> list[Link]:
    approvals = [a for a in metadata.find(Approval, {"model": version.model, "number": version.number}) if a.at_us <= until_us]
    return [
        Link(f"approval:{a.model}@{a.number}@{a.at_us}", f"{a.decision} by {a.reviewer} at {iso(a.at_us)}: {a.reason}", plain(a)) for a in approvals
    ]


def _feature_links(repositories: Repositories, version: ModelVersion, prediction: Prediction) -> list[Link]:
    """The view versions that the model reads, each with the values it saw of them."""
    try:
        bundle = decode(repositories.blobs.get(version.bundle), ModelBundle) if version.bundle else None
    except (NotFound, Corrupt):  # the bundle of a deleted version is gone, its predictions are not
        bundle = None
    links = []
    for view in bundle.features.views if bundle else ():
        number = _number_of(repositories.metadata, view)
        values = {name: value for name, value in prediction.features.items() if name.startswith(f"{view.name}__")}
        source = f" from source {view.source.name}" if isinstance(view, FeatureView) else " from the request"
        shown = ", ".join(f"{name.partition('__')[2]} = {value}" for name, value in values.items())
        links.append(Link(f"feature_view_version:{view.name}@{number}", f"{shown or 'no values'}{source}", {"values": values, "view": plain(view)}))
    return links


def _number_of(metadata: Metadata, view: versions.View) -> int:
    """The version number of a definition; 0 for one that was never registered."""
    wanted = versions.identity(view)
    return next((v.number for v in reversed(versions.of(metadata, view.name)) if versions.identity(v.view) == wanted), 0)


def _training_links(repositories: Repositories, version: ModelVersion) -> list[Link]:
    metadata, links = repositories.metadata, []
    run = repositories.runs.get(version.run) if version.run else None
    if run is not None:
        links.append(Link(f"run:{run.id}", f"trained by run {run.id}, started by {run.trigger}", plain(run)))
    if version.evaluation:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in version.metrics.items())
        links.append(Link(f"evaluation:{version.evaluation}", figures or "evaluated", {"metrics": dict(version.metrics)}))
    name, _, number = version.dataset.partition("@")
    dataset = metadata.get(DatasetVersion, name, int(number)) if number.isascii() and number.isdigit() else None
    if dataset is not None:
        what = f"{dataset.rows} rows from {iso(dataset.start_us)} to {iso(dataset.end_us)}, sha256 {dataset.digest[:12]}"
        links.append(Link(f"dataset_version:{version.dataset}", what, plain(dataset)))
        links.extend(Link(f"source:{source}@{at}", f"table version {at}", {"table_version": at}) for source, at in dataset.sources.items())
    release = metadata.get(PipelineRelease, version.release)
    if release is not None:
        commit = (release.commit or "no commit") + (" + local changes" if release.dirty else "")
        links.append(Link(f"pipeline_release:{release.digest}", f"code {commit}, lock {release.lock[:12] or 'none'}", plain(release)))
    return links + _cause_links(metadata, run)


def _cause_links(metadata: Metadata, run: Run | None) -> list[Link]:
    """The alert behind a run, and the monitor run that raised it."""
    if run is None or not run.trigger.startswith("alert:"):
        return []
    alert = metadata.get(Alert, run.trigger.removeprefix("alert:"))
    if alert is None:
        return []
    links = [Link(f"alert:{alert.id}", f"{alert.kind} of {alert.subject} raised {iso(alert.raised_us)}: {alert.message}", plain(alert))]
    if alert.monitor_run:
        links.append(Link(f"run:{alert.monitor_run}", "seen by this monitor run", {"run": alert.monitor_run}))
    return links
