"""Each problem type's table: forms that go there and back, what is refused, losses beside their metrics, excess without a bias, edges."""

import math

import numpy as np
import pytest

from rota.errors import InvalidInput
from rota.manage.signals import typed_values
from rota.problems import forms, registry
from rota.problems.problem_type import ScoredRows
from rota.problems.registry import PROBLEMS, evaluate, problem_type

RANDOM = np.random.default_rng(4)
ROWS = 60
ONE = RANDOM.random(ROWS)
SUMS = RANDOM.dirichlet(np.ones(3), ROWS)
NAMES = np.array([f"c{each}" for each in RANDOM.integers(0, 3, ROWS)], dtype=object)
SAID = np.array(["the cat sat", "a dog", "the cat"] * 20, dtype=object)
JSON = np.array([{"at": each % 3} for each in range(ROWS)], dtype=object)
EXAMPLES = {
    "classification": ((), ONE, [0.0, 1.0] * 30),
    "multiclass": (("a", "b", "c"), SUMS, ["a", "b", "c"] * 20),
    "multilabel": (("a", "b", "c"), RANDOM.random((ROWS, 3)), [["a"], [], {"b": 1}] * 20),
    "regression": (("a", "b"), RANDOM.random((ROWS, 2)), [{"a": 1.0}, {"b": 2.0}, [1, 0.5]] * 20),
    "quantiles": (("0.1", "0.9"), np.sort(RANDOM.random((ROWS, 2))), ONE.tolist()),
    "count": ((), ONE + 0.1, [0, 1, 3] * 20),
    "positive": ((), ONE + 0.1, [0.5, 1, 3] * 20),
    "forecast": (("1|0.1", "1|0.9", "2|0.1", "2|0.9"), RANDOM.random((ROWS, 4)), [{"1": 1.0}, {"2": 0.5}, [1.0, 0.0]] * 20),
    "ranking": ((), ONE, [0, 1, 2] * 20),
    "anomaly": ((), ONE, [0, 0, 1] * 20),
    "clustering": ((), NAMES, ["red", "blue", 3] * 20),
    "text": ((), SAID, ["the cat", "a dog", "cat the"] * 20),
    "embedding": ((), RANDOM.random((ROWS, 4)), RANDOM.random((ROWS, 4)).tolist()),
    "custom": ((), JSON, [{"at": 1}] * 60),
}
KINDS = sorted(PROBLEMS)


def example(name: str) -> tuple[registry.ProblemType, ScoredRows]:
    kind, (outputs, answers, reported) = problem_type(name), EXAMPLES[name]
    labels = [kind.label.check(outputs, label) for label in reported]
    return kind, ScoredRows(kind.label.array(outputs, labels), answers, outputs, groups=np.arange(ROWS) % 7)


@pytest.mark.parametrize("name", KINDS)
def test_answers_and_labels_come_back_from_the_columns_of_the_log(name):
    kind, rows = example(name)
    plain = kind.answer.plain(rows.outputs, rows.answers)
    logged = [typed_values.joined(typed_values.split(answer)) for answer in plain]
    assert all(map(kind.answer.fits, logged))
    assert np.array_equal(kind.answer.array(rows.outputs, logged), rows.answers)
    labels = [kind.label.check(rows.outputs, label) for label in EXAMPLES[name][2]]
    kept = [typed_values.joined(typed_values.split(label)) for label in labels]
    assert all(map(kind.label.fits, kept))
    again, first = kind.label.array(rows.outputs, kept), rows.truth
    assert np.array_equal(again, first, equal_nan=first.dtype != object)
    assert kind.allowed(rows).all()


@pytest.mark.parametrize("name", KINDS)
def test_a_table_is_whole(name):
    """Every metric lies between its ends, losses and excess are a number a row, gates and what is always there are among the metrics."""
    kind, rows = example(name)
    found = kind.evaluate(rows)
    assert kind.main_metric in found
    assert kind.always in {*found, "labelled"}
    assert {gate.metric for gate in kind.gates} <= set(kind.metrics)
    for metric, value in found.items():
        assert kind.metrics[metric].lowest <= value <= kind.metrics[metric].highest, metric
    assert kind.losses
    for function in (*kind.losses.values(), kind.excess):
        assert np.isfinite(function(rows)).all()
        assert function(rows).shape == (ROWS,)
    drifting = kind.drift(rows.outputs, rows.answers)
    assert bool(drifting) == (name != "custom")  # of any JSON nobody knows which shift matters: a monitor says that it cannot
    assert all(column.shape == (ROWS,) for column in drifting.values())
    for gate in kind.gates:
        assert gate.word == ("at_least" if kind.metrics[gate.metric].higher_is_better else "at_most")


