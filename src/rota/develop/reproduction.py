"""Reproduce a tracked run: check out its commit and local changes, restore its packages, run its command, compare both runs.

code          the commit from the repository it ran in (or its remote), the stored diff applied, in a directory of its own
environment   this interpreter when its packages are the run's; otherwise an environment made from the run's lock and kept for the next time
data          dataset versions are immutable; foreign files are compared by digest
result        the run that the command tracks: parameters, metrics, inputs and artifacts of equal names are compared
"""

import hashlib
import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from rota.errors import Refused
from rota.manage.experiments import artifacts, provenance
from rota.manage.repositories import Repositories
from rota.records.filters import Comparison, Query
from rota.records.tracking import ExperimentRun

REPRODUCES = "rota.reproduces"
"""The tag of a run that reproduces another, and (in capitals) the variable that tells the command so."""
VARIABLE = "ROTA_REPRODUCES"
LONGEST_S = 24 * 3_600
_ALLOWED = {
    "commit": re.compile(r"[0-9a-f]{40,64}"),
    "python": re.compile(r"[0-9]+(\.[0-9]+){1,2}[a-z0-9+]*"),
    "hash_seed": re.compile(r"random|[0-9]{1,10}"),
    "worktree": re.compile(r"/.*"),
    "repository": re.compile(r"(https?|ssh|git|file)://.*|(?!.*::)[^-].*"),
    "script": re.compile(r"[^-].*"),
}
"""What facts that reach a command line may look like; a repository never names a transport that runs a program (ext::)."""
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ReproduceOptions:
    """How to reproduce a run.

    `use_present`: take this interpreter whatever the lock says. `tolerance`: relative difference up to which metrics are close.
    `keep`: where the checked-out code stays; otherwise it is removed.
    """

    home: Path
    use_present: bool = False
    tolerance: float = 1e-9
    keep: Path | None = None


@dataclass(frozen=True, slots=True)
class ReproducedValue:
    """One value of the original run and of its reproduction."""

    what: Literal["parameter", "metric", "input", "artifact", "environment"]
    name: str
    then: Any
    now: Any
    verdict: Literal["equal", "close", "differs"]


@dataclass(frozen=True, slots=True)
class Reproduced:
    """The new run and what was compared; a difference of the environment alone does not make it a mismatch."""

    run: str
    of: str
    findings: tuple[ReproducedValue, ...]

    @property
    def matches(self) -> bool:
        return not any(finding.verdict == "differs" for finding in self.findings if finding.what != "environment")


def reproduce(repositories: Repositories, run: ExperimentRun, options: ReproduceOptions, *, progress: Progress | None = None) -> Reproduced:
    """Execute the run again and compare; raises `Refused` naming what was not captured, or what the command said when it failed."""
    say = progress or (lambda _: None)
    _check_facts(run)
    script, arguments = _command(run)
    with _checked_out(repositories, run, options, say) as tree:
        python = sys.executable if options.use_present else _interpreter(repositories, run, options, say)
        say(f"executing {' '.join([script, *arguments])}")
        _execute([python, str(tree / script), *arguments], tree, options.home, run)
    again = _newest(repositories, run)
    return Reproduced(again.id, run.id, tuple(_findings(repositories, run, again, options.tolerance)))


def _check_facts(run: ExperimentRun) -> None:
    """Facts may come from any client that tracks runs; none of them may be read as an option, or point out of the checked-out tree."""
    for fact, allowed in _ALLOWED.items():
        if (value := run.source.get(fact, "")) and not allowed.fullmatch(value):
            raise Refused(f"the {fact} of run {run.id} is {value[:100]!r}, which is none; it was not captured by Rota", run=run.id, fact=fact)
    for fact in ("script", "folder"):
        path = PurePosixPath(run.source.get(fact, ""))
        if path.is_absolute() or ".." in path.parts:
            raise Refused(f"the {fact} of run {run.id}, {str(path)[:100]!r}, lies outside of its repository", run=run.id, fact=fact)


