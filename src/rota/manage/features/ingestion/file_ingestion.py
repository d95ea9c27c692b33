"""File ingestion: files and tables, each content once whatever its name, read chunk by chunk.

A file of lines may grow: while what was taken of it is still its beginning, it is read on from there, and a last line without an
end waits until the file is final (`SETTLED_S`). Any other file, and one that was changed before its end, is a new content.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from rota.errors import InvalidInput, NotFound, Unavailable
from rota.manage.features.ingestion import contracts, renamed_files, text_intake
from rota.manage.features.ingestion.ingestion_run import IngestionRun, PreparedChunk, retried
from rota.manage.features.ingestion.text_intake import TextFile
from rota.manage.features.rows import column_conversion, file_cells, file_readers, source_table
from rota.manage.features.rows.column_conversion import Raw, Typed
from rota.manage.features.rows.value_columns import shown_values
from rota.ports.inputs import Files, InputFile
from rota.records.data import Source
from rota.records.intake import Intake, SeenFile

SETTLED_S = 3_600
"""Seconds after its last change from which on a file is final: nobody is in the middle of a line of it."""


@dataclass(frozen=True, slots=True)
class FileContent:
    """A content that is read from its beginning: the name of its intake, what people see, its chunks, and the file it lay in."""

    writer: str
    origin: str
    chunks: Callable[[], Iterator[Raw]]
    file: InputFile | None = None


def ingest_files(run: IngestionRun, system: Files, files: Iterable[InputFile], *, final: bool) -> None:
    """Ingest files one after the other; each is on local disk only while it is read. One that cannot be taken is a failure of the run.

    Under a contract that refuses every new file is read to its end before any of them is stored. `final`: last lines are whole.
    """
    new = [file for file in files if not _seen(run, file, final=final)]
    if contracts.refuses(run.source):
        for file in new:
            with system.fetch(file, growing=file_readers.is_text(file.name)) as path:
                _refuse_broken(run, _content(run, file, path, final=final))
    for file in new:
        try:
            with system.fetch(file, growing=file_readers.is_text(file.name)) as path:
                _ingest(run, _content(run, file, path, final=final))
        except (InvalidInput, NotFound, Unavailable) as error:
            run.failures.append((file.name, error))


def ingest_frame(run: IngestionRun, frame: pl.DataFrame) -> None:
    """Ingest a table in memory; columns that are no fields of the source are left out."""
    frame = frame.select([name for name in frame.columns if name in run.source.fields])
    origin = f"table of {frame.height} rows"
    content = FileContent(f"ingest/{_digest(frame)}", origin, lambda: _slices(run.source, frame, origin))
    if contracts.refuses(run.source):
        _refuse_broken(run, content)
    _ingest(run, content)


def _is_final(file: InputFile, *, final: bool) -> bool:
    return final or file.age_s > SETTLED_S


def _seen(run: IngestionRun, file: InputFile, *, final: bool) -> bool:
    """Whether the file was ingested and is still the same; then its rows are known."""
    run.origins.append(file.name)
    metadata, source = run.stores.metadata, run.source.name
    seen = metadata.get(SeenFile, source, file.name)
    intake = metadata.get(Intake, source, seen.writer) if seen and seen.stamp == file.stamp else None
    if intake is None or not intake.done or not renamed_files.of_same_format(intake.writer, run.source):
        return False
    if intake.waits and _is_final(file, final=final):
        return False
    if intake.waits:
        run.notices.append(text_intake.still_waits(file.name, intake.waits))
    run.skip(intake)
    return True


def _content(run: IngestionRun, file: InputFile, path: Path, *, final: bool) -> FileContent | TextFile:
    if file_readers.is_text(file.name):
        return TextFile(run.source, file, path, final=_is_final(file, final=final))
    return FileContent(f"ingest/{file_readers.digest(path)}", file.name, lambda: _parquet(run, file, path), file)


def _parquet(run: IngestionRun, file: InputFile, path: Path) -> Iterator[Raw]:
    for number, raw in enumerate(file_readers.chunks(path, run.source.fields, name=file.name)):
        if not number:
            text_intake.check_columns(run, raw.frame.columns, file.name)
        yield file_cells.applied(raw, run.source.fields, run.source.format)


def _refuse_broken(run: IngestionRun, content: FileContent | TextFile) -> None:
    """Read a content that is new to its end before any of it is stored."""
    if isinstance(content, TextFile):
        text_intake.refuse_broken(run, content)
        return
    if run.intake(content.writer, content.origin)[0].done:
        return
    before = 0
    for raw in content.chunks():
        typed = column_conversion.typed(raw, run.source, content.origin, before=before)
        before += raw.frame.height
        run.refuse_broken(content.origin, typed.rejections, typed.rows, typed.positions)


def _ingest(run: IngestionRun, content: FileContent | TextFile) -> None:
    if isinstance(content, TextFile):
        retried(lambda: text_intake.ingest_once(run, content))
    else:
        retried(lambda: _ingest_once(run, content))


def _ingest_once(run: IngestionRun, content: FileContent) -> None:
    """Ingest a content from where it stands to its end."""
    intake, unfinished = run.intake(content.writer, content.origin)
    if intake.done:
        run.remember(intake, intake, content.file)
        run.skip(intake)
        return
    if not intake.number and run.stores.tables.sequence(source_table.table(run.source), content.writer) > 0:
        return  # taken whole by a version of Rota that kept no intakes
    claimed = intake.counts.rows_in
    again: list[Typed] = []
    for before, raw in _chunks_from(content.chunks(), intake.counts_before.rows_in if unfinished else claimed):
        cut = raw.cut(0, claimed - before) if before < claimed else raw
        typed = column_conversion.typed(cut, run.source, content.origin, before=before)
        if before < claimed:  # a part of the claimed chunk, which is stored whole under its number
            again.append(typed)
            if before + raw.frame.height < claimed:
                continue
            run.append(intake, _prepared(run, content, column_conversion.joined(again)))
            typed = column_conversion.typed(raw.cut(claimed - before), run.source, content.origin, before=claimed)
        if typed.rows_in:
            intake = run.store(intake, _prepared(run, content, typed))
    run.settle(intake, file=content.file, whole=True)


def _prepared(run: IngestionRun, content: FileContent, typed: Typed) -> PreparedChunk:
    run.notice_early(typed.notices)
    return run.prepare(content.origin, typed.rows, typed.rejections, typed.rows_in, typed.positions)


def _chunks_from(chunks: Iterator[Raw], start: int) -> Iterator[tuple[int, Raw]]:
    """The rows of a content from one on, each chunk with the number of rows before it."""
    before = 0
    for raw in chunks:
        height = raw.frame.height
        if before + height > start:
            yield max(before, start), raw.cut(max(0, start - before))
        before += height


def _digest(frame: pl.DataFrame) -> str:
    """SHA-256 of a table's names, types and values."""
    frame = frame.with_columns(shown_values(column) for column in frame if column.dtype == pl.Object)
    sha = hashlib.sha256(repr(list(frame.schema.items())).encode())
    for start in range(0, frame.height, file_readers.CHUNK_ROWS):
        sha.update(frame[start : start + file_readers.CHUNK_ROWS].rechunk().write_ipc(None, compression="uncompressed").getvalue())
    return sha.hexdigest()


def _slices(source: Source, frame: pl.DataFrame, origin: str) -> Iterator[Raw]:
    text_intake.check_needed(source, frame.columns, origin)
    for start in range(0, frame.height, file_readers.CHUNK_ROWS):
        yield file_cells.applied(Raw(frame[start : start + file_readers.CHUNK_ROWS]), source.fields, source.format)