@pytest.mark.parametrize("name", [name for name in KINDS if name not in ("clustering", "ranking")])
def test_a_row_with_a_weight_of_two_counts_as_two_rows(name):
    """Partitions have no weights, and a group counts by the mean weight of its rows."""
    kind, rows = example(name)
    weighted = ScoredRows(rows.truth, rows.answers, rows.outputs, np.arange(ROWS) % 2 + 1.0)
    twice = np.repeat(np.arange(ROWS), np.arange(ROWS) % 2 + 1)
    doubled = ScoredRows(rows.truth[twice], rows.answers[twice], rows.outputs)
    assert kind.evaluate(weighted) == pytest.approx(kind.evaluate(doubled), rel=1e-9)


@pytest.mark.parametrize("name", KINDS)
def test_nothing_is_defined_without_rows(name):
    kind, rows = example(name)
    assert kind.evaluate(rows.where(np.zeros(ROWS, dtype=bool))) == {}


@pytest.mark.parametrize("name", KINDS)
def test_one_row_breaks_no_metric(name):
    kind, rows = example(name)
    assert all(map(math.isfinite, kind.evaluate(rows.where(np.arange(ROWS) == 2)).values()))


def test_one_name_means_one_direction_in_every_problem():
    for name in registry.metric_names():
        assert len({kind.metrics[name].higher_is_better for kind in PROBLEMS.values() if name in kind.metrics}) == 1, name


@pytest.mark.parametrize(
    ("name", "outputs", "label", "reason"),
    [
        ("multilabel", ("a", "b"), ["a", "z"], r"names \['z'\]"),
        ("multilabel", ("a", "b"), {"a": 0.5}, "outside"),
        ("multilabel", ("a", "b"), "a", "no list of names"),
        ("quantiles", ("0.1",), {"0.1": 3}, "number"),
        ("count", (), -1, "below 0"),
        ("positive", (), math.inf, "finite"),
        ("ranking", (), -0.5, "below 0"),
        ("anomaly", (), 2, "outside"),
        ("clustering", (), {"a": 1}, "no name"),
        ("forecast", ("1|0.1", "1|0.9"), {"1|0.1": 1}, r"names \['1\|0.1'\]"),
        ("text", (), 3, "no text"),
        ("embedding", (), [1.0, math.inf], "finite"),
        ("embedding", (), [], "no list"),
        ("custom", (), {1, 2}, "no JSON"),
    ],
)
def test_a_label_that_a_problem_does_not_have_is_refused_by_name(name, outputs, label, reason):
    with pytest.raises(InvalidInput, match=reason):
        problem_type(name).label.check(outputs, label)


@pytest.mark.parametrize(
    ("name", "outputs", "truth", "answers", "reason"),
    [
        ("regression", (), [0.0, math.inf], [1.0, 1.0], "infinite"),
        ("regression", (), [0.0, 1.0], [1.0, -math.inf], "infinite"),
        ("quantiles", ("low", "high"), [1.0], [[0.0, 2.0]], "no levels between 0 and 1"),
        ("quantiles", ("0", "1"), [1.0], [[0.0, 2.0]], "no levels between 0 and 1"),
        ("forecast", ("1|5", "1|0.5"), [[1.0]], [[0.0, 2.0]], "levels do not lie"),
        ("count", (), [1.0], [0.0], "not above 0"),
        ("count", (), [-1.0], [1.0], "1 of 1 rows"),
        ("multilabel", ("a",), [[1.0]], [[1.5]], "no probability"),
        ("multilabel", ("a",), [[0.5]], [[0.5]], "labels are lists of the names"),
        ("multilabel", ("a",), [[math.nan]], [[0.5]], "no truth"),
        ("embedding", (), [[1.0, 2.0]], [[1.0]], "as long as an answer"),
        ("text", (), np.array(["a", None], dtype=object), np.array(["a", "b"], dtype=object), "1 of 2 rows"),
    ],
)
def test_rows_that_a_problem_does_not_have_are_refused(name, outputs, truth, answers, reason):
    with pytest.raises(InvalidInput, match=reason):
        evaluate(name, truth, answers, outputs=outputs)


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [1.0, math.nan], [[1.0], [1.0]]])
def test_weights_that_are_none_are_refused(weights):
    with pytest.raises(InvalidInput):
        evaluate("regression", [1.0, 2.0], [1.0, 2.0], weights=weights)


