"""`rota doctor`: what an operator should know of a home, and what to do."""

from typing import Annotated

import typer

from rota.cli import show
from rota.cli.home import settings_of
from rota.records.record import plain
from rota.supervisor import doctor as examination

commands = typer.Typer()


@commands.command()
def doctor(
    ctx: typer.Context,
    deep: Annotated[bool, typer.Option("--deep", help="Read every blob and the whole database instead of samples.")] = False,
    json: show.Json = False,
) -> None:
    """Examine a home: permissions, disk, versions, damage, clock, processes, ports; and say what to do.

    It starts nothing and changes nothing. Exit code 1 when something failed, 0 when everything is well or only wants attention.

    Example: rota doctor --deep
    """
    found = examination.examine(settings_of(ctx), deep=deep)
    if json:
        show.write_json([plain(each) for each in found])
    else:
        columns = {
            "what": lambda c: c.name,
            "state": lambda c: c.status,
            "seen, and what to do": lambda c: c.message or ", ".join(f"{name} {value}" for name, value in c.evidence.items()),
        }
        show.listing(found, columns, as_json=False, empty="nothing was examined")
    if any(each.status == "failed" for each in found):
        raise typer.Exit(1)
