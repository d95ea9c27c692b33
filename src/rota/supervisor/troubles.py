"""What the supervisor knows of its own state: said once when it changes, counted while it lasts, written for others to read.

A supervisor has no metadata store. It writes its conditions to HOME/run/supervisor.json, and a worker, which has one, raises the
alerts: `supervisor_conditions` is what it reads.
"""

import logging
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from rota.manage.signals.supervisor_file import FILE
from rota.records.condition import Condition, ConditionStatus

logger = logging.getLogger("rota.supervisor")


@dataclass(slots=True)
class Troubles:
    """The conditions of one supervisor by name; each change of a status is one line of the log, with how often it was seen meanwhile."""

    _conditions: dict[str, Condition] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)
    has_news: bool = True

    def seen(self, name: str, message: str, *, status: ConditionStatus = "degraded", **evidence: Any) -> None:
        """Something is not well. Logged when that is new (other numbers alone are not); its evidence is kept up to date."""
        before = self._conditions.get(name)
        count = self._counts[name] = self._counts.get(name, 0) + 1
        now = Condition(name, status, message, {**evidence, "count": count})
        self._conditions[name] = now
        self.has_news = True
        if before is None or before.status != status or _without_numbers(before.message) != _without_numbers(message):
            logger.warning("%s", message, extra={"action": "condition", "condition": name, "status": status, **evidence})

    def over(self, name: str) -> None:
        """It is well (again)."""
        before = self._conditions.get(name)
        if before is not None and before.status == "well":
            return
        self._conditions[name] = Condition(name, "well")
        count = self._counts.pop(name, 0)
        self.has_news = True
        if before is not None:
            logger.info("well again", extra={"action": "condition", "condition": name, "status": "well", "count": count})

    def conditions(self) -> tuple[Condition, ...]:
        """The conditions as they are now."""
        return tuple(self._conditions[name] for name in sorted(self._conditions))

    def write(self, home: Path) -> None:
        """Let others read them. Raises OSError when the disk does not take it; the last ones that it took stay."""
        file = home / FILE
        file.parent.mkdir(mode=0o700, exist_ok=True)
        temporary = file.with_name("supervisor.json.new")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as written:
            written.write(msgspec.json.encode({"pid": os.getpid(), "conditions": self.conditions()}))
        temporary.replace(file)
        self.has_news = False


def _without_numbers(message: str) -> str:
    return re.sub(r"[0-9.]+(st|nd|rd|th)?", "", message)
