"""File ingestion: files and tables, each content once whatever its name, read chunk by chunk from its beginning."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from rota.errors import InvalidInput
from rota.manage.features.ingestion import contracts
from rota.manage.features.ingestion.ingestion_run import IngestionRun, PreparedChunk, retried
from rota.manage.features.rows import column_conversion, file_readers, source_table
from rota.manage.features.rows.column_conversion import Raw, Typed
from rota.manage.features.rows.value_columns import shown_values
from rota.ports.inputs import Files, InputFile
from rota.ports.metadata import Batch
from rota.records.data import Source
from rota.records.intake import Intake, SeenFile


@dataclass(frozen=True, slots=True)
class FileContent:
    """A content that is read from its beginning: the name of its intake, what people see, its chunks, and the file it lay in."""

    writer: str
    origin: str
    chunks: Callable[[], Iterator[Raw]]
    file: InputFile | None = None


def ingest_files(run: IngestionRun, system: Files, files: Iterable[InputFile]) -> None:
    """Ingest files one after the other; each is on local disk only while it is read.

    Under a contract that refuses every new file is read to its end before any of them is stored.
    """
    new = [file for file in files if not _seen(run, file)]
    if contracts.refuses(run.source):
        for file in new:
            with system.fetch(file) as path:
                _refuse_broken(run, _file_content(run.source, file, path))
    for file in new:
        with system.fetch(file) as path:
            _ingest(run, _file_content(run.source, file, path))


def ingest_frame(run: IngestionRun, frame: pl.DataFrame) -> None:
    """Ingest a table in memory; columns that are no fields of the source are left out."""
    frame = frame.select([name for name in frame.columns if name in run.source.fields])
    origin = f"table of {frame.height} rows"
    content = FileContent(f"ingest/{_digest(frame)}", origin, lambda: _slices(run.source, frame, origin))
    if contracts.refuses(run.source):
        _refuse_broken(run, content)
    _ingest(run, content)


def _seen(run: IngestionRun, file: InputFile) -> bool:
    """Whether the file was ingested and is still the same; then its rows are known."""
    run.origins.append(file.name)
    metadata, source = run.stores.metadata, run.source.name
    seen = metadata.get(SeenFile, source, file.name)
    intake = metadata.get(Intake, source, seen.writer) if seen and seen.stamp == file.stamp else None
    if intake is None or not intake.done:
        return False
    run.skip(intake)
    return True


def _file_content(source: Source, file: InputFile, path: Path) -> FileContent:
    def chunks() -> Iterator[Raw]:
        for raw in file_readers.chunks(path, source.fields, name=file.name):
            if not file.name.lower().removesuffix(".gz").endswith(("jsonl", "ndjson")):
                _check_columns(source, raw.frame.columns, file.name)
            yield raw

    return FileContent(f"ingest/{file_readers.digest(path)}", file.name, chunks, file)


def _refuse_broken(run: IngestionRun, content: FileContent) -> None:
    """Read a content that is new to its end before any of it is stored."""
    if run.intake(content.writer, content.origin)[0].done:
        return
    before = 0
    for raw in content.chunks():
        typed = column_conversion.typed(raw, run.source, content.origin, before=before)
        before += raw.frame.height
        run.refuse_broken(content.origin, typed.rejections, typed.rows, typed.positions)


def _ingest(run: IngestionRun, content: FileContent) -> None:
    retried(lambda: _ingest_once(run, content))


def _ingest_once(run: IngestionRun, content: FileContent) -> None:
    """Ingest a content from where it stands to its end."""
    intake, unfinished = run.intake(content.writer, content.origin)
    if intake.done:
        _remember(run, content)
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


def _remember(run: IngestionRun, content: FileContent) -> None:
    """Note the name and stamp of a file whose content was ingested under another one."""
    if content.file is not None:
        batch = Batch()
        batch.put(SeenFile(run.source.name, content.file.name, content.file.stamp, content.writer))
        run.stores.metadata.commit(batch)


def _chunks_from(chunks: Iterator[Raw], start: int) -> Iterator[tuple[int, Raw]]:
    """The rows of a content from one on, each chunk with the number of rows before it."""
    before = 0
    for raw in chunks:
        height = raw.frame.height
        if before + height > start:
            yield max(before, start), raw.cut(max(0, start - before))
        before += height


def _check_columns(source: Source, found: Iterable[str], origin: str) -> None:
    missing = [name for name in (source.timestamp_field, source.id_field) if name is not None and name not in found]
    if missing:
        raise InvalidInput(
            f"{origin} has no column {missing[0]!r}, which every row of source {source.name!r} needs; add it to the file, or declare another column",
            source=source.name,
            column=missing[0],
        )


def _digest(frame: pl.DataFrame) -> str:
    """SHA-256 of a table's names, types and values."""
    frame = frame.with_columns(shown_values(column) for column in frame if column.dtype == pl.Object)
    sha = hashlib.sha256(repr(list(frame.schema.items())).encode())
    for start in range(0, frame.height, file_readers.CHUNK_ROWS):
        sha.update(frame[start : start + file_readers.CHUNK_ROWS].rechunk().write_ipc(None, compression="uncompressed").getvalue())
    return sha.hexdigest()


def _slices(source: Source, frame: pl.DataFrame, origin: str) -> Iterator[Raw]:
    _check_columns(source, frame.columns, origin)
    for start in range(0, frame.height, file_readers.CHUNK_ROWS):
        yield Raw(frame[start : start + file_readers.CHUNK_ROWS])
