"""Which model version each thread of a process is calling: marks in a mapped file, which outlive whatever ends the process.

Before each call a thread writes into its slot of HOME/run/<process>.calling which version it calls and since when; no system call is made.
A fatal signal leaves the thread it came in, in HOME/run/<process>.crash (`faulthandler`). The successor of a process reads both: the version
that this thread was calling ended the process. A watch compares the marks with the time and ends a process in which a call goes on for ever,
since no thread of it can be stopped. Each such end is a line of HOME/run/model_ends.jsonl, which all prediction processes of the home read.
A process that was killed from outside (kill -9, out of memory) blames nobody.
"""

import faulthandler
import logging
import mmap
import os
import re
import signal
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import msgspec
import numpy as np

from rota.manage.models.loading import LoadedModel
from rota.ports.models import Predictor
from rota.records.release import OutOfService, Route
from rota.records.time import Micros
from rota.serve.model_ends import ENDS, HEAD, NAMES, SIZE, Called, ModelEnd, append, calls_in, decoded

log = logging.getLogger("rota.serve")
EXIT_HUNG = 86
"""Exit code of a process that ended itself because a model's call did not end."""
FINISH_S = 4.0
"""How long a process that ends itself goes on answering what does not wait for the hung call."""
LOOK_S = 1.0
IDLE_LOOKS = 6
"""How often it is looked whether a call is under way, within the time after which one counts as endless."""
_SLOTS = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """After how many ends within which time a version is out of service, and after how long a call counts as endless."""

    ends: int = 2
    within_us: Micros = 600_000_000
    hung_s: float = 60.0


