"""How far the history of a view is online: what an answer says of values that are not whole."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from rota.records.time import Micros

HistoryState = Literal["online", "empty", "not online", "behind"]


@dataclass(frozen=True, slots=True)
class ViewHistory:
    """How far the history of one view is online.

    "online": everything that was ingested is there. "empty": its source never had a row. "not online": nothing of what was ingested is
    there; values are null, or made of what was pushed since. "behind": the newest `waiting` rows that were ingested (0: rows dated
    ahead that have come due) are not there (`due_us`: when the first of the latter did); values are right without them.
    """

    view: str
    source: str
    state: HistoryState
    waiting: int = 0
    due_us: Micros | None = None
    reason: str = ""
    """Why what is there cannot be the history's, where the online store was emptied, set back, exchanged, or gave up rows."""

    @property
    def is_whole(self) -> bool:
        """Whether values are those of the history."""
        return self.state in ("online", "empty")

    @property
    def problem(self) -> str:
        """What is missing and what to do, in one sentence; "" when nothing is."""
        if self.reason:
            return f"view {self.view!r} is not online: {self.reason}; a worker brings it online anew, or: rota features materialize {self.view}"
        rows = f"{self.waiting} rows of source {self.source!r} wait" if self.waiting else f"rows of source {self.source!r} wait"
        if self.state == "not online":
            return f"the history of view {self.view!r} is not online ({rows}): rota features materialize {self.view}"
        if self.state == "behind":
            return f"view {self.view!r} is behind its history ({rows}): rota features materialize {self.view} --incremental"
        return ""


Histories = Mapping[bytes, ViewHistory]
"""Views whose history is not whole online, by the first bytes of their keys."""


def all_whole() -> Histories:
    """What a reader is told that nobody looks for."""
    return {}


HistoryLookup = Callable[[], Histories]
"""Asked at each read: cheap, and never blocks."""
