"""Known faults are named when they explain the change, and nothing is named for changes of the world."""

import numpy as np
import polars as pl
import pytest

from rota.stats import faults
from rota.stats.bins import choose_bins, count
from rota.stats.faults import known_fault, known_text_fault


def summer(days: int, seed: int = 1, middle: float = 76.0) -> list[np.ndarray]:
    """Temperatures in Fahrenheit: each day has its own level and a course of about 8 degrees."""
    random = np.random.default_rng(seed)
    return [random.normal(random.normal(middle, 4), 5, 400) for _ in range(days)]


FAULTS = [
    (lambda x: (x - 32) / 1.8, "Fahrenheit read as Celsius"),
    (lambda x: x * 10, "values multiplied by 10"),
    (lambda x: x / 1_000, "values divided by 1000"),
    (lambda x: -x, "sign flipped"),
    (lambda x: np.full_like(x, 71.06), "stuck value"),
    (lambda x: np.where(np.arange(len(x)) % 2, 71.06, x), "stuck value"),
    (lambda x: np.where(np.arange(len(x)) % 5, x, np.nan), "null flood"),
]


@pytest.mark.parametrize(("fault", "name"), FAULTS)
def test_a_fault_is_named_on_its_second_slice(fault, name):
    for seed in range(10):
        days = summer(30, seed)
        found = known_fault("temp", days[:28], [fault(day) for day in days[28:]])
        assert found is not None
        assert found.name == name
        assert found.message.startswith("temp: ")


@pytest.mark.parametrize("conversion", [c for c in faults.CONVERSIONS if " read as " in c.name], ids=lambda c: c.name)
def test_a_unit_that_is_undone_after_its_opposite_gives_the_values_back(conversion):
    meant, _, arrived = conversion.name.partition(" read as ")
    (opposite,) = [
        c for c in faults.CONVERSIONS if c.name == f"{arrived[:1].upper()}{arrived[1:]} read as {meant}" or c.name == f"{arrived} read as {meant}"
    ]
    values = np.array([1.0, 20.0, 300.0])
    assert opposite.undo(conversion.undo(values)) == pytest.approx(values)


CONVERSIONS = [
    (20.0, lambda x: x * 1.8 + 32, "Celsius read as Fahrenheit"),
    (20.0, lambda x: x + 273.15, "Celsius read as Kelvin"),
    (293.0, lambda x: x - 273.15, "Kelvin read as Celsius"),
    (30.0, lambda x: x * 33.8639, "inches of mercury read as hectopascals"),
    (1_015.0, lambda x: x / 33.8639, "hectopascals read as inches of mercury"),
    (10.0, lambda x: x * 1.609344, "miles read as kilometres"),
    (500.0, lambda x: x * 0.3048, "feet read as metres"),
    (500.0, lambda x: x * 0.44704, "miles per hour read as metres per second"),
    (500.0, lambda x: x * 0.868976, "miles per hour read as knots"),
]


@pytest.mark.parametrize(("middle", "fault", "name"), CONVERSIONS)
def test_each_unit_is_told_when_the_feature_is_steady_enough(middle, fault, name):
    random = np.random.default_rng(1)
    days = [random.normal(middle * random.normal(1, 0.005), middle / 100, 400) for _ in range(30)]
    found = known_fault("reading", days[:28], [fault(day) for day in days[28:]])
    assert found is not None
    assert name in found.message


def test_a_constant_feature_in_another_unit_is_told():
    days = [np.full(100, 10.0)] * 28
    assert known_fault("visib", days, [np.full(100, 16.09344)] * 2).name == "miles read as kilometres"
    assert known_fault("visib", days, [np.full(100, 7.0)] * 2) is None


@pytest.mark.parametrize("drop", [10, 20, 30, 60])
def test_a_cold_front_is_no_fault(drop):
    for seed in range(10):
        days = summer(28, seed)
        assert known_fault("temp", days, summer(2, seed + 100, middle=76.0 - drop)) is None


def test_a_fault_in_only_one_of_two_slices_is_not_named_yet():
    days = summer(30)
    assert known_fault("temp", days[:28], [days[28], (days[29] - 32) / 1.8]) is None


def test_storms_of_a_feature_that_is_mostly_zero_are_no_scale_fault():
    random = np.random.default_rng(2)
    dry = [np.where(random.random(400) < 0.05, 0.02, 0.0) for _ in range(28)]
    assert known_fault("precip", dry, [np.where(random.random(400) < 0.6, 0.2, 0.0) for _ in range(2)]) is None


def test_nothing_is_said_with_too_little_to_go_by():
    days = summer(30)
    assert known_fault("temp", days[:10], [(day - 32) / 1.8 for day in days[28:]]) is None
    assert known_fault("temp", days[:28], []) is None
    assert known_fault("temp", days[:28], [(days[28] - 32) / 1.8]) is None
    assert known_fault("temp", [np.full(50, np.nan)] * 28, [np.full(50, np.nan)] * 2) is None


TRAINING = pl.Series(["UA"] * 50 + ["AA"] * 30 + ["DL"] * 20)
BINS = choose_bins("carrier", "string", TRAINING)


def carriers(replace: dict[str, str] | None = None, share: float = 1.0, days: int = 28, seed: int = 1) -> np.ndarray:
    random = np.random.default_rng(seed)
    drawn = [random.choice(TRAINING.to_numpy(), 900) for _ in range(days)]
    faulty = [[(replace or {}).get(x, x) if random.random() < share else x for x in day] for day in drawn]
    return np.stack([count(BINS, pl.Series(day, dtype=pl.String)) for day in faulty])


def test_a_renamed_value_and_a_new_one_are_told_apart():
    renamed = known_text_fault(BINS, carriers(), carriers({"DL": "Delta"}, days=2, seed=2))
    assert (renamed.kind, renamed.name) == ("renamed", "'DL' renamed")
    new = known_text_fault(BINS, carriers(), carriers({"UA": "XX"}, share=0.1, days=2, seed=2))
    assert new.kind == "new_value"
    assert new.evidence["unseen_share"] == pytest.approx(0.05, abs=0.02)


def test_usual_texts_and_a_handful_of_new_ones_are_no_fault():
    assert known_text_fault(BINS, carriers(), carriers(days=2, seed=3)) is None
    assert known_text_fault(BINS, carriers(), carriers({"UA": "XX"}, share=0.005, days=2, seed=3)) is None
    assert known_text_fault(BINS, carriers(days=5), carriers({"DL": "Delta"}, days=2)) is None
