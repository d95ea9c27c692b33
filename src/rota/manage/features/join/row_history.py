"""The rows of a source that were known at a moment, read from its clustered copy and the rows after it, or from the raw table.

A clustered copy holds the same rows once more, put together by entity, so that a join reads one small part at a time. It serves
all views with the same join keys. Its rows lie in buckets by a hash of the entity, each bucket a table of its own, sorted by
(entity, event time, created); rows with a null join key are left out, for nobody can ask for them. Three columns are added:
`_turn` is 0 for a row alone at its entity and event time and counts other rows from 1 on in the order of creation;
`_replaced_us` and `_replaced_event_us` say which later row took a row's place (it may lie in another bucket).

The raw table stays the truth. A copy covers one version of it; what came later is the tail, found by `created_us` and
proved complete by counting: created later than a mark plus known until the mark is all there is. Where the proof fails for
every mark, or the hash is not the one the copy was made with, the raw table is read instead: slower, never wrong.

    history/<source>/<layout>/copies            one row for each finished copy; the last one is in force
    history/<source>/<layout>/v<copy>/<bucket>  the rows
"""

import logging
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from rota.errors import Corrupt, NotFound, Unavailable
from rota.manage.features.rows import source_table
from rota.manage.features.rows.source_table import CREATED, RECEIVED, REPLACED, REPLACED_EVENT
from rota.ports.tables import Tables
from rota.records.data import FeatureView, Source
from rota.records.record import Record, decode, digest, encode
from rota.records.time import Micros

