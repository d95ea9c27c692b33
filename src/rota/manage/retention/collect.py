"""Garbage collection: remove expired records, then the blobs and dataset tables that nothing names any more.

Mark and sweep over content addresses. Whatever a record, a run, a tracked run, a hold or the audit log names by its digest
is marked, and what marked JSON blobs name in turn; the rest goes once it has not been put for the grace. A step that is
killed leaves the rest to the next collection, and a second one right after finds nothing to do. Writers go on meanwhile:
what they put is young, what they commit is seen by the second marking before the sweep, and a put during the sweep wins.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Literal

from rota.errors import NotFound
from rota.manage import file_claims
from rota.manage.repositories import Repositories
from rota.manage.retention import expiry, holds, marking
from rota.manage.retention.expiry import Expired, Rules
from rota.manage.retention.marking import DATASETS, Marks
from rota.manage.signals import event_reading, platform_alerts
from rota.ports.metadata import Batch
from rota.records.kinds import node as node_of
from rota.records.record import Record
from rota.records.retention import Unclaimed
from rota.records.run import ENDED, RunQuery
from rota.records.signal import Alert
from rota.records.time import DAY_US, Micros

What = Literal["experiment_run", "experiment", "logged_model", "file", "blob", "table", "table files", "run", "event"]
Progress = Callable[[str], None]
_AT_ONCE = 500


class Removal(Record, frozen=True):
    """One thing that was removed, or would be; `size_bytes` is what that frees (0 for a record; a table's is not known)."""

    what: What
    name: str
    reason: str
    size_bytes: int = 0


class Kept(Record, frozen=True):
    """So many blobs or tables stay for one reason."""

    what: What
    reason: str
    count: int
    size_bytes: int = 0


class Collection(Record, frozen=True):
    """What a collection did, or with `dry_run` would do."""

    dry_run: bool
    at_us: Micros
    removals: tuple[Removal, ...]
    kept: tuple[Kept, ...]

    @property
    def freed_bytes(self) -> int:
        return sum(each.size_bytes for each in self.removals)


def collect(
    repositories: Repositories,
    rules: Rules,
    *,
    wall_us: Micros,
    actor: str,
    handled: int = 0,
    dry_run: bool = False,
    progress: Progress = lambda _: None,
) -> Collection:
    """Collect garbage; `wall_us` is the machine's time, by which the age of blobs is told; `handled` is the newest event that the loop
    has reacted to.

    `dry_run` changes nothing and reports what a collection would do at this moment.
    """
    progress("looking for what has had its time")
    expired = expiry.expired(repositories, rules)
    removals = list(_records(expired))
    if not dry_run:
        progress(f"removing {len(removals)} records")
        _remove(repositories, expired, actor)
    removals += _forgotten(repositories, rules, handled, actor=actor, dry_run=dry_run)
    progress("marking what is named")
    marks = marking.mark(repositories, rules, expired)
    doomed, kept = _blobs(repositories, marks, wall_us - rules.grace_us, progress)
    tables, kept_tables = _tables(repositories, marks, wall_us, rules, dry_run=dry_run)
    if (doomed or tables) and (claims := file_claims.running(repositories.metadata, wall_us)):  # asked after the records are gone
        reason = f"a backup is running ({claims[0].id})"
        kept += [Kept("blob", reason, len(doomed), sum(each.size_bytes for each in doomed))] if doomed else []
        kept_tables += [Kept("table", reason, len(tables))] if tables else []
        doomed, tables = [], []
    if not dry_run and (doomed or tables):
        progress("marking once more")
        again = marking.mark(repositories, rules, expired)
        doomed, tables = ([each for each in found if each.name not in again.by] for found in (doomed, tables))
        progress(f"removing {len(doomed)} blobs and {len(tables)} tables")
        doomed = [each for each in doomed if repositories.blobs.expire(each.name, wall_us - rules.grace_us)]
        _drop(repositories, tables)
        _audit(repositories, actor, [*removals, *doomed, *tables])
    return Collection(dry_run, repositories.clock.now_us(), (*removals, *doomed, *tables), (*kept, *kept_tables))


def _blobs(repositories: Repositories, marks: Marks, before_us: Micros, progress: Progress) -> tuple[list[Removal], list[Kept]]:
    """Blobs that nothing names and nobody put lately, and why the others stay."""
    doomed: list[Removal] = []
    kept: dict[str, tuple[int, int]] = {}
    for number, digest in enumerate(repositories.blobs.digests()):
        if number % 10_000 == 0:
            progress(f"looking at blob {number}")
        try:
            size, touched = repositories.blobs.size(digest), repositories.blobs.touched_us(digest)
        except NotFound:  # somebody else's collection
            continue
        reason = f"named by {marks.by[digest]}" if digest in marks.by else "put within the grace" if touched >= before_us else ""
        if reason:
            count, total = kept.get(reason, (0, 0))
            kept[reason] = count + 1, total + size
        else:
            doomed.append(Removal("blob", digest, "nothing names it", size))
    return doomed, [Kept("blob", reason, count, size) for reason, (count, size) in sorted(kept.items())]


def _tables(repositories: Repositories, marks: Marks, wall_us: Micros, rules: Rules, *, dry_run: bool) -> tuple[list[Removal], list[Kept]]:
    """Dataset tables of builds that never committed; a table has no age, so the collection that meets one first notes when."""
    metadata = repositories.metadata
    seen = {each.table: each for each in metadata.find(Unclaimed)}
    names = repositories.tables.tables(DATASETS)
    batch, doomed, young = Batch(), list[Removal](), 0
    for name in names:
        if name in marks.by:
            continue
        first = seen.setdefault(name, Unclaimed(name, wall_us))
        if first.since_us <= wall_us - rules.grace_us:
            doomed.append(Removal("table", name, "no dataset version names it"))
        else:
            young += 1
            batch.put(first)
    for each in seen.values():
        if (each.table in marks.by or each.table not in names) and metadata.get(Unclaimed, each.table) == each:
            batch.remove(each)
    if not dry_run and (batch.puts or batch.removals):
        metadata.commit(batch)
    counts = {"named by a record": sum(name in marks.by for name in names), "unclaimed for less than the grace": young}
    return doomed, [Kept("table", reason, count) for reason, count in counts.items() if count]


def _drop(repositories: Repositories, tables: list[Removal]) -> None:
    for each in tables:
        repositories.tables.drop(each.name)
        found = repositories.metadata.get(Unclaimed, each.name)
        if found is not None:
            batch = Batch()
            batch.remove(found)
            repositories.metadata.commit(batch)


def _forgotten(repositories: Repositories, rules: Rules, handled: int, *, actor: str, dry_run: bool) -> list[Removal]:
    """Old events that were reacted to, and old monitor runs that no alert and no hold names; what others rest on is kept for good."""
    metadata, runs = repositories.metadata, repositories.runs
    old_us = repositories.clock.now_us() - round(rules.run_days * DAY_US)
    named = {alert.monitor_run for alert in metadata.find(Alert)} | {node.partition(":")[2] for node in holds.held_nodes(metadata)}
    over = [run.id for run in runs.find(RunQuery("monitor")) if run.status in ENDED and run.created_us < old_us and run.id not in named]
    until, count = 0, 0
    for event in itertools.takewhile(lambda event: event.at_us < old_us and event.position <= handled, event_reading.readable(metadata, 0)):
        until, count = event.position, count + 1
    if not dry_run:
        runs.forget(over)
        metadata.forget_events(until)
        platform_alerts.forget_events(metadata, until, actor=actor, now_us=repositories.clock.now_us())
    found = [Removal("run", run, "a monitor run that nothing names") for run in over]
    return found + ([Removal("event", f"{count} up to position {until}", "reacted to, and old")] if count else [])


def _records(expired: Expired) -> Iterator[Removal]:
    yield from (Removal("experiment_run", run.id, f"deleted, of experiment {run.experiment}") for run in expired.runs.values())
    yield from (Removal("experiment", experiment.id, "deleted") for experiment in expired.experiments)
    yield from (Removal("logged_model", model.id, "deleted" if model.deleted_us else f"{model.status}") for model in expired.models.values())
    yield from (Removal("file", f"{file.root}/{file.path}", "belongs to nothing that stays") for file in expired.files)


def _remove(repositories: Repositories, expired: Expired, actor: str) -> None:
    """Runs, experiments, logged models and files, some at a time, each step with its audit entry or not at all."""
    metadata, tracking, now_us = repositories.metadata, repositories.tracking, repositories.clock.now_us()
    files = list(expired.files)
    for some in _parts(files):
        batch = Batch()
        for file in some:
            batch.remove(file)
        metadata.commit(batch)
    for models in _parts(list(expired.models.values())):
        batch = Batch()
        for model in models:
            batch.remove(model)
            batch.audit(actor, "logged_model.purge", node_of(model), now_us, name=model.name, run=model.run)
        metadata.commit(batch)
    for runs in _parts(list(expired.runs)):
        batch = Batch()
        batch.audit(actor, "experiment_run.purge", f"{len(runs)} runs", now_us, runs=runs)
        tracking.purge_runs(runs, batch)
    for experiment in expired.experiments:
        batch = Batch()
        batch.audit(actor, "experiment.purge", experiment.id, now_us, name=experiment.name)
        tracking.purge_experiment(experiment.id, batch)


def _parts(found: list[expiry.T]) -> Iterator[list[expiry.T]]:
    return (found[start : start + _AT_ONCE] for start in range(0, len(found), _AT_ONCE))


def _audit(repositories: Repositories, actor: str, removals: list[Removal]) -> None:
    counts: dict[str, int] = {}
    for each in removals:
        counts[each.what] = counts.get(each.what, 0) + 1
    if counts:
        batch = Batch()
        freed = sum(each.size_bytes for each in removals)
        batch.audit(actor, "garbage.collect", "blobs and tables", repositories.clock.now_us(), freed_bytes=freed, **counts)
        repositories.metadata.commit(batch)
