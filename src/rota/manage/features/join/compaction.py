"""Compaction: the clustered copies of a source made or renewed, in bounded memory, so that whoever dies on the way leaves no harm.

A copy is written bucket by bucket and named last, in one commit. What is written under a name follows from the name alone,
so a second compactor or the next one after a kill finds finished buckets and leaves them as they are.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from rota.manage.features.definitions import registration as registry
from rota.manage.features.join import row_history
from rota.manage.features.join.row_history import TURN, Copy, Layout, layout_of, narrowed
from rota.manage.features.rows import source_table
from rota.manage.features.rows.source_table import CREATED, REPLACED, REPLACED_EVENT
from rota.ports.metadata import Metadata
from rota.ports.tables import Tables
from rota.records.data import Source
from rota.records.record import encode
from rota.records.time import DAY_US, HOUR_US, Micros

Progress = Callable[[str, int, int], None]
"""Called with the copy's name, buckets done and buckets in all."""
SmallTables = dict[str, tuple[int, int]]
"""Version and rows of tables that were too small to be sorted when they were counted, by the prefix of their copies."""
_PLACE = "_place"
_MARKS_US = (0, 1, HOUR_US, DAY_US, 7 * DAY_US)
_KEPT = 2
_WRITER = "compact"


@dataclass(frozen=True, slots=True)
class Sizes:
    """`smallest`: sources with fewer rows are read raw, which is quick enough. `bucket`: rows of a bucket, of which a join holds
    two at a time. `memory`: rows that compaction holds at a time; a larger source is read several times."""

    smallest: int = 200_000
    bucket: int = 500_000
    memory: int = 4_000_000


DEFAULT_SIZES = Sizes()


@dataclass(frozen=True, slots=True)
class Compaction:
    """What was done for one set of join keys: `written` is False where the copy in force was good enough."""

    keys: tuple[str, ...]
    rows: int
    buckets: int
    tail_rows: int
    written: bool


def compact(
    tables: Tables,
    metadata: Metadata,
    source: Source,
    *,
    least_tail: float = 0.0,
    sizes: Sizes = DEFAULT_SIZES,
    progress: Progress = lambda *_: None,
    small: SmallTables | None = None,
) -> list[Compaction]:
    """Make or renew the copies of a source, one for each set of join keys that a view over it uses.

    A copy is renewed when more rows than the share `least_tail` of those it covers came after it; 0.1 suits a caller that
    asks all the time, and keeps `small`: a version that it counted before is not counted again.

    Reads the source once for every `sizes.memory` rows, and holds besides them only the times of replaced
    rows; an entity with more rows than that is held whole. Safe to kill, to repeat and to run twice at once.
    """
    views = registry.views_of(metadata, source.name)
    keys = {layout_of(view).keys for view in views if set(view.join_keys) <= set(source.fields)}
    return cluster(tables, source, sorted(keys), least_tail=least_tail, sizes=sizes, progress=progress, small=small)


def cluster(
    tables: Tables,
    source: Source,
    keys: Sequence[tuple[str, ...]],
    *,
    least_tail: float = 0.0,
    sizes: Sizes = DEFAULT_SIZES,
    progress: Progress = lambda *_: None,
    small: SmallTables | None = None,
) -> list[Compaction]:
    """As `compact`, for the given sets of join keys; copies for other ones are dropped."""
    layouts = [Layout(source, each) for each in keys]
    made = [_renew(tables, layout, least_tail, sizes, progress, {} if small is None else small) for layout in layouts]
    _drop_all(tables, source, keeping=[layout.prefix for layout in layouts])
    return made


