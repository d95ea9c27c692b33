"""How commands print: a table or a list of facts for people, JSON for programs; nothing is ever cut off."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rota.records.check import CheckResult, state_words
from rota.records.filters import Page
from rota.records.record import plain
from rota.records.time import Micros, iso
from rota.rendering.line_charts import METRICS

R = TypeVar("R")
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")]
PIPED_WIDTH = 200
_COLOURS = {
    **dict.fromkeys(("succeeded", "approved", "promoted", "resolved", "finished", "pass"), "green"),
    **dict.fromkeys(("failed", "blocked", "rejected", "rolled_back", "critical", "open", "fail"), "red"),
    **dict.fromkeys(("running", "parked", "queued", "canary", "shadow", "warning", "acknowledged", "inconclusive"), "yellow"),
}


def items(found: Sequence[R] | Page[R]) -> Sequence[R]:
    """What is to be shown; that a page is not all goes to standard error."""
    if not isinstance(found, Page):
        return found
    if found.next:
        print(f"these are {len(found.items)}, more follow; a larger --limit shows them", file=sys.stderr)
    return found.items


def listing(found: Sequence[R] | Page[R], columns: Mapping[str, Callable[[R], object]], *, as_json: bool, empty: str) -> None:
    """Records as a table with these columns, or as JSON with all their fields; that a page is not all goes to standard error."""
    found = items(found)
    if as_json:
        write_json([plain(each) for each in found])
    elif not found:
        print(empty)
    else:
        table = Table(*columns, box=None, header_style="bold", pad_edge=False)
        for each in found:
            table.add_row(*(_cell(column(each)) for column in columns.values()))
        console().print(table)


def grid(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    """A table of texts below its title."""
    print(f"\n{title}")
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*map(_cell, row))
    console().print(table)


def checks(found: Sequence[CheckResult]) -> None:
    """What was checked, what came of it, and what a check that could not judge lacks."""
    columns: Mapping[str, Callable[[CheckResult], object]] = {
        "check": lambda c: c.check.replace("_", " "),
        "of": lambda c: c.subject,
        "outcome": lambda c: c.outcome,
        "state": state_words,
        "what it saw": lambda c: c.message,
    }
    listing(found, columns, as_json=False, empty="nothing was checked")


def facts(named: Mapping[str, object], *, as_json: bool, record: object = None) -> None:
    """Names and values below each other; JSON shows `record` instead when one is given."""
    if as_json:
        write_json(plain(named if record is None else record))
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in named.items():
        table.add_row(name, _cell(value))
    console().print(table)


def write_json(value: Any) -> None:
    """Indented JSON; a lone surrogate or a NaN never makes the output unreadable."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def console() -> Console:
    """A console as wide as the terminal; a pipe is given a fixed width, so that output is the same everywhere."""
    return Console(highlight=False) if sys.stdout.isatty() else Console(width=PIPED_WIDTH, highlight=False)


def when(at_us: Micros | None) -> str:
    """A moment to the second, or "" for none."""
    return "" if at_us is None else iso(at_us - at_us % 1_000_000).replace("T", " ").removesuffix("Z")


def figures(values: Mapping[str, Any]) -> str:
    """Named numbers in one line."""
    shown = {name.removesuffix("_us"): when(value) if name.endswith("_us") and isinstance(value, int) else value for name, value in values.items()}
    return "  ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in shown.items())


def headline(metrics: Mapping[str, float]) -> str:
    """The metrics that a list shows; `--json` and `show` have all."""
    return figures({name: metrics[name] for name in METRICS if name in metrics} or metrics)


def _cell(value: object) -> Text:
    """Plain text, so that brackets in a name are never taken for markup and control characters never reach the terminal."""
    if isinstance(value, dict | list | tuple):
        value = json.dumps(plain(value))
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    clean = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
    return Text(clean, style=_COLOURS.get(clean, ""), overflow="fold")
