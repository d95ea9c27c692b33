"""Datasets: a definition becomes an immutable version, joined point-in-time, with the digest of its very rows."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from rota.errors import InvalidInput, NotFound
from rota.manage.features import expressions, offline, source_rows
from rota.ports.metadata import Metadata
from rota.ports.tables import Tables
from rota.records.dataset import DatasetDefinition, DatasetVersion, TimeSplit
from rota.records.record import check_name
from rota.records.schema import Type
from rota.records.time import Micros, iso, micros

LABEL = "label"
AT = "at_us"
TEST = "is_test"
ROW = "row"


@dataclass(frozen=True, slots=True)
class Built:
    """A dataset version that is stored as a table but not yet committed as a record, and its rows."""

    version: DatasetVersion
    rows: pl.DataFrame


def next_number(metadata: Metadata, name: str) -> int:
    newest = metadata.find(DatasetVersion, {"name": name}, order="-number", limit=1)
    return newest[0].number + 1 if newest else 1


def get(metadata: Metadata, name: str, number: int) -> DatasetVersion:
    version = metadata.get(DatasetVersion, name, number)
    if version is None:
        raise NotFound(f"dataset {name!r} has no version {number}; `rota data list` shows what exists", dataset=name, number=number)
    return version


def build(tables: Tables, name: str, number: int, definition: DatasetDefinition, *, now_us: Micros) -> Built:
    """Join labels and features as known at `now_us` and store the rows; doing it again gives the same rows, digest and table.

    Columns: `at_us` (when the prediction would have been made), the label source's own columns, one column a feature,
    `label` (float), `is_test` and `row`, the place in the order by time and source id.
    """
    check_name("dataset", name)
    _check_columns(name, definition)
    spine = labelled_rows(tables, definition, now_us=now_us)
    if spine.is_empty():
        raise InvalidInput(
            f"dataset {name!r} has no labelled rows in the {definition.window} before {iso(now_us)}; "
            f"push or ingest rows of source {definition.labels.name!r} first",
            dataset=name,
        )
    rows = offline.historical(tables, definition.features, spine, timestamp=AT, known_until_us=now_us)
    newest = int(rows[AT].max())  # type: ignore[arg-type]
    if not isinstance(definition.split, TimeSplit):
        raise NotImplementedError
    test_from_us = newest + 1 - micros(definition.split.test)
    rows = rows.with_columns((pl.col(AT) >= test_from_us).alias(TEST)).with_row_index(ROW).with_columns(pl.col(ROW).cast(pl.Int64))
    test_rows = int(rows[TEST].sum())
    if test_rows in (0, rows.height):
        raise InvalidInput(
            f"dataset {name!r}: of {rows.height} rows {test_rows} fall into the newest {definition.split.test}; "
            "both training and test need rows, so change the split or wait for more data",
            dataset=name,
        )
    digest = digest_of(rows)
    table = f"datasets/{name}/{digest}"  # by content: a build that was killed before its record was committed leaves nothing that a later one reads
    table_version = tables.append(table, rows, batch=(digest, 0))
    version = DatasetVersion(
        name=name,
        number=number,
        digest=digest,
        table=table,
        table_version=table_version,
        rows=rows.height,
        train_rows=rows.height - test_rows,
        test_rows=test_rows,
        start_us=int(rows[AT].min()),  # type: ignore[arg-type]
        end_us=newest,
        test_from_us=test_from_us,
        created_us=now_us,
        sources=source_versions(tables, definition),
    )
    return Built(version, rows)


def read(tables: Tables, version: DatasetVersion) -> pl.DataFrame:
    """The rows of a version, in their order."""
    return tables.scan(version.table, version=version.table_version).sort(ROW).collect()


def labelled_rows(tables: Tables, definition: DatasetDefinition, *, now_us: Micros) -> pl.DataFrame:
    """Label rows of the window that were known at `now_us`, one per id, with `at_us` and `label`."""
    source = definition.labels
    if tables.version(f"sources/{source.name}") is None:
        return pl.DataFrame({AT: [], LABEL: []}, schema={AT: pl.Int64, LABEL: pl.Float64})
    label = expressions.column(definition.label.sql, source.fields).cast(pl.Float64).fill_nan(None)
    rows = source_rows.current(source_rows.known(source_rows.stored(tables, source), now_us), source)
    at = pl.col(definition.timestamp)
    rows = rows.filter((pl.col(source.timestamp_field) <= now_us) & (at > now_us - micros(definition.window)) & (at <= now_us))
    rows = rows.with_columns(at.alias(AT), label.alias(LABEL)).filter(pl.col(LABEL).is_not_null())
    order = [source.id_field] if source.id_field else rows.columns  # tables promise no order, so ties need one
    return rows.sort([AT, *order], maintain_order=True)


def source_names(definition: DatasetDefinition) -> list[str]:
    """Every source that a definition reads."""
    return sorted({definition.labels.name} | {view.source.name for view in definition.features.stored_views})


def source_versions(tables: Tables, definition: DatasetDefinition) -> dict[str, int]:
    """The table version of every source that a definition reads and that has rows."""
    return {name: version for name in source_names(definition) if (version := tables.version(f"sources/{name}")) is not None}


def feature_types(rows: pl.DataFrame, names: Sequence[str]) -> dict[str, Type]:
    """The type of each feature as the model sees it: a text is a category, anything else a number."""
    return {name: "string" if rows.schema[name] == pl.String else "float" for name in names}


def digest_of(rows: pl.DataFrame) -> str:
    """SHA-256 over names, types and values, column by column. Arrow bytes would not do: what lies under a null is not part of the rows."""
    total = hashlib.sha256()
    for column in rows:
        nulls = column.is_null()
        total.update(f"{column.name} {column.dtype} {column.len()};".encode())
        total.update(nulls.to_numpy().tobytes())
        if column.dtype == pl.String:
            texts = column.fill_null("")
            total.update(texts.str.len_bytes().to_numpy().tobytes())
            total.update("".join(texts).encode())
        else:
            total.update(column.fill_null(value=False if column.dtype == pl.Boolean else 0).to_numpy().tobytes())
    return total.hexdigest()


def _check_columns(name: str, definition: DatasetDefinition) -> None:
    """The label source's columns stand beside the dataset's own."""
    taken = {ROW, TEST} | ({AT} if definition.timestamp != AT else set())
    clash = sorted(taken & set(definition.labels.fields))
    if clash:
        raise InvalidInput(
            f"dataset {name!r}: label source {definition.labels.name!r} has the fields {clash}, which a dataset needs for itself; rename them",
            dataset=name,
        )
