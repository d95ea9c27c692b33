"""Walk the lineage graph from any node to its causes and effects, level by level."""

from dataclasses import dataclass
from typing import Literal

from rota.ports.metadata import Metadata
from rota.records.signal import Edge

MAX_NODES = 10_000
MAX_DEPTH = 100
"""Hops that a caller from outside may ask for."""
Direction = Literal["causes", "effects"]


@dataclass(frozen=True, slots=True)
class Walk:
    """Edges from a node, nearest first, each once. Not `complete`: more edges lie behind the last hop, beyond the depth or the nodes asked for."""

    edges: tuple[Edge, ...]
    complete: bool


def walk(metadata: Metadata, node: str, direction: Direction, *, depth: int = 12, most: int = MAX_NODES) -> Walk:
    """Edges from a node towards its causes or effects for people to read: up to `depth` hops, and no further hop behind `most` nodes.

    Whoever decides by what a node came from or led to asks `reached`, which has no bound.

    One query a level: each is a look-up in an index whatever the planner believes, and the walk can be bounded in nodes. A recursive
    query is quicker where it is planned well (benchmarks/metadata/lineage.py), and may scan the whole table where it is not.
    """
    levels, complete = _levels(metadata, node, direction, depth=depth, most=most)
    return Walk(tuple(edge for level in levels for edge in level), complete)


def reached(metadata: Metadata, node: str, direction: Direction) -> set[str]:
    """Every node that a node came from, or that came from it, however many and however far; the node itself only in a circle."""
    found, level = set[str](), {node}
    while level:
        level = {_far_end(edge, direction) for edge in metadata.edges(level, direction)} - found
        found |= level
    return found


@dataclass(frozen=True, slots=True)
class Graph:
    """The surroundings of a node. `level` of a node: hops from the middle, causes below zero, effects above.

    `cut`: there is more than what was asked for.
    """

    node: str
    levels: dict[str, int]
    edges: tuple[Edge, ...]
    cut: bool = False


def graph(metadata: Metadata, node: str, *, depth: int = 4, most: int = 400) -> Graph:
    """What a node came from and what came from it, at most `most` nodes."""
    levels, edges = {node: 0}, dict[tuple[str, str], Edge]()
    cut = False
    directions: tuple[tuple[Direction, int], ...] = (("causes", -1), ("effects", 1))
    for direction, sign in directions:
        hops, complete = _levels(metadata, node, direction, depth=depth, most=most)
        cut, shown = cut or not complete, 0
        for hop, found in enumerate(hops, 1):
            for edge in found:
                far = _far_end(edge, direction)
                if far not in levels and shown >= most // 2:
                    cut = True
                    continue
                shown += far not in levels
                levels.setdefault(far, sign * hop)
                edges[edge.cause, edge.effect] = edge
    return Graph(node, levels, tuple(edges.values()), cut)


def _levels(metadata: Metadata, node: str, direction: Direction, *, depth: int, most: int) -> tuple[list[list[Edge]], bool]:
    """The edges of each hop, and whether none lies behind the last; a hop that reaches only nodes already met is the last."""
    seen, level, found = {node}, [node], list[list[Edge]]()
    while level:
        edges = metadata.edges(level, direction)
        if not edges:
            break
        if len(found) == depth or len(seen) > most:
            return found, False
        found.append(edges)
        level = sorted({_far_end(edge, direction) for edge in edges} - seen)
        seen.update(level)
    return found, True


def _far_end(edge: Edge, direction: Direction) -> str:
    return edge.cause if direction == "causes" else edge.effect
