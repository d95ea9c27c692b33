"""Export everything that a version or a run needs as one tar file with a manifest, readable without a platform.

`manifest.json` comes first: the node, its facts, and path, digest and size of every other member. Digests are SHA-256; the
members are streamed, so an archive of any size needs little memory, and equal contents give equal archives.
"""

import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from rota.errors import Corrupt, InvalidInput, NotFound
from rota.manage.experiments import artifacts
from rota.manage.lineage import executions
from rota.manage.lineage import explain as lineage_explain
from rota.manage.lineage.node_types import key_of, type_of
from rota.manage.models import model_versions
from rota.manage.repositories import Repositories
from rota.ports.blobs import Blobs
from rota.records.model import ModelBundle, ModelVersion
from rota.records.record import Record, decode, encode, plain
from rota.records.record import digest as digest_of
from rota.records.tracking import ArtifactFile

FORMAT = 1
"""Version of the manifest. To change it: raise it, and say in the docs how the old one reads."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
RESULTS = frozenset({"statistics", "transformation", "bundle", "evaluation"})
"""What steps of the platform's own workflows answer with the digests of blobs that they stored."""
SOURCES = frozenset({"diff", "packages", "lock", "notebook_source"})
"""Facts of a tracked run that the platform stored as blobs; every other one may be a text that a client sent."""


class Piece(Record, frozen=True):
    """Some bytes that belong to a node: where they stand in an archive, and what they are."""

    path: str
    digest: str
    size: int
    about: str = ""


@dataclass(frozen=True, slots=True)
class Belongings:
    """A node's facts as JSON texts by file name, and its blobs."""

    node: str
    facts: dict[str, bytes]
    pieces: tuple[Piece, ...]


def belongings(repositories: Repositories, node: str) -> Belongings:
    """What a model version, a durable run or a tracked run consists of; `InvalidInput` for another kind of node."""
    kind, key = type_of(node).kind, key_of(node)
    match kind:
        case "model_version":
            return _of_version(repositories, model_versions.resolve(repositories.metadata, key))
        case "run":
            return _of_run(repositories, key)
        case "experiment_run":
            return _of_experiment_run(repositories, key)
    raise InvalidInput(f"{node!r} has no artifacts of its own; give model_version:NAME@NUMBER, run:ID or experiment_run:ID", node=node)


def write(repositories: Repositories, belongings: Belongings, file: IO[bytes]) -> dict[str, Any]:
    """Write the archive into an open file and return its manifest."""
    members = [Piece(name, digest_of(data), len(data), "facts") for name, data in sorted(belongings.facts.items())]
    manifest = {"format": FORMAT, "node": belongings.node, "members": plain([*members, *belongings.pieces])}
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        data = encode(manifest)
        tar.addfile(_entry("manifest.json", len(data)), io.BytesIO(data))
        for member in members:
            tar.addfile(_entry(member.path, member.size), io.BytesIO(belongings.facts[member.path]))
        for piece in belongings.pieces:
            tar.addfile(_entry(piece.path, piece.size), _ArchiveStream(repositories.blobs.stream(piece.digest)))
    return manifest


def _of_version(repositories: Repositories, version: ModelVersion) -> Belongings:
    facts = {"version.json": encode(version), "explanation.json": encode(lineage_explain.explain(repositories, version.id))}
    named = {version.bundle: "bundle", version.evaluation: "evaluation", version.statistics: "statistics"}
    named |= {version.input_example: "input example", version.requirements: "requirements"}
    pieces = _pieces(repositories.blobs, {digest: about for digest, about in named.items() if digest})
    files = artifacts.files(repositories.metadata, version.artifacts) if version.artifacts else []
    return Belongings(f"model_version:{version.id}", facts, (*pieces, *map(_file, files)))


def _of_run(repositories: Repositories, id: str) -> Belongings:
    run, steps = executions.get(repositories, id), repositories.runs.journal(id)
    facts = {"run.json": encode(run), "execution.json": encode(executions.describe(repositories, run, steps)), "steps.json": encode(steps)}
    results = {
        digest: name
        for step in steps
        if isinstance(step.result, dict)
        for name, digest in step.result.items()
        if name in RESULTS and isinstance(digest, str) and _DIGEST.fullmatch(digest)
    }
    return Belongings(f"run:{id}", facts, tuple(_pieces(repositories.blobs, results)))


def _of_experiment_run(repositories: Repositories, id: str) -> Belongings:
    run = repositories.tracking.run(id)
    if run is None:
        raise NotFound(f"there is no tracked run {id!r}; `rota runs list` shows them", run=id)
    series = {point.key: [plain(each) for each in repositories.tracking.history(id, point.key, limit=1_000_000)] for point in run.latest}
    facts = {"run.json": encode(run), "metrics.json": encode(series)}
    pieces = _pieces(repositories.blobs, {text: name for name, text in run.source.items() if name in SOURCES and _DIGEST.fullmatch(text)})
    return Belongings(f"experiment_run:{id}", facts, (*pieces, *map(_file, artifacts.files(repositories.metadata, artifacts.run_root(run)))))


def _pieces(blobs: Blobs, named: dict[str, str]) -> list[Piece]:
    """The blobs under these digests, and the model that a bundle among them names; a digest under which there is no blob is none.

    Nothing else is followed: a digest inside a text that somebody wrote (an input example, a tag, a class, a slice) may be another project's.
    """
    found = {digest: Piece(f"blobs/{digest}", digest, blobs.size(digest), about) for digest, about in named.items() if blobs.exists(digest)}
    for digest, about in named.items():
        if about == "bundle" and digest in found:
            for model in _models_of(blobs, digest):
                if blobs.exists(model):
                    found.setdefault(model, Piece(f"blobs/{model}", model, blobs.size(model), "named by bundle"))
    return [found[digest] for digest in sorted(found)]


def _models_of(blobs: Blobs, bundle: str) -> list[str]:
    """The digests of a bundle's model and of its conversion; none of one that cannot be read, which goes into the archive as it is."""
    try:
        found = decode(blobs.get(bundle), ModelBundle)
    except Corrupt:
        return []
    return [found.blob, *([found.engine.blob] if found.engine is not None and found.engine.blob else [])]


def _file(file: ArtifactFile) -> Piece:
    return Piece(f"files/{file.path}", file.digest, file.size, "file")


def _entry(path: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.size = size
    return entry


class _ArchiveStream(io.RawIOBase):
    """Pieces as a file that tarfile can read; read to its end, so that a damaged blob is noticed."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while size < 0 or len(self._rest) < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._rest += piece
        if size >= 0 and len(self._rest) == size:
            self._rest += next(self._pieces, b"")
        taken, self._rest = (self._rest, b"") if size < 0 else (self._rest[:size], self._rest[size:])
        return taken
