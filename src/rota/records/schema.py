"""Nouns of data validation: types, the expected schema, statistics, anomalies."""

from collections.abc import Mapping
from math import isfinite
from typing import Literal

from rota.errors import InvalidInput
from rota.records import value_types
from rota.records.record import Record
from rota.records.time import Micros

Type = value_types.Type
Scalar = value_types.Scalar
Policy = Literal["fail", "warn", "ignore"]

TRAINING, SERVING = "TRAINING", "SERVING"


class Comparator(Record, frozen=True):
    """How far a column's distribution may lie from another's: TFDV's skew and drift comparators.

    `infinity_norm` bounds the largest difference of a value's share (texts), `jensen_shannon_divergence` the divergence
    in bits, 0..1 (numbers and texts). Both over the column's bins without nulls.
    """

    infinity_norm: float | None = None
    jensen_shannon_divergence: float | None = None

    def __post_init__(self) -> None:
        for field in ("infinity_norm", "jensen_shannon_divergence"):
            _check_share("comparator", field, getattr(self, field))


class ColumnSchema(Record, frozen=True):
    """Expectation on one column, as inferred from clean data and then edited and frozen.

    `max_null_share` (0..1, NaN counts as null) and `min_count` bound how often the column is missing; a column that is not
    `required` may be absent. `domain` bounds texts, and at most `max_unknown_share` of the present values may lie outside it;
    `minimum` and `maximum` bound numbers, infinities included unless `allow_inf` is off, which names them on their own.
    `min_unique` and `max_unique` bound the number of distinct values. `min_values` and `max_values` bound the values in a row
    that has any: a scalar has one, a list its length, and only a column with such bounds may hold lists.
    The column is expected in the schema's environments, in those of `in_environment`, never in those of `not_in_environment`.
    `skew` compares with what is served, `drift` with the data before. `policy` says for each anomaly kind ("*": all of them)
    whether it fails the data gate, warns or is ignored (absent: the schema's policy, then the gate's default).
    `definition` is a digest of the feature definition that the expectation was inferred for ("": not known).
    """

    name: str
    type: Scalar
    max_null_share: float = 1.0
    domain: tuple[str, ...] | None = None
    minimum: float | int | None = None
    maximum: float | int | None = None
    policy: Mapping[str, Policy] = {}
    required: bool = True
    min_count: int = 0
    max_unknown_share: float = 0.0
    allow_nan: bool = True
    allow_inf: bool = True
    min_unique: int | None = None
    max_unique: int | None = None
    min_values: int | None = None
    max_values: int | None = None
    in_environment: tuple[str, ...] = ()
    not_in_environment: tuple[str, ...] = ()
    skew: Comparator | None = None
    drift: Comparator | None = None
    definition: str = ""

    def __post_init__(self) -> None:
        for field in ("max_null_share", "max_unknown_share"):
            _check_share(f"column {self.name!r}", field, getattr(self, field))
        for low, high in (("minimum", "maximum"), ("min_unique", "max_unique"), ("min_values", "max_values")):
            bounds = getattr(self, low), getattr(self, high)
            if any(bound is not None and not isfinite(bound) for bound in bounds):
                raise InvalidInput(f"column {self.name!r}: {low} .. {high} is {bounds[0]} .. {bounds[1]}; leave an end out that has no bound")
            if None not in bounds and bounds[0] > bounds[1]:
                raise InvalidInput(f"column {self.name!r}: {low} {bounds[0]} lies above {high} {bounds[1]}", column=self.name)
        if self.domain is not None and self.type != "string":
            raise InvalidInput(f"column {self.name!r} is {self.type} and has a domain of texts; give minimum and maximum instead", column=self.name)
        if self.type == "string" and (self.minimum is not None or self.maximum is not None):
            raise InvalidInput(f"column {self.name!r} is a text and has a range of numbers; give a domain instead", column=self.name)


class Bins(Record, frozen=True):
    """Fixed bins of one feature, chosen on training data so that later slices can be counted and added up.

    Numbers: bin 0 holds nulls, bin i holds edges[i-2] < x <= edges[i-1] with open ends (len(edges) + 2 bins in all).
    Texts: bin 0 nulls, then one bin for each of `values`, then rare (seen in training outside `values`), then unseen.
    Of a number that is made of a text (`stats.sketches`) `values` has what it is made by: the script, or the words, of training.
    """

    name: str
    type: Type
    edges: tuple[float, ...] = ()
    values: tuple[str, ...] = ()
    rare: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return len(self.edges) + 2 if self.type != "string" else len(self.values) + 3


class DatasetConstraints(Record, frozen=True):
    """How many rows data may have, and what fraction of the rows of the data before (TFDV's num_examples_drift_comparator)."""

    min_examples: int = 1
    max_examples: int | None = None
    min_fraction: float | None = None
    max_fraction: float | None = None


class Schema(Record, frozen=True):
    """Expected columns of a dataset and the bins on which their distributions are compared from then on.

    `version` counts the edits, `frozen_us` is when it last became the active version, `dataset` what it was inferred from.
    `environments` are where a column is expected that says nothing else; `policy` holds for every column.
    """

    name: str
    version: int
    columns: tuple[ColumnSchema, ...]
    bins: tuple[Bins, ...] = ()
    dataset: str = ""
    digest: str = ""
    frozen_us: Micros | None = None
    environments: tuple[str, ...] = (TRAINING, SERVING)
    policy: Mapping[str, Policy] = {}
    constraints: DatasetConstraints = DatasetConstraints()
    author: str = ""
    created_us: Micros = 0

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if twice:
            raise InvalidInput(f"schema {self.name!r} has columns twice: {twice}; leave one of each", schema=self.name)


class ColumnStatistics(Record, frozen=True):
    """What was counted of one feature in one slice of data; numbers only have the moments and quantiles.

    `nulls` include the `nans`; moments, range and quantiles are of finite values. `distinct` counts the distinct values
    that are neither null nor NaN (None: not counted).
    """

    name: str
    type: Type
    count: int
    nulls: int
    counts: tuple[int, ...] = ()
    mean: float | None = None
    std: float | None = None
    minimum: float | int | None = None
    maximum: float | int | None = None
    quantiles: tuple[float, ...] = ()
    top: tuple[tuple[str, int], ...] = ()
    nans: int = 0
    infinities: int = 0
    distinct: int | None = None


class VectorMoments(Record, frozen=True):
    """What is kept of vectors of one length: how many, their mean (d numbers), and the sum of their squared distances from it."""

    count: int = 0
    mean: tuple[float, ...] = ()
    squares: float = 0.0

    @property
    def variance(self) -> float:
        """The mean squared distance of a vector from the mean: the trace of the covariance matrix."""
        return self.squares / self.count if self.count else 0.0


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


def _check_share(of: str, field: str, share: float | None) -> None:
    if share is not None and not 0 <= share <= 1:
        raise InvalidInput(f"{of}: {field} is {share}; give a share between 0 and 1", **{field: share})
