"""Files of lines, taken in once and read on where they grow.

What was taken is the beginning of the file's text, known by its length and SHA-256. A file whose beginning is still that is read on
behind it, under the same intake; otherwise it is a new content, which without an id field must not hold rows that are stored already.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from rota.errors import InvalidInput, Unavailable
from rota.manage.features.ingestion import renamed_files
from rota.manage.features.ingestion.ingestion_run import FileClaim, IngestionRun, PreparedChunk
from rota.manage.features.rows import column_conversion, file_cells, file_readers, source_table, text_files
from rota.manage.features.rows.column_conversion import Raw, Typed
from rota.manage.features.rows.file_look import FileLook
from rota.ports.inputs import InputFile
from rota.records.data import Source
from rota.records.file_format import FileFormat
from rota.records.intake import Counts, Intake, SeenFile
from rota.records.record import digest

_DELIMITERS = ";\t|,"
_NOTHING = digest(b"")


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file of lines as it was listed, on local disk. `final`: its last line is whole though it has no end."""

    source: Source
    file: InputFile
    path: Path
    final: bool

    @property
    def name(self) -> str:
        return self.file.name


@dataclass(slots=True)
class _TextState:
    """How a file stands when a step begins: its size and digest, its intake, and the SHA-256 over what was taken of it.

    `behind`: it is an earlier state of a file that has grown since.
    """

    size: int
    content: str
    intake: Intake
    unfinished: bool
    changed_ns: int
    sha: Any = None
    before: SeenFile | None = None
    behind: bool = False


def still_waits(name: str, size_bytes: int) -> str:
    """What to say of a file whose last line waits."""
    return f"{name}: its last line ({size_bytes} bytes) is incomplete and waits; {_WAY_OUT}"


_WAY_OUT = "end it with a newline, or ingest with final (`--final`) if the file is finished"


def ingest_once(run: IngestionRun, text: TextFile) -> None:
    """Ingest what is new of a file; `Conflict` when another process was faster."""
    state = _state_of(run, text)
    intake = state.intake
    if state.behind:
        run.skip(intake)
        return
    if intake.done and not _longer(state, text):
        run.remember(intake, intake, text.file)
        if intake.waits:
            run.notices.append(still_waits(text.name, intake.waits))
        run.skip(intake)
        return
    if not intake.number and not intake.done:
        if run.stores.tables.sequence(source_table.table(run.source), intake.writer) > 0:
            return  # taken whole by a version of Rota that kept no intakes
        _refuse_doubles(run, text, state)
    known, grown = intake.reported, intake.done
    if state.unfinished:
        run.append(intake, _prepared(run, text, _again(run, text, state)))
    look = _look(run, text, state, start=intake.until or 0)
    end, sha = intake.until or 0, intake.digest or _NOTHING
    for raw in _chunks(run, text, look, skip=0 if intake.digest or not intake.number else intake.counts.rows_in):
        typed = column_conversion.typed(raw, run.source, text.name, before=intake.counts.rows_in)
        end, sha = raw.end or end, raw.digest or sha
        if typed.rows_in:
            claim = None
            if not intake.number and not grown:
                claim = FileClaim(SeenFile(run.source.name, text.name, text.file.stamp, intake.writer), state.before)
            intake = run.store(intake, _prepared(run, text, typed), raw.end, digest=raw.digest, claim=claim)
    _check_unchanged(text, state, end, sha)
    _note(run, text, look)
    ended = msgspec.structs.replace(intake, until=end, digest=sha, waits=look.waits, content=state.content)
    if grown and intake.counts == known:
        run.remember(intake, ended, text.file)
        run.skip(intake)
        return
    run.settle(intake, ended, file=text.file, whole=True)
    run.skipped += Counts(known.rows_in, 0, known.rows_out + known.known, known.rejected)


def refuse_broken(run: IngestionRun, text: TextFile) -> None:
    """Read what is new of a file to its end before any of it is stored; `Refused` when a row breaks a contract that refuses."""
    state = _state_of(run, text)
    intake = state.intake
    if state.behind or (intake.done and not _longer(state, text)):
        return
    start = (intake.before if state.unfinished else intake.until) or 0
    before = intake.counts_before.rows_in if state.unfinished else intake.counts.rows_in
    for raw in _chunks(run, text, _look(run, text, state, start=start)):
        typed = column_conversion.typed(raw, run.source, text.name, before=before)
        before += raw.frame.height
        run.refuse_broken(text.name, typed.rejections, typed.rows, typed.positions)


