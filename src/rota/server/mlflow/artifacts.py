"""Files in MLflow's REST API: the artifact service (upload, download, list, delete) and the listing of a run's files.

Bodies and answers are streamed: a file of any size passes in pieces of about one megabyte. Files are sent as attachments
that no browser renders, whatever they claim to be.
"""

import mimetypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from anyio import CapacityLimiter, from_thread
from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse

from rota.errors import Refused
from rota.manage.experiments import artifacts
from rota.manage.experiments.artifacts import ArtifactLocation
from rota.server.access.permissions import needs
from rota.server.mlflow import folders
from rota.server.mlflow.runs import RunRequest
from rota.server.mlflow.wire import BASE, MlflowCall, MlflowRequest, answered, call_of, invalid, missing, route

router = APIRouter()
SERVICE = "/api/2.0/mlflow-artifacts/artifacts"
FILES = SERVICE + "/{path:path}"
PIECE = 1_000_000
"""Bytes that are handed to the store at once."""
UPLOADS = 16
"""Uploads that are written at the same time; further ones wait, so that slow senders never hold every thread."""


_UPLOAD = {"requestBody": {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}}


class ListRunArtifacts(RunRequest, frozen=True):
    path: str = ""
    page_token: str = ""


class ListProxiedArtifacts(MlflowRequest, frozen=True):
    path: str = ""


@route(router, "GET", f"{BASE}/artifacts/list", "experiment.read")
def list_of_run(call: MlflowCall, asked: ListRunArtifacts) -> object:
    run = call.repositories.tracking.run(asked.run)
    if run is None:
        raise missing(f"there is no run with id {asked.run!r}")
    root = artifacts.run_root(run)
    return {"root_uri": artifacts.uri(root), "files": folders.listed(call, root, asked.path)}


@route(router, "GET", SERVICE, "experiment.read")
def list_of_path(call: MlflowCall, asked: ListProxiedArtifacts) -> object:
    place = artifacts.place(call.repositories, asked.path.removesuffix("/"))
    return {"files": folders.named(call, place.root, place.folder)}


@router.put(FILES, dependencies=needs("experiment.write"), openapi_extra=_UPLOAD)
async def upload(request: Request, path: str) -> Response:
    """Keep a file; one that does not arrive whole is not kept."""
    return await answered(_asked(request, path), _kept, limiter=_limiter(request))


@router.get(FILES, dependencies=needs("experiment.read"), responses={200: {"content": {"*/*": {}}}}, response_class=Response)
async def download(request: Request, path: str) -> Response:
    return await answered(_asked(request, path), _opened)


@router.delete(FILES, dependencies=needs("experiment.write"))
async def delete(request: Request, path: str) -> Response:
    """Remove a file, or every file below a folder."""
    return await answered(_asked(request, path), _removed)


@dataclass(frozen=True, slots=True)
class ArtifactRequest:
    """Whose file is asked for; `pieces` gives the body to a thread that writes it."""

    call: MlflowCall
    path: str
    announced: str
    pieces: Callable[[int], Iterator[bytes]]


async def _asked(request: Request, path: str) -> ArtifactRequest:
    return ArtifactRequest(call_of(request), path, request.headers.get("content-length", ""), lambda limit: _pieces(request, limit))


def _kept(wanted: ArtifactRequest) -> object:
    limit = wanted.call.platform.settings.max_artifact_mb * 1_000_000
    if wanted.announced.isdigit() and int(wanted.announced) > limit:
        raise _too_large(limit)
    place = _place(wanted)
    _check_writable(wanted, place)
    if not place.folder:
        raise invalid(f"{wanted.path!r} is a root; name a file below it")
    artifacts.store(wanted.call.repositories, place.root, place.folder, wanted.pieces(limit))
    return {}


def _opened(wanted: ArtifactRequest) -> object:
    place = _place(wanted)
    if not place.folder:
        raise invalid(f"{wanted.path!r} is a folder; list it with GET /api/2.0/mlflow-artifacts/artifacts?path=")
    file = artifacts.find(wanted.call.repositories.metadata, place.root, place.folder)
    name = file.path.rpartition("/")[2]
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "X-Content-Type-Options": "nosniff",
    }
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    stored = artifacts.read(wanted.call.repositories, place.root, place.folder)
    if file.size <= PIECE:
        return Response(b"".join(stored), headers=headers, media_type=kind)
    return StreamingResponse(stored, headers=headers | {"Content-Length": str(file.size)}, media_type=kind)


def _removed(wanted: ArtifactRequest) -> object:
    place = _place(wanted)
    _check_writable(wanted, place)
    artifacts.remove(wanted.call.repositories, place.root, place.folder)
    return {}


def _place(wanted: ArtifactRequest) -> ArtifactLocation:
    return artifacts.place(wanted.call.repositories, wanted.path.removesuffix("/"))


def _check_writable(wanted: ArtifactRequest, place: ArtifactLocation) -> None:
    if artifacts.is_version_root(place.root):
        raise Refused(f"{wanted.path!r} belongs to a registered version, whose files never change; log a model and register it as a new version")


def _pieces(request: Request, limit: int) -> Iterator[bytes]:
    """The body in pieces of about PIECE bytes, for a thread."""
    stream = request.stream()

    async def piece() -> bytes:
        gathered = bytearray()
        async for chunk in stream:
            gathered += chunk
            if len(gathered) >= PIECE:
                break
        return bytes(gathered)

    total = 0
    while True:
        try:
            gathered = from_thread.run(piece)
        except ClientDisconnect as error:
            raise invalid("the sender went away before the file was whole; nothing was kept") from error
        if not gathered:
            return
        total += len(gathered)
        if total > limit:
            raise _too_large(limit)
        yield gathered


def _too_large(limit: int) -> Exception:
    return invalid(f"the file is larger than {limit} bytes; raise ROTA_MAX_ARTIFACT_MB, or store large data as a dataset")


def _limiter(request: Request) -> CapacityLimiter:
    """One for each application, made in its event loop."""
    state = request.app.state
    if not hasattr(state, "uploads"):
        state.uploads = CapacityLimiter(UPLOADS)
    limiter: CapacityLimiter = state.uploads
    return limiter
