"""One day in numbers: counts, performance of everything and of each version, latency."""

import polars as pl
import pytest

from rota.monitor import measure
from rota.records.schema import Bins
from rota.records.time import DAY_US

BINS = [Bins("v__x", "float", edges=(1.0, 2.0)), Bins("v__kind", "string", values=("a",)), Bins("v__gone", "float", edges=(0.0,))]
SCHEMA = {"number": pl.Int64, "answer": pl.Float64, "label": pl.Float64, "latency_us": pl.Int64, "v__x": pl.Float64, "v__kind": pl.String}


def day(rows):
    return measure.day_slice("delay", 0, pl.DataFrame(rows, schema=SCHEMA, orient="row"), BINS, run="m1")


def test_a_day_is_counted_and_measured():
    found = day([(1, 0.8, 1.0, 1_000, 0.5, "a"), (1, 0.4, 0.0, 2_000, 1.5, "b"), (2, 0.6, 1.0, 3_000, None, None), (2, 0.1, None, 4_000, 9.0, "a")])
    assert (found.rows, found.labelled, found.end_us, found.run) == (4, 3, DAY_US, "m1")
    assert found.counts == {"v__x": (1, 1, 1, 1), "v__kind": (1, 2, 0, 1), "v__gone": (4, 0, 0)}
    assert set(found.performance) == {"all", "1", "2"}
    assert found.performance["all"]["brier"] == pytest.approx((0.04 + 0.16 + 0.16) / 3)
    assert found.performance["all"]["excess"] == pytest.approx((0.04 - 0.16 + 0.16 - 0.24 + 0.16 - 0.24) / 3)
    assert found.performance["2"]["labelled"] == 1.0
    assert (found.efficiency["answers"], found.efficiency["latency_p50_ms"]) == (4.0, pytest.approx(2.5, abs=0.5))


def test_a_day_without_labels_has_no_performance_and_an_empty_day_is_a_day():
    assert day([(1, 0.8, None, 1_000, 0.5, "a")]).performance == {}
    empty = day([])
    assert (empty.rows, empty.performance, empty.efficiency) == (0, {}, {"answers": 0.0})
    assert empty.counts["v__x"] == (0, 0, 0, 0)


def test_numbers_are_measured_by_their_squared_error():
    found = day([(1, 8.0, 10.0, 1_000, 0.5, "a"), (1, 5.0, 4.0, 1_000, 0.5, "a")])
    assert found.performance["all"]["excess"] == pytest.approx(2.5)
    assert "mae" in found.performance["all"]
