"""Nouns of a monitor's calibration: what it would have raised on a team's own days, and the smallest changes that it would find."""

from rota.records.check import CheckState
from rota.records.record import Record
from rota.records.schema import Type
from rota.records.time import Micros


class ChangeFound(Record, frozen=True):
    """The smallest change that is found in 8 of 10 draws within 2 and within 28 days of its begin; None: none of the tried sizes.

    `change`: "shift" in standard deviations of a number; "share", "new" and "nulls" as a share of the rows: lost by the commonest text, with
    a text never seen, missing.
    """

    change: str
    within_2_days: float | None
    within_28_days: float | None


class FeatureCalibration(Record, frozen=True):
    """One feature. `state` and `missing` as those of a check; `rows` are the median of a day's, `base_share` the commonest text's share.

    `false_alarms` of them began in `judged_days` days whose order was shuffled.
    """

    feature: str
    type: Type
    rows: int
    state: CheckState
    missing: str = ""
    base_share: float | None = None
    false_alarms: int = 0
    judged_days: int = 0
    smallest: tuple[ChangeFound, ...] = ()


class RaisedAlarm(Record, frozen=True):
    """An alarm that would have begun on a day, as the days were."""

    day_us: Micros
    feature: str
    check: str
    message: str


class MonitorCalibration(Record, frozen=True):
    """A monitor held against days of data. `false_alarms` began in `judged_days` shuffled days, on which nothing drifts; `raised` as the days were.

    `expected_days_between_false_alarms` is the budget; None for `days_between_false_alarms` where no alarm began.
    """

    source: str
    days: int
    expected_days_between_false_alarms: float
    false_alarms: int
    judged_days: int
    raised: tuple[RaisedAlarm, ...] = ()
    features: tuple[FeatureCalibration, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def days_between_false_alarms(self) -> float | None:
        return self.judged_days / self.false_alarms if self.false_alarms else None
