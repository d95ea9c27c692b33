"""What the disk answers, in Rota's words; shared by the backends that write plain files."""

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rota.errors import RotaError, Unavailable

_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up", errno.EFBIG: "the file size limit is reached"}

_NUMBER = re.compile(r"os error (\d+)")


@contextmanager
def disk_errors(doing: str, path: Path) -> Iterator[None]:
    """Translate an OSError raised while `doing` something at `path` into `Unavailable`."""
    try:
        yield
    except OSError as error:
        raise unavailable(error, doing, path) from error


def unavailable(error: OSError, doing: str, path: Path) -> RotaError:
    """The error to raise when the disk refused."""
    return _refused(error.errno or 0, error.strerror or str(error), doing, path)


def unavailable_by_text(error: BaseException, doing: str, path: Path) -> RotaError:
    """The error to raise when an engine says in words what the disk answered, as those written in Rust do."""
    found = _NUMBER.search(str(error))
    return _refused(int(found[1]) if found else 0, str(error), doing, path)


def _refused(number: int, said: str, doing: str, path: Path) -> RotaError:
    full = _FULL.get(number)
    if full:
        message = f"{doing} in {path} failed: {full} ({_file_system(path)}); free space there or move ROTA_HOME to a larger disk, then retry"
    else:
        message = f"{doing} in {path} failed: {said}; check the directory's permissions and its disk, then retry"
    return Unavailable(message, path=str(path), errno=number or None)


def _file_system(path: Path) -> str:
    """Which file system a path lies on, and what is free there."""
    try:
        while not path.exists():
            path = path.parent
        free = shutil.disk_usage(path).free
        device = path.stat().st_dev
        while path != path.parent and path.parent.stat().st_dev == device:
            path = path.parent
    except OSError:
        return "its file system does not answer"
    return f"the file system at {path} has {free / 1e6:.0f} MB free"
