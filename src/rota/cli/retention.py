"""What is kept and what goes: garbage collection and holds on the command line."""

from typing import Annotated

import typer
from rich.console import Console

from rota.cli import show
from rota.cli.opening import opened
from rota.manage.retention import holds

commands = typer.Typer()
hold = typer.Typer(no_args_is_help=True, help="What garbage collection must keep whatever the rules say: place, lift, list.")
commands.add_typer(hold, name="hold")

Node = Annotated[str, typer.Argument(help="A lineage node, for example model_version:churn@3 or dataset_version:churn@7.")]
Reason = Annotated[str, typer.Option(help="Why, for the audit log.")]


@commands.command()
def gc(
    ctx: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing, say what would be removed.")] = False,
    json: show.Json = False,
) -> None:
    """Remove what retention lets go, and the bytes that nothing names any more.

    Kept is whatever a live version, an alias, a release, an approval, a hold or the audit log rests on; how long deleted and
    unfinished things are kept is set by `retention_*` in rota.toml.

    Example: rota gc --dry-run
    """
    console = Console(stderr=True)
    with opened(ctx, "platform.read" if dry_run else "platform.operate") as platform, console.status("collecting") as status:
        found = platform.housekeeping.collect_garbage(actor=platform.identity.name, dry_run=dry_run, progress=status.update)
    if json:
        show.facts({}, as_json=True, record=found)
        return
    columns = {"what": lambda r: r.what.replace("_", " "), "name": lambda r: r.name, "why": lambda r: r.reason, "bytes": lambda r: r.size_bytes or ""}
    show.listing(found.removals, columns, as_json=False, empty="nothing to remove")
    verb = "would be removed" if dry_run else "were removed"
    facts = {"in all": f"{len(found.removals)} things {verb}, {found.freed_bytes} bytes"}
    facts |= {f"kept {each.what}s {each.reason}": f"{each.count}, {each.size_bytes} bytes" for each in found.kept}
    show.facts(facts, as_json=False)


@hold.command()
def place(ctx: typer.Context, node: Node, reason: Reason, json: show.Json = False) -> None:
    """Hold a node: it, what it came from and what came from it are kept until the hold is lifted.

    Example: rota hold place model_version:flight-delay@3 --reason "claim 2013/117"
    """
    with opened(ctx, "platform.operate") as platform:
        now_us = platform.repositories.clock.now_us()
        made = holds.place(platform.repositories.metadata, node, reason, actor=platform.identity.name, now_us=now_us)
    show.facts({"node": made.node, "held by": made.held_by, "reason": made.reason}, as_json=json, record=made)


@hold.command()
def lift(ctx: typer.Context, node: Node, reason: Reason, json: show.Json = False) -> None:
    """Lift a hold.

    Example: rota hold lift model_version:flight-delay@3 --reason "claim settled"
    """
    with opened(ctx, "platform.operate") as platform:
        now_us = platform.repositories.clock.now_us()
        made = holds.lift(platform.repositories.metadata, node, reason, actor=platform.identity.name, now_us=now_us)
    show.facts({"node": made.node, "lifted by": made.lifted_by}, as_json=json, record=made)


@hold.command("list")
def list_(ctx: typer.Context, json: show.Json = False) -> None:
    """List the holds in force.

    Example: rota hold list
    """
    with opened(ctx, "platform.read") as platform:
        found = holds.standing(platform.repositories.metadata)
    columns = {"node": lambda h: h.node, "since": lambda h: show.when(h.at_us), "held by": lambda h: h.held_by, "reason": lambda h: h.reason}
    show.listing(found, columns, as_json=json, empty="nothing is held; `rota hold place NODE --reason ...` does")
