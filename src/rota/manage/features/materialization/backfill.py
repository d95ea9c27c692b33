"""Backfill: the online state of a source computed from its offline rows.

The newest rows of a scalar view are computed in parts of its entities, one part in memory at a time: rows merge in the store
(the newest stays), so the parts may be written separately. Window tiles and the de-duplication index are computed together,
because they are right for one state of the source only (see `window_rebuild`); they hold the columns that windows use.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from rota.manage.features.materialization.online_update import Bucket, DeduplicationIndex, PushedRow
from rota.manage.features.online import tiles
from rota.manage.features.online.row_codec import RowView, entity_names
from rota.manage.features.online.row_codec_batch import RowBatches
from rota.manage.features.online.window_view import WindowView, contributions, folded_slots, slots, values_taken
from rota.manage.features.rows import source_table
from rota.manage.features.rows.source_table import CREATED
from rota.ports.tables import Tables
from rota.records.data import Source
from rota.records.time import Micros

Pairs = list[tuple[bytes, bytes]]
ROWS_AT_ONCE = 4_000_000
"""Rows of a source that are held at once: some hundred bytes each."""
_LATEST = "_latest"


def newest(tables: Tables, view: RowView, *, version: int | None, now_us: Micros, at_once: int = ROWS_AT_ONCE) -> Iterator[tuple[float, Pairs]]:
    """Key and bytes of each entity's newest row up to now, in parts: (share of the source that is done, pairs in key order)."""
    batches = RowBatches(view)
    source, keys = view.view.source, list(dict.fromkeys(view.join_keys))
    identity = [source.id_field] if source.id_field else []
    columns = list(dict.fromkeys([*batches.columns, *identity, CREATED]))
    scan = source_table.scan(tables, source, version=version, columns=columns).filter(pl.col(view.timestamp_field) <= now_us).drop_nulls(keys)
    corrected = _corrections(tables, source, version)
    parts = -(-scan.select(pl.len()).collect().item() // at_once)
    for part in range(parts):
        found = (scan if parts == 1 else scan.filter(pl.struct(keys).hash() % parts == part)).collect(engine="streaming")
        yield (part + 1) / parts, batches.pairs(_newest_of(_uncorrected(found, corrected, source), view.timestamp_field, keys))


def rebuilt(index: DeduplicationIndex, views: Sequence[WindowView], found: pl.DataFrame) -> Pairs:
    """All rows of a source as the tiles of its windowed views and the de-duplication index: key and stored bytes of each."""
    current = source_table.current(found, index.source)
    return [*_indexed(index, current), *(pair for view in views for pair in _tiles(view, found, current))]


def due(tables: Tables, source: Source, *, version: int | None, after_us: Micros) -> Micros | None:
    """The earliest event time after a moment: when it has come, there are rows to be brought online that are not there now."""
    event = pl.col(source.timestamp_field)
    scan = source_table.scan(tables, source, version=version, columns=[source.timestamp_field])
    earliest: Micros | None = scan.filter(event > after_us).select(event.min()).collect().item()
    return earliest


def _corrections(tables: Tables, source: Source, version: int | None) -> pl.DataFrame | None:
    """The ids that came more than once, with the time at which the row that counts was created."""
    if source.id_field is None:
        return None
    scan = source_table.scan(tables, source, version=version, columns=[source.id_field, CREATED])
    counted = scan.group_by(source.id_field).agg(pl.col(CREATED).max().alias(_LATEST), pl.len().alias("_times"))
    return counted.filter(pl.col("_times") > 1).drop("_times").collect(engine="streaming")


def _uncorrected(found: pl.DataFrame, corrected: pl.DataFrame | None, source: Source) -> pl.DataFrame:
    """The rows that no later row of the same id has replaced."""
    if corrected is None or not corrected.height:
        return found
    joined = found.join(corrected, on=source.id_field, how="left")
    return joined.filter(pl.col(_LATEST).is_null() | (pl.col(CREATED) == pl.col(_LATEST))).drop(_LATEST)


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


def _summed(view: WindowView, rows: pl.DataFrame) -> pl.DataFrame:
    """A row for each tile: entity, tile id, then its counts and sums."""
    return rows.select("_entity", "_tile", *contributions(view.view)).group_by("_entity", "_tile").agg(pl.all().sum()).sort("_entity", "_tile")


def _summed_tiles(view: WindowView, rows: pl.DataFrame, entities: pl.DataFrame) -> list[bytes]:
    numbers = ["_tile", *(f"{kind}{slot}" for slot in range(view.layout.sums) for kind in "cs")]
    summed = _summed(view, rows)
    bounds = summed["_entity"].search_sorted(pl.int_range(entities.height + 1, dtype=pl.Int64, eager=True)).to_list()
    data = np.ascontiguousarray(summed.select(pl.col(numbers).cast(pl.Float64)).to_numpy().astype("<f8")).tobytes()
    size = 8 * view.layout.width
    return [
        tiles.sums_record(newest_us, view.keep, view.layout.width, data[size * first : size * last])
        for newest_us, first, last in zip(entities["_newest"].to_list(), bounds, bounds[1:], strict=False)
    ]


def _folded_tiles(view: WindowView, rows: pl.DataFrame, entities: pl.DataFrame) -> list[bytes]:
    """Records with min, max and last: row by row, as pushes make them, in the order in which the rows were created."""
    event, counted = view.timestamp_field, [f"{kind}{slot}" for slot in range(len(slots(view.view))) for kind in "cs"]
    folded = [f"v{slot}" for slot in range(len(folded_slots(view.view)))]
    ordered = rows.select("_entity", "_tile", pl.col(event).alias("_event"), CREATED, *contributions(view.view), *values_taken(view.view)).sort(
        "_entity", CREATED, "_event", maintain_order=True
    )
    records = [tiles.Tiles.empty(view.layout) for _ in range(entities.height)]
    sums, values = len(counted), len(folded)
    for entity, tile, event_us, created_us, *rest in ordered.iter_rows():
        records[entity].add_unfolded(tiles.TileUpdate(tile, (event_us, created_us, tuple(rest[sums : sums + values])), rest[:sums]))
    for record, newest_us in zip(records, entities["_newest"].to_list(), strict=True):
        record.finalize(newest_us)
    return [record.dump() for record in records]


def _indexed(index: DeduplicationIndex, current: pl.DataFrame) -> Pairs:
    """The index of the rows that tiles may still hold, so that a later push of the same row is recognized."""
    if not index.needed or not current.height:
        return []
    event = pl.col(index.source.timestamp_field)
    buckets: dict[bytes, Bucket] = {}
    for row in current.filter(event >= event.max() - index.horizon_us).iter_rows(named=True):
        created_us: Micros = row[CREATED]
        ((key, place),) = index.places([row])
        buckets.setdefault(key, {})[place] = index.entry(PushedRow(created_us, row))
    return [(key, index.encode(bucket)) for key, bucket in buckets.items()]
