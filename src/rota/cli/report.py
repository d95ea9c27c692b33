"""Reports on the command line: every deployed model at a glance, and the times of deliveries; for people, programs and as a page."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from rota.cli import rows, show
from rota.cli.opening import opened
from rota.manage.governance import delivery_times, reports
from rota.manage.governance.delivery_times import Delivered, DeliveryReport, TakenBack
from rota.manage.governance.reports import DeployedModel
from rota.records.record import plain
from rota.records.time import lasted
from rota.rendering.documents import delivery_html, report_html

commands = typer.Typer()
report = typer.Typer(no_args_is_help=True, help="Every deployed model at a glance, and how long deliveries take: models, delivery.")
commands.add_typer(report, name="report")


@report.callback()
def _group() -> None:
    """Reports for people who answer for models."""


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


@report.command()
def delivery(
    ctx: typer.Context,
    days: Annotated[float, typer.Option(help="How many days back.")] = delivery_times.DAYS,
    endpoint: Annotated[str, typer.Option(help="One endpoint; all without it.", show_default=False)] = "",
    out: Annotated[Path | None, typer.Option(help="Write one HTML file instead.", show_default=False)] = None,
    json: show.Json = False,
) -> None:
    """Show how long changes took from commit to production, repairs from alert to production, and rollbacks to take effect.

    Example: rota report delivery --days 30
    """
    with opened(ctx, "model.read") as platform:
        found = delivery_times.report(platform.repositories, days=days, endpoint=endpoint)
    if out is not None:
        rows.write_text(out, delivery_html(found))
    if json:
        show.write_json(delivery_times.as_plain(found))
    elif out is not None:
        print(f"wrote {out}")
    else:
        _print_delivery(found)


def _print_delivery(found: DeliveryReport) -> None:
    delivered: dict[str, Callable[[Delivered], object]] = {
        "version": lambda d: d.version,
        "endpoint": lambda d: d.endpoint,
        "promoted": lambda d: show.when(d.promoted_us),
        "from commit": lambda d: lasted(0, d.lead_us),
        "commit": lambda d: d.commit[:12],
        "from alert": lambda d: lasted(0, d.repair_us),
        "from training": lambda d: lasted(d.trained_us, d.promoted_us),
        "from approval": lambda d: lasted(d.approved_us, d.promoted_us),
        "rollout": lambda d: lasted(d.started_us, d.promoted_us),
    }
    taken: dict[str, Callable[[TakenBack], object]] = {
        "left": lambda t: ", ".join(t.left),
        "endpoint": lambda t: t.endpoint,
        "by": lambda t: t.by,
        "asked": lambda t: show.when(t.asked_us),
        "to the last old answer": lambda t: lasted(0, t.lasted_us),
        "was in production": lambda t: "yes" if t.was_promoted else "",
    }
    show.listing(found.delivered, delivered, as_json=False, empty=f"nothing was promoted since {show.when(found.since_us)}")
    print()
    show.listing(found.taken_back, taken, as_json=False, empty=f"no traffic was taken back since {show.when(found.since_us)}")
    print()
    medians = {"commit to production": found.median_lead_us, "alert to production": found.median_repair_us, "rollback": found.median_rollback_us}
    said = {f"{name}, median": lasted(0, value) or "nothing to measure" for name, value in medians.items()}
    rate = "no rollout ended" if found.failure_rate is None else f"{found.failure_rate:.0%}"
    show.facts({**said, "promotions a week": f"{found.promotions_a_week:.1f}", "deliveries taken back": rate}, as_json=False)


def _quality(each: DeployedModel) -> str:
    told = []
    for name, value in each.registered.items():
        now = f"{each.measured[name]:.4g}" if name in each.measured else "not measured"
        told.append(f"{name} {now} ({value:.4g})")
    return "  ".join(told)
