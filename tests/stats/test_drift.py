"""Drift keeps its budget of false alarms on slices without drift, clustered or not, and finds planted changes soon."""

import numpy as np
import pytest

from rota.errors import InvalidInput
from rota.stats.drift import drift, run_needed

BINS, ROWS, REFERENCE, NEWEST = 12, 500, 90, 7


def slices(days: int, seed: int, *, clustered: bool = False) -> np.ndarray:
    """Counts of days without drift; clustered days share a random distribution each, as weather makes them."""
    random = np.random.default_rng(seed)
    usual = np.full(BINS - 2, 1 / (BINS - 2))
    shares = random.dirichlet(usual * 20, size=days) if clustered else np.tile(usual, (days, 1))
    return np.pad(np.stack([random.multinomial(ROWS, share) for share in shares]), ((0, 0), (1, 1)))


def judge(counts: np.ndarray, *, ordered: bool = True, features: int = 10, days: float = 90):
    return drift(counts[-NEWEST - REFERENCE : -NEWEST], counts[-NEWEST:], ordered=ordered, features=features, days_between_false_alarms=days)


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("ordered", [False, True])
def test_false_alarms_stay_within_the_budget(clustered, ordered):
    """One feature that may alarm every 10 days: 90 expected of 900 checked days at most; far fewer episodes are seen."""
    alarms = 0
    for seed in range(3):
        counts = slices(400, seed, clustered=clustered)
        alarms += sum(judge(counts[: end + 1], ordered=ordered, features=1, days=10).alarm for end in range(100, 400))
    assert alarms <= 90


def shifted(counts: np.ndarray, days: int, share: float, to_bin: int, seed: int = 9) -> np.ndarray:
    """Move a share of the newest days' rows to one bin."""
    random, moved = np.random.default_rng(seed), counts.copy()
    taken = random.binomial(moved[-days:], share)
    moved[-days:] -= taken
    moved[-days:, to_bin] += taken.sum(axis=1)
    return moved


@pytest.mark.parametrize(("name", "share", "to_bin"), [("unseen value", 0.03, -1), ("nulls", 0.05, 0), ("stuck value", 0.2, 5)])
def test_planted_faults_alarm_within_three_slices_and_name_the_bin(name, share, to_bin):
    found = [judge(shifted(slices(100, seed), 3, share, to_bin), ordered=False) for seed in range(20)]
    assert sum(verdict.alarm for verdict in found) >= 19, name
    assert all(verdict.worst_bin == to_bin % BINS for verdict in found if verdict.alarm)
    assert np.mean([verdict.share_now - verdict.share_before for verdict in found]) == pytest.approx(share, abs=0.03)


def test_a_large_change_alarms_on_its_second_slice_by_the_jump_rule():
    assert not judge(shifted(slices(100, 1), 1, 0.5, -1)).alarm
    verdict = judge(shifted(slices(100, 1), 2, 0.5, -1))
    assert (verdict.state, verdict.rule) == ("alarm", "jump")
    assert verdict.effect == pytest.approx(50, abs=10)


def test_one_stormy_day_among_quiet_ones_is_no_drift():
    counts = shifted(slices(100, 1), 2, 0.5, 3)
    counts[-1] = slices(1, 7)[0]
    assert judge(counts).state == "quiet"


def test_the_run_grows_as_reference_slices_or_budget_shrink():
    assert run_needed(90, tests=20, budget=1 / 270) == 3
    assert run_needed(30, tests=42, budget=1 / 270) > run_needed(90, tests=42, budget=1 / 270)
    assert run_needed(40, tests=42, budget=1e-5) > run_needed(40, tests=42, budget=1e-3)
    assert run_needed(30, tests=42, budget=1e-12) is None


def test_too_few_slices_are_still_learning():
    counts = slices(100, 1)
    few = drift(counts[:20], counts[-3:], ordered=True, features=10, days_between_false_alarms=90)
    none = drift(counts[:0], counts[-3:], ordered=True, features=10, days_between_false_alarms=90)
    assert (few.state, none.state, few.alarm, few.slices) == ("learning", "learning", False, 20)
    assert drift(counts[:90], counts[:0], ordered=True, features=10, days_between_false_alarms=90).state == "learning"


def test_nearly_empty_slices_are_left_out_rather_than_called_far():
    counts = slices(100, 1)
    counts[-3:] = 0
    counts[-3:, 4] = 35
    found = judge(counts)
    assert (found.state, found.rows) == ("learning", 35)  # and not called quiet: nothing was seen of these days
    assert found.needed_rows > 35


def test_histograms_on_other_bins_are_refused():
    with pytest.raises(InvalidInput, match="same bins"):
        drift(np.ones((90, 4)), np.ones((3, 5)), ordered=True, features=1, days_between_false_alarms=90)
    with pytest.raises(InvalidInput, match="positive"):
        drift(np.ones((90, 4)), np.ones((3, 4)), ordered=True, features=0, days_between_false_alarms=90)


def test_a_reference_slice_is_compared_with_the_others_not_with_itself():
    """Of 40 slices one has all rows in the last bin: it lies 0.5 from the others' pool, only 0.4875 from a pool with itself."""
    reference = np.tile([0, 250, 250], (40, 1))
    reference[17] = [0, 0, 500]
    verdict = drift(reference, reference[:3], ordered=True, features=1, days_between_false_alarms=10)
    assert verdict.distance_limit == pytest.approx(0.5)
