"""Process 7 on the command line: datasets and schemas."""

from collections.abc import Callable
from enum import Enum
from json import dumps
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from rota import engines
from rota.cli import comparison, rows, schema, show
from rota.cli.opening import opened
from rota.errors import InvalidInput
from rota.manage.datasets import build as datasets
from rota.manage.datasets import diff as dataset_diff
from rota.manage.datasets import profiles
from rota.records.dataset import Dataset, DatasetVersion
from rota.records.profile import ColumnProfile
from rota.records.record import plain
from rota.rendering import profile_charts
from rota.rendering.documents import profile_html
from rota.rendering.profile_view import INSTALL, facts
from rota.stats import quality

Version = Annotated[str, typer.Argument(metavar="NAME@NUMBER", help="A dataset version.")]


class Side(Enum):
    """Which rows of a split."""

    TRAIN = "train"
    TEST = "test"
    BOTH = "both"


commands = typer.Typer()
data = typer.Typer(no_args_is_help=True, help="Datasets and schemas: list, build, show, profile, diff, compare, export, schema.")
commands.add_typer(data, name="data")
data.add_typer(schema.commands, name="schema")
data.add_typer(comparison.commands)


@data.command("list")
def list_data(ctx: typer.Context, limit: show.Limit = 50, json: show.Json = False) -> None:
    """List dataset versions, newest first.

    Example: rota data list
    """
    with opened(ctx, "data.read") as platform:
        found = platform.repositories.metadata.page(DatasetVersion, order="-created_us", limit=limit)
    columns = {
        "dataset": lambda d: f"{d.name}@{d.number}",
        "rows": lambda d: d.rows,
        "train": lambda d: d.train_rows,
        "test": lambda d: d.test_rows,
        "from": lambda d: show.when(d.start_us),
        "to": lambda d: show.when(d.end_us),
        "quality": lambda d: f"{d.quality['overall']:.1%}" if "overall" in d.quality else "",
        "environment": lambda d: d.environment,
        "sha256": lambda d: d.digest[:12],
        "run": lambda d: d.run,
    }
    show.listing(found, columns, as_json=json, empty="no dataset was built yet; a training run builds one")


@data.command("show")
def show_data(ctx: typer.Context, dataset: Version, json: show.Json = False) -> None:
    """Show a dataset version: rows, split, digest, quality, and the source versions it was built from.

    Example: rota data show flight-delay@3
    """
    with opened(ctx, "data.read") as platform:
        found = datasets.get(platform.repositories.metadata, *datasets.parse(dataset))
    times = {"start_us": "from", "end_us": "to", "test_from_us": "test from", "created_us": "created"}
    named = {times.get(field, field): show.when(value) if field in times else value for field, value in plain(found).items()}
    named["split"] = datasets.split_words(found)
    unjudged = [name for name in quality.DIMENSIONS if found.quality and name not in found.quality]
    named["quality"] = ", ".join([*(f"{name} {score:.4f}" for name, score in found.quality.items()), *(f"{name} not judged" for name in unjudged)])
    show.facts(named, as_json=json, record=found)


@data.command()
def definitions(ctx: typer.Context, json: show.Json = False) -> None:
    """List the datasets of the catalog, which a project file declares and `rota data build` builds.

    Example: rota data definitions
    """
    with opened(ctx, "data.read") as platform:
        found = platform.repositories.metadata.find(Dataset)
    columns = {
        "dataset": lambda d: d.name,
        "features": lambda d: f"{d.definition.features.name} ({len(d.definition.features.feature_names)})",
        "label": lambda d: f"{d.definition.label.text} of {d.definition.labels.name}",
        "filter": lambda d: d.definition.filter,
        "window": lambda d: d.definition.window,
        "owner": lambda d: d.owner,
        "description": lambda d: d.description,
    }
    show.listing(found, columns, as_json=json, empty="no dataset is declared; put a rota.Dataset into the project file and apply it")


@data.command()
def build(ctx: typer.Context, name: Annotated[str, typer.Argument(help="A dataset of the catalog.")], json: show.Json = False) -> None:
    """Build the next version of a dataset from this home's sources, for this home's environment.

    The newest version stays the newest when it holds the very same rows. Each environment has a home of its own
    (`rota --home .rota-staging`, ROTA_ENVIRONMENT=staging), so the same definition is built there from that home's sources.

    Example: rota data build late-flights
    """
    with opened(ctx, "data.write") as platform:
        made = platform.datasets.build(name, actor=platform.identity.name)
    if json:
        show.write_json({"new": made.new, "version": plain(made.version)})
        return
    version = made.version
    print(f"{version.id} {'built' if made.new else 'holds these rows already'}: {version.rows} rows, sha256 {version.digest[:12]}")
    print(f"{version.train_rows} train, {version.test_rows} test: {datasets.split_words(version)}")
    shown = f"{version.quality['overall']:.1%}" if "overall" in version.quality else "could not be judged"
    print(f"quality {shown}; `rota data profile {version.id}` shows more")


