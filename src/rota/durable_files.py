"""Files that survive a power cut: bytes are synced before a name leads to them, and the name before anything relies on it."""

import os
import uuid
from contextlib import suppress
from pathlib import Path


def sync_file(path: Path) -> None:
    """Let the bytes of a file reach the disk, whoever wrote them."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Let the names in a directory reach the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directories(path: Path) -> None:
    """Make a directory and those above it that are missing, each readable by its owner only and durable in the one that holds it."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
        sync_directory(each.parent)


def put_in_place(path: Path, data: bytes, *, replace: bool, sync: bool = True, mode: int = 0o666) -> bool:
    """Write a file that appears whole; False, and nothing done, where there is one that may not be replaced.

    A kill leaves the old file or the new one, and at most a file whose name begins with a dot, which nobody reads. `mode` is narrowed by
    the umask, as that of every new file.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        else:
            path.hardlink_to(temporary)
    except FileExistsError:
        return False
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    if sync:
        sync_directory(path.parent)
    return True
