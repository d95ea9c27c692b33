"""One day in numbers: counts, performance of everything and of each version, latency."""

import polars as pl
import pytest

from rota.manage.signals import typed_values
from rota.manage.signals.label_domain import DeclaredProblem
from rota.monitor import measure
from rota.records.schema import Bins
from rota.records.time import DAY_US

BINS = [Bins("v__x", "float", edges=(1.0, 2.0)), Bins("v__kind", "string", values=("a",)), Bins("v__gone", "float", edges=(0.0,))]
SCHEMA = {"number": pl.Int64, "answer": pl.Float64, "label": pl.Float64, "latency_us": pl.Int64, "v__x": pl.Float64, "v__kind": pl.String}


def frame(rows):
    ids = pl.Series([f"p{n}" for n in range(len(rows))], dtype=pl.String)
    made = pl.DataFrame(rows, schema=SCHEMA, orient="row").with_columns(
        ids.alias("prediction_id"), pl.lit("").alias("error"), pl.lit(0, pl.Int64).alias("at_us")
    )
    columns = {name: kind for noun in ("answer", "label") for name, kind in typed_values.columns(noun).items() if name not in SCHEMA}
    known = pl.when(pl.col("label").is_not_null()).then(0).alias("label_at_us")
    return made.with_columns(known, pl.lit(1.0).alias("label_weight"), *(pl.lit(None, kind).alias(name) for name, kind in columns.items()))


def day(rows, problem="classification"):
    return measure.day_slice("delay", 0, frame(rows), BINS, run="m1", problem=DeclaredProblem(problem))


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
    assert (empty.rows, empty.performance, empty.efficiency) == (0, {}, {"answers": 0.0, "failed": 0.0})
    assert empty.counts["v__x"] == (0, 0, 0, 0)


def test_numbers_are_measured_by_their_squared_error():
    found = day([(1, 8.0, 10.0, 1_000, 0.5, "a"), (1, 5.0, 4.0, 1_000, 0.5, "a")], "regression")
    assert found.performance["all"]["excess"] == pytest.approx(2.5)
    assert "mae" in found.performance["all"]


ROWS = [(1, 0.8, 1.0, 1_000, 0.5, "a"), (1, 0.4, 0.0, 2_000, 1.5, "b"), (1, 0.6, 1.0, 3_000, 1.0, "a")]


@pytest.mark.parametrize("odd", [(1, 0.7, 2.0, 1_000, 0.5, "a"), (1, 1.5, 1.0, 1_000, 0.5, "a"), (1, -0.1, 0.0, 1, 0.5, "a")])
def test_one_label_or_answer_outside_of_a_classification_is_set_apart_and_the_others_stay_one(odd):
    assert day([*ROWS, odd]).performance == day(ROWS).performance
    assert (day([*ROWS, odd]).labelled, day([*ROWS, odd]).set_apart, day(ROWS).set_apart) == (3, 1, 0)
    assert "brier" in day([*ROWS, odd]).performance["all"]
    assert day([odd]).performance == {}


def test_a_regression_whose_truths_happen_to_be_zeros_and_ones_stays_a_regression():
    found = day(ROWS, "regression").performance["all"]
    assert "rmse" in found
    assert "brier" not in found


def test_failed_predictions_are_counted_once_and_only_where_nobody_answered():
    rows = frame(
        [(1, 0.8, None, 1_000, 0.5, "a"), (2, None, None, 9_000, 0.5, "a"), (2, None, 1.0, 9_000, 0.5, "a"), (2, None, 1.0, 9_000, 0.5, "a")]
    )
    rows = rows.with_columns(pl.Series("prediction_id", ["p0", "p0", "p1", "p1"]), pl.Series("error", ["", "broken", "broken", "broken"]))
    found = measure.day_slice("delay", 0, rows, BINS, run="m1", problem=DeclaredProblem("classification"))
    assert (found.rows, found.labelled, found.counts["v__x"]) == (1, 0, (0, 1, 0, 0))
    assert (found.efficiency["answers"], found.efficiency["failed"], found.efficiency["latency_p95_ms"]) == (1.0, 1.0, 1.0)


def test_a_slice_measured_again_counts_its_revisions_only_when_something_changed():
    rows = frame([*ROWS, (1, 0.5, None, 1_000, 0.5, "a")])
    first = measure.day_slice("delay", 0, rows, BINS, run="m1", problem=DeclaredProblem("classification"))
    assert measure.with_newer_labels(first, rows, run="m2", problem=DeclaredProblem("classification"), now_us=9) is first
    again = measure.with_newer_labels(
        first,
        rows.with_columns(pl.lit(1.0).alias("label"), pl.lit(0).alias("label_at_us")),
        run="m2",
        problem=DeclaredProblem("classification"),
        now_us=9,
    )
    assert (again.labelled, again.revisions, again.revised_us, again.run, again.counts) == (4, 1, 9, "m2", first.counts)
