"""A release: the project's source tree as one content-addressed bundle, with commit, lock and Python as its provenance."""

import hashlib
import io
import os
import platform
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

from rota.errors import InvalidInput
from rota.ports.blobs import Blobs
from rota.records.record import digest, encode
from rota.records.run import PipelineRelease
from rota.records.time import Micros

SOURCE_SUFFIXES = (".py", ".toml", ".txt", ".lock", ".sql", ".json", ".md")
SKIPPED = ("__pycache__", ".git", ".venv", ".rota", "node_modules")
MAX_BYTES = 50_000_000
LOCK_FILES = ("uv.lock", "requirements.lock", "requirements.txt", "pylock.toml")
_EPOCH = (1980, 1, 1, 0, 0, 0)


def build(blobs: Blobs, file: Path, *, now_us: Micros) -> PipelineRelease:
    """Package the directory of a project file; the same sources give the same digest, whenever and wherever built."""
    directory = file.resolve().parent
    archive = _archive(directory)
    bundle = blobs.put(archive)
    commit, dirty = _commit(directory)
    lock = next((digest(path.read_bytes()) for name in LOCK_FILES if (path := directory / name).is_file()), "")
    python = platform.python_version()
    identity = hashlib.sha256(encode([bundle, file.stem, lock, python])).hexdigest()
    return PipelineRelease(
        digest=identity,
        project=directory.name,
        bundle=bundle,
        module=file.stem,
        commit=commit,
        dirty=dirty,
        lock=lock,
        python=python,
        created_us=now_us,
    )


def unpack(blobs: Blobs, release: PipelineRelease, root: Path) -> Path:
    """The release's source tree below `root`, unpacked once and renamed into place whole."""
    target = root / release.digest
    if target.is_dir():
        return target
    root.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=root))
    with zipfile.ZipFile(io.BytesIO(blobs.get(release.bundle))) as archive:
        archive.extractall(temporary)  # names were written by `_archive`, below; ZipFile strips absolute and parent parts
    try:
        temporary.rename(target)
    except OSError:  # another process was first
        shutil.rmtree(temporary)
    return target


def _archive(directory: Path) -> bytes:
    """A zip with sorted names and fixed times, so that equal trees give equal bytes."""
    buffer, total = io.BytesIO(), 0
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for path in _source_files(directory):
            data = path.read_bytes()
            total += len(data)
            if total > MAX_BYTES:
                raise InvalidInput(
                    f"the project in {str(directory)!r} has more than {MAX_BYTES} bytes of sources at {str(path)!r}; move data out of it",
                    path=str(path),
                )
            archive.writestr(zipfile.ZipInfo(path.relative_to(directory).as_posix(), _EPOCH), data, compress_type=zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _source_files(directory: Path) -> list[Path]:
    found = []
    for root, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if name not in SKIPPED and not name.startswith(".")]
        found += [Path(root, name) for name in names if name.endswith(SOURCE_SUFFIXES)]
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def _commit(directory: Path) -> tuple[str, bool]:
    """The Git commit of a directory and whether files differ from it; ("", False) outside of a repository."""
    try:
        head = subprocess.run(["git", "-C", str(directory), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False)
        if head.returncode != 0:
            return "", False
        changed = subprocess.run(["git", "-C", str(directory), "status", "--porcelain", "."], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "", False
    return head.stdout.strip(), bool(changed.stdout.strip())
