"""A secret of the home in a file that only its owner can read, made once whoever comes first."""

import contextlib
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from rota.errors import Corrupt, Refused


def private_file(path: Path, made: Callable[[], str]) -> str:
    """The text of the file; a missing one is written whole, synced, with mode 0600, and of two writers at once one wins."""
    if not path.exists():
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(made())
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(fresh, path)
        finally:
            fresh.unlink()
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise Refused(f"{path} may be read by others (mode {mode:o}); it is a secret: `chmod 600 {path}`", path=str(path))
    text = path.read_text().strip()
    if not text:
        raise Corrupt(f"{path} is empty; restore it, or remove it and register every pickled model again", path=str(path))
    return text
