"""The command `rota`: which noun belongs to which process, and how an error leaves the program.

The table below is all that `rota --help` needs. The file of a command, and with it the engines, is imported when the
command is used; those of `LISTS` need the metadata store only. `benchmarks/house/start.py` measures what each start costs.
"""

import gc
import importlib
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import rota
from rota.errors import RotaError

DEVELOP = "1 ML development"
OPERATIONALIZE = "2 Training operationalization"
TRAIN = "3 Continuous training"
DEPLOY = "4 Model deployment"
SERVE = "5 Prediction serving"
MONITOR = "6 Continuous monitoring"
MANAGE = "7 Data and model management"
PLATFORM = "Platform"


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """One word after `rota`: the file of this package that holds it, its process, and what it does."""

    name: str
    file: str
    panel: str
    help: str


ENTRIES = (
    CommandEntry("init", "develop", DEVELOP, "Begin a project that runs at once."),
    CommandEntry("project", "develop", DEVELOP, "What the project is for: show."),
    CommandEntry("experiments", "develop", DEVELOP, "Experiments: list, show, rename, delete, restore."),
    CommandEntry("runs", "runs", DEVELOP, "Runs of workflows and of experiments: list, show, search, compare, reproduce ..."),
    CommandEntry("plan", "operationalize", OPERATIONALIZE, "What applying a project file would change."),
    CommandEntry("apply", "operationalize", OPERATIONALIZE, "Build a release of a project and put its definitions in force."),
    CommandEntry("pipeline", "operationalize", OPERATIONALIZE, "Deployed pipelines and their releases: list, releases, run."),
    CommandEntry("train", "train", TRAIN, "Start a training run of a pipeline."),
    CommandEntry("deploy", "deploy", DEPLOY, "Deliver an approved version to its endpoints."),
    CommandEntry("rollout", "deploy", DEPLOY, "Rollouts and their verdicts: plan, list, show, explain, promote, abort, pause, resume, retry, undo."),
    CommandEntry("experiment", "experiment", DEPLOY, "A/B tests and bandits on live traffic: plan, start, list, show, stop."),
    CommandEntry("rollback", "deploy", DEPLOY, "Return an endpoint at once to its previous champion."),
    CommandEntry("endpoints", "serve", SERVE, "What each endpoint serves: list, create."),
    CommandEntry("predict", "serve", SERVE, "Ask a running endpoint, for one row or a file; score whole tables: batch."),
    CommandEntry("monitor", "monitor", MONITOR, "What is watched, alerts and measured slices: show, alerts, ack, slices, calibrate ..."),
    CommandEntry("outcomes", "outcomes", MONITOR, "What came of predictions for the business: report, show."),
    CommandEntry("data", "data", MANAGE, "Datasets and schemas: list, build, show, profile, diff, compare, export, schema."),
    CommandEntry("features", "features", MANAGE, "The feature catalog and values: list, search, show, usage, versions, get, historical ..."),
    CommandEntry("sources", "sources", MANAGE, "Sources of rows: list, show, test, push, ingest, rejects, status."),
    CommandEntry("models", "models", MANAGE, "Models, versions and their governance: list, show, register, alias, review, approve, policy ..."),
    CommandEntry("report", "report", MANAGE, "Every deployed model at a glance, and how long deliveries take: models, delivery."),
    CommandEntry(
        "lineage",
        "lineage",
        MANAGE,
        "Where things come from and what came of them: explain, prediction, row, causes, effects, graph, nodes, events.",
    ),
    CommandEntry("note", "lineage", MANAGE, "What people wrote about runs, datasets, models: add, list."),
    CommandEntry("artifacts", "artifacts", MANAGE, "What runs and versions consist of: list, get, archive."),
    CommandEntry("gc", "retention", MANAGE, "Remove what retention lets go, and the bytes that nothing names any more."),
    CommandEntry("hold", "retention", MANAGE, "What garbage collection must keep whatever the rules say: place, lift, list."),
    CommandEntry("audit", "audit", MANAGE, "Who did what: list, verify, head."),
    CommandEntry("events", "audit", MANAGE, "What happened: list."),
    CommandEntry("token", "token", PLATFORM, "Who may do what: the owner's token, create, list, revoke, renew, roles, routes."),
    CommandEntry("up", "platform", PLATFORM, "Run the whole platform on this machine."),
    CommandEntry("down", "platform", PLATFORM, "Stop a running platform and wait until its processes are gone."),
    CommandEntry("status", "status", PLATFORM, "How the platform is: processes, what is not well, queue, lag, disk, last backup."),
    CommandEntry("backup", "backup", PLATFORM, "Back up a running platform into a directory or a bucket: make, list, verify, prune."),
    CommandEntry("restore", "backup", PLATFORM, "Restore a backup into a new home, and into the empty stores that the settings here name."),
    CommandEntry("doctor", "doctor", PLATFORM, "Examine a home: permissions, disk, versions, damage, clock, processes, ports; and say what to do."),
    CommandEntry("settings", "settings", PLATFORM, "The settings in force here and where each comes from; secrets are not shown."),
    CommandEntry("demo", "platform", PLATFORM, "Close the whole loop on recorded data."),
    CommandEntry("server", "control_plane", PLATFORM, "Run one control-plane process."),
    CommandEntry("worker", "children", PLATFORM, "Run one worker process."),
    CommandEntry("serve", "children", PLATFORM, "Run one prediction process."),
)
LISTS = frozenset(
    {
        ("experiments", "list"),
        ("runs", "list"),
        ("pipeline", "list"),
        ("rollout", "list"),
        ("monitor", "alerts"),
        ("models", "list"),
    }
)
"""Commands that read records only: they live in a light file, which opens the metadata store and no other engine."""
_FILES = {entry.name: entry.file for entry in ENTRIES}


