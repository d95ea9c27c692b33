"""Secrets of the home, each in a file that only its owner can read: the signing key and the owner's token.

Whoever can read the home is its owner. Of two processes that make a secret at the same moment one wins, and both use that one.
"""

import contextlib
import logging
import os
import secrets
import stat
from collections.abc import Callable
from functools import cache
from pathlib import Path

from rota.durable_files import put_in_place, sync_directory, sync_file
from rota.errors import Corrupt, Refused

log = logging.getLogger("rota.backends")
FILE = "token"


def private_home(home: Path) -> Path:
    """The home's directory, made when it is new; one of ours that others may enter is closed to them, which is told.

    Everything in a home is its owner's: what lies in it decides who may do what. A parent that others may write into lets them put
    another home in its place; that is told, and left to whoever owns the parent.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = home.stat()
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077 and found.st_uid == os.geteuid():
        home.chmod(mode & ~0o077)
        log.warning("the home %s could be entered by others (mode %o); it is closed to them now (mode %o)", home, mode, mode & ~0o077)
    elif mode & 0o077:
        log.warning("the home %s belongs to another user and can be entered by others (mode %o): `chmod 700 %s`", home, mode, home)
    _check_parents(home)
    return home


@cache
def _check_parents(home: Path) -> None:
    for parent in home.parents:
        found = parent.stat()
        if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
            log.warning("others may put another home in place of %s: everybody may write into %s; `chmod o-w %s`", home, parent, parent)


def check_private(path: Path, mode: int) -> None:
    """Raise `Refused` for a secret that others may read or write."""
    if stat.S_IMODE(mode) & 0o077:
        raise Refused(
            f"{path} may be read by others (mode {stat.S_IMODE(mode):o}); it is a secret: `chmod 600 {path}`, and put another in its place "
            "if somebody may have read it",
            path=str(path),
        )


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
            check_private(self.path, found.st_mode)
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


class PrivateFile:
    """A file with mode 0600 that is replaced whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> bytes | None:
        """What was written last; None when nothing was, or somebody else may have written it."""
        try:
            found = self.path.stat()
            return self.path.read_bytes() if found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o077 else None
        except OSError:
            return None

    def write(self, data: bytes) -> None:
        """Replace it, durably; a disk that takes nothing leaves the old one, which the log tells."""
        try:
            put_in_place(self.path, data, replace=True, mode=0o600)
        except OSError as error:
            log.warning("%s cannot be kept, the one before stays: %s", self.path, error, extra={"action": "keep", "file": str(self.path)})


def private_file(path: Path, create: Callable[[], str]) -> str:
    """The text of the file; a missing one is written whole, synced, with mode 0600, and of two writers at once one wins."""
    if not path.exists():
        put_in_place(path, create().encode(), replace=False, mode=0o600)
    check_private(path, path.stat().st_mode)
    text = path.read_text().strip()
    if not text:
        raise Corrupt(f"{path} is empty; restore it, or remove it and register every pickled model again", path=str(path))
    return text
