"""Process 7 on the command line, the data side: datasets, schemas, features, sources."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from rota.cli import rows, show
from rota.cli.opening import opened
from rota.errors import InvalidInput, NotFound
from rota.manage import datasets, predictions
from rota.manage.features.parity import parity as compare
from rota.manage.registry import get as version_of
from rota.records.data import DatasetVersion, FeatureService, FeatureView, Schema, Source
from rota.records.model import ModelBundle
from rota.records.record import decode, plain
from rota.records.release import Endpoint
from rota.wiring import Platform

commands = typer.Typer()
data = typer.Typer(no_args_is_help=True, help="Dataset versions and schemas: list, show, schema.")
features = typer.Typer(no_args_is_help=True, help="Feature views and training-serving parity: list, parity.")
sources = typer.Typer(no_args_is_help=True, help="Sources of rows: list, push, ingest.")
commands.add_typer(data, name="data")
commands.add_typer(features, name="features")
commands.add_typer(sources, name="sources")


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


@features.command("list")
def list_features(ctx: typer.Context, json: show.Json = False) -> None:
    """List stored feature views and their features.

    Example: rota features list
    """
    with opened(ctx) as platform:
        found = platform.repositories.metadata.find(FeatureView)
    if json:
        show.write_json([plain(view) for view in found])
        return
    columns = {
        "feature": lambda f: f"{f[0].name}__{f[1]}",
        "entity": lambda f: ", ".join(entity.name for entity in f[0].entities),
        "source": lambda f: f[0].source.name,
        "expression": lambda f: f"{f[2].aggregation}({f[2].sql}) over {f[2].window}" if f[2].aggregation else f[2].sql,
        "ttl": lambda f: f[0].ttl or "",
    }
    flat = [(view, name, feature) for view in found for name, feature in view.features.items()]
    show.listing(flat, columns, as_json=False, empty="no feature view is stored; `rota apply project.py` stores those of a project")


@features.command()
def parity(
    ctx: typer.Context,
    endpoint: Annotated[str, typer.Argument(help="Name of the endpoint.")],
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest predictions are compared.")] = 10_000,
    json: show.Json = False,
) -> None:
    """Compare the features that predictions were served with against the same features recomputed offline.

    Prints "0 differences", or each differing cell and exits with 1.

    Example: rota features parity flight-delay --limit 1000
    """
    with opened(ctx) as platform:
        compared, found = 0, []
        for service, served in _served(platform, endpoint, limit):
            for source in {view.source.name for view in service.stored_views}:
                platform.feed.flush(source)
            compared += served.height
            found += compare(platform.repositories.tables, service, served).to_dicts()
    if json:
        show.write_json({"predictions": compared, "differences": found})
    else:
        print(f"{len(found)} differences in {compared} predictions")
        columns = {name: lambda cell, name=name: cell[name] for name in ("prediction_id", "feature", "served", "recomputed")}
        if found:
            show.listing(found, columns, as_json=False, empty="")
    if found:
        raise typer.Exit(1)


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


def _served(platform: Platform, endpoint: str, limit: int) -> Iterator[tuple[FeatureService, pl.DataFrame]]:
    """The newest answered predictions with their request fields, one frame for each model version that answered."""
    repositories = platform.repositories
    if repositories.metadata.get(Endpoint, endpoint) is None:
        raise NotFound(f"there is no endpoint {endpoint!r}; `rota endpoints list` shows them", endpoint=endpoint)
    predictions.flush(repositories.journal, repositories.tables, endpoint)
    log = predictions.read(repositories.tables, endpoint, 0, repositories.clock.now_us() + 1).filter(pl.col("error") == "").tail(limit)
    for (model, number), part in log.partition_by("model", "number", as_dict=True, maintain_order=True).items():
        bundle = decode(repositories.blobs.get(version_of(repositories.metadata, str(model), int(number)).bundle), ModelBundle)
        types = {"float": pl.Float64, "int": pl.Int64, "bool": pl.Boolean, "string": pl.String, "timestamp": pl.Int64}
        fields = pl.Struct({name: types[kind] for name, kind in bundle.features.request_fields.items()})
        absent = [pl.lit(None).alias(name) for name in bundle.features.feature_names if name not in part.columns]
        asked = part.select("prediction_id", "at_us", pl.col("request").str.json_decode(fields)).unnest("request")
        yield bundle.features, asked.hstack(part.with_columns(absent).select(bundle.features.feature_names))


def _bound(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
