"""Ingestion: rows of files, tables, databases and outcomes into a source's offline table, each row once.

An input is taken a chunk at a time. What a chunk will add to the counts (and to a database's watermark) is claimed in
metadata first, under the next number; then its rejects and its rows are appended under that number, which each table takes once. A
process that is killed anywhere leaves a claim that the next one finds: it does that very chunk again if the table does not
have it, and goes on behind it. Two ingesters at once take turns chunk by chunk: whose claim comes late looks again.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from rota.errors import Conflict, InvalidInput, NotFound
from rota.manage.features.ingestion import contracts, ingestion_log, quarantine, watermarks
from rota.manage.features.ingestion.watermarks import Origin, Pulled
from rota.manage.features.rows import coercion as rows
from rota.manage.features.rows import column_conversion, source_table, table_adapters
from rota.manage.features.rows import file_readers as files
from rota.manage.features.rows.column_conversion import Raw, Typed
from rota.manage.features.rows.source_table import CREATED
from rota.manage.signals.exactly_once import tidy
from rota.ports.clock import Clock
from rota.ports.inputs import InputFile, Inputs
from rota.ports.journal import Journal
from rota.ports.metadata import Batch, Metadata
from rota.ports.tables import Tables
from rota.records.data import Source
from rota.records.intake import Counts, Ingestion, Intake, Rejection, SeenFile
from rota.records.time import Micros, micros

_log = logging.getLogger("rota.manage")
_TRIES = 1_000
_SHOWN = 100
_PLACE = "_place"


@dataclass(frozen=True, slots=True)
class Ingester:
    """What ingestion works on."""

    metadata: Metadata
    tables: Tables
    journal: Journal
    clock: Clock
    inputs: Inputs | None


def ingest(place: Ingester, source: Source, path: str | Path | None = None, *, actor: str = "owner") -> Ingestion:
    """Take in what is new of a source: its files, its database, its endpoint's outcomes, or the files of another path or glob.

    A file is taken once by its content; a database's row once by its watermark and its values; with an id field a row is
    taken once by its values, and a changed row is a correction. A contract that refuses raises `Refused` with nothing stored.
    """
    taking = _Taking(place, source, actor)
    pattern = str(path) if path is not None else None if watermarks.is_outcomes(source) else source.path
    if pattern is None and source.path is None and source.url is None:
        raise InvalidInput(f"source {source.name!r} has no path and no url; give a path to ingest from", source=source.name)
    if pattern is not None:
        taking.files(_inputs(place, source), _inputs(place, source).files.find(pattern))
    if path is None and source.url is not None:
        taking.pulled(watermarks.database(_inputs(place, source).databases, source))
    if path is None and watermarks.is_outcomes(source):
        taking.pulled(watermarks.outcomes(place.tables, place.journal, source))
    return taking.finished()


def ingest_table(place: Ingester, source: Source, table: Any, *, actor: str = "owner") -> Ingestion:
    """Take in a table: polars, pandas, anything that speaks Arrow's C stream interface, or a list of dicts; each content once."""
    found = table_adapters.columns(table, what=f"the table for source {source.name!r}")
    found = found.select([name for name in found.columns if name in source.fields])
    name = f"table of {found.height} rows"
    taking = _Taking(place, source, actor)
    taking.contents([_Content(f"ingest/{_digest(found)}", name, lambda: _slices(source, found, name))])
    return taking.finished()


def refresh(place: Ingester, source: Source) -> Ingestion | None:
    """Take in what is new of a source that is asked for its rows; None for one that has nothing to ask. Files that are not here are not missed."""
    if source.path is None and source.url is None:
        return None
    try:
        return ingest(place, source, actor="refresh")
    except NotFound:
        if source.url is not None or watermarks.is_outcomes(source):
            raise
        return None


@dataclass(frozen=True, slots=True)
class _Content:
    """A content that is read from its beginning, and the file it lay in."""

    writer: str
    shown: str
    chunks: Callable[[], Iterator[Raw]]
    file: InputFile | None = None


@dataclass(slots=True)
class _Prepared:
    """A chunk ready to be stored."""

    rows: pl.DataFrame
    rejections: list[Rejection]
    counts: Counts


