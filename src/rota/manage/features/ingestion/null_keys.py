"""Rows without a key: where no view over a source could find a row by its join keys, the row is rejected with that reason."""

from collections.abc import Sequence

import polars as pl

from rota.manage.features.rows.column_conversion import shown_row
from rota.ports.metadata import Metadata
from rota.records.data import FeatureView, Source
from rota.records.intake import Rejection


def keys(metadata: Metadata, source: Source) -> list[tuple[str, ...]]:
    """The join keys of each view over a source, as far as they are fields of it."""
    found = {tuple(view.join_keys) for view in metadata.find(FeatureView) if view.source.name == source.name}
    return sorted(each for each in found if set(each) <= source.fields.keys())


def split(
    source: Source, found: Sequence[tuple[str, ...]], rows: pl.DataFrame, origin: str, positions: pl.Series | None
) -> tuple[pl.DataFrame, pl.Series | None, list[Rejection]]:
    """The rows that some view can find, their positions, and the others with their reason."""
    if not found or not rows.height:
        return rows, positions, []
    lost = rows.select(pl.all_horizontal(pl.any_horizontal(pl.col(name).is_null() for name in names) for names in found)).to_series()
    if not lost.any():
        return rows, positions, []
    names = sorted({name for each in found for name in each})
    reason = f"the key {names[0]!r} is null" if len(names) == 1 else f"a key of each view is null (keys: {names})"
    places = lost.arg_true().to_list()
    declared = rows.select(list(source.fields))
    numbers = [int(positions[i]) if positions is not None else i + 1 for i in places]
    rejections = [Rejection(origin, number, reason, shown_row(declared, i)) for i, number in zip(places, numbers, strict=True)]
    return rows.filter(~lost), None if positions is None else positions.filter(~lost), rejections
