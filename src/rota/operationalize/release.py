"""A release: the project's source tree as one content-addressed bundle, with commit, lock and Python as its provenance."""

import hashlib
import io
import os
import platform
import shutil
import tempfile
import zipfile
from pathlib import Path

from rota import foreign_archives
from rota.durable_files import sync_file
from rota.errors import InvalidInput
from rota.manage.experiments import provenance
from rota.ports.blobs import Blobs
from rota.records.record import encode
from rota.records.run import PipelineRelease
from rota.records.time import Micros

SOURCE_SUFFIXES = (".py", ".toml", ".txt", ".lock", ".sql", ".json", ".md")
SKIPPED = ("__pycache__", "node_modules")
NOT_SOURCES = ("pyvenv.cfg", "metadata.db")
"""A folder that holds one of these is a virtual environment or a platform's home, whatever its name."""
MAX_BYTES = 50_000_000
LOCK_FILES = ("uv.lock", "requirements.lock", "requirements.txt", "pylock.toml")
_EPOCH = (1980, 1, 1, 0, 0, 0)


def build(blobs: Blobs, file: Path, *, now_us: Micros) -> PipelineRelease:
    """Package the directory of a project file; the same sources give the same digest, whenever and wherever built."""
    directory = file.resolve().parent
    archive = _archive(directory)
    bundle = blobs.put(archive)
    commit, dirty = provenance.commit_of(directory)
    lock = blobs.put(_lock(directory))
    python = platform.python_version()
    identity = hashlib.sha256(encode([bundle, file.stem, lock, python])).hexdigest()
    return PipelineRelease(
        digest=identity,
        project=directory.name,
        bundle=bundle,
        module=file.stem,
        commit=commit,
        dirty=bool(dirty),
        lock=lock,
        python=python,
        created_us=now_us,
        committed_us=provenance.committed_us(directory, commit),
    )


def unpack(blobs: Blobs, release: PipelineRelease, root: Path) -> Path:
    """The release's source tree below `root`, unpacked once and renamed into place whole."""
    target = root / release.digest
    if target.is_dir():
        return target
    bundle = blobs.get(release.bundle)
    root.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=root))
    try:
        with foreign_archives.opened(bundle, f"the bundle of release {release.digest}", most_bytes=MAX_BYTES) as archive:
            archive.extractall(temporary)
        _sync(temporary)
        temporary.rename(target)
    except OSError:
        if not target.is_dir():  # else another process was first
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _sync(tree: Path) -> None:
    """Let a tree reach the disk before its name does: it is unpacked once, and a power cut must not leave it with empty files."""
    for path in (*tree.rglob("*"), tree):
        sync_file(path)


def _archive(directory: Path) -> bytes:
    """A zip with sorted names, fixed times and no compression (zlib's output differs by build), so that equal trees give equal bytes."""
    buffer, total = io.BytesIO(), 0
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in source_files(directory):
            total += path.stat().st_size
            if total > MAX_BYTES:
                raise InvalidInput(
                    f"the project in {str(directory)!r} has more than {MAX_BYTES} bytes of sources at {str(path)!r}; move data out of it",
                    path=str(path),
                )
            archive.writestr(zipfile.ZipInfo(_name(path, directory), _EPOCH), path.read_bytes())
        if len(archive.namelist()) > foreign_archives.MOST_ENTRIES:
            raise InvalidInput(f"the project in {str(directory)!r} has more than {foreign_archives.MOST_ENTRIES} sources; move data out of it")
    return buffer.getvalue()


def _name(path: Path, directory: Path) -> str:
    name = path.relative_to(directory).as_posix()
    if not name.isprintable():
        raise InvalidInput(f"the project in {str(directory)!r} has a file with the name {name!r}; rename it to a printable text", path=name)
    return name


def source_files(directory: Path) -> list[Path]:
    """The files of a project's folder that its release holds, in order: no links, hidden folders, environments or homes."""
    found = []
    for root, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if _holds_sources(Path(root, name))]
        found += [Path(root, name) for name in names if name.endswith(SOURCE_SUFFIXES)]
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def _holds_sources(folder: Path) -> bool:
    hidden = folder.name.startswith(".") or folder.name in SKIPPED
    return not hidden and not any((folder / name).exists() for name in NOT_SOURCES)


def _lock(directory: Path) -> bytes:
    """The environment: the project's own lock file, else every distribution that is installed here."""
    found = next((path for name in LOCK_FILES if (path := directory / name).is_file()), None)
    return found.read_bytes() if found else provenance.installed_packages()
