"""Copy the spools of living processes: every point that was kept before the copy began, and no half of one.

A record is whole once its commit word is there, but a reader may pass its value before it is written and its commit word after. So each
segment is read twice: what was committed at the first reading is taken as the second one gives it, the rest is left blank.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from rota.develop.spool import GONE, NEW, OWNER, SUFFIX, unpacked


def copies(home: Path) -> Mapping[str, bytes]:
    """The files of every spool in `home`, by their paths in it. A spool that is stored and removed meanwhile is left out: its points are stored."""
    found: dict[str, bytes] = {}
    for folder in sorted(home.glob("*.*")):
        if folder.is_dir() and not folder.name.startswith((NEW, GONE)):
            with suppress(FileNotFoundError, NotADirectoryError):
                found |= _copy(folder)
    return found


def _copy(folder: Path) -> dict[str, bytes]:
    """Segments before the names that their records refer to, so that no name is missing; who owns it last."""
    files: dict[str, bytes] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with suppress(FileNotFoundError):  # stored meanwhile
            files[f"{folder.name}/{path.name}"] = _whole_records(path)
    for name in ("names", "end", OWNER):
        with suppress(FileNotFoundError):
            files[f"{folder.name}/{name}"] = (folder / name).read_bytes()
    return files if f"{folder.name}/{OWNER}" in files else {}


def _whole_records(path: Path) -> bytes:
    first = path.read_bytes()
    _, written = unpacked(first, 0)
    rows = np.array(unpacked(path.read_bytes()[: len(first)], 0)[0])
    rows[~written[: len(rows)]] = np.zeros(1, rows.dtype)[0]
    return rows.tobytes()
