"""Artifacts over HTTP: what a run or a version consists of, its bytes, and the whole of it as one archive."""

import tempfile
from collections.abc import Iterator
from typing import IO, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from rota.manage.experiments import artifacts
from rota.manage.lineage import archive
from rota.records.record import plain
from rota.server.access.permissions import needs
from rota.server.wire import listed, platform_of

router = APIRouter()

_IN_MEMORY = 16_000_000
_PIECE = 1_048_576
_FILE: dict[int | str, dict[str, Any]] = {200: {"content": {"application/octet-stream": {}}}}
_ARCHIVE: dict[int | str, dict[str, Any]] = {200: {"content": {"application/x-tar": {}}}}
_HEADERS = {"X-Content-Type-Options": "nosniff", "Content-Disposition": "attachment"}
"""Bytes that somebody uploaded are never shown by a browser as a page of ours."""


@router.get("/v1/artifacts/of/{node:path}", dependencies=needs("experiment.read"))
def belongings(request: Request, node: str) -> list[Any]:
    """The artifacts of model_version:NAME@NUMBER, run:ID or experiment_run:ID."""
    return listed(archive.belongings(platform_of(request).repositories, node).pieces)


@router.get("/v1/artifacts/files", dependencies=needs("experiment.read"))
def listing(request: Request, root: str, path: str = "") -> list[Any]:
    """What lies directly below a folder of an artifact root."""
    return [plain(each) for each in artifacts.listing(platform_of(request).repositories.metadata, root, path)]


@router.get("/v1/artifacts/file", dependencies=needs("experiment.read"), responses=_FILE, response_class=Response)
def file(request: Request, root: str, path: str) -> StreamingResponse:
    """A file's bytes."""
    repositories = platform_of(request).repositories
    found = artifacts.find(repositories.metadata, root, path)
    return _bytes(repositories.blobs.stream(found.digest), found.size, found.digest)


@router.get("/v1/artifacts/blob/{digest}", dependencies=needs("model.read"), responses=_FILE, response_class=Response)
def blob(request: Request, digest: str) -> StreamingResponse:
    """The bytes under a digest."""
    blobs = platform_of(request).repositories.blobs
    return _bytes(blobs.stream(digest), blobs.size(digest), digest)


@router.get("/v1/artifacts/archive/{node:path}", dependencies=needs("model.read"), responses=_ARCHIVE, response_class=Response)
def archived(request: Request, node: str) -> StreamingResponse:
    """Everything that a version or a run needs, as a tar file that begins with its manifest."""
    repositories = platform_of(request).repositories
    found = archive.belongings(repositories, node)
    spool = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed when it was sent
    try:
        archive.write(repositories, found, spool)
    except BaseException:
        spool.close()
        raise
    size = spool.tell()
    spool.seek(0)
    return StreamingResponse(_sent(spool), media_type="application/x-tar", headers={**_HEADERS, "Content-Length": str(size)})


def _bytes(pieces: Iterator[bytes], size: int, digest: str) -> StreamingResponse:
    """Damaged bytes end the connection before the announced length is reached, so nobody takes them for whole."""
    headers = {**_HEADERS, "Content-Length": str(size), "Digest": f"sha-256={digest}", "ETag": f'"{digest}"'}
    return StreamingResponse(_held_back(pieces), media_type="application/octet-stream", headers=headers)


def _held_back(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces, the last one only when the digest was found right."""
    before = b""
    for piece in pieces:
        if before:
            yield before
        before = piece
    yield before


def _sent(spool: IO[bytes]) -> Iterator[bytes]:
    with spool:
        yield from iter(lambda: spool.read(_PIECE), b"")
