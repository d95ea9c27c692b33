"""The pages of lineage: the graph around a node, drawn on the server, and the way back from one prediction."""

from fastapi import APIRouter, Request, Response

from rota.errors import NotFound
from rota.manage.lineage import graph as lineage
from rota.manage.lineage import nodes as lineage_nodes
from rota.manage.lineage import notes
from rota.manage.lineage.prediction_chain import prediction_chain
from rota.records.model import ModelVersion
from rota.rendering import lineage_drawing
from rota.server.access.permissions import needs
from rota.server.pages.answer import page
from rota.server.wire import Number, platform_of

router = APIRouter(include_in_schema=False)
SHOWN_VERSIONS = 20


@router.get("/lineage", dependencies=needs("lineage.read"))
def graph(request: Request, node: str = "", depth: Number = 3) -> Response:
    platform = platform_of(request)
    repositories = platform.repositories
    if not node:
        newest = repositories.metadata.page(ModelVersion, order="-created_us", limit=SHOWN_VERSIONS).items
        return page("lineage_start.html", platform, versions=newest)
    found = lineage.graph(repositories.metadata, node, depth=max(1, min(depth, lineage.MAX_DEPTH)))
    try:
        middle = lineage_nodes.get(repositories, node)
    except NotFound:
        if not found.edges:
            raise
        middle = None
    written = notes.of(repositories.metadata, node)
    return page("lineage.html", platform, node=node, middle=middle, picture=lineage_drawing.picture(found), cut=found.cut, depth=depth, notes=written)


@router.get("/lineage/prediction/{prediction_id}", dependencies=needs("lineage.read"))
def prediction(request: Request, prediction_id: str) -> Response:
    platform = platform_of(request)
    return page("prediction.html", platform, prediction_id=prediction_id, chain=prediction_chain(platform.repositories, prediction_id))
