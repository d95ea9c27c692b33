"""Process 7 on the command line, the metadata side: where things come from, what came of them, why, and what people noted."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Literal

import typer
from rich.console import Console

from rota.cli import show
from rota.cli.opening import opened
from rota.errors import InvalidInput, NotFound
from rota.manage.lineage import explain as lineage_explain
from rota.manage.lineage import graph as walking
from rota.manage.lineage import nodes as lineage_nodes
from rota.manage.lineage import notes as noting
from rota.manage.lineage import row_effects as lineage_rows
from rota.manage.lineage.node_types import TYPES
from rota.manage.lineage.prediction_chain import prediction_chain
from rota.records.record import plain
from rota.records.time import Micros, parse_time
from rota.rendering import lineage_drawing as drawing

commands = typer.Typer()
lineage = typer.Typer(
    no_args_is_help=True, help="Where things come from and what came of them: explain, prediction, row, causes, effects, graph, nodes, events."
)
note = typer.Typer(no_args_is_help=True, help="What people wrote about runs, datasets, models: add, list.")
commands.add_typer(lineage, name="lineage")
commands.add_typer(note, name="note")

Node = Annotated[str, typer.Argument(help="A lineage node, for example model_version:churn@3 or run:ID.")]
Depth = Annotated[int, typer.Option(min=1, max=100, help="How many hops at most.")]
At = Annotated[str, typer.Option("--at", help="A moment, for example 2013-07-15T10:00 (UTC).", show_default=False)]
After = Annotated[int, typer.Option(min=0, help="Leave out so many; for the next page.")]


class Format(StrEnum):
    """What a graph is written as."""

    json = "json"
    dot = "dot"
    mermaid = "mermaid"


@lineage.command()
def explain(
    ctx: typer.Context,
    version: Annotated[str, typer.Argument(metavar="MODEL@VERSION", help="A version by number or alias, for example churn@3 or churn@champion.")],
    at: At = "",
    json: show.Json = False,
) -> None:
    """Explain a model version: data, features, parameters, evaluations, gates, decisions, aliases, rollouts, code, cause, notes.

    With --at an alias is the version that it named then, and what happened later is left out.

    Example: rota lineage explain flight-delay@champion --at 2013-07-15T10:00
    """
    with opened(ctx, "lineage.read") as platform:
        found = lineage_explain.explain(platform.repositories, version, at_us=_moment(at))
    show.facts(lineage_explain.sentences(found), as_json=json, record=found)


@lineage.command()
def prediction(ctx: typer.Context, id: Annotated[str, typer.Argument(help="Prediction id, as the caller got it.")], json: show.Json = False) -> None:
    """Explain one prediction: release, aliases, version, approval, features, run, data, code, and the alert behind the run.

    Example: rota lineage prediction 6d2c1a
    """
    with opened(ctx, "lineage.read") as platform:
        chain = prediction_chain(platform.repositories, id)
    if json:
        show.write_json([{"node": link.node, "what": link.what, "facts": plain(link.facts)} for link in chain])
    else:
        show.facts({link.node: link.what for link in chain}, as_json=False)


@lineage.command()
def row(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(help="Name of the source.")],
    key: Annotated[list[str] | None, typer.Option(help="FIELD=VALUE of the row, repeatable.", show_default=False)] = None,
    at: At = "",
    id: Annotated[str, typer.Option("--id", help="The row's id, where the source has one.", show_default=False)] = "",
    json: show.Json = False,
) -> None:
    """Find what came of a source row: the predictions that could see it, the datasets that hold it, the models trained on these.

    Example: rota lineage row weather --key origin=JFK --at 2013-07-15T10:00
    """
    with opened(ctx, "lineage.read") as platform, _progress() as report:
        keys = dict(_pair(each) for each in key or [])
        found = lineage_rows.effects_of_row(platform.repositories, source, keys, at_us=_moment(at), row_id=id, progress=report)
    shown: dict[str, object] = {"row": f"of {source} at {show.when(found.event_us)}, arrived {show.when(found.arrived_us)}"}
    until = {r: show.when(r.until_us) if r.until_us < lineage_rows.FOREVER_US else "for good" for r in found.reaches}
    shown |= {f"view {r.view}": f"showed it of {plain(r.entity)} from {show.when(r.from_us)} until {until[r]}" for r in found.reaches}
    shown |= {f"seen at {p.endpoint}": f"by {p.count} predictions of {p.version}: {', '.join(p.examples)} ..." for p in found.predictions}
    shown |= {f"dataset {d.dataset}": f"{d.rows} rows, {d.train_rows} of them train, {d.as_label} as label" for d in found.datasets}
    shown |= {f"trained {p.version}": f"{p.count} predictions at {p.endpoint}: {', '.join(p.examples)} ..." for p in found.answered}
    silent = sorted(set(found.models) - {p.version for p in found.answered})
    show.facts(shown | {f"trained {version}": "has not predicted yet" for version in silent}, as_json=json, record=found)


@lineage.command()
def causes(ctx: typer.Context, node: Node, depth: Depth = 12, json: show.Json = False) -> None:
    """Walk from a node to everything it came from, nearest first.

    Example: rota lineage causes model_version:flight-delay@3
    """
    _walk(ctx, node, "causes", depth, json=json)


@lineage.command()
def effects(ctx: typer.Context, node: Node, depth: Depth = 12, json: show.Json = False) -> None:
    """Walk from a node to everything that came from it, nearest first.

    Example: rota lineage effects dataset_version:flight-delay@3
    """
    _walk(ctx, node, "effects", depth, json=json)


@lineage.command()
def graph(ctx: typer.Context, node: Node, depth: Depth = 4, format: Annotated[Format, typer.Option(help="What is written.")] = Format.json) -> None:
    """Write the graph around a node, for other programs or for a picture.

    Example: rota lineage graph model_version:flight-delay@3 --format mermaid
    """
    with opened(ctx, "lineage.read") as platform:
        found = walking.graph(platform.repositories.metadata, node, depth=depth)
    if not found.edges:
        raise NotFound(f"node {node!r} has no causes and no effects; nodes are written kind:key, for example model_version:churn@3", node=node)
    if format is Format.json:
        show.write_json(drawing.as_json(found))
    else:
        print(drawing.as_dot(found) if format is Format.dot else drawing.as_mermaid(found), end="")


@lineage.command()
def nodes(
    ctx: typer.Context,
    type: Annotated[str, typer.Option(help="One type, for example Model, Dataset or Run; otherwise the types are listed.")] = "",
    after: After = 0,
    limit: show.Limit = 100,
    json: show.Json = False,
) -> None:
    """List the artifacts, executions or contexts of a type; without one, the types that there are.

    Example: rota lineage nodes --type Model
    """
    if not type:
        columns = {"concept": lambda t: t.concept, "type": lambda t: t.name, "written as": lambda t: f"{t.kind}:...", "what": lambda t: t.about}
        with opened(ctx, "lineage.read"):
            show.listing(TYPES, columns, as_json=json, empty="")
        return
    with opened(ctx, "lineage.read") as platform:
        found = lineage_nodes.listed(platform.repositories, lineage_nodes.concept_of(type), type=type, after=after, limit=limit)
    columns = {"node": lambda n: n.node, "at": lambda n: show.when(n.at_us) if n.at_us else "", "contexts": lambda n: ", ".join(n.contexts)}
    show.listing(found, columns, as_json=json, empty=f"there is no {type} yet")


@lineage.command()
def events(
    ctx: typer.Context,
    node: Annotated[str, typer.Option(help="Only those of this node.", show_default=False)] = "",
    type: Annotated[str, typer.Option(help="INPUT, OUTPUT or DERIVED.", show_default=False)] = "",
    after: After = 0,
    limit: show.Limit = 100,
    json: show.Json = False,
) -> None:
    """List which execution read or made which artifact, newest run first.

    Example: rota lineage events --node run:train.flight-delay.12 --type INPUT
    """
    with opened(ctx, "lineage.read") as platform:
        found = lineage_nodes.events(platform.repositories, node=node, type=type, after=after, limit=limit)
    columns = {
        "event": lambda e: e.type,
        "artifact": lambda e: e.artifact,
        "of": lambda e: e.execution or e.source,
        "at": lambda e: show.when(e.at_us),
    }
    show.listing(found, columns, as_json=json, empty="no event yet; runs write them by themselves")


@note.command()
def add(
    ctx: typer.Context,
    node: Node,
    text: Annotated[str, typer.Argument(help="What there is to say.")],
    tag: Annotated[list[str] | None, typer.Option(help="A tag, repeatable.", show_default=False)] = None,
    json: show.Json = False,
) -> None:
    """Add a note to a node; notes are never changed or removed.

    Example: rota note add model_version:flight-delay@3 "trained on the week of the storm" --tag data
    """
    with opened(ctx, "note.write") as platform:
        now_us = platform.repositories.clock.now_us()
        made = noting.add(platform.repositories.metadata, node, text, author=platform.identity.name, now_us=now_us, tags=tag or ())
    show.facts({"node": made.node, "author": made.author, "at": show.when(made.at_us), "text": made.text}, as_json=json, record=made)


@note.command("list")
def list_notes(ctx: typer.Context, node: Node, json: show.Json = False) -> None:
    """List the notes about a node, oldest first.

    Example: rota note list model_version:flight-delay@3
    """
    with opened(ctx, "lineage.read") as platform:
        found = noting.of(platform.repositories.metadata, node)
    columns = {"at": lambda n: show.when(n.at_us), "author": lambda n: n.author, "tags": lambda n: ", ".join(n.tags), "note": lambda n: n.text}
    show.listing(found, columns, as_json=json, empty=f'no note about {node} yet; `rota note add {node} "..."` adds one')


def _walk(ctx: typer.Context, node: str, direction: Literal["causes", "effects"], depth: int, *, json: bool) -> None:
    with opened(ctx, "lineage.read") as platform:
        found = walking.walk(platform.repositories.metadata, node, direction, depth=depth)
    if not found.edges and not json:
        raise NotFound(f"node {node!r} has no {direction}; nodes are written kind:key, for example model_version:churn@3", node=node)
    columns = {"effect": lambda e: e.effect, "came from": lambda e: e.cause, "at": lambda e: show.when(e.at_us)}
    if json:
        show.write_json({"node": node, "direction": direction, "edges": [plain(edge) for edge in found.edges], "complete": found.complete})
        return
    show.listing(found.edges, columns, as_json=False, empty="")
    if not found.complete:
        print(f"cut off after {len(found.edges)} edges: more {direction} lie behind them; walk on from the last node, or give a larger --depth")


def _moment(text: str) -> Micros | None:
    return parse_time(text) if text else None


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise InvalidInput(f"--key {text!r} is not FIELD=VALUE; for example origin=JFK", key=text)
    return name, value


@contextmanager
def _progress() -> Iterator[lineage_rows.Progress]:
    """What a long search is at, on the terminal's error stream."""
    console = Console(stderr=True)
    with console.status("looking") as status:
        yield lambda what, done, of: status.update(f"{what} ({done + 1} of {of})")
