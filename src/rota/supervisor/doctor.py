"""The examination of a home: what its operator should know of it, found without starting anything and without changing anything.

Each check gives conditions: well, degraded (works, and somebody should act) or failed (something is not done, or lost). What a check
could not look at is never well.
"""

import importlib.metadata
import os
import re
import socket
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import msgspec
import polars as pl

import rota
from rota import addresses, engines, record_engines
from rota.errors import Refused, RotaError
from rota.manage import spellings
from rota.manage.lineage import audit_chain
from rota.manage.signals import platform_alerts
from rota.manage.signals.free_space import free_space
from rota.manage.signals.platform_state import sizes
from rota.manage.signals.supervisor_file import supervisor_conditions
from rota.ports.blobs import Blobs
from rota.ports.tables import Tables
from rota.record_engines import RecordStores
from rota.records.backup import Backup
from rota.records.condition import Condition, ConditionStatus
from rota.records.time import iso
from rota.settings import Settings
from rota.supervisor.process_table import children_of, supervisor_of

SECRETS = ("token", "signing.key", "rota.toml")
SCARCE_INODES = 10_000
AHEAD_US = 60_000_000
"""How far a stored moment may lie ahead of this machine's clock before the clock is doubted."""
NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p"})
SHALLOW_BLOBS = 200
NAMED_ALIKE = 5


def examine(settings: Settings, *, deep: bool = False) -> list[Condition]:
    """Every condition of the settings' home, in the order in which an operator would ask; `deep` reads everything instead of samples."""
    if not settings.home.exists():
        return [_of("home", "failed", f"{settings.home.resolve()} does not exist; `rota up` or `rota apply` makes it, --home names another")]
    checks: list[Callable[[], Iterator[Condition]]] = [
        lambda: home(settings.home),
        lambda: secrets(settings.home),
        lambda: disk(settings.home),
        versions,
        lambda: metadata(settings, deep=deep),
        lambda: blobs(settings, deep=deep),
        lambda: tables(settings),
        lambda: processes(settings),
        lambda: ports(settings),
    ]
    return [condition for check in checks for condition in _survived(check)]


def home(path: Path) -> Iterator[Condition]:
    """Who may enter the home, and whether its file system can hold it."""
    place = path.resolve()
    found = place.stat()
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        yield _of("home", "degraded", f"{place} has mode {mode:04o}, so others on this machine may enter it: `chmod 700 {place}`", mode=f"{mode:04o}")
    elif found.st_uid != os.geteuid():
        yield _of("home", "degraded", f"{place} belongs to user {found.st_uid}, this is user {os.geteuid()}: run Rota as its owner")
    else:
        yield _of("home")
    kind = _file_system(place)
    if kind in NETWORK_FILE_SYSTEMS:
        yield _of(
            "file system", "failed", f"{place} lies on {kind}; SQLite and LMDB need a local disk (or set metadata_url, storage_url, online_url)"
        )
    else:
        yield _of("file system", file_system=kind)


def secrets(path: Path) -> Iterator[Condition]:
    """Files that only their owner may read."""
    for file in (path / name for name in SECRETS):
        if not file.exists():
            continue
        mode = stat.S_IMODE(file.stat().st_mode)
        if mode & 0o077 and file.name != "rota.toml":
            yield _of(f"secret:{file.name}", "failed", f"{file} may be read by others (mode {mode:04o}): `chmod 600 {file}`, then `rota token renew`")
        else:
            yield _of(f"secret:{file.name}")


def disk(path: Path) -> Iterator[Condition]:
    """Room for bytes and for files, and what takes it."""
    found, counted = free_space(path), os.statvfs(path)
    taken = {name: _human(size) for name, size in list(sizes(path).items())[:8]}
    if found.status == "well" and counted.f_files and counted.f_favail < SCARCE_INODES:
        message = f"{counted.f_favail} more files fit on this disk (inodes); remove small files or move the home"
        found = msgspec.structs.replace(found, status="degraded", message=message)
    facts = {name.removesuffix("_bytes"): _human(size) for name, size in found.evidence.items()}
    yield msgspec.structs.replace(found, evidence={**facts, "home": taken})


