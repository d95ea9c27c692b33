"""A token of one project: the repositories as its holder may see and change them, and the addresses it opens.

What belongs to another project is refused when it is named and left out of lists; what belongs to nobody can be read.
Whatever `rota.manage.experiments.project_ownership` does not know is refused or left out.
"""

import dataclasses
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Literal, NoReturn, TypeVar

from rota.errors import Corrupt, Refused
from rota.manage.experiments.project_ownership import NOBODY, UNKNOWN, ProjectOwnership
from rota.manage.repositories import Repositories
from rota.ports.metadata import MAX_PAGE, Batch, Metadata
from rota.ports.runs import Runs
from rota.ports.tracking import Logged, RunChange, Tracking
from rota.records.access import Permission
from rota.records.filters import Page, Query
from rota.records.model import RegisteredModel
from rota.records.record import Record
from rota.records.run import EVERY_RUN, Run, RunQuery, Step
from rota.records.signal import AuditEntry, Edge, Event
from rota.records.time import Micros
from rota.records.tracking import Experiment, ExperimentRun, MetricPoint

R = TypeVar("R", bound=Record)
T = TypeVar("T")

BEYOND: frozenset[Permission] = frozenset(
    {"platform.read", "platform.operate", "platform.backup", "token.manage", "data.push", "data.write", "pipeline.deploy", "audit.read"}
)
"""Permissions over what belongs to no project: a token of one project never has them, whatever its role."""
_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")


def within(repositories: Repositories, project: str) -> Repositories:
    """The repositories as a token of the project may use them."""
    place = ProjectOwnership(repositories)
    return dataclasses.replace(
        repositories,
        metadata=ScopedMetadata(repositories.metadata, place, project),
        runs=ScopedRuns(repositories.runs, place, project),
        tracking=ScopedTracking(repositories.tracking, place, project),
    )


def check_address(repositories: Repositories, project: str, permission: Permission, path: str, values: Mapping[str, Any]) -> None:
    """Raise `Refused` unless everything that a route's path names is the project's, or may be read by everybody.

    `path` is the route's, with its parameters in braces: /v1/models/{model}/{number}.
    """
    if permission in BEYOND:
        raise Refused(f"a token of project {project!r} does not open {permission!r}, which reaches beyond projects", project=project)
    place = ProjectOwnership(repositories)
    for name, before in _parameters(path):
        value = str(values[name])
        owner = place.named(name if name in place.by_name else before, value)
        if owner == UNKNOWN and permission == "data.read":
            owner = NOBODY
        if owner is not None:
            _require(project, owner, value, reading=permission.endswith(".read"))


def _parameters(path: str) -> Iterator[tuple[str, str]]:
    """What a path names, each with the word before it; what only details the name before it (a version's number) is left out."""
    before = ""
    for part in path.split("/"):
        found = _PARAMETER.match(part)
        if found and (found[1] == "node" or (found[1] != "direction" and not before.startswith("{"))):
            yield found[1], before
        before = part


class ScopedMetadata:
    """Metadata (port) of one project: other projects' records are refused when asked for by key, and found by nobody."""

    def __init__(self, metadata: Metadata, place: ProjectOwnership, project: str) -> None:
        self._metadata, self._place, self._project = metadata, place, project

    def get(self, kind: type[R], *key: str | int) -> R | None:
        found = self._metadata.get(kind, *key)
        if found is not None:
            _require(self._project, self._place.record(found), "@".join(map(str, key)), reading=True)
        return found

    def find(self, kind: type[R], where: Mapping[str, str | int] | None = None, *, order: str = "", damaged: list[Corrupt] | None = None) -> list[R]:
        return [record for record in self._metadata.find(kind, where, order=order, damaged=damaged) if self._is_shown(record)]

    def page(self, kind: type[R], where: Mapping[str, str | int] | None = None, *, order: str = "", after: str = "", limit: int = 1_000) -> Page[R]:
        def ask(after: str, limit: int) -> Page[R]:
            return self._metadata.page(kind, where, order=order, after=after, limit=limit)

        return own_page(ask, self._is_shown, after, limit)

    def commit(self, batch: Batch) -> None:
        check_batch(self._place, self._project, batch)
        self._metadata.commit(batch)

    def events(self, after: int, *, limit: int = 1_000) -> list[Event]:
        del after, limit
        return []

    def edges(self, nodes: Collection[str], direction: Literal["causes", "effects"]) -> list[Edge]:
        return [edge for edge in self._metadata.edges(nodes, direction) if self._seen(edge.cause) and self._seen(edge.effect)]

    def audit(self, after: int = 0, *, limit: int = 1_000) -> Sequence[AuditEntry]:
        del after, limit
        return []

    def forget_events(self, until: int) -> int:
        raise Refused(f"a token of project {self._project!r} forgets no events: they belong to all projects", until=until)

    def mark(self) -> str:
        return self._metadata.mark()

    def close(self) -> None:
        self._metadata.close()

    def _is_shown(self, record: Record) -> bool:
        return self._place.record(record) in (NOBODY, self._project)

    def _seen(self, node: str) -> bool:
        return self._place.node(node) in (NOBODY, self._project)