def _end_process() -> None:
    """Stop taking requests and answer those under way, then end whatever hangs."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(FINISH_S)
    os._exit(EXIT_HUNG)


@dataclass
class CallMarks:
    """The marks of one process, and the ends that it and its siblings told of. Thread-safe."""

    folder: Path
    process: str
    now_us: Callable[[], Micros]
    limits: Limits = field(default_factory=Limits)
    end_process: Callable[[], None] = _end_process

    def __post_init__(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file, self._crash = self.folder / f"{self.process}.calling", self.folder / f"{self.process}.crash"
        self._ends = self.folder / ENDS
        self._slots = threading.local()
        self._free = list(range(_SLOTS))
        self._seen: tuple[int, int] = (0, 0)
        self._read: tuple[ModelEnd, ...] = ()
        self._stop = threading.Event()
        self._blame_predecessor()
        self._map = _mapped(self._file)
        self._made = {self._file: self._file.stat().st_ino} if self._file.exists() else {}

    def start(self) -> None:
        """From now on a fatal signal is noted, and calls that do not end are seen."""
        self._crash.unlink(missing_ok=True)
        self._crash_file = self._crash.open("x")
        self._made[self._crash] = self._crash.stat().st_ino
        faulthandler.enable(self._crash_file)  # names the thread only when it writes all
        threading.Thread(target=self._watch, name="rota-calls", daemon=True).start()

    def close(self) -> None:
        """The process ends as it was told to."""
        self._stop.set()
        for path, made in self._made.items():
            with suppress(FileNotFoundError):  # a successor's file of the same name is left to it
                if path.stat().st_ino == made:
                    path.unlink()

    @contextmanager
    def calling(self, route: Route, endpoint: str) -> Iterator[None]:
        """Mark that this thread is in a version's code, for example while it is loaded."""
        slot, names = self._slot(), _names(route, endpoint)
        self._set(slot, names)
        try:
            yield
        finally:
            self._map[slot : slot + 8] = _NONE

    def marked(self, model: LoadedModel, route: Route, endpoint: str) -> LoadedModel:
        """The model with every call marked."""
        return replace(model, predictor=_MarkedPredictor(model.predictor, self, _names(route, endpoint)))

    def out_of_service(self, returned: Mapping[str, Micros] = MappingProxyType({})) -> Mapping[str, OutOfService]:
        """The versions that ended a process too often, by bundle, with their last end; read anew when a sibling wrote.

        Ends up to the moment in `returned` (by bundle) do not count: the version was returned to service then.
        """
        with suppress(FileNotFoundError):
            now = self._ends.stat()
            if (now.st_mtime_ns, now.st_size) != self._seen:
                self._read = tuple(decoded(self._ends.read_bytes()))
                self._seen = (now.st_mtime_ns, now.st_size)
        counted = [end for end in self._read if end.at_us > returned.get(end.bundle, -1)]
        return {bundle: _as_record(end) for bundle, end in barred(counted, self.limits).items()} if counted else {}

    def _slot(self) -> int:
        try:
            found: int = self._slots.at
        except AttributeError:
            ident = threading.get_ident()
            found = self._slots.at = (self._free.pop() if self._free else 0) * SIZE
            self._slots.owner = _Returned(self._free, found // SIZE)
            HEAD.pack_into(self._map, found, 0, ident)
        return found

    def _set(self, slot: int, names: bytes) -> None:
        self._map[slot + 16 : slot + 16 + NAMES] = names
        _SINCE.pack_into(self._map, slot, time.monotonic_ns())

    def _blame_predecessor(self) -> None:
        """The version that the thread was calling in which a fatal signal came ended the process before this one."""
        with suppress(FileNotFoundError):
            told = self._crash.read_text(errors="replace")
            signalled = re.search(r"Fatal Python error: ([^\n]*)", told)
            if not signalled:
                return
            thread = re.search(r"Current thread 0x([0-9a-f]+)", told)
            calls = list(calls_in(self._file.read_bytes()))
            blamed = [called for called, ident, _ in calls if thread and ident == int(thread[1], 16)]
            if not thread and len(calls) == 1:  # a thread of a library's own, in the only call that there was
                blamed = [calls[0][0]]
            for called in blamed:
                self._note(called, signalled[1])

    def _note(self, called: Called, cause: str) -> None:
        end = ModelEnd(called.bundle, called.model, called.number, called.endpoint, self.process, cause, self.now_us())
        log.error(
            "version %d of model %s ended prediction process %s (%s)",
            called.number, called.model, self.process, cause,
            extra={"action": "model_end", "model": called.model, "version": called.number, "endpoint": called.endpoint},
        )  # fmt: skip
        append(self._ends, end)

    def _watch(self) -> None:
        """Time counts only while this process runs: what was stopped, or slept with the machine, does not hang."""
        spent: dict[tuple[int, int], float] = {}
        before, wait_s = time.monotonic(), LOOK_S
        while not self._stop.wait(wait_s):
            now = time.monotonic()
            ran, before = min(now - before, 2 * wait_s), now
            active = list(calls_in(self._map[:]))
            spent = {(ident, since): spent.get((ident, since), 0.0) + min(ran, now - since / 1e9) for _, ident, since in active}
            wait_s = LOOK_S if active else max(LOOK_S, self.limits.hung_s / IDLE_LOOKS)
            hung = [(called, spent[ident, since]) for called, ident, since in active if spent[ident, since] > self.limits.hung_s]
            if hung:
                self._note(max(hung, key=lambda each: each[1])[0], "hung")
                self.end_process()
                return


@dataclass(frozen=True, slots=True)
class _MarkedPredictor:
    """A predictor whose calls are marked; written out, because it is on the path of every prediction."""

    predictor: Predictor
    marks: CallMarks
    names: bytes

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        marks = self.marks
        slot = marks._slot()  # noqa: SLF001 - one thing in two classes
        marks._set(slot, self.names)  # noqa: SLF001
        try:
            return self.predictor.predict(matrix)
        finally:
            marks._map[slot : slot + 8] = _NONE  # noqa: SLF001


class _Returned:
    """Gives a thread's slot back when the thread is gone."""

    def __init__(self, free: list[int], slot: int) -> None:
        self._free, self._slot = free, slot

    def __del__(self) -> None:
        self._free.append(self._slot)


_SINCE = struct.Struct("<Q")
_NONE = bytes(8)


def barred(ends: Sequence[ModelEnd], limits: Limits) -> dict[str, ModelEnd]:
    """The versions that ended a process `limits.ends` times within `limits.within_us`, with their last end. For good: nothing mends a version."""
    by_bundle: dict[str, list[ModelEnd]] = defaultdict(list)
    for end in ends:
        by_bundle[end.bundle].append(end)
    found = {}
    for bundle, own in by_bundle.items():
        times = sorted(end.at_us for end in own)
        if any(later - first <= limits.within_us for first, later in zip(times, times[limits.ends - 1 :], strict=False)):
            found[bundle] = own[-1]
    return found


def _as_record(end: ModelEnd) -> OutOfService:
    return OutOfService(end.bundle, end.model, end.number, end.endpoint, end.process, end.cause, end.at_us)


def _names(route: Route, endpoint: str) -> bytes:
    text = msgspec.json.encode(Called(route.bundle, route.model, route.number, endpoint))
    return (text if len(text) <= NAMES else b"").ljust(NAMES, b"\0")


def _mapped(file: Path) -> mmap.mmap:
    """A mapped file whose blocks exist: a full disk must not end the process when a mark is written. Without room marks live in memory alone."""
    try:
        file.unlink(missing_ok=True)  # a predecessor that is still leaving has the file mapped: cut short under it, its next mark would end it
        with file.open("x+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, _SLOTS * SIZE)
            return mmap.mmap(opened.fileno(), _SLOTS * SIZE)
    except OSError as error:
        log.warning("a crash will not tell which model made it: %s cannot be made (%s)", file, error.strerror, extra={"action": "marks"})
        return mmap.mmap(-1, _SLOTS * SIZE)
