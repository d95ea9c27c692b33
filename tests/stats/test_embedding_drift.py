"""Mean shift of vectors and the classifier two-sample test, against closed forms, simulation and scikit-learn."""

import math
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from rota.errors import InvalidInput
from rota.records.schema import VectorMoments
from rota.stats import embedding_drift as drift
from rota.stats.embedding_drift import mean_shift, moments, shift_of_days, together, two_sample_test


@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_moments_of_parts_add_up_to_those_of_the_whole(first: int, second: int, width: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(first + second, width)) * 3 + 7
    whole, added = moments(vectors), together(moments(vectors[:first]), moments(vectors[first:]))
    assert added.count == whole.count == len(vectors)
    if len(vectors):
        np.testing.assert_allclose(added.mean, whole.mean, rtol=1e-12)
        np.testing.assert_allclose(added.mean, vectors.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(added.variance, np.trace(np.atleast_2d(np.cov(vectors.T, ddof=0))) if len(vectors) > 1 else 0.0, atol=1e-9)


def test_the_shift_is_the_distance_of_the_means_in_units_of_the_spread() -> None:
    reference = VectorMoments(1_000, (0.0, 0.0), 1_000 * 4.0)
    assert mean_shift(reference, VectorMoments(100, (3.0, 4.0), 0.0)) == pytest.approx(math.sqrt(25 / 4 - 0.01))
    assert mean_shift(reference, VectorMoments(10, (0.1, 0.0), 0.0)) == 0.0
    assert mean_shift(VectorMoments(3, (1.0,), 0.0), VectorMoments(3, (2.0,), 0.0)) == math.inf
    assert mean_shift(VectorMoments(3, (1.0,), 0.0), VectorMoments(3, (1.0,), 0.0)) == 0.0


@pytest.mark.parametrize("rows", [10, 100, 1_000])
def test_the_squared_shift_does_not_depend_on_how_many_rows_a_day_has(rows: int) -> None:
    random = np.random.default_rng(4)
    reference, moved = VectorMoments(10**6, (0.0,) * 8, 8e6), np.full(8, 0.5)
    squares = [_squared(reference, moments(random.normal(size=(rows, 8)) + moved)) for _ in range(400)]
    assert np.mean(squares) == pytest.approx(8 * 0.25 / 8, abs=4 * np.std(squares) / 20)


def _squared(reference: VectorMoments, day: VectorMoments) -> float:
    """Before what is below 0 is cut off, which is what makes it unbiased."""
    return float(np.sum(np.subtract(day.mean, reference.mean) ** 2)) / reference.variance - 1 / day.count


def days(random: np.random.Generator, number: int, *, rows: int = 50, moved: float = 0.0, width: int = 16) -> list[VectorMoments]:
    """Days that each share a cause of their own."""
    return [moments(random.normal(size=(rows, width)) + random.normal(size=width) * 0.2 + moved) for _ in range(number)]


def test_days_that_differ_among_themselves_are_no_drift_and_a_moved_mean_is() -> None:
    random = np.random.default_rng(11)
    alarms = 0
    for _ in range(60):
        before = days(random, 60)
        reference = reduce(together, before)
        quiet = shift_of_days(reference, before, days(random, 7), features=5, days_between_false_alarms=30)
        alarms += quiet.alarm
        moved = shift_of_days(reference, before, days(random, 7, moved=1.0), features=5, days_between_false_alarms=30)
        assert moved.alarm
        assert moved.run == 7
        assert moved.shift == pytest.approx(1.0, abs=0.2)
    assert alarms <= 4


def test_what_cannot_be_judged_says_what_it_lacks() -> None:
    random = np.random.default_rng(1)
    before = days(random, 10)
    reference = reduce(together, before)
    young = shift_of_days(reference, before, days(random, 3), features=1, days_between_false_alarms=30)
    assert (young.state, young.days, young.needed >= 30) == ("learning", 10, True)
    thin = shift_of_days(reference, days(random, 90), days(random, 3, rows=5), features=1, days_between_false_alarms=30)
    assert (thin.state, thin.rows) == ("learning", 5)
    assert shift_of_days(VectorMoments(), [], [], features=1, days_between_false_alarms=30).state == "learning"
    with pytest.raises(InvalidInput, match="positive"):
        shift_of_days(reference, before, [], features=0, days_between_false_alarms=30)
    with pytest.raises(InvalidInput, match="dimensions"):
        mean_shift(reference, VectorMoments(3, (1.0,), 0.0))
    with pytest.raises(InvalidInput, match="give some of both"):
        mean_shift(reference, VectorMoments())


def test_a_classifier_tells_samples_apart_that_differ_and_is_a_coin_where_they_do_not() -> None:
    random = np.random.default_rng(2)
    p_values = [two_sample_test(random.normal(size=(200, 10)), random.normal(size=(300, 10)), seed=n).p_value for n in range(200)]
    assert 0.4 < np.mean(p_values) < 0.6
    assert np.mean(np.array(p_values) < 0.05) < 0.11
    different = two_sample_test(random.normal(size=(400, 10)), random.normal(size=(400, 10)) + 0.5)
    assert different.state == "different"
    assert different.accuracy > 0.7
    assert different.rows == 400
    assert two_sample_test(np.full((100, 3), 1.0), np.full((100, 3), 1.0)).state == "same"
    assert two_sample_test(np.zeros((10, 3)), np.zeros((100, 3))).state == "cannot"
    broken = np.vstack([np.full((1, 10), np.nan), random.normal(size=(60, 10))])
    assert two_sample_test(broken, random.normal(size=(60, 10))).rows == 60


def test_the_classifier_is_scikit_learns_discriminant_analysis_but_for_the_ridge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "RIDGE", 0.0)
    random = np.random.default_rng(5)
    one, other = random.normal(size=(100, 4)) @ random.normal(size=(4, 4)), random.normal(size=(100, 4)) + 1
    direction, middle = drift._discriminant(one, other)
    theirs = LinearDiscriminantAnalysis(solver="lsqr").fit(np.vstack([one, other]), np.repeat([0, 1], 100))
    points = random.normal(size=(500, 4))
    np.testing.assert_array_equal(points @ direction > middle, theirs.predict(points) == 1)
