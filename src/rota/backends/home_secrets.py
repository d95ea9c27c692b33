"""Secrets of the home, each in a file that only its owner can read: the signing key and the owner's token.

Whoever can read the home is its owner. Of two processes that make a secret at the same moment one wins, and both use that one.
"""

import contextlib
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from rota.backends.shared.durable_files import sync_directory, sync_file
from rota.errors import Corrupt, Refused

FILE = "token"


class OwnerToken:
    """The owner's token as it stands now: its file is read again when it was replaced."""

    def __init__(self, home: Path, prefix: str) -> None:
        self.path = home / FILE
        self._prefix = prefix
        self._secret = ""
        self._seen: tuple[int, int] | None = None

    def make(self) -> str:
        """The token; made when there is none yet, readable by the owner only."""
        if not self.path.exists():
            temporary = self._written()
            try:
                with contextlib.suppress(FileExistsError):  # another process made one at the same moment
                    self.path.hardlink_to(temporary)
            finally:
                temporary.unlink()
            sync_directory(self.path.parent)
        return self.now()

    def renew(self) -> str:
        """Another secret in place of the old one, which opens nothing from the next request on."""
        self._written().replace(self.path)
        sync_directory(self.path.parent)
        return self.now()

    def now(self) -> str:
        """The token; "" where there is none, `Refused` for who may not read it."""
        try:
            found = self.path.stat()
            stamp = (found.st_ino, found.st_mtime_ns)
            if stamp != self._seen:
                self._secret, self._seen = self.path.read_text().strip(), stamp
        except FileNotFoundError:
            self._secret, self._seen = "", None
        except PermissionError:
            raise Refused(f"{self.path} is not yours to read: ask for a token of your own and set ROTA_TOKEN", path=str(self.path)) from None
        return self._secret

    def _written(self) -> Path:
        temporary = self.path.with_name(f"{FILE}.{secrets.token_hex(4)}")
        temporary.touch(mode=0o600)
        temporary.write_text(self._prefix + secrets.token_urlsafe(32))
        sync_file(temporary)
        return temporary


def private_file(path: Path, create: Callable[[], str]) -> str:
    """The text of the file; a missing one is written whole, synced, with mode 0600, and of two writers at once one wins."""
    if not path.exists():
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(create())
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(fresh, path)
        finally:
            fresh.unlink()
        sync_directory(path.parent)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise Refused(f"{path} may be read by others (mode {mode:o}); it is a secret: `chmod 600 {path}`", path=str(path))
    text = path.read_text().strip()
    if not text:
        raise Corrupt(f"{path} is empty; restore it, or remove it and register every pickled model again", path=str(path))
    return text
