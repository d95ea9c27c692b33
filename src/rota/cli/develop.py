"""Process 1 on the command line: begin a project, see what it is for, and keep its experiments in order."""

import importlib.util
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace

from rota.cli import lists, show
from rota.cli.opening import opened
from rota.develop import project_template, run_search
from rota.errors import InvalidInput, NotFound
from rota.manage import spellings
from rota.records.filters import Query
from rota.records.project import UseCase
from rota.records.record import plain
from rota.records.tracking import DEFAULT_EXPERIMENT, MAX_EXPERIMENT_NAME, Experiment

commands = typer.Typer()
experiments = typer.Typer(no_args_is_help=True, help="Experiments: list, show, rename, delete, restore.")
project = typer.Typer(no_args_is_help=True, help="What the project is for: show.")
commands.add_typer(experiments, name="experiments")
experiments.add_typer(lists.experiments)
commands.add_typer(project, name="project")

Name = Annotated[str, typer.Argument(metavar="EXPERIMENT", help="Name or id of the experiment.")]


@commands.command()
def init(
    directory: Annotated[Path, typer.Argument(help="New or empty directory; its name becomes the project's.")],
    framework: Annotated[str, typer.Option(help="lightgbm or sklearn; otherwise the one that is installed.", show_default=False)] = "",
    git: Annotated[bool, typer.Option("--git/--no-git", help="Put it under version control.")] = True,
    json: show.Json = False,
) -> None:
    """Begin a project that runs at once.

    It has a use case, a source with invented data, features, a pipeline, an experiment and tests.

    Example: rota init returns
    """
    chosen = framework or next((name for name, module in _FRAMEWORKS.items() if importlib.util.find_spec(module)), "")
    if not chosen:
        raise InvalidInput("a project needs a framework to train with: pip install 'rota[lightgbm]' or 'rota[sklearn]'")
    written = project_template.write(directory, directory.resolve().name, chosen)
    commit = project_template.begin_history(directory) if git else ""
    if json:
        show.write_json({"directory": str(directory), "framework": chosen, "files": [str(path) for path in written], "commit": commit})
        return
    name = directory.resolve().name
    print(f"{directory} has {len(written)} files" + (f", commit {commit[:12]}" if commit else "") + ". Go on with")
    for step in (
        f"cd {directory}",
        *(() if importlib.util.find_spec("optuna") else ("pip install -r requirements.txt",)),
        "python make_data.py",
        "rota apply project.py",
        "rota sources ingest orders",
        f"rota data build {name}",
        "python explore.py",
        f"rota pipeline run {name} --local",
        "rota up",
    ):
        print(f"  {step}")


_FRAMEWORKS = {"lightgbm": "lightgbm", "sklearn": "sklearn"}


@project.command("show")
def show_project(
    ctx: typer.Context, name: Annotated[str, typer.Argument(help="Name of the use case; all without it.")] = "", json: show.Json = False
) -> None:
    """Show the use-case record: task, business measure, metric, data, training and serving needs.

    Example: rota project show
    """
    with opened(ctx, "pipeline.read") as platform:
        found = platform.repositories.metadata.find(UseCase, {"name": name} if name else None)
    if not found and name:
        raise NotFound(f"there is no use case {name!r}; `rota project show` shows all, rota.UseCase in a project file declares one", name=name)
    if json:
        show.write_json([plain(each) for each in found])
        return
    if not found:
        print("no use case yet; declare rota.UseCase in the project file and `rota apply` it")
    for each in found:
        facts = {field: value for field, value in plain(each).items() if value}
        show.facts({field.replace("_", " "): ", ".join(value) if isinstance(value, list) else value for field, value in facts.items()}, as_json=False)


@experiments.command("show")
def show_(ctx: typer.Context, experiment: Name, limit: show.Limit = 20, json: show.Json = False) -> None:
    """Show an experiment and its newest runs.

    Example: rota experiments show churn --json
    """
    with opened(ctx, "experiment.read") as platform:
        tracking = platform.repositories.tracking
        found = run_search.experiment(tracking, experiment)
        runs = tracking.search_runs([found.id], Query(limit=limit)).items
    if json:
        show.write_json({"experiment": plain(found), "runs": [{**plain(run), "metrics": run.metrics} for run in runs]})
        return
    show.facts(
        {"experiment": found.name, "id": found.id, "project": found.project, "created": show.when(found.created_us), **found.tags}, as_json=False
    )
    print()
    columns = {
        "run": lambda r: r.id,
        "name": lambda r: r.name,
        "status": lambda r: r.status,
        "started": lambda r: show.when(r.started_us),
        "metrics": lambda r: show.headline(r.metrics),
    }
    show.listing(runs, columns, as_json=False, empty="no run yet")


@experiments.command()
def rename(ctx: typer.Context, experiment: Name, to: Annotated[str, typer.Argument(help="The new name.")], json: show.Json = False) -> None:
    """Give an experiment another name; its id and runs stay.

    Example: rota experiments rename churn churn-2026
    """
    if not 1 <= len(to) <= MAX_EXPERIMENT_NAME or not to.isprintable():
        raise InvalidInput(f"an experiment's name has 1 to {MAX_EXPERIMENT_NAME} printable characters, not {to!r}", name=to)
    _change(ctx, experiment, json=json, name=to)


@experiments.command()
def delete(ctx: typer.Context, experiment: Name, json: show.Json = False) -> None:
    """Delete an experiment with its runs; it can be restored until garbage collection removes it.

    Example: rota experiments delete churn
    """
    _change(ctx, experiment, json=json, deleted=True)


@experiments.command()
def restore(ctx: typer.Context, experiment: Name, json: show.Json = False) -> None:
    """Bring a deleted experiment back.

    Example: rota experiments restore churn
    """
    _change(ctx, experiment, json=json, deleted=False)


def _change(ctx: typer.Context, experiment: str, *, json: bool, name: str = "", deleted: bool | None = None) -> None:
    with opened(ctx, "experiment.write") as platform:
        r = platform.repositories
        before = run_search.experiment(r.tracking, experiment)
        now_us = r.clock.now_us()
        if deleted and before.id == DEFAULT_EXPERIMENT:
            raise InvalidInput("the experiment Default is always there; delete its runs instead", experiment=experiment)
        gone = before.deleted_us if deleted is None else now_us if deleted else None
        changed: Experiment = replace(before, name=name or before.name, updated_us=now_us, deleted_us=gone)
        if changed.name != before.name:
            spellings.check_experiment(r.tracking, changed.name, besides=before.name)
        r.tracking.replace_experiment(changed, before=before)
    show.facts({"id": changed.id, "name": changed.name, "deleted": show.when(changed.deleted_us)}, as_json=json, record=changed)
