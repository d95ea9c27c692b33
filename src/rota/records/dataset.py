"""Nouns of the dataset repository: definitions, splits, immutable versions."""

from collections.abc import Mapping, Sequence

import msgspec

from rota.errors import InvalidInput
from rota.records.data import Feature, FeatureService, Source
from rota.records.record import Record, check_name
from rota.records.time import Micros, micros

NO_LABEL = Feature("NULL")
"""The label of rows of which nothing is ever known."""


class TimeSplit(Record, frozen=True, tag="time"):
    """The newest `test` of the window is held out; everything before it trains."""

    test: str = "7d"

    def __post_init__(self) -> None:
        micros(self.test)


class RandomSplit(Record, frozen=True, tag="random"):
    """A share of the rows is held out, drawn by a stable hash of each row's identity: a row never changes sides.

    `by` is the column that identifies a row (default: the label source's id field).
    """

    test: float = 0.2
    by: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        _check_share(self.test)


class GroupSplit(Record, frozen=True, tag="group"):
    """Whole groups are held out, by a stable hash of the column `by`: no group is on both sides."""

    by: str
    test: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        _check_share(self.test)


Split = TimeSplit | RandomSplit | GroupSplit


class DatasetDefinition(Record, frozen=True):
    """A task's data: features joined to labelled rows.

    Label rows come from the source `labels`; `label` is a number, a condition, a text that names a class, or several targets by name
    (`{"height": rota.sql("height"), ...}`, kept in `targets`; `label` is then the first). `timestamp` is the column with the moment at
    which the prediction would have been made, and a row takes part once its source row is known (source timestamp <= the build's time)
    and its label is not null. `window` is how far back the dataset reaches. `filter` is a SQL condition over the label source's fields
    that rows must meet: a row for which it is false or null takes no part. With `unlabelled` rows whose label is not known take part as well,
    for models that learn without one; `label=None` says that none is ever known. `checks` are SQL conditions over the same fields that
    healthy rows meet; rows that break one stay, and count against the version's consistency (null breaks nothing, as in SQL's CHECK).
    """

    features: FeatureService
    labels: Source
    label: Feature
    timestamp: str
    window: str = "365d"
    split: Split = TimeSplit()
    filter: str = ""
    checks: Sequence[str] = ()
    targets: Mapping[str, Feature] = {}
    unlabelled: bool = False

    def __post_init__(self) -> None:
        if self.label is None:
            msgspec.structs.force_setattr(self, "label", NO_LABEL)
            msgspec.structs.force_setattr(self, "unlabelled", True)
        if isinstance(self.label, Mapping):
            _check_targets(self.label)
            msgspec.structs.force_setattr(self, "targets", dict(self.label))
            msgspec.structs.force_setattr(self, "label", next(iter(self.label.values())))
        msgspec.structs.force_setattr(self, "checks", tuple(self.checks))
        if self.labels.fields and self.labels.fields.get(self.timestamp) != "timestamp":
            raise InvalidInput(f"label source {self.labels.name!r} has no timestamp field {self.timestamp!r}", source=self.labels.name)
        micros(self.window)


class Dataset(Record, frozen=True):
    """A definition under a name in the catalog, so that it can be built and used without a pipeline (`rota data build NAME`)."""

    name: str
    definition: DatasetDefinition
    owner: str = ""
    description: str = ""
    tags: Mapping[str, str] = {}

    def __post_init__(self) -> None:
        check_name("dataset", self.name)


class DatasetVersion(Record, frozen=True):
    """An immutable snapshot: `table` at `table_version`, with the digest of its rows and of everything it was built from.

    `sources` pins the table version of every source read; `environment` is that of the home it was built in. `statistics` is
    the blob of its `Profile`, `schema` the blob of the `Schema` inferred from its rows, `definition` the blob of the
    `DatasetDefinition`. `quality` scores each dimension in 0..1 (see `rota.stats.quality`). `test_from_us` is the moment
    of the first test row: behind it all rows are test rows with a `TimeSplit`, and only then. `undated` rows had no moments and
    were dealt out over days.
    """

    name: str
    number: int
    digest: str
    table: str
    table_version: int
    rows: int
    train_rows: int
    test_rows: int
    start_us: Micros
    end_us: Micros
    test_from_us: Micros
    created_us: Micros
    run: str = ""
    statistics: str = ""
    sources: Mapping[str, int] = {}
    environment: str = ""
    schema: str = ""
    quality: Mapping[str, float] = {}
    split: Split | None = None
    definition: str = ""
    undated: bool = False

    @property
    def id(self) -> str:
        return f"{self.name}@{self.number}"


def _check_targets(targets: Mapping[str, Feature]) -> None:
    if len(targets) < 2:
        raise InvalidInput(f"a label of several targets names {sorted(targets)}; for one target give its expression: label=rota.sql(...)")
    for name in targets:
        check_name("target", name)


def _check_share(test: float) -> None:
    if not 0 < test < 1:
        raise InvalidInput(f"a split's test share is {test}; give a share between 0 and 1, for example 0.2", test=test)
