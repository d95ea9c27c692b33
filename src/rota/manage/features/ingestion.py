"""Ingestion: rows of a source out of files into its offline table, each once."""

import logging
from pathlib import Path

import polars as pl

from rota.errors import InvalidInput
from rota.manage.features import files, source_rows
from rota.manage.features.files import Ingestion
from rota.manage.features.source_rows import CREATED
from rota.ports.clock import Clock
from rota.ports.tables import Tables
from rota.records.data import Source

_log = logging.getLogger("rota.manage")


def ingest(tables: Tables, clock: Clock, source: Source, path: str | Path | None = None) -> Ingestion:
    """Read files of a source (its own `path`, or another path or glob) into the offline table; already stored rows are left out.

    A file is taken once by its content; with an id field a row is taken once by its values, a changed row is a correction.
    """
    pattern = path if path is not None else source.path
    if pattern is None:
        raise InvalidInput(f"source {source.name!r} has no path; give one to ingest from", source=source.name)
    return files.total(source.name, [_ingest_file(tables, clock, source, file) for file in files.paths(pattern)])


def _ingest_file(tables: Tables, clock: Clock, source: Source, path: Path) -> Ingestion:
    name, batch = source_rows.table(source), (f"ingest/{files.digest(path)}", 1)
    contents = files.read(path, source)
    if tables.sequence(name, batch[0]) >= batch[1]:
        return Ingestion(source.name, 1, contents.rows_in, 0, contents.rows.height, len(contents.rejections), tuple(contents.rejections[:100]))
    new = contents.rows
    if source.id_field is not None:
        stored = source_rows.current(source_rows.stored(tables, source), source)
        new = new.unique(source.id_field, keep="last", maintain_order=True).join(
            stored, on=list(source.fields), how="anti", nulls_equal=True, maintain_order="left"
        )
    tables.append(name, new.with_columns(pl.lit(clock.now_us(), dtype=pl.Int64).alias(CREATED)), batch=batch)
    rejections = tuple(contents.rejections[:100])
    _log.info("rows ingested", extra={"action": "ingest", "source": source.name, "rows": new.height, "rejected": len(contents.rejections)})
    return Ingestion(source.name, 1, contents.rows_in, new.height, contents.rows.height - new.height, len(contents.rejections), rejections)
