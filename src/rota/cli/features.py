"""Process 7 on the command line: feature views and parity."""

from collections.abc import Iterator
from typing import Annotated

import polars as pl
import typer

from rota.cli import show
from rota.cli.opening import opened
from rota.errors import NotFound
from rota.manage import predictions
from rota.manage.features.parity import parity as compare
from rota.manage.registry import get as version_of
from rota.records.data import FeatureService, FeatureView
from rota.records.model import ModelBundle
from rota.records.record import decode, plain
from rota.records.release import Endpoint
from rota.wiring import Platform

commands = typer.Typer()
features = typer.Typer(no_args_is_help=True, help="Feature views and training-serving parity: list, parity.")
commands.add_typer(features, name="features")


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
