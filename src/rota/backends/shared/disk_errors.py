"""What the disk answers, in Rota's words; shared by the backends that write plain files."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rota.errors import RotaError, Unavailable

_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up", errno.EFBIG: "the file size limit is reached"}


@contextmanager
def disk_errors(doing: str, path: Path) -> Iterator[None]:
    """Translate an OSError raised while `doing` something at `path` into `Unavailable`."""
    try:
        yield
    except OSError as error:
        raise unavailable(error, doing, path) from error


def unavailable(error: OSError, doing: str, path: Path) -> RotaError:
    """The error to raise when the disk refused."""
    full = _FULL.get(error.errno or 0)
    if full:
        message = f"{doing} in {path} failed: {full}; free space there or move ROTA_HOME to a larger disk, then retry"
    else:
        message = f"{doing} in {path} failed: {error.strerror or error}; check the directory's permissions and its disk, then retry"
    return Unavailable(message, path=str(path), errno=error.errno)