class ScopedRuns:
    """Runs (port) of one project: its runs can be read and started; executing them is the platform's own work."""

    def __init__(self, runs: Runs, place: ProjectOwnership, project: str) -> None:
        self._runs, self._place, self._project = runs, place, project

    def submit(self, run: Run, batch: Batch | None = None, *, exclusive: bool = False) -> bool:
        _require(self._project, self._place.durable_run(run), run.id, reading=False)
        check_batch(self._place, self._project, batch)
        return self._runs.submit(run, batch, exclusive=exclusive)

    def cancel(self, run_id: str, *, ended_us: Micros, reason: str = "", batch: Batch | None = None) -> Run:
        if not self.get(run_id):
            self._refuse()
        return self._runs.cancel(run_id, ended_us=ended_us, reason=reason, batch=batch)

    def get(self, run_id: str) -> Run | None:
        run = self._runs.get(run_id)
        return run if run is not None and self._is_own(run) else None

    def find(self, query: RunQuery = EVERY_RUN) -> list[Run]:
        return [run for run in self._runs.find(query) if self._is_own(run)]

    def page(self, query: RunQuery = EVERY_RUN, *, after: str = "", limit: int = 1_000) -> Page[Run]:
        def ask(after: str, limit: int) -> Page[Run]:
            return self._runs.page(query, after=after, limit=limit)

        return own_page(ask, self._is_own, after, limit)

    def journal(self, run_id: str) -> list[Step]:
        return self._runs.journal(run_id) if self.get(run_id) else []

    def signals(self, run_id: str) -> dict[str, Any]:
        return self._runs.signals(run_id) if self.get(run_id) else {}

    def signal(self, run_id: str, name: str, payload: Any) -> None:
        if not self.get(run_id):
            self._refuse()
        self._runs.signal(run_id, name, payload)

    def _is_own(self, run: Run) -> bool:
        return self._place.durable_run(run) == self._project

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise Refused(f"a token of project {self._project!r} cannot do this to a run", project=self._project)

    claim = renew = record = park = finish = forget = _refuse


