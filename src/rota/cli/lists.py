"""Lists of records: commands that read records and nothing else, so that they start at once; `app.LISTS` names them."""

from typing import Annotated

import typer

from rota.cli import show
from rota.cli.reading import reading
from rota.deploy.waiting import waiting
from rota.develop import run_search
from rota.manage.experiments.input_tracking import untracked
from rota.records.filters import Page, Query, View
from rota.records.model import Alias, ModelVersion
from rota.records.release import Rollout
from rota.records.run import Deployed, RunQuery, RunStatus
from rota.records.signal import Alert
from rota.records.tracking import DEFAULT_EXPERIMENT, ExperimentRun

commands = typer.Typer()
experiments, runs, pipeline, rollout, monitor, models = (typer.Typer() for _ in range(6))
commands.add_typer(experiments, name="experiments")
commands.add_typer(runs, name="runs")
commands.add_typer(pipeline, name="pipeline")
commands.add_typer(rollout, name="rollout")
commands.add_typer(monitor, name="monitor")
commands.add_typer(models, name="models")


@experiments.command("list")
def list_experiments(
    ctx: typer.Context,
    deleted: Annotated[bool, typer.Option("--deleted", help="The deleted ones instead.")] = False,
    limit: show.Limit = 100,
    json: show.Json = False,
) -> None:
    """List experiments, the newest change first.

    Example: rota experiments list
    """
    view: View = "deleted" if deleted else "active"
    with reading(ctx, "experiment.read") as stores:
        tracking = stores.tracking
        page = tracking.search_experiments(Query(limit=limit, view=view))
        newest = {each.id: tracking.search_runs([each.id], Query(limit=1)).items for each in page.items}
        found = Page([each for each in page.items if newest[each.id] or each.id != DEFAULT_EXPERIMENT], page.next)
    columns = {
        "id": lambda e: e.id,
        "experiment": lambda e: e.name,
        "project": lambda e: e.project,
        "created": lambda e: show.when(e.created_us or None),
        "newest run": lambda e: f"{newest[e.id][0].name} {newest[e.id][0].status} {show.when(newest[e.id][0].started_us)}" if newest[e.id] else "",
    }
    show.listing(found, columns, as_json=json, empty="no experiment; track a run with rota.track in your code")


@runs.command("list")
def list_runs(
    ctx: typer.Context,
    experiment: Annotated[str, typer.Option(help="Tracked runs of this experiment, by name or id.")] = "",
    workflow: Annotated[str, typer.Option(help="Only this workflow: train, rollout or monitor.")] = "",
    subject: Annotated[str, typer.Option(help="Only runs of this pipeline or endpoint.")] = "",
    status: Annotated[str, typer.Option(help="Only runs with this status, for example running.")] = "",
    limit: show.Limit = 50,
    json: show.Json = False,
) -> None:
    """List runs, newest first: durable ones, or with --experiment tracked ones.

    Example: rota runs list --experiment churn
    """
    if experiment:
        text = f"status = '{status}'" if status else ""
        with reading(ctx, "experiment.read") as stores:
            tracking = stores.tracking
            found = run_search.runs(tracking, text, experiments=[experiment], limit=limit)
            named = run_search.names(tracking)
        show_tracked_runs(found, named, json=json)
        return
    statuses: tuple[RunStatus, ...] = (status,) if status else ()  # type: ignore[assignment]
    with reading(ctx, "pipeline.read") as stores:
        durable = stores.runs.page(RunQuery(workflow, subject, statuses), limit=limit)
    columns = {
        "run": lambda r: r.id,
        "status": lambda r: r.status,
        "trigger": lambda r: r.trigger,
        "created": lambda r: show.when(r.created_us),
        "ended": lambda r: show.when(r.ended_us),
        "error": lambda r: _first_line(r.error),
    }
    show.listing(durable, columns, as_json=json, empty="no such runs; `rota train PIPELINE` starts one")


@pipeline.command("list")
def list_pipelines(ctx: typer.Context, json: show.Json = False) -> None:
    """List the pipelines in force: environment, release, triggers, gates.

    Example: rota pipeline list
    """
    with reading(ctx, "pipeline.read") as stores:
        found = stores.metadata.find(Deployed)
    columns = {
        "pipeline": lambda d: d.pipeline,
        "environment": lambda d: d.environment,
        "release": lambda d: d.release[:12],
        "since": lambda d: show.when(d.since_us),
        "triggers": lambda d: ", ".join(f"{t.kind} {t.spec or t.rows or ''}".strip() for t in d.definition.triggers) or "by hand",
        "gates": lambda d: ", ".join(f"{g.kind} {g.metric} {g.bound:g}" for g in d.definition.gates) or "none",
    }
    show.listing(found, columns, as_json=json, empty="no pipeline is deployed; `rota apply project.py` deploys those of a project")


