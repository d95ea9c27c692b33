"""One ingestion into one source: chunks are claimed, stored once and counted, and the ingestion is closed.

What a chunk will add to the counts (and to a watermark) is claimed in metadata first, under the next number; then its rejects
and its rows are appended under that number, which each table takes once. A process that is killed anywhere leaves a claim
that the next one finds: it stores that very chunk again if the table does not have it, and goes on behind it. Two processes
that ingest at once take turns chunk by chunk: whose claim comes late looks again.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec
import polars as pl

from rota.errors import RotaError
from rota.manage.features.ingestion import contracts, ingestion_log, new_rows, null_keys, quarantine, watermarks
from rota.manage.features.rows import source_table
from rota.manage.features.rows.source_table import CREATED, RECEIVED
from rota.manage.signals.exactly_once import tidy
from rota.ports.clock import Clock
from rota.ports.inputs import InputFile, Inputs
from rota.ports.journal import Journal
from rota.ports.metadata import Batch, Metadata, transact
from rota.ports.tables import Tables
from rota.records import early_times
from rota.records.data import Source
from rota.records.intake import Counts, Ingestion, Intake, Rejection, SeenFile

_log = logging.getLogger("rota.manage")
_TRIES = 1_000
_SHOWN = 100


@dataclass(frozen=True, slots=True)
class IngestionStores:
    """Where ingestion reads from and writes to."""

    metadata: Metadata
    tables: Tables
    journal: Journal
    clock: Clock
    inputs: Inputs | None


@dataclass(frozen=True, slots=True)
class PreparedChunk:
    """A chunk ready to be stored: new rows with the table's columns, rejected rows, and what it adds to the counts."""

    rows: pl.DataFrame
    rejections: list[Rejection]
    counts: Counts


@dataclass(frozen=True, slots=True)
class FileClaim:
    """That a file has a content, and what was known of it before: noted with the content's first chunk, so that no other process
    that saw the file at another size begins another content of it."""

    now: SeenFile
    before: SeenFile | None


