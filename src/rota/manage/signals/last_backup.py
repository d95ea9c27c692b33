"""The last backup as a condition: one that failed or was killed is told of until the next one is complete."""

from rota.ports.clock import Clock
from rota.ports.metadata import Metadata
from rota.records.backup import Backup
from rota.records.condition import Condition
from rota.records.time import iso

NAME = "backup"
_LOOKED_BACK = 20


def conditions(metadata: Metadata, wall: Clock) -> list[Condition]:
    """How the last backup that ended went; one that is being made does not count yet. Nothing where none was ever begun."""
    newest = metadata.page(Backup, {}, order="-began_us", limit=_LOOKED_BACK).items
    last = next((each for each in newest if not each.needs_files(wall.now_us())), None)
    if last is None:
        return []
    if last.state == "complete":
        return [Condition(NAME, "well")]
    why = last.error or "it was killed"
    message = f"the backup of {iso(last.began_us)} to {last.place} failed: {why}; make another with `rota backup make {last.place}`"
    return [Condition(NAME, "degraded", message, {"backup": last.id, "place": last.place, "error": why})]