def versions() -> Iterator[Condition]:
    """Rota, Python and the libraries that Rota cannot do without."""
    facts = {"rota": rota.__version__, "python": sys.version.split()[0], "sqlite": sqlite3.sqlite_version}
    missing = []
    for name in sorted(_required()):
        try:
            facts[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        yield Condition("versions", "failed", f"not installed: {', '.join(missing)}; install Rota anew in an environment of its own", facts)
    else:
        yield Condition("versions", "well", evidence=facts)


def metadata(settings: Settings, *, deep: bool) -> Iterator[Condition]:
    """Whether the metadata store opens, has this Rota's layout, is whole, and whether the audit log's chain holds."""
    file = settings.home / "metadata.db"
    if not settings.metadata_url:
        if not file.exists():
            yield _of("metadata", "degraded", f"there is no {file} yet; the first command that stores something makes it")
            return
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            (found,) = connection.execute(f"PRAGMA {'integrity_check' if deep else 'quick_check'}(3)").fetchone()
        if found != "ok":
            yield _of("metadata", "failed", f"{file} is damaged ({found}); stop the platform and `rota restore` the last backup into a new home")
            return
    try:
        record_engines.checked_layout(settings)
    except Refused as error:  # to open it would bring it up to date
        yield _of("metadata", "degraded", f"its layout is not that of this Rota, so its records were not examined: {error}")
        return
    yield _of("metadata", engine="PostgreSQL" if settings.metadata_url else "SQLite")
    stores = record_engines.record_stores(settings)
    try:
        for check in (audit_log, names, clock, alerts, backups):
            yield from _survived(partial(check, stores, settings))
    finally:
        stores.close()


def audit_log(stores: RecordStores, _: Settings) -> Iterator[Condition]:
    """Whether the audit log's chain holds."""
    verified = audit_chain.verify_audit(stores.metadata)
    if verified.broken_at:
        yield _of("audit log", "failed", f"the chain of the audit log breaks at entry {verified.broken_at}; compare with a head kept elsewhere")
    else:
        yield _of("audit log", entries=verified.entries)


def names(stores: RecordStores, _: Settings) -> Iterator[Condition]:
    """Whether two names of one kind read alike, as an older Rota took them."""
    found = [f"{what}: {' and '.join(map(repr, group))}" for what, group in spellings.alike(stores.metadata, stores.tracking)]
    if found:
        listed = "; ".join(found[:NAMED_ALIKE]) + (f"; and {len(found) - NAMED_ALIKE} more" if len(found) > NAMED_ALIKE else "")
        yield _of("names", "degraded", f"names that read alike, so that one is easily taken for the other ({listed}); both work, give one of each up")
    else:
        yield _of("names")


def clock(stores: RecordStores, settings: Settings) -> Iterator[Condition]:
    """Whether this machine's clock lies behind what was stored already."""
    if settings.clock == "replay":
        return
    newest = max(audit_chain.newest_events(stores.metadata), key=lambda event: event.at_us, default=None)
    now_us = record_engines.wall().now_us()
    if newest is not None and newest.at_us > now_us + AHEAD_US:
        yield _of(
            "clock", "degraded", f"event {newest.position} is of {iso(newest.at_us)}, this machine's clock says {iso(now_us)}: set the clock (NTP)"
        )
    else:
        yield _of("clock", now=iso(now_us))


def alerts(stores: RecordStores, settings: Settings) -> Iterator[Condition]:
    """What the platform itself found wrong: what its supervisor wrote down, and the alerts about it that are open."""
    told = [each for each in supervisor_conditions(settings.home) if each.status != "well"]
    told += platform_alerts.standing(stores.metadata)
    for each in {each.name: each for each in told}.values():
        yield msgspec.structs.replace(each, name=f"alert:{each.name}")
    if not told:
        yield _of("alerts")


def backups(stores: RecordStores, _: Settings) -> Iterator[Condition]:
    """When the last good backup was made."""
    ended = [each.ended_us for each in stores.metadata.find(Backup, {"state": "complete"}) if each.ended_us is not None]
    yield _of("backup", last=iso(max(ended)) if ended else "never; `rota backup PLACE` makes one")


def blobs(settings: Settings, *, deep: bool) -> Iterator[Condition]:
    """Whether blobs hold what their digests say: every so many of them, or all."""
    if not (settings.storage_url or (settings.home / "blobs").exists()):
        return
    store, _ = engines.storage(settings)
    found = sorted(store.digests())
    examined = found if deep else found[:: max(1, len(found) // SHALLOW_BLOBS)]
    damaged = [problem for digest in examined if (problem := _damage(store, digest))]
    of = f"{len(examined)} of {len(found)} examined"
    if damaged:
        yield _of("blobs", "failed", f"{len(damaged)} blobs are damaged ({of}): {'; '.join(damaged[:3])}; restore them from a backup", examined=of)
    else:
        yield _of("blobs", examined=of)


def tables(settings: Settings) -> Iterator[Condition]:
    """Whether the newest version of each table can be read."""
    if not (settings.storage_url or (settings.home / "tables").exists()):
        return
    _, store = engines.storage(settings)
    names = store.tables()
    damaged = [f"{name} ({problem})" for name in names if (problem := _unreadable(store, name))]
    if damaged:
        yield _of("tables", "failed", f"{len(damaged)} of {len(names)} tables cannot be read: {'; '.join(damaged[:3])}; restore them from a backup")
    else:
        yield _of("tables", tables=len(names))


def processes(settings: Settings) -> Iterator[Condition]:
    """Which processes work on the home, as the kernel knows them: a number in a file may be a stranger's by now."""
    living = _living(settings.home)
    published = addresses.published(settings.home) if addresses.is_published(settings.home) else {}
    children = published.get("children")
    wanted = {"supervisor", *children} if isinstance(children, dict) else set[str]()
    if gone := sorted(wanted - living.keys()):
        yield _of("processes", "degraded", f"published as running and not there: {', '.join(gone)}; `rota up` starts what is missing")
    elif not living:
        yield _of("processes", "degraded", f"no platform is up on {settings.home.resolve()}; `rota up` starts one")
    else:
        yield Condition("processes", "well", evidence={name: f"pid {pid}" for name, pid in living.items()})


def ports(settings: Settings) -> Iterator[Condition]:
    """Whether `rota up` could listen where the settings say, when it does not do so already."""
    if _living(settings.home):
        return
    for name, port in (("control_port", settings.control_port), ("prediction_port", settings.prediction_port)):
        try:
            socket.create_server((settings.host, port)).close()
        except OSError as error:
            yield _of(f"port:{name}", "failed", f"port {port} on {settings.host} cannot be used ({error.strerror}); end what uses it, or set {name}")
        else:
            yield _of(f"port:{name}", port=port)


def _of(name: str, status: ConditionStatus = "well", message: str = "", **evidence: object) -> Condition:
    return Condition(name, status, message, evidence)


def _survived(check: Callable[[], Iterator[Condition]]) -> list[Condition]:
    """What a check found; one that breaks is a finding too, and keeps none of the others from looking."""
    found: list[Condition] = []
    try:
        for condition in check():  # one by one: what was found before a check breaks is kept
            found += [condition]
    except (RotaError, OSError, sqlite3.Error) as error:
        found.append(_of(f"examination:{len(found)}", "failed", f"could not be examined: {type(error).__name__}: {error}"))
    return found


def _unreadable(store: Tables, name: str) -> str:
    """Why the newest version of a table cannot be read as a whole, in one line; "" when it can."""
    try:
        store.scan(name).select(pl.all().count()).collect(engine="streaming")
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a damaged file may make the engine panic, which is no Exception
        return (str(error).splitlines() or [type(error).__name__])[0][:300]
    return ""


def _required() -> set[str]:
    """The names of the libraries that the package itself asks for, without those of its extras."""
    asked = (line for line in importlib.metadata.requires("rota") or () if "extra ==" not in line)
    return {match[0] for line in asked if (match := re.match(r"[A-Za-z0-9_.-]+", line))}


def _file_system(place: Path) -> str:
    """The kind of the file system that a place lies on; "" where the system does not tell."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return ""
    holding = [(point, kind) for point, kind in mounts if place.is_relative_to(point.replace("\\040", " "))]
    return max(holding, key=lambda each: len(each[0]), default=("", ""))[1]


def _living(home: Path) -> dict[str, int]:
    """Name and pid of each process of a home that lives."""
    supervisor = supervisor_of(home)
    found = [*([supervisor] if supervisor is not None else []), *children_of(home)]
    for process in found:
        process.close()
    return {process.name: process.pid for process in found}


def _damage(store: Blobs, digest: str) -> str:
    """Why a blob cannot be read; "" when it can."""
    try:
        store.get(digest)
    except RotaError as error:
        return str(error)
    return ""


def _human(size: int) -> str:
    amount, unit = float(size), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit in ("B", "KiB") else f"{amount:.1f} {unit}"
