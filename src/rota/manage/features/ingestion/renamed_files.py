"""Contents under other names: a file of lines that was renamed after a part of it was taken, as logs are when they are rotated."""

from pathlib import Path

from msgspec.structs import replace

from rota.errors import InvalidInput, NotFound, Unavailable
from rota.manage.features.ingestion.ingestion_run import IngestionRun
from rota.manage.features.rows import text_files
from rota.records.data import Source
from rota.records.file_format import FileFormat
from rota.records.intake import Intake, SeenFile
from rota.records.record import digest, encode

_DIGEST_END = len("ingest/") + 64


def of_same_format(writer: str, source: Source) -> bool:
    """Whether a content was taken under the format that the source has now, where that makes a difference."""
    return writer[_DIGEST_END:] == format_mark(source)


def format_mark(source: Source) -> str:
    """What the names of a source's intakes end in. Where rows have an id, a file is read again under another format, so that rows
    which did not fit before are tried again."""
    form = replace(source.format, as_written=False)  # it lets no row fit that did not before
    return "" if source.id_field is None or form == FileFormat() else f"/{digest(encode(form))[:16]}"


def content_of(run: IngestionRun, path: Path, size: int) -> str | None:
    """The intake of the longest content with rows that a file begins with, if no file that it was taken from still does."""
    source = run.source
    if run.contents is None:
        before = run.stores.metadata.find(Intake, {"source": source.name})
        run.contents = [each for each in before if each.digest and each.counts.rows_in and each.until]
    known = [each for each in run.contents if of_same_format(each.writer, source)]
    found = text_files.beginnings(path, source.format, {each.until or 0 for each in known}, limit=size)
    known = [each for each in known if found.get(each.until or 0) == each.digest]
    for intake in sorted(known, key=lambda each: each.until or 0, reverse=True):
        if not any(_still_begins(run, name, intake) for name in _names(run, intake.writer)):
            return intake.writer
    return None


def _names(run: IngestionRun, writer: str) -> list[str]:
    seen = run.stores.metadata.find(SeenFile, {"source": run.source.name})
    return [each.file for each in seen if each.writer == writer and not each.file.startswith("sha256:")]


def _still_begins(run: IngestionRun, name: str, intake: Intake) -> bool:
    """Whether the file of a name begins with a content; one that cannot be looked at may."""
    assert run.stores.inputs is not None
    files = run.stores.inputs.files
    try:
        for file in files.find(name):
            with files.fetch(file, growing=True) as path:
                sha = text_files.beginning(path, run.source.format, intake.until or 0)
                return sha is not None and sha.hexdigest() == intake.digest
    except NotFound:
        return False
    except (InvalidInput, Unavailable):
        return True
    return False
