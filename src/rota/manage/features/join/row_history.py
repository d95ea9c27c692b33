"""What was known of a source at a moment, as stretches of rows: of a clustered copy and its tail, or of the raw table."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from rota.manage.features.join import sorted_copy
from rota.manage.features.join.sorted_copy import TURN, Copy, Layout, Tail
from rota.manage.features.rows import source_table
from rota.manage.features.rows.source_table import CREATED, REPLACED, REPLACED_EVENT
from rota.ports.tables import Tables
from rota.records.time import Micros


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows that were all created before those of the next stretch.

    `order` is the column by which rows of one entity and event time follow each other (None: there are no two such rows),
    `replaced` marks rows whose place a known row took (None: none), `clustered` rows of one entity probably lie side by side.
    """

    rows: pl.DataFrame
    order: str | None
    replaced: np.ndarray | None
    clustered: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a source stands for one set of join keys: the version of its table, and the copy that serves for the older rows."""

    layout: Layout
    version: int | None
    copy: Copy | None
    tail: Tail | None

    @property
    def buckets(self) -> int:
        return self.copy.buckets if self.copy else 1


def standing(tables: Tables, layout: Layout, version: int | None, fields: Sequence[str]) -> Standing:
    """The copy in force, if it holds the fields and its tail can be told; else the raw table."""
    existing = layout.copies(tables)
    copy = existing[-1] if existing else None
    if copy is None or version is None or copy.version > version or not set(fields) <= set(copy.columns):
        return Standing(layout, version, None, None)
    tail = sorted_copy.tail(tables, layout.source, copy, version)
    if tail is None or tail.rows > copy.rows:  # most of the source is tail: one reading of all of it is quicker than of both
        return Standing(layout, version, None, None)
    return Standing(layout, version, copy, tail)


class History:
    """The rows of a source that were created by `known_until_us`, by buckets of entities.

    With `all_times`, rows have the times of their creation and of their replacement.
    """

    def __init__(self, tables: Tables, stands: Standing, fields: Sequence[str], *, known_until_us: Micros, all_times: bool) -> None:
        self._tables = tables
        self._stands = stands
        self._fields = tuple(fields)
        self._all_times = all_times
        self._known_us = known_until_us
        self._layout, self._source = stands.layout, stands.layout.source
        self._late = self._firsts = None
        if stands.copy and stands.tail and stands.tail.rows:
            self._late = self._raw(after_us=stands.tail.mark_us)
            self._firsts = self._first_by_id(self._late)
            bucket = self._layout.bucket(stands.buckets)
            self._late = self._late.drop_nulls(list(self._layout.keys)).with_columns(bucket.alias(_BUCKET))

    def stretches(self, bucket: int) -> list[Stretch]:
        """The rows of one bucket, oldest creation first."""
        copy, tail = self._stands.copy, self._stands.tail
        if copy is None or tail is None:
            return [_stretch(self._raw())]
        found = [self._copied(copy, tail, bucket)]
        if self._late is not None:
            found.append(_stretch(self._late.filter(pl.col(_BUCKET) == bucket).drop(_BUCKET)))
        return found

    def _raw(self, *, after_us: Micros | None = None) -> pl.DataFrame:
        """Rows straight from the source's table, with what replaced them."""
        identity = [self._source.id_field] if self._source.id_field else []
        wanted = list(dict.fromkeys([*self._layout.keys, self._source.timestamp_field, *self._fields, CREATED, *identity]))
        found = source_table.scan(self._tables, self._source, version=self._stands.version, columns=wanted)
        rows = (found if after_us is None else found.filter(pl.col(CREATED) > after_us)).collect()
        if rows.height and rows[CREATED].max() > self._known_us:  # type: ignore[operator]
            rows = source_table.known(rows, self._known_us)  # a copy of all the rows, so only where some are not known yet
        return source_table.chained(rows, self._source) if identity or self._all_times else rows

    def _copied(self, copy: Copy, tail: Tail, bucket: int) -> Stretch:
        identity = [self._source.id_field] if self._source.id_field and self._firsts is not None else []
        rows = sorted_copy.read(
            self._tables,
            self._layout,
            copy,
            bucket,
            [*self._fields, *identity],
            known_until_us=min(self._known_us, tail.mark_us),
            all_times=self._all_times,
        )
        if REPLACED in rows.columns and copy.newest_us > self._known_us:
            known = pl.col(REPLACED) <= self._known_us
            times = [name for name in (REPLACED, REPLACED_EVENT) if name in rows.columns]
            rows = rows.with_columns(pl.when(known).then(pl.col(name)).alias(name) for name in times)
        if self._firsts is not None and identity:
            late = rows.select(identity[0]).join(self._firsts, on=identity[0], how="left", maintain_order="left")
            rows = rows.with_columns(
                (pl.coalesce(pl.col(name), late[name]) if name in rows.columns else late[name]).alias(name) for name in (REPLACED, REPLACED_EVENT)
            )
        rows = sorted_copy.widened(rows) if self._all_times else rows  # the others are widened when they are picked
        return Stretch(rows, TURN if copy.ties else None, _replaced(rows), clustered=True)

    def _first_by_id(self, late: pl.DataFrame) -> pl.DataFrame | None:
        """For each id of the tail the row that takes the place of what the copy has under it."""
        if self._source.id_field is None:
            return None
        firsts = late.sort(CREATED, maintain_order=True).unique(self._source.id_field, keep="first", maintain_order=True)
        return firsts.select(self._source.id_field, pl.col(CREATED).alias(REPLACED), pl.col(self._source.timestamp_field).alias(REPLACED_EVENT))


_BUCKET = "_bucket"


def _stretch(rows: pl.DataFrame) -> Stretch:
    return Stretch(rows, CREATED, _replaced(rows), clustered=False)


def _replaced(rows: pl.DataFrame) -> np.ndarray | None:
    if REPLACED not in rows.columns or rows[REPLACED].null_count() == rows.height:
        return None
    return rows[REPLACED].is_not_null().to_numpy()