@rollout.command("list")
def list_rollouts(
    ctx: typer.Context,
    endpoint: Annotated[str, typer.Option(help="Only this endpoint.")] = "",
    limit: show.Limit = 50,
    json: show.Json = False,
) -> None:
    """List rollouts, newest first, those that wait for their turn before all others.

    Example: rota rollout list --endpoint flight-delay
    """
    with reading(ctx, "model.read") as stores:
        where = {"endpoint": endpoint} if endpoint else None
        found = stores.metadata.page(Rollout, where, order="-started_us", limit=limit)
        found = Page([*waiting(stores.metadata, stores.runs, endpoint), *found.items], found.next)
    columns = {
        "rollout": lambda r: r.id,
        "state": lambda r: f"{r.state}, {r.phase}" if r.phase in ("paused", "held") else r.state,
        "candidate": lambda r: f"{r.model}@{r.candidate}",
        "champion": lambda r: r.champion or "none",
        "started": lambda r: show.when(r.started_us),
        "ended": lambda r: show.when(r.ended_us),
        "reason or what is missing": lambda r: r.reason or r.missing or ("waits for its turn" if r.state == "waiting" else ""),
    }
    show.listing(found, columns, as_json=json, empty="no rollout yet; approving a version starts one, or `rota deploy MODEL@VERSION`")


@monitor.command()
def alerts(
    ctx: typer.Context,
    endpoint: Annotated[str, typer.Option(help="Only alerts of this endpoint.")] = "",
    status: Annotated[str, typer.Option(help="Only open, acknowledged or resolved ones.")] = "",
    limit: show.Limit = 50,
    json: show.Json = False,
) -> None:
    """List alerts, newest first.

    Example: rota monitor alerts --status open
    """
    where = {name: value for name, value in (("endpoint", endpoint), ("status", status)) if value}
    with reading(ctx, "monitor.read") as stores:
        found = stores.metadata.page(Alert, where, order="-raised_us", limit=limit)
    columns = {
        "endpoint": lambda a: a.endpoint or "platform",
        "alert": lambda a: a.id,
        "severity": lambda a: a.severity,
        "status": lambda a: a.status,
        "raised": lambda a: show.when(a.raised_us),
        "last seen": lambda a: show.when(a.last_seen_us),
        "message": lambda a: a.message,
    }
    show.listing(found, columns, as_json=json, empty="no such alerts")


@models.command("list")
def list_versions(
    ctx: typer.Context, model: Annotated[str, typer.Option(help="Only this model.")] = "", limit: show.Limit = 100, json: show.Json = False
) -> None:
    """List model versions, newest first, with status, aliases and metrics.

    Example: rota models list --model flight-delay
    """
    with reading(ctx, "model.read") as stores:
        metadata = stores.metadata
        found = metadata.page(ModelVersion, {"model": model} if model else None, order="-created_us", limit=limit)
        aliases = metadata.find(Alias, {"model": model} if model else None)
    show_versions(found, aliases, json=json)


def show_versions(found: Page[ModelVersion], aliases: list[Alias], *, json: bool) -> None:
    """Versions with the aliases that point at each."""
    named: dict[str, list[str]] = {}
    for each in aliases:
        named.setdefault(f"{each.model}@{each.number}", []).append(each.alias)
    columns = {
        "version": lambda v: v.id,
        "status": lambda v: v.status,
        "alias": lambda v: ", ".join(named.get(v.id, [])),
        "owner": lambda v: v.owner,
        "created": lambda v: show.when(v.created_us),
        "trigger": lambda v: v.trigger,
        "metrics": lambda v: show.headline(v.metrics),
    }
    show.listing(found, columns, as_json=json, empty="no model version yet; a training run that passes its gates registers one")


def show_tracked_runs(found: Page[ExperimentRun], experiments: dict[str, str], *, json: bool) -> None:
    """Tracked runs with the names of their experiments."""
    if json:
        show.write_json([run_search.as_json(each) for each in show.items(found)])
        return
    columns = {
        "id": lambda r: r.id,
        "experiment": lambda r: experiments.get(r.experiment, r.experiment),
        "name": lambda r: r.name,
        "status": lambda r: r.status,
        "started": lambda r: show.when(r.started_us),
        "metrics": lambda r: show.headline(r.metrics),
        "input": lambda r: "untracked" if untracked(r.inputs) else "",
    }
    show.listing(found, columns, as_json=False, empty="no such run; track one with rota.track in your code, or with MLflow's client")


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else ""
