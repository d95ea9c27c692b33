"""The pages of the feature repository: the catalog with its search, and one view with its versions and users."""

from itertools import pairwise

from fastapi import APIRouter, Request, Response

from rota.manage.features.definitions import catalog, references, versions
from rota.records.data import FeatureView
from rota.server.access.permissions import needs
from rota.server.pages.answer import page
from rota.server.wire import platform_of

router = APIRouter(include_in_schema=False)
SHOWN = 500


@router.get("/features", dependencies=needs("data.read"))
def features(request: Request, text: str = "", owner: str = "", tag: str = "", entity: str = "", type: str = "", kind: str = "") -> Response:
    platform = platform_of(request)
    asked = {"text": text, "owner": owner, "tag": tag, "entity": entity, "type": type, "kind": kind}
    found = platform.features.search(text, owner=owner, tag=tag, entity=entity, type=type, kind=kind)
    return page("features.html", platform, found=found[:SHOWN], count=len(found), asked=asked)


@router.get("/features/{view}", dependencies=needs("data.read"))
def feature_view(request: Request, view: str) -> Response:
    platform = platform_of(request)
    metadata = platform.repositories.metadata
    found = references.view_of_any_age(metadata, view)
    known = versions.of(metadata, view)
    changes = {new.number: versions.differences(old.view, new.view) for old, new in pairwise(known)}
    lines = [
        (name, catalog.type_of(found, feature), versions.shown(feature), found.descriptions.get(name, "")) for name, feature in found.features.items()
    ]
    retired = bool(known) and known[-1].retired_us is not None
    return page(
        "feature_view.html",
        platform,
        view=found,
        stored=isinstance(found, FeatureView),
        lines=lines,
        versions=known[::-1],
        changes=changes,
        fresh=platform.features.status([view])[0] if isinstance(found, FeatureView) and not retired else None,
        users=platform.features.usage(view),
    )