class ScopedTracking:
    """Tracking (port) of one project's experiments; pages of a search may be shorter than asked for."""

    def __init__(self, tracking: Tracking, place: ProjectOwnership, project: str) -> None:
        self._tracking, self._place, self._project = tracking, place, project

    def create_experiment(self, experiment: Experiment, batch: Batch | None = None) -> None:
        self._require(experiment.project, experiment.id)
        check_batch(self._place, self._project, batch)
        self._tracking.create_experiment(experiment, batch)

    def experiment(self, id: str) -> Experiment | None:
        return self._own(self._tracking.experiment(id))

    def experiment_named(self, name: str) -> Experiment | None:
        return self._own(self._tracking.experiment_named(name))

    def replace_experiment(self, experiment: Experiment, *, before: Experiment, batch: Batch | None = None) -> None:
        self._require(self._place.experiment(experiment.id), experiment.id)
        self._require(experiment.project, experiment.id)
        check_batch(self._place, self._project, batch)
        self._tracking.replace_experiment(experiment, before=before, batch=batch)

    def search_experiments(self, query: Query) -> Page[Experiment]:
        page = self._tracking.search_experiments(query)
        return Page([found for found in page.items if found.project == self._project], page.next)

    def create_run(self, run: ExperimentRun, batch: Batch | None = None) -> None:
        self._check_experiment(run.experiment)
        check_batch(self._place, self._project, batch)
        self._tracking.create_run(run, batch)

    def run(self, id: str) -> ExperimentRun | None:
        self._check_run(id)
        return self._tracking.run(id)

    def change_run(self, id: str, change: RunChange, batch: Batch | None = None) -> ExperimentRun:
        self._check_run(id)
        check_batch(self._place, self._project, batch)
        return self._tracking.change_run(id, change, batch)

    def log(self, run: str, logged: Logged, batch: Batch | None = None) -> None:
        self._check_run(run)
        check_batch(self._place, self._project, batch)
        self._tracking.log(run, logged, batch)

    def history(self, run: str, key: str, *, start: int = 0, limit: int = 25_000) -> list[MetricPoint]:
        self._check_run(run)
        return self._tracking.history(run, key, start=start, limit=limit)

    def search_runs(self, experiments: Sequence[str], query: Query) -> Page[ExperimentRun]:
        for experiment in experiments:
            self._check_experiment(experiment)
        return self._tracking.search_runs(experiments, query)

    def purge_runs(self, runs: Collection[str], batch: Batch | None = None) -> None:
        for run in runs:
            self._check_run(run)
        check_batch(self._place, self._project, batch)
        self._tracking.purge_runs(runs, batch)

    def purge_experiment(self, id: str, batch: Batch | None = None) -> None:
        self._check_experiment(id)
        check_batch(self._place, self._project, batch)
        self._tracking.purge_experiment(id, batch)

    def _own(self, found: Experiment | None) -> Experiment | None:
        if found is not None:
            self._require(found.project, found.name)
        return found

    def _check_experiment(self, id: str) -> None:
        self._require(self._place.experiment(id), id)

    def _check_run(self, id: str) -> None:
        self._require(self._place.tracked_run(id), id)

    def _require(self, owner: str | None, what: str) -> None:
        if owner is not None:
            _require(self._project, owner, what, reading=False)


def own_page(ask: Callable[[str, int], Page[T]], is_shown: Callable[[T], bool], after: str, limit: int) -> Page[T]:
    """A full page of what a project is shown, from the pages of everything; the last one may be empty."""
    items, asked = list[T](), limit
    while True:
        page = ask(after, asked)
        shown = [at for at, item in enumerate(page.items) if is_shown(item)][: limit - len(items)]
        items += [page.items[at] for at in shown]
        if len(items) == limit and len(page.items) > shown[-1] + 1:
            return Page(items, ask(after, shown[-1] + 1).next)  # what follows the last one shown, which is not the end of this page
        if len(items) == limit or not page.next:
            return Page(items, page.next)
        after, asked = page.next, min(4 * asked, MAX_PAGE)


def check_batch(place: ProjectOwnership, project: str, batch: Batch | None) -> None:
    """Raise `Refused` unless everything that the batch stores or removes is the project's, before and afterwards."""
    if batch is None:
        return
    records = [put.record for put in batch.puts] + batch.removals
    new = {record.name: record.project for record in records if isinstance(record, RegisteredModel)}
    place = place.knowing({name: owner for name, owner in new.items() if place.model(name) is None})
    for record in records:
        _require(project, place.record(record), type(record).__name__, reading=False)
        if isinstance(record, RegisteredModel):  # it must not be taken out of another project either
            _require(project, place.model(record.name) or project, record.name, reading=False)


def _require(project: str, owner: str, what: str, *, reading: bool) -> None:
    if owner == project or (owner == NOBODY and reading):
        return
    whose = {NOBODY: "to no project, so that it can only be read", UNKNOWN: "to something that no project token reaches"}.get(
        owner, "to another project"
    )
    raise Refused(f"{what!r} belongs {whose}; this token is limited to project {project!r}", project=project)
