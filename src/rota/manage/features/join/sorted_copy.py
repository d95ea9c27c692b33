"""Clustered copies of a source: the same rows once more, put together by entity, so that a join reads one small part at a time.

A copy serves all views with the same join keys. Its rows lie in buckets by a hash of the entity, each bucket a table of its
own, sorted by (entity, event time, created); rows with a null join key are left out, for nobody can ask for them. Three
columns are added: `_turn` is 0 for a row alone at its entity and event time and counts other rows from 1 on in the order of
creation; `_replaced_us` and `_replaced_event_us` say which later row took a row's place (it may lie in another bucket).

The raw table stays the truth. A copy covers one version of it; what came later is the tail, found by `created_us` and
proved complete by counting: created later than a mark plus known until the mark is all there is. Where the proof fails for
every mark, or the hash is not the one the copy was made with, the raw table is read instead: slower, never wrong.

    history/<source>/<layout>/copies            one row for each finished copy; the last one is in force
    history/<source>/<layout>/v<copy>/<bucket>  the rows
"""

import platform
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from rota.manage.features.rows import source_table
from rota.manage.features.rows.source_table import CREATED, REPLACED, REPLACED_EVENT
from rota.ports.tables import Tables
from rota.records.data import FeatureView, Source
from rota.records.record import Record, decode, digest, encode
from rota.records.time import Micros

TURN = "_turn"
FORMAT = 1
"""Counts changes of the layout; copies of another format are not read and the next compaction drops them."""


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
        """Names everything the rows' places follow from; polars promises its hash for one version of it only."""
        probe = pl.DataFrame({"number": [1], "text": ["rota"]}).select(pl.all().hash(_SEED)).row(0)
        kinds = [(key, self.source.fields[key]) for key in self.keys]
        follows_from = [FORMAT, kinds, self.source.timestamp_field, self.source.id_field, pl.__version__, platform.machine(), probe]
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
        if tables.version(self.pointer) is None:
            return []
        return [decode(text, Copy) for text in tables.scan(self.pointer).sort("number").collect()["copy"]]


_SEED = 7_682


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
    found = source_table.scan(tables, source, version=version, columns=[CREATED])
    total = found.select(pl.len()).collect().item()
    for mark_us, covered in copy.marks:
        later = found.filter(pl.col(CREATED) > mark_us).select(pl.len()).collect().item()
        if later + covered == total:
            return Tail(mark_us, later)
    return None


def read(tables: Tables, layout: Layout, copy: Copy, bucket: int, fields: Sequence[str], *, known_until_us: Micros, all_times: bool) -> pl.DataFrame:
    """The rows of one bucket that were created by a moment, in the order of the file: the join keys and event time, some fields,
    `_turn` if there are ties, when they were replaced if any was, and with `all_times` also created and replaced event time."""
    partly = copy.newest_us > known_until_us
    wanted = dict.fromkeys([*layout.keys, layout.source.timestamp_field, *fields])
    wanted |= dict.fromkeys([TURN] * copy.ties + [REPLACED] * (copy.replaced or all_times) + [CREATED] * (partly or all_times))
    wanted |= dict.fromkeys([REPLACED_EVENT] * all_times)
    found = tables.scan(layout.table(copy, bucket), columns=list(wanted))
    return (found.filter(pl.col(CREATED) <= known_until_us) if partly else found).collect()


def narrowed(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with each float column that loses nothing by it in 32 bits: what sensors, counts and models give seldom needs more."""
    floats = [name for name, dtype in rows.schema.items() if dtype == pl.Float64]
    exact = rows.select(pl.col(name).eq_missing(pl.col(name).cast(pl.Float32).cast(pl.Float64)).all() for name in floats).row(0) if floats else ()
    return rows.with_columns(pl.col(name).cast(pl.Float32) for name, fits in zip(floats, exact, strict=True) if fits)


def widened(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with their floats in 64 bits again, as expressions compute with them."""
    return rows.with_columns(pl.col(pl.Float32).cast(pl.Float64))
