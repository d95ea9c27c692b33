"""Logging of Rota's own processes, configured once at their start: lines for people, or JSON lines with ROTA_LOG=json."""

import io
import json
import logging
import os
import queue
import select
import sys
import threading
from datetime import UTC, datetime

from rota.cli.home import LOG
from rota.errors import InvalidInput

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


class Lines(logging.Formatter):
    """`12:00:00 server WARNING child died  child=worker-0 exit=-9`."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self.process = process

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        facts = "".join(f" {name}={value}" for name, value in extra(record).items() if name != "action")
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return f"{at} {self.process} {record.levelname} {record.getMessage()}{' ' if facts else ''}{facts}{trace}"


class JsonLines(logging.Formatter):
    """One JSON object a line: time, process, logger, level, message and every extra field."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self.process = process

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "process": self.process,
            "logger": record.name,
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields | extra(record), default=str)


class PatientHandler(logging.Handler):
    """Writes to a file descriptor and never waits for whoever reads it: a pipe that nobody empties, or a full disk, must not stop a process.

    A line is written at once where that is possible. Otherwise a thread waits in its place; what is more than `most` waiting lines,
    or could not be written, is counted, and the count is written as soon as a line goes through again.
    """

    def __init__(self, fd: int, *, most: int = 10_000) -> None:
        super().__init__()
        self._fd, self._most = fd, most
        self._waiting: queue.Queue[bytes] = queue.Queue()
        self._writer: threading.Thread | None = None
        self.dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = f"{self.format(record)}\n".encode(errors="replace")
        except (TypeError, ValueError, KeyError):  # a record that cannot be formatted is the fault of who logs it
            self.handleError(record)
            return
        if self._waiting.unfinished_tasks >= self._most:
            self.dropped += 1
        elif not self._waiting.unfinished_tasks and self._takes(line):
            self._write(line)
        else:
            self._waiting.put(line)
            self._let_somebody_wait()

    def flush(self) -> None:
        """Give waiting lines a second."""
        with self._waiting.all_tasks_done:
            self._waiting.all_tasks_done.wait_for(lambda: not self._waiting.unfinished_tasks, 1.0)

    def _takes(self, line: bytes) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        return len(line) <= select.PIPE_BUF and bool(poll.poll(0))

    def _write(self, line: bytes) -> None:
        dropped = self.dropped
        told = f"{dropped} lines of this log were dropped: nobody read it, or the disk was full\n".encode() if dropped else b""
        left = told + line
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError:
            self.dropped += 1
        else:
            self.dropped -= dropped

    def _let_somebody_wait(self) -> None:
        if self._writer is None or not self._writer.is_alive():
            self._writer = threading.Thread(target=self._write_waiting, name="log", daemon=True)
            self._writer.start()

    def _write_waiting(self) -> None:
        while True:
            line = self._waiting.get()
            self._write(line)
            self._waiting.task_done()


def extra(record: logging.LogRecord) -> dict[str, object]:
    """What the caller gave as `extra`."""
    return {name: value for name, value in vars(record).items() if name not in _OWN}


def configure(process: str) -> None:
    """Write Rota's log records from INFO, and other libraries' from WARNING, to stderr."""
    chosen = os.environ.get(LOG, "text")
    if chosen not in ("text", "json"):
        raise InvalidInput(f"{LOG}={chosen!r}: write json for JSON lines, or text", value=chosen)
    handler = _handler()
    handler.setFormatter(JsonLines(process) if chosen == "json" else Lines(process))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("rota").setLevel(logging.INFO)


def _handler() -> logging.Handler:
    """To stderr; one that is no file (of a test, of a notebook) takes lines as it does, a closed one takes none."""
    if sys.stderr is None:
        return logging.NullHandler()
    try:
        return PatientHandler(sys.stderr.fileno())
    except (OSError, io.UnsupportedOperation, AttributeError):
        return logging.StreamHandler(sys.stderr)
