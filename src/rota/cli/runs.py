"""Runs on the command line: durable runs of workflows, and tracked runs of experiments: list, show, cancel, search, compare, reproduce."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from rota.cli import lists, show
from rota.cli.opening import opened
from rota.develop import reproduction, run_comparison, run_search
from rota.errors import Refused
from rota.manage.experiments import artifacts
from rota.manage.experiments.input_tracking import untracked
from rota.manage.lineage import executions, notes
from rota.ports.tracking import RunChange
from rota.records.filters import View
from rota.records.record import plain
from rota.records.run import Run, Step
from rota.records.time import lasted
from rota.records.tracking import LoggedModel

commands = typer.Typer()
runs = typer.Typer(no_args_is_help=True, help="Runs of workflows and of experiments: list, show, search, compare, reproduce ...")
commands.add_typer(runs, name="runs")
runs.add_typer(lists.runs)

RunId = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run; of a tracked run its beginning is enough.")]


@runs.command("search")
def search_(
    ctx: typer.Context,
    filter: Annotated[str, typer.Argument(help="For example: auc > 0.8 and params.depth = '8' and tags.team LIKE 'a%'")] = "",
    experiment: Annotated[list[str] | None, typer.Option(help="Only in this experiment; may be repeated.", show_default=False)] = None,
    order: Annotated[list[str] | None, typer.Option(help="For example: 'metrics.auc DESC'; may be repeated.", show_default=False)] = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="Search among deleted runs.")] = False,
    limit: show.Limit = 50,
    json: show.Json = False,
) -> None:
    """Search tracked runs across experiments, by MLflow's filter grammar.

    Example: rota runs search "auc > 0.8 and params.depth = '8'" --order "metrics.auc DESC"
    """
    view: View = "deleted" if deleted else "active"
    with opened(ctx, "experiment.read") as platform:
        tracking = platform.repositories.tracking
        found = run_search.runs(tracking, filter, experiments=experiment or [], order=order or [], limit=limit, view=view)
        named = run_search.names(tracking)
    lists.show_tracked_runs(found, named, json=json)


@runs.command("show")
def show_(ctx: typer.Context, run: RunId, json: show.Json = False) -> None:
    """Show a run: a durable one with its steps, a tracked one with parameters, metrics, data, code and environment.

    Example: rota runs show train.flight-delay.manual.1373860800000000
    """
    with opened(ctx, "pipeline.read") as platform:
        r = platform.repositories
        durable = r.runs.get(run)
        if durable:
            steps = r.runs.journal(run)
            written = notes.of(r.metadata, f"run:{run}")
            _show_durable(executions.describe(r, durable, steps), durable, steps, [plain(note) for note in written], json=json)
            return
        found = run_search.run(r.tracking, run)
        experiment = run_search.names(r.tracking)[found.experiment]
        nested = run_search.children(r.tracking, found)
        written = notes.of(r.metadata, f"experiment_run:{found.id}")
        models = artifacts.logged_models(r.metadata, found.id)
    if json:
        inside = [each.id for each in nested]
        kept = {"models": [plain(model) for model in models], "notes": [plain(note) for note in written]}
        show.write_json({**run_search.as_json(found), "experiment_name": experiment, "children": inside, **kept})
        return
    facts: dict[str, Any] = {
        "run": found.id,
        "experiment": experiment,
        "name": found.name,
        "status": found.status + (" (deleted)" if found.deleted_us else ""),
        "owner": found.owner,
        "started": show.when(found.started_us),
        "took": lasted(found.started_us, found.ended_us),
        "parent": found.parent,
        **{f"parameter {name}": value for name, value in found.parameters.items()},
        **{f"metric {name}": value for name, value in found.metrics.items()},
        **{f"input {each.name}": f"{each.node or each.source or each.source_type} {each.digest[:12]}" for each in found.inputs},
        "input": "untracked input" if untracked(found.inputs) else "",
        **{f"tag {name}": value for name, value in found.tags.items() if not name.startswith("mlflow.")},
        **{f"model {model.name}": _model(model) for model in models},
        **found.source,
        "children": "\n".join(f"{each.id} {each.name} {show.headline(each.metrics)}" for each in nested[:50]),
        **{f"note by {note.author}": note.text for note in written},
    }
    show.facts({name: value for name, value in facts.items() if value not in ("", None)}, as_json=False)


def _model(model: LoggedModel) -> str:
    return f"{model.type}; not servable: {model.unservable}" if model.unservable else model.type


@runs.command()
def compare(
    ctx: typer.Context,
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="Two runs or more.")],
    all: Annotated[bool, typer.Option("--all", help="Also what does not differ.")] = False,
    json: show.Json = False,
) -> None:
    """Compare tracked runs: parameters, metrics, data, code and environment.

    Example: rota runs compare 3f2a 91bc
    """
    with opened(ctx, "experiment.read") as platform:
        compared = run_comparison.compare([run_search.run(platform.repositories.tracking, run) for run in runs])
    rows = [row for row in compared.rows if all or row.differs]
    if json:
        show.write_json({"runs": [run.id for run in compared.runs], "rows": [{**plain(row), "differs": row.differs} for row in rows]})
        return
    columns: dict[str, Callable[[run_comparison.Row], object]] = {"": lambda row: row.section, "name": lambda row: row.name}
    for index, each in enumerate(compared.runs):
        columns[f"{each.name} {each.id[:8]}"] = partial(_value, index)
    show.listing(rows, columns, as_json=False, empty="the runs do not differ; --all shows what they have in common")


@runs.command()
def reproduce(
    ctx: typer.Context,
    run: RunId,
    here: Annotated[bool, typer.Option("--here", help="Use this interpreter and its packages, whatever the run had.")] = False,
    tolerance: Annotated[float, typer.Option(min=0.0, help="Relative difference of a metric that still counts as equal.")] = 1e-9,
    keep: Annotated[Path | None, typer.Option(help="Keep the checked-out code in this directory.", show_default=False)] = None,
    json: show.Json = False,
) -> None:
    """Execute a run again with its code, environment and data, and compare metrics and digests; exits with 1 on a difference.

    Example: rota runs reproduce 3f2a
    """
    with opened(ctx, "experiment.write") as platform:
        found = run_search.run(platform.repositories.tracking, run)
        asked = reproduction.ReproduceOptions(platform.settings.home.resolve(), use_present=here, tolerance=tolerance, keep=keep)
        done = reproduction.reproduce(platform.repositories, found, asked, progress=None if json else print)
    if json:
        show.write_json(plain(done))
    else:
        columns = {"": lambda d: d.what, "name": lambda d: d.name, "then": lambda d: d.then, "now": lambda d: d.now, "verdict": lambda d: d.verdict}
        show.listing(done.findings, columns, as_json=False, empty="")
        print(f"{done.run} reproduces {found.id}: {'match' if done.matches else 'DIFFERENCE'}")
    if not done.matches:
        raise Refused(f"run {found.id} was not reproduced: {', '.join(f.name for f in done.findings if f.verdict == 'differs')} differ")


@runs.command()
def cancel(
    ctx: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of a durable run.")],
    reason: Annotated[str, typer.Option(help="Why, for the audit log.")] = "",
    json: show.Json = False,
) -> None:
    """Cancel a durable run: what it is doing is ended within seconds, nothing more of it is stored, a rollout returns its traffic.

    Example: rota runs cancel train.flight-delay.manual.1373860800000000 --reason "wrong data"
    """
    with opened(ctx, "pipeline.read") as platform:
        ended = platform.pipelines.cancel(run, identity=platform.identity, reason=reason)
    show.facts({"run": ended.id, "status": ended.status, "reason": reason}, as_json=json, record=ended)


@runs.command()
def delete(ctx: typer.Context, run: RunId, json: show.Json = False) -> None:
    """Delete a tracked run; it can be restored until garbage collection removes it.

    Example: rota runs delete 3f2a
    """
    _mark(ctx, run, deleted=True, json=json)


@runs.command()
def restore(ctx: typer.Context, run: RunId, json: show.Json = False) -> None:
    """Bring a deleted tracked run back.

    Example: rota runs restore 3f2a
    """
    _mark(ctx, run, deleted=False, json=json)


def _mark(ctx: typer.Context, run: str, *, deleted: bool, json: bool) -> None:
    with opened(ctx, "experiment.write") as platform:
        r = platform.repositories
        found = run_search.run(r.tracking, run)
        changed = r.tracking.change_run(found.id, RunChange(deleted_us=r.clock.now_us() if deleted else 0))
    show.facts({"run": changed.id, "deleted": show.when(changed.deleted_us)}, as_json=json)


def _show_durable(execution: executions.Execution, it: Run, steps: list[Step], notes: list[Any], *, json: bool) -> None:
    if json:
        show.write_json({"run": plain(it), "steps": [plain(step) for step in steps], "notes": notes, "execution": plain(execution)})
        return
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
    ending = {"result": it.result, "error": it.error} | {f"note by {note['author']}": note["text"] for note in notes}
    show.facts(named | {name: value for name, value in (waits | ending).items() if value}, as_json=False)
    print()
    columns = {
        "step": lambda s: s.name,
        "took": lambda s: lasted(s.started_us, s.ended_us),
        "worker": lambda s: s.worker,
        "result": lambda s: _brief(s.result),
    }
    show.listing(steps, columns, as_json=False, empty="no step is finished yet")
    if execution.checks:
        print()
        show.checks(execution.checks)


def _value(index: int, row: run_comparison.Row) -> object:
    return row.values[index]


def _brief(result: object) -> str:
    """The small values of a step's result; `--json` shows it whole."""
    if not isinstance(result, dict):
        return "" if result is None else str(result)
    small = {name: value for name, value in result.items() if isinstance(value, str | int | float) and value != "" and len(str(value)) <= 80}
    return show.figures(small)