TURN = "_turn"
ARRIVED, GONE = "_arrived", "_gone"
"""From when on a row was online in a view, and a later version of it was; null: it still is the one that counts."""
NEVER = 2**61
"""Later than all moments."""
FORMAT = 1
"""Counts changes of the layout; copies of another format are not read and the next compaction drops them."""
UNREADABLE = (Corrupt, NotFound, Unavailable, pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
"""What a copy that was deleted or damaged raises where it is read."""
_log = logging.getLogger("rota.manage")
_SEED = 7_682
_BUCKET = "_bucket"


class Copy(Record, frozen=True):
    """One finished copy: of which version of the source's table, and what a reader needs to know before it reads.

    `marks` are moments with the number of covered rows created by then; `ties` and `replaced` are whether any row shares its
    entity and event time, or has been replaced: if none does, the column that tells is not read.
    """

    version: int
    buckets: int
    rows: int
    newest_us: Micros
    marks: tuple[tuple[Micros, int], ...]
    columns: tuple[str, ...]
    ties: bool
    replaced: bool

    @property
    def place(self) -> str:
        """The part of the name under which the rows lie: the same for everyone who copies the same."""
        return f"v{self.version}-{digest(encode([self.buckets, self.columns]))[:8]}"


@dataclass(frozen=True, slots=True)
class Layout:
    """How the rows of a source are put together for one set of join keys."""

    source: Source
    keys: tuple[str, ...]

    @property
    def prefix(self) -> str:
        """Names everything that the rows' places follow from; Polars promises its hash for one version of it only."""
        kinds = [(key, self.source.fields[key]) for key in self.keys]
        follows_from = [FORMAT, kinds, self.source.timestamp_field, self.source.id_field, pl.__version__, platform.machine(), _hashes()]
        return f"history/{self.source.name}/{digest(encode(follows_from))[:16]}"

    @property
    def pointer(self) -> str:
        return f"{self.prefix}/copies"

    def table(self, copy: Copy, bucket: int) -> str:
        return f"{self.prefix}/{copy.place}/{bucket}"

    def bucket(self, buckets: int) -> pl.Expr:
        """The bucket of a row, as an expression over its join keys."""
        mixed = pl.col(self.keys[0]).hash(_SEED)
        for seed, key in enumerate(self.keys[1:], _SEED + 1):
            mixed = mixed ^ pl.col(key).hash(seed)
        return (mixed % buckets).cast(pl.UInt16)

    def copies(self, tables: Tables) -> list[Copy]:
        """The finished copies, oldest first: the last one is in force, the one before may still have readers."""
        pointer = self.pointer
        if tables.version(pointer) is None:
            return []
        return [decode(text, Copy) for text in tables.scan(pointer).sort("number").collect()["copy"]]


@cache
def _hashes() -> tuple[int, ...]:
    """What Polars makes of two known values: another text for another hash."""
    return pl.DataFrame({"number": [1], "text": ["rota"]}).select(pl.all().hash(_SEED)).row(0)


def give_up(tables: Tables, layout: Layout, reason: str) -> None:
    """Drop every copy of a layout, for one of them cannot be read: readers take the raw table, and the next compaction makes it anew."""
    _log.warning("clustered copies are given up: %s", reason, extra={"action": "give_up", "copies": layout.prefix})
    for name in sorted(tables.tables(f"{layout.prefix}/"), key=lambda name: name != layout.pointer):
        tables.drop(name)


def layout_of(view: FeatureView) -> Layout:
    return Layout(view.source, tuple(dict.fromkeys(view.join_keys)))


@dataclass(frozen=True, slots=True)
class Tail:
    """What came after a copy: rows created later than `mark_us`; of the copy only rows created by then count."""

    mark_us: Micros
    rows: int


def tail(tables: Tables, source: Source, copy: Copy, version: int) -> Tail | None:
    """The tail of a copy in one version of the source's table, or None where the copy cannot stand for the older rows."""
    if version == copy.version:
        return Tail(copy.newest_us, 0)
    rows = source_table.scan(tables, source, version=version, columns=[CREATED])
    total = rows.select(pl.len()).collect().item()
    for mark_us, covered in copy.marks:
        later = rows.filter(pl.col(CREATED) > mark_us).select(pl.len()).collect().item()
        if later + covered == total:
            return Tail(mark_us, later)
    return None


@dataclass(frozen=True, slots=True)
class SourceSnapshot:
    """What a join reads of a source: one version of its table, and the copy by its join keys that serves for the older rows."""

    layout: Layout
    version: int | None
    copy: Copy | None
    tail: Tail | None
    ingested: bool = False
    """Whether it tells which rows were ingested, and when."""

    @property
    def buckets(self) -> int:
        return self.copy.buckets if self.copy else 1


def snapshot(tables: Tables, layout: Layout, version: int | None, fields: Sequence[str], *, served: bool = False) -> SourceSnapshot:
    """The copy in force, if it holds the fields and what came after it can be counted; else the raw table.

    Which rows were ingested and when, on which depends what was `served`, only the raw table tells.
    """
    if served and source_table.has_ingested(tables, layout.source, version):
        return SourceSnapshot(layout, version, None, None, ingested=True)
    existing = layout.copies(tables) if version is not None else []
    copy = existing[-1] if existing else None
    if copy is None or version is None or copy.version > version or not set(fields) <= set(copy.columns):
        return SourceSnapshot(layout, version, None, None)
    after = tail(tables, layout.source, copy, version)
    if after is None or after.rows > copy.rows:  # most of the source is tail: one reading of all of it is quicker than of both
        return SourceSnapshot(layout, version, None, None)
    return SourceSnapshot(layout, version, copy, after)


@dataclass(frozen=True, slots=True)
class RowSegment:
    """Rows that were all created before those of the next segment.

    `order` is the column by which rows of one entity and event time follow each other (None: there are no two such rows),
    `replaced` marks rows whose place a known row took (None: none), `clustered` rows of one entity probably lie side by side.
    """

    rows: pl.DataFrame
    order: str | None
    replaced: np.ndarray | None
    clustered: bool


class RowHistory:
    """The rows of a source that were created by `known_until_us`, by buckets of entities.

    With `all_times`, rows have the times of their creation and of their replacement.
    """

    def __init__(self, tables: Tables, snapshot: SourceSnapshot, fields: Sequence[str], *, known_until_us: Micros, all_times: bool) -> None:
        self._tables = tables
        self._snapshot = snapshot
        self._fields = tuple(fields)
        self._all_times = all_times
        self._known_us = known_until_us
        self._layout, self._source = snapshot.layout, snapshot.layout.source
        self._late = self._firsts = None
        if snapshot.copy and snapshot.tail and snapshot.tail.rows:
            self._late = self._raw(after_us=snapshot.tail.mark_us)
            self._firsts = self._first_by_id(self._late)
            bucket = self._layout.bucket(snapshot.buckets)
            self._late = self._late.drop_nulls(list(self._layout.keys)).with_columns(bucket.alias(_BUCKET))

    def segments(self, bucket: int) -> list[RowSegment]:
        """The rows of one bucket, oldest creation first."""
        copy, after = self._snapshot.copy, self._snapshot.tail
        if copy is None or after is None:
            return [_segment(self._raw())]
        segments = [self._copied(copy, after, bucket)]
        if self._late is not None:
            segments.append(_segment(self._late.filter(pl.col(_BUCKET) == bucket).drop(_BUCKET)))
        return segments

    def _raw(self, *, after_us: Micros | None = None) -> pl.DataFrame:
        """Rows straight from the source's table, with what replaced them."""
        identity = [self._source.id_field] if self._source.id_field else []
        received = [RECEIVED] if self._snapshot.ingested else []
        wanted = list(dict.fromkeys([*self._layout.keys, self._source.timestamp_field, *self._fields, CREATED, *identity, *received]))
        scanned = source_table.scan(self._tables, self._source, version=self._snapshot.version, columns=wanted)
        rows = (scanned if after_us is None else scanned.filter(pl.col(CREATED) > after_us)).collect()
        if rows.height and rows[CREATED].max() > self._known_us:  # type: ignore[operator]
            rows = source_table.known(rows, self._known_us)  # a copy of all the rows, so only where some are not known yet
        return source_table.chained(rows, self._source) if identity or self._all_times else rows

    def _copied(self, copy: Copy, after: Tail, bucket: int) -> RowSegment:
        """The rows of the copy; those that a row of the tail replaced say so."""
        identity = [self._source.id_field] if self._source.id_field and (self._firsts is not None or copy.ties) else []
        rows = self._bucket(copy, bucket, [*self._fields, *identity], min(self._known_us, after.mark_us))
        if REPLACED in rows.columns and copy.newest_us > self._known_us:
            known = pl.col(REPLACED) <= self._known_us
            times = [name for name in (REPLACED, REPLACED_EVENT) if name in rows.columns]
            rows = rows.with_columns(pl.when(known).then(pl.col(name)).alias(name) for name in times)
        if self._firsts is not None and identity:
            late = rows.select(identity[0]).join(self._firsts, on=identity[0], how="left", maintain_order="left")
            rows = rows.with_columns(
                (pl.min_horizontal(pl.col(name), late[name]) if name in rows.columns else late[name]).alias(name)
                for name in (REPLACED, REPLACED_EVENT)
            )
        rows = widened(rows) if self._all_times else rows  # the others are widened when they are picked
        return RowSegment(rows, TURN if copy.ties else None, _replaced(rows), clustered=True)

    def _bucket(self, copy: Copy, bucket: int, fields: Sequence[str], known_us: Micros) -> pl.DataFrame:
        """The rows of one bucket that were created by a moment, in the order of the file: the join keys and event time, some fields,
        `_turn` if there are ties, when they were replaced if any was, and with `all_times` also created and replaced event time."""
        partly = copy.newest_us > known_us
        wanted = dict.fromkeys([*self._layout.keys, self._source.timestamp_field, *fields])
        wanted |= dict.fromkeys([TURN] * copy.ties + [REPLACED] * (copy.replaced or self._all_times) + [CREATED] * (partly or self._all_times))
        wanted |= dict.fromkeys([REPLACED_EVENT] * self._all_times)
        scanned = self._tables.scan(self._layout.table(copy, bucket), columns=list(wanted))
        return (scanned.filter(pl.col(CREATED) <= known_us) if partly else scanned).collect()

    def _first_by_id(self, late: pl.DataFrame) -> pl.DataFrame | None:
        """For each id of the tail when a row takes the place of what the copy has under it: created first, and known first."""
        if self._source.id_field is None:
            return None
        arrived = pl.max_horizontal(CREATED, self._source.timestamp_field)
        return late.group_by(self._source.id_field).agg(pl.col(CREATED).min().alias(REPLACED), arrived.min().alias(REPLACED_EVENT))


def served_times(rows: pl.DataFrame, source: Source, materialized: Sequence[Micros]) -> pl.DataFrame:
    """The rows of a history with all times, with `ARRIVED` and `GONE` in a view that was materialized at these moments (in order).

    A pushed row was online when it had been received, an ingested one from the next materialization on. Where a source dates its rows
    itself, what was there when the view was materialized first, or before it ever was, counts from its creation: that is history which
    nobody could have asked Rota about.
    """
    arrived = pl.max_horizontal(CREATED, source.timestamp_field)
    if RECEIVED not in rows.columns:
        return rows.with_columns(arrived.alias(ARRIVED), pl.max_horizontal(REPLACED, REPLACED_EVENT).alias(GONE))
    moments = pl.Series("at", materialized, dtype=pl.Int64)
    due = rows.select(pl.max_horizontal(RECEIVED, source.timestamp_field)).to_series()
    place = moments.search_sorted(due, side="left")
    online = pl.concat([moments, pl.Series([NEVER], dtype=pl.Int64)]).gather(place)
    pushed = pl.col(RECEIVED).is_null()
    historic = pushed | (place == 0) if source.created_field is not None else pushed
    rows = rows.with_columns(pl.when(historic).then(arrived).otherwise(online).alias(ARRIVED))
    _, gone = source_table.taken_over(rows, source, CREATED, pl.col(ARRIVED))
    return rows.with_columns(gone.alias(GONE))


def narrowed(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with each float column that loses nothing by it in 32 bits: what sensors, counts and models give seldom needs more."""
    floats = [name for name, dtype in rows.schema.items() if dtype == pl.Float64]
    exact = rows.select(pl.col(name).eq_missing(pl.col(name).cast(pl.Float32).cast(pl.Float64)).all() for name in floats).row(0) if floats else ()
    return rows.with_columns(pl.col(name).cast(pl.Float32) for name, fits in zip(floats, exact, strict=True) if fits)


def widened(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with their floats in 64 bits again, as expressions compute with them."""
    return rows.with_columns(pl.col(pl.Float32).cast(pl.Float64))


def _segment(rows: pl.DataFrame) -> RowSegment:
    return RowSegment(rows, CREATED, _replaced(rows), clustered=False)


def _replaced(rows: pl.DataFrame) -> np.ndarray | None:
    if REPLACED not in rows.columns or rows[REPLACED].null_count() == rows.height:
        return None
    return rows[REPLACED].is_not_null().to_numpy()
