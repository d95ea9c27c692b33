"""The pages of datasets: the catalog with every version, and one version with its profile."""

from fastapi import APIRouter, Request, Response

from rota import engines
from rota.manage.datasets import build as datasets
from rota.manage.datasets import profiles
from rota.manage.lineage import notes
from rota.records.dataset import Dataset, DatasetVersion
from rota.rendering import profile_view
from rota.server.access.permissions import needs
from rota.server.pages.answer import page
from rota.server.wire import platform_of

router = APIRouter(include_in_schema=False)
SHOWN_VERSIONS = 200


@router.get("/datasets", dependencies=needs("data.read"))
def catalog(request: Request) -> Response:
    platform = platform_of(request)
    metadata = platform.repositories.metadata
    versions = metadata.page(DatasetVersion, order="-created_us", limit=SHOWN_VERSIONS).items
    return page("datasets.html", platform, definitions=metadata.find(Dataset), versions=versions)


@router.get("/datasets/{dataset}", dependencies=needs("data.read"))
def version(request: Request, dataset: str) -> Response:
    platform = platform_of(request)
    found = datasets.get(platform.repositories.metadata, *datasets.parse(dataset))
    written = notes.of(platform.repositories.metadata, f"dataset_version:{found.id}")
    if not found.statistics:
        return page("dataset.html", platform, version=found, profile=None, notes=written)
    profile = profiles.load(platform.repositories.blobs, found)
    return page("dataset.html", platform, notes=written, **profile_view.values(found, profile, engines.drawing()))
