"""Nouns of a comparison of two tables: each column side by side with its distances, each metric with its interval, and what came of it."""

from collections.abc import Mapping
from typing import Literal

from rota.records.check import CheckResult, Judgement, combined
from rota.records.profile import ColumnProfile, Histogram
from rota.records.record import Record
from rota.records.schema import Anomaly, Type

Preset = Literal["quality", "drift", "classification", "regression", "ranking"]
PRESETS: tuple[Preset, ...] = ("quality", "drift", "classification", "regression", "ranking")
ColumnRole = Literal["feature", "label", "answer", "group"]
SIDES = ("reference", "current")


class ColumnComparison(Record, frozen=True):
    """One column of both tables. `distances` are by name; a p value is that of independent rows.

    Numbers have `ks`, `wasserstein` (in the column's unit), `wasserstein_std` (in standard deviations of the reference), `psi` and
    `jensen_shannon`; texts `chi_square`, `l_infinity`, `psi` and `jensen_shannon`; both the change of the share of nulls, `nulls`, and
    `p_value`. `ks` and `wasserstein` are of the raw values, `psi`, `jensen_shannon` and `l_infinity` of counts in bins that were chosen on
    the reference. A column that was not compared has none, and `check` says why.
    """

    name: str
    role: ColumnRole
    type: Type
    reference: ColumnProfile
    current: ColumnProfile
    check: CheckResult
    distances: Mapping[str, float] = {}
    histogram: Histogram | None = None

    @property
    def drifted(self) -> bool:
        return self.check.outcome == "fail"


class MetricComparison(Record, frozen=True):
    """A metric on both tables; `lower` and `upper` bound current minus reference with the confidence `level`, None where nothing bounds it."""

    name: str
    reference: float | None
    current: float | None
    higher_is_better: bool
    lower: float | None = None
    upper: float | None = None
    level: float = 0.99

    @property
    def difference(self) -> float | None:
        return None if self.reference is None or self.current is None else self.current - self.reference


class FrameComparison(Record, frozen=True):
    """Two tables compared. `checks` hold a result for everything that was asked for, also for what could not be judged.

    `anomalies` break what a schema of the reference expects, under the names of TFDV. `duplicates` are rows that are like an earlier one,
    by side. `notes` say what was left out and what the figures take for granted.
    """

    reference: str
    current: str
    reference_rows: int
    current_rows: int
    presets: tuple[Preset, ...]
    columns: tuple[ColumnComparison, ...] = ()
    anomalies: tuple[Anomaly, ...] = ()
    metrics: tuple[MetricComparison, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    duplicates: Mapping[str, int] = {}
    problem: str = ""
    notes: tuple[str, ...] = ()

    @property
    def outcome(self) -> Judgement:
        """Failed when one check failed; inconclusive when one could not be judged. A check that is off by nature does not count."""
        return combined([each for each in self.checks if each.state != "off"])[0]

    @property
    def drifted(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.drifted)
