"""Where code comes from, captured without asking: commit, command, interpreter, machine and installed packages."""

import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path

MAX_COMMAND = 2_000


def captured(directory: Path, command: list[str]) -> Mapping[str, str]:
    """The facts of this process; `commit` is empty and `dirty` "unknown" where `directory` is in no Git work tree."""
    commit, dirty = commit_of(directory)
    return {
        "commit": commit,
        "dirty": "unknown" if dirty is None else "yes" if dirty else "no",
        "script": command[0] if command else "",
        "command": " ".join(command)[:MAX_COMMAND],
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "platform": platform.platform(),
    }


def installed_packages() -> bytes:
    """Every installed distribution as "name==version" lines, sorted: equal environments give equal bytes."""
    names = {f"{(found.name or '?').lower().replace('_', '-')}=={found.version}" for found in distributions()}
    return "".join(f"{line}\n" for line in sorted(names)).encode()


def commit_of(directory: Path) -> tuple[str, bool | None]:
    """The Git commit of a directory and whether its files differ from it; ("", None) where there is no commit."""
    try:
        head = _git(directory, "rev-parse", "HEAD")
        changed = _git(directory, "status", "--porcelain", ".")
    except (OSError, subprocess.SubprocessError):  # no Git, no repository, or no commit yet
        return "", None
    return head, bool(changed)


def _git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(directory), *arguments], capture_output=True, text=True, timeout=10, check=True, stdin=subprocess.DEVNULL)
    return done.stdout.strip()
