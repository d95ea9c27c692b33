"""Nouns of a dataset's profile: what its columns hold, side by side for training and test, and how good the data are."""

from collections.abc import Mapping
from typing import Literal

from rota.records.record import Record
from rota.records.schema import Type

Role = Literal["feature", "label", "time", "field"]


class Histogram(Record, frozen=True):
    """Where a column's values lie, counted for each group of rows ("train", "test", and one group for each class of the label).

    Either `labels` names the bars (texts, truths, numbers with few distinct values; the last may be the rest), or
    bar i covers edges[i] <= x < edges[i+1]; values outside stand in the first and last bar. Nulls are counted nowhere.
    """

    counts: Mapping[str, tuple[int, ...]]
    labels: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()


class ColumnProfile(Record, frozen=True):
    """One column of a dataset. Moments and quantiles are of the finite numbers; `distinct` does not count null.

    `completeness` is the share of rows with a value, `validity` the share of the values that meet every expectation.
    """

    name: str
    role: Role
    type: Type
    count: int
    nulls: int
    distinct: int
    mean: float | None = None
    std: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    quantiles: tuple[float, ...] = ()
    zeros: int = 0
    infinite: int = 0
    top: tuple[tuple[str, int], ...] = ()
    histogram: Histogram | None = None
    completeness: float = 1.0
    validity: float = 1.0
    invalid: str = ""


class Dimension(Record, frozen=True):
    """One dimension of data quality: its score in 0..1 and the sentence that says what was counted.

    Without anything to count there is no score, and the sentence says what is missing.
    """

    name: str
    score: float | None
    reason: str


class Profile(Record, frozen=True):
    """The profile of one dataset version; `sides` and `classes` name the groups of its histograms, `overall` sums up `quality`."""

    dataset: str
    rows: int
    columns: tuple[ColumnProfile, ...]
    sides: tuple[str, ...]
    classes: tuple[str, ...]
    quality: tuple[Dimension, ...] = ()
    overall: float | None = 1.0
