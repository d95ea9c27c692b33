"""`rota status`: how the platform of a home is, asked of its control plane, or read in its store where that does not answer."""

import dataclasses
import http.client
import importlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from json import loads as decoded
from typing import Any

import msgspec
import typer

from rota.addresses import published
from rota.cli import show
from rota.cli.home import settings_of
from rota.client import Client
from rota.errors import Refused, RotaError, Unavailable
from rota.manage.signals.hosts import Host
from rota.manage.signals.silences import is_heard
from rota.manage.signals.supervisor_file import supervisor_conditions
from rota.records.condition import Condition, ProcessReport
from rota.records.platform_state import PlatformState
from rota.records.record import plain
from rota.records.time import Micros
from rota.settings import Settings

commands = typer.Typer()
PATIENCE_S = 10.0
_SILENT = "does not answer"
_FIGURES = {
    "executing_runs_training": "trains {:.0f}",
    "executing_runs_decisions": "decides {:.0f}",
    "executing_runs_watching": "watches {:.0f}",
    "endpoints": "{:.0f} endpoints",
    "predictions": "{:.0f} predictions",
    "prediction_failures": "{:.0f} failed",
    "predictions_unlogged": "{:.0f} not logged",
    "connections": "{:.0f} connections",
    "requests_in_flight": "{:.0f} in flight",
    "answers_5xx": "{:.0f} answers 5xx",
}
"""How the figures of a process are told; those that are 0 are left out."""


@dataclass(slots=True)
class _Seen:
    """What could be learnt of a platform. `down` says why it was read in the store, "" when the control plane told it."""

    settings: Settings
    ports: dict[str, Any] = field(default_factory=dict)
    down: str = ""
    unknown: str = ""
    """Why nothing more is known, "" when `state` is."""
    state: PlatformState | None = None
    loop: dict[str, Any] = field(default_factory=dict)
    problems: dict[str, list[str]] = field(default_factory=dict)
    own: list[Condition] = field(default_factory=list)
    """What is not well by the supervisor's file."""

    def conditions(self) -> list[Condition]:
        """Everything that is not well, what failed first."""
        found = {each.name: each for each in [*self.own, *(self.state.conditions if self.state else ())]}
        return sorted(found.values(), key=lambda each: (each.status != "failed", each.name))


@commands.command()
def status(ctx: typer.Context, json: show.Json = False) -> None:
    """How the platform is: processes, what is not well, queue, lag, disk, last backup.

    Of each process it shows what it says of itself, of all that is not well what to do. Where no platform runs on the home, or its
    control plane does not answer, what the store knows is shown. Exits with 1 then.

    Example: rota status
    """
    seen = _look(settings_of(ctx))
    if json:
        show.write_json(_as_json(seen))
    else:
        show.facts(dict(_told(seen)), as_json=False)
    if seen.down:
        raise typer.Exit(1)


def _look(settings: Settings) -> _Seen:
    seen = _Seen(settings)
    try:
        host = Host.of(settings.host_name, settings.home.resolve(), has_others=bool(settings.metadata_url))
        seen.own = host.told(each for each in supervisor_conditions(settings.home) if each.status != "well")
    except RotaError as error:
        seen.own = [Condition("conditions:supervisor", "degraded", str(error))]
    try:
        seen.ports = published(settings.home)
    except RotaError as error:
        seen.down = str(error)
    else:
        seen.problems = {
            "control plane": _readiness(settings.host, seen.ports["control"], "/readyz"),
            "predictions": _readiness(settings.host, seen.ports["prediction"], "/v2/health/ready"),
        }
        _ask(seen)
    if seen.down:
        _read(seen)
    return seen


