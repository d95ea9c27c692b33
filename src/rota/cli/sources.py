"""Process 7 on the command line: sources of rows."""

from pathlib import Path
from typing import Annotated

import typer

from rota.cli import progress, rows, show
from rota.cli.opening import opened
from rota.manage.features.ingestion import ingestion_log, quarantine, source_status, watermarks
from rota.records.data import Source
from rota.records.file_format import FileFormat
from rota.records.record import plain
from rota.records.time import lasted

commands = typer.Typer()
sources = typer.Typer(no_args_is_help=True, help="Sources of rows: list, show, test, push, ingest, rejects, status.")
commands.add_typer(sources, name="sources")
Name = Annotated[str, typer.Argument(help="Name of the source.")]


@sources.command("list")
def list_sources(ctx: typer.Context, json: show.Json = False) -> None:
    """List sources with their fields and how they are filled.

    Example: rota sources list
    """
    with opened(ctx, "data.read") as platform:
        found = platform.repositories.metadata.find(Source)
    columns = {
        "source": lambda s: s.name,
        "timestamp": lambda s: s.timestamp_field,
        "id": lambda s: s.id_field or "",
        "filled by": _filled_by,
        "fields": lambda s: ", ".join(f"{name} {kind}" for name, kind in s.fields.items()),
    }
    show.listing(found, columns, as_json=json, empty="no source is stored; `rota apply project.py` stores those of a project")


@sources.command("show")
def show_source(ctx: typer.Context, name: Name, limit: show.Limit = 10, json: show.Json = False) -> None:
    """Show a source, its contract, how it stands, and its newest ingestions.

    Example: rota sources show weather
    """
    with opened(ctx, "data.read") as platform:
        r = platform.repositories
        source = source_status.get(r.metadata, name)
        status = source_status.status(r.metadata, r.tables, source, r.clock.now_us())
        history = ingestion_log.history(r.metadata, name, limit=limit)
    if json:
        show.write_json({"source": plain(source), "status": plain(status), "ingestions": plain(history)})
        return
    contract = source.contract
    named = {
        "source": source.name,
        "description": source.description,
        "owner": status.owner,
        "filled by": _filled_by(source),
        "format": _format(source),
        "fields": ", ".join(f"{field} {kind}" for field, kind in source.fields.items()),
        "timestamp": source.timestamp_field,
        "id": source.id_field or "",
        "contract": f"version {contract.version} of {contract.owner}, on break: {contract.on_break}" if contract else "",
        "rows": status.rows,
        "newest": show.when(status.newest_us),
        "state": status.stale or status.state,
        "rejects": status.rejected,
    }
    show.facts(named, as_json=False)
    for each in history:
        counts = f"{each.rows_in} read, {each.rows_out} stored, {each.known} known, {each.rejected} rejected"
        print(f"{each.number}. {show.when(each.at_us)} {each.status} by {each.actor}: {counts} ({each.reason or each.origin})")
        for notice in each.notices:
            print(f"   {notice}")


@sources.command("test")
def probe(
    ctx: typer.Context,
    name: Name,
    path: Annotated[str, typer.Argument(help="File or glob; otherwise the source's own input.")] = "",
    json: show.Json = False,
) -> None:
    """Look at a source's input: types found against those declared, and what of the first rows would be rejected; nothing is stored.

    Example: rota sources test weather
    """
    with opened(ctx, "data.read") as platform:
        found = source_status.probe(platform.inputs, source_status.get(platform.repositories.metadata, name), path or None)
    if json:
        show.write_json(plain(found))
        return
    print(f"{found.rows} rows of {found.origin}")
    for column in dict.fromkeys([*found.declared, *found.columns]):
        declared, seen = found.declared.get(column), found.columns.get(column, "nothing")
        note = "" if declared == seen else ", not declared" if declared is None else f", declared {declared}"
        print(f"  {column}: {seen}{note}")
    print(f"{found.rejected} of these rows would be rejected")
    for each in found.rejections[:10]:
        print(f"  row {each.row}{_line(each.line)}: {each.reason}")
    for notice in found.notices:
        print(notice)