def _renew(tables: Tables, layout: Layout, least_tail: float, sizes: Sizes, progress: Progress, small: SmallTables) -> Compaction:
    try:
        existing = layout.copies(tables)
    except row_history.UNREADABLE as error:
        row_history.give_up(tables, layout, str(error))
        existing = []
    version = tables.version(source_table.table(layout.source))
    if existing and (version is None or existing[-1].version > version):  # read before it: what was copied is not in the table any more
        row_history.give_up(tables, layout, f"they are of version {existing[-1].version} of a table at version {version}")
        existing = []
    if version is None:
        return Compaction(layout.keys, 0, 0, 0, written=False)
    if existing and _has_gone(tables, layout, existing[-1]):
        row_history.give_up(tables, layout, f"buckets of {existing[-1].place} are gone")
        existing = []
    if existing and set(layout.source.fields) <= set(existing[-1].columns):
        copy = existing[-1]
        tail = row_history.tail(tables, layout.source, copy, version)
        if tail is not None and tail.rows <= least_tail * copy.rows:
            return Compaction(layout.keys, copy.rows, copy.buckets, tail.rows, written=False)
    counted, rows = small.get(layout.prefix, (-1, 0))
    if counted == version:
        return Compaction(layout.keys, 0, 0, rows, written=False)
    plan = _planned(tables, layout, version, sizes)
    if plan.rows < sizes.smallest:
        small[layout.prefix] = (version, plan.rows)
        return Compaction(layout.keys, 0, 0, plan.rows, written=False)
    copy = _written(tables, layout, plan, sizes, progress)
    taken = _put_in_force(tables, layout, copy)
    _drop_old(tables, layout)
    return Compaction(layout.keys, copy.rows, copy.buckets, 0, written=taken)


def _has_gone(tables: Tables, layout: Layout, copy: Copy) -> bool:
    there = set(tables.tables(f"{layout.prefix}/{copy.place}/"))
    return not all(layout.table(copy, bucket) in there for bucket in range(copy.buckets))


def _put_in_force(tables: Tables, layout: Layout, copy: Copy) -> bool:
    """Name a finished copy, unless a newer one has been named meanwhile. Of two who take the same number one is not stored and looks again."""
    while True:
        number = tables.sequence(layout.pointer, _WRITER) + 1
        existing = layout.copies(tables)
        if existing and existing[-1].version > copy.version:
            return False
        tables.append(layout.pointer, pl.DataFrame({"number": [number], "copy": [encode(copy).decode()]}), batch=(_WRITER, number))
        if copy in layout.copies(tables):
            return True