@dataclass(slots=True)
class IngestionRun:
    """One ingestion: where it stands, what it skipped because it was known already, the first rejections and the notices for people,
    and the files that could not be taken."""

    stores: IngestionStores
    source: Source
    actor: str
    rejections: list[Rejection] = field(default_factory=list)
    skipped: Counts = field(default_factory=Counts)
    skipped_files: int = 0
    origins: list[str] = field(default_factory=list)
    early: dict[str, str] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    failures: list[tuple[str, RotaError]] = field(default_factory=list)
    stored: int = 0
    keys: list[tuple[str, ...]] = field(default_factory=list)
    contents: list[Intake] | None = None

    def __post_init__(self) -> None:
        watermarks.check(self.source)
        ingestion_log.announce(self.stores.metadata, self.source.name)
        self.keys = null_keys.keys(self.stores.metadata, self.source)

    def intake(self, writer: str, origin: str) -> tuple[Intake, bool]:
        """How far an input was ingested, and whether its claimed chunk has to be stored still."""
        intake, stored = ingestion_log.intake(self.stores.metadata, self.source.name, writer, origin)
        if intake.settled:
            return intake, False
        landed = self.stores.tables.sequence(source_table.table(self.source), writer) >= intake.number
        return stored or intake, not landed

    def prepare(self, origin: str, rows: pl.DataFrame, rejections: list[Rejection], rows_in: int, positions: pl.Series | None) -> PreparedChunk:
        """The rows that are to be stored, as the table wants them. `positions` are their row numbers in the input, if it has any."""
        if contracts.refuses(self.source):  # what was looked at before may have changed since
            self.refuse_broken(origin, rejections, rows, positions)
        keyed, places, keyless = null_keys.split(self.source, self.keys, rows, origin, positions)
        kept, broken = contracts.split(self.source, keyed, origin, places)
        broken = keyless + broken
        dated = new_rows.dated(self.source, kept, self.stores.clock.now_us())
        new = new_rows.unknown(self.stores.tables, self.source, dated, by_watermark=positions is None)
        rejected = rejections + broken
        received = pl.lit(self.stores.clock.now_us(), dtype=pl.Int64).alias(RECEIVED)
        return PreparedChunk(
            new.select(*self.source.fields, CREATED, received), rejected, Counts(rows_in, new.height, kept.height - new.height, len(rejected))
        )

    def refuse_broken(self, origin: str, rejections: list[Rejection], rows: pl.DataFrame, positions: pl.Series | None) -> None:
        """Raise `Refused`, and record it, if one of the rows breaks a contract that refuses."""
        broken = rejections[:1] or contracts.split(self.source, rows, origin, positions)[1][:1]
        if not broken:
            return
        error = contracts.refusal(self.source, origin, broken[0].row, broken[0].reason)
        record = Ingestion(self.source.name, 0, at_us=self.stores.clock.now_us(), actor=self.actor, origin=origin, reason=str(error))
        ingestion_log.refuse(self.stores.metadata, msgspec.structs.replace(record, rejected=1, rejections=tuple(broken)))
        raise error

    def store(self, intake: Intake, chunk: PreparedChunk, until: int | None = None, *, digest: str = "", claim: FileClaim | None = None) -> Intake:
        """Claim the next chunk of an input and store it; `Conflict` when another process claimed one meanwhile."""
        claimed = msgspec.structs.replace(
            intake,
            number=intake.number + 1,
            counts=intake.counts + chunk.counts,
            counts_before=intake.counts,
            before=intake.until,
            until=until,
            digest=digest,
            settled=False,
            done=False,
        )
        batch = Batch()
        batch.put(claimed, replacing=stored_form(intake))
        if claim is not None:
            batch.put(claim.now, replacing=claim.before)
        self.stores.metadata.commit(batch)
        self.append(claimed, chunk)
        self.stored += chunk.rows.height
        return claimed

    def append(self, intake: Intake, chunk: PreparedChunk) -> None:
        """Store a claimed chunk; done twice, it is there once."""
        tables, batch = self.stores.tables, (intake.writer, intake.number)
        room = max(0, quarantine.MOST - intake.counts_before.rejected)
        quarantine.append(tables, self.source.name, chunk.rejections[:room], at_us=self.stores.clock.now_us(), batch=batch)
        if chunk.rows.height:
            name = source_table.table(self.source)
            tidy(tables, name, tables.append(name, chunk.rows, batch=batch))
        self.rejections += chunk.rejections[: max(0, _SHOWN - len(self.rejections))]

    def notice_early(self, notices: Mapping[str, str]) -> None:
        """Keep what is to be said of a field whose times look like seconds, once; nothing on a platform whose clock stands there itself."""
        if self.stores.clock.now_us() >= early_times.EARLY_US:
            self.early = {**notices, **self.early}

    def settle(self, intake: Intake, ended: Intake | None = None, *, file: InputFile | None = None, whole: bool) -> None:
        """Count an input into the running ingestion, in one step with marking it as counted.

        `whole`: it was a content that is done now, and stands as in `ended`; else an input that is read on from its watermark.
        """
        metadata, now_us = self.stores.metadata, self.stores.clock.now_us()
        running, before = ingestion_log.running(metadata, self.source.name, self.actor, intake.origin, now_us)
        batch, watermark = Batch(), None if whole else intake.until
        new = intake.counts - intake.reported
        batch.put(ingestion_log.counted(running, new, files=int(whole), watermark=watermark), replacing=before)
        if whole:
            self._finish(batch, intake, ended or intake, file)
        else:  # its counts are reported, the next ones begin at zero
            settled = msgspec.structs.replace(intake, settled=True, counts=Counts(), counts_before=Counts(), before=intake.until)
            batch.put(settled, replacing=stored_form(intake))
        metadata.commit(batch)

    def remember(self, intake: Intake, ended: Intake, file: InputFile | None) -> None:
        """Note how a content stands that has nothing new, and under which name it lies."""
        batch = Batch()
        self._finish(batch, intake, ended, file)
        self.stores.metadata.commit(batch)

    def _finish(self, batch: Batch, intake: Intake, ended: Intake, file: InputFile | None) -> None:
        """Mark a content as taken to its end, under the name of its file and under the digest of what the file has become."""
        batch.put(msgspec.structs.replace(ended, settled=True, done=True, reported=intake.counts), replacing=stored_form(intake))
        if file is not None:
            batch.put(SeenFile(self.source.name, file.name, file.stamp, intake.writer))
        if ended.content != intake.content:
            for content in (intake.content, ended.content):
                if not content or content in intake.writer:
                    continue
                alias = SeenFile(self.source.name, f"sha256:{content}", "", intake.writer)
                if content == ended.content:
                    batch.put(alias)
                elif self.stores.metadata.get(SeenFile, self.source.name, alias.file) == alias:  # another file may have become the same meanwhile
                    batch.remove(alias)

    def skip(self, intake: Intake) -> None:
        """Count a content that was ingested before."""
        counts = intake.counts
        self.skipped += Counts(counts.rows_in, 0, counts.rows_out + counts.known, counts.rejected)
        self.skipped_files += 1

    def close(self) -> Ingestion:
        """End the ingestion; the record that it returns counts what was skipped too."""
        stores, name = self.stores, self.source.name
        stale = self._stale()
        done = ingestion_log.close(
            stores.metadata, name, version=stores.tables.version(source_table.table(self.source)), stale=stale, notices=self._notices()
        )
        origin = ", ".join(self.origins[:3]) + (", ..." if len(self.origins) > 3 else "")
        done = done or Ingestion(name, 0, at_us=stores.clock.now_us(), actor=self.actor, origin=origin, stale=stale)
        _log.info("rows ingested", extra={"action": "ingest", "source": name, "rows": done.rows_out, "rejected": done.rejected})
        if stale:
            _log.warning("source is stale", extra={"action": "stale", "source": name})
        for notice in self._notices():
            _log.warning("%s", notice, extra={"action": "ingest", "source": name})
        counted = ingestion_log.counted(done, self.skipped, files=self.skipped_files, watermark=None)
        return msgspec.structs.replace(counted, rejections=tuple(self.rejections[:_SHOWN]), notices=tuple(self._notices()))

    def _notices(self) -> list[str]:
        """What there is to say of files and early times, each once and not of thousands of them."""
        found = list(dict.fromkeys([*self.notices, *self.early.values()]))
        more = [f"... and {len(found) - _SHOWN} notices more"] if len(found) > _SHOWN else []
        return found[:_SHOWN] + more

    def _stale(self) -> str:
        contract = self.source.contract
        if contract is None or contract.freshness is None:
            return ""
        return contracts.staleness(self.source, new_rows.newest(self.stores.tables, self.source), self.stores.clock.now_us())


def retried(step: Callable[[], None]) -> None:
    """Repeat a step while another process's claim comes first; each conflict is a step that the other one made."""
    transact(step, attempts=_TRIES, busy="other processes keep ingesting the same input; wait for them to finish")


def stored_form(intake: Intake) -> Intake | None:
    """What the store must hold for the next step: the intake as it is in hand, nothing before its first chunk."""
    return intake if intake.number or intake.done else None
