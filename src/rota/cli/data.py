"""Process 7 on the command line: datasets and schemas."""

from typing import Annotated

import typer

from rota.cli import show
from rota.cli.opening import opened
from rota.errors import InvalidInput, NotFound
from rota.manage import datasets
from rota.records.dataset import DatasetVersion
from rota.records.record import plain
from rota.records.schema import Schema

commands = typer.Typer()
data = typer.Typer(no_args_is_help=True, help="Dataset versions and schemas: list, show, schema.")
commands.add_typer(data, name="data")


@data.command("list")
def list_data(ctx: typer.Context, limit: show.Limit = 50, json: show.Json = False) -> None:
    """List dataset versions, newest first.

    Example: rota data list
    """
    with opened(ctx) as platform:
        found = platform.repositories.metadata.find(DatasetVersion, order="-created_us", limit=limit)
    columns = {
        "dataset": lambda d: f"{d.name}@{d.number}",
        "rows": lambda d: d.rows,
        "train": lambda d: d.train_rows,
        "test": lambda d: d.test_rows,
        "from": lambda d: show.when(d.start_us),
        "to": lambda d: show.when(d.end_us),
        "sha256": lambda d: d.digest[:12],
        "run": lambda d: d.run,
    }
    show.listing(found, columns, as_json=json, empty="no dataset was built yet; a training run builds one")


@data.command("show")
def show_data(
    ctx: typer.Context, dataset: Annotated[str, typer.Argument(metavar="NAME@NUMBER", help="A dataset version.")], json: show.Json = False
) -> None:
    """Show a dataset version: rows, split, digest, and the source versions it was built from.

    Example: rota data show flight-delay@3
    """
    name, _, number = dataset.partition("@")
    if not number.isdecimal():
        raise InvalidInput(f'dataset {dataset!r} is not NAME@NUMBER; for example "flight-delay@3"', dataset=dataset)
    with opened(ctx) as platform:
        found = datasets.get(platform.repositories.metadata, name, int(number))
    times = {"start_us": "from", "end_us": "to", "test_from_us": "test from", "created_us": "created"}
    named = {times.get(field, field): show.when(value) if field in times else value for field, value in plain(found).items()}
    show.facts(named, as_json=json, record=found)


@data.command()
def schema(ctx: typer.Context, name: Annotated[str, typer.Argument(help="Name of a pipeline.")], json: show.Json = False) -> None:
    """Show the newest schema against which fresh data is held.

    Example: rota data schema flight-delay
    """
    with opened(ctx) as platform:
        found = platform.repositories.metadata.find(Schema, {"name": name}, order="-version", limit=1)
    if not found:
        raise NotFound(f"there is no schema {name!r}; the first training run of a pipeline infers and freezes one", schema=name)
    if json:
        show.write_json(plain(found[0]))
        return
    print(f"{name}, version {found[0].version}, from {found[0].dataset}, frozen {show.when(found[0].frozen_us)}\n")
    columns = {
        "feature": lambda c: c.name,
        "type": lambda c: c.type,
        "nulls at most": lambda c: f"{c.max_null_share:.1%}",
        "domain": lambda c: (
            f"{len(c.domain)} texts: {', '.join(c.domain[:5])}" if c.domain is not None else f"{_bound(c.minimum)} .. {_bound(c.maximum)}"
        ),
    }
    show.listing(found[0].columns, columns, as_json=False, empty="the schema has no columns")


def _bound(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