def test_a_list_of_names_is_the_whole_truth_and_a_mapping_a_part_of_it():
    check = problem_type("multilabel").label.check
    assert check(("1", "b", "c"), [1, "c"]) == {"1": 1.0, "b": 0.0, "c": 1.0}
    assert check(("1", "b", "c"), {"b": True}) == {"b": 1.0}


def test_a_ranking_without_groups_is_not_measured_and_says_so_by_nothing():
    assert evaluate("ranking", [1.0, 0.0], [0.3, 0.2]) == {}
    assert np.isnan(problem_type("ranking").excess(ScoredRows(np.ones(2), np.ones(2)))).all()


def test_losses_have_the_mean_of_their_metric():
    """What champion and challenger are compared by is what gates are asked of."""
    pairs = {"brier", "log_loss", "pinball", "poisson_deviance", "tweedie_deviance", "gamma_deviance", "cosine_distance", "euclidean_distance"}
    for name in KINDS:
        kind, rows = example(name)
        whole = rows.where(~np.isnan(rows.truth).any(axis=1)) if rows.truth.ndim == 2 else rows
        found = kind.evaluate(whole)
        for loss in pairs & set(kind.losses):
            assert kind.losses[loss](whole).mean() == pytest.approx(found[loss]), (name, loss)


def test_the_rank_loss_of_each_class_is_one_minus_the_area():
    kind, rows = example("anomaly")
    loss, area = kind.losses["rank_loss"](rows), kind.evaluate(rows)["roc_auc"]
    assert loss[rows.truth == 1].mean() == pytest.approx(1 - area)
    assert loss[rows.truth == 0].mean() == pytest.approx(1 - area)


def test_the_excess_of_a_calibrated_model_is_none_in_the_mean():
    random, rows = np.random.default_rng(5), 200_000
    rates = np.exp(random.uniform(-9, 6, rows))
    counted = ScoredRows(random.poisson(rates).astype(float), rates)
    probable = random.random((rows, 2))
    labelled = ScoredRows((random.random((rows, 2)) < probable).astype(float), probable, ("a", "b"))
    for name, scored in (("count", counted), ("multilabel", labelled)):
        excess = problem_type(name).excess(scored)
        assert abs(excess.mean()) < 4 * excess.std() / math.sqrt(rows), name
        assert problem_type(name).losses[problem_type(name).loss](scored).mean() > 10 * abs(excess.mean()), name


def test_lists_of_another_length_are_no_answers_rather_than_an_error():
    found = forms.lists((), [[1.0, 2.0], [3.0], [4.0, 5.0]])
    assert np.array_equal(found, [[1, 2], [math.nan, math.nan], [4, 5]], equal_nan=True)


def test_a_shift_of_the_mean_of_embeddings_shows_in_a_column():
    random = np.random.default_rng(6)
    before = problem_type("embedding").drift((), random.normal(size=(2_000, 64)))
    after = problem_type("embedding").drift((), random.normal(size=(2_000, 64)) + random.normal(size=64))
    moved = {name: abs(after[name].mean() - before[name].mean()) / before[name].std() for name in before}
    assert moved["answer.norm"] > 1
    assert max(shift for name, shift in moved.items() if "direction" in name) > 0.3


def test_words_count_as_often_as_they_occur():
    found = evaluate("text", np.array(["The cat, the hat", "", "yes "], dtype=object), np.array(["the cat", "", "Yes"], dtype=object))
    assert found["token_f1"] == pytest.approx((2 * 2 / 6 + 1 + 1) / 3)
    assert found["exact_match"] == pytest.approx(1 / 3)
    assert found["length_ratio_error"] == pytest.approx(1 - 10 / 20)


def test_a_metric_of_one_name_has_one_direction_in_every_problem():
    found: dict[str, set[bool]] = {}
    for kind in registry.PROBLEMS.values():
        for name, metric in kind.metrics.items():
            found.setdefault(name, set()).add(metric.higher_is_better)
    assert {name for name, directions in found.items() if len(directions) > 1} == set()
