"""How small a change the drift rules find in days like a team's own: changes are planted into whole days drawn from them, as they judge them.

Days are drawn in a new order, so nothing drifts but what is planted, and rows of one day keep their weather. A change lasts from its first day
on. Planted are

shift     every number moves up as a normal variable would by so many standard deviations (on the scale of its normal scores)
share     the commonest text loses so many of the rows to the others
new       so many of the rows hold a text that was never seen
nulls     so many of the values are missing
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rota.stats.drift import drift
from rota.stats.early_drift import early_drift

Change = Literal["shift", "share", "new", "nulls"]
CHANGES: Mapping[bool, tuple[Change, ...]] = {True: ("shift", "nulls"), False: ("share", "new", "nulls")}
"""What is planted into ordered bins (numbers) and into texts."""
SIZES: Mapping[Change, tuple[float, ...]] = {
    "shift": (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0),
    **dict.fromkeys(("share", "new", "nulls"), (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)),
}
SOON, LATE = 2, 28
LOOKS = (1, 2, 3, 5, 7, 10, 14, 21, 28)
"""Days after the first of the change at which the rules are asked; between them they would be asked too, so what is told is no smaller than it is."""
DRAWS, POWER = 10, 0.8
SERVED_DAYS = 30
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class DriftRules:
    """How days are compared: the newest `gap` days against `reference` days before them, with so many features in the budget."""

    features: int
    days_between_false_alarms: float
    reference: int = 90
    gap: int = 7


@dataclass(frozen=True, slots=True)
class SmallestChange:
    """The smallest change that is found in 8 of 10 draws within 2 and within 28 days; None where none of the tried sizes is."""

    change: Change
    within_2_days: float | None
    within_28_days: float | None


def alarms(days: Counts, rules: DriftRules, *, ordered: bool) -> bool | None:
    """Whether the newest of these days (days, bins) alarm, by their days or, where these cannot judge, against a baseline; None: neither can."""
    end = max(0, len(days) - rules.gap)
    past, now = days[max(0, end - rules.reference) : end], days[end:]
    shared = {"ordered": ordered, "features": rules.features, "days_between_false_alarms": rules.days_between_false_alarms}
    verdict = drift(past, now, **shared)  # type: ignore[arg-type]
    if verdict.state != "learning":
        return verdict.alarm
    first = max(0, len(days) - SERVED_DAYS)
    early = early_drift(days[:first], days[first:], **shared)  # type: ignore[arg-type]
    return None if early.state == "learning" else early.alarm


def begun(days: Counts, rules: DriftRules, *, ordered: bool, first: int) -> tuple[int, int]:
    """How many alarms begin while the days from `first` on go by, and on how many of these days there was a verdict."""
    count, judged, before = 0, 0, False
    for end in range(first, len(days)):
        now = alarms(days[: end + 1], rules, ordered=ordered)
        judged += now is not None
        count += bool(now) and not before
        before = bool(now)
    return count, judged


def smallest_changes(days: Counts, rules: DriftRules, *, ordered: bool, seed: int = 0) -> list[SmallestChange]:
    """The smallest change of each kind that is found in such days (days, bins); of fewer days than it takes some are drawn several times."""
    random = np.random.default_rng(seed)
    length = rules.reference + rules.gap + LATE
    enough = len(days) >= length
    draws = [random.permutation(len(days))[:length] if enough else random.integers(0, len(days), length) for _ in range(DRAWS)]
    return [_smallest([days[draw] for draw in draws], change, rules, ordered=ordered) for change in CHANGES[ordered]]


def _smallest(draws: Sequence[Counts], change: Change, rules: DriftRules, *, ordered: bool) -> SmallestChange:
    sizes = SIZES[change]
    looked: dict[int, NDArray[np.int64]] = {}

    def is_found(place: int, within: int) -> bool:
        if place not in looked:
            looked[place] = np.array([_found_after(draw, change, sizes[place], rules, ordered=ordered) for draw in draws])
        return float(np.mean(looked[place] <= within)) >= POWER

    late, soon = (bisect_left(range(len(sizes)), True, key=lambda place: is_found(place, within)) for within in (LATE, SOON))
    return SmallestChange(change, *(sizes[place] if place < len(sizes) else None for place in (soon, late)))


def _found_after(days: Counts, change: Change, size: float, rules: DriftRules, *, ordered: bool) -> int:
    """The first look at which the change is found that begins LATE days before the end; more than LATE when none is."""
    first = len(days) - LATE
    planted = np.concatenate([days[:first], plant(days[first:], change, size)])
    return next((look for look in LOOKS if alarms(planted[: first + look], rules, ordered=ordered)), LATE + 1)


def plant(days: Counts, change: Change, size: float) -> Counts:
    """The days with a change of this size in each; no row is lost. Texts have their commonest bin by all days together, unseen last."""
    if change == "shift":
        return np.stack([_shifted(day, size) for day in days])
    if change == "share":
        return _from_commonest(days, size)
    taken = _whole(days * size)
    taken[:, 0 if change == "nulls" else -1] = 0
    moved = days - taken
    moved[:, 0 if change == "nulls" else -1] += taken.sum(axis=1)
    return moved


def _shifted(day: Counts, size: float) -> Counts:
    rows = int(day[1:].sum())
    if not rows:
        return day
    normal = NormalDist()
    below = np.cumsum(day[1:]) / rows
    moved = [normal.cdf(normal.inv_cdf(share) - size) if 0 < share < 1 else float(share) for share in below]
    counts = np.diff(np.concatenate([[0], np.rint(np.array(moved) * rows)])).astype(np.int64)
    return np.concatenate([day[:1], counts])


def _from_commonest(days: Counts, size: float) -> Counts:
    """So many of the rows of a day go from the commonest text to the second, as many as it has."""
    order = np.argsort(-days[:, 1:-1].sum(axis=0), kind="stable") + 1
    if len(order) < 2:
        return days
    moved = days.copy()
    taken = np.minimum(np.rint(days.sum(axis=1) * size).astype(np.int64), days[:, order[0]])
    moved[:, order[0]] -= taken
    moved[:, order[1]] += taken
    return moved


def _whole(amounts: NDArray[np.floating]) -> Counts:
    """Amounts as whole numbers whose running sum is that of the amounts, rounded."""
    return np.diff(np.rint(np.cumsum(amounts, axis=1)), axis=1, prepend=0).astype(np.int64)
