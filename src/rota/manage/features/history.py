"""The online state of a source made anew from all of its rows, as `Feed.materialize` puts it in place."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from rota.manage.features import source_rows
from rota.manage.features.deliveries import Bucket, Ids, Moved, Received, applied_key, applied_value
from rota.manage.features.online import StoredView, merge
from rota.manage.features.source_rows import CREATED
from rota.manage.features.stored import ROW, RowView
from rota.manage.features.windows import WindowView, contributions
from rota.records.time import Micros

Pairs = list[tuple[bytes, bytes]]
_STANDS = b"="


def rebuilt(ids: Ids, views: Sequence[StoredView], found: pl.DataFrame, ends: Mapping[str, int]) -> Pairs:
    """What one `Online.update` with `replace` writes: all rows `found` brought into all views, if the source stands at `ends`."""
    current = source_rows.current(found, ids.source)
    pairs = [(applied_key(ids.source.name), _STANDS + applied_value(ends)), *_remembered(ids, current)]
    for view in views:
        pairs += _tiles(view, found, current) if isinstance(view, WindowView) else _newest_rows(view, current)
    return sorted(pairs, key=lambda pair: pair[0])


def replace(old: bytes | None, new: bytes) -> bytes:
    """Newest rows merge, tiles and remembered ids are exchanged; raises `Moved` when a push came in between."""
    if new[:1] == ROW:
        return merge(old, new)
    if new[:1] != _STANDS:
        return new
    if (old or applied_value({})) != new[1:]:
        raise Moved("rows were pushed while the online state was being rebuilt")
    return new[1:]


def _newest_rows(view: RowView, found: pl.DataFrame) -> Pairs:
    keys, event = list(dict.fromkeys(view.join_keys)), pl.col(view.timestamp_field)
    newest = found.drop_nulls(keys).filter(event == event.max().over(keys)).filter(pl.col(CREATED) == pl.col(CREATED).max().over(keys))
    pairs = []
    for row in newest.iter_rows(named=True):
        key = view.key(row)
        if key is not None:
            pairs.append((key, view.encode(row, row[CREATED])))
    return pairs


def _tiles(view: WindowView, found: pl.DataFrame, current: pl.DataFrame) -> Pairs:
    """The newest time of each entity over all rows, as pushes leave it; its tiles from the rows that count today."""
    keys, event = list(dict.fromkeys(view.join_keys)), pl.col(view.timestamp_field)
    numbers = ["_tile", *(f"{kind}{slot}" for slot in range(len(view.sqls)) for kind in "cs")]
    entities = found.drop_nulls(keys).group_by(keys).agg(event.max().alias("_newest"))
    tiles = (
        current.select(*keys, (event // view.hop_us).alias("_tile"), *contributions(view.view))
        .group_by(*keys, "_tile")
        .agg(pl.all().sum())
        .join(entities, on=keys)
        .filter(pl.col("_tile") > pl.col("_newest") // view.hop_us - view.keep)
        .sort(*keys, "_tile")
        .with_row_index("_row")
    )
    places = tiles.group_by(keys).agg(pl.col("_row").min().alias("_start"), pl.len().alias("_count"))
    matrix = tiles.select(pl.col(numbers).cast(pl.Float64)).to_numpy().astype("<f8")
    pairs = []
    for row in entities.join(places, on=keys, how="left").iter_rows(named=True):
        key = view.key(row)
        start, count = row["_start"] or 0, row["_count"] or 0
        if key is not None:
            pairs.append((key, view.record(row["_newest"], np.ascontiguousarray(matrix[start : start + count]).tobytes())))
    return pairs


def _remembered(ids: Ids, current: pl.DataFrame) -> Pairs:
    """The ids of the rows that tiles may still hold, so that a later push of the same row is known."""
    if not ids.needed or not current.height:
        return []
    event = pl.col(ids.source.timestamp_field)
    buckets: dict[bytes, Bucket] = {}
    for row in current.filter(event >= event.max() - ids.horizon_us).iter_rows(named=True):
        created_us: Micros = row[CREATED]
        key, place = ids.key(row)
        buckets.setdefault(key, {})[place] = ids.remembered(Received(created_us, row))
    return [(key, ids.encode(bucket)) for key, bucket in buckets.items()]
