"""Metadata over HTTP: artifacts, executions, contexts and events, the lineage graph, why, and notes."""

from typing import Any, Literal

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool

from rota.errors import InvalidInput
from rota.manage.lineage import explain as lineage_explain
from rota.manage.lineage import graph as lineage
from rota.manage.lineage import nodes as lineage_nodes
from rota.manage.lineage import notes
from rota.manage.lineage import row_effects as lineage_rows
from rota.manage.lineage.node_types import TYPES
from rota.manage.lineage.prediction_chain import prediction_chain
from rota.records.record import plain
from rota.records.time import parse_time
from rota.rendering import lineage_drawing
from rota.server.access.permissions import actor_of, needs
from rota.server.wire import Number, Position, body_as, listed, platform_of

router = APIRouter()

MAX_PAGE = 1_000


class NewNote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A note as it is sent; author and time are the server's."""

    node: str
    text: str
    tags: tuple[str, ...] = ()


@router.get("/v1/metadata/types", dependencies=needs("lineage.read"))
def types() -> list[Any]:
    """What kinds of nodes there are."""
    return listed(TYPES)


@router.get("/v1/metadata/artifacts", dependencies=needs("lineage.read"))
def artifacts(request: Request, type: str = "", after: Position = 0, limit: Number = 100) -> list[Any]:
    return _nodes(request, "artifact", type, after, limit)


@router.get("/v1/metadata/executions", dependencies=needs("lineage.read"))
def executions(request: Request, type: str = "", after: Position = 0, limit: Number = 100) -> list[Any]:
    return _nodes(request, "execution", type, after, limit)


@router.get("/v1/metadata/contexts", dependencies=needs("lineage.read"))
def contexts(request: Request, type: str = "", after: Position = 0, limit: Number = 100) -> list[Any]:
    return _nodes(request, "context", type, after, limit)


@router.get("/v1/metadata/events", dependencies=needs("lineage.read"))
def events(request: Request, node: str = "", type: str = "", after: Position = 0, limit: Number = 100) -> list[Any]:
    after, limit = _page(after, limit)
    return listed(lineage_nodes.events(platform_of(request).repositories, node=node, type=type, after=after, limit=limit))


@router.get("/v1/metadata/nodes/{node:path}", dependencies=needs("lineage.read"))
def node(request: Request, node: str) -> dict[str, Any]:
    """One node with its events and notes."""
    repositories = platform_of(request).repositories
    found = lineage_nodes.get(repositories, node)
    of_node = lineage_nodes.events_of(repositories.metadata, [node])
    return {"node": plain(found), "events": listed(of_node), "notes": listed(notes.of(repositories.metadata, node))}


@router.get("/v1/lineage/prediction/{prediction_id}", dependencies=needs("lineage.read"))
def prediction_lineage(request: Request, prediction_id: str) -> list[Any]:
    """The whole chain behind one prediction, from the prediction back to data, code and cause."""
    chain = prediction_chain(platform_of(request).repositories, prediction_id)
    return [{"node": link.node, "what": link.what, "facts": plain(link.facts)} for link in chain]


@router.get("/v1/lineage/explain/{reference}", dependencies=needs("lineage.read"))
def explain(request: Request, reference: str, at: str = "") -> dict[str, Any]:
    """Why a model version is what it is and stands where it stands."""
    found = lineage_explain.explain(platform_of(request).repositories, reference, at_us=parse_time(at) if at else None)
    return {"sentences": lineage_explain.sentences(found), "explanation": plain(found)}


@router.get("/v1/lineage/row/{source}", dependencies=needs("lineage.read"))
def row(request: Request, source: str, at: str = "", id: str = "", key: list[str] = Query([])) -> dict[str, Any]:  # noqa: B008 - FastAPI's way
    """What came of a source row; `key` is FIELD=VALUE, repeatable."""
    if any("=" not in each for each in key):
        raise InvalidInput(f"key {key} is not FIELD=VALUE; for example key=origin=JFK", key=key)
    keys = {name: value for name, _, value in (each.partition("=") for each in key)}
    found = lineage_rows.effects_of_row(platform_of(request).repositories, source, keys, at_us=parse_time(at) if at else None, row_id=id)
    answer: dict[str, Any] = plain(found)
    return answer


@router.get("/v1/lineage/graph/{node:path}", dependencies=needs("lineage.read"))
def graph(request: Request, node: str, depth: Number = 4) -> dict[str, Any]:
    """The surroundings of a node, each node with its level: causes below zero, effects above."""
    return lineage_drawing.as_json(lineage.graph(platform_of(request).repositories.metadata, node, depth=_depth(depth)))


@router.get("/v1/lineage/{direction}/{node:path}", dependencies=needs("lineage.read"))
def walk(request: Request, direction: Literal["causes", "effects"], node: str, depth: Number = 12) -> dict[str, Any]:
    """Edges from a node towards its causes or effects, nearest first; `complete` is false when more lie behind the last."""
    found = lineage.walk(platform_of(request).repositories.metadata, node, direction, depth=_depth(depth))
    return {"node": node, "direction": direction, "edges": listed(found.edges), "complete": found.complete}


@router.get("/v1/notes/{node:path}", dependencies=needs("lineage.read"))
def read_notes(request: Request, node: str) -> list[Any]:
    """The notes about a node, oldest first."""
    return listed(notes.of(platform_of(request).repositories.metadata, node))


@router.post("/v1/notes", dependencies=needs("note.write", takes=NewNote))
async def add_note(request: Request) -> Any:
    """Add a note; its author is who calls."""
    sent, repositories = await body_as(request, NewNote), platform_of(request).repositories
    now_us = repositories.clock.now_us()
    made = await run_in_threadpool(notes.add, repositories.metadata, sent.node, sent.text, author=actor_of(request), now_us=now_us, tags=sent.tags)
    return plain(made)


def _nodes(request: Request, concept: Literal["artifact", "execution", "context"], type: str, after: int, limit: int) -> list[Any]:
    after, limit = _page(after, limit)
    return listed(lineage_nodes.listed(platform_of(request).repositories, concept, type=type, after=after, limit=limit))


def _page(after: int, limit: int) -> tuple[int, int]:
    if after < 0 or not 1 <= limit <= MAX_PAGE:
        raise InvalidInput(f"after={after}, limit={limit}: after is at least 0, limit lies between 1 and {MAX_PAGE}", after=after, limit=limit)
    return after, limit


def _depth(depth: int) -> int:
    if not 1 <= depth <= lineage.MAX_DEPTH:
        raise InvalidInput(f"depth={depth} must lie between 1 and {lineage.MAX_DEPTH}", depth=depth)
    return depth
