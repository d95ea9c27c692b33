"""Breakdown: what lies behind the metrics of many rows, class by class, as evaluations and slices of a monitor keep it."""

from collections.abc import Mapping

from rota.records.record import Record

OTHERS = "(others)"
"""What classes that are not shown one by one are called together."""


class CalibrationBin(Record, frozen=True):
    """Rows whose answered probability lies from `low` to below `high`: the mean of these, and the `share` that came true."""

    low: float
    high: float
    rows: float
    answered: float
    share: float


class Breakdown(Record, frozen=True):
    """Metrics by name: of classes and labels `rows`, `recall`, `precision` and `f1`, of targets the metrics of one.

    `confusion` has the rows (the sum of their weights) by true and by answered class, in the order of `classes`, whose last may be OTHERS.
    `calibration` is of the probability of the second class, of the likeliest one, or of each label. `left_out` names are not shown, those with
    the fewest rows. Empty where a problem has nothing of the kind.
    """

    by_name: Mapping[str, Mapping[str, float]] = {}
    classes: tuple[str, ...] = ()
    confusion: tuple[tuple[float, ...], ...] = ()
    calibration: tuple[CalibrationBin, ...] = ()
    left_out: int = 0

    @property
    def left_out_sentence(self) -> str:
        """What is not shown, in words; "" when everything is."""
        return f"{self.left_out} more, with the fewest rows, are not shown one by one" if self.left_out else ""
