"""Pages of development: experiments, the runs of one, a run with its curves and children, runs side by side."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from rota.develop import run_comparison, run_search, tuning
from rota.errors import InvalidInput
from rota.manage.experiments import artifacts
from rota.manage.experiments.input_tracking import untracked
from rota.manage.lineage import notes
from rota.ports.tracking import Tracking
from rota.records import filters
from rota.records.tracking import ExperimentRun
from rota.rendering import line_charts as charts
from rota.server.access.permissions import needs
from rota.server.pages.answer import page
from rota.server.wire import platform_of

router = APIRouter(include_in_schema=False)
SHOWN_RUNS = 200
SHOWN_CURVES = 24
SHOWN_COLUMNS = 6


@router.get("/experiments", dependencies=needs("experiment.read"))
def experiments(request: Request) -> Response:
    platform = platform_of(request)
    tracking = platform.repositories.tracking
    found = tracking.search_experiments(filters.Query(limit=SHOWN_RUNS)).items
    newest = {each.id: tracking.search_runs([each.id], filters.Query(limit=1)).items for each in found}
    return page("experiments.html", platform, experiments=found, newest=newest)


@router.get("/experiments/compare", dependencies=needs("experiment.read"))
def compare(request: Request, run: Annotated[list[str], Query()]) -> Response:
    platform = platform_of(request)
    tracking = platform.repositories.tracking
    compared = run_comparison.compare([run_search.run(tracking, each) for each in run])
    return page("compare.html", platform, compared=compared, charts=_curves(tracking, compared.runs))


@router.get("/experiments/runs/{run_id}", dependencies=needs("experiment.read"))
def run(request: Request, run_id: str) -> Response:
    platform = platform_of(request)
    r = platform.repositories
    found = run_search.run(r.tracking, run_id)
    nested = run_search.children(r.tracking, found)
    return page(
        "experiment_run.html",
        platform,
        run=found,
        experiment=run_search.names(r.tracking).get(found.experiment, found.experiment),
        parent=r.tracking.run(found.parent) if found.parent else None,
        children=nested,
        trials=_trials(nested),
        charts=_curves(r.tracking, [found]),
        artifacts=artifacts.files(r.metadata, artifacts.run_root(found)),
        models=artifacts.logged_models(r.metadata, found.id),
        notes=notes.of(r.metadata, f"experiment_run:{found.id}"),
        untracked=untracked(found.inputs),
    )


@router.get("/experiments/{experiment}", dependencies=needs("experiment.read"))
def experiment(request: Request, experiment: str, filter: str = "", order: str = "", after: str = "") -> Response:
    platform = platform_of(request)
    tracking = platform.repositories.tracking
    found = run_search.experiment(tracking, experiment)
    problem = ""
    runs: filters.Page[ExperimentRun] = filters.Page([])
    try:
        runs = run_search.runs(tracking, filter, experiments=[found.id], order=[order] if order else [], limit=SHOWN_RUNS, page=after)
    except InvalidInput as error:  # what somebody typed: said above the table, not on a page of its own
        problem = str(error)
    return page(
        "experiment.html",
        platform,
        experiment=found,
        runs=runs,
        problem=problem,
        filter=filter,
        order=order,
        metrics=_common([run.metrics for run in runs.items]),
        parameters=_common([run.parameters for run in runs.items]),
    )


def _common(named: Sequence[object]) -> list[str]:
    """The names that most of these mappings have, at most SHOWN_COLUMNS, in alphabetical order."""
    counts: dict[str, int] = {}
    for each in named:
        for name in each:  # type: ignore[attr-defined]  # mappings of texts
            counts[name] = counts.get(name, 0) + 1
    return sorted(sorted(counts, key=lambda name: (-counts[name], name))[:SHOWN_COLUMNS])


def _curves(tracking: Tracking, runs: Sequence[ExperimentRun]) -> list[tuple[str, charts.Chart]]:
    """A chart for each metric of which a run has more than one point; the runs are its lines."""
    drawn = []
    for key in sorted({point.key for run in runs for point in run.latest})[:SHOWN_CURVES]:
        series = {}
        for run in runs:
            points = tracking.history(run.id, key)
            if len(points) > 1:
                series[run.name or run.id[:8]] = [(float(point.step), point.value) for point in points]
        chart = charts.series(key, series) if series else None
        if chart is not None:
            drawn.append((key, chart))
    return drawn


def _trials(children: Sequence[ExperimentRun]) -> charts.Chart | None:
    """What each trial of a search was worth, and the best so far."""
    values = [(float(number), child.metrics[tuning.VALUE]) for number, child in enumerate(children) if tuning.VALUE in child.metrics]
    if len(values) < 2:
        return None
    best = next((child.metrics[tuning.VALUE] for child in children if child.tags.get(tuning.BEST) == "true"), values[-1][1])
    pick = min if best <= min(value for _, value in values) else max
    reached = [(number, pick(value for _, value in values[: position + 1])) for position, (number, _) in enumerate(values)]
    return charts.series(tuning.VALUE, {"trial": values, "best so far": reached}, across="trial")