@sources.command()
def push(
    ctx: typer.Context,
    source: Name,
    file: Annotated[Path, typer.Argument(help="Rows in a .jsonl, .csv or .parquet file.")],
    json: show.Json = False,
) -> None:
    """Push the rows of a file into a source: online at once, in the offline table soon after; all or none.

    Example: rota sources push weather today.jsonl
    """
    with opened(ctx, "data.push") as platform:
        taken = platform.features.push(source, rows.read(file, platform.features.get_data_source(source).fields))
    if json:
        show.write_json({"source": source, "accepted": taken})
    else:
        print(f"{taken} rows pushed into {source}")


@sources.command()
def ingest(
    ctx: typer.Context,
    source: Name,
    path: Annotated[str, typer.Argument(help="File or glob; otherwise the source's own files, database or outcomes.")] = "",
    final: Annotated[bool, typer.Option("--final", help="The files are finished: a last line without an end is a row too.")] = False,
    json: show.Json = False,
) -> None:
    """Take what is new of a source's input into the offline table, and bring it online; rows that are stored already are left out.

    A CSV or JSON lines file may grow: a last line without an end waits until it has one, the file was not changed for an hour, or --final.

    Example: rota sources ingest weather "weather/*.parquet"
    """
    with opened(ctx, "data.write") as platform, progress.bar("bringing online") as advance:
        done = platform.feed.ingest(source, path or None, actor=platform.identity.name, final=final, progress=lambda share, _: advance(share))
    if json:
        show.write_json(plain(done))
        return
    print(f"{source}: {done.rows_in} rows read from {done.origin}: {done.rows_out} stored, {done.known} known already, {done.rejected} rejected")
    for rejection in done.rejections[:5]:
        print(f"  {rejection.file} row {rejection.row}{_line(rejection.line)}: {rejection.reason}")
    if done.rejected:
        print(f"`rota sources rejects {source}` shows what was left out")
    for notice in done.notices:
        print(notice)
    if done.stale:
        print(done.stale)
    if done.online_problem:
        print(f"not online yet: {done.online_problem}")


@sources.command("rejects")
def list_rejects(ctx: typer.Context, name: Name, limit: show.Limit = 100, json: show.Json = False) -> None:
    """List rows that were left out of a source, the newest first: file, row, why, and the row as it came.

    Example: rota sources rejects weather
    """
    with opened(ctx, "data.read") as platform:
        r = platform.repositories
        found = quarantine.read(r.tables, source_status.get(r.metadata, name).name, limit=limit)
    columns = {
        "at": lambda row: show.when(row["at_us"]),
        "file": lambda row: row["file"],
        "row": lambda row: row["row"],
        "line": lambda row: row["line"] or "",
        "reason": lambda row: row["reason"],
        "raw": lambda row: row["raw"],
    }
    show.listing(found, columns, as_json=json, empty=f"nothing was rejected from source {name}")


@sources.command("status")
def list_status(
    ctx: typer.Context, name: Annotated[str, typer.Argument(help="Name of a source; otherwise all.")] = "", json: show.Json = False
) -> None:
    """Show how fresh sources are, and which break what their contract says about it.

    Example: rota sources status
    """
    with opened(ctx, "data.read") as platform:
        r = platform.repositories
        wanted = [source_status.get(r.metadata, name)] if name else r.metadata.find(Source)
        found = [source_status.status(r.metadata, r.tables, source, r.clock.now_us()) for source in wanted]
    columns = {
        "source": lambda s: s.source,
        "rows": lambda s: s.rows,
        "newest": lambda s: show.when(s.newest_us),
        "age": lambda s: "" if s.age_s is None else lasted(0, int(s.age_s * 1e6)),
        "at most": lambda s: s.freshness,
        "rejects": lambda s: s.rejected,
        "owner": lambda s: s.owner,
        "state": lambda s: s.stale or s.state,
    }
    show.listing(found, columns, as_json=json, empty="no source is stored; `rota apply project.py` stores those of a project")


def _line(number: int) -> str:
    return f" (line {number})" if number else ""


def _format(source: Source) -> str:
    """What is told of a source's files beyond what is expected of any."""
    usual = plain(FileFormat())
    return ", ".join(f"{word} {value!r}" for word, value in plain(source.format).items() if value != usual[word])


def _filled_by(source: Source) -> str:
    database = f"{watermarks.shown(source.url)} ({source.query})" if source.url else ""
    return ", ".join(filter(None, (source.path, database))) or "pushes"
