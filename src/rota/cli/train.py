"""Process 3 on the command line: start training, and follow durable runs step by step."""

from typing import Annotated

import typer

from rota.cli import show
from rota.cli.opening import opened
from rota.errors import NotFound
from rota.records.record import plain
from rota.records.run import RunStatus

commands = typer.Typer()
runs = typer.Typer(no_args_is_help=True, help="Durable runs of any workflow: list, show.")
commands.add_typer(runs, name="runs")


@commands.command()
def train(ctx: typer.Context, pipeline: Annotated[str, typer.Argument(help="Name of a deployed pipeline.")], json: show.Json = False) -> None:
    """Start a training run of a pipeline.

    The run is queued durably; a worker of `rota up` executes it. Refused while another one is active.

    Example: rota train flight-delay
    """
    with opened(ctx) as platform:
        run = platform.start_training(pipeline)
    if json:
        show.write_json({"run": run})
    else:
        print(f"{run} is queued; follow it with `rota runs show {run}`")


@runs.command("list")
def list_(
    ctx: typer.Context,
    workflow: Annotated[str, typer.Option(help="Only this workflow: train, rollout or monitor.")] = "",
    subject: Annotated[str, typer.Option(help="Only runs of this pipeline or endpoint.")] = "",
    status: Annotated[str, typer.Option(help="Only runs with this status, for example running.")] = "",
    limit: show.Limit = 50,
    json: show.Json = False,
) -> None:
    """List runs, newest first.

    Example: rota runs list --workflow train --status blocked
    """
    statuses: tuple[RunStatus, ...] = (status,) if status else ()  # type: ignore[assignment]
    with opened(ctx) as platform:
        found = platform.repositories.runs.find(workflow=workflow, subject=subject, statuses=statuses, limit=limit)
    columns = {
        "run": lambda r: r.id,
        "status": lambda r: r.status,
        "trigger": lambda r: r.trigger,
        "created": lambda r: show.when(r.created_us),
        "ended": lambda r: show.when(r.ended_us),
        "error": lambda r: _first_line(r.error),
    }
    show.listing(found, columns, as_json=json, empty="no such runs; `rota train PIPELINE` starts one")


@runs.command("show")
def show_(ctx: typer.Context, run: Annotated[str, typer.Argument(help="Id of the run.")], json: show.Json = False) -> None:
    """Show a run and its steps: durations, status, result, error.

    Example: rota runs show train.flight-delay.manual.1373860800000000
    """
    with opened(ctx) as platform:
        found = platform.repositories.runs.find(id=run, limit=1)
        steps = platform.repositories.runs.journal(run)
    if not found:
        raise NotFound(f"there is no run {run!r}; `rota runs list` shows them", run=run)
    if json:
        show.write_json({"run": plain(found[0]), "steps": [plain(step) for step in steps]})
        return
    it = found[0]
    named = {
        "run": it.id,
        "workflow": it.workflow,
        "subject": it.subject,
        "status": it.status,
        "trigger": it.trigger,
        "worker": f"{it.worker or 'none'}, {it.attempts} attempts",
        "created": show.when(it.created_us),
        "ended": show.when(it.ended_us),
    }
    waits = {"waits until": show.when(it.wake_us) if it.wake_us < 2**60 else "", "waits for": it.waiting_for} if it.status == "parked" else {}
    ending = {"result": it.result, "error": it.error}
    show.facts(named | {name: value for name, value in (waits | ending).items() if value}, as_json=False)
    print()
    columns = {
        "step": lambda s: s.name,
        "took": lambda s: show.lasted(s.started_us, s.ended_us),
        "worker": lambda s: s.worker,
        "result": lambda s: _brief(s.result),
    }
    show.listing(steps, columns, as_json=False, empty="no step is finished yet")


def _brief(result: object) -> str:
    """The small values of a step's result; `--json` shows it whole."""
    if not isinstance(result, dict):
        return "" if result is None else str(result)
    small = {name: value for name, value in result.items() if isinstance(value, str | int | float) and value != "" and len(str(value)) <= 80}
    return show.figures(small)


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else ""
