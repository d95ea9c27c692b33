"""What a person sees while the year runs: the date, the traffic, the rolling figures, and what the loop did."""

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

import rota
from rota.demo import data

STYLES = {"alert": "bold red", "gate": "yellow", "promoted": "bold green", "rolled_back": "bold magenta", "run": "cyan", "rollout": "green"}
SHOWN = 14
NAME = "flight-delay"


class Screen:
    """A live screen on a terminal, one line an event elsewhere, and nothing at all for `--json`."""

    def __init__(self, console: Console | None, days: int) -> None:
        self.console = console
        self.lines: deque[Text] = deque(maxlen=SHOWN)
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.completed:.0f}/{task.total:.0f} days"), TimeElapsedColumn()
        )
        self.task = self.bar.add_task("2013-01-01", total=days)
        self.status = Table.grid(padding=(0, 3))
        self.live = Live(self._layout(), console=console, refresh_per_second=8) if console and console.is_terminal else None
        if self.live:
            self.live.start()

    def tell(self, client: rota.Client, what: str, facts: Mapping[str, Any]) -> None:
        """Show one event."""
        if self.console is None:
            return
        if what == "day":
            self.bar.update(self.task, advance=1, description=facts["date"])
            self._refresh_status(client, facts)
        elif line := _line(what, facts):
            self.lines.append(line)
            if not self.live:
                self.console.print(line)
        if self.live:
            self.live.update(self._layout())

    def close(self) -> None:
        if self.live:
            self.live.stop()
            self.live = None

    def _refresh_status(self, client: rota.Client, facts: Mapping[str, Any]) -> None:
        if not self.live:
            return
        release = client.get(f"/v1/endpoints/{NAME}")["release"] or {"routes": []}
        split = "  ".join(f"v{route['number']} {route['role']} {route['weight']}%" for route in release["routes"])
        days = [day["performance"].get("all", {}) for day in client.get(f"/v1/endpoints/{NAME}/slices", limit=8)]
        auc = [day["roc_auc"] for day in days if "roc_auc" in day]
        alerts = [f"{alert['kind']} {alert['subject']}" for alert in client.get("/v1/alerts", endpoint=NAME, status="open")]
        self.status = Table.grid(padding=(0, 3))
        self.status.add_row("[bold]traffic[/]", split)
        self.status.add_row("[bold]predictions[/]", f"{facts['answered']:,}")
        self.status.add_row("[bold]AUC, last 7 days[/]", f"{sum(auc) / len(auc):.3f}" if auc else "labels are on their way")
        self.status.add_row("[bold]open alerts[/]", ", ".join(alerts) or "none")

    def _layout(self) -> Panel:
        return Panel(
            Group(self.bar, "", self.status, "", *self.lines), title="rota demo: a year of flights through the closed loop", border_style="blue"
        )


@contextmanager
def opened(*, as_json: bool, first_day: str, days: int) -> Iterator[Screen]:
    """A screen that is taken down at the end, whatever happens."""
    console = None if as_json else Console(soft_wrap=True)
    if console:
        console.print(f"[dim]starting the platform; the replay begins on {first_day}[/]")
    screen = Screen(console, days)
    try:
        yield screen
    finally:
        screen.close()


def show(report: Mapping[str, Any], *, as_json: bool, kept: Path | None) -> None:
    """The report as tables, or as JSON."""
    if as_json:
        print(json.dumps(report, indent=1))  # noqa: T201 - this is the command's output
        return
    console = Console(soft_wrap=True)
    console.print(_months(report["months"]))
    console.print(_summary(report))
    console.print(Text("\nFrom one prediction back to its cause", style="bold"))
    for link in report["chain"]:
        console.print(Text.assemble(("  ← ", "dim"), (link["node"], "cyan"), f"  {link['what']}"))
    parity = report["parity"]
    console.print(
        f"\ntraining == serving: {parity['cells']:,} feature values of {parity['rows']:,} predictions recomputed, {parity['different']} differ"
    )
    console.print(f"the whole run took {report['seconds']:.0f} s")
    if kept:
        port, token = json.loads((kept / "ports.json").read_text())["control"], (kept / "token").read_text().strip()
        console.print(f"\nthe platform stays up, look around at http://127.0.0.1:{port}/enter?token={token}")
        console.print(f"stop it with: rota --home {kept} down")


def _months(months: list[dict[str, Any]]) -> Table:
    table = Table(title="The loop beside its frozen first model, on the same flights")
    for column in ("month", "flights", "AUC loop", "AUC frozen", "log loss loop", "log loss frozen"):
        table.add_column(column, justify="left" if column == "month" else "right")
    for row in months:
        figures = [f"{row[who][metric]:.3f}" for metric in ("roc_auc", "log_loss") for who in ("served", "other")]
        table.add_row(row["month"], f"{row['rows']:,}", *figures, style="bold" if row["month"] == "all" else "")
    return table


def _summary(report: Mapping[str, Any]) -> Table:
    table = Table(title="What the loop did")
    for column in ("date", "what", "why"):
        table.add_column(column, overflow="fold")
    rows = [(run["at"], f"training {run['status']}", f"{run['trigger']}{': ' + run['reason'] if run['reason'] else ''}") for run in report["runs"]]
    rows += [(r["until"], f"version {r['version']} {r['state'].replace('_', ' ')}", r["reason"]) for r in report["rollouts"] if r["until"]]
    rows += [(a["raised"], f"{a['severity']} alert: {a['kind']} {a['subject']}", a["message"]) for a in report["alerts"]]
    for row in sorted(rows):
        table.add_row(*row)
    return table


def _line(what: str, facts: Mapping[str, Any]) -> Text | None:
    """One event as a line, or None for events that say nothing to a person."""
    body = facts.get("body", {})
    date = data.date_of(facts["at_us"]) if "at_us" in facts else " " * 10
    if what == "run.finished" and body["workflow"] != "train":
        return None
    told: dict[str, Callable[[], tuple[str, str]]] = {
        "alert.raised": lambda: (f"alert: {body['message']}", STYLES["gate" if body["kind"] == "gate" else "alert"]),
        "rollout.changed": lambda: (f"{body['state'].replace('_', ' ')}: {body['message']}", STYLES.get(body["state"], STYLES["rollout"])),
        "run.finished": lambda: (f"training {body['status']}: {facts['subject']}", STYLES["run"]),
        "version.registered": lambda: (f"version {body['number']} registered", STYLES["run"]),
        "ingested": lambda: (f"{facts['arrivals']:,} arrivals and {facts['weather']:,} weather observations of two months ingested", ""),
        "repaired": lambda: (f"the weather feed is repaired: {facts['rows']} observations sent again in Fahrenheit", STYLES["rollout"]),
    }
    if what not in told:
        return None
    text, style = told[what]()
    return Text(f"{date}  {text}", style=style)
