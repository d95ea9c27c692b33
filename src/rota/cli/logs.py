"""Logging of Rota's own processes, configured once at their start: lines for people, or JSON lines with ROTA_LOG=json."""

import json
import logging
import os
import sys
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


def extra(record: logging.LogRecord) -> dict[str, object]:
    """What the caller gave as `extra`."""
    return {name: value for name, value in vars(record).items() if name not in _OWN}


def configure(process: str) -> None:
    """Write Rota's log records from INFO, and other libraries' from WARNING, to stderr."""
    chosen = os.environ.get(LOG, "text")
    if chosen not in ("text", "json"):
        raise InvalidInput(f"{LOG}={chosen!r}: write json for JSON lines, or text", value=chosen)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(process) if chosen == "json" else Lines(process))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("rota").setLevel(logging.INFO)
