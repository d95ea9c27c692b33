"""Process 7 on the command line, the chronicle: who did what, what happened, and the proof that nothing of it was changed."""

from pathlib import Path
from typing import Annotated

import typer

from rota.cli import show
from rota.cli.opening import opened
from rota.errors import Corrupt, InvalidInput
from rota.manage.lineage import audit_chain
from rota.records.record import plain

commands = typer.Typer()
audit = typer.Typer(no_args_is_help=True, help="Who did what: list, verify, head.")
events = typer.Typer(no_args_is_help=True, help="What happened: list.")
commands.add_typer(audit, name="audit")
commands.add_typer(events, name="events")


@audit.command("list")
def list_audit(
    ctx: typer.Context,
    after: Annotated[int, typer.Option(help="Only entries after this position.")] = 0,
    limit: show.Limit = 100,
    json: show.Json = False,
) -> None:
    """List audit entries, oldest first.

    Example: rota audit list --after 100
    """
    with opened(ctx, "audit.read") as platform:
        found = platform.repositories.metadata.audit(after, limit=limit)
    columns = {
        "#": lambda e: e.position,
        "at": lambda e: show.when(e.at_us),
        "actor": lambda e: e.actor,
        "action": lambda e: e.action,
        "subject": lambda e: e.subject,
        "body": lambda e: e.body or "",
        "hash": lambda e: e.hash[:12],
    }
    show.listing(found, columns, as_json=json, empty="no audit entry there")


@audit.command()
def verify(
    ctx: typer.Context,
    head: Annotated[str, typer.Option(help="A head that was kept elsewhere, POSITION:HASH, as `rota audit head` printed it.")] = "",
    heads: Annotated[Path | None, typer.Option(help="A file of such heads, one a line, as the setting audit_head_file keeps them.")] = None,
    json: show.Json = False,
) -> None:
    """Recompute the hash chain of the audit log; exits with 1 and the position where it breaks.

    The chain finds every entry that was edited, removed, inserted or moved. Only a head that was kept elsewhere finds a
    tail that was cut off, or a log that was written anew.

    Example: rota audit verify --head 1042:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    """
    with opened(ctx, "audit.read") as platform:
        kept = [audit_chain.parse_head(head)] if head else []
        kept += _heads_of(heads) if heads is not None else []
        check = audit_chain.verify_audit(platform.repositories.metadata, *kept)
    if json:
        show.write_json(plain(check))
    if check.broken_at:
        raise Corrupt(f"the audit log breaks at position {check.broken_at}: {check.reason}; the {check.entries} entries before it are sound")
    if not json:
        print(f"{check.entries} entries, the chain is whole")


def _heads_of(file: Path) -> list[audit_chain.Head]:
    try:
        return audit_chain.parse_heads(file.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the file of heads {str(file)!r} cannot be read: {error}", file=str(file)) from error


@audit.command("head")
def show_head(ctx: typer.Context, json: show.Json = False) -> None:
    """Print where the audit log ends now; kept elsewhere it proves later that nothing was cut off.

    Example: rota audit head
    """
    with opened(ctx, "audit.read") as platform:
        found = audit_chain.head(platform.repositories.metadata)
    if json:
        show.write_json(plain(found))
    else:
        print(found)


@events.command("list")
def list_events(ctx: typer.Context, limit: show.Limit = 50, json: show.Json = False) -> None:
    """List the newest events, newest first.

    Example: rota events list --limit 20
    """
    with opened(ctx, "platform.read") as platform:
        found = audit_chain.newest_events(platform.repositories.metadata, limit=limit)
    columns = {
        "#": lambda e: e.position,
        "at": lambda e: show.when(e.at_us),
        "event": lambda e: e.kind,
        "subject": lambda e: e.subject,
        "body": lambda e: show.figures(e.body),
    }
    show.listing(found, columns, as_json=json, empty="nothing happened yet")
