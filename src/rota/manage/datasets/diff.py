"""Differences of two dataset versions: rows, columns, statistics, and which columns' distributions moved."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from rota.manage.datasets import build as datasets
from rota.manage.datasets import profiles
from rota.ports.blobs import Blobs
from rota.ports.tables import Tables
from rota.records.dataset import DatasetVersion
from rota.records.profile import ColumnProfile
from rota.records.schema import Type
from rota.stats import sketches
from rota.stats.bins import choose_bins, count
from rota.stats.distances import jensen_shannon

DRIFTED = 0.1
"""Jensen-Shannon distance (0..1) from which a column counts as drifted: a normal distribution reaches it when
its mean moves by a quarter of a standard deviation."""


@dataclass(frozen=True, slots=True)
class ColumnChange:
    """How one column of both versions changed; `distance` is the Jensen-Shannon distance on bins of the older version."""

    name: str
    role: str
    before: ColumnProfile
    after: ColumnProfile
    distance: float

    @property
    def drifted(self) -> bool:
        return self.distance >= DRIFTED


@dataclass(frozen=True, slots=True)
class DatasetDiff:
    """Rows by the content of the label source's fields; columns by name and type; every column of both by its distance.

    `moved` counts rows of both versions that stand on another side of the split.
    """

    before: str
    after: str
    same_rows: int
    gone_rows: int
    new_rows: int
    moved: int
    added: tuple[str, ...]
    removed: tuple[str, ...]
    retyped: tuple[str, ...]
    columns: tuple[ColumnChange, ...]

    @property
    def drifted(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.drifted)


def diff(tables: Tables, blobs: Blobs, before: DatasetVersion, after: DatasetVersion) -> DatasetDiff:
    """Compare two versions, of one dataset or of two."""
    old, new = sketches.sketched(datasets.read(tables, before)), sketches.sketched(datasets.read(tables, after))
    olds, news = ({column.name: column for column in profiles.load(blobs, version).columns} for version in (before, after))
    both = [name for name in news if name in olds]
    retyped = [name for name in both if old.schema[name] != new.schema[name]]
    comparable = [name for name in both if name not in retyped]
    same, gone, came, moved = _rows(old, new, [name for name in comparable if news[name].role in ("field", "time")])
    changes = [ColumnChange(name, news[name].role, olds[name], news[name], _distance(news[name], old[name], new[name])) for name in comparable]
    return DatasetDiff(
        before.id,
        after.id,
        same,
        gone,
        came,
        moved,
        added=tuple(name for name in news if name not in olds),
        removed=tuple(name for name in olds if name not in news),
        retyped=tuple(f"{name}: {old.schema[name]} -> {new.schema[name]}" for name in retyped),
        columns=tuple(sorted(changes, key=lambda change: -change.distance)),
    )


def _rows(old: pl.DataFrame, new: pl.DataFrame, keys: Sequence[str]) -> tuple[int, int, int, int]:
    """Rows in both, only before, only after, and in both but on another side; equal rows are paired one to one."""
    counted = [
        frame.select(pl.Series("row", frame.select(keys).hash_rows()), datasets.TEST)
        .group_by("row")
        .agg(pl.len().cast(pl.Int64).alias("rows"), pl.col(datasets.TEST).sum().cast(pl.Int64).alias("test"))
        for frame in (old, new)
    ]
    pairs = counted[0].join(counted[1], on="row", how="inner", suffix="_after")
    same = pairs.select(pl.min_horizontal("rows", "rows_after")).to_series().sum()
    stayed = pl.min_horizontal("test", "test_after") + pl.min_horizontal(pl.col("rows") - pl.col("test"), pl.col("rows_after") - pl.col("test_after"))
    moved = pairs.select(pl.min_horizontal("rows", "rows_after") - stayed).to_series().sum()
    return int(same), old.height - int(same), new.height - int(same), int(moved)


def _distance(column: ColumnProfile, old: pl.Series, new: pl.Series) -> float:
    """Moments are new in every version by their nature, and an identity has no distribution."""
    if column.role == "time" or column.type == "timestamp" or not len(old) or not len(new):
        return 0.0
    kind: Type = "string" if column.type == "string" else "float"
    if column.histogram is None:
        return 0.0
    bins = choose_bins(column.name, kind, old)
    return jensen_shannon(count(bins, old), count(bins, new))