def _planned(tables: Tables, layout: Layout, version: int, sizes: Sizes) -> Copy:
    """The copy to make, as far as it is known before its rows are read."""
    created = source_table.scan(tables, layout.source, version=version, columns=[CREATED])
    rows, newest_us = created.select(pl.len(), pl.col(CREATED).max()).collect().row(0)
    marks: tuple[tuple[Micros, int], ...] = ()
    if rows:
        moments = [newest_us - back for back in _MARKS_US]
        counts = created.select((pl.col(CREATED) <= moment).sum().alias(str(moment)) for moment in moments).collect().row(0)
        marks = tuple(zip(moments, counts, strict=True))
    buckets = max(1, -(-rows // sizes.bucket))
    columns = tuple(sorted(layout.source.fields))
    return Copy(version, buckets, rows, newest_us or 0, marks, columns, ties=False, replaced=False)


def _written(tables: Tables, layout: Layout, plan: Copy, sizes: Sizes, progress: Progress) -> Copy:
    """Write the buckets, and complete the plan by what was found in them."""
    ties = False
    replaced: pl.DataFrame | None = None
    step = max(1, sizes.memory * plan.buckets // max(plan.rows, 1))
    missing = [bucket for bucket in range(plan.buckets) if tables.sequence(layout.table(plan, bucket), _WRITER) < 0]
    if missing or layout.source.id_field is not None:
        replaced = _replacements(tables, layout.source, plan, sizes)
    done = plan.buckets - len(missing)
    for start in range(0, plan.buckets, step):
        wanted = [bucket for bucket in missing if start <= bucket < start + step]
        for bucket, rows in _clustered(tables, layout, plan, wanted, replaced) if wanted else ():
            tables.append(layout.table(plan, bucket), rows, batch=(_WRITER, 0))
            ties = ties or bool((rows[TURN] > 0).any())
            done += 1
            progress(f"{layout.source.name} by {', '.join(layout.keys)}", done, plan.buckets)
    if not ties and len(missing) < plan.buckets:  # written by somebody else: look
        finished = [tables.scan(layout.table(plan, bucket), columns=[TURN]) for bucket in range(plan.buckets) if bucket not in missing]
        ties = any(found.select((pl.col(TURN) > 0).any()).collect().item() for found in finished)
    values: dict[str, Any] = {name: getattr(plan, name) for name in plan.__struct_fields__}
    return Copy(**values | {"ties": ties, "replaced": replaced is not None and bool(replaced.height)})


def _clustered(tables: Tables, layout: Layout, plan: Copy, buckets: list[int], replaced: pl.DataFrame | None) -> Iterator[tuple[int, pl.DataFrame]]:
    """The rows of some buckets, each sorted, out of one reading of the source."""
    source, event = layout.source, layout.source.timestamp_field
    bucket = layout.bucket(plan.buckets)
    found = source_table.scan(tables, source, version=plan.version)
    if replaced is not None and replaced.height:
        found = found.with_row_index(_PLACE)
    found = found.filter(bucket.is_in(buckets), *(pl.col(key).is_not_null() for key in layout.keys)) if len(buckets) < plan.buckets else found
    held = found.collect()
    held = held.drop_nulls(list(layout.keys))
    if replaced is not None and _PLACE in held.columns:
        held = held.join(replaced, on=_PLACE, how="left").drop(_PLACE)
    else:
        held = held.with_columns(pl.lit(None, dtype=pl.Int64).alias(REPLACED), pl.lit(None, dtype=pl.Int64).alias(REPLACED_EVENT))
    number = held.select(bucket).to_series()
    for each in buckets:
        rows = held.filter(number == each).sort(*layout.keys, event, CREATED)
        yield each, narrowed(rows).with_columns(_turns(rows, layout))


def _turns(rows: pl.DataFrame, layout: Layout) -> pl.Series:
    """0 for a row alone at its entity and event time; rows that share theirs count on with each later creation."""
    same = pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in (*layout.keys, layout.source.timestamp_field)).fill_null(value=False)
    later = same & (pl.col(CREATED) > pl.col(CREATED).shift())
    counted = rows.select(same=same, later=later)
    steps = counted["later"].cast(pl.Int64).cum_sum()
    base = pl.select(pl.when(~counted["same"]).then(steps)).to_series().forward_fill()
    shared = counted["same"] | counted["same"].shift(-1, fill_value=False)
    return ((steps - base) + shared.cast(pl.Int64)).alias(TURN)


def _replacements(tables: Tables, source: Source, plan: Copy, sizes: Sizes) -> pl.DataFrame:
    """Place in the table and replacing times of every row whose id came again."""
    if source.id_field is None:
        return pl.DataFrame(schema={_PLACE: pl.UInt32, REPLACED: pl.Int64, REPLACED_EVENT: pl.Int64})
    columns = list(dict.fromkeys([source.id_field, CREATED, source.timestamp_field]))
    found = source_table.scan(tables, source, version=plan.version, columns=columns).with_row_index(_PLACE)
    parts = -(-plan.rows // (2 * sizes.memory)) or 1
    made = []
    for part in range(parts):
        rows = found.filter(pl.col(source.id_field).hash() % parts == part).collect() if parts > 1 else found.collect()
        made.append(source_table.chained(rows, source).filter(pl.col(REPLACED).is_not_null()).select(_PLACE, REPLACED, REPLACED_EVENT))
    return pl.concat(made)


def _drop_old(tables: Tables, layout: Layout) -> None:
    """Drop rows of copies that nobody needs: neither in force nor the one before, nor newer than both (somebody may be writing it)."""
    finished = layout.copies(tables)
    kept = {copy.place for copy in finished[-_KEPT:]}
    for name in tables.tables(f"{layout.prefix}/v"):
        place = name.removeprefix(f"{layout.prefix}/").split("/")[0]
        if place not in kept and int(place[1:].split("-")[0]) <= finished[-1].version:
            tables.drop(name)


def _drop_all(tables: Tables, source: Source, *, keeping: Iterable[str]) -> None:
    """Drop copies for join keys that no view uses, and those of another layout; the pointer goes first."""
    kept = tuple(f"{prefix}/" for prefix in keeping)
    old = [name for name in tables.tables(f"history/{source.name}/") if not name.startswith(kept)]
    for name in sorted(old, key=lambda name: not name.endswith("/copies")):
        tables.drop(name)
