"""Data management over HTTP: push rows, see sources and datasets."""

from fastapi import APIRouter, Request, Response

from rota.manage.datasets import build as datasets
from rota.manage.datasets import profiles
from rota.records.data import FeatureView
from rota.records.dataset import Dataset, DatasetVersion
from rota.records.record import plain
from rota.rendering import profile_charts
from rota.server.access.permissions import actor_of, needs
from rota.server.wire import Number, listed, paged, platform_of

router = APIRouter()


@router.get("/v1/feature-views", dependencies=needs("data.read"))
def feature_views(request: Request) -> list[object]:
    return listed(platform_of(request).repositories.metadata.find(FeatureView))


@router.get("/v1/datasets", dependencies=needs("data.read"))
def dataset_versions(request: Request, response: Response, after: str = "", limit: Number = 1_000) -> list[object]:
    """A page of dataset versions of any name."""
    return paged(response, platform_of(request).repositories.metadata.page(DatasetVersion, after=after, limit=limit))


@router.get("/v1/dataset-definitions", dependencies=needs("data.read"))
def dataset_definitions(request: Request) -> list[object]:
    """The datasets of the catalog, which can be built by name."""
    return listed(platform_of(request).repositories.metadata.find(Dataset))


@router.post("/v1/dataset-definitions/{name}/build", dependencies=needs("data.write"))
def build_dataset(request: Request, name: str) -> dict[str, object]:
    """Build a dataset of the catalog; `new` is false when the newest version holds these very rows."""
    made = platform_of(request).datasets.build(name, actor=actor_of(request))
    return {"new": made.new, "version": plain(made.version)}


@router.get("/v1/datasets/{name}/{number}", dependencies=needs("data.read"))
def dataset_version(request: Request, name: str, number: Number) -> object:
    return plain(datasets.get(platform_of(request).repositories.metadata, name, number))


@router.get("/v1/datasets/{name}/{number}/profile", dependencies=needs("data.read"))
def dataset_profile(request: Request, name: str, number: Number) -> dict[str, object]:
    """The profile, and its charts as Vega-Lite specifications by column."""
    repositories = platform_of(request).repositories
    found = profiles.load(repositories.blobs, datasets.get(repositories.metadata, name, number))
    return {"profile": plain(found), "charts": profile_charts.charts(found)}
