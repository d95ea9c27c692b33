"""Pages of the registry: the catalog, a model over its trainings, a version with all that is known of it, versions side by side."""

import json
from collections.abc import Sequence
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Query, Request, Response

from rota.errors import Corrupt, InvalidInput, NotFound
from rota.manage.experiments.search_grammar import parse_filter
from rota.manage.governance import alias_moves, evidence, readiness, version_comparison
from rota.manage.lineage import audit_search, notes
from rota.manage.lineage import graph as lineage
from rota.manage.models import model_search, model_versions, registered_models
from rota.manage.repositories import Repositories
from rota.ports.metadata import Metadata
from rota.records import filters
from rota.records.filters import Comparison
from rota.records.model import Alias, ModelBundle, ModelVersion, RegisteredModel, VersionStatus
from rota.records.record import decode
from rota.records.signal import Alert, Edge, MonitorSlice
from rota.rendering import line_charts as charts
from rota.server.access.permissions import identity_of, needs
from rota.server.pages.answer import page
from rota.server.wire import Number, platform_of

router = APIRouter(include_in_schema=False)

SHOWN = 200
SHOWN_DAYS = 400
SHOWN_CHANGES = 100
SHOWN_BYTES = 4_000
STAGES = ("production", "staging", "archived")


@router.get("/models", dependencies=needs("model.read"))
def catalog(request: Request) -> Response:
    """Models, and the versions that a search finds."""
    platform = platform_of(request)
    metadata = platform.repositories.metadata
    asked = {name: request.query_params.get(name, "") for name in ("name", "owner", "status", "stage", "alias", "tag", "metric", "filter")}
    problem = ""
    models: filters.Page[RegisteredModel] = filters.Page([])
    versions: filters.Page[ModelVersion] = filters.Page([])
    try:
        wanted = _wanted(asked)
        versions = model_search.versions(metadata, filters.Query(wanted, limit=SHOWN, page=request.query_params.get("after", "")))
        models = model_search.models(metadata, filters.Query(limit=SHOWN))
    except InvalidInput as error:  # what somebody typed: said above the tables, not on a page of its own
        problem = str(error)
    named = _by_version(metadata.find(Alias))
    known = models.items if not any(asked.values()) else [m for m in models.items if m.name in {v.model for v in versions.items}]
    return page(
        "models.html",
        platform,
        asked=asked,
        problem=problem,
        models=[(model, metadata.find(Alias, {"model": model.name}, order="since_us")) for model in known],
        versions=versions,
        query={name: value for name, value in asked.items() if value},
        aliases=named,
        statuses=[status for status in get_args(VersionStatus) if status != "deleted"],
        stages=STAGES,
    )


@router.get("/models/compare", dependencies=needs("model.read"))
def compare(request: Request, version: Annotated[list[str] | None, Query()] = None) -> Response:
    """Versions of one model or of several side by side."""
    platform = platform_of(request)
    if not version:
        return model(request, "compare")
    found = [model_versions.resolve(platform.repositories.metadata, each) for each in dict.fromkeys(version)]
    names = list(dict.fromkeys(each.model for each in found))
    compared = [version_comparison.compare(platform.repositories, name, [v.number for v in found if v.model == name]) for name in names]
    metrics = sorted({metric for each in found for metric in each.metrics})
    parameters = sorted({parameter for each in found for parameter in each.parameters})
    earned = {each.id: evidence.earned(platform.repositories, each) for each in found}
    return page("model_compare.html", platform, versions=found, compared=compared, metrics=metrics, parameters=parameters, earned=earned)


@router.get("/models/{model}", dependencies=needs("model.read"))
def model(request: Request, model: str) -> Response:
    """One model: its aliases with their history, its quality over the trainings, its versions and policy."""
    platform = platform_of(request)
    metadata = platform.repositories.metadata
    versions = model_versions.of_model(metadata, model)
    trained = version_comparison.series(versions)
    drawn = []
    known = {name for each in trained for name in each.metrics}
    for metric in [*(name for name in charts.METRICS if name in known), *sorted(known - set(charts.METRICS))]:
        points = [(float(each.number), each.metrics[metric]) for each in trained if metric in each.metrics]
        if len(points) > 1 and (chart := charts.series(metric, {metric: points}, across="version")) is not None:
            drawn.append((metric, chart))
    return page(
        "model_name.html",
        platform,
        model=registered_models.get(metadata, model),
        versions=versions[::-1],
        aliases=_by_version(metadata.find(Alias, {"model": model})),
        moves=alias_moves.history(metadata, model)[::-1],
        policy=registered_models.release_policy(metadata, model),
        endpoints=[endpoint.name for endpoint in registered_models.endpoints(metadata, model)],
        charts=drawn,
        notes=notes.of(metadata, f"registered_model:{model}"),
    )