def check_needed(source: Source, names: Sequence[str], origin: str, *, form: FileFormat | None = None) -> None:
    """Refuse a file or table without a column that every row needs; `form` is the format of CSV."""
    missing = [name for name in (source.timestamp_field, source.id_field) if name is not None and name not in names]
    if not missing:
        return
    other = next((mark for mark in _DELIMITERS if len(names) == 1 and mark in names[0]), "")
    hint = (
        f"its header is one column, {names[0][:100]!r}: if {other!r} parts its columns, give the source delimiter={other!r}" if other and form else ""
    )
    hint = hint or "add it to the file, or declare another column"
    raise InvalidInput(
        f"{origin} has no column {missing[0]!r}, which every row of source {source.name!r} needs; {hint}",
        source=source.name,
        column=missing[0],
    )


def check_columns(run: IngestionRun, names: Sequence[str], origin: str, *, form: FileFormat | None = None) -> None:
    """Refuse a file without a column that every row needs or with two columns of one field, and note other fields that it lacks."""
    source = run.source
    check_needed(source, names, origin, form=form)
    twice = sorted({name for name in names if name in source.fields and list(names).count(name) > 1})
    if twice:
        raise InvalidInput(f"{origin}: its header names {twice} more than once; which of them is meant? Give each column its own name", columns=twice)
    lacking = [name for name in source.fields if name not in names]
    if lacking:
        run.notices.append(f"{origin} lacks the columns {lacking}; they are null in its rows")


def _state_of(run: IngestionRun, text: TextFile) -> _TextState:
    """Which intake a file belongs to: that of its content, or that of its name if what was taken there is still its beginning."""
    metadata, source = run.stores.metadata, run.source
    stat = text.path.stat()
    size, changed_ns = stat.st_size, stat.st_mtime_ns
    content = file_readers.digest(text.path, limit=size)
    writer = f"ingest/{content}{renamed_files.format_mark(source)}"
    seen = metadata.get(SeenFile, source.name, text.name)
    alias = metadata.get(SeenFile, source.name, f"sha256:{content}")
    fallback = _TextState(size, content, Intake(source.name, writer, text.name), unfinished=False, changed_ns=changed_ns, before=seen)
    for candidate in (writer, alias.writer if alias else "", seen.writer if seen else ""):
        if not candidate or not renamed_files.of_same_format(candidate, source):
            continue
        intake, unfinished = run.intake(candidate, text.name)
        known = bool(intake.number or intake.done)
        if known and not intake.digest and candidate == writer:
            return _TextState(size, content, intake, unfinished, changed_ns, None, seen)
        sha = text_files.beginning(text.path, source.format, intake.until or 0, limit=size) if known and intake.digest else None
        if sha is not None and sha.hexdigest() == intake.digest:
            found = _TextState(size, content, intake, unfinished, changed_ns, sha, seen)
            if intake.counts.rows_in:
                return found
            fallback = found
        elif known and candidate == writer:
            return _TextState(size, content, intake, unfinished, changed_ns, None, seen, behind=True)
    renamed = renamed_files.content_of(run, text.path, size)
    if renamed is not None:
        intake, unfinished = run.intake(renamed, text.name)
        sha = text_files.beginning(text.path, source.format, intake.until or 0, limit=size)
        return _TextState(size, content, intake, unfinished, changed_ns, sha, seen)
    return fallback


def _longer(state: _TextState, text: TextFile) -> bool:
    """Whether a file that was taken may hold more than that; of what earlier versions of Rota took nothing is known but the whole."""
    if not state.intake.digest:
        return False
    return state.content != (state.intake.content or state.intake.writer.split("/")[1]) or (state.intake.waits > 0 and text.final)


