"""Which processes of a home there are, read from the kernel: no pid in a file is trusted, because numbers are given again.

A child is known by its command line (`rota.cli serve --name serve-0`) and by home and generation in its environment, the
supervisor by the locks that it holds: on HOME/up.lock, and on the directory itself, for somebody may remove a file. A signal goes
through a pidfd that was opened before both were looked at, so it cannot meet a stranger that was given the number in between.
"""

import os
import select
import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["server", "worker", "serve"]
KINDS: tuple[Kind, ...] = ("server", "worker", "serve")
LOCK = "up.lock"
GENERATION = "ROTA_GENERATION"
"""The variable by which a supervisor marks its children: see `takeover.generation`."""
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class HomeProcess:
    """A living process of a home, however it was started; `pidfd` refers to it for good, whatever becomes of its number."""

    pid: int
    pidfd: int
    kind: Kind | Literal["up"]
    name: str
    generation: str = ""

    def ended(self, within_s: float = 0.0) -> bool:
        """Whether it has ended, waited for so long."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(within_s * 1_000))

    def send(self, what: signal.Signals) -> None:
        """Send it a signal; nothing happens when it has ended."""
        try:
            signal.pidfd_send_signal(self.pidfd, what)
        except ProcessLookupError:
            return

    def close(self) -> None:
        os.close(self.pidfd)


def children_of(home: Path) -> list[HomeProcess]:
    """The processes that some supervisor of the home started and that live, also those whose supervisor is gone."""
    pids = [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]
    found = [process for pid in pids if (process := _child(pid, home.resolve())) is not None]
    return sorted(found, key=lambda process: (KINDS.index(process.kind), process.name, process.pid))


def supervisor_of(home: Path, published: Iterable[int] = ()) -> HomeProcess | None:
    """The process that holds the home's lock. `published` are pids to look at where the kernel's table of locks cannot be read."""
    place = home.resolve()
    lock, directory = _stat(place / LOCK), _stat(place)
    suspects = [(pid, lock) for pid in dict.fromkeys([*_lockers(lock), *published])]
    suspects += [(pid, directory) for pid in _lockers(directory) if _is_up(pid)]  # others may lock a directory too
    for pid, held in suspects:
        if held is None or pid == os.getpid() or (pidfd := _pidfd(pid)) is None:
            continue
        if _has_open(pid, held):
            return HomeProcess(pid, pidfd, "up", "supervisor")
        os.close(pidfd)
    return None


def end(processes: Sequence[HomeProcess], *, within_s: float) -> list[HomeProcess]:
    """Ask processes to stop, and kill those that live on after so long. Returns the killed ones; all are gone afterwards."""
    for process in processes:
        process.send(signal.SIGTERM)
    deadline = time.monotonic() + within_s
    killed = [process for process in processes if not process.ended(max(0.0, deadline - time.monotonic()))]
    for process in killed:
        process.send(signal.SIGKILL)
    for process in killed:
        process.ended(within_s)
    return killed


def _child(pid: int, home: Path) -> HomeProcess | None:
    if (known := _described(pid, home)) is None or (pidfd := _pidfd(pid)) is None:
        return None
    if _described(pid, home) != known:
        os.close(pidfd)
        return None
    return HomeProcess(pid, pidfd, *known)


def _described(pid: int, home: Path) -> tuple[Kind, str, str] | None:
    """Kind, name and generation of a child of this home; None of every other process, also of one that was started by hand."""
    words = _words(pid, "cmdline")
    at = next((at for at, word in enumerate(words[:-1]) if word == "rota.cli"), -1)
    if at < 0 or words[at + 1] not in KINDS:
        return None
    environment = dict(word.partition("=")[::2] for word in _words(pid, "environ"))
    if environment.get("ROTA_HOME") != str(home) or GENERATION not in environment:
        return None
    return words[at + 1], _option(words, "--name") or words[at + 1], environment[GENERATION]  # type: ignore[return-value]


def _option(words: Sequence[str], name: str) -> str:
    return words[words.index(name) + 1] if name in words[:-1] else ""


def _words(pid: int, file: str) -> list[str]:
    try:
        return (PROC / str(pid) / file).read_bytes().decode(errors="surrogateescape").split("\0")
    except OSError:  # ended, or of somebody else
        return []


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _is_up(pid: int) -> bool:
    """Whether its command line is that of a `rota up`, however it was called."""
    words = _words(pid, "cmdline")
    return "up" in words and any(word == "rota.cli" or Path(word).name == "rota" for word in words)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _lockers(file: os.stat_result | None) -> list[int]:
    """Pids that the kernel says hold a lock on a file with this inode; whether it is the same file is for the caller to look at."""
    if file is None:
        return []
    try:
        lines = (PROC / "locks").read_text().splitlines()
    except OSError:
        return []
    fields = [line.split() for line in lines if "->" not in line]
    return [int(words[4]) for words in fields if words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(file.st_ino) and int(words[4]) > 0]


def _has_open(pid: int, file: os.stat_result) -> bool:
    try:
        opened = list((PROC / str(pid) / "fd").iterdir())
    except OSError:
        return False
    return any(_is(path, file) for path in opened)


def _is(path: Path, file: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), file)
    except OSError:
        return False