@data.command()
def profile(
    ctx: typer.Context,
    dataset: Version,
    output: Annotated[Path | None, typer.Option(help="Write a report to this .html file, or the profile with its charts to this .json file.")] = None,
    json: show.Json = False,
) -> None:
    """Show what each column of a version holds and how good the rows are; --output writes one HTML file that needs nothing else.

    Example: rota data profile flight-delay@3 --output report.html
    """
    if output is not None and output.suffix not in (".html", ".json"):
        raise InvalidInput(f"{output} has the suffix {output.suffix!r}; give a .html or .json file", file=str(output))
    with opened(ctx, "data.read") as platform:
        version = datasets.get(platform.repositories.metadata, *datasets.parse(dataset))
        found = profiles.load(platform.repositories.blobs, version)
    everything = {"profile": plain(found), "charts": profile_charts.charts(found)}
    if output is not None:
        rows.write_text(output, profile_html(version, found, engines.drawing()) if output.suffix == ".html" else dumps(everything, indent=2))
        print(f"wrote {output}" + ("" if output.suffix == ".json" or engines.drawing() else f"; its charts are tables: {INSTALL} draws them"))
    elif json:
        show.write_json(everything)
    else:
        show.listing(
            found.quality,
            {"quality": lambda d: d.name, "score": lambda d: "not judged" if d.score is None else f"{d.score:.2%}", "counted": lambda d: d.reason},
            as_json=False,
            empty="",
        )
        print()
        show.listing(found.columns, _COLUMNS, as_json=False, empty="no columns")


@data.command()
def diff(
    ctx: typer.Context,
    before: Version,
    after: Version,
    json: show.Json = False,
) -> None:
    """Show what changed between two versions: rows, columns, statistics, and which columns drifted.

    Example: rota data diff flight-delay@2 flight-delay@3
    """
    with opened(ctx, "data.read") as platform:
        r = platform.repositories
        old, new = (datasets.get(r.metadata, *datasets.parse(text)) for text in (before, after))
        found = dataset_diff.diff(r.tables, r.blobs, old, new)
    if json:
        show.write_json(plain(found) | {"drifted": found.drifted})
        return
    named = {
        "rows": f"{found.same_rows:,} in both, {found.gone_rows:,} only in {found.before}, {found.new_rows:,} only in {found.after}",
        "changed sides": f"{found.moved:,} rows of both",
        "added": ", ".join(found.added) or "no column",
        "removed": ", ".join(found.removed) or "no column",
        "retyped": ", ".join(found.retyped) or "no column",
        "drifted": ", ".join(found.drifted) or "no column",
    }
    show.facts(named, as_json=False)
    print()
    show.listing(found.columns, _CHANGES, as_json=False, empty="the versions have no column in common")


@data.command()
def export(
    ctx: typer.Context,
    dataset: Version,
    output: Annotated[Path, typer.Option(help="A .parquet or .csv file.")],
    side: Annotated[Side, typer.Option(help="Only the rows of one side of the split.")] = Side.BOTH,
) -> None:
    """Write the rows of a version to a Parquet or CSV file, in their order.

    Example: rota data export flight-delay@3 --output flights.parquet --side test
    """
    with opened(ctx, "data.read") as platform:
        version = datasets.get(platform.repositories.metadata, *datasets.parse(dataset))
        found = datasets.read(platform.repositories.tables, version)
    if side is not Side.BOTH:
        found = found.filter(pl.col(datasets.TEST) == (side is Side.TEST))
    rows.write_frame(output, found)
    print(f"wrote {found.height} rows to {output}")


_COLUMNS: dict[str, Callable[[ColumnProfile], object]] = {
    "column": lambda c: c.name,
    "role": lambda c: c.role,
    "type": lambda c: c.type,
    "missing": lambda c: f"{c.nulls:,}",
    "distinct": lambda c: f"{c.distinct:,}",
    "complete": lambda c: f"{c.completeness:.1%}",
    "valid": lambda c: f"{c.validity:.1%}",
    "mean": lambda c: _bound(c.mean) if c.type != "timestamp" else "",
    "range or commonest": lambda c: ", ".join(text for text, _ in c.top[:3]) if c.top else facts(c).get("range", ""),
}
_CHANGES: dict[str, Callable[[dataset_diff.ColumnChange], object]] = {
    "column": lambda c: c.name,
    "role": lambda c: c.role,
    "distance": lambda c: f"{c.distance:.3f}",
    "": lambda c: "drifted" if c.drifted else "",
    "missing": lambda c: f"{1 - c.before.completeness:.1%} -> {1 - c.after.completeness:.1%}",
    "distinct": lambda c: f"{c.before.distinct:,} -> {c.after.distinct:,}",
    "mean": lambda c: f"{_bound(c.before.mean)} -> {_bound(c.after.mean)}" if c.after.mean is not None and c.after.type != "timestamp" else "",
}


def _bound(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