def _command(run: ExperimentRun) -> tuple[str, list[str]]:
    """The script, relative to its repository, and its arguments."""
    if run.parent:
        raise Refused(f"run {run.id} is part of run {run.parent}; reproduce that one", run=run.id, parent=run.parent)
    try:
        argv = [run.source["script"], *(str(part) for part in json.loads(run.source["argv"])[1:])]
    except (KeyError, ValueError):
        argv = []
    if provenance.MASK in argv or any(part.endswith(f"={provenance.MASK}") for part in argv):
        raise Refused(f"the command of run {run.id} held a secret, which is not stored: {run.source.get('command')}", run=run.id)
    if not argv or not argv[0].endswith(".py"):
        raise Refused(
            f"run {run.id} was not started by a script but by {run.source.get('command', 'something unknown')!r}; only scripts can be executed again",
            run=run.id,
        )
    if not run.source.get("commit"):
        raise Refused(f"run {run.id} has no commit: its script lay in no Git work tree; put the project under version control and track it again")
    return argv[0], argv[1:]


@contextmanager
def _checked_out(repositories: Repositories, run: ExperimentRun, asked: ReproduceOptions, say: Progress) -> Iterator[Path]:
    """The work tree as it was then."""
    source = run.source
    origin = source.get("worktree", "")
    if not Path(origin, ".git").exists():
        origin = source.get("repository", "")
    if not origin or origin.startswith("-"):
        raise Refused(f"the work tree of run {run.id}, {source.get('worktree')!r}, is not on this machine and it had no remote", run=run.id)
    with tempfile.TemporaryDirectory(prefix="rota-reproduce-") as temporary:
        tree = (asked.keep or Path(temporary) / "code").resolve()
        if tree.exists():
            raise Refused(f"{str(tree)!r} exists already; give --keep a directory that is not there yet", directory=str(tree))
        say(f"checking out {source['commit'][:12]} of {origin}")
        _git("clone", "--quiet", "--no-checkout", "--", origin, str(tree))
        _git("-C", str(tree), "checkout", "--quiet", "--detach", source["commit"])
        if digest := source.get("diff"):
            patch = Path(temporary) / "diff"
            patch.write_bytes(repositories.blobs.get(digest))
            _git("-C", str(tree), "apply", "--binary", "--whitespace=nowarn", str(patch))
            say("applied the local changes")
        if note := source.get("diff_note"):
            say(f"the local changes were not kept whole: {note}")
        yield tree


def _interpreter(repositories: Repositories, run: ExperimentRun, asked: ReproduceOptions, say: Progress) -> str:
    """An interpreter with the run's packages: this one when they are equal, otherwise one made from the lock."""
    digest = run.source.get("packages", "")
    if not digest:
        raise Refused(f"run {run.id} has no environment lock; `--here` executes it with the packages of this interpreter", run=run.id)
    packages = repositories.blobs.get(digest)
    if packages == provenance.installed_packages():
        return sys.executable
    version = run.source.get("python", platform.python_version())
    key = hashlib.sha256(packages + version.encode() + platform.platform().encode()).hexdigest()[:16]
    folder = asked.home / "environments" / key
    if not (folder / "ready").exists():
        say(f"making an environment of {packages.count(b'==')} packages in {folder}")
        _make_environment(folder, packages, version)
    return str(folder / "bin" / "python")


