"""Arrivals: the event `data.arrived`, told once for the rows that reached a source's offline table, whoever brought them."""

from rota.errors import Conflict
from rota.ports.metadata import Batch, Metadata
from rota.records.signal import Cursor, Event
from rota.records.time import Micros


def arrived(metadata: Metadata, source: str, rows: int, *, writer: str, upto: int, now_us: Micros) -> bool:
    """Tell that `writer` has brought `rows` rows of a source, up to its own growing number `upto`; False when that was told before.

    Call it after the rows are durable, and again before the writer's next rows: the event and the cursor that remembers it
    are stored together, so a process that was killed in between, or two that finish the same work, tell it once.
    """
    name = f"arrived/{source}/{writer}"
    while True:
        told = metadata.get(Cursor, name)
        if told is not None and told.position >= upto:
            return False
        batch = Batch()
        batch.put(Cursor(name, upto), replacing=told)
        if rows:
            batch.event(Event("data.arrived", source, now_us, {"rows": rows}))
        try:
            metadata.commit(batch)
        except Conflict:
            continue
        return rows > 0
