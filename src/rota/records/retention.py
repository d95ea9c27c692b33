"""Nouns of retention: what somebody holds for good, and what nobody has claimed yet."""

from rota.records.record import Record
from rota.records.time import Micros


class Hold(Record, frozen=True):
    """Somebody asked that a lineage node and all that it came from or led to be kept, until the hold is lifted."""

    node: str
    at_us: Micros
    reason: str
    held_by: str
    lifted_us: Micros | None = None
    lifted_by: str = ""


class Unclaimed(Record, frozen=True):
    """A table that no record names, since when: that of a build that died, or of one that is about to commit its record."""

    table: str
    since_us: Micros
