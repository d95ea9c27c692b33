"""List artifacts, executions, contexts and events as ML Metadata does, out of the records, the runs and the edges.

Nothing is stored twice for it: a list is a page over what is there, so its cost grows with the page's place in it.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

from rota.errors import InvalidInput, NotFound
from rota.manage.features.rows.source_table import table
from rota.manage.lineage import executions
from rota.manage.lineage.graph import Direction
from rota.manage.lineage.node_types import TYPES, Concept, NodeType, event_type, key_of, type_of
from rota.manage.repositories import Repositories
from rota.ports.metadata import Metadata
from rota.records.data import Source
from rota.records.dataset import DatasetVersion
from rota.records.filters import Query
from rota.records.kinds import BY_NAME, BY_RECORD
from rota.records.kinds import node as node_of
from rota.records.model import ModelVersion
from rota.records.record import Record, plain
from rota.records.release import Endpoint
from rota.records.run import Deployed, PipelineRelease, Run
from rota.records.signal import Edge
from rota.records.time import Micros
from rota.records.tracking import Experiment, ExperimentRun

_PAGE = 500
_MOMENTS = ("created_us", "at_us", "started_us", "since_us", "raised_us", "frozen_us", "edited_us", "start_us")
_DIRECTIONS: tuple[Direction, ...] = ("causes", "effects")
EventType = Literal["INPUT", "OUTPUT", "DERIVED"]


class Node(Record, frozen=True):
    """A node with what is known of it. `contexts` are the groups it belongs to."""

    node: str
    concept: Concept
    type: str
    at_us: Micros = 0
    contexts: tuple[str, ...] = ()
    facts: Any = None


class LineageEvent(Record, frozen=True):
    """INPUT: `execution` read `artifact`; OUTPUT: it made it. DERIVED (Rota's own): `artifact` follows from the artifact `source`."""

    type: EventType
    artifact: str
    at_us: Micros
    execution: str = ""
    source: str = ""


def listed(repositories: Repositories, concept: Concept, *, type: str = "", after: int = 0, limit: int = 100) -> list[Node]:
    """A page of the nodes of a concept, one type after the other; `type` is a name of `lineage_kinds.TYPES`."""
    types = [each for each in TYPES if each.concept == concept and type in ("", each.name)]
    if not types:
        raise InvalidInput(f"there is no {concept} type {type!r}; there are {type_names(concept)}", type=type)
    found = itertools.chain.from_iterable(_of_type(repositories, each) for each in types)
    return list(itertools.islice(found, after, after + limit))


def type_names(concept: Concept) -> list[str]:
    """The names of the types of a concept."""
    return list(dict.fromkeys(each.name for each in TYPES if each.concept == concept))


def concept_of(type: str) -> Concept:
    """Under which concept a type name stands."""
    found = next((each.concept for each in TYPES if each.name == type), None)
    if found is None:
        raise InvalidInput(f"there is no type {type!r}; there are {list(dict.fromkeys(each.name for each in TYPES))}", type=type)
    return found


def get(repositories: Repositories, node: str) -> Node:
    """One node; `NotFound` when neither a record nor an edge knows it."""
    kind, key = type_of(node), key_of(node)
    if kind.kind == "run":
        return _of_run(
            repositories.metadata, executions.get(repositories, key), facts=executions.describe(repositories, executions.get(repositories, key))
        )
    if kind.kind == "experiment_run" and (run := repositories.tracking.run(key)) is not None:
        return _of_experiment_run(run)
    record = _record(repositories.metadata, node)
    if record is not None:
        return _of_record(repositories.metadata, record)
    if kind.concept == "context":
        found = next((each for each in _of_type(repositories, kind) if each.node == node), None)
    else:
        edges = repositories.metadata.edges([node], "causes") or repositories.metadata.edges([node], "effects")
        found = Node(node, kind.concept, kind.name, min(edge.at_us for edge in edges)) if edges else None
    if found is None:
        raise NotFound(f"node {node!r} is unknown; nodes are written kind:key, for example model_version:churn@3", node=node)
    return found


def events_of(metadata: Metadata, nodes: Iterable[str]) -> list[LineageEvent]:
    """The events of some nodes, oldest first."""
    wanted = list(nodes)
    edges = {(edge.cause, edge.effect): edge for direction in _DIRECTIONS for edge in metadata.edges(wanted, direction)}
    return [_event(edge) for edge in sorted(edges.values(), key=lambda edge: (edge.at_us, edge.cause, edge.effect))]


def events(repositories: Repositories, *, node: str = "", type: str = "", after: int = 0, limit: int = 100) -> list[LineageEvent]:
    """A page of events: those of a node, or of all durable runs, newest run first."""
    if type not in ("", "INPUT", "OUTPUT", "DERIVED"):
        raise InvalidInput(f"there is no event type {type!r}; there are INPUT, OUTPUT and DERIVED", type=type)
    if node:
        found: Iterable[LineageEvent] = events_of(repositories.metadata, [node])
    else:
        nodes = ([f"run:{run.id}" for run in runs] for runs in _run_pages(repositories))
        found = itertools.chain.from_iterable(events_of(repositories.metadata, page) for page in nodes)
    return list(itertools.islice((event for event in found if type in ("", event.type)), after, after + limit))


def _event(edge: Edge) -> LineageEvent:
    match event_type(edge.cause, edge.effect):
        case "INPUT":
            return LineageEvent("INPUT", edge.cause, edge.at_us, execution=edge.effect)
        case "OUTPUT":
            return LineageEvent("OUTPUT", edge.effect, edge.at_us, execution=edge.cause)
    return LineageEvent("DERIVED", edge.effect, edge.at_us, source=edge.cause)


def _of_type(repositories: Repositories, type: NodeType) -> Iterator[Node]:
    lister = _LISTERS.get(type.kind)
    if lister is not None:
        yield from lister(repositories)
    elif type.kind in BY_NAME:
        for record in _records(repositories.metadata, BY_NAME[type.kind].record):
            yield _of_record(repositories.metadata, record)
    elif type.concept == "artifact":
        yield from _of_edges(repositories, type)


def _of_edges(repositories: Repositories, type: NodeType) -> Iterator[Node]:
    """Artifacts that have no record of their own stand in the edges of the runs that made or were started by them."""
    seen: set[str] = set()
    for runs in _run_pages(repositories):
        nodes = [f"run:{run.id}" for run in runs]
        for direction in _DIRECTIONS:
            for edge in repositories.metadata.edges(nodes, direction):
                node = edge.effect if direction == "effects" else edge.cause
                if type_of(node) is type and node not in seen:
                    seen.add(node)
                    yield Node(node, type.concept, type.name, edge.at_us)


def _source_tables(repositories: Repositories) -> Iterator[Node]:
    """The newest version of each source's table, and those that datasets were built from."""
    metadata, at = repositories.metadata, dict[str, Micros]()
    for version in metadata.find(DatasetVersion):
        for name, number in version.sources.items():
            at.setdefault(f"source:{name}@{number}", version.created_us)
    for source in metadata.find(Source):
        newest = repositories.tables.version(table(source))
        if newest is not None:
            at.setdefault(f"source:{source.name}@{newest}", 0)
    for node, at_us in sorted(at.items()):
        yield Node(node, "artifact", "SourceTable", at_us)


def _runs(repositories: Repositories) -> Iterator[Node]:
    for run in itertools.chain.from_iterable(_run_pages(repositories)):
        yield _of_run(repositories.metadata, run, facts=executions.describe(repositories, run))


def _experiment_runs(repositories: Repositories) -> Iterator[Node]:
    experiments = [experiment.id for experiment in _all_experiments(repositories)]
    query = Query(limit=_PAGE)
    while experiments:
        page = repositories.tracking.search_runs(experiments, query)
        yield from map(_of_experiment_run, page.items)
        if not page.next:
            return
        query = Query(limit=query.limit, page=page.next)


def _experiments(repositories: Repositories) -> Iterator[Node]:
    for experiment in _all_experiments(repositories):
        yield Node(
            f"experiment:{experiment.id}", "context", "Experiment", experiment.created_us, (f"project:{experiment.project}",), plain(experiment)
        )


def _all_experiments(repositories: Repositories) -> Iterator[Experiment]:
    query = Query()
    while True:
        page = repositories.tracking.search_experiments(query)
        yield from page.items
        if not page.next:
            return
        query = Query(page=page.next)


def _pipelines(repositories: Repositories) -> Iterator[Node]:
    seen: dict[str, Deployed] = {}
    for deployed in repositories.metadata.find(Deployed):
        seen.setdefault(deployed.pipeline, deployed)
    for name, deployed in sorted(seen.items()):
        yield Node(f"pipeline:{name}", "context", "Pipeline", deployed.since_us, _project(repositories.metadata, deployed.release), plain(deployed))


def _models(repositories: Repositories) -> Iterator[Node]:
    """Registered names, and those of versions that an older release registered without one."""
    metadata, kind = repositories.metadata, BY_NAME["registered_model"]
    named: dict[str, Node] = {}
    for record in metadata.find(kind.record):
        named[key_of(node_of(record))] = _of_record(metadata, record)
    for version in metadata.find(ModelVersion):
        named.setdefault(version.model, Node(f"registered_model:{version.model}", "context", "RegisteredModel", version.created_us))
    yield from (named[name] for name in sorted(named))


def _projects(repositories: Repositories) -> Iterator[Node]:
    at: dict[str, Micros] = {}
    for release in repositories.metadata.find(PipelineRelease, order="created_us"):
        at.setdefault(release.project, release.created_us)
    for experiment in _all_experiments(repositories):
        at.setdefault(experiment.project, experiment.created_us)
    for name, at_us in sorted(at.items()):
        yield Node(f"project:{name}", "context", "Project", at_us)


_LISTERS: dict[str, Callable[[Repositories], Iterator[Node]]] = {
    "source": _source_tables,
    "run": _runs,
    "experiment_run": _experiment_runs,
    "experiment": _experiments,
    "pipeline": _pipelines,
    "registered_model": _models,
    "project": _projects,
}


def _records(metadata: Metadata, kind: type[Record]) -> Iterator[Record]:
    """Every record of a kind, read page by page, as whoever lists them mostly stops early."""
    page = metadata.page(kind, limit=_PAGE)
    yield from page.items
    while page.next:
        page = metadata.page(kind, after=page.next, limit=_PAGE)
        yield from page.items


def _run_pages(repositories: Repositories) -> Iterator[list[Run]]:
    """Every durable run, the newest first, page by page."""
    page = repositories.runs.page(limit=_PAGE)
    yield page.items
    while page.next:
        page = repositories.runs.page(after=page.next, limit=_PAGE)
        yield page.items


def _of_record(metadata: Metadata, record: Record) -> Node:
    kind, facts = type_of(node_of(record)), plain(record)
    at_us = next((facts[name] for name in _MOMENTS if isinstance(facts.get(name), int)), 0)
    return Node(node_of(record), kind.concept, kind.name, at_us, _contexts(metadata, record), facts)


def _of_run(metadata: Metadata, run: Run, *, facts: executions.Execution) -> Node:
    release = next((key_of(node) for node in facts.inputs if node.startswith("pipeline_release:")), "")
    own = f"pipeline:{run.subject}" if run.workflow == "train" else f"endpoint:{run.subject}"
    return Node(f"run:{run.id}", "execution", "Run", run.created_us, (own, *_project(metadata, release)), plain(facts))


def _of_experiment_run(run: ExperimentRun) -> Node:
    return Node(f"experiment_run:{run.id}", "execution", "ExperimentRun", run.started_us, (f"experiment:{run.experiment}",), plain(run))


def _contexts(metadata: Metadata, record: Record) -> tuple[str, ...]:
    """What a record is attributed to, by its own fields."""
    match record:
        case ModelVersion():
            return (f"registered_model:{record.model}", *_project(metadata, record.release))
        case PipelineRelease():
            return (f"project:{record.project}",)
        case Endpoint():
            return (f"registered_model:{record.model}",)
        case DatasetVersion():
            return (f"pipeline:{record.name}",) if metadata.page(Deployed, {"pipeline": record.name}, limit=1).items else ()
    fields = BY_RECORD[type(record)].key
    named = {"registered_model": "model", "endpoint": "endpoint", "experiment": "experiment"}
    values = {context: getattr(record, field, None) for context, field in named.items() if context != "registered_model" or field in fields}
    return tuple(f"{context}:{value}" for context, value in values.items() if isinstance(value, str) and value)


def _project(metadata: Metadata, release: str) -> tuple[str, ...]:
    found = metadata.get(PipelineRelease, release) if release else None
    return (f"project:{found.project}",) if found else ()


def _record(metadata: Metadata, node: str) -> Record | None:
    """The record behind a node whose kind is stored, read by its key."""
    kind = BY_NAME.get(type_of(node).kind)
    if kind is None or kind.record is Source:
        return None
    parts = key_of(node).rsplit("@", len(kind.key) - 1)
    if len(parts) != len(kind.key):
        return None
    types = kind.record.__annotations__
    keys = [_typed(types.get(field), part) for field, part in zip(kind.key, parts, strict=True)]
    return None if None in keys else metadata.get(kind.record, *keys)  # type: ignore[arg-type]


def _typed(annotation: object, part: str) -> str | int | None:
    if annotation not in (int, Micros):
        return part
    return int(part) if part.isascii() and part.isdigit() and len(part) <= 18 else None