@router.get("/models/{model}/{number}", dependencies=needs("model.read"))
def version(request: Request, model: str, number: Number) -> Response:
    """One version: what it is, how it did offline and online, who decided, what changed."""
    platform = platform_of(request)
    r = platform.repositories
    found = model_versions.get(r.metadata, model, number)
    walked = lineage.walk(r.metadata, f"model_version:{found.id}", "causes")
    may_audit = identity_of(request).may("audit.read")
    trail = audit_search.of_subject(r.metadata, found.id, since_us=found.created_us, limit=SHOWN_CHANGES) if may_audit else None
    return page(
        "model.html",
        platform,
        version=found,
        standing=readiness.readiness(r.metadata, found, now_us=r.clock.now_us()),
        aliases=[alias.alias for alias in r.metadata.find(Alias, {"model": model}) if alias.number == number],
        approvals=readiness.decisions(r.metadata, found),
        offline=evidence.offline(r, found),
        online=evidence.online(r.metadata, found),
        earned=evidence.earned(r, found),
        charts=_measured(r.metadata, found),
        rollouts=[rollout for e in registered_models.endpoints(r.metadata, model) for rollout in evidence.rollouts(r.metadata, e, found)][::-1],
        may_release=identity_of(request).may("model.release"),
        signature=_signature(found.signature),
        dependencies=_dependencies(r, found),
        requirements=_text(r, found.requirements),
        example=_text(r, found.input_example),
        causes=_by_effect(walked.edges),
        causes_complete=walked.complete,
        notes=notes.of(r.metadata, f"model_version:{found.id}"),
        trail=trail,
    )


def _wanted(asked: dict[str, str]) -> tuple[Comparison, ...]:
    """The conditions of the search form: its fields, and what was typed in the grammar."""
    found = [Comparison("attribute", name, "=", asked[name]) for name in ("owner", "status", "stage", "alias") if asked[name]]
    if asked["name"]:
        found.append(Comparison("attribute", "name", "ILIKE", f"%{asked['name']}%"))
    if asked["tag"]:
        key, given, value = asked["tag"].partition("=")
        found.append(Comparison("tag", key.strip(), "=", value.strip()) if given else Comparison("tag", key.strip(), "IS NOT NULL", ""))
    texts = [f"metrics.{asked['metric'].removeprefix('metrics.')}" if asked["metric"] else "", asked["filter"]]
    return (*found, *(each for text in texts if text for each in parse_filter(text, "model_version")))


def _by_version(aliases: Sequence[Alias]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for alias in aliases:
        found.setdefault(f"{alias.model}@{alias.number}", []).append(alias.alias)
    return found


def _measured(metadata: Metadata, version: ModelVersion) -> list[tuple[str, str, charts.Chart]]:
    """What monitoring measured of a version per day: endpoint, metric, chart."""
    drawn: list[tuple[str, str, charts.Chart]] = []
    for endpoint in registered_models.endpoints(metadata, version.model):
        slices = metadata.page(MonitorSlice, {"endpoint": endpoint.name}, order="-start_us", limit=SHOWN_DAYS).items[::-1]
        own = [_only(each, str(version.number)) for each in slices]
        alerts = metadata.find(Alert, {"endpoint": endpoint.name}, order="-raised_us")
        found = ((metric, charts.performance(own, metric, alerts)) for metric in charts.METRICS)
        drawn += [(endpoint.name, metric, chart) for metric, chart in found if chart is not None]
    return drawn


def _only(slice_: MonitorSlice, number: str) -> MonitorSlice:
    measured = slice_.performance.get(number)
    return MonitorSlice(slice_.endpoint, slice_.start_us, slice_.end_us, 0, 0, {}, {number: measured} if measured else {}, {})


def _signature(text: str) -> list[tuple[str, str, str]]:
    """A signature in MLflow's form as lines: side, name, type; what cannot be read is one line of text."""
    try:
        sides = json.loads(text) if text else {}
        columns = [(side, column) for side in ("inputs", "outputs", "params") for column in json.loads(sides.get(side) or "[]")]
        return [(side, str(column.get("name", "")), _type_of(column)) for side, column in columns]
    except (ValueError, TypeError, AttributeError):
        return [("", text[:SHOWN_BYTES], "")]


def _type_of(column: dict[str, Any]) -> str:
    kind = str(column.get("type", ""))
    if kind == "tensor":
        spec = column.get("tensor-spec", {})
        kind = f"{spec.get('dtype', '')} {spec.get('shape', '')}"
    return kind + (", optional" if column.get("required") is False else "")


def _dependencies(repositories: Repositories, version: ModelVersion) -> dict[str, str]:
    """Libraries with their versions that the bundle was made with."""
    try:
        return dict(decode(repositories.blobs.get(version.bundle), ModelBundle).dependencies) if version.bundle else {}
    except (NotFound, Corrupt):  # collected as garbage, or a bundle of a form that is not read any more
        return {}


def _text(repositories: Repositories, blob: str) -> str:
    """The beginning of a kept text; "" where there is none."""
    try:
        data = repositories.blobs.get(blob) if blob else b""
    except NotFound:
        return ""
    return data[:SHOWN_BYTES].decode(errors="replace") + ("\N{HORIZONTAL ELLIPSIS}" if len(data) > SHOWN_BYTES else "")


def _by_effect(edges: Sequence[Edge]) -> dict[str, list[str]]:
    """The causes of each node, in the order in which the walk reached them."""
    found: dict[str, list[str]] = {}
    for edge in edges:
        found.setdefault(edge.effect, []).append(edge.cause)
    return found
