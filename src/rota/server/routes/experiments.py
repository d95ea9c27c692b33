"""Process 1 over HTTP: experiments, their runs, search and comparison. MLflow's clients have routes of their own."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from rota.develop import run_comparison, run_search
from rota.records import filters
from rota.records.project import UseCase
from rota.records.record import plain
from rota.server.access.permissions import needs
from rota.server.wire import Number, Position, listed, paged, platform_of

router = APIRouter()
Many = Annotated[list[str] | None, Query()]


@router.get("/v1/use-cases", dependencies=needs("pipeline.read"))
def use_cases(request: Request) -> list[object]:
    return listed(platform_of(request).repositories.metadata.find(UseCase))


@router.get("/v1/experiments", dependencies=needs("experiment.read"))
def experiments(request: Request, response: Response, deleted: bool = False, after: str = "", limit: Number = 1_000) -> list[object]:
    query = filters.Query(limit=min(limit, 10_000), page=after, view="deleted" if deleted else "active")
    return paged(response, platform_of(request).repositories.tracking.search_experiments(query))


@router.get("/v1/experiments/{experiment}", dependencies=needs("experiment.read"))
def experiment(request: Request, experiment: str) -> dict[str, object]:
    return {"experiment": plain(run_search.experiment(platform_of(request).repositories.tracking, experiment))}


@router.get("/v1/experiment-runs", dependencies=needs("experiment.read"))
def runs(
    request: Request,
    experiment: Many = None,
    filter: str = "",
    order: Many = None,
    limit: Number = 200,
    page: str = "",
    deleted: bool = False,
) -> dict[str, object]:
    """Runs that MLflow's filter grammar finds; `next` asks for the following page."""
    found = run_search.runs(
        platform_of(request).repositories.tracking,
        filter,
        experiments=experiment or [],
        order=order or [],
        limit=min(limit, 10_000),
        page=page,
        view="deleted" if deleted else "active",
    )
    return {"runs": [run_search.as_json(run) for run in found.items], "next": found.next}


@router.get("/v1/experiment-runs/compare", dependencies=needs("experiment.read"))
def compare(request: Request, run: Annotated[list[str], Query()]) -> dict[str, object]:
    """Two runs or more side by side."""
    tracking = platform_of(request).repositories.tracking
    compared = run_comparison.compare([run_search.run(tracking, each) for each in run])
    return {"runs": [run_search.as_json(each) for each in compared.runs], "rows": [{**plain(row), "differs": row.differs} for row in compared.rows]}


@router.get("/v1/experiment-runs/{run}", dependencies=needs("experiment.read"))
def run(request: Request, run: str) -> dict[str, object]:
    tracking = platform_of(request).repositories.tracking
    found = run_search.run(tracking, run)
    return {"run": run_search.as_json(found), "children": [each.id for each in run_search.children(tracking, found)]}


@router.get("/v1/experiment-runs/{run}/metrics/{key:path}", dependencies=needs("experiment.read"))
def history(request: Request, run: str, key: str, start: Position = 0, limit: Number = 25_000) -> list[object]:
    """The points of one metric by step."""
    tracking = platform_of(request).repositories.tracking
    return listed(tracking.history(run_search.run(tracking, run).id, key, start=max(start, 0), limit=min(limit, 100_000)))
