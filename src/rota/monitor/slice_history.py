"""The slices and sampled values that a day is compared with: served days as stored, days of training data before them.

A process reads each day's values once and keeps them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from rota.manage.datasets import build as datasets
from rota.manage.datasets import daily_slices
from rota.manage.datasets.slice_checks import Baseline
from rota.manage.repositories import Repositories
from rota.manage.signals import prediction_log
from rota.monitor import measure
from rota.records.dataset import DatasetVersion
from rota.records.schema import Schema, VectorMoments
from rota.records.signal import MonitorSlice
from rota.records.time import DAY_US, Micros
from rota.stats import sketches

NEWEST_DAYS = 7
"""Served days that are no baseline for themselves where nothing but served days tells what is normal."""


@dataclass(frozen=True, slots=True)
class CachedDays:
    """What this process need not read again: slices of the training data, and sampled values of each day it has seen."""

    trained: tuple[MonitorSlice, ...]
    values: dict[Micros, dict[str, np.ndarray]]


class SliceHistory:
    """Days of an endpoint on the bins of a schema, cached by (endpoint, schema, version)."""

    def __init__(self, repositories: Repositories) -> None:
        self._repositories = repositories
        self._cached: dict[tuple[str, str, int], CachedDays] = {}

    def trained(self, endpoint: str, schema: Schema) -> tuple[MonitorSlice, ...]:
        """The days of the training data that a schema came from as slices of an endpoint, oldest first."""
        return self._of(endpoint, schema).trained

    def days(self, endpoint: str, schema: Schema, slices: Sequence[MonitorSlice]) -> daily_slices.Days:
        """Stored counts of every day and sampled values of the newest, in one value; only days not seen yet are read."""
        starts = tuple(s.start_us for s in slices)
        newest = starts[-daily_slices.VALUE_DAYS :]
        known = self._of(endpoint, schema).values
        served = [start for start in newest if start not in known]
        if served:
            rows = prediction_log.read(self._repositories.tables, endpoint, served[0], served[-1] + DAY_US)
            rows = rows.filter((pl.col("role") != "shadow") & (pl.col("error") == "")).sort("at_us").pipe(sketches.sketched, bins=schema.bins)
            rows = rows.with_columns(pl.lit(None, pl.Float64).alias(name) for name in _numbers(schema) if name not in rows.columns)
            sampled = daily_slices.sampled(rows, rows["at_us"].to_numpy() // DAY_US, schema.bins, np.array(served) // DAY_US)
            known.update({start: {name: column[i] for name, column in sampled.items()} for i, start in enumerate(served)})
        for old in [start for start in known if start < newest[0]]:
            del known[old]
        counts = self._counts(schema, slices)
        missing = np.empty(0)  # a day that lacks the feature holds no values of it, and is no reason to forget those of other days
        return daily_slices.Days(starts, counts, {name: tuple(known[start].get(name, missing) for start in newest) for name in _numbers(schema)})

    def baseline(self, endpoint: str, schema: Schema, served: Sequence[MonitorSlice]) -> Baseline:
        """Counts of the data that the schema came from; where none are kept, of the served days before the newest ones."""
        trained = self.trained(endpoint, schema)
        if not trained:
            trained = tuple(served[: max(0, len(served) - NEWEST_DAYS)])
        return Baseline(self._counts(schema, trained), len(served), self._is_undated(schema))

    def _is_undated(self, schema: Schema) -> bool:
        name, _, number = schema.dataset.partition("@")
        dataset = self._repositories.metadata.get(DatasetVersion, name, int(number)) if number.isdecimal() else None
        return dataset is not None and dataset.undated

    def _of(self, endpoint: str, schema: Schema) -> CachedDays:
        key = (endpoint, schema.name, schema.version)
        if key not in self._cached:
            rows = sketches.sketched(self._training_rows(schema), bins=schema.bins)
            days = daily_slices.cut(rows, datasets.AT, schema.bins)
            vectors = _vectors(rows, schema)
            trained = tuple(
                MonitorSlice(
                    endpoint, start, start + DAY_US, 0, 0, {n: tuple(c[i].tolist()) for n, c in days.counts.items()}, {}, {},
                    vectors=vectors.get(start, {}),
                )
                for i, start in enumerate(days.starts_us)
            )  # fmt: skip
            newest = days.starts_us[-daily_slices.VALUE_DAYS :]
            values = {start: {name: column[i] for name, column in days.values.items()} for i, start in enumerate(newest)}
            self._cached[key] = CachedDays(trained, values)
        return self._cached[key]

    def _training_rows(self, schema: Schema) -> pl.DataFrame:
        """The rows that a schema was inferred from; none where these were a file, which cannot be read again."""
        name, _, number = schema.dataset.partition("@")
        if not number.isdecimal():
            return pl.DataFrame(schema={datasets.AT: pl.Int64})
        return datasets.read(self._repositories.tables, datasets.get(self._repositories.metadata, name, int(number)))

    def _counts(self, schema: Schema, slices: Sequence[MonitorSlice]) -> dict[str, np.ndarray]:
        """Counts of each feature in each day; a day that was counted on other bins, or before the feature, counts no rows."""
        versions = {s.schema for s in slices} - {0, schema.version}
        others = {v: found.bins for v in versions if (found := self._repositories.metadata.get(Schema, schema.name, v)) is not None}
        other_bins = {v: {b.name for b in schema.bins if b not in bins} for v, bins in others.items()}
        counts = {}
        for b in schema.bins:
            days = [() if b.name in other_bins.get(s.schema, ()) else s.counts.get(b.name, ()) for s in slices]
            if any(len(day) == b.size for day in days):
                counts[b.name] = np.array([day if len(day) == b.size else (0,) * b.size for day in days])
        return counts


def _vectors(rows: pl.DataFrame, schema: Schema) -> dict[Micros, dict[str, VectorMoments]]:
    """The moments of each day's vectors, for the features that the schema has as lists of one length."""
    if not sketches.vector_names([b.name for b in schema.bins]):
        return {}
    days = rows.with_columns((pl.col(datasets.AT) // DAY_US * DAY_US).alias("_day")).partition_by("_day", as_dict=True)
    return {int(day): measure.vector_moments(part, schema.bins) for (day,), part in days.items()}


def _numbers(schema: Schema) -> list[str]:
    return [b.name for b in schema.bins if b.type != "string"]
