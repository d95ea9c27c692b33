"""Whether a platform can do what it is asked: its stores, its disk and its workers, each looked at as a user would meet it."""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from rota.errors import RotaError
from rota.manage.signals.free_space import free_space
from rota.manage.signals.silences import HEARD_WITHIN_S
from rota.ports.blobs import Blobs
from rota.ports.clock import Clock
from rota.ports.metadata import Metadata
from rota.records.condition import Condition, ConditionStatus, ProcessReport
from rota.records.time import Micros

LOOK_AGAIN_S = 5.0
BLOBS_AGAIN_S = 60.0
"""Time between two tries of a worker to write a blob, for alerts: each is a request that a bucket charges for."""
_NEEDED: Mapping[str, tuple[ConditionStatus, str]] = {
    "worker": ("failed", "nothing is trained, released or stored"),
    "prediction process": ("degraded", "nothing is predicted, unless by those that the metadata store does not hear"),
}
"""The kinds of processes beside the control plane; what one that is missing means for it, and for the platform."""


class PlatformReadiness:
    """The conditions of one platform, looked at once in a few seconds however often they are asked for. Thread-safe.

    Messages name no path, host or record: whoever probes a server needs no token.
    """

    def __init__(self, home: Path, metadata: Metadata, blobs: Blobs, wall: Clock, check_layout: Callable[[], object]) -> None:
        self._home, self._metadata, self._blobs, self._wall, self._check_layout = home, metadata, blobs, wall, check_layout
        self._lock = threading.Lock()
        self._looked_s = self._wrote_s = float("-inf")
        self._written = Condition("blobs", "well")
        self._found: tuple[Condition, ...] = ()

    def conditions(self) -> tuple[Condition, ...]:
        """All that were looked at, also those that are well."""
        with self._lock:
            if time.monotonic() - self._looked_s >= LOOK_AGAIN_S:
                self._found = (self._of_metadata(), self._of_layout(), self._of_blobs(), free_space(self._home), *self._of_processes())
                self._looked_s = time.monotonic()
            return self._found

    def blobs(self) -> tuple[Condition, ...]:
        """Whether blobs could be written within the last minute: what of all this nobody else alerts of."""
        if time.monotonic() - self._wrote_s >= BLOBS_AGAIN_S:
            self._written, self._wrote_s = self._of_blobs(), time.monotonic()
        return (self._written,)

    def _of_metadata(self) -> Condition:
        return _tried("metadata", lambda: self._metadata.page(ProcessReport, {}, limit=1), "the metadata store does not answer")

    def _of_layout(self) -> Condition:
        return _tried("metadata:layout", self._check_layout, "the layout of the metadata store does not fit this version, or it does not answer")

    def _of_blobs(self) -> Condition:
        def write() -> None:
            digest = self._blobs.put(f"readiness {self._wall.now_us()}".encode())
            self._blobs.delete(digest)

        return _tried(
            "blobs", write, "the blobs cannot be written: nothing is trained, registered or uploaded; look at their place with `rota doctor`"
        )

    def _of_processes(self) -> tuple[Condition, ...]:
        try:
            reports = self._metadata.find(ProcessReport)
        except RotaError:
            return (Condition("worker", "failed", "whether a worker runs is not known: the metadata store does not answer"),)
        heard_us = {kind: max((each.at_us for each in reports if each.kind == kind), default=None) for kind in _NEEDED}
        return tuple(_of_kind(kind, heard_us[kind], self._wall.now_us()) for kind in _NEEDED)


def _of_kind(kind: str, heard_us: Micros | None, now_us: Micros) -> Condition:
    status, lacking = _NEEDED[kind]
    if heard_us is None:
        return Condition(kind, status, f"no {kind} is heard of; {lacking} until one runs")
    silent_s = abs(now_us - heard_us) / 1e6  # a report of the future is one of before the clock was set back
    if silent_s > HEARD_WITHIN_S:
        return Condition(kind, status, f"no {kind} was heard of for {silent_s:.0f} s; {lacking} until one runs", {"silent_s": round(silent_s)})
    return Condition(kind, "well")


def _tried(name: str, act: Callable[[], object], message: str) -> Condition:
    try:
        act()
    except RotaError as error:
        return Condition(name, "failed", message, {"error": type(error).__name__})
    return Condition(name, "well")
