"""Which rows of an input are new to a source's offline table."""

import polars as pl

from rota.manage.features.ingestion import watermarks
from rota.manage.features.rows import source_table
from rota.manage.features.rows.source_table import CREATED
from rota.ports.tables import Tables
from rota.records.data import Source
from rota.records.time import Micros

_PLACE = "_place"


def newest(tables: Tables, source: Source) -> Micros | None:
    """The event time of the newest row of a source."""
    found = source_table.scan(tables, source, columns=[source.timestamp_field]).select(pl.col(source.timestamp_field).max()).collect().item()
    return None if found is None else int(found)


def dated(source: Source, rows: pl.DataFrame, now_us: Micros) -> pl.DataFrame:
    """The rows with the moment each was created, never later than now."""
    now = pl.lit(now_us, dtype=pl.Int64)
    created = pl.col(source.created_field) if source.created_field else pl.col(CREATED) if CREATED in rows.columns else now
    return rows.with_columns(pl.min_horizontal(created.fill_null(now_us), now).alias(CREATED))


def unknown(tables: Tables, source: Source, rows: pl.DataFrame, *, by_watermark: bool) -> pl.DataFrame:
    """The rows that are not stored yet. Rows without an id are compared only where they are read by watermark, which overlaps."""
    if not rows.height:
        return rows
    if source.id_field is not None:
        return _changed(tables, source, rows)
    return _beyond(tables, source, rows) if by_watermark else rows


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
