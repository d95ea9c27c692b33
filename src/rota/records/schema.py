"""Nouns of data validation: types, the expected schema, statistics, anomalies."""

from collections.abc import Mapping
from typing import Literal

from rota.records.record import Record
from rota.records.time import Micros

Type = Literal["float", "int", "bool", "string", "timestamp"]


class ColumnSchema(Record, frozen=True):
    """Expectation on one feature, as inferred from training data and then frozen.

    `domain` bounds texts, `minimum` and `maximum` bound numbers; `max_null_share` is in 0..1. `policy` says for each
    anomaly kind whether it fails the data gate, warns or is ignored (absent = the gate's default).
    """

    name: str
    type: Type
    max_null_share: float = 1.0
    domain: tuple[str, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    policy: Mapping[str, Literal["fail", "warn", "ignore"]] = {}


class Bins(Record, frozen=True):
    """Fixed bins of one feature, chosen on training data so that later slices can be counted and added up.

    Numbers: bin 0 holds nulls, bin i holds edges[i-2] < x <= edges[i-1] with open ends (len(edges) + 2 bins in all).
    Texts: bin 0 nulls, then one bin for each of `values`, then rare (seen in training outside `values`), then unseen.
    """

    name: str
    type: Type
    edges: tuple[float, ...] = ()
    values: tuple[str, ...] = ()
    rare: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return len(self.edges) + 2 if self.type != "string" else len(self.values) + 3


class Schema(Record, frozen=True):
    """Expected columns of a dataset and the bins on which their distributions are compared from then on.

    `version` counts the edits, `frozen_us` is when it became the data gate's law, `dataset` what it was inferred from.
    """

    name: str
    version: int
    columns: tuple[ColumnSchema, ...]
    bins: tuple[Bins, ...] = ()
    dataset: str = ""
    digest: str = ""
    frozen_us: Micros | None = None


class ColumnStatistics(Record, frozen=True):
    """What was counted of one feature in one slice of data; numbers only have the moments and quantiles."""

    name: str
    type: Type
    count: int
    nulls: int
    counts: tuple[int, ...] = ()
    mean: float | None = None
    std: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    quantiles: tuple[float, ...] = ()
    top: tuple[tuple[str, int], ...] = ()


class Statistics(Record, frozen=True):
    """Statistics of every feature of one slice [start_us, end_us)."""

    rows: int
    columns: tuple[ColumnStatistics, ...]
    start_us: Micros = 0
    end_us: Micros = 0


class Anomaly(Record, frozen=True):
    """One broken expectation; `kind` has TFDV's name where it has one (for example SCHEMA_MISSING_COLUMN)."""

    feature: str
    kind: str
    message: str
    severity: Literal["fail", "warn"]
    observed: float | None = None
    threshold: float | None = None
    evidence: Mapping[str, str | float] = {}
