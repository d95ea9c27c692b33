"""Experiment tracking: what a person tries in development is a record, with its code, environment, parameters and results.

    with tracker.run("late-flights", "deeper trees", seeds=[7]) as run:
        run.log_params(depth=8)
        run.log_metric("log_loss", 0.46)
        run.log_artifact("importance.svg", svg)

The record exists from the first moment on, as `running`. Logged values are stored at once, or at most `flush_s` later when
values come fast, so that a killed process loses no more than that. A block that raises ends its run as `failed`.
"""

import math
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

from rota.errors import InvalidInput, NotFound, Refused
from rota.manage.provenance import captured, installed_packages
from rota.ports.blobs import Blobs
from rota.ports.clock import Clock
from rota.ports.metadata import Batch, Metadata
from rota.records.kinds import node
from rota.records.record import check_name, encode
from rota.records.tracking import ExperimentRun

MAX_NAME = 250
ARTIFACT_TAG = "artifact."
"""An artifact's digest is kept as the tag "artifact.NAME" of its run."""


class Tracker:
    """Opens runs in a metadata and a blob repository; `new_id` gives a run its id."""

    def __init__(self, metadata: Metadata, blobs: Blobs, clock: Clock, *, flush_s: float = 0.5, new_id: Callable[[], str] | None = None) -> None:
        self.metadata = metadata
        self.blobs = blobs
        self.clock = clock
        self.flush_s = flush_s
        self._new_id = new_id or (lambda: uuid.uuid4().hex)

    @contextmanager
    def run(
        self, experiment: str, name: str = "", *, seeds: Sequence[int] = (), directory: Path = Path(), command: Sequence[str] | None = None
    ) -> "Iterator[TrackedRun]":
        """Track a block of code. `directory` lies in the code's Git work tree; `command` is this process's own by default."""
        check_name("experiment", experiment)
        run = TrackedRun(self, self._started(experiment, name, seeds, captured(directory, list(sys.argv if command is None else command))))
        try:
            yield run
        except BaseException as error:
            if run.record.status == "running":
                run.set_tag("error", f"{type(error).__name__}: {error}"[:MAX_NAME])
                run.end("failed")
            raise
        if run.record.status == "running":
            run.end("finished")

    def _started(self, experiment: str, name: str, seeds: Sequence[int], source: Mapping[str, str]) -> ExperimentRun:
        identity = self._new_id()
        facts = {**source, "seeds": ", ".join(str(seed) for seed in seeds), "packages": self.blobs.put(installed_packages())}
        record = ExperimentRun(identity, experiment, name or identity[:8], "running", self.clock.now_us(), source=facts)
        batch = Batch()
        batch.create(record)
        self.metadata.commit(batch)
        return record


class TrackedRun:
    """A run while its block works. Thread-safe; `record` is what has been logged so far."""

    def __init__(self, tracker: Tracker, record: ExperimentRun) -> None:
        self.record = record
        self._tracker = tracker
        self._lock = threading.RLock()
        self._stored_s = time.monotonic()
        self._timer: threading.Timer | None = None

    @property
    def id(self) -> str:
        return self.record.id

    def log_params(self, params: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Keep parameters; what JSON cannot hold is kept as its text. A repeated name replaces the earlier value."""
        given = {**(params or {}), **more}
        self._change(parameters={_checked(name): _plain(value) for name, value in given.items()})

    def log_metric(self, name: str, value: float) -> None:
        """Keep a metric's newest value."""
        self.log_metrics({name: value})

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Keep the newest values of several metrics.

        NaN and infinities are no results to compare runs by: such a value becomes the tag "metric.NAME" and the earlier
        number, if any, stays.
        """
        numbers = {_checked(name): _number(name, value) for name, value in metrics.items()}
        finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
        self._change(metrics=finite, tags={f"metric.{name}": str(value) for name, value in numbers.items() if name not in finite})

    def set_tag(self, name: str, value: str) -> None:
        """Mark the run with a word of one's own."""
        self._change(tags={_checked(name): str(value)})

    def log_artifact(self, name: str | Path, data: bytes | None = None) -> str:
        """Keep bytes, or the file at the path `name` under its file name, and return the digest; stored when this returns."""
        if data is None:
            if not Path(name).is_file():
                raise NotFound(f"there is no file {str(name)!r} to keep as an artifact; give its path, or a name and bytes", path=str(name))
            name, data = Path(name).name, Path(name).read_bytes()
        digest = self._tracker.blobs.put(data)
        batch = Batch()
        batch.link(f"blob:{digest}", [node(self.record)], self._tracker.clock.now_us())
        with self._lock:
            self._change(tags={ARTIFACT_TAG + _checked(str(name)): digest})
            self._store(batch)
        return digest

    def end(self, status: Literal["finished", "failed"]) -> None:
        """Close the run before its block ends; nothing can be logged afterwards."""
        with self._lock:
            self._refuse_ended()
            self.record = msgspec.structs.replace(self.record, status=status, ended_us=self._tracker.clock.now_us())
            self._store(Batch())

    def _change(self, **fields: Mapping[str, Any]) -> None:
        with self._lock:
            self._refuse_ended()
            self.record = msgspec.structs.replace(self.record, **{name: {**getattr(self.record, name), **new} for name, new in fields.items()})
            if self._timer is None:
                self._store_soon()

    def _store_soon(self) -> None:
        """Store now, or leave it to a timer when the last time was a moment ago: also a block that falls silent is stored."""
        wait_s = self._stored_s + self._tracker.flush_s - time.monotonic()
        if wait_s <= 0:
            self._store(Batch())
        else:
            self._timer = threading.Timer(wait_s, self._store_late)
            self._timer.daemon = True
            self._timer.start()

    def _store_late(self) -> None:
        with self._lock:
            if self._timer is not None:
                self._store(Batch())

    def _store(self, batch: Batch) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch.put(self.record)
        self._tracker.metadata.commit(batch)
        self._stored_s = time.monotonic()

    def _refuse_ended(self) -> None:
        if self.record.status != "running":
            raise Refused(f"run {self.id!r} has {self.record.status} and takes no more values; log inside its block", run=self.id)


def _checked(name: object) -> str:
    if not isinstance(name, str) or not name or len(name) > MAX_NAME or not name.isprintable():
        raise InvalidInput(f"{name!r} cannot name a parameter, metric, tag or artifact; use 1-{MAX_NAME} printable characters", name=name)
    return name


def _number(name: str, value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # anything with __float__: numpy scalars, 0-d tensors
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"metric {name!r}: {value!r} is no number ({error})", metric=name) from error


def _plain(value: object) -> Any:
    """A parameter as JSON gives it back: non-finite numbers and foreign types become texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    try:
        return msgspec.json.decode(encode(value))
    except (TypeError, ValueError, OverflowError, RecursionError):
        return str(value)[:MAX_NAME]
