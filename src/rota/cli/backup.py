"""Backups on the command line: make, list, verify and prune them, and restore one into a new home."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rota import backups, settings
from rota.cli import show
from rota.cli.opening import opened
from rota.cli.progress import byte_bar
from rota.cli.reading import user
from rota.records.record import plain


class _PlaceFirst(TyperGroup):
    """`rota backup PLACE` is `rota backup make PLACE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["make", *args]
        return super().parse_args(ctx, args)


commands = typer.Typer()
backup = typer.Typer(
    cls=_PlaceFirst, no_args_is_help=True, help="Back up a running platform into a directory or a bucket: make, list, verify, prune."
)
commands.add_typer(backup, name="backup")

Place = Annotated[str, typer.Argument(help="A directory, or s3://BUCKET/PREFIX (reached with the AWS_* variables).")]
Id = Annotated[str, typer.Option("--id", help="Which backup; the newest one that can be read unless it is given.", show_default=False)]


@backup.command()
def make(ctx: typer.Context, place: Place, json: show.Json = False) -> None:
    """Back up the platform, running or not. `rota backup PLACE` is short for it.

    Everything acknowledged before the command is in it: records and runs, predictions, labels, pushed rows, tables, blobs, keys. What the
    place has already is not copied again. What can be rebuilt (online features, sorted copies) is left out. The place holds the
    secrets of the home: keep it as safe as the home. Exits with 1 when the platform itself lacks something.

    Example: rota backup make /var/backups/rota
    """
    with opened(ctx, "platform.backup") as platform, byte_bar("backup") as bar:
        made = backups.make(platform, place, report=lambda at: bar(at.done_bytes, at.total_bytes))
    seconds = (made.ended_us - made.began_us) / 1e6
    shown = {
        "backup": made.id,
        "in": made.place,
        "as of": show.when(made.moment_us),
        "holds": f"{made.files} files, {_bytes(made.size_bytes)}",
        "copied": f"{_bytes(made.copied_bytes)} in {seconds:.1f} s, {_bytes(made.copied_bytes / max(seconds, 0.001))}/s; the rest was there",
        "secrets in it": ", ".join(made.secrets) or "none",
        "left out": "\n".join(made.left_out),
        **({"faults of the platform": "\n".join(made.faults)} if made.faults else {}),
    }
    show.facts(shown, as_json=json, record=made)
    if made.faults:
        raise typer.Exit(1)


@backup.command("list")
def list_(place: Place, json: show.Json = False) -> None:
    """List the finished backups of a place, newest first. One that was killed is none.

    Example: rota backup list /var/backups/rota
    """
    columns = {
        "backup": lambda b: b.id,
        "as of": lambda b: show.when(b.moment_us or None),
        "of": lambda b: f"{b.host}:{b.home}" if b.host else "",
        "files": lambda b: b.files,
        "bytes": lambda b: _bytes(b.size_bytes),
        "faults": lambda b: b.faults or "",
        "problem": lambda b: b.problem,
    }
    show.listing(backups.stored(place), columns, as_json=json, empty="no backup there")


@backup.command()
def verify(place: Place, id: Id = "", json: show.Json = False) -> None:
    """Read every byte of a backup back; names what is missing or damaged, and exits with 1 then.

    Example: rota backup verify /var/backups/rota
    """
    with byte_bar("verify") as bar:
        found = backups.verify(place, id=id, report=lambda at: bar(at.done_bytes, at.total_bytes))
    if json:
        show.write_json(plain(found))
    elif found.damages:
        columns = {"problem": lambda d: d.problem, "file": lambda d: d.path or "(bytes that this backup does not use)", "object": lambda d: d.object}
        show.listing(found.damages, columns, as_json=False, empty="")
    if not json:
        sound = "is whole" if not found.damages else f"lacks {len(found.damages)} files"
        print(f"backup {found.id} {sound}: {found.files} files in {found.objects} objects, {_bytes(found.size_bytes)}")
        for fault in found.faults:
            print(f"the platform itself lacked: {fault}")
    if found.damages:
        raise typer.Exit(1)


@backup.command()
def prune(
    place: Place, keep: Annotated[int, typer.Option("--keep", min=1, help="How many of the newest backups stay.")], json: show.Json = False
) -> None:
    """Remove all but the newest backups, and what only they or killed backups used.

    Example: rota backup prune /var/backups/rota --keep 14
    """
    found = backups.prune(place, keep)
    shown = {"kept": "\n".join(found.kept), "removed": "\n".join(found.removed) or "none", "freed": _bytes(found.freed_bytes)}
    show.facts(shown, as_json=json, record=found)


@commands.command()
def restore(
    place: Place,
    home: Annotated[Path, typer.Option("--home", help="The new home; it must not exist, or be empty.", show_default=False)],
    id: Id = "",
    json: show.Json = False,
) -> None:
    """Restore a backup into a new home, and into the empty stores that the settings here name.

    Runs and rollouts stand where they stood; they go on when the restored platform is brought up, so end the original first, or cancel
    them. Online features are rebuilt then. A PostgreSQL (ROTA_METADATA_URL) and a bucket (ROTA_STORAGE_URL) must be empty.

    Example: rota restore /var/backups/rota --home /var/lib/rota-restored
    """
    with byte_bar("restore") as bar:
        report = backups.restore(place, settings.load(home=home), actor=user(), id=id, report=lambda at: bar(at.done_bytes, at.total_bytes))
    shown = {
        "restored": f"{report.id} from {report.place}",
        "into": report.home,
        "as of": f"{show.when(report.moment_us)}: nothing that was acknowledged later is in it",
        "holds": f"{report.files} files, {_bytes(report.size_bytes)}",
        "open runs": f"{report.open_runs}: they go on when this platform is brought up" if report.open_runs else "none",
        "tracked programs": f"{report.spools}: their runs end as killed" if report.spools else "none",
        "rebuilt at the start": "\n".join(report.left_out),
        **(
            {"other settings": "\n".join(f"{name}: was {was!r}, is {now!r}" for name, (was, now) in report.differing.items())}
            if report.differing
            else {}
        ),
        **({"warnings": "\n".join(report.warnings)} if report.warnings else {}),
        **({"faults of the original": "\n".join(report.faults)} if report.faults else {}),
    }
    show.facts(shown, as_json=json, record=report)


def _bytes(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1_000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1_000
    return f"{count:.1f} GB"
