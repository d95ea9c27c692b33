"""One look at a file: from where it is read, whether its end is its last word, and what was seen of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rota.errors import InvalidInput
from rota.manage.features.rows.column_conversion import Raw
from rota.records.limits import MOST_COLUMNS


def _any(_: Raw) -> bool:
    return True


@dataclass(slots=True)
class FileLook:
    """How a file of lines is read, and what was seen.

    `start`: bytes of its text that were taken before, with `sha` (hashlib's SHA-256) over them. `final`: its last line is whole
    although it has no end. `limit`: bytes of the file that count, `stop`: bytes of its text that do. `plausible` tells whether some rows can be
    rows of this source. Filled while it is read: the `names` of its header and the bytes that hold it, how many bytes at its end wait for the
    rest of their line (`waits`), and `notices` for people.
    """

    start: int = 0
    sha: Any = None
    final: bool = True
    limit: int | None = None
    stop: int | None = None
    plausible: Callable[[Raw], bool] = _any
    names: list[str] = field(default_factory=list)
    header: bytes = b""
    waits: int = 0
    notices: list[str] = field(default_factory=list)

    def wait(self, size_bytes: int, why: str) -> None:
        """Note that the text's last bytes were not taken."""
        self.waits = size_bytes
        self.notices.append(why)


def check_columns(count: int) -> None:
    """Raise `InvalidInput` for a file of more columns than one may have."""
    if count > MOST_COLUMNS:
        raise InvalidInput(f"it has {count} columns, at most {MOST_COLUMNS} are read; write its facts as rows", limit=MOST_COLUMNS)
