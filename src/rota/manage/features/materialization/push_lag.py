"""How far pushed rows of each source are behind: bytes of the journal that are not in the table yet, or not online."""

from dataclasses import dataclass

from rota.manage.features.materialization.push_stream import PushStream, Stores
from rota.records.data import Source


@dataclass(frozen=True, slots=True)
class PushLag:
    """Bytes of one source's journal that are in no table, and that are not online."""

    table_bytes: int
    online_bytes: int


def lags(stores: Stores) -> dict[str, PushLag]:
    """The lag of each source that has rows in the journal; reads positions only, and changes nothing."""
    streams = set(stores.journal.streams())
    found = {}
    for source in stores.metadata.find(Source):
        stream = PushStream(stores, source)
        if stream.name not in streams:
            continue
        sizes, ends = stores.journal.segments(stream.name), stream.ends()
        table = sum(max(0, size - stream.carried(segment)) for segment, size in sizes.items())
        found[source.name] = PushLag(table, sum(max(0, size - ends.get(segment, 0)) for segment, size in sizes.items()))
    return found
