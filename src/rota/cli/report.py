"""Process 7 on the command line, the report: every deployed model at a glance, for people, programs and as a page."""

from pathlib import Path
from typing import Annotated

import typer

from rota.cli import rows, show
from rota.cli.opening import opened
from rota.manage.governance import reports
from rota.manage.governance.reports import DeployedModel
from rota.records.record import plain
from rota.rendering.documents import report_html

commands = typer.Typer()
report = typer.Typer(no_args_is_help=True, help="Every deployed model at a glance: models.")
commands.add_typer(report, name="report")


@report.callback()
def _group() -> None:
    """A group, although it has one word."""


@report.command()
def models(
    ctx: typer.Context,
    out: Annotated[Path | None, typer.Option(help="Write one HTML file instead.", show_default=False)] = None,
    json: show.Json = False,
) -> None:
    """Show every deployed model: champion, quality now and at registration, outcomes, alerts, incidents, approval.

    Example: rota report models --out report.html
    """
    with opened(ctx, "model.read") as platform:
        found = reports.models(platform.repositories)
        now_us = platform.repositories.clock.now_us()
    if out is not None:
        rows.write_text(out, report_html(found, now_us))
    if json:
        show.write_json([plain(each) for each in found])
    elif out is not None:
        print(f"wrote {out}")
    else:
        columns = {
            "model": lambda m: m.model,
            "endpoint": lambda m: m.endpoint,
            "champion": lambda m: m.champion,
            "since": lambda m: show.when(m.since_us)[:10],
            "now (at registration)": _quality,
            "outcomes": lambda m: show.figures({kpi.name: kpi.total for kpi in m.kpis}),
            "alerts": lambda m: ", ".join(f"{alert.kind} of {alert.subject}" for alert in m.alerts),
            "incidents": lambda m: len(m.incidents),
            "trained": lambda m: show.when(m.trained_us)[:10],
            "approval": lambda m: "closed" if m.missing else show.when(m.expires_us)[:10] or "for good",
            "owner": lambda m: m.owner,
        }
        show.listing(found, columns, as_json=False, empty="no model is deployed yet")


def _quality(each: DeployedModel) -> str:
    told = []
    for name, value in each.registered.items():
        now = f"{each.measured[name]:.4g}" if name in each.measured else "not measured"
        told.append(f"{name} {now} ({value:.4g})")
    return "  ".join(told)
