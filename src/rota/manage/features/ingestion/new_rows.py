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
    """The versions of rows that are not stored yet, in the order in which they were created, each at a moment of its own.

    Where the source dates its rows, every version of an id is kept, whatever the order in which they come; where it does not, the
    last row of an id is the one that counts, unless it is what is stored already.
    """
    assert source.id_field is not None
    ids = rows.lazy().select(source.id_field).unique()
    stored = source_table.scan(tables, source).join(ids, on=source.id_field, how="semi").collect()
    if source.created_field is not None:
        rows = rows.unique(list(source.fields), keep="first", maintain_order=True).sort(
            pl.col(source.created_field).fill_null(pl.col(CREATED)), maintain_order=True
        )
        known = stored
    else:
        rows = rows.unique(source.id_field, keep="last", maintain_order=True)
        known = source_table.current(stored, source)
    new = rows.join(known, on=list(source.fields), how="anti", nulls_equal=True, maintain_order="left")
    return _apart(source, new, stored)


def _apart(source: Source, rows: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """The rows with creation times of their own: of two versions of an id with the same one the later received follows a microsecond later.

    A row of a source that does not date its rows follows all that is stored of its id.
    """
    identity = source.id_field or ""
    if source.created_field is None:
        latest = stored.group_by(identity).agg(pl.col(CREATED).max().alias("_latest"))
        joined = rows.join(latest, on=identity, how="left", maintain_order="left")
        return joined.with_columns(pl.max_horizontal(CREATED, pl.col("_latest") + 1)).drop("_latest")
    pairs = [identity, CREATED]
    shared = rows.select(pl.struct(pairs).is_duplicated() | pl.struct(pairs).is_in(stored.select(pl.struct(pairs)).to_series().implode())).to_series()
    if not shared.any():
        return rows
    tied = rows.filter(shared).select(identity).to_series()
    taken = {
        pair for frame in (stored, rows.filter(~shared)) for pair in frame.filter(pl.col(identity).is_in(tied.implode())).select(pairs).iter_rows()
    }
    created = rows[CREATED].to_list()
    for place in shared.arg_true():
        while (rows[identity][place], created[place]) in taken:
            created[place] += 1
        taken.add((rows[identity][place], created[place]))
    return rows.with_columns(pl.Series(CREATED, created, dtype=pl.Int64))


def _beyond(tables: Tables, source: Source, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows without an id are known as often as they are stored: the third of three equal rows is new where two are."""
    column, fields = watermarks.watermark(source), list(source.fields)
    low, high = rows[column].min(), rows[column].max()
    stored = source_table.scan(tables, source, columns=fields).filter(pl.col(column).is_between(low, high)).collect()
    if not stored.height:
        return rows
    numbered = [frame.with_columns(pl.int_range(pl.len()).over(fields).alias(_PLACE)) for frame in (rows, stored)]
    return numbered[0].join(numbered[1], on=[*fields, _PLACE], how="anti", nulls_equal=True, maintain_order="left").drop(_PLACE)
