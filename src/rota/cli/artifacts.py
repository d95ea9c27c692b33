"""Process 7 on the command line, the artifact side: list, get and archive what runs and versions consist of."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

import typer

from rota.cli import show
from rota.cli.opening import opened
from rota.errors import InvalidInput
from rota.manage.experiments import artifacts as filing
from rota.manage.lineage import archive as archiving
from rota.manage.repositories import Repositories

commands = typer.Typer()
artifacts = typer.Typer(no_args_is_help=True, help="What runs and versions consist of: list, get, archive.")
commands.add_typer(artifacts, name="artifacts")

ROOTS_END = "/artifacts/"


@artifacts.command("list")
def list_(
    ctx: typer.Context,
    run: Annotated[str, typer.Option(help="A tracked or a durable run, by its id.", show_default=False)] = "",
    model: Annotated[str, typer.Option(help="A version, as churn@3 or churn@champion.", show_default=False)] = "",
    type: Annotated[str, typer.Option(help="Only these, for example bundle, evaluation or file.", show_default=False)] = "",
    json: show.Json = False,
) -> None:
    """List the artifacts of a run or of a model version, with digest and size.

    Example: rota artifacts list --model flight-delay@champion
    """
    if bool(run) == bool(model):
        raise InvalidInput("whose artifacts? give --run ID or --model NAME@VERSION")
    with opened(ctx, "experiment.read") as platform:
        found = archiving.belongings(platform.repositories, f"model_version:{model}" if model else _node_of(platform.repositories, run))
    pieces = [piece for piece in found.pieces if type in ("", piece.about)]
    columns = {"path": lambda p: p.path, "what": lambda p: p.about, "bytes": lambda p: p.size, "digest": lambda p: p.digest}
    show.listing(pieces, columns, as_json=json, empty=f"{found.node} has no such artifacts")


@artifacts.command()
def get(
    ctx: typer.Context,
    artifact: Annotated[str, typer.Argument(metavar="DIGEST|ROOT/PATH", help="A blob by its digest, or a file by its root and path.")],
    out: Annotated[Path, typer.Option(help="File to write; it appears only when all bytes are there and their digest is right.")],
    json: show.Json = False,
) -> None:
    """Get an artifact's bytes, checked against their digest.

    Example: rota artifacts get 0/4f2d81/artifacts/model/MLmodel --out MLmodel
    """
    with opened(ctx, "experiment.read") as platform:
        root, marker, path = artifact.partition(ROOTS_END)
        blobs = platform.repositories.blobs
        digest = filing.find(platform.repositories.metadata, root + marker.rstrip("/"), path).digest if marker else artifact
        with _whole(out) as file:
            for piece in blobs.stream(digest):
                file.write(piece)
    show.facts({"file": str(out), "bytes": out.stat().st_size, "digest": digest}, as_json=json)


@artifacts.command()
def archive(
    ctx: typer.Context,
    node: Annotated[str, typer.Argument(help="A version or a run: model_version:churn@3, run:ID or experiment_run:ID.")],
    out: Annotated[Path, typer.Option(help="The tar file to write.")],
    json: show.Json = False,
) -> None:
    """Write everything that a version or a run needs into one tar file, with a manifest of digests.

    Example: rota artifacts archive model_version:flight-delay@3 --out flight-delay-3.tar
    """
    with opened(ctx, "experiment.read") as platform:
        found = archiving.belongings(platform.repositories, node)
        with _whole(out) as file:
            manifest = archiving.write(platform.repositories, found, file)
    show.facts({"file": str(out), "bytes": out.stat().st_size, "members": len(manifest["members"])}, as_json=json, record=manifest)


def _node_of(repositories: Repositories, run: str) -> str:
    """Tracked and durable runs have ids of different forms; the first that is there counts."""
    return f"experiment_run:{run}" if repositories.tracking.run(run) is not None else f"run:{run}"


@contextmanager
def _whole(out: Path) -> Iterator[IO[bytes]]:
    """A file that takes its place when it was written without an error."""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
    except OSError as error:
        raise InvalidInput(f"{str(out)!r} cannot be written: {error.strerror}; choose another place", path=str(out)) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        Path(temporary).replace(out)
    finally:
        Path(temporary).unlink(missing_ok=True)
