"""Rows of a source in the offline store: the table `sources/<name>` with the source's fields and `created_us`."""

from collections.abc import Sequence

import polars as pl

from rota.manage.features.rows import coercion
from rota.ports.tables import Tables
from rota.records.data import Source
from rota.records.schema import Type
from rota.records.time import Micros

CREATED = "created_us"
"""When Rota received a row, by the platform's clock; a row is not known before its own timestamp."""
REPLACED, REPLACED_EVENT = "_replaced_us", "_replaced_event_us"
"""Created and event time of the row that took a row's place (same id, created next); null while it stands."""


def table(source: Source) -> str:
    return f"sources/{source.name}"


def fields(source: Source) -> dict[str, Type]:
    """The columns of the source's table."""
    return {**source.fields, CREATED: "int"}


def scan(tables: Tables, source: Source, *, version: int | None = None, columns: Sequence[str] | None = None) -> pl.LazyFrame:
    """The rows of the source as they were received, typed, all columns or some; no rows where there is no table yet."""
    name, types = table(source), coercion.dtypes(fields(source))
    wanted = list(types) if columns is None else list(columns)
    if version is None and tables.version(name) is None:
        return pl.LazyFrame(schema={each: types[each] for each in wanted})
    found = tables.scan(name, version=version)
    there = found.collect_schema().names()
    return found.select((pl.col(each) if each in there else pl.lit(None).alias(each)).cast(types[each]) for each in wanted)


def stored(tables: Tables, source: Source, *, version: int | None = None) -> pl.DataFrame:
    """All rows of the source."""
    return scan(tables, source, version=version).collect()


def known(found: pl.DataFrame, until_us: Micros) -> pl.DataFrame:
    """The rows that Rota had received by a moment."""
    return found.filter(pl.col(CREATED) <= until_us)


def current(found: pl.DataFrame, source: Source) -> pl.DataFrame:
    """One row for each id: the one created last."""
    if source.id_field is None or not found.height:
        return found
    return found.sort(CREATED, maintain_order=True).unique(source.id_field, keep="last", maintain_order=True)


def chained(found: pl.DataFrame, source: Source) -> pl.DataFrame:
    """The rows, each with the times of the one that took its place: few have one, so only those whose id comes again are looked at."""
    replaced = [pl.repeat(None, found.height, dtype=pl.Int64, eager=True).alias(name) for name in (REPLACED, REPLACED_EVENT)]
    if source.id_field is not None:
        place = "_place"
        links = found.select(pl.col(source.id_field).alias("id"), pl.col(CREATED), pl.col(source.timestamp_field).alias("event"))
        links = links.with_row_index(place).filter(pl.col("id").is_duplicated()).sort(CREATED, maintain_order=True)
        links = links.select(place, pl.col(CREATED, "event").shift(-1).over("id")).drop_nulls(CREATED)
        if links.height:
            replaced = [column.scatter(links[place], links[values]) for column, values in zip(replaced, (CREATED, "event"), strict=True)]
    return found.with_columns(replaced)
