"""Rows of a source in the offline store: the table `sources/<name>` with the source's fields and `created_us`."""

import polars as pl

from rota.manage.features import rows
from rota.ports.tables import Tables
from rota.records.data import Source
from rota.records.schema import Type
from rota.records.time import Micros

CREATED = "created_us"
"""When Rota received a row, by the platform's clock; a row is not known before its own timestamp."""


def table(source: Source) -> str:
    return f"sources/{source.name}"


def fields(source: Source) -> dict[str, Type]:
    """The columns of the source's table."""
    return {**source.fields, CREATED: "int"}


def stored(tables: Tables, source: Source, *, version: int | None = None) -> pl.DataFrame:
    """All rows of the source as they were received, typed; no rows where there is no table yet."""
    name, wanted = table(source), fields(source)
    if tables.version(name) is None:
        return pl.DataFrame(schema=rows.dtypes(wanted))
    scan = tables.scan(name, version=version)
    there = scan.collect_schema().names()
    columns = [pl.col(name) if name in there else pl.lit(None).alias(name) for name in wanted]
    return scan.select(column.cast(dtype) for column, dtype in zip(columns, rows.dtypes(wanted).values(), strict=True)).collect()


def known(found: pl.DataFrame, until_us: Micros) -> pl.DataFrame:
    """The rows that Rota had received by a moment."""
    return found.filter(pl.col(CREATED) <= until_us)


def current(found: pl.DataFrame, source: Source) -> pl.DataFrame:
    """One row for each id: the one created last."""
    if source.id_field is None or not found.height:
        return found
    return found.sort(CREATED, maintain_order=True).unique(source.id_field, keep="last", maintain_order=True)
