"""The uncommitted changes of a work tree as one patch: `git apply` on the commit restores the files that ran."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MAX_PATCH = 10_000_000
"""Bytes of a patch that is kept; of a larger one only its size is noted."""
MAX_NEW_FILE = 1_000_000
"""Bytes of an untracked file that is taken into the patch."""
SOURCES = frozenset((".py", ".ipynb", ".sql", ".toml", ".yaml", ".yml", ".cfg", ".ini", ".sh", ".r", ".jl", ".md", ".txt", ".pyx"))
"""Endings of untracked files that are taken: source, never data, and never what usually holds secrets (.env, .pem)."""
_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Changes:
    """A work tree; all empty where there is none. `note` says what the patch lacks."""

    root: Path | None = None
    branch: str = ""
    remote: str = ""
    patch: bytes = b""
    note: str = ""


def of(directory: Path) -> Changes:
    """The state of the work tree that a directory lies in. Nothing in it is changed."""
    try:
        root = Path(_text(directory, "rev-parse", "--show-toplevel")).resolve()
        branch = _text(root, "symbolic-ref", "--quiet", "--short", "HEAD", status=(0, 1))
        remote = _text(root, "config", "--get", "remote.origin.url", status=(0, 1))
        if not _text(root, "rev-parse", "--verify", "--quiet", "HEAD", status=(0, 1)):
            return Changes(root, branch, remote)
        patch, note = _patch(root)
    except (OSError, subprocess.SubprocessError):
        return Changes()
    return Changes(root, branch, remote, patch, note)


def _patch(root: Path) -> tuple[bytes, str]:
    """Tracked changes and new source files together, by an index of our own in which the new files are announced."""
    new = [name for name in _run(root, "ls-files", "--others", "--exclude-standard", "-z").decode(errors="surrogateescape").split("\0") if name]
    taken = [name for name in new if _is_source(root / name)]
    left = len(new) - len(taken)
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder, "index")
        real = root / _text(root, "rev-parse", "--git-path", "index")
        if real.is_file():
            shutil.copyfile(real, index)
        if taken:
            names = "\0".join(taken).encode(errors="surrogateescape")
            _run(root, "add", "--intent-to-add", "--pathspec-from-file=-", "--pathspec-file-nul", index=index, stdin=names)
        made = _diff(root, index)
    if made is None:
        return b"", f"the local changes have more than {MAX_PATCH} bytes and are not kept"
    return made, f"{left} untracked files that are no source or larger than {MAX_NEW_FILE} bytes are not kept" if left else ""


def _is_source(path: Path) -> bool:
    try:
        return path.suffix.lower() in SOURCES and path.is_file() and not path.is_symlink() and path.stat().st_size <= MAX_NEW_FILE
    except OSError:
        return False


def _diff(root: Path, index: Path) -> bytes | None:
    arguments = _command(root, "diff", "--binary", "--no-color", "--no-ext-diff", "--no-textconv", "HEAD")
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env={**os.environ, "GIT_INDEX_FILE": str(index)}
    ) as process:
        assert process.stdout is not None
        made = process.stdout.read(MAX_PATCH + 1)
        if len(made) > MAX_PATCH:
            process.kill()
            return None
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, arguments)
    return made


def _text(directory: Path, *arguments: str, status: Sequence[int] = (0,)) -> str:
    return _run(directory, *arguments, status=status).decode(errors="replace").strip()


def _run(directory: Path, *arguments: str, index: Path | None = None, stdin: bytes = b"", status: Sequence[int] = (0,)) -> bytes:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", **({"GIT_INDEX_FILE": str(index)} if index else {})}
    command = _command(directory, *arguments)
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=_TIMEOUT_S, check=False, env=environment)
    if done.returncode not in status:
        raise subprocess.CalledProcessError(done.returncode, command)
    return done.stdout


def _command(directory: Path, *arguments: str) -> list[str]:
    return ["git", "-C", str(directory), "-c", "core.fsmonitor=false", *arguments]