def _ask(seen: _Seen) -> None:
    """What the control plane tells whoever asks."""
    if any(problem.startswith(_SILENT) for problem in seen.problems["control plane"]):
        seen.down = f"its control plane {seen.problems['control plane'][0]}"
        return
    with closing(Client(seen.settings.home, host=seen.settings.host, patience_s=PATIENCE_S)) as client:
        try:
            seen.loop = client.get("/v1/loop")
            seen.state = msgspec.convert(client.get("/v1/platform"), PlatformState, strict=False)
        except Refused as error:
            seen.unknown = str(error)
        except Unavailable as error:
            seen.down = f"its control plane does not answer: {error}"


def _read(seen: _Seen) -> None:
    """What the store of the home knows. It is neither made nor brought up to date."""
    settings = seen.settings
    if not (settings.metadata_url or (settings.home / "metadata.db").exists()):
        seen.unknown = f"nothing is stored in {settings.home.resolve()}"
        return
    record_engines, wiring = (importlib.import_module(f"rota.{name}") for name in ("record_engines", "wiring"))  # every engine: seconds
    try:
        record_engines.checked_layout(settings)
        with wiring.opened(settings) as platform:
            figures = platform.figures
            figures.gauges = dataclasses.replace(figures.gauges, conditions=list)  # they try to write
            seen.state = figures.measured()
    except (RotaError, OSError) as error:
        seen.unknown = f"the store cannot be read: {error}"


