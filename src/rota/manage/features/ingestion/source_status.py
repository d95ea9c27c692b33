"""Sources as they stand: how fresh they are, and what an ingestion would make of their input, without one."""

from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl

from rota.errors import InvalidInput, NotFound
from rota.manage.features.ingestion import contracts, ingestion_log, quarantine, watermarks
from rota.manage.features.ingestion.new_rows import newest
from rota.manage.features.rows import column_conversion, field_inference, file_cells, file_readers, source_table
from rota.manage.features.rows.column_conversion import Raw
from rota.manage.features.rows.file_look import FileLook
from rota.ports.inputs import Inputs, WatermarkQuery
from rota.ports.metadata import Metadata
from rota.ports.tables import Tables
from rota.records.data import Source
from rota.records.intake import Rejection, SourceStatus
from rota.records.record import Record
from rota.records.schema import Type
from rota.records.time import Micros

SAMPLE_ROWS = 1_000


class Probe(Record, frozen=True):
    """What a look at a source's input found: types of its columns beside the declared ones, and what would be rejected."""

    source: str
    origin: str
    rows: int
    columns: dict[str, Type]
    declared: dict[str, Type]
    missing: tuple[str, ...]
    undeclared: tuple[str, ...]
    rejected: int
    rejections: tuple[Rejection, ...]
    notices: tuple[str, ...] = ()


def get(metadata: Metadata, name: str) -> Source:
    """A source by name."""
    found = metadata.get(Source, name)
    if found is None:
        raise NotFound(f"there is no source {name!r}; the sources are {[each.name for each in metadata.find(Source)]}", source=name)
    return found


def status(metadata: Metadata, tables: Tables, source: Source, now_us: Micros) -> SourceStatus:
    """How a source stands. Reads one column of its table."""
    rows = int(source_table.scan(tables, source, columns=[source.timestamp_field]).select(pl.len()).collect().item())
    newest_us, ingestions = newest(tables, source), ingestion_log.history(metadata, source.name, limit=1)
    contract = source.contract
    stale = contracts.staleness(source, newest_us, now_us) or ("" if rows else f"source {source.name!r} has no rows yet")
    return SourceStatus(
        source=source.name,
        rows=rows,
        newest_us=newest_us,
        age_s=None if newest_us is None else (now_us - newest_us) / 1e6,
        ingestions=ingestions[0].number if ingestions else 0,
        last_ingestion_us=ingestions[0].at_us if ingestions else None,
        rejected=quarantine.count(tables, source.name),
        owner=contract.owner if contract else source.owner,
        contract=contract.version if contract else None,
        freshness=(contract.freshness or "") if contract else "",
        stale=stale,
        state="empty" if not rows else "stale" if stale else "fresh" if contract and contract.freshness else "no freshness promised",
        notices=ingestions[0].notices if ingestions else (),
    )


def probe(inputs: Inputs, source: Source, path: str | None = None) -> Probe:
    """Open a source's input, read its first rows and say what an ingestion would do with them; nothing is stored."""
    pattern = path or (None if watermarks.is_outcomes(source) else source.path)
    if pattern is None and source.url is None:
        raise InvalidInput(f"source {source.name!r} has no file and no database to look at; give a path", source=source.name)
    with _sample(inputs, source, pattern) as (raw, origin, look):
        columns = {column.name: field_inference.inferred(column, cells=raw.cells, form=source.format) for column in raw.frame if column.name != "_"}
    typed = column_conversion.typed(file_cells.applied(raw, source.fields, source.format), source, origin)
    _, broken = contracts.split(source, typed.rows, origin, typed.positions)
    rejections = sorted([*typed.rejections, *broken], key=lambda each: each.row)
    return Probe(
        source.name,
        origin,
        raw.frame.height,
        columns,
        dict(source.fields),
        missing=tuple(name for name in source.fields if name not in columns),
        undeclared=tuple(name for name in columns if name not in source.fields),
        rejected=len(rejections),
        rejections=tuple(rejections[:100]),
        notices=tuple(look.notices),
    )


@contextmanager
def _sample(inputs: Inputs, source: Source, pattern: str | None) -> Iterator[tuple[Raw, str, FileLook]]:
    """The first rows of the newest file by name, or of the database."""
    look = FileLook()
    if pattern is not None:
        file = inputs.files.find(pattern)[-1]
        with inputs.files.fetch(file, growing=file_readers.is_text(file.name)) as path:
            chunks = file_readers.chunks(path, None, name=file.name, rows=SAMPLE_ROWS, form=source.format, look=look)
            yield next(chunks, Raw(pl.DataFrame())), file.name, look
        return
    watermarks.check(source)
    column = watermarks.watermark(source)
    question = WatermarkQuery(source.url or "", source.query or "", column, source.fields[column])
    batches = inputs.databases.batches(question, rows=SAMPLE_ROWS)
    yield Raw(next(iter(batches), pl.DataFrame())), watermarks.shown(source.url or ""), look
