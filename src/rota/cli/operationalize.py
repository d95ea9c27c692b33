"""Process 2 on the command line: a project file becomes a release that is in force."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rota.cli import lists, progress, show
from rota.cli.opening import opened
from rota.errors import Refused
from rota.manage.features.definitions.registration import PlannedChange
from rota.records.run import PipelineRelease

commands = typer.Typer()
pipeline = typer.Typer(no_args_is_help=True, help="Deployed pipelines and their releases: list, releases, run.")
commands.add_typer(pipeline, name="pipeline")
pipeline.add_typer(lists.pipeline)
_WHAT = {"stay": "stays (not declared here)"}
ProjectFile = Annotated[Path, typer.Argument(help="Python file with the project's definitions.")]


@commands.command()
def plan(ctx: typer.Context, file: ProjectFile = Path("project.py"), json: show.Json = False) -> None:
    """What applying a project file would change.

    Example: rota plan project.py
    """
    with opened(ctx, "pipeline.read") as platform:
        changes = platform.projects.plan(file)
    _show_changes(changes, json=json)
    if not json and all(change.what in ("keep", "stay") for change in changes):
        print("nothing would change but the release of the code, if the sources differ")


@commands.command()
def apply(ctx: typer.Context, file: ProjectFile = Path("project.py"), json: show.Json = False) -> None:
    """Build a release of a project and put its definitions in force.

    The history of new views is online when it ends.

    Example: rota apply project.py
    """
    with opened(ctx, "pipeline.deploy") as platform, progress.bar("bringing online") as advance:
        changes = platform.projects.apply(file, actor=platform.identity.name, progress=lambda share, _: advance(share))
    _show_changes(changes, json=json)
    if not json:
        print(f"applied {file}; `rota up` runs it, `rota pipeline run PIPELINE` starts a first training")


@pipeline.command()
def releases(ctx: typer.Context, limit: show.Limit = 100, json: show.Json = False) -> None:
    """List the releases of projects, newest first, with commit and environment lock.

    Example: rota pipeline releases --limit 5
    """
    with opened(ctx, "pipeline.read") as platform:
        found = platform.repositories.metadata.page(PipelineRelease, order="-created_us", limit=limit)
    columns = {
        "release": lambda r: r.digest[:12],
        "project": lambda r: r.project,
        "commit": lambda r: (r.commit[:12] or "none") + (" + local changes" if r.dirty else ""),
        "lock": lambda r: r.lock[:12] or "none",
        "python": lambda r: r.python,
        "created": lambda r: show.when(r.created_us),
    }
    show.listing(found, columns, as_json=json, empty="no release yet; `rota apply project.py` builds one")


@pipeline.command()
def run(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="PIPELINE", help="Name of a deployed pipeline.")],
    local: Annotated[bool, typer.Option("--local", help="Execute it in this process instead of queueing it for a worker.")] = False,
    json: show.Json = False,
) -> None:
    """Run a training pipeline: the same definition here, or by the workers of `rota up`.

    Example: rota pipeline run flight-delay --local
    """
    with opened(ctx, "train.start") as platform:
        if not local:
            queued = platform.pipelines.start(name, actor=platform.identity.name)
            show.facts({"run": queued, "status": "queued"}, as_json=json)
            return
        done = platform.pipelines.run_here(name, actor=platform.identity.name, progress=(lambda _: None) if json else print)
    show.facts({"run": done.id, "status": done.status, "result": done.result, "error": done.error}, as_json=json, record=done)
    if done.status != "succeeded":
        raise Refused(f"run {done.id} ended as {done.status}; `rota runs show {done.id}` tells its steps", run=done.id)


def _show_changes(changes: Sequence[PlannedChange], *, json: bool) -> None:
    columns = {
        "what": lambda c: _WHAT.get(c.what, c.what),
        "kind": lambda c: c.kind.replace("_", " "),
        "name": lambda c: f"{c.name}@v{c.version}" if c.what == "change" and c.version else c.name,
        "differs": lambda c: "; ".join(f"{d.what}: {d.before or 'none'} -> {d.after or 'none'}" for d in c.differences),
    }
    show.listing(changes, columns, as_json=json, empty="the project declares nothing")
    for change in () if json else changes:
        for note in change.notes:
            print(f"note on {change.kind} {change.name}: {note}")