@dataclass(slots=True)
class _Taking:
    """One ingestion into one source: what it took, what it passed over."""

    place: Ingester
    source: Source
    actor: str
    rejections: list[Rejection] = field(default_factory=list)
    passed: Counts = field(default_factory=Counts)
    passed_files: int = 0
    looked_at: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        watermarks.check(self.source)
        ingestion_log.tell(self.place.metadata, self.source.name)

    def files(self, inputs: Inputs, found: Iterable[InputFile]) -> None:
        """Files one after the other; each is on local disk only while it is read."""
        new = [file for file in found if not self._seen(file)]
        if contracts.refuses(self.source):
            for file in new:
                with inputs.files.fetch(file) as path:
                    self._refuse_unless_kept(self._of_file(file, path))
        for file in new:
            with inputs.files.fetch(file) as path:
                self._take(self._of_file(file, path))

    def contents(self, contents: Iterable[_Content]) -> None:
        for content in contents:
            if contracts.refuses(self.source):
                self._refuse_unless_kept(content)
            self._take(content)

    def pulled(self, origin: Origin) -> None:
        """What is new of an input that is asked by its mark."""
        self.looked_at.append(origin.shown)
        if contracts.refuses(self.source):
            intake, _ = self._intake(origin.writer, origin.shown)
            for each in origin.pull(self._since(intake.until), None):
                self._refuse_broken(origin.shown, each.rejections, each.rows, None)
        _again(lambda: self._pull(origin))

    def finished(self) -> Ingestion:
        """End the ingestion; what it returns counts what was passed over too."""
        place, name = self.place, self.source.name
        stale = self._stale()
        done = ingestion_log.close(place.metadata, name, version=place.tables.version(source_table.table(self.source)), stale=stale)
        origin = ", ".join(self.looked_at[:3]) + (", ..." if len(self.looked_at) > 3 else "")
        done = done or Ingestion(name, 0, at_us=place.clock.now_us(), actor=self.actor, origin=origin, stale=stale)
        _log.info("rows ingested", extra={"action": "ingest", "source": name, "rows": done.rows_out, "rejected": done.rejected})
        if stale:
            _log.warning("source is stale", extra={"action": "stale", "source": name})
        shown = ingestion_log.counted(done, self.passed, files=self.passed_files, watermark=None)
        return msgspec.structs.replace(shown, rejections=tuple(self.rejections[:_SHOWN]))

    def _stale(self) -> str:
        contract = self.source.contract
        if contract is None or contract.freshness is None:
            return ""
        return contracts.staleness(self.source, newest(self.place.tables, self.source), self.place.clock.now_us())

    def _seen(self, file: InputFile) -> bool:
        """Whether the file was taken and is still the same; then its rows are known."""
        self.looked_at.append(file.name)
        seen = self.place.metadata.get(SeenFile, self.source.name, file.name)
        intake = self.place.metadata.get(Intake, self.source.name, seen.writer) if seen and seen.stamp == file.stamp else None
        if intake is None or not intake.done:
            return False
        self._pass_over(intake)
        return True

    def _pass_over(self, intake: Intake) -> None:
        counts = intake.counts
        self.passed += Counts(counts.rows_in, 0, counts.rows_out + counts.known, counts.rejected)
        self.passed_files += 1

    def _of_file(self, file: InputFile, path: Path) -> _Content:
        def chunks() -> Iterator[Raw]:
            for raw in files.chunks(path, self.source.fields, name=file.name):
                if not file.name.lower().removesuffix(".gz").endswith(("jsonl", "ndjson")):
                    _check_columns(self.source, raw.frame.columns, file.name)
                yield raw

        return _Content(f"ingest/{files.digest(path)}", file.name, chunks, file)

    def _refuse_unless_kept(self, content: _Content) -> None:
        """Read a content that is new to its end before any of it is stored."""
        if self._intake(content.writer, content.shown)[0].done:
            return
        before = 0
        for raw in content.chunks():
            typed = column_conversion.typed(raw, self.source, content.shown, before=before)
            before += raw.frame.height
            self._refuse_broken(content.shown, typed.rejections, typed.rows, typed.positions)

    def _refuse_broken(self, shown: str, rejections: list[Rejection], rows: pl.DataFrame, positions: pl.Series | None) -> None:
        broken = rejections[:1] or contracts.parted(self.source, rows, shown, positions)[1][:1]
        if not broken:
            return
        error = contracts.refusal(self.source, shown, broken[0].row, broken[0].reason)
        record = Ingestion(self.source.name, 0, at_us=self.place.clock.now_us(), actor=self.actor, origin=shown, reason=str(error))
        ingestion_log.refuse(self.place.metadata, msgspec.structs.replace(record, rejected=1, rejections=tuple(broken)))
        raise error

    def _intake(self, writer: str, shown: str) -> tuple[Intake, bool]:
        """How far an input was taken, and whether its claimed chunk has to be stored still."""
        intake, stored = ingestion_log.intake(self.place.metadata, self.source.name, writer, shown)
        if intake.settled:
            return intake, False
        landed = self.place.tables.sequence(source_table.table(self.source), writer) >= intake.number
        return stored or intake, not landed

    def _take(self, content: _Content) -> None:
        _again(lambda: self._take_once(content))

    def _take_once(self, content: _Content) -> None:
        """Take a content from where it stands to its end."""
        intake, unfinished = self._intake(content.writer, content.shown)
        if intake.done:
            self._remember(content)
            self._pass_over(intake)
            return
        if not intake.number and self.place.tables.sequence(source_table.table(self.source), content.writer) > 0:
            return  # taken whole by a version of Rota that kept no intakes
        claimed = intake.counts.rows_in
        again: list[Typed] = []
        for before, raw in _from(content.chunks(), intake.counts_before.rows_in if unfinished else claimed):
            typed = column_conversion.typed(raw.cut(0, claimed - before) if before < claimed else raw, self.source, content.shown, before=before)
            if before < claimed:  # a part of the claimed chunk, which is stored whole under its number
                again.append(typed)
                if before + raw.frame.height < claimed:
                    continue
                self._append(intake, self._of_content(content, column_conversion.joined(again)))
                typed = column_conversion.typed(raw.cut(claimed - before), self.source, content.shown, before=claimed)
            if typed.rows_in:
                prepared = self._of_content(content, typed)
                intake = self._claimed(intake, intake.number + 1, prepared, None)
                self._append(intake, prepared)
        self._settle(intake, content, files=1)

    def _of_content(self, content: _Content, typed: Typed) -> _Prepared:
        return self._prepared(content.shown, typed.rows, typed.rejections, typed.rows_in, typed.positions)

    def _pull(self, origin: Origin) -> None:
        intake, unfinished = self._intake(origin.writer, origin.shown)
        if unfinished:
            again = [self._of_pull(origin, each) for each in origin.pull(self._since(intake.before), intake.until)]
            self._append(intake, _joined(again, self.source))
        passed = Counts()
        for each in origin.pull(self._since(intake.until), None):
            prepared = self._of_pull(origin, each)
            if prepared.rows.height or prepared.rejections:
                until = intake.until if each.last is None else max(each.last, intake.until or each.last)
                intake = self._claimed(intake, intake.number + 1, prepared, until)
                self._append(intake, prepared)
            else:
                passed += prepared.counts
        if not intake.settled:
            self._settle(intake, None, files=0)
        self.passed += passed

    def _of_pull(self, origin: Origin, pulled: Pulled) -> _Prepared:
        """A stretch without what an overlap with the last one shows again."""
        rejections = quarantine.unseen(self.place.tables, self.source.name, pulled.rejections)
        prepared = self._prepared(origin.shown, pulled.rows, rejections, pulled.rows.height, None)
        quarantined = prepared.rejections[len(rejections) :]
        fresh = quarantine.unseen(self.place.tables, self.source.name, quarantined)
        known = pulled.rows.height - len(quarantined) - prepared.rows.height
        known += len(pulled.rejections) - len(rejections) + len(quarantined) - len(fresh)
        out, rejected = prepared.rows.height, len(rejections) + len(fresh)
        return _Prepared(prepared.rows, rejections + fresh, Counts(out + known + rejected, out, known, rejected))

    def _since(self, mark: int | None) -> int | None:
        """From where to read: a timestamp looks back by the source's lateness."""
        if mark is None:
            return None
        timed = watermarks.is_outcomes(self.source) or self.source.fields[watermarks.watermark(self.source)] == "timestamp"
        return mark - micros(self.source.lateness) if timed else mark

    def _prepared(self, shown: str, rows: pl.DataFrame, rejections: list[Rejection], rows_in: int, positions: pl.Series | None) -> _Prepared:
        """The rows that are to be stored, as the table wants them."""
        if contracts.refuses(self.source):  # what was looked at before may have changed since
            self._refuse_broken(shown, rejections, rows, positions)
        kept, broken = contracts.parted(self.source, rows, shown, positions)
        new = _unknown(self.place.tables, self.source, _dated(self.source, kept, self.place.clock.now_us()), pulled=positions is None)
        rejected = rejections + broken
        return _Prepared(new.select(*self.source.fields, CREATED), rejected, Counts(rows_in, new.height, kept.height - new.height, len(rejected)))

    def _claimed(self, intake: Intake, number: int, prepared: _Prepared, until: int | None) -> Intake:
        """Say in metadata what the next chunk brings; `Conflict` when somebody else did."""
        claimed = msgspec.structs.replace(
            intake,
            number=number,
            counts=intake.counts + prepared.counts,
            counts_before=intake.counts,
            before=intake.until,
            until=until,
            settled=False,
        )
        batch = Batch()
        batch.put(claimed, replacing=_stored(intake))
        self.place.metadata.commit(batch)
        return claimed

    def _append(self, intake: Intake, prepared: _Prepared) -> None:
        """Store a claimed chunk; done twice, it is there once."""
        tables, batch = self.place.tables, (intake.writer, intake.number)
        room = max(0, quarantine.MOST - intake.counts_before.rejected)
        quarantine.append(tables, self.source.name, prepared.rejections[:room], at_us=self.place.clock.now_us(), batch=batch)
        if prepared.rows.height:
            name = source_table.table(self.source)
            tidy(tables, name, tables.append(name, prepared.rows, batch=batch))
        self.rejections += prepared.rejections[: max(0, _SHOWN - len(self.rejections))]

    def _settle(self, intake: Intake, content: _Content | None, *, files: int) -> None:
        """Count what was taken into the running ingestion, in one step with saying that it is taken."""
        metadata, now_us = self.place.metadata, self.place.clock.now_us()
        running, before = ingestion_log.running(metadata, self.source.name, self.actor, intake.origin, now_us)
        batch = Batch()
        batch.put(ingestion_log.counted(running, intake.counts, files=files, watermark=intake.until), replacing=before)
        if content is None:  # a pulled input goes on from here; its counts are told
            settled = msgspec.structs.replace(intake, settled=True, counts=Counts(), counts_before=Counts(), before=intake.until)
        else:
            settled = msgspec.structs.replace(intake, settled=True, done=True)
        batch.put(settled, replacing=_stored(intake))
        if content is not None and content.file is not None:
            batch.put(SeenFile(self.source.name, content.file.name, content.file.stamp, content.writer))
        metadata.commit(batch)

    def _remember(self, content: _Content) -> None:
        """A content that was taken under another name or stamp."""
        if content.file is not None:
            batch = Batch()
            batch.put(SeenFile(self.source.name, content.file.name, content.file.stamp, content.writer))
            self.place.metadata.commit(batch)


