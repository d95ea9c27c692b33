"""What a new supervisor does with the processes that a killed one left: it takes over what serves, and ends the rest.

Prediction processes of the same generation (version, settings, code) are adopted with the listening socket that they hold. Those of another go
on until their successors are ready on the same socket. Control plane and workers end with their supervisor, and are ended if
they did not.
"""

import contextlib
import hashlib
import json
import logging
import os
import socket
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import rota
from rota.settings import Settings
from rota.supervisor.process_table import HomeProcess, children_of, end
from rota.supervisor.socket_handover import FOLDER, ask_listener

logger = logging.getLogger("rota.supervisor")

END_WITHIN_S = 3.0
_WITHOUT_MEANING = frozenset({"workers", "prediction_processes", "control_port"})
"""Settings that a prediction process does not know."""


@dataclass(slots=True)
class Inheritance:
    """What was left: prediction processes to adopt by name, those to replace, the socket that they serve, and whether others were ended."""

    adopted: dict[str, HomeProcess] = field(default_factory=dict)
    old: list[HomeProcess] = field(default_factory=list)
    listener: socket.socket | None = None
    ended: list[HomeProcess] = field(default_factory=list)


def generation(settings: Settings, environ: Mapping[str, str] = os.environ) -> str:
    """A digest of all that makes a prediction process what it is: Rota's version and place, Python, and the settings."""
    values = {name: str(getattr(settings, name)) for name in settings.__struct_fields__ if name not in _WITHOUT_MEANING}
    values["home"] = str(settings.home.resolve())
    keys = {name: value for name, value in environ.items() if name.startswith("AWS_")}
    made_of = [rota.__version__, str(Path(rota.__file__).parent), sys.executable, values, keys]
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]


def take_over(settings: Settings, names: Collection[str]) -> Inheritance:
    """Find what runs on a home whose lock is ours. `names` are the prediction processes that there shall be."""
    left = children_of(settings.home)
    found = Inheritance()
    for process in left:
        if process.kind == "serve":
            _inherit(process, found, settings, names)
        else:
            found.ended.append(process)
    if found.listener is None:  # nobody can take the socket over: it must be free again
        found.ended += found.old
        found.old = []
    _end(found.ended)
    _tidy(settings.home, {process.pid for process in (*found.adopted.values(), *found.old)})
    return found


def _inherit(process: HomeProcess, found: Inheritance, settings: Settings, names: Collection[str]) -> None:
    listener = ask_listener(settings.home, process.name, process.pid)
    if listener is None or not _fits(listener, settings) or not _is_same(listener, found.listener or listener):
        found.old.append(process)
    else:
        if found.listener is None:
            found.listener, listener = listener, None
        if process.generation == generation(settings) and process.name in names and process.name not in found.adopted:
            found.adopted[process.name] = process
        else:
            found.old.append(process)
    if listener is not None:
        listener.close()


def _fits(listener: socket.socket, settings: Settings) -> bool:
    host, port = listener.getsockname()[:2]
    return settings.prediction_port in (0, port) and (host == settings.host or _resolved(settings.host) == host)


def _is_same(one: socket.socket, other: socket.socket) -> bool:
    return os.path.sameopenfile(one.fileno(), other.fileno())


def _resolved(host: str) -> str:
    try:
        return socket.gethostbyname(host)
    except OSError:
        return ""


def _end(processes: Sequence[HomeProcess]) -> None:
    if not processes:
        return
    killed = end(processes, within_s=END_WITHIN_S)
    for process in processes:
        facts = {"action": "leftover_ended", "child": process.name, "pid": process.pid, "killed": process in killed}
        logger.warning("a process that a former supervisor left was ended", extra=facts)
        process.close()


def _tidy(home: Path, living: Collection[int]) -> None:
    """Remove the files of processes that are gone."""
    with contextlib.suppress(OSError):
        for file in (home / FOLDER).glob("*.*.*"):
            pid = file.name.split(".")[-2]
            if file.suffix in (".sock", ".stack") and pid.isdigit() and int(pid) not in living:
                file.unlink(missing_ok=True)
