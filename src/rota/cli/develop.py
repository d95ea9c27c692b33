"""Process 1 on the command line: what was tried in development."""

from typing import Annotated

import typer

from rota.cli import show
from rota.cli.opening import opened
from rota.errors import NotFound
from rota.records.tracking import ExperimentRun

commands = typer.Typer()
experiments = typer.Typer(no_args_is_help=True, help="Tracked runs of development: list, show.")
commands.add_typer(experiments, name="experiments")


@experiments.command("list")
def list_(
    ctx: typer.Context,
    experiment: Annotated[str, typer.Option(help="Only runs of this experiment.")] = "",
    limit: show.Limit = 100,
    json: show.Json = False,
) -> None:
    """List tracked runs, newest first.

    Example: rota experiments list --experiment delay
    """
    with opened(ctx) as platform:
        where = {"experiment": experiment} if experiment else None
        found = platform.repositories.metadata.find(ExperimentRun, where, order="-started_us", limit=limit)
    columns = {
        "id": lambda r: r.id,
        "experiment": lambda r: r.experiment,
        "name": lambda r: r.name,
        "status": lambda r: r.status,
        "started": lambda r: show.when(r.started_us),
        "metrics": lambda r: show.headline(r.metrics),
    }
    show.listing(found, columns, as_json=json, empty="no experiment runs yet; track one with rota.develop in your code")


@experiments.command("show")
def show_(ctx: typer.Context, run: Annotated[str, typer.Argument(help="Id of the run.")], json: show.Json = False) -> None:
    """Show one tracked run: parameters, metrics, tags, and the code and data it had.

    Example: rota experiments show 3f2a --json
    """
    with opened(ctx) as platform:
        found = platform.repositories.metadata.get(ExperimentRun, run)
    if found is None:
        raise NotFound(f"there is no experiment run {run!r}; `rota experiments list` shows them", run=run)
    named = {
        "id": found.id,
        "experiment": found.experiment,
        "name": found.name,
        "status": found.status,
        "started": show.when(found.started_us),
        "ended": show.when(found.ended_us),
        **{f"parameter {name}": value for name, value in found.parameters.items()},
        **{f"metric {name}": value for name, value in found.metrics.items()},
        **{f"tag {name}": value for name, value in found.tags.items()},
        **{f"source {name}": value for name, value in found.source.items()},
    }
    show.facts(named, as_json=json, record=found)