def newest(tables: Tables, source: Source) -> Micros | None:
    """The event time of the newest row of a source."""
    found = source_table.scan(tables, source, columns=[source.timestamp_field]).select(pl.col(source.timestamp_field).max()).collect().item()
    return None if found is None else int(found)


def _from(chunks: Iterator[Raw], start: int) -> Iterator[tuple[int, Raw]]:
    """The rows of a content from one on, each chunk with the number of rows before it."""
    before = 0
    for raw in chunks:
        height = raw.frame.height
        if before + height > start:
            yield max(before, start), raw.cut(max(0, start - before))
        before += height


def _stored(intake: Intake) -> Intake | None:
    """What the store must hold for the next step: the intake as it is in hand, nothing before its first chunk."""
    return intake if intake.number else None


def _again(act: Callable[[], None]) -> None:
    """Somebody else's claim came first: look again where the input stands. Each conflict is a step that the other one made."""
    for _ in range(_TRIES):
        try:
            return act()
        except Conflict:
            continue
    raise Conflict("other processes keep ingesting the same input; wait for them to finish")


def _inputs(place: Ingester, source: Source) -> Inputs:
    if place.inputs is None:
        raise InvalidInput(f"source {source.name!r} cannot be read here: the platform was opened without inputs", source=source.name)
    return place.inputs


