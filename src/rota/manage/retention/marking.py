"""Mark phase of garbage collection: every digest and dataset table that something names which stays.

Records, runs and their journals, tracked runs, holds and the audit log name blobs by their digests; marked JSON blobs (bundles,
definitions) name others in turn.
"""

import itertools
import re
from dataclasses import dataclass, field

from rota.errors import NotFound
from rota.manage.repositories import Repositories
from rota.manage.retention import expiry, holds
from rota.manage.retention.expiry import Expired, Rules
from rota.records.dataset import DatasetVersion
from rota.records.kinds import KINDS
from rota.records.model import ModelVersion
from rota.records.record import Record, encode
from rota.records.retention import Unclaimed
from rota.records.run import ENDED, Run
from rota.records.time import DAY_US, Micros
from rota.records.tracking import ArtifactFile, LoggedModel

DATASETS = "datasets/"
"""The folder of dataset tables: the only tables that are collected."""
_DIGEST = re.compile(rb"[0-9a-f]{64}")
_TABLE = re.compile(rb"datasets/[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*")


@dataclass(slots=True)
class Marks:
    """Digests and tables that are named, each with who named it first."""

    by: dict[str, str] = field(default_factory=dict)

    def take(self, data: bytes, who: str) -> None:
        """Mark whatever a record's text names."""
        for found in itertools.chain(_DIGEST.findall(data), _TABLE.findall(data)):
            self.by.setdefault(found.decode(), who)


def mark(repositories: Repositories, rules: Rules, expired: Expired) -> Marks:
    """Everything that something names which stays."""
    marks = Marks()
    held = holds.held_nodes(repositories.metadata)
    for node in sorted(held):
        marks.take(node.encode(), f"hold on or near {node}")
    gone = {file_key(file) for file in expired.files}
    for kind in KINDS:
        for record in repositories.metadata.find(kind.record):
            if not _is_gone(record, expired, gone):
                marks.take(encode(record), kind.name)
    for experiment in expiry.all_experiments(repositories):
        for run in expiry.all_runs(repositories, experiment.id):
            if run.id not in expired.runs:
                marks.take(encode([run.source, run.parameters, run.tags, run.inputs]), "tracked run")
    _mark_runs(repositories, rules, expired, held, marks)
    _mark_audit(repositories, marks)
    _mark_contents(repositories, marks)
    return marks


def file_key(file: ArtifactFile) -> tuple[str, str]:
    return file.root, file.path


def _is_gone(record: Record, expired: Expired, files: set[tuple[str, str]]) -> bool:
    match record:
        case ArtifactFile():
            return file_key(record) in files
        case LoggedModel():
            return record.id in expired.models
        case ModelVersion():
            return record.id in expired.versions
        case Unclaimed():
            return True
    return False


def _mark_runs(repositories: Repositories, rules: Rules, expired: Expired, held: set[str], marks: Marks) -> None:
    """The journals of runs: those of what lives, those not ended, and young ones, so that a blocked run can be looked into for a while."""
    metadata, young_us = repositories.metadata, repositories.clock.now_us() - round(rules.run_days * DAY_US)
    versions = metadata.find(ModelVersion)
    living = {version.run for version in versions if version.id not in expired.versions} | {v.run for v in metadata.find(DatasetVersion)}
    dead = {version.run for version in versions if version.id in expired.versions} - living
    for run in repositories.runs.find():
        if _counts(run, living, dead, young_us) or f"run:{run.id}" in held:
            marks.take(encode([run.arguments, run.result]), "run")
            for step in repositories.runs.journal(run.id):
                marks.take(encode(step.result), f"journal of a {run.workflow} run")


def _counts(run: Run, living: set[str], dead: set[str], young_us: Micros) -> bool:
    if run.id in living or run.status not in ENDED:
        return True
    return run.id not in dead and (run.ended_us or run.created_us) > young_us


def _mark_audit(repositories: Repositories, marks: Marks) -> None:
    position = 0
    while entries := repositories.metadata.audit(position, limit=1_000):
        for entry in entries:
            if entry.action != "garbage.collect":
                marks.take(encode([entry.subject, entry.body]), "audit log")
        position = entries[-1].position


def _mark_contents(repositories: Repositories, marks: Marks) -> None:
    """Marked JSON blobs (a bundle, a definition) name others; only these are read."""
    todo = [name for name in marks.by if not name.startswith(DATASETS)]
    while todo:
        name = todo.pop()
        before = len(marks.by)
        try:
            _mark_content(repositories, name, marks)
        except NotFound:  # many digests are not those of blobs
            continue
        if len(marks.by) > before:
            todo += [each for each in itertools.islice(marks.by, before, None) if not each.startswith(DATASETS)]


def _mark_content(repositories: Repositories, name: str, marks: Marks) -> None:
    tail = b""
    for piece in repositories.blobs.stream(name):
        if not tail and piece[:1] not in (b"{", b"["):
            return
        marks.take(tail + piece, marks.by[name])
        tail = (tail + piece)[-200:]
