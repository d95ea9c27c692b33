"""The stores and the metric flusher that a tracker's runs share in one process, opened anew after a fork."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rota.develop.metric_flusher import Flusher
from rota.develop.spool_recovery import drain
from rota.manage.repositories import Repositories
from rota.ports.drawing import Drawing
from rota.ports.models import ModelFormat
from rota.ports.tracking import Tracking


@dataclass(frozen=True, slots=True)
class TrackerConfig:
    """What a tracker works with.

    `repositories` opens the stores, once for each process: after a fork the child's are its own. Spools of metric points lie in
    the folder `spool`. `ticks` is the clock of metric points, in `ticks_per_us` units of a microsecond. `owner` is written into
    every run. `formats` lists the installed model formats by name, `drawing` renders chart specifications (None: they stay JSON).
    `flush_s` is the pause, in seconds, between two flushes of the background thread.
    """

    repositories: Callable[[], Repositories]
    spool: Path
    ticks: Callable[[], int]
    ticks_per_us: int
    owner: str = ""
    formats: Callable[[], Mapping[str, ModelFormat]] = dict
    drawing: Drawing | None = None
    flush_s: float = 0.2


class TrackerStores:
    """The repositories and the flusher of the current process. Thread-safe."""

    def __init__(self, config: TrackerConfig) -> None:
        self.config = config
        self._inherited: list[object] = []
        self._open()

    @property
    def repositories(self) -> Repositories:
        """The stores of this process."""
        if os.getpid() != self._process:
            self._forked()
        return self._repositories

    @property
    def tracking(self) -> Tracking:
        """The tracking store of this process."""
        return self.repositories.tracking

    @property
    def flusher(self) -> Flusher:
        """The background thread of this process."""
        if os.getpid() != self._process:
            self._forked()
        return self._flusher

    def drain(self, run: str = "") -> list[str]:
        """Store what killed processes left in the spool folder, of one run or of all; returns the runs concerned."""
        return drain(self.config.spool, self.tracking, run=run)

    def close(self) -> None:
        """End the background thread and close the stores, those of this process."""
        if os.getpid() == self._process:
            self._flusher.close()
            self._repositories.metadata.close()

    def _open(self) -> None:
        self._repositories = self.config.repositories()
        self._flusher = Flusher(self._repositories.tracking, self._repositories.clock, every_s=self.config.flush_s)
        self._process = os.getpid()

    def _forked(self) -> None:
        """Connections and threads do not survive a fork. The parent's are kept, not closed: closing would disturb the parent."""
        self._inherited += [self._repositories, self._flusher]
        self._open()
