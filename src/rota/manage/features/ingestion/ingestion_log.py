"""Records of ingestions: finished ones, the running one, and how far each input was ingested."""

from collections.abc import Sequence

import msgspec

from rota.manage.signals.exactly_once import arrived
from rota.ports.metadata import Batch, Metadata, transact
from rota.records.intake import Counts, Ingestion, Intake
from rota.records.time import Micros

_WRITER = "ingest"
_PAGE = 100


def history(metadata: Metadata, source: str, *, limit: int = 100) -> list[Ingestion]:
    """Ingestions of a source, the newest first."""
    return metadata.page(Ingestion, {"source": source}, order="-number", limit=limit).items


def intake(metadata: Metadata, source: str, writer: str, origin: str) -> tuple[Intake, Intake | None]:
    """How far an input was ingested, and the stored record of that (None: the input is new)."""
    stored = metadata.get(Intake, source, writer)
    return stored or Intake(source, writer, origin), stored


def running(metadata: Metadata, source: str, actor: str, origin: str, now_us: Micros) -> tuple[Ingestion, Ingestion | None]:
    """The ingestion that counts what is stored now: one that was cut off, or a new one; and its stored record."""
    found = metadata.page(Ingestion, {"source": source, "status": "running"}, limit=1).items
    if found:
        return found[0], found[0]
    return Ingestion(source, _next_number(metadata, source), "running", at_us=now_us, actor=actor, origin=origin), None


def counted(ingestion: Ingestion, counts: Counts, *, files: int, watermark: int | None) -> Ingestion:
    """The ingestion with one more input."""
    return msgspec.structs.replace(
        ingestion,
        files=ingestion.files + files,
        rows_in=ingestion.rows_in + counts.rows_in,
        rows_out=ingestion.rows_out + counts.rows_out,
        known=ingestion.known + counts.known,
        rejected=ingestion.rejected + counts.rejected,
        watermark=ingestion.watermark if watermark is None else watermark,
    )


def close(metadata: Metadata, source: str, *, version: int | None, stale: str, notices: Sequence[str] = ()) -> Ingestion | None:
    """End the running ingestion of a source, if there is one, and announce that rows have arrived."""

    def end() -> Ingestion | None:
        running = metadata.page(Ingestion, {"source": source, "status": "running"}, limit=1).items
        if not running:
            return None
        batch, ended = Batch(), msgspec.structs.replace(running[0], status="done", version=version, stale=stale, notices=tuple(notices))
        batch.put(ended, replacing=running[0])
        metadata.commit(batch)
        return ended

    closed = transact(end, busy=f"other processes keep ingesting into source {source!r}; try again")
    if closed is not None:
        announce(metadata, source)
    return closed


def rows_since(metadata: Metadata, source: str, version: int) -> int:
    """Rows that finished ingestions brought after a version of the source's table (-1: at all): 0 only when there are none.

    Of very many ingestions the rows of the newest hundred that brought any.
    """
    rows, after = 0, ""
    while True:
        page = metadata.page(Ingestion, {"source": source, "status": "done"}, order="-number", after=after, limit=_PAGE)
        for each in page.items:
            if each.version is not None and each.version <= version:
                return rows
            rows += each.rows_out if (each.version or 0) > version else 0
        if rows or not page.next:
            return rows
        after = page.next


def newest_version(metadata: Metadata, source: str) -> int | None:
    """The version of the source's table that the newest ingestion that brought rows left; None when there is none."""
    after = ""
    while True:
        page = metadata.page(Ingestion, {"source": source, "status": "done"}, order="-number", after=after, limit=_PAGE)
        for each in page.items:
            if each.rows_out and each.version is not None:
                return each.version
        if not page.next:
            return None
        after = page.next


def announce(metadata: Metadata, source: str) -> None:
    """Announce the newest finished ingestion by the event `data.arrived`, unless that was done; call it again before the next one."""
    done = metadata.page(Ingestion, {"source": source, "status": "done"}, order="-number", limit=1).items
    if done:
        arrived(metadata, source, done[0].rows_out, writer=_WRITER, upto=done[0].number, now_us=done[0].at_us)


def refuse(metadata: Metadata, refused: Ingestion) -> Ingestion:
    """Store that an ingestion or a push was refused, under the next number."""

    def store() -> Ingestion:
        numbered = msgspec.structs.replace(refused, number=_next_number(metadata, refused.source), status="refused")
        batch = Batch()
        batch.create(numbered)
        metadata.commit(batch)
        return numbered

    return transact(store, busy=f"other processes keep ingesting into source {refused.source!r}; try again")


def _next_number(metadata: Metadata, source: str) -> int:
    newest = history(metadata, source, limit=1)
    return newest[0].number + 1 if newest else 1
