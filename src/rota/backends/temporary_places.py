"""Temporary places of a home: a folder of each process for what it needs for a moment; what a killed process left goes with the next start."""

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

_OWNED = re.compile(r"(\d+)-(\d*)")


def own_place(root: Path) -> Path:
    """The folder ROOT/<pid>-<start> of this process, made anew; folders of processes that are gone are removed."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in root.iterdir():
        owner = _OWNED.fullmatch(folder.name)
        if owner and _started(int(owner[1])) != owner[2]:
            shutil.rmtree(folder, ignore_errors=True)
    place = root / f"{os.getpid()}-{_started(os.getpid())}"
    place.mkdir(mode=0o700, exist_ok=True)
    return place


def _started(pid: int) -> str | None:
    """When a process was started, in the kernel's ticks, as process ids come again; None where there is none, "" where the kernel does not tell."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return ""
    return ""