def _make_environment(folder: Path, packages: bytes, version: str) -> None:
    """With uv where it is installed, which also brings the Python version; otherwise with this interpreter's venv and pip."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = folder.with_suffix(".txt")
    ours = next((line for line in packages.splitlines() if line.startswith(b"rota==")), b"")
    lock.write_bytes(b"\n".join(line for line in packages.splitlines() if line != ours) + b"\n")
    try:
        if uv := shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])):
            _run([uv, "venv", "--quiet", "--clear", "--python", version, str(folder)])
            _run([uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), "-r", str(lock)])
        else:
            _run([sys.executable, "-m", "venv", "--clear", str(folder)])
            _run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "-r", str(lock)])
    except Refused as error:
        raise Refused(f"the run's environment cannot be made again: {error}; `--here` executes it with the packages of this interpreter") from error
    source = next(
        folder.parent for folder in Path(__file__).resolve().parents if folder.name == "rota"
    )  # this Rota, whatever the run had: it must be able to talk to this home
    site = next((folder / "lib").glob("python*/site-packages"))
    (site / "rota-of-the-caller.pth").write_text(f"{source}\n")
    (folder / "ready").touch()


def _execute(command: list[str], tree: Path, home: Path, run: ExperimentRun) -> None:
    if not Path(command[1]).is_file():
        raise Refused(f"the script {run.source['script']!r} of run {run.id} is not in commit {run.source['commit'][:12]}", run=run.id)
    environment = {**os.environ, "ROTA_HOME": str(home), VARIABLE: run.id}
    if seed := run.source.get("hash_seed"):
        environment["PYTHONHASHSEED"] = seed
    _run(command, cwd=tree / run.source.get("folder", ""), env=environment)


def _newest(repositories: Repositories, run: ExperimentRun) -> ExperimentRun:
    tagged = Comparison("tag", REPRODUCES, "=", run.id)
    found = [each for each in repositories.tracking.search_runs([run.experiment], Query((tagged,), limit=50)).items if each.name == run.name]
    if not found:
        raise Refused(f"the command tracked no run {run.name!r} in the same experiment; was it changed to track under another name?", run=run.id)
    return max(found, key=lambda each: each.started_us)


def _findings(repositories: Repositories, then: ExperimentRun, now: ExperimentRun, tolerance: float) -> Iterator[ReproducedValue]:
    yield from _compared("parameter", then.parameters, now.parameters)
    for name in sorted(then.metrics.keys() | now.metrics.keys()):
        before, after = then.metrics.get(name), now.metrics.get(name)
        yield ReproducedValue("metric", name, before, after, _closeness(before, after, tolerance))
    yield from _compared("input", {each.name: each.digest for each in then.inputs}, {each.name: each.digest for each in now.inputs})
    yield from _compared("artifact", _artifacts(repositories, then), _artifacts(repositories, now))
    for name in ("commit", "packages", "python", "platform"):
        before_, after_ = then.source.get(name, ""), now.source.get(name, "")
        yield ReproducedValue("environment", name, before_, after_, "equal" if before_ == after_ else "differs")


def _compared(what: Literal["parameter", "input", "artifact"], then: Mapping[str, str], now: Mapping[str, str]) -> Iterator[ReproducedValue]:
    for name in sorted(then.keys() | now.keys()):
        yield ReproducedValue(what, name, then.get(name), now.get(name), "equal" if then.get(name) == now.get(name) else "differs")


def _closeness(then: float | None, now: float | None, tolerance: float) -> Literal["equal", "close", "differs"]:
    if then is None or now is None:
        return "differs"
    if then == now or (math.isnan(then) and math.isnan(now)):
        return "equal"
    return "close" if math.isclose(then, now, rel_tol=tolerance) else "differs"


def _artifacts(repositories: Repositories, run: ExperimentRun) -> dict[str, str]:
    return {file.path: file.digest for file in artifacts.files(repositories.metadata, artifacts.run_root(run))}


def _git(*arguments: str) -> None:
    _run(["git", *arguments])


def _run(command: list[str], **options: Any) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=LONGEST_S, check=False, stdin=subprocess.DEVNULL, **options
        )
    except OSError as error:
        raise Refused(f"{command[0]} cannot be executed: {error}", command=command) from error
    if done.returncode:
        raise Refused(f"`{' '.join(command[:6])}` ended with exit code {done.returncode}: {(done.stderr or done.stdout)[-2_000:].strip()}")
