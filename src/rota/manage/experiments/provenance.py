"""Capture where code comes from without asking: commit and local changes, environment, command, machine, notebook.

No environment variable is stored, except whether PYTHONHASHSEED fixes the order of hashes; what looks like a secret on the
command line, and credentials in the address of the repository, are masked.
"""

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import distributions
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from rota.manage.experiments import git_patch, notebook
from rota.ports.blobs import Blobs
from rota.records.time import Micros

MAX_COMMAND = 2_000
LOCKS = ("uv.lock", "requirements.lock", "requirements.txt", "poetry.lock", "pdm.lock")
"""Files that fix a project's environment, the first that is there counts."""
MASK = "***"
_SECRETS = ("token", "password", "passwd", "passphrase", "pwd", "secret", "apikey", "credential", "credentials", "auth", "authorization")
_KEYS = frozenset({"api", "access", "private", "secret", "signing", "encryption"})
"""A "key" of these is a secret; any other (a primary key) is not."""
_ADDRESS = re.compile(r"(?<![\w+.-])(\w[\w+.-]*+://)([^/@\s]++)@")


def capture(blobs: Blobs, directory: Path, *, seeds: Sequence[int] = (), command: Sequence[str] | None = None) -> dict[str, str]:
    """The facts of this process as texts; large ones are blobs and their fact is the digest. What is not known is left out.

    worktree (its directory on this machine), folder and argv (JSON): where in it and how the script was started, secrets masked;
    commit, branch, repository, dirty ("yes", "no", "unknown"), diff (a patch on the commit, digest), diff_note, script (relative to
    the repository), command, source_type, python, implementation, platform, cpus, packages (digest), lock (digest), lock_file,
    seeds, hash_seed, notebook, notebook_source (digest).
    """
    given = list(sys.argv if command is None else command)
    changes = git_patch.of(directory)
    facts = dict(captured(directory, given))
    facts |= {"branch": changes.branch, "repository": public_address(changes.remote), "diff_note": changes.note}
    facts["diff"] = blobs.put(changes.patch) if changes.patch else ""
    facts["script"] = _script(given, changes.root)
    if changes.root is not None and given:
        here = Path.cwd()
        facts |= {"worktree": str(changes.root), "argv": json.dumps(masked(given))}
        facts["folder"] = here.relative_to(changes.root).as_posix() if here.is_relative_to(changes.root) else ""
    facts["packages"] = blobs.put(installed_packages())
    lock = next((path for name in LOCKS for folder in (directory, changes.root) if folder and (path := folder / name).is_file()), None)
    if lock is not None:
        facts |= {"lock": blobs.put(lock.read_bytes()), "lock_file": lock.name}
    facts |= {"cpus": str(os.cpu_count() or ""), "seeds": seeds_text(seeds), "hash_seed": os.environ.get("PYTHONHASHSEED", "")}
    written = notebook.executed()
    if written is not None:
        facts |= {"notebook": written.path, "notebook_source": blobs.put(written.source), "source_type": "NOTEBOOK"}
    return {name: value for name, value in facts.items() if value}


def captured(directory: Path, command: list[str]) -> Mapping[str, str]:
    """The facts that cost nothing to keep; `commit` is empty and `dirty` "unknown" where `directory` is in no Git work tree."""
    commit, dirty = commit_of(directory)
    return {
        "commit": commit,
        "dirty": "unknown" if dirty is None else "yes" if dirty else "no",
        "script": command[0] if command else "",
        "command": " ".join(masked(command))[:MAX_COMMAND],
        "source_type": "LOCAL",
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "platform": platform.platform(),
    }


def masked(command: Sequence[str]) -> list[str]:
    """A command line without the values of what looks like a secret: --token X, --token=X, token=X, scheme://user:password@host."""
    shown, hide = [], False
    for argument in command:
        name, equals, _ = argument.partition("=")
        if hide and not argument.startswith("-"):
            shown.append(MASK)
            hide = False
        elif equals and _is_secret(name):
            shown.append(f"{name}={MASK}")
        else:
            hide = argument.startswith("-") and _is_secret(argument)
            shown.append(_ADDRESS.sub(rf"\1{MASK}@", argument))
    return shown


def _is_secret(name: str) -> bool:
    """By its words: --hf-token and API_KEY are secrets, --tokenizer, --max-tokens and --primary-key are not."""
    words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]
    return any(word.endswith(_SECRETS) for word in words) or any(a in _KEYS and b == "key" for a, b in pairwise(words))


def public_address(remote: str) -> str:
    """The address of a repository without user, password and query."""
    if "://" not in remote:
        return remote
    parts = urlsplit(remote)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def seeds_text(seeds: Sequence[int]) -> str:
    """Seeds as a run keeps them: "7, 11"."""
    return ", ".join(str(seed) for seed in seeds)


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


def committed_us(directory: Path, commit: str) -> Micros:
    """When a commit of the repository of a directory was made; 0 where Git does not know it."""
    try:
        return int(_git(directory, "show", "--no-patch", "--format=%ct", commit)) * 1_000_000 if commit else 0
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0


def _git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(directory), *arguments], capture_output=True, text=True, timeout=10, check=True, stdin=subprocess.DEVNULL)
    return done.stdout.strip()


def _script(command: Sequence[str], root: Path | None) -> str:
    """The script below its repository, else as it was called; none where code came from the command line or a console."""
    if not command or not command[0] or command[0] == "-c":
        return ""
    path = Path(command[0]).resolve()
    return path.relative_to(root).as_posix() if root and path.is_relative_to(root) else command[0]
