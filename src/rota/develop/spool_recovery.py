"""Recover the spools of dead processes: store what they had logged, and mark their runs as killed."""

import fcntl
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rota.develop.spool import CHUNK, GONE, NEW, OWNER, SUFFIX, Header, discard, points, read_owner, unpacked
from rota.errors import Corrupt, NotFound, Refused
from rota.ports.tracking import Logged, RunChange, Tracking
from rota.records.time import Micros
from rota.records.tracking import MetricPoint

logger = logging.getLogger("rota.develop")
_RECORD_BYTES = 32
_UNFINISHED_S = 3_600


def drain(home: Path, tracking: Tracking, *, run: str = "") -> list[str]:
    """Store the points of every spool in `home` (of one run, or of all) that no living process holds; returns the runs concerned.

    A run that was still running ends as killed, at the last sign of life of its process, or as its block had ended when only
    the storing was left to do. Safe to call from several processes at once, and again after it was killed.
    """
    found = []
    for folder in sorted(home.glob(f"{run or '*'}.*")):
        if folder.name.startswith((NEW, GONE)):
            _sweep(folder)
        elif (owner := _locked(folder)) is not None:
            try:
                found += _drained(folder, owner, tracking)
            except Corrupt as error:  # left for somebody to look at
                logger.warning("a spool cannot be read: %s", error, extra={"action": "drain", "folder": str(folder)})
            finally:
                os.close(owner)
    return found


def _drained(folder: Path, owner: int, tracking: Tracking) -> list[str]:
    alive_us, header = read_owner(owner)
    try:
        last_us = max([alive_us, *(_stored(header, found, tracking) for found in _chunks(folder, header))])
        known = _ended(folder, header, last_us, tracking)
    except NotFound:
        known = False
    except Refused:  # a deleted run takes nothing; it may be restored, or purged
        return []
    if not known:
        logger.warning("run %s is gone, what it had left is discarded", header.run, extra={"action": "drain", "run": header.run})
    discard(folder)
    return [header.run] if known else []


def _stored(header: Header, found: list[MetricPoint], tracking: Tracking) -> Micros:
    tracking.log(header.run, Logged(metrics=found))
    return max((point.at_us for point in found), default=0)


def _ended(folder: Path, header: Header, last_us: Micros, tracking: Tracking) -> bool:
    """Store how the run ended, unless that is known; False when there is no such run."""
    record = tracking.run(header.run)
    if record is None:
        return False
    if header.ends and record.status == "running":
        try:
            end = json.loads((folder / "end").read_bytes())
            tracking.change_run(header.run, RunChange(status=end["status"], ended_us=end["ended_us"]))
        except (OSError, ValueError, KeyError):  # it was killed before its block ended
            tracking.change_run(header.run, RunChange(status="killed", ended_us=max(last_us, record.started_us)))
    return True


def _chunks(folder: Path, header: Header) -> Iterator[list[MetricPoint]]:
    names = _names(folder)
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        first = 0
        with path.open("rb") as file:
            while data := file.read(CHUNK * _RECORD_BYTES):
                rows, written = unpacked(data, first)
                first += len(rows)
                if written.any():
                    yield _named(rows[written], names, header, path)


def _named(rows: np.ndarray, names: list[str], header: Header, path: Path) -> list[MetricPoint]:
    try:
        return points(rows, names, header.per_us)
    except IndexError as error:
        raise Corrupt(f"{path} has a record of a metric whose name is not in the spool", path=str(path)) from error


def _names(folder: Path) -> list[str]:
    """The metrics' names; a line that was torn by the kill is not complete, and no record speaks of it."""
    try:
        lines = (folder / "names").read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    try:
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise Corrupt(f"{folder / 'names'} holds a line that is no JSON: {error}", path=str(folder)) from error


def _locked(folder: Path) -> int | None:
    """The owner file, locked; None while its process lives, or when another process has drained it."""
    try:
        owner = os.open(folder / OWNER, os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(owner)
        return None
    if not folder.exists():
        os.close(owner)
        return None
    return owner


def _sweep(folder: Path) -> None:
    """Remove what a kill left of a folder that was being made or removed."""
    try:
        left = folder.name.startswith(GONE) or time.time() - folder.stat().st_mtime > _UNFINISHED_S
    except FileNotFoundError:
        return
    if left:
        shutil.rmtree(folder, ignore_errors=True)
