"""The owner's token: one secret in HOME/token, made at the first start. Whoever can read the home is its owner."""

import contextlib
import secrets
from pathlib import Path

from rota.errors import NotFound, Refused
from rota.manage.access import PREFIX

FILE = "token"


def made(home: Path) -> str:
    """The owner's token; made when there is none yet, readable by the owner only."""
    path = home / FILE
    if not path.exists():
        temporary = _written(home)
        try:
            with contextlib.suppress(FileExistsError):  # another process made one at the same moment
                path.hardlink_to(temporary)
        finally:
            temporary.unlink()
    return read(home)


def read(home: Path) -> str:
    """The owner's token; `Refused` for who may not read it, `NotFound` before the first start."""
    path = home / FILE
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        raise NotFound(f"there is no token in {home}; the first start of the control plane writes it", home=str(home)) from None
    except PermissionError:
        raise Refused(f"{path} is not yours to read: ask for a token of your own and set ROTA_TOKEN", home=str(home)) from None


def renew(home: Path) -> str:
    """Another secret in place of the old one, which opens nothing from the next request on."""
    _written(home).replace(home / FILE)
    return read(home)


class OwnerToken:
    """The owner's token as it stands now: read again when the file was replaced."""

    def __init__(self, home: Path) -> None:
        self._home, self._path = home, home / FILE
        self._secret = made(home)
        self._seen = self._stamp()

    def now(self) -> str:
        """The secret; "" when its file is gone, for then there is no owner's token."""
        stamp = self._stamp()
        if stamp != self._seen:
            try:
                self._secret = read(self._home) if stamp else ""
            except NotFound:
                self._secret = ""
            self._seen = stamp
        return self._secret

    def _stamp(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns


def _written(home: Path) -> Path:
    temporary = home / f"{FILE}.{secrets.token_hex(4)}"
    temporary.touch(mode=0o600)
    temporary.write_text(PREFIX + secrets.token_urlsafe(32))
    return temporary
