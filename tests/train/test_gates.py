"""Gate 2: each kind of gate, and what it says when there is nothing to compare."""

import pytest

from rota.records.run import Evaluation, at_least, not_worse_than_champion, per_slice
from rota.train import gates


def evaluation(metrics=None, *, dataset="d@1", slices=None):
    return Evaluation("m", dataset, 1_000, metrics or {}, slices or {})


def only(gate, candidate, champion=None):
    (result,) = gates.judge([gate], candidate, champion)
    return result


@pytest.mark.parametrize(("value", "passed"), [(0.7, True), (0.65, True), (0.6499, False)])
def test_a_score_must_reach_its_bound(value, passed):
    result = only(at_least("roc_auc", 0.65), evaluation({"roc_auc": value}))
    assert (result.passed, result.observed, result.bound) == (passed, value, 0.65)
    assert "needed at least 0.65" in result.message


@pytest.mark.parametrize(("value", "passed"), [(0.4, True), (0.5, True), (0.5001, False)])
def test_a_loss_must_not_exceed_its_bound(value, passed):
    result = only(at_least("log_loss", 0.5), evaluation({"log_loss": value}))
    assert result.passed == passed
    assert "needed at most 0.5" in result.message


def test_a_metric_that_is_not_defined_fails_rather_than_passes():
    result = only(at_least("roc_auc", 0.5), evaluation({"log_loss": 0.1}))
    assert not result.passed
    assert "roc_auc is not defined on these test rows" in result.message


@pytest.mark.parametrize(
    ("metric", "champion", "candidate", "margin", "passed"),
    [
        ("roc_auc", 0.80, 0.79, 0.02, True),
        ("roc_auc", 0.80, 0.77, 0.02, False),
        ("log_loss", 0.50, 0.51, 0.02, True),
        ("log_loss", 0.50, 0.53, 0.02, False),
        ("log_loss", 0.50, 0.50, 0.0, True),
    ],
)
def test_the_candidate_may_be_worse_than_the_champion_by_the_margin_only(metric, champion, candidate, margin, passed):
    result = only(not_worse_than_champion(metric, margin=margin), evaluation({metric: candidate}), evaluation({metric: champion}))
    assert (result.passed, result.observed, result.bound) == (passed, candidate, champion)


def test_without_a_champion_there_is_nothing_to_be_worse_than():
    result = only(not_worse_than_champion("log_loss"), evaluation({"log_loss": 9.0}))
    assert (result.outcome, result.missing, result.state) == ("inconclusive", "no champion yet", "learning")
    assert "no champion" in result.message
    assert gates.refusal([not_worse_than_champion("log_loss")], [result], first=True) == ""


def test_scores_on_different_datasets_are_not_compared():
    result = only(not_worse_than_champion("log_loss"), evaluation({"log_loss": 0.1}), evaluation({"log_loss": 0.5}, dataset="d@2"))
    assert not result.passed
    assert "d@1" in result.message
    assert "d@2" in result.message


@pytest.mark.parametrize("who", ["candidate", "champion"])
def test_a_metric_that_either_lacks_fails_the_comparison(who):
    values = {"candidate": {"roc_auc": 0.7}, "champion": {"roc_auc": 0.7}} | {who: {}}
    result = only(not_worse_than_champion("roc_auc"), evaluation(values["candidate"]), evaluation(values["champion"]))
    assert not result.passed


def test_the_worst_slice_decides_and_small_slices_do_not_count():
    slices = {
        "origin": {
            "EWR": {"rows": 500.0, "roc_auc": 0.70},
            "JFK": {"rows": 500.0, "roc_auc": 0.60},
            "LGA": {"rows": 199.0, "roc_auc": 0.10},
            "HPN": {"rows": 500.0},
        }
    }
    passed = only(per_slice("origin", "roc_auc", 0.55), evaluation(slices=slices))
    assert passed.passed
    assert "not judged: 'LGA' (199 rows), 'HPN' (roc_auc is not defined on its 500 rows)" in passed.message
    refused = only(per_slice("origin", "roc_auc", 0.65), evaluation(slices=slices))
    assert not refused.passed
    assert refused.observed == 0.60
    assert "'JFK'" in refused.message
    assert "2 slices" in refused.message


def test_the_worst_slice_of_a_loss_is_the_largest():
    slices = {"origin": {"a": {"rows": 200.0, "log_loss": 0.4}, "b": {"rows": 200.0, "log_loss": 0.9}}}
    assert only(per_slice("origin", "log_loss", 0.5), evaluation(slices=slices)).observed == 0.9


@pytest.mark.parametrize("slices", [{}, {"origin": {"a": {"rows": 900.0, "roc_auc": 0.2}, "b": {"rows": 63.0, "roc_auc": 0.1}}}])
def test_a_gate_that_judged_no_slice_refuses_and_says_how_it_may_be_let_through(slices):
    gate = per_slice("origin", "roc_auc", 0.9, min_rows=100_000)
    found = only(gate, evaluation(slices=slices))
    assert (found.outcome, found.state) == ("inconclusive", "cannot")
    assert not found.passed
    refused = gates.refusal([gate], [found], first=False)
    assert "no slice with 100000 rows" in refused
    assert 'per_slice(..., unjudged="pass")' in refused
    if slices:
        assert found.missing.endswith("there are 'a' (900 rows), 'b' (63 rows), 37 rows whose origin is null")
    assert gates.refusal([per_slice("origin", "roc_auc", 0.9, min_rows=100_000, unjudged="pass")], [found], first=False) == ""


def test_what_is_not_defined_refuses_on_the_first_version_too():
    gate = at_least("roc_auc", 0.5)
    found = only(gate, evaluation({"log_loss": 0.1}))
    assert found.outcome == "inconclusive"
    assert "roc_auc" in gates.refusal([gate], [found], first=True)


def test_every_gate_gives_one_result_in_order():
    wanted = [at_least("roc_auc", 0.5), not_worse_than_champion("log_loss"), per_slice("origin", "roc_auc", 0.5)]
    results = gates.judge(wanted, evaluation({"roc_auc": 0.7, "log_loss": 0.5}), None)
    assert [r.check for r in results] == ["roc_auc", "log_loss against champion", "roc_auc per origin"]
    assert gates.judge([], evaluation(), None) == []


def test_an_unknown_metric_is_named_with_those_that_exist():
    for gate in (at_least("auc", 0.5), not_worse_than_champion("auc"), per_slice("origin", "auc", 0.5)):
        slices = {"origin": {"a": {"rows": 500.0, "roc_auc": 0.7}}}
        result = only(gate, evaluation({"roc_auc": 0.7}, slices=slices), evaluation({"roc_auc": 0.7}))
        assert not result.passed
        assert "'auc' is unknown" in result.message
        assert "roc_auc" in result.message
