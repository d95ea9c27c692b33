"""Features that follow the calendar: all rows of a day have the same value, as month, weekday or a public holiday have.

They move by their nature: each month begins outside of the days before it. Compared with earlier days they would alarm for ever.
"""

import numpy as np
from numpy.typing import ArrayLike

LEAST_DAYS, LEAST_ROWS = 28, 20
"""Days with so many values of the feature each; with fewer rows a day may have one value by chance."""


def follows_calendar(days: ArrayLike) -> bool:
    """Whether a feature has one value on all rows of each day, and not the same on all days, by bin counts (days, bins); bin 0 holds nulls."""
    counts = np.asarray(days)[:, 1:]
    counts = counts[counts.sum(axis=1) >= LEAST_ROWS]
    if len(counts) < LEAST_DAYS or (np.count_nonzero(counts, axis=1) > 1).any():
        return False
    return len(np.unique(counts.argmax(axis=1))) > 1
