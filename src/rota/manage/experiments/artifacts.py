"""Artifacts: files below the root of a run, of a logged model or of a registered version. The bytes are blobs, a record names them.

A file appears with its record, after its bytes are safe: a kill half-way leaves no half file, only a blob that nobody names.
A version's files are its own copy (`snapshot`): what happens to the run's files later does not change what was registered.
"""

import re
import unicodedata
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from rota.errors import InvalidInput, NotFound
from rota.manage.repositories import Repositories
from rota.ports.metadata import Batch, Metadata
from rota.records.limits import ARTIFACT_PART, ARTIFACT_PATH
from rota.records.tracking import ArtifactFile, ExperimentRun, LoggedModel

SCHEME = "mlflow-artifacts:/"
MAX_PATH = ARTIFACT_PATH
"""Characters of a path below a root."""
MAX_PART = ARTIFACT_PART
"""Characters of one part of a path: what file systems take, so that every artifact can be downloaded."""
VERSIONS = "versions"
"""What the roots of registered versions begin with; experiments' ids are numbers."""
_DECODINGS = 8
_ROOT = re.compile(
    r"([\w-]{1,64})/([\w-]{1,64})/artifacts|([\w-]{1,64})/models/(m-[0-9a-f]{32})/artifacts|versions/[\w.-]{1,128}/[0-9a-f]{32}/artifacts", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Listed:
    """A file or folder directly below a folder; `size` is None for a folder."""

    path: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class ArtifactLocation:
    """A folder below a root ("" = the root itself), and the run and logged model that it belongs to."""

    root: str
    folder: str = ""
    run: str = ""
    model: str = ""


def check_path(path: str) -> str:
    """The path itself when it is a clean relative one, also however often it is decoded; raises `InvalidInput` otherwise."""
    decoded = path
    for _ in range(_DECODINGS):
        _check(path, decoded)
        further = unquote(decoded)
        if further == decoded:
            return path
        decoded = further
    raise InvalidInput(f"artifact path {path[:100]!r} is encoded more than {_DECODINGS} times; give it as it is", path=path[:100])


def run_root(run: ExperimentRun) -> str:
    """Where a run's files are kept."""
    return f"{run.experiment}/{run.id}/artifacts"


def model_root(model: LoggedModel) -> str:
    """Where a logged model's files are kept."""
    return f"{model.experiment}/models/{model.id}/artifacts"


def new_version_root(model: str) -> str:
    """Where a registered version's own copy of its files will be kept; no other root is equal, also not after a rename."""
    return f"{VERSIONS}/{model}/{uuid.uuid4().hex}/artifacts"


def is_version_root(root: str) -> bool:
    """Whether a root holds a registered version's files, which never change."""
    return root.startswith(f"{VERSIONS}/")


def uri(root: str, folder: str = "") -> str:
    """How MLflow's clients name a root, or a folder below it."""
    return SCHEME + (f"{root}/{folder}" if folder else root)


def place(repositories: Repositories, path: str) -> ArtifactLocation:
    """Which root a path such as "EXPERIMENT/RUN/artifacts/model" lies in; `NotFound` when this platform has no such run or model."""
    check_path(path)
    match = _ROOT.match(path)
    if match is None or path[match.end() : match.end() + 1] not in ("", "/"):
        raise NotFound(
            f"{path[:100]!r} lies in no artifact root; roots are EXPERIMENT/RUN/artifacts and EXPERIMENT/models/MODEL/artifacts", path=path[:100]
        )
    root, folder = match[0], path[match.end() + 1 :]
    if match[2]:
        run = repositories.tracking.run(match[2])
        if run is None or run.experiment != match[1]:
            raise NotFound(f"there is no run {match[2]!r} in experiment {match[1]!r}", run=match[2])
        return ArtifactLocation(root, folder, run=run.id)
    if match[4]:
        model = repositories.metadata.get(LoggedModel, match[4])
        if model is None or model.experiment != match[3]:
            raise NotFound(f"there is no logged model {match[4]!r} in experiment {match[3]!r}", model=match[4])
        return ArtifactLocation(root, folder, run=model.run, model=model.id)
    return ArtifactLocation(root, folder)


def resolve(repositories: Repositories, source: str) -> ArtifactLocation:
    """The files that a URI means: "runs:/RUN/PATH", "models:/m-ID" or "mlflow-artifacts:/ROOT/PATH".

    Raises `InvalidInput` for anything else (a file, another host, another scheme), `NotFound` when there is nothing.
    """
    scheme, separator, rest = source.partition(":/")
    if not separator or rest.startswith("/") or scheme not in ("runs", "models", "mlflow-artifacts"):
        raise InvalidInput(
            f"source {source[:200]!r} is not kept here; a source is runs:/RUN/PATH, models:/m-ID or mlflow-artifacts:/EXPERIMENT/RUN/artifacts/PATH",
            source=source[:200],
        )
    check_path(rest)
    if scheme == "mlflow-artifacts":
        return place(repositories, rest)
    identity, _, folder = rest.partition("/")
    return _of_run(repositories, identity, folder) if scheme == "runs" else _of_model(repositories.metadata, identity, folder)


def store(repositories: Repositories, root: str, path: str, chunks: Iterable[bytes], *, batch: Batch | None = None) -> ArtifactFile:
    """Keep a file; one that is there already is replaced. `batch` is committed with it.

    Raises `InvalidInput` when a part of the path is a file, or what `chunks` raises; nothing is kept then.
    """
    check_new(repositories.metadata, root, path)
    digest, size = repositories.blobs.put_stream(chunks)
    file = ArtifactFile(root, path, digest, size, repositories.clock.now_us())
    batch = batch or Batch()
    batch.put(file)
    repositories.metadata.commit(batch)
    return file


def check_new(metadata: Metadata, root: str, path: str) -> None:
    """Raise `InvalidInput` when no file can be kept under a path: it is no clean one, or a part of it is a file."""
    check_path(path)
    _refuse_file_as_folder(metadata, root, path)


def find(metadata: Metadata, root: str, path: str) -> ArtifactFile:
    """The record of a file, or `NotFound`."""
    file = metadata.get(ArtifactFile, root, check_path(path))
    if file is None:
        raise NotFound(f"there is no artifact {path!r} below {root}; list the folder to see what is there", root=root, path=path)
    return file


def read(repositories: Repositories, root: str, path: str) -> Iterator[bytes]:
    """The bytes of a file in pieces; they count only when the iterator ended without an error."""
    return repositories.blobs.stream(find(repositories.metadata, root, path).digest)


def files(metadata: Metadata, root: str, folder: str = "") -> list[ArtifactFile]:
    """Every file below a folder, by path; a folder that is a file gives that file."""
    found = metadata.find(ArtifactFile, {"root": root}, order="path")
    if not folder:
        return found
    check_path(folder)
    return [file for file in found if file.path == folder or file.path.startswith(f"{folder}/")]


def listing(metadata: Metadata, root: str, folder: str = "") -> list[Listed]:
    """What lies directly below a folder, by path; nothing for a folder that does not exist, and for a file."""
    start = len(folder) + 1 if folder else 0
    found: dict[str, Listed] = {}
    for file in files(metadata, root, folder):
        rest = file.path[start:]
        if rest:
            name, below, _ = rest.partition("/")
            path = file.path[:start] + name
            found[path] = Listed(path, None if below else file.size)
    return [found[path] for path in sorted(found)]


def logged_models(metadata: Metadata, run: str) -> list[LoggedModel]:
    """The models that a run logged and nobody deleted, in the order they were logged."""
    return [model for model in metadata.find(LoggedModel, {"run": run}, order="created_us") if model.deleted_us is None]


def remove(repositories: Repositories, root: str, path: str = "") -> int:
    """Remove a file, or every file below a folder; returns how many. Their blobs go when nothing names them any more."""
    gone = files(repositories.metadata, root, path)
    if not gone and path:
        raise NotFound(f"there is no artifact {path!r} below {root}; list the folder to see what is there", root=root, path=path)
    batch = Batch()
    for file in gone:
        batch.remove(file)
    repositories.metadata.commit(batch)
    return len(gone)


def snapshot(metadata: Metadata, batch: Batch, root: str, folder: str, *, into: str) -> list[ArtifactFile]:
    """Copy the files below a folder to the root `into`, in `batch`; the copies name the same blobs. Returns the copies."""
    copies = []
    for file in files(metadata, root, folder):
        path = file.path[len(folder) + 1 :] if folder else file.path
        if path:
            copies.append(ArtifactFile(into, path, file.digest, file.size, file.at_us))
    for copy in copies:
        batch.put(copy, replacing=None)
    for file in copies and files(metadata, root, folder):
        batch.put(file, replacing=file)  # a file that changed or went in between makes the commit a conflict
    return copies


def _of_run(repositories: Repositories, identity: str, folder: str) -> ArtifactLocation:
    """A folder of a run: of its own files, or of the newest model that it logged under that name."""
    run = repositories.tracking.run(identity)
    if run is None:
        raise NotFound(f"there is no run {identity!r}", run=identity)
    root = run_root(run)
    name, _, below = folder.partition("/")
    if folder and not files(repositories.metadata, root, folder):
        for model in repositories.metadata.find(LoggedModel, {"run": run.id}, order="-created_us"):
            if model.name == name and model.deleted_us is None:
                return ArtifactLocation(model_root(model), below, run=run.id, model=model.id)
    return ArtifactLocation(root, folder, run=run.id)


def _of_model(metadata: Metadata, identity: str, folder: str) -> ArtifactLocation:
    model = metadata.get(LoggedModel, identity)
    if model is None or model.deleted_us is not None:
        raise NotFound(f"there is no logged model {identity!r}", model=identity)
    return ArtifactLocation(model_root(model), folder, run=model.run, model=model.id)


def _refuse_file_as_folder(metadata: Metadata, root: str, path: str) -> None:
    parts = path.split("/")
    for depth in range(1, len(parts)):
        folder = "/".join(parts[:depth])
        if metadata.get(ArtifactFile, root, folder) is not None:
            raise InvalidInput(f"artifact path {path!r}: {folder!r} is a file; choose another folder", path=path)


def _check(path: str, decoded: str) -> None:
    parts = decoded.split("/")
    fault = (
        ("is empty" if not decoded else "")
        or (f"is longer than {MAX_PATH} characters" if len(decoded) > MAX_PATH else "")
        or ("begins with a scheme or a drive" if ":" in parts[0] and (parts[0].endswith(":") or parts[0].index(":") == 1) else "")
        or ("has an empty part, '.' or '..'" if any(part.strip() in ("", ".", "..") for part in parts) else "")
        or (f"has a part of more than {MAX_PART} characters" if any(len(part.encode(errors="replace")) > MAX_PART for part in parts) else "")
        or ("has a character that is not allowed" if any(_forbidden(character, decoded == path) for character in decoded) else "")
    )
    if fault:
        shown = path if len(path) <= 100 else path[:100] + "..."
        raise InvalidInput(
            f"artifact path {shown!r} {fault}; use a relative path such as 'model/weights.bin', without '..', '\\', '#', '?' and control characters",
            path=shown,
        )


def _forbidden(character: str, literal: bool) -> bool:
    """A name is kept as it came, so what it would mean decoded matters only where it could lead elsewhere: MLflow 2 writes `image%step%13%...`."""
    if not literal:
        return character in "\\?\0"
    return character in "\\#?\x7f\ufffd" or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
