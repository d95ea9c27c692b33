"""Process 7 on the command line: the feature catalog, values online and in history, materialization, parity."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
import typer
from polars.exceptions import PolarsError

from rota.cli import progress, rows, show
from rota.cli.opening import opened
from rota.errors import InvalidInput, NotFound
from rota.manage.features.definitions import references, versions
from rota.manage.features.join import compaction
from rota.manage.features.materialization.freshness import ViewStatus
from rota.manage.features.rows import csv_tables, table_adapters
from rota.manage.features.rows.coercion import cell
from rota.monitor.compare import check_parity
from rota.records.data import FeatureService, FeatureView, OnDemandFeatureView
from rota.records.record import plain
from rota.records.release import Endpoint
from rota.records.schema import Type
from rota.records.time import lasted

commands = typer.Typer()
features = typer.Typer(no_args_is_help=True, help="The feature catalog and values: list, search, show, usage, versions, get, historical ...")
commands.add_typer(features, name="features")
View = Annotated[str, typer.Argument(help="Name of a feature view.")]
Features = Annotated[list[str], typer.Option("--features", "-f", help="view:feature, view@v2:feature or the name of a service; may be repeated.")]


@features.command("list")
def list_features(ctx: typer.Context, json: show.Json = False) -> None:
    """List stored feature views and their features.

    Example: rota features list
    """
    with opened(ctx, "data.read") as platform:
        found: list[versions.View] = [*platform.features.list_feature_views(), *platform.features.list_on_demand_feature_views()]
    if json:
        show.write_json([plain(view) for view in found])
        return
    columns: dict[str, Callable[[Any], object]] = {
        "feature": lambda f: f"{f[0].name}:{f[1]}",
        "entity": lambda f: ", ".join(entity.name for entity in f[0].entities) if isinstance(f[0], FeatureView) else "",
        "source": lambda f: f[0].source.name if isinstance(f[0], FeatureView) else "request",
        "expression": lambda f: versions.shown(f[2]),
        "ttl": lambda f: f[0].ttl or "" if isinstance(f[0], FeatureView) else "",
        "owner": lambda f: f[0].owner,
    }
    flat = [(view, name, feature) for view in found for name, feature in view.features.items()]
    show.listing(flat, columns, as_json=False, empty="no feature view is stored; `rota apply project.py` stores those of a project")


@features.command()
def search(
    ctx: typer.Context,
    text: Annotated[str, typer.Argument(help="Words that must all occur, in any case; nothing finds everything.")] = "",
    owner: Annotated[str, typer.Option(help="Owner.")] = "",
    tag: Annotated[str, typer.Option(help="KEY or KEY=VALUE.")] = "",
    entity: Annotated[str, typer.Option(help="Name of an entity.")] = "",
    type: Annotated[str, typer.Option(help="Type of a feature: float, int, bool, string or timestamp.")] = "",
    kind: Annotated[str, typer.Option(help="feature, feature_view, on_demand_feature_view, source, feature_service or dataset.")] = "",
    json: show.Json = False,
) -> None:
    """Search features, views, sources, services and datasets.

    Example: rota features search delay --owner ops --tag domain=flights
    """
    with opened(ctx, "data.read") as platform:
        found = platform.features.search(text, owner=owner, tag=tag, entity=entity, type=type, kind=kind)
    columns = {
        "kind": lambda e: e.kind.replace("_", " "),
        "name": lambda e: e.name,
        "type": lambda e: e.type or "",
        "entity": lambda e: ", ".join(e.entities),
        "owner": lambda e: e.owner,
        "description": lambda e: e.description,
        "definition": lambda e: e.definition,
    }
    show.listing(found, columns, as_json=json, empty="nothing fits; `rota features search` without words lists everything")


@features.command("show")
def show_view(ctx: typer.Context, view: View, json: show.Json = False) -> None:
    """Show a view: its features, where they come from, who owns it, its newest version.

    Example: rota features show origin_delays
    """
    with opened(ctx, "data.read") as platform:
        found = references.view_of_any_age(platform.repositories.metadata, view)
        newest = versions.newest(platform.repositories.metadata, view)
    facts = {
        "view": found.name,
        "version": "" if newest is None else f"v{newest.number}{' (retired)' if newest.retired_us is not None else ''}",
        "description": found.description,
        "owner": found.owner,
        "tags": ", ".join(f"{key}={value}" for key, value in found.tags.items()),
        "source": found.source.name if isinstance(found, FeatureView) else "the request",
        "keys": ", ".join(found.join_keys) if isinstance(found, FeatureView) else ", ".join(found.inputs),
        "ttl": (found.ttl or "never expires") if isinstance(found, FeatureView) else "",
        "hop": found.hop if isinstance(found, FeatureView) and found.windowed else "",
    }
    facts |= {name: _described(found, name) for name in found.features}
    show.facts(facts, as_json=json, record={"view": plain(found), "version": newest.number if newest else None})


@features.command()
def usage(
    ctx: typer.Context,
    reference: Annotated[str, typer.Argument(metavar="VIEW[:FEATURE]", help="A view, or one feature of it.")],
    json: show.Json = False,
) -> None:
    """Everybody who uses a view or one feature of it: services, pipelines, datasets, models, endpoints.

    Example: rota features usage origin_delays:mean_3h
    """
    with opened(ctx, "data.read") as platform:
        found = platform.features.usage(reference)
    columns = {
        "kind": lambda u: u.kind.replace("_", " "),
        "name": lambda u: u.name,
        "version": lambda u: f"v{u.version}" if u.version else "",
        "features": lambda u: ", ".join(u.features),
    }
    show.listing(found, columns, as_json=json, empty=f"nobody uses {reference}")


@features.command("versions")
def list_versions(ctx: typer.Context, view: View, json: show.Json = False) -> None:
    """List the versions of a view and what changed between them.

    Example: rota features versions origin_delays
    """
    with opened(ctx, "data.read") as platform:
        found = platform.features.list_versions(view)
    changes = {new.number: versions.differences(old.view, new.view) for old, new in pairwise(found)}
    if json:
        show.write_json([plain(each) | {"differences": plain(changes.get(each.number, []))} for each in found])
        return
    columns = {
        "version": lambda v: f"{v.name}@v{v.number}",
        "since": lambda v: show.when(v.created_us),
        "retired": lambda v: show.when(v.retired_us),
        "changed": lambda v: "\n".join(f"{d.what}: {d.before or 'none'} -> {d.after or 'none'}" for d in changes.get(v.number, [])),
    }
    show.listing(found, columns, as_json=False, empty="it was registered before versions were kept; the next `rota apply` makes its first")


@features.command()
def retire(
    ctx: typer.Context,
    version: Annotated[str, typer.Argument(metavar="VIEW@vNUMBER", help="A version of a view.")],
    json: show.Json = False,
) -> None:
    """Give a version of a view up and free its online rows; refused while a service, dataset, model or endpoint uses it.

    Example: rota features retire origin_delays@v1
    """
    with opened(ctx, "data.write") as platform:
        removed = platform.features.retire(version, actor=platform.identity.name)
    if json:
        show.write_json({"retired": version, "online_rows_removed": removed})
    else:
        print(f"{version} is retired; {removed} online rows were removed")


@features.command("get")
def get_online(
    ctx: typer.Context,
    references_: Annotated[list[str], typer.Argument(metavar="FEATURE...", help="view:feature, view@v2:feature or the name of a service.")],
    entity: Annotated[list[str], typer.Option("--entity", "-e", help="KEY=VALUE: a join key or a field of the request.")] = [],  # noqa: B006
    json: show.Json = False,
) -> None:
    """Read the newest values of features for one entity, each with its status.

    Example: rota features get --entity origin=JFK origin_weather:temp origin_weather:precip
    """
    with opened(ctx, "data.read") as platform:
        asked = _asked(references_)
        service = references.service(platform.repositories.metadata, asked)
        answer = platform.features.get_online_features(asked, [_entity_row(service, entity)])
        columns = [(each.name, each.values[0], each.statuses[0], each.event_times[0]) for each in answer.columns() if each.name in answer.names]
    found = [{"feature": name, "value": value, "status": status, "event_us": at_us} for name, value, status, at_us in columns]
    named: dict[str, Callable[[dict[str, Any]], object]] = {
        "feature": lambda f: f["feature"],
        "value": lambda f: "" if f["value"] is None else str(f["value"]),
        "status": lambda f: f["status"],
        "event time": lambda f: show.when(f["event_us"]),
    }
    show.listing(found, named, as_json=json, empty="")


@features.command()
def historical(
    ctx: typer.Context,
    features: Features,
    labels: Annotated[Path, typer.Option(help="Rows to join to: a .csv, .parquet or .jsonl file with the join keys and the timestamp.")],
    output: Annotated[Path, typer.Option(help="The joined rows: a .parquet, .csv or .jsonl file.")],
    timestamp: Annotated[str, typer.Option(help="Column with the moment at which each row asks.")] = "event_timestamp",
    as_of: Annotated[
        Literal["event", "served"], typer.Option(help="event: what had happened by then; served: what an online read would have answered then.")
    ] = "event",
    json: show.Json = False,
) -> None:
    """Join features to the rows of a file, each as it was at the row's time.

    Example: rota features historical --features delay --labels labels.csv --output joined.parquet --as-of served
    """
    with opened(ctx, "data.read") as platform:
        asked = _asked(features)
        service = references.service(platform.repositories.metadata, asked)
        spine = _frame(labels, {**service.request_fields, timestamp: "timestamp"})
        joined = platform.features.get_historical_features(spine, asked, as_of=as_of, timestamp=timestamp).to_polars()
    rows.write_frame(output, joined)
    count = joined.width - spine.width
    if json:
        show.write_json({"rows": joined.height, "features": count, "output": str(output)})
    else:
        print(f"{joined.height} rows with {count} features are in {output}")


@features.command()
def materialize(
    ctx: typer.Context,
    views: Annotated[list[str] | None, typer.Argument(help="Names of views; without any, all of them.")] = None,
    incremental: Annotated[bool, typer.Option("--incremental", help="Only what came into the history since the last time.")] = False,
    json: show.Json = False,
) -> None:
    """Bring the history of views online, as a whole or what came since the last time.

    Example: rota features materialize origin_weather --incremental
    """
    with opened(ctx, "data.write") as platform:
        act = platform.features.materialize_incremental if incremental else platform.features.materialize
        with progress.bar("materializing") as advance:
            done = act(views or None, progress=lambda share, _: advance(share))
    counted = [{"source": source, "keys": count} for source, count in done.items()]
    columns: dict[str, Callable[[dict[str, Any]], object]] = {"source": lambda d: d["source"], "online rows written": lambda d: d["keys"]}
    show.listing(counted, columns, as_json=json, empty="there is no feature view to materialize")


@features.command()
def status(ctx: typer.Context, json: show.Json = False) -> None:
    """State of every view: empty, not online, behind, fresh or stale, its newest event against the ttl, last materialization.

    Example: rota features status
    """
    with opened(ctx, "data.read") as platform:
        found = platform.features.status()
    columns: dict[str, Callable[[ViewStatus], object]] = {
        "view": lambda s: s.view,
        "source": lambda s: s.source,
        "state": lambda s: s.state,
        "rows": lambda s: s.rows,
        "not flushed": lambda s: s.waiting,
        "not online": lambda s: s.not_online,
        "newest event": lambda s: show.when(s.newest_event_us),
        "age": lambda s: "" if s.age_s is None else lasted(0, int(s.age_s * 1e6)),
        "ttl": lambda s: "" if s.ttl_s is None else lasted(0, int(s.ttl_s * 1e6)),
        "materialized": lambda s: show.when(s.materialized_us),
        "keys": lambda s: "" if s.materialized_keys is None else s.materialized_keys,
    }
    show.listing(found, columns, as_json=json, empty="no feature view is stored; `rota apply project.py` stores those of a project")
    if not json:
        for each in found:
            if each.problem:
                print(each.problem)


@features.command()
def compact(
    ctx: typer.Context,
    sources: Annotated[list[str] | None, typer.Argument(help="Names of sources; without any, all that views read.")] = None,
    json: show.Json = False,
) -> None:
    """Sort the history of sources by entity, so that point-in-time joins read it faster; safe to kill and to repeat.

    Example: rota features compact arrivals
    """
    with opened(ctx, "data.write") as platform:
        repositories, store = platform.repositories, platform.features
        named = sources or sorted({view.source.name for view in store.list_feature_views()})
        done = []
        for name in named:
            source = store.get_data_source(name)
            platform.feed.pushes.flush(name)
            with progress.bar(f"compacting {name}") as advance:
                found = compaction.compact(
                    repositories.tables, repositories.metadata, source, progress=lambda _, step, steps: advance(step / max(steps, 1))
                )
            done += [plain(made) | {"source": name} for made in found]
    columns: dict[str, Callable[[dict[str, Any]], object]] = {
        "source": lambda d: d["source"],
        "by": lambda d: ", ".join(d["keys"]),
        "rows": lambda d: d["rows"],
        "buckets": lambda d: d["buckets"],
        "written": lambda d: "yes" if d["written"] else "no: it was up to date, or small enough to be read as it is",
    }
    show.listing(done, columns, as_json=json, empty="there is nothing to compact: no feature view reads a source")


@features.command()
def parity(
    ctx: typer.Context,
    endpoint: Annotated[str, typer.Argument(help="Name of the endpoint.")],
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest predictions are compared.")] = 10_000,
    json: show.Json = False,
) -> None:
    """Compare the features that predictions were served with against the same features recomputed offline.

    Prints "0 differences in N predictions", or each differing cell and exits with 1; where there was nothing to compare it says
    "could not compare" and exits with 1 too.

    Example: rota features parity flight-delay --limit 1000
    """
    with opened(ctx, "monitor.read") as platform:
        if platform.repositories.metadata.get(Endpoint, endpoint) is None:
            raise NotFound(f"there is no endpoint {endpoint!r}; `rota endpoints list` shows them", endpoint=endpoint)
        found = check_parity(platform.repositories, platform.feed.pushes, endpoint, rows=limit, newest=True)
    left_out = f", the newest; {found.left_out} older ones were not looked at (--limit)" if found.left_out else ""
    left_out += f"; {found.not_compared} of versions that are no longer registered are not compared" if found.not_compared else ""
    if json:
        state = {"inconclusive": "could not", "fail": "different"}.get(found.outcome, "equal")
        told = {"state": state, "outcome": found.outcome, "predictions": found.rows, "not_compared": found.not_compared, "left_out": found.left_out}
        show.write_json(told | {"differences": found.differing})
    elif found.outcome == "inconclusive":
        print(f"could not compare: endpoint {endpoint!r} has no answered prediction in its log{left_out}; `rota predict {endpoint}` makes one")
    else:
        print(f"{len(found.differing)} differences in {found.rows} predictions{left_out}")
        columns = {name: lambda cell, name=name: cell[name] for name in ("prediction_id", "feature", "served", "recomputed")}
        if found.differing:
            show.listing(found.differing, columns, as_json=False, empty="")
    if found.outcome != "pass":
        raise typer.Exit(1)


def _described(view: FeatureView | OnDemandFeatureView, name: str) -> str:
    text = versions.shown(view.features[name])
    return f"{text}   ({view.descriptions[name]})" if name in view.descriptions else text


def _asked(given: list[str]) -> list[str] | str:
    """The name of a service stands alone; references come in a list."""
    if len(given) == 1 and ":" not in given[0]:
        return given[0]
    return given


def _entity_row(service: FeatureService, given: list[str]) -> dict[str, Any]:
    """KEY=VALUE texts in the types that the service asks for."""
    row: dict[str, Any] = {}
    for text in given:
        key, separator, value = text.partition("=")
        if not separator:
            raise InvalidInput(f"--entity {text!r} is not KEY=VALUE, for example origin=JFK")
        kind = service.request_fields.get(key)
        if kind is None:
            raise InvalidInput(f"--entity {key!r} is not asked for; the fields are {service.request_fields}", field=key)
        try:
            row[key] = cell(kind, value)
        except InvalidInput as error:
            raise InvalidInput(f"--entity {text!r}: {value!r} is no {kind}", field=key) from error
    return row


def _frame(file: Path, fields: Mapping[str, Type]) -> pl.DataFrame:
    try:
        if file.suffix == ".parquet":
            return pl.read_parquet(file)
    except (OSError, PolarsError) as error:
        raise InvalidInput(f"{file} cannot be read: {error}", file=str(file)) from error
    return csv_tables.read(file, fields) if file.suffix == ".csv" else table_adapters.columns(rows.read(file), what=str(file))