def _look(run: IngestionRun, text: TextFile, state: _TextState, *, start: int) -> FileLook:
    sha = state.sha if start == (state.intake.until or 0) else text_files.beginning(text.path, run.source.format, start, limit=state.size)

    def plausible(rows: Raw) -> bool:
        known = file_cells.applied(rows, run.source.fields, run.source.format)
        return column_conversion.typed(known, run.source, text.name).rows.height > 0

    return FileLook(start, sha, text.final, state.size, plausible=plausible)


def _again(run: IngestionRun, text: TextFile, state: _TextState) -> Typed:
    """The rows of a chunk that was claimed and is not stored."""
    intake = state.intake
    look = _look(run, text, state, start=intake.before or 0)
    rows_before = intake.counts_before.rows_in
    if intake.digest:
        look.final, look.stop = True, intake.until
        found = list(_chunks(run, text, look))
    else:
        wanted = intake.counts.rows_in - rows_before
        found = list(_first(_chunks(run, text, look, skip=rows_before), wanted))
    parts = []
    for raw in found:
        parts.append(column_conversion.typed(raw, run.source, text.name, before=rows_before))
        rows_before += raw.frame.height
    return column_conversion.joined(parts)


def _chunks(run: IngestionRun, text: TextFile, look: FileLook, *, skip: int = 0) -> Iterator[Raw]:
    """The rows of a file from `look.start` on, without the first `skip` of them, which an earlier version of Rota took by number."""
    source, checked = run.source, False
    for raw in file_readers.chunks(text.path, source.fields, name=text.name, form=source.format, look=look):
        if look.names and not checked:
            check_columns(run, look.names, text.name, form=source.format)
            checked = True
        kept, skip = raw.cut(skip) if skip else raw, max(0, skip - raw.frame.height)
        yield file_cells.applied(kept, source.fields, source.format)


def _first(chunks: Iterator[Raw], rows: int) -> Iterator[Raw]:
    for raw in chunks:
        if rows <= 0:
            return
        yield raw.cut(0, rows)
        rows -= raw.frame.height


def _prepared(run: IngestionRun, text: TextFile, typed: Typed) -> PreparedChunk:
    run.notice_early(typed.notices)
    chunk = run.prepare(text.name, typed.rows, typed.rejections, typed.rows_in, typed.positions)
    rejections = [each if each.line else msgspec.structs.replace(each, line=typed.line_of(each.row)) for each in chunk.rejections]
    return PreparedChunk(chunk.rows, rejections, chunk.counts)


def _refuse_doubles(run: IngestionRun, text: TextFile, state: _TextState) -> None:
    """Refuse a file that was taken and then changed before its end, if without an id field its old rows would be stored twice."""
    seen, source = state.before, run.source
    taken = run.stores.metadata.get(Intake, source.name, seen.writer) if seen else None
    if source.id_field is not None or taken is None or not taken.counts.rows_out:
        return
    stored, doubles, before = source_table.scan(run.stores.tables, source, columns=list(source.fields)), 0, 0
    for raw in _chunks(run, text, _look(run, text, state, start=0)):
        rows = column_conversion.typed(raw, source, text.name, before=before).rows
        before += raw.frame.height
        doubles += rows.lazy().join(stored, on=list(source.fields), how="semi", nulls_equal=True).select(pl.len()).collect().item()
    if doubles:
        raise InvalidInput(
            f"{text.name} was changed before the end of what was taken of it, and {doubles} of its rows are stored already; without an id field "
            "nothing tells them from new ones. Write new rows at its end or into another file, or give the source an id_field",
            source=source.name,
            rows=doubles,
        )


def _check_unchanged(text: TextFile, state: _TextState, end: int, sha: str) -> None:
    """Raise `Unavailable` if the file was changed under our hands in what was taken of it."""
    found = text.path.stat()
    if (found.st_size, found.st_mtime_ns) == (state.size, state.changed_ns):
        return
    now = text_files.beginning(text.path, text.source.format, end)
    if end and (now is None or now.hexdigest() != sha):
        raise Unavailable(f"{text.name} changed while it was read; write files under another name and rename them, then ingest again", path=text.name)


def _note(run: IngestionRun, text: TextFile, look: FileLook) -> None:
    way_out = f"; {_WAY_OUT}" if look.waits else ""
    run.notices += [f"{text.name}: {notice}{way_out}" for notice in look.notices]