def _readiness(host: str, port: object, path: str) -> list[str]:
    """Why a server is not ready, or what it warns of, a sentence each; nothing when all is well."""
    try:
        with closing(http.client.HTTPConnection(host, int(str(port)), timeout=PATIENCE_S)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            said = decoded(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        return [f"{_SILENT} ({error})"]
    warnings = [each if isinstance(each, str) else each["message"] for each in said.get("warnings", [])]
    if answer.status == 200:
        return warnings
    return ([each["message"] for each in said.get("reasons", [])] or [str(said.get("error", f"status {answer.status}"))]) + warnings


def _as_json(seen: _Seen) -> dict[str, Any]:
    problems = {**seen.problems, "supervisor": [f"{each.name}: {each.message}" for each in seen.own]}
    severity = {"failed": "critical", "degraded": "warning"}
    alerts = [{"subject": each.name, "severity": severity[each.status], "message": each.message} for each in seen.conditions()]
    platform = None if seen.state is None else plain(seen.state)
    told = {"up": not seen.down, "down": seen.down, "unknown": seen.unknown, "platform": platform, "problems": problems, "alerts": alerts}
    return {"home": str(seen.settings.home.resolve()), **seen.ports, **seen.loop, **told}


def _told(seen: _Seen) -> Iterator[tuple[str, object]]:
    """Name and value of each line."""
    yield "home", seen.settings.home.resolve()
    conditions = seen.conditions()
    counted = {status: sum(each.status == status for each in conditions) for status in ("failed", "degraded")}
    ill = ", ".join(f"{count} {status}" for status, count in counted.items() if count)
    if seen.down:
        yield (
            "platform",
            f"{'NOT WELL' if seen.ports else 'NOT UP'}: {seen.down}" + ("" if seen.unknown else "\nWhat follows is what its store knows."),
        )
    else:
        yield "platform", f"up, NOT WELL: {ill}" if ill else "up, and well as far as it knows"
    for server, port in (("control plane", "control"), ("predictions", "prediction")) if seen.ports else ():
        problems = seen.problems[server]
        yield server, "\n".join([f"http://{seen.settings.host}:{seen.ports[port]}", *problems])
    if seen.unknown:
        yield "not known", seen.unknown
    yield "processes", "\n".join(_processes(seen)) or "none was heard of"
    if seen.state is not None:
        yield from _of_state(seen.state)
    if conditions:
        yield "not well", "\n".join(f"{each.status}  {each.name}: {each.message}" for each in conditions)
    if seen.loop:
        yield "clock", seen.loop["now"]
        yield "waiting", "\n".join(seen.loop["waiting"]) or "nothing: the loop is at rest"


def _processes(seen: _Seen) -> Iterator[str]:
    """One line for each process that is published here or reports anywhere."""
    now_us = seen.state.at_us if seen.state else 0
    reports = {report.process: report for report in (seen.state.processes if seen.state else ())}
    of_pid = {report.pid: name for name, report in reports.items()}
    pids: dict[str, int] = {"supervisor": seen.ports["pid"], **dict(seen.ports["children"])} if seen.ports else {}
    lines = dict[str, str]()
    for name, pid in pids.items():
        if pid in of_pid:
            lines[of_pid[pid]] = _report(reports[of_pid[pid]], now_us)
        else:
            lines[name] = f"pid {pid}" + (", has not reported yet" if seen.state and name != "supervisor" else "")
    lines = {name: _report(report, now_us) for name, report in reports.items()} | lines
    ordered = [name for name in pids if name in lines] + [name for name in lines if name not in pids]
    width = max(map(len, ordered), default=0)
    yield from (f"{name:<{width}}  {lines[name]}" for name in ordered)


def _report(report: ProcessReport, now_us: Micros) -> str:
    age_s = abs(now_us - report.at_us) / 1e6
    heard = f"heard {_lasted(age_s)} ago" if is_heard(report, now_us) else f"NO REPORT for {_lasted(age_s)}"
    figures = [form.format(report.figures[name]) for name, form in _FIGURES.items() if report.figures.get(name)]
    memory = [_bytes(report.figures["resident_bytes"])] if report.figures.get("resident_bytes") else []
    return ", ".join([f"pid {report.pid}", heard, *memory, *figures])


def _of_state(state: PlatformState) -> Iterator[tuple[str, str]]:
    """Queue, lag, disk, backup, and what could not be measured."""
    oldest = {lane: f", oldest waits {_lasted(seconds)}" for lane, seconds in state.oldest_waiting_s.items() if state.waiting_runs.get(lane)}
    yield "queue", "\n".join(f"{lane}: {runs} runs{oldest.get(lane, '')}" for lane, runs in state.waiting_runs.items() if runs) or "empty"
    ended = ", ".join(f"{count} {status}" for status, count in state.finished_runs.items() if count)
    yield "runs", ended or "none has ended"
    ages = {name: f", oldest {_lasted(seconds)}" for name, seconds in state.journal_oldest_s.items() if seconds}
    behind = [f"{name}: {_bytes(size)}{ages.get(name, '')}" for name, size in state.journal_bytes.items() if size]
    yield "journals", "\n".join(behind) or "everything is in its table"
    online = [f"{name}: {_bytes(size)} behind" for name, size in state.online_behind_bytes.items() if size]
    yield "online", "\n".join(online) or "nothing is behind"
    if state.disk_free_bytes is not None and state.disk_total_bytes is not None:
        home = f"; the home takes {_bytes(sum(state.home_bytes.values()))}" if state.home_bytes else ""
        yield "disk", f"{_bytes(state.disk_free_bytes)} of {_bytes(state.disk_total_bytes)} are free{home}"
    yield "last backup", _backup(state)
    if state.unmeasured:
        yield "not measured", "\n".join(f"{part}: {why}" for part, why in state.unmeasured.items())


def _backup(state: PlatformState) -> str:
    last, running = state.last_backup, f"\n{state.backups_running} being made now" if state.backups_running else ""
    if last is None or last.ended_us is None:
        return f"none; `rota backup make PLACE` makes one{running}"
    return f"{_lasted((state.at_us - last.ended_us) / 1e6)} ago in {last.place}, {_bytes(last.size_bytes)}{running}"


def _bytes(size: float) -> str:
    units = ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.0f} {units[0]}" if units[0] == "B" or size >= 100 else f"{size:.1f} {units[0]}"


def _lasted(seconds: float) -> str:
    seconds = max(0.0, seconds)
    for unit, length, most in (("s", 1, 120), ("min", 60, 7_200), ("h", 3_600, 172_800)):
        if seconds < most:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"
