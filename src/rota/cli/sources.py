"""Process 7 on the command line: sources of rows."""

from pathlib import Path
from typing import Annotated

import typer

from rota.cli import rows, show
from rota.cli.opening import opened
from rota.records.data import Source
from rota.records.record import plain

commands = typer.Typer()
sources = typer.Typer(no_args_is_help=True, help="Sources of rows: list, push, ingest.")
commands.add_typer(sources, name="sources")


@sources.command("list")
def list_sources(ctx: typer.Context, json: show.Json = False) -> None:
    """List sources with their fields and how they are filled.

    Example: rota sources list
    """
    with opened(ctx) as platform:
        found = platform.repositories.metadata.find(Source)
    columns = {
        "source": lambda s: s.name,
        "timestamp": lambda s: s.timestamp_field,
        "id": lambda s: s.id_field or "",
        "files": lambda s: s.path or "",
        "fields": lambda s: ", ".join(f"{name} {kind}" for name, kind in s.fields.items()),
    }
    show.listing(found, columns, as_json=json, empty="no source is stored; `rota apply project.py` stores those of a project")


@sources.command()
def push(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(help="Name of the source.")],
    file: Annotated[Path, typer.Argument(help="Rows in a .jsonl, .csv or .parquet file.")],
    json: show.Json = False,
) -> None:
    """Push the rows of a file into a source: online at once, in the offline table soon after; all or none.

    Example: rota sources push weather today.jsonl
    """
    with opened(ctx) as platform:
        taken = platform.push(source, rows.read(file))
    if json:
        show.write_json({"source": source, "accepted": taken})
    else:
        print(f"{taken} rows pushed into {source}")


@sources.command()
def ingest(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(help="Name of the source.")],
    path: Annotated[str, typer.Argument(help="File or glob; otherwise the source's own path.")] = "",
    json: show.Json = False,
) -> None:
    """Read files of a source into the offline table; rows that are stored already are left out.

    Example: rota sources ingest weather "weather/*.parquet"
    """
    with opened(ctx) as platform:
        done = platform.feed.ingest(source, path or None)
    show.facts(plain(done), as_json=json)