def _check_columns(source: Source, found: Iterable[str], shown: str) -> None:
    missing = [name for name in (source.timestamp_field, source.id_field) if name is not None and name not in found]
    if missing:
        raise InvalidInput(
            f"{shown} has no column {missing[0]!r}, which every row of source {source.name!r} needs; add it to the file, or declare another column",
            source=source.name,
            column=missing[0],
        )


def _digest(frame: pl.DataFrame) -> str:
    """SHA-256 of a table's names, types and values."""
    sha = hashlib.sha256(repr(list(frame.schema.items())).encode())
    for start in range(0, frame.height, files.CHUNK_ROWS):
        sha.update(frame[start : start + files.CHUNK_ROWS].rechunk().write_ipc(None, compression="uncompressed").getvalue())
    return sha.hexdigest()


def _slices(source: Source, frame: pl.DataFrame, shown: str) -> Iterator[Raw]:
    _check_columns(source, frame.columns, shown)
    for start in range(0, frame.height, files.CHUNK_ROWS):
        yield Raw(frame[start : start + files.CHUNK_ROWS])


def _dated(source: Source, rows: pl.DataFrame, now_us: Micros) -> pl.DataFrame:
    """The rows with the moment each was created, never later than now."""
    now = pl.lit(now_us, dtype=pl.Int64)
    created = pl.col(source.created_field) if source.created_field else pl.col(CREATED) if CREATED in rows.columns else now
    return rows.with_columns(pl.min_horizontal(created.fill_null(now_us), now).alias(CREATED))


