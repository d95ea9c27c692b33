"""False alarms and power of drift detection with few rows (rota.stats.early_drift): a baseline of 398 rows, 13, 40 or 200 rows a day.

Looks are independent: a fresh baseline and `--served` served days of log-normal values, whose days share an effect of the standard
deviation `sd` (that of rows is 1). The budget is one false alarm in 90 looks of one feature, 0.0111. Seeded; the same figures each time.

    python benchmarks/monitoring/early_drift.py [--looks 300] [--served 10]
"""

import argparse
from itertools import product

import numpy as np
import polars as pl

from rota.stats.bins import choose_bins, count
from rota.stats.early_drift import early_drift

BASELINE_DAYS, BASELINE_ROWS, DAYS_BETWEEN_FALSE_ALARMS = 16, 25, 90


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--looks", type=int, default=300)
    parser.add_argument("--served", type=int, default=10)
    asked = parser.parse_args()
    print(f"share of {asked.looks} looks with an alarm, after {asked.served} served days; the budget is {1 / DAYS_BETWEEN_FALSE_ALARMS:.4f}")
    for sd, rows, dated in product((0.0, 0.2, 0.5), (13, 40, 200), (True, False)):
        found = share_of_alarms(asked.looks, asked.served, rows=rows, sd=sd, dated=dated)
        print(f"   nothing changes, day effect {sd:.1f}, {rows:3d} rows a day, baseline {'with   ' if dated else 'without'} moments: {found:.4f}")
    for factor, dated in product((1.5, 2.0, 2.54), (True, False)):
        found = share_of_alarms(asked.looks, asked.served, rows=13, sd=0.0, dated=dated, factor=factor)
        print(f"   times {factor:.2f} in the newest 3 days, 13 rows a day, baseline {'with   ' if dated else 'without'} moments: {found:.4f}")


def share_of_alarms(looks: int, served: int, *, rows: int, sd: float, dated: bool, factor: float = 1.0) -> float:
    """How often one look alarms; with a `factor` the newest three days are multiplied by it."""
    draw, alarms = np.random.default_rng(7), 0
    for _ in range(looks):
        baseline = [days_of(draw, BASELINE_ROWS, sd) for _ in range(BASELINE_DAYS)]
        bins = choose_bins("x", "float", pl.Series(np.concatenate(baseline)))
        newest = [days_of(draw, rows, sd) * (factor if day >= served - 3 else 1.0) for day in range(served)]
        counted = np.array([count(bins, pl.Series(day)) for day in baseline])
        alarms += early_drift(
            counted if dated else counted.sum(axis=0, keepdims=True),
            [count(bins, pl.Series(day)) for day in newest],
            ordered=True,
            features=1,
            days_between_false_alarms=DAYS_BETWEEN_FALSE_ALARMS,
        ).alarm
    return alarms / looks


def days_of(draw: np.random.Generator, rows: int, sd: float) -> np.ndarray:
    """The values of one day."""
    return np.exp(draw.normal(draw.normal(0, sd), 1, rows))


if __name__ == "__main__":
    main()
