"""The owner's token: one secret in a file of the home, made at the first start. Whoever can read the home is its owner."""

import contextlib
import secrets
from pathlib import Path

from rota.errors import Refused

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
        return self.now()

    def renew(self) -> str:
        """Another secret in place of the old one, which opens nothing from the next request on."""
        self._written().replace(self.path)
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
        return temporary
