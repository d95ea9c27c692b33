"""Lineage graphs as text for other programs (JSON, Graphviz, Mermaid), and laid out by levels for a picture."""

import re
from dataclasses import dataclass
from typing import Any

from rota.manage.lineage.graph import Graph
from rota.manage.lineage.node_types import Concept, event_type, key_of, type_of
from rota.records.time import iso

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 196, 44, 62, 14, 26
_LONGEST = 30
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOMENT = re.compile(r"@(\d{16})$")
_DOT_SHAPE = {"artifact": "box", "execution": "ellipse", "context": "folder"}


def as_json(graph: Graph) -> dict[str, Any]:
    """The graph in ML Metadata's words."""
    nodes = [{"node": node, "concept": type_of(node).concept, "type": type_of(node).name, "level": level} for node, level in _ordered(graph)]
    edges = [{"cause": edge.cause, "effect": edge.effect, "event": event_type(edge.cause, edge.effect), "at_us": edge.at_us} for edge in graph.edges]
    return {"node": graph.node, "nodes": nodes, "edges": edges, "cut": graph.cut}


def as_dot(graph: Graph) -> str:
    """Graphviz: `rota lineage graph NODE --format dot | dot -Tsvg`."""
    lines = ["digraph lineage {", "  rankdir=LR;"]
    for node, _ in _ordered(graph):
        lines.append(f"  {_dot(node)} [shape={_DOT_SHAPE[type_of(node).concept]}, label={_dot(type_of(node).name + ': ' + short(node))}];")
    lines += [f"  {_dot(edge.cause)} -> {_dot(edge.effect)};" for edge in graph.edges]
    return "\n".join([*lines, "}"]) + "\n"


def as_mermaid(graph: Graph) -> str:
    """Mermaid, as Markdown pages draw it."""
    names = {node: f"n{place}" for place, (node, _) in enumerate(_ordered(graph))}
    lines = ["flowchart LR"]
    for node, name in names.items():
        left, right = ("([", "])") if type_of(node).concept == "execution" else ("[", "]")
        lines.append(f'  {name}{left}"{_mermaid(type_of(node).name + ": " + short(node))}"{right}')
    lines += [f"  {names[edge.cause]} --> {names[edge.effect]}" for edge in graph.edges]
    return "\n".join(lines) + "\n"


def short(node: str) -> str:
    """A node's key, with its digests cut to what tells them apart and its moments to the second."""
    key = _DIGEST.sub(lambda match: match[0][:12], key_of(node) or node)
    return _MOMENT.sub(lambda match: "@" + iso(int(match[1]))[:19], key)


@dataclass(frozen=True, slots=True)
class Box:
    """A node's place in the picture; `title` is its type, `text` its key cut to fit."""

    node: str
    concept: Concept
    title: str
    text: str
    x: int
    y: int
    middle: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """The boxes, the paths between them (SVG path data), and the size of it all."""

    boxes: tuple[Box, ...]
    paths: tuple[str, ...]
    width: int
    height: int
    box_width: int = _WIDTH
    box_height: int = _HEIGHT


def picture(graph: Graph) -> Picture:
    """The graph from left (causes) to right (effects), one column a level, executions before artifacts within a column."""
    columns: dict[int, list[str]] = {}
    for node, level in _ordered(graph):
        columns.setdefault(level, []).append(node)
    tallest = max(map(len, columns.values()))
    height = 2 * _MARGIN + tallest * (_HEIGHT + _GAP_Y) - _GAP_Y
    boxes: dict[str, Box] = {}
    for place, level in enumerate(sorted(columns)):
        free = (tallest - len(columns[level])) * (_HEIGHT + _GAP_Y) // 2
        for row, node in enumerate(columns[level]):
            x, y = _MARGIN + place * (_WIDTH + _GAP_X), _MARGIN + free + row * (_HEIGHT + _GAP_Y)
            boxes[node] = Box(node, type_of(node).concept, type_of(node).name, _cut(short(node)), x, y, node == graph.node)
    paths = tuple(_path(boxes[edge.cause], boxes[edge.effect]) for edge in graph.edges if edge.cause != edge.effect)
    return Picture(tuple(boxes.values()), paths, 2 * _MARGIN + len(columns) * (_WIDTH + _GAP_X) - _GAP_X, height)


def _ordered(graph: Graph) -> list[tuple[str, int]]:
    return sorted(graph.levels.items(), key=lambda item: (item[1], type_of(item[0]).concept != "execution", type_of(item[0]).name, item[0]))


def _path(cause: Box, effect: Box) -> str:
    """A curve from the right side of the cause to the left side of the effect; against the columns the other way, within one along its left."""
    y1, y2 = cause.y + _HEIGHT // 2, effect.y + _HEIGHT // 2
    if cause.x == effect.x:
        return f"M{cause.x} {y1}C{cause.x - 30} {y1} {cause.x - 30} {y2} {cause.x} {y2}"
    x1, x2 = (cause.x + _WIDTH, effect.x) if cause.x < effect.x else (cause.x, effect.x + _WIDTH)
    bend = (x2 - x1) // 2
    return f"M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST // 2] + "\N{HORIZONTAL ELLIPSIS}" + text[-_LONGEST // 2 + 1 :]


def _dot(text: str) -> str:
    clean = "".join(c if c.isprintable() else "?" for c in text)
    return '"' + clean.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _mermaid(text: str) -> str:
    """Mermaid knows no escapes but character codes."""
    return "".join(c if c.isalnum() or c in " .:_@-/" else f"#{ord(c)};" for c in text)
