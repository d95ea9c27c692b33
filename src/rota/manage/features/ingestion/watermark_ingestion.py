"""Incremental reads by watermark: of a database, or of an endpoint's outcomes, what came since the last ingestion."""

import polars as pl

from rota.manage.features.ingestion import contracts, quarantine, watermarks
from rota.manage.features.ingestion.ingestion_run import IngestionRun, PreparedChunk, retried
from rota.manage.features.ingestion.watermarks import IncrementalInput, WatermarkRange
from rota.manage.features.rows import coercion, source_table
from rota.records.intake import Counts
from rota.records.time import micros


def ingest_incrementally(run: IngestionRun, source: IncrementalInput) -> None:
    """Ingest what is new of an input that is read by its watermark. A contract that refuses sees all of it before any is stored."""
    run.origins.append(source.origin)
    if contracts.refuses(run.source):
        intake, _ = run.intake(source.writer, source.origin)
        for part in source.read(_since(run, intake.until), None):
            run.refuse_broken(source.origin, part.rejections, part.rows, None)
    retried(lambda: _ingest_once(run, source))


def _ingest_once(run: IngestionRun, source: IncrementalInput) -> None:
    intake, unfinished = run.intake(source.writer, source.origin)
    if unfinished:
        again = [_prepared(run, source, part) for part in source.read(_since(run, intake.before), intake.until)]
        run.append(intake, _joined(run, again))
    skipped = Counts()
    for part in source.read(_since(run, intake.until), None):
        chunk = _prepared(run, source, part)
        if chunk.rows.height or chunk.rejections:
            until = intake.until if part.last is None else max(part.last, intake.until or part.last)
            intake = run.store(intake, chunk, until)
        else:
            skipped += chunk.counts
    if not intake.settled:
        run.settle(intake, whole=False)
    run.skipped += skipped


def _since(run: IngestionRun, watermark: int | None) -> int | None:
    """From which watermark to read: a timestamp looks back by the source's lateness."""
    if watermark is None:
        return None
    timed = watermarks.is_outcomes(run.source) or run.source.fields[watermarks.watermark(run.source)] == "timestamp"
    return watermark - micros(run.source.lateness) if timed else watermark


def _prepared(run: IngestionRun, source: IncrementalInput, part: WatermarkRange) -> PreparedChunk:
    """A range of watermarks without what its overlap with the last one brings again."""
    tables, name = run.stores.tables, run.source.name
    run.notice_early(part.notices)
    rejections = quarantine.unseen(tables, name, part.rejections)
    chunk = run.prepare(source.origin, part.rows, rejections, part.rows.height, None)
    quarantined = chunk.rejections[len(rejections) :]
    fresh = quarantine.unseen(tables, name, quarantined)
    known = part.rows.height - len(quarantined) - chunk.rows.height
    known += len(part.rejections) - len(rejections) + len(quarantined) - len(fresh)
    stored, rejected = chunk.rows.height, len(rejections) + len(fresh)
    return PreparedChunk(chunk.rows, rejections + fresh, Counts(stored + known + rejected, stored, known, rejected))


def _joined(run: IngestionRun, chunks: list[PreparedChunk]) -> PreparedChunk:
    """A claimed chunk that is read again in several parts."""
    empty = pl.DataFrame(schema=coercion.dtypes({**source_table.fields(run.source), source_table.RECEIVED: "int"}))
    rows = pl.concat([empty, *(chunk.rows for chunk in chunks)])
    return PreparedChunk(rows, [rejection for chunk in chunks for rejection in chunk.rejections], Counts())
