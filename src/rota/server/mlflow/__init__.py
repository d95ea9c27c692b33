"""MLflow's REST API over Rota's own records: an unmodified `mlflow` client tracks, logs, registers and loads here.

One file per noun; `wire` knows how requests, answers and errors look. Aliases that are protected, and everything else that
is governed, obey the same gates as in Rota's own routes.
"""

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from rota.server.access.permissions import ANYBODY, OPEN
from rota.server.mlflow import artifacts, experiments, logged_models, model_versions, registered_models, run_logging, runs
from rota.server.mlflow.wire import PREFIXES, error_response

__all__ = ["PREFIXES", "error_response", "router"]
VERSION = "3.17.2"
"""The release of MLflow whose clients were tested against this."""

NOUNS = (experiments, runs, run_logging, logged_models, registered_models, model_versions, artifacts)
router = APIRouter(routes=[route for noun in NOUNS for route in noun.router.routes])


@router.get("/health", dependencies=OPEN, response_class=PlainTextResponse)
def health() -> Response:
    """Whether the control plane answers."""
    return Response("OK", media_type="text/plain")


@router.get("/version", dependencies=ANYBODY, response_class=PlainTextResponse)
def version() -> Response:
    """The release of MLflow whose interface is spoken."""
    return Response(VERSION, media_type="text/plain")


@router.get("/api/3.0/mlflow/server-info", dependencies=ANYBODY)
def server_info() -> dict[str, object]:
    """What clients ask before large transfers: files go through this server, in one piece each."""
    return {
        "store_type": "SqlStore",
        "workspaces_enabled": False,
        "trace_archival_enabled": False,
        "multipart_uploads_enabled": False,
        "multipart_downloads_enabled": False,
    }
