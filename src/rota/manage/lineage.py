"""Lineage: from any node to its causes and effects, level by level, and the whole chain behind one prediction."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rota.errors import NotFound
from rota.manage import predictions
from rota.ports.metadata import Metadata
from rota.ports.runs import Runs
from rota.ports.tables import Tables
from rota.records.dataset import DatasetVersion
from rota.records.model import Approval, ModelVersion
from rota.records.record import plain
from rota.records.release import Release, Rollout
from rota.records.run import PipelineRelease, Run
from rota.records.signal import Alert, Edge, Prediction
from rota.records.time import Micros, iso

MAX_NODES = 10_000


def walk(metadata: Metadata, node: str, direction: Literal["causes", "effects"], *, depth: int = 12) -> list[Edge]:
    """Edges from a node towards its causes or effects, nearest first; each edge once, at most MAX_NODES nodes.

    One query a level: a recursive query makes SQLite's planner scan the whole edge table once statistics exist.
    """
    seen, level, found = {node}, [node], list[Edge]()
    for _ in range(depth):
        edges = metadata.edges(level, direction)
        found.extend(edges)
        reached = {edge.cause if direction == "causes" else edge.effect for edge in edges} - seen
        level = sorted(reached)
        seen |= reached
        if not level or len(seen) > MAX_NODES:
            break
    return found


@dataclass(frozen=True, slots=True)
class Link:
    """One station on the way back from a prediction: a node, what happened there in one sentence, and its facts."""

    node: str
    what: str
    facts: Mapping[str, Any]


def prediction_chain(metadata: Metadata, runs: Runs, tables: Tables, prediction_id: str) -> list[Link]:
    """From a prediction id back to release, version, approval, evaluation, run, data, commit, and the alert behind the run."""
    prediction = predictions.find(tables, prediction_id)
    if prediction is None:
        raise NotFound(
            f"prediction {prediction_id!r} is in no prediction log; check the id, or wait until the newest log entries are stored", id=prediction_id
        )
    version = metadata.get(ModelVersion, prediction.model, prediction.number)
    chain = [_prediction_link(prediction), *_release_links(metadata, prediction)]
    if version is None:
        return chain
    chain.append(
        Link(
            f"model_version:{version.id}",
            f"version {version.number} of {version.model}, {version.status}",
            plain(version),
        )
    )
    chain.extend(_approval_links(metadata, version, prediction.at_us))
    chain.extend(_training_links(metadata, runs, version))
    return chain


def _prediction_link(prediction: Prediction) -> Link:
    answer = "no answer" if prediction.answer is None else f"answered {prediction.answer:.4f}"
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


def _approval_links(metadata: Metadata, version: ModelVersion, until_us: Micros) -> list[Link]:
    approvals = [a for a in metadata.find(Approval, {"model": version.model, "number": version.number}) if a.at_us <= until_us]
    return [
        Link(f"approval:{a.model}@{a.number}@{a.at_us}", f"{a.decision} by {a.reviewer} at {iso(a.at_us)}: {a.reason}", plain(a)) for a in approvals
    ]


def _training_links(metadata: Metadata, runs: Runs, version: ModelVersion) -> list[Link]:
    links = []
    found = runs.find(id=version.run, limit=1) if version.run else []
    run = found[0] if found else None
    if run is not None:
        links.append(Link(f"run:{run.id}", f"trained by run {run.id}, started by {run.trigger}", plain(run)))
    name, _, number = version.dataset.partition("@")
    dataset = metadata.get(DatasetVersion, name, int(number)) if number.isascii() and number.isdigit() else None
    if dataset is not None:
        what = f"{dataset.rows} rows from {iso(dataset.start_us)} to {iso(dataset.end_us)}, sha256 {dataset.digest[:12]}"
        links.append(Link(f"dataset_version:{version.dataset}", what, plain(dataset)))
        links.extend(Link(f"source:{source}", f"table version {at}", {"table_version": at}) for source, at in dataset.sources.items())
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