def _unknown(tables: Tables, source: Source, rows: pl.DataFrame, *, pulled: bool) -> pl.DataFrame:
    """The rows that are not stored yet."""
    if not rows.height:
        return rows
    if source.id_field is not None:
        return _changed(tables, source, rows)
    return _beyond(tables, source, rows) if pulled else rows


def _changed(tables: Tables, source: Source, rows: pl.DataFrame) -> pl.DataFrame:
    """The last row of each id, unless it is what is stored of that id. Where the source dates its rows, every stored form counts."""
    assert source.id_field is not None
    rows = rows.unique(source.id_field, keep="last", maintain_order=True)
    ids = rows.lazy().select(source.id_field)
    stored = source_table.scan(tables, source).join(ids, on=source.id_field, how="semi").collect()
    known = stored if source.created_field is not None else source_table.current(stored, source)
    return rows.join(known, on=list(source.fields), how="anti", nulls_equal=True, maintain_order="left")


def _beyond(tables: Tables, source: Source, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows without an id are known as often as they are stored: the third of three equal rows is new where two are."""
    column, fields = watermarks.watermark(source), list(source.fields)
    low, high = rows[column].min(), rows[column].max()
    stored = source_table.scan(tables, source, columns=fields).filter(pl.col(column).is_between(low, high)).collect()
    if not stored.height:
        return rows
    numbered = [frame.with_columns(pl.int_range(pl.len()).over(fields).alias(_PLACE)) for frame in (rows, stored)]
    return numbered[0].join(numbered[1], on=[*fields, _PLACE], how="anti", nulls_equal=True, maintain_order="left").drop(_PLACE)


def _joined(parts: list[_Prepared], source: Source) -> _Prepared:
    empty = pl.DataFrame(schema=rows.dtypes(source_table.fields(source)))
    found = pl.concat([empty, *(part.rows for part in parts)])
    return _Prepared(found, [rejection for part in parts for rejection in part.rejections], Counts())
