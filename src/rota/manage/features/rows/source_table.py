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
RECEIVED = "_received_us"
"""When an ingestion brought a row, by the platform's clock: it is online from the next materialization on. Null for a pushed row."""
REPLACED, REPLACED_EVENT = "_replaced_us", "_replaced_event_us"
"""When the row that took a row's place (same id, created next) was created, and from when on a later one was known; null while it stands."""


def table(source: Source) -> str:
    return table_of(source.name)


def table_of(name: str) -> str:
    """The table of the source of that name."""
    return f"sources/{name}"


def fields(source: Source) -> dict[str, Type]:
    """The columns of the source's table."""
    return {**source.fields, CREATED: "int"}


def scan(tables: Tables, source: Source, *, version: int | None = None, columns: Sequence[str] | None = None) -> pl.LazyFrame:
    """The rows of the source as they were received, typed, all columns or some; no rows where there is no table yet."""
    name, types = table(source), coercion.dtypes({**fields(source), RECEIVED: "int"})
    wanted = list(fields(source)) if columns is None else list(columns)
    if version is None and tables.version(name) is None:
        return pl.LazyFrame(schema={each: types[each] for each in wanted})
    found = tables.scan(name, version=version)
    there = found.collect_schema().names()
    return found.select((pl.col(each) if each in there else pl.lit(None).alias(each)).cast(types[each]) for each in wanted)


def has_ingested(tables: Tables, source: Source, version: int | None) -> bool:
    """Whether some row tells when it was ingested; rows from before that was kept count as if they had been pushed."""
    return version is not None and RECEIVED in tables.scan(table(source), version=version).collect_schema()


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
    return found.sort(CREATED, source.timestamp_field, maintain_order=True).unique(source.id_field, keep="last", maintain_order=True)


def chained(found: pl.DataFrame, source: Source) -> pl.DataFrame:
    """The rows, each with the times of the one that took its place: few have one, so only those whose id comes again are looked at."""
    event = source.timestamp_field
    taken = taken_over(found, source, CREATED, pl.max_horizontal(CREATED, event))
    return found.with_columns(column.alias(name) for column, name in zip(taken, (REPLACED, REPLACED_EVENT), strict=True))


def taken_over(found: pl.DataFrame, source: Source, first: str, arrived: pl.Expr) -> list[pl.Series]:
    """For each row the creation of the next version of its id, and the earliest arrival of a later one; null while it stands."""
    nothing = [pl.repeat(None, found.height, dtype=pl.Int64, eager=True) for _ in range(2)]
    if source.id_field is None:
        return nothing
    place = "_place"
    links = found.select(
        pl.col(source.id_field).alias("id"), pl.col(first).alias("first"), pl.col(source.timestamp_field).alias("event"), arrived.alias("arrived")
    )
    links = links.with_row_index(place).filter(pl.col("id").is_duplicated()).sort("first", "event", maintain_order=True)
    links = links.with_columns(pl.col("arrived").cum_min(reverse=True).over("id"))
    links = links.select(place, pl.col("first", "arrived").shift(-1).over("id")).drop_nulls("first")
    return (
        [column.scatter(links[place], links[name]) for column, name in zip(nothing, ("first", "arrived"), strict=True)] if links.height else nothing
    )
