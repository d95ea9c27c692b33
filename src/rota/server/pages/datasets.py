"""The pages of datasets: the catalog with every version, one version with its profile, and the profile as a report of one file."""

from fastapi import APIRouter, Request, Response

from rota.manage.datasets import build as datasets
from rota.manage.datasets import profiles
from rota.manage.lineage import notes
from rota.records.dataset import Dataset, DatasetVersion
from rota.records.profile import Profile
from rota.server.pages import overview as pages
from rota.rendering import profile_view
from rota.server.access.permissions import needs
from rota.server.wire import platform_of

router = APIRouter(include_in_schema=False)
SHOWN_VERSIONS = 200


@router.get("/datasets", dependencies=needs("data.read"))
def catalog(request: Request) -> Response:
    platform = platform_of(request)
    metadata = platform.repositories.metadata
    versions = metadata.find(DatasetVersion, order="-created_us", limit=SHOWN_VERSIONS)
    return pages.page("datasets.html", platform, definitions=metadata.find(Dataset), versions=versions)


@router.get("/datasets/{dataset}", dependencies=needs("data.read"))
def version(request: Request, dataset: str) -> Response:
    platform = platform_of(request)
    found = datasets.get(platform.repositories.metadata, *datasets.parse(dataset))
    written = notes.of(platform.repositories.metadata, f"dataset_version:{found.id}")
    if not found.statistics:
        return pages.page("dataset.html", platform, version=found, profile=None, notes=written)
    return pages.page("dataset.html", platform, notes=written, **profile_view.values(found, profiles.load(platform.repositories.blobs, found)))


def report(found: DatasetVersion, profile: Profile) -> str:
    """One HTML file with everything in it: it loads nothing, runs nothing, and can be mailed."""
    return pages.rendered("profile_report.html", **profile_view.values(found, profile))
