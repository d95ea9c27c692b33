"""Walk the lineage graph from any node to its causes and effects, level by level."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from rota.ports.metadata import Metadata
from rota.records.signal import Edge

MAX_NODES = 10_000
MAX_DEPTH = 100
"""Hops that a caller from outside may ask for."""
Direction = Literal["causes", "effects"]


def walk(metadata: Metadata, node: str, direction: Direction, *, depth: int = 12) -> list[Edge]:
    """Edges from a node towards its causes or effects, nearest first; each edge once, at most MAX_NODES nodes.

    One query a level: each is a look-up in an index whatever the planner believes, and the walk can be bounded in nodes. A recursive
    query is quicker where it is planned well (benchmarks/metadata/lineage.py), and may scan the whole table where it is not.
    """
    return [edge for level in _levels(metadata, [node], direction, depth=depth, most=MAX_NODES) for edge in level]


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
        reached = 0
        for hop, found in enumerate(_levels(metadata, [node], direction, depth=depth + 1, most=most), 1):
            if hop > depth:
                cut = cut or bool(found)
                break
            for edge in found:
                far = _far_end(edge, direction)
                if far not in levels and reached >= most // 2:
                    cut = True
                    continue
                reached += far not in levels
                levels.setdefault(far, sign * hop)
                edges[edge.cause, edge.effect] = edge
    return Graph(node, levels, tuple(edges.values()), cut)


def _levels(metadata: Metadata, level: Collection[str], direction: Direction, *, depth: int, most: int) -> list[list[Edge]]:
    """The edges of each hop; a hop that reaches only nodes already met is the last."""
    seen, found = set(level), list[list[Edge]]()
    for _ in range(depth):
        edges = metadata.edges(level, direction)
        if not edges:
            break
        found.append(edges)
        reached = {_far_end(edge, direction) for edge in edges} - seen
        level = sorted(reached)
        seen |= reached
        if not level or len(seen) > most:
            break
    return found


def _far_end(edge: Edge, direction: Direction) -> str:
    return edge.cause if direction == "causes" else edge.effect