class Rota(TyperGroup):
    """Lists the table's words, loads a word's file when it is used, and turns a RotaError into one line and exit code 1."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, _, rest = super().resolve_command(ctx, args)
        if (str(name), *rest[:1]) == ("predict", "batch"):
            return "predict batch", load("predict", file="batch"), rest[1:]
        listing = (str(name), *rest[:1]) in LISTS
        return name, load(str(name), file="lists" if listing else ""), rest

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except RotaError as error:
            print(f"rota: {' '.join(str(error).split())}", file=sys.stderr)
            raise typer.Exit(1) from error


def load(name: str, *, file: str = "") -> Any:
    """The command or group of one word, with the word's own file or another one that holds a part of it imported."""
    with _without_collections():
        module = importlib.import_module(f"rota.cli.{file or _FILES[name]}")
        found = typer.main.get_command(module.commands)
    return getattr(found, "commands", {name: found})[name]  # a file with one word is that word's command


@contextmanager
def _without_collections() -> Iterator[None]:
    """Importing makes much and frees nothing: to look for garbage meanwhile is a seventh of the start of a command."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


app = typer.Typer(
    name="rota", cls=Rota, no_args_is_help=True, pretty_exceptions_show_locals=False, context_settings={"help_option_names": ["-h", "--help"]}
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"rota {rota.__version__} (Python {platform.python_version()}, {sys.platform})")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    home: Annotated[
        Path | None, typer.Option(help="Directory of the platform; otherwise ROTA_HOME, rota.toml, or .rota.", show_default=False)
    ] = None,
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    """The whole MLOps loop in one package. Begin with `rota demo`, or `rota init NAME`."""
    del version  # printed by its callback
    ctx.obj = home


def _declare(entry: CommandEntry) -> None:
    @app.command(entry.name, help=entry.help, rich_help_panel=entry.panel)
    def placeholder() -> None:
        raise AssertionError(entry.name)  # `resolve_command` puts the real one in its place


for _entry in ENTRIES:
    _declare(_entry)


def main() -> None:
    """Entry point of the console script."""
    app(prog_name="rota")
