"""Reading events in their order where some may be damaged: those that cannot be read are passed over, as the loop did and told of."""

from collections.abc import Iterator

from rota.errors import Corrupt
from rota.ports.metadata import Metadata
from rota.records.signal import Event

_PAGE = 1_000


def readable(metadata: Metadata, after: int, *, page: int = _PAGE) -> Iterator[Event]:
    """Every event after a position that can be read, oldest first, a page at a time."""
    while True:
        try:
            events = metadata.events(after, limit=page)
        except Corrupt as error:
            if "position" not in error.facts:
                raise
            after = int(str(error.facts["position"]))
            continue
        yield from events
        if not events:
            return
        after = events[-1].position
