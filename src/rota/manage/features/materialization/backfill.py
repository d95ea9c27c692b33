"""Backfill: the online state of a source computed from its offline rows.

The newest rows of a scalar view are computed in parts of its entities, one part in memory at a time: rows without ids merge in the
store (the newest stays), so the parts may be written separately. Window tiles, rows with ids and the indexes that find them are
computed together, because they are right for one state of the source only (see `window_rebuild`); they hold the columns that
these views use.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl

from rota.manage.features.materialization.online_update import RECENT_US, Bucket, DeduplicationIndex, PushedRow
from rota.manage.features.materialization.served_index import EntityGroup
from rota.manage.features.online import tiles
from rota.manage.features.online.row_codec import RowView, entity_names
from rota.manage.features.online.row_codec_batch import RowBatches
from rota.manage.features.online.window_view import WindowView, contributions, values_taken
from rota.manage.features.rows import source_table
from rota.manage.features.rows.source_table import CREATED, RECEIVED
from rota.ports.tables import Tables
from rota.records.data import Source
from rota.records.time import Micros
from rota.stats import exact_sums

Pairs = list[tuple[bytes, bytes]]
ROWS_AT_ONCE = 4_000_000
"""Rows of a source that are held at once: some hundred bytes each."""
_BASE, _HALF = (pl.lit(2**power, dtype=pl.Int128) for power in (exact_sums.WIDTH, exact_sums.WIDTH - 1))


def newest(tables: Tables, view: RowView, *, version: int | None, now_us: Micros, at_once: int = ROWS_AT_ONCE) -> Iterator[tuple[float, Pairs]]:
    """Key and bytes of each entity's newest row up to now, in parts: (share of the source that is done, pairs in key order)."""
    batches = RowBatches(view)
    source, keys = view.view.source, list(dict.fromkeys(view.join_keys))
    columns = list(dict.fromkeys([*batches.columns, CREATED]))
    scan = source_table.scan(tables, source, version=version, columns=columns).filter(pl.col(view.timestamp_field) <= now_us).drop_nulls(keys)
    parts = -(-scan.select(pl.len()).collect().item() // at_once)
    for part in range(parts):
        found = (scan if parts == 1 else scan.filter(pl.struct(keys).hash() % parts == part)).collect(engine="streaming")
        yield (part + 1) / parts, batches.pairs(_newest_of(found, view.timestamp_field, keys))


def rebuilt(index: DeduplicationIndex, found: pl.DataFrame) -> Pairs:
    """All rows of a source as what its views hold that are rebuilt together, and their indexes: key and stored bytes of each."""
    current = source_table.current(found, index.source)
    pairs = [*_indexed(index, current), *(pair for view in index.windowed for pair in _tiles(view, found, current))]
    if index.source.id_field is not None:
        pairs += _standing(index, found, current)
    return pairs


def due(tables: Tables, source: Source, *, version: int | None, after_us: Micros) -> Micros | None:
    """The earliest event time after a moment: when it has come, there are rows to be brought online that are not there now."""
    event = pl.col(source.timestamp_field)
    scan = source_table.scan(tables, source, version=version, columns=[source.timestamp_field])
    earliest: Micros | None = scan.filter(event > after_us).select(event.min()).collect().item()
    return earliest


def _standing(index: DeduplicationIndex, found: pl.DataFrame, current: pl.DataFrame) -> Pairs:
    """Of each entity that ever had a row the newest one that counts, or nothing; and which ids these rows have."""
    pairs: Pairs = []
    standing: dict[tuple[bytes, bytes, bytes], tuple[EntityGroup, bytes, bytes]] = {}
    for group in index.served.groups:
        keys = list(dict.fromkeys(group.join_keys))
        entities = found.select(keys).drop_nulls().unique()
        names = entity_names([entities[key].to_list() for key in group.join_keys])
        rows = _newest_of(current.drop_nulls(keys), index.source.timestamp_field, keys)
        for view in group.views:
            newest: dict[bytes, bytes] = {view.prefix + name: b"" for name in names if name is not None}
            for key, data in index.batches[view.prefix].pairs(rows):
                known = newest.get(key)
                newest[key] = data if not known or view.order(data) > view.order(known) else known
            for key, data in newest.items():
                if (identity := view.id_of(data)) is not None:
                    name = key.removeprefix(view.prefix)
                    standing[group.tag, name, identity] = (group, name, identity)
            pairs += newest.items()
    return pairs + index.served.buckets(standing.values())


def _newest_of(found: pl.DataFrame, timestamp: str, keys: list[str]) -> pl.DataFrame:
    """Each entity's rows with the latest event and created time; more than one only where both are equal."""
    kept = found.filter(pl.col(timestamp) == pl.col(timestamp).max().over(keys))
    return kept.filter(pl.col(CREATED) == pl.col(CREATED).max().over(keys))


def _tiles(view: WindowView, found: pl.DataFrame, current: pl.DataFrame) -> Pairs:
    """The newest time of each entity over all rows, as pushes leave it; its tiles from the rows that count today."""
    keys, event = list(dict.fromkeys(view.join_keys)), pl.col(view.timestamp_field)
    entities = found.drop_nulls(keys).group_by(keys).agg(event.max().alias("_newest")).sort(keys)
    names = entity_names([entities[key].to_list() for key in view.join_keys])
    entities = entities.select(*keys, "_newest", pl.int_range(pl.len(), dtype=pl.Int64).alias("_entity"))
    rows = current.join(entities, on=keys).with_columns((event // view.hop_us).alias("_tile"))
    rows = rows.filter(pl.col("_tile") > pl.col("_newest") // view.hop_us - view.keep)
    made = _folded_tiles(view, rows, entities) if view.layout.folds else _summed_tiles(view, rows, entities)
    return [(view.prefix + name, data) for name, data in zip(names, made, strict=True) if name is not None]


def _summed_tiles(view: WindowView, rows: pl.DataFrame, entities: pl.DataFrame) -> list[bytes]:
    """Each entity's record with the columns that it needs; those that need the same ones are made together."""
    summed = _summed(view, rows)
    codes = summed.columns[2:]
    needed = pl.concat_str((pl.col(codes) != 0).any().cast(pl.Int8)) if codes else pl.lit("")
    summed = summed.join(summed.group_by("_entity").agg(needed.alias("_needed")), on="_entity").sort("_entity", "_tile")
    newest = entities["_newest"].to_list()
    made = [tiles.sums_record(newest_us, view.keep, tiles.NO_COLUMNS, b"") for newest_us in newest]
    for (flags,), part in summed.group_by("_needed"):
        columns = tiles.TileColumns(int(code) for code, flag in zip(codes, str(flags), strict=True) if flag == "1")
        numbers = part.sort("_entity", "_tile").select(pl.col("_tile", *map(str, columns.codes)).cast(pl.Float64))
        data = np.ascontiguousarray(numbers.to_numpy().astype("<f8")).tobytes()
        start = 0
        for entity, count in part.group_by("_entity").len().sort("_entity").iter_rows():
            end = start + 8 * count * numbers.width
            made[entity] = tiles.sums_record(newest[entity], view.keep, columns, data[start:end])
            start = end
    return made


def _summed(view: WindowView, rows: pl.DataFrame) -> pl.DataFrame:
    """A row for each tile: entity, tile id, then its counts and digits, each named by its column's code."""
    added: dict[str, pl.Series] = {}
    for slot, values in enumerate(rows.select("_entity", *contributions(view.view)).drop("_entity")):
        added[str(tiles.count_code(slot))] = values.is_not_null().cast(pl.Int64)
        if view.totalled[slot]:
            digits = exact_sums.columns_on_grid(values.fill_null(0).to_numpy())
            added |= {str(tiles.digit_code(slot, place)): pl.Series(whole) for place, whole in digits.items()}
    frame = rows.select("_entity", "_tile").with_columns(pl.Series(name, column, dtype=pl.Int128) for name, column in added.items())
    summed = frame.group_by("_entity", "_tile").agg(pl.all().sum())
    for slot in range(len(view.totalled)):
        summed = _carried(summed, slot)
    return summed


def _carried(summed: pl.DataFrame, slot: int) -> pl.DataFrame:
    """The digits of an expression, the large ones brought into their range and the rest of them to the next place."""
    for place in range(exact_sums.LOWEST, exact_sums.HIGHEST + 3):
        name, above = (str(tiles.digit_code(slot, each)) for each in (place, place + 1))
        if name not in summed.columns:
            continue
        if summed[name].abs().max() > exact_sums.MOST_ADDED:  # type: ignore[operator]
            carry = (pl.col(name) + _HALF) // _BASE
            more = pl.col(above) + carry if above in summed.columns else carry
            summed = summed.with_columns((pl.col(name) - carry * _BASE).alias(name), more.alias(above))
    return summed


def _folded_tiles(view: WindowView, rows: pl.DataFrame, entities: pl.DataFrame) -> list[bytes]:
    """Records with min, max and last: row by row, as pushes make them, in the order in which the rows were created."""
    event, counted = view.timestamp_field, len(view.totalled)
    ordered = rows.select("_entity", "_tile", pl.col(event).alias("_event"), CREATED, *contributions(view.view), *values_taken(view.view)).sort(
        "_entity", CREATED, "_event", maintain_order=True
    )
    records = [tiles.Tiles.empty(view.layout) for _ in range(entities.height)]
    for entity, tile, event_us, created_us, *rest in ordered.iter_rows():
        update = tiles.TileUpdate(tile, (event_us, created_us, tuple(rest[counted:])), view.counted(rest[:counted]))
        records[entity].add_unfolded(update)
    for record, newest_us in zip(records, entities["_newest"].to_list(), strict=True):
        record.finalize(newest_us)
    return [record.dump() for record in records]


def _indexed(index: DeduplicationIndex, current: pl.DataFrame) -> Pairs:
    """The index of the rows that tiles may still hold, and of the latest ones, so that a later push of the same row is recognized."""
    if not index.needed or not current.height:
        return []
    event = pl.col(index.source.timestamp_field)
    buckets: dict[bytes, Bucket] = {}
    recent = pl.col(RECEIVED).is_null() & (pl.col(CREATED) >= pl.col(CREATED).max() - RECENT_US)
    for row in current.filter((event >= event.max() - index.horizon_us) | recent).iter_rows(named=True):
        created_us: Micros = row[CREATED]
        ((key, place),) = index.places([row])
        buckets.setdefault(key, {})[place] = index.entry(PushedRow(created_us, row))
    return [(key, index.encode(bucket)) for key, bucket in buckets.items()]
