"""Process 6 on the command line: what a monitor sees, alerts, what each slice measured, and an extra monitor run."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from rota.cli import lists, show
from rota.cli.opening import opened
from rota.errors import NotFound
from rota.manage.adoption import prediction_import
from rota.manage.datasets import schema_inference
from rota.manage.governance import cards
from rota.manage.models import endpoints
from rota.manage.signals import alerts as alerting
from rota.manage.signals import platform_alerts, unheard_alerts
from rota.monitor import calibration, status, vectors
from rota.records.calibration import FeatureCalibration, MonitorCalibration
from rota.records.record import plain
from rota.records.release import Endpoint
from rota.records.run import Deployed, Run
from rota.records.signal import Monitor, MonitorSlice
from rota.rendering.line_charts import ALL

commands = typer.Typer()
monitor = typer.Typer(no_args_is_help=True, help="What is watched, alerts and measured slices: show, alerts, ack, slices, calibrate ...")
commands.add_typer(monitor, name="monitor")
monitor.add_typer(lists.monitor)
OfEndpoint = Annotated[str, typer.Argument(help="Name of the endpoint.")]


@monitor.command()
def ack(ctx: typer.Context, alert: Annotated[str, typer.Argument(help="Id of an open alert.")], json: show.Json = False) -> None:
    """Acknowledge an open alert: somebody has seen it. One of something that happened once (`event:N`) ends with it.

    Example: rota monitor ack flight-delay.performance.auc.1373860800000000
    """
    with opened(ctx, "monitor.act") as platform:
        repositories = platform.repositories
        seen = platform_alerts.acknowledge(repositories.metadata, alert, actor=platform.identity.name, now_us=repositories.clock.now_us())
    show.facts({"alert": seen.id, "status": seen.status, "message": seen.message}, as_json=json, record=seen)


@monitor.command()
def slices(ctx: typer.Context, endpoint: OfEndpoint, limit: show.Limit = 30, json: show.Json = False) -> None:
    """List what each slice of time measured, newest first.

    Example: rota monitor slices flight-delay --limit 7
    """
    with opened(ctx, "monitor.read") as platform:
        found = platform.repositories.metadata.page(MonitorSlice, {"endpoint": endpoint}, order="-start_us", limit=limit)
    columns = {
        "from": lambda s: show.when(s.start_us),
        "rows": lambda s: s.rows,
        "labelled": lambda s: f"{s.labelled}{f', {s.set_apart} set apart' if s.set_apart else ''}",
        "revised": lambda s: f"{s.revisions} times, {show.when(s.revised_us)}" if s.revisions else "",
        "performance": lambda s: "; ".join(f"v{version} {show.headline(found)}" for version, found in s.performance.items() if version != ALL),
        "efficiency": lambda s: show.figures(s.efficiency),
    }
    show.listing(
        found, columns, as_json=json, empty=f"endpoint {endpoint!r} has no measured slice; its monitor runs on a schedule, or `rota monitor run`"
    )


@monitor.command("show")
def show_(ctx: typer.Context, endpoint: OfEndpoint, json: show.Json = False) -> None:
    """Show what an endpoint's monitor sees: each check's newest result, and what one that could not judge lacks.

    Example: rota monitor show flight-delay
    """
    with opened(ctx, "monitor.read") as platform:
        metadata = platform.repositories.metadata
        found = metadata.get(Endpoint, endpoint)
        if found is None:
            raise NotFound(f"there is no endpoint {endpoint!r}; `rota endpoints list` shows them", endpoint=endpoint)
        seen = status.of_endpoint(platform.repositories, endpoint)
        opened_alerts = alerting.open_alerts(metadata, endpoint)
        pipelines = [each.definition for each in metadata.find(Deployed) if each.pipeline == found.model]
        notes = unheard_alerts.notes(pipelines, watched=seen.monitored)
    if json:
        show.write_json(plain(seen) | {"states": dict(seen.states), "alerts": [plain(alert) for alert in opened_alerts], "notes": notes})
        return
    named = {
        "endpoint": endpoint,
        "newest run": f"{seen.run} at {show.when(seen.at_us)}" if seen.run else "none",
        "newest day": seen.day or "none",
        "checks": ", ".join(f"{count} {state}" for state, count in seen.states.items()) or "none",
        "open alerts": "; ".join(f"{alert.kind} of {alert.subject}: {alert.message}" for alert in opened_alerts) or "none",
        "not judged": "\n".join(seen.not_judged) or "everything was judged",
    }
    show.facts(named | ({"note": "\n".join(notes)} if notes else {}), as_json=False)
    print()
    show.checks(seen.checks)
    if seen.performance is not None:
        _print_performance(seen.performance)


def _print_performance(found: status.MeasuredDay) -> None:
    """The metrics of the newest labelled day with their intervals, and what lies behind them."""
    metrics = [(name, cards.with_interval(value, found.intervals.get(name))) for name, value in found.metrics.items()]
    metrics += [(name, f"not measured: it {reason}") for name, reason in found.not_measured.items()]
    show.grid(("metric", "value"), metrics, f"performance on {found.day}, {found.labelled} labelled rows")
    for grid in cards.breakdown_grids(found.breakdown):
        show.grid(grid.columns, grid.rows, grid.title)


@monitor.command()
def run(ctx: typer.Context, endpoint: OfEndpoint, json: show.Json = False) -> None:
    """Start a monitor run now instead of at its schedule's next tick.

    Example: rota monitor run flight-delay
    """
    with opened(ctx, "monitor.act") as platform:
        repositories = platform.repositories
        if repositories.metadata.get(Monitor, endpoint) is None:
            raise NotFound(f"endpoint {endpoint!r} has no monitor; add a rota.Monitor to the project and `rota apply`", endpoint=endpoint)
        now_us = repositories.clock.now_us()
        wanted = Run(f"monitor.{endpoint}.manual.{now_us}", "monitor", endpoint, {"endpoint": endpoint}, now_us, f"person:{platform.identity.name}")
        repositories.runs.submit(wanted)
    if json:
        show.write_json({"run": wanted.id})
    else:
        print(f"{wanted.id} is queued; follow it with `rota runs show {wanted.id}`")


@monitor.command("two-sample")
def two_sample(
    ctx: typer.Context,
    endpoint: OfEndpoint,
    feature: Annotated[str, typer.Argument(help="Full name of a feature that is a list of one length, such as cards__embedding.")],
    days: Annotated[int, typer.Option(min=1, help="How many of the newest complete days are compared with the training data.")] = vectors.TESTED_DAYS,
    json: show.Json = False,
) -> None:
    """Test whether a classifier can tell an embedding's served vectors from those of the training data. Exits with 1 when it can, or cannot judge.

    Example: rota monitor two-sample fraud cards__embedding --days 7
    """
    with opened(ctx, "monitor.read") as platform:
        found = vectors.two_sample(platform.repositories, endpoint, feature, days=days)
    if json:
        show.write_json({"feature": feature, "days": days, **vectors.plain_verdict(found), "message": vectors.sentence(found)})
    else:
        print(f"{feature}, newest {days} days: {vectors.sentence(found)}")
    if found.state != "same":
        raise typer.Exit(1)


@monitor.command()
def create(
    ctx: typer.Context,
    endpoint: OfEndpoint,
    schedule: Annotated[str, typer.Option(help="When it looks at the newest complete days, as a cron expression.")] = "0 1 * * *",
    false_alarm_days: Annotated[int, typer.Option(help="Days between two false alarms that the team can live with.")] = 90,
    off: Annotated[list[str] | None, typer.Option(help="Switch a check off: drift, or drift:FEATURE; may be given several times.")] = None,
    json: show.Json = False,
) -> None:
    """Watch an endpoint from now on, for one that no project here declares a monitor of.

    Example: rota monitor create churn --schedule "0 2 * * *" --false-alarm-days 60
    """
    with opened(ctx, "pipeline.deploy") as platform:
        r = platform.repositories
        by, now_us = platform.identity.name, r.clock.now_us()
        made = endpoints.watch(
            r.metadata, endpoint, schedule=schedule, days_between_false_alarms=false_alarm_days, off=off or (), actor=by, now_us=now_us
        )
    named = {"endpoint": endpoint, "schedule": made.schedule} | ({"off": ", ".join(made.off)} if made.off else {})
    show.facts(named, as_json=json, record=made)


@monitor.command()
def calibrate(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(help="An endpoint with a monitor, or a .parquet, .csv or .jsonl file with --timestamp.")],
    timestamp: Annotated[str, typer.Option(help="The file's column with each row's moment.")] = "",
    false_alarm_days: Annotated[int, typer.Option(help="Of a file: days between two false alarms that the team can live with.")] = 90,
    json: show.Json = False,
) -> None:
    """Before a monitor is enabled: its false alarms on your own days, and the smallest change of each feature found in 2 and in 28 days.

    Example: rota monitor calibrate history.parquet --timestamp at --false-alarm-days 60
    """
    if timestamp:
        watcher = Monitor(Endpoint("calibration", "calibration"), expected_days_between_false_alarms=false_alarm_days)
        found = calibration.calibrate(calibration.of_table(source, schema_inference.file_table(Path(source)).collect(), timestamp), watcher)
    else:
        if Path(source).suffix in schema_inference.READERS:
            raise typer.BadParameter("a file needs --timestamp, the column with each row's moment", param_hint="--timestamp")
        with opened(ctx, "monitor.read") as platform:
            found = calibration.calibrate(*calibration.of_endpoint(platform.repositories, source))
    if json:
        show.write_json(plain(found) | {"days_between_false_alarms": found.days_between_false_alarms})
        return
    _print_calibration(found)


def _print_calibration(found: MonitorCalibration) -> None:
    begun = f"{found.false_alarms} began in {found.judged_days} days in shuffled order" if found.judged_days else "not counted"
    named = {
        "source": f"{found.source}, {found.days} days",
        "stated": f"a false alarm in {found.expected_days_between_false_alarms:g} days at most",
        "false alarms": begun,
        "as they were": "\n".join(f"{show.when(each.day_us)[:10]} {each.message}" for each in found.raised) or "no alarm",
        "note": "\n".join(found.notes),
    }
    show.facts(named, as_json=False)
    print()
    columns: dict[str, Callable[[FeatureCalibration], object]] = {
        "feature": lambda f: f.feature,
        "rows a day": lambda f: f"{f.rows:,}",
        "commonest": lambda f: "" if f.base_share is None else f"{f.base_share:.0%}",
        "state": lambda f: f"{f.state} ({f.missing})" if f.missing else f.state,
        "found within 2 days": lambda f: _changes(f, "within_2_days"),
        "within 28 days": lambda f: _changes(f, "within_28_days"),
    }
    show.listing(found.features, columns, as_json=False, empty="no feature can be judged")


def _changes(feature: FeatureCalibration, field: str) -> str:
    sizes = {each.change: getattr(each, field) for each in feature.smallest}
    unit = {"shift": "{:g} sd"}
    return ", ".join(f"{name} {'none' if size is None else unit.get(name, '{:.0%}').format(size)}" for name, size in sizes.items())


@monitor.command("import")
def take(
    ctx: typer.Context,
    endpoint: OfEndpoint,
    log: Annotated[Path | None, typer.Option(help="Predictions made elsewhere: .parquet, .csv or .jsonl.", show_default=False)] = None,
    labels: Annotated[Path | None, typer.Option(help="Truths: a file with prediction_id and value.", show_default=False)] = None,
    timestamp: Annotated[str, typer.Option(help="The log's column with each prediction's moment.")] = "at",
    answer: Annotated[str, typer.Option(help="The log's column with what was answered.")] = "answer",
    label: Annotated[str, typer.Option(help="The log's column with the truth, where it is known.")] = "label",
    json: show.Json = False,
) -> None:
    """Bring predictions that were made elsewhere into an endpoint's log, to be monitored like Rota's own. Taking a file twice is harmless.

    Example: rota monitor import churn --log predictions.parquet --labels truths.csv
    """
    if log is None and labels is None:
        raise typer.BadParameter("give --log, --labels or both", param_hint="--log / --labels")
    with opened(ctx, "pipeline.deploy") as platform:
        r, sync = platform.repositories, platform.settings.sync
        taken = prediction_import.take(r, endpoint, log, prediction_import.Columns(timestamp, answer, label), sync=sync) if log else {}
        if labels:
            taken = {"predictions": 0, "labels": 0} | taken
            taken["labels"] += prediction_import.take_labels(r, endpoint, labels, sync=sync)
    show.facts({"endpoint": endpoint, **taken}, as_json=json)
