"""End what runs on a home: the supervisor with all its processes, and what a supervisor that was killed left behind."""

import contextlib
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rota import addresses
from rota.errors import InvalidInput, Unavailable
from rota.supervisor.process_table import HomeProcess, children_of, end, supervisor_of
from rota.supervisor.socket_handover import ask_listener, refuse_new

SUPERVISOR_WITHIN_S = 11.0
"""A supervisor gives its processes 9.3 s and kills what lives on; then it ends itself."""
ORPHANS_WITHIN_S = 9.3


@dataclass(frozen=True, slots=True)
class Ended:
    """What was ended: name and pid of each process, which of them had to be killed, and what was left alone and why."""

    processes: Mapping[str, int]
    killed: Sequence[str]
    warnings: Sequence[str]


def end_home(home: Path) -> Ended:
    """End all processes of a home and wait until they are gone.

    Raises `Unavailable` when none runs. A process is ended for what it is (the holder of the home's lock, a child with this home), never
    because a file gives its number.
    """
    warnings: list[str] = []
    published = _published_pid(home, warnings)
    supervisor, children = supervisor_of(home, [published] if published else []), children_of(home)
    if published and (supervisor is None or supervisor.pid != published):
        warnings.append(f"ports.json names pid {published}, which is not the supervisor of this home; that process was left alone")
    if supervisor is None and not children:
        if published:
            addresses.withdraw(home)
        because = f"; {'; '.join(warnings)}" if warnings else ""
        raise Unavailable(f"no platform runs on {home}{because}; start one with `rota up`, or name its home with --home or ROTA_HOME", home=str(home))
    killed = [] if supervisor is None else _end_supervisor(supervisor)
    left = [child for child in children_of(home) if not child.ended()]
    for process in left:
        if process.kind == "serve" and (listener := ask_listener(home, process.name, process.pid)) is not None:
            with listener:
                refuse_new(listener)
    killed += end(left, within_s=ORPHANS_WITHIN_S)
    addresses.withdraw(home)
    everyone = [*([] if supervisor is None else [supervisor]), *{child.pid: child for child in (*children, *left)}.values()]
    ended = Ended({_name(each, everyone): each.pid for each in everyone}, [_name(each, everyone) for each in killed], warnings)
    for process in {id(process): process for process in (*everyone, *children, *left)}.values():
        process.close()
    return ended


def _published_pid(home: Path, warnings: list[str]) -> int:
    """The pid that ports.json gives, 0 without one: it is looked at, not believed."""
    if not addresses.is_published(home):
        return 0
    with contextlib.suppress(InvalidInput, Unavailable):
        pid = addresses.published(home).get("pid")
        if isinstance(pid, int) and pid > 0:
            return pid
    warnings.append("ports.json could not be read; it was removed")
    return 0


def _end_supervisor(supervisor: HomeProcess) -> list[HomeProcess]:
    supervisor.send(signal.SIGTERM)
    if supervisor.ended(SUPERVISOR_WITHIN_S):
        return []
    supervisor.send(signal.SIGKILL)
    supervisor.ended(SUPERVISOR_WITHIN_S)
    return [supervisor]


def _name(process: HomeProcess, everyone: Sequence[HomeProcess]) -> str:
    twice = sum(other.name == process.name for other in everyone) > 1
    return f"{process.name} ({process.pid})" if twice else process.name
