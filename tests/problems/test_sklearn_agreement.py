"""The metrics of every problem type beside scikit-learn's: ties, one class, weights, parts that are not known yet, certain answers, no rows."""

import inspect
import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as oracle

from rota.errors import InvalidInput
from rota.problems import registry
from rota.problems.problem_type import ScoredRows
from rota.stats import ranking_metrics

SEEDS = st.integers(0, 10_000)
CLOSE = {"rel": 1e-9, "abs": 1e-9}
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning"),
    pytest.mark.filterwarnings("ignore:No positive class found"),
]


class Drawn:
    """Rows drawn by a seed; `weights` are whole or broken numbers, or None."""

    def __init__(self, seed: int, *, least: int = 2) -> None:
        self.random = np.random.default_rng(seed)
        self.rows = int(self.random.integers(least, 40))
        self.weights = (None, self.random.integers(1, 4, self.rows).astype(float), self.random.random(self.rows) + 0.01)[seed % 3]

    def coarse(self, *shape: int) -> np.ndarray:
        """Numbers in 0.02..0.98 with many ties."""
        return self.random.integers(1, 9, (self.rows, *shape)) / 9

    def binary(self, *shape: int) -> np.ndarray:
        return (self.random.random((self.rows, *shape)) < self.random.random()).astype(float)


def agree(found: dict[str, float], wanted: dict[str, float]) -> None:
    assert {name: found.get(name, math.nan) for name in wanted} == pytest.approx(wanted, nan_ok=True, **CLOSE)


@given(SEEDS)
def test_classification(seed):
    drawn = Drawn(seed)
    truth, answers, weights = drawn.binary(), drawn.coarse(), drawn.weights
    both = len(set(truth)) == 2
    agree(
        registry.evaluate("classification", truth, answers, weights=weights),
        {
            "roc_auc": oracle.roc_auc_score(truth, answers, sample_weight=weights) if both else math.nan,
            "average_precision": oracle.average_precision_score(truth, answers, sample_weight=weights) if truth.any() else math.nan,
            "log_loss": oracle.log_loss(truth, answers, sample_weight=weights, labels=[0, 1]),
            "brier": oracle.brier_score_loss(truth, answers, sample_weight=weights, labels=[0, 1]),
            "accuracy": oracle.accuracy_score(truth, answers >= 0.5, sample_weight=weights),
            "expected_calibration_error": calibration_error(truth, answers, weights),
        },
    )


def calibration_error(truth, answers, weights):
    """Bin by bin, as Naeini, Cooper and Hauskrecht (2015) define it: scikit-learn has none."""
    weights, gap = np.ones(len(truth)) if weights is None else weights, 0.0
    for low in range(10):
        inside = (answers * 10 >= low) & ((answers * 10 < low + 1) | (low == 9))
        gap += abs(weights[inside] @ (answers[inside] - truth[inside]))
    return gap / weights.sum()


@given(SEEDS)
def test_answers_that_are_certain_cost_what_they_cost_in_scikit_learn(seed):
    drawn = Drawn(seed)
    truth, answers, weights = drawn.binary(), drawn.random.integers(0, 3, drawn.rows) / 2, drawn.weights
    wanted = oracle.log_loss(truth, answers, sample_weight=weights, labels=[0, 1])
    agree(registry.evaluate("classification", truth, answers, weights=weights), {"log_loss": wanted})
    both, names = np.column_stack([1 - answers, answers]), ("a", "b")
    agree(registry.evaluate("multiclass", truth, both, outputs=names, weights=weights), {"log_loss": wanted})
    agree(registry.evaluate("multilabel", truth[:, None], answers[:, None], outputs=("a",), weights=weights), {"log_loss": wanted})


@given(SEEDS)
def test_what_is_measured_together_is_what_each_function_gives(seed):
    drawn = Drawn(seed, least=1)
    answers = drawn.coarse(3)
    answers /= answers.sum(axis=1, keepdims=True)
    truth = drawn.random.integers(-1, 3, drawn.rows).astype(float)
    two = ScoredRows(drawn.binary(), drawn.coarse(), (), drawn.weights)
    for name, rows in (("multiclass", ScoredRows(truth, answers, ("a", "b", "c"), drawn.weights)), ("classification", two)):
        kind = registry.PROBLEMS[name]
        shared = kind.together(rows)
        assert shared == pytest.approx({each: kind.metrics[each].function(rows) for each in shared}, nan_ok=True, **CLOSE)


@given(SEEDS)
def test_multiclass(seed):
    drawn = Drawn(seed)
    answers = drawn.coarse(4)
    answers /= answers.sum(axis=1, keepdims=True)
    truth, weights, labels = drawn.random.integers(0, 4, drawn.rows), drawn.weights, [0, 1, 2, 3]
    answered, one_hot = answers.argmax(axis=1), np.eye(4)[truth]
    areas = math.nan
    if set(truth) == set(labels):
        areas = oracle.roc_auc_score(one_hot, answers, average="macro", sample_weight=weights)
    agree(
        registry.evaluate("multiclass", truth, answers, outputs=("a", "b", "c", "d"), weights=weights),
        {
            "accuracy": oracle.accuracy_score(truth, answered, sample_weight=weights),
            "balanced_accuracy": oracle.recall_score(
                truth, answered, average="macro", labels=sorted(set(truth)), sample_weight=weights, zero_division=0
            ),
            "f1_macro": oracle.f1_score(truth, answered, average="macro", sample_weight=weights, zero_division=0),
            "log_loss": oracle.log_loss(truth, answers, labels=labels, sample_weight=weights),
            "brier": oracle.brier_score_loss(truth, answers, labels=labels, sample_weight=weights, scale_by_half=False),
            "roc_auc_ovr": areas,
        },
    )


@given(SEEDS)
def test_multilabel(seed):
    drawn = Drawn(seed)
    truth, answers, weights = drawn.binary(3), drawn.coarse(3), drawn.weights
    answered = answers >= 0.5
    areas = [oracle.roc_auc_score(truth[:, place], answers[:, place], sample_weight=weights) for place in range(3) if len(set(truth[:, place])) == 2]
    agree(
        registry.evaluate("multilabel", truth, answers, outputs=("a", "b", "c"), weights=weights),
        {
            "subset_accuracy": oracle.accuracy_score(truth, answered, sample_weight=weights),
            "hamming_loss": oracle.hamming_loss(truth, answered, sample_weight=weights),
            "f1_micro": oracle.f1_score(truth, answered, average="micro", sample_weight=weights, zero_division=0),
            "f1_macro": oracle.f1_score(truth, answered, average="macro", sample_weight=weights, zero_division=0),
            "roc_auc": float(np.mean(areas)) if areas else math.nan,
            "log_loss": np.mean([oracle.log_loss(truth[:, p], answers[:, p], sample_weight=weights, labels=[0, 1]) for p in range(3)]),
            "brier": np.mean([oracle.brier_score_loss(truth[:, p], answers[:, p], sample_weight=weights, labels=[0, 1]) for p in range(3)]),
        },
    )


@given(SEEDS)
def test_regression_of_one_and_of_several_targets(seed):
    drawn = Drawn(seed, least=3)
    truth, answers, weights = drawn.random.normal(size=(drawn.rows, 2)), drawn.random.normal(size=(drawn.rows, 2)), drawn.weights
    for outputs, true, answered in (((), truth[:, 0], answers[:, 0]), (("a", "b"), truth, answers)):
        agree(
            registry.evaluate("regression", true, answered, outputs=outputs, weights=weights),
            {
                "rmse": oracle.root_mean_squared_error(true, answered, sample_weight=weights),
                "mae": oracle.mean_absolute_error(true, answered, sample_weight=weights),
                "r2": oracle.r2_score(true, answered, sample_weight=weights),
            },
        )


@given(SEEDS)
def test_cells_that_are_not_known_yet_count_for_nothing(seed):
    """Of each output the metric is that of the rows in which it is known."""
    drawn = Drawn(seed, least=8)
    truth, answers = drawn.random.normal(size=(drawn.rows, 2)), drawn.random.normal(size=(drawn.rows, 2))
    truth[: drawn.rows // 2, 1] = np.nan
    known = slice(drawn.rows // 2, None)
    weights = np.ones(drawn.rows) if drawn.weights is None else drawn.weights
    each = [
        oracle.mean_absolute_error(truth[:, 0], answers[:, 0], sample_weight=weights),
        oracle.mean_absolute_error(truth[known, 1], answers[known, 1], sample_weight=weights[known]),
    ]
    agree(registry.evaluate("regression", truth, answers, outputs=("a", "b"), weights=weights), {"mae": float(np.mean(each))})


@given(SEEDS)
def test_quantiles(seed):
    drawn = Drawn(seed)
    truth, answers, weights = drawn.coarse(), drawn.coarse(3), drawn.weights
    levels = (0.9, 0.1, 0.5)
    inside = (truth >= answers[:, 1]) & (truth <= answers[:, 0])
    agree(
        registry.evaluate("quantiles", truth, answers, outputs=("0.9", "0.1", "0.5"), weights=weights),
        {
            "pinball": np.mean([oracle.mean_pinball_loss(truth, answers[:, p], alpha=at, sample_weight=weights) for p, at in enumerate(levels)]),
            "coverage": np.average(inside, weights=weights),
            "coverage_error": abs(np.average(inside, weights=weights) - 0.8),
            "interval_width": np.average(answers[:, 0] - answers[:, 1], weights=weights),
            "crossing": np.average((answers[:, 1] > answers[:, 2]) | (answers[:, 2] > answers[:, 0]), weights=weights),
        },
    )


def errors(truth, answers, weights):
    """The metrics of a distance; of a truth that does not vary r2 is not defined."""
    return {
        "rmse": oracle.root_mean_squared_error(truth, answers, sample_weight=weights),
        "mae": oracle.mean_absolute_error(truth, answers, sample_weight=weights),
        "r2": oracle.r2_score(truth, answers, sample_weight=weights) if len(set(truth)) > 1 else math.nan,
    }


@given(SEEDS)
def test_counts_and_amounts(seed):
    drawn = Drawn(seed)
    truth, answers, weights = drawn.random.poisson(1.5, drawn.rows).astype(float), drawn.random.gamma(2, size=drawn.rows) + 1e-3, drawn.weights
    agree(
        registry.evaluate("count", truth, answers, weights=weights),
        {"poisson_deviance": oracle.mean_poisson_deviance(truth, answers, sample_weight=weights), **errors(truth, answers, weights)},
    )
    found = registry.evaluate("positive", truth, answers, weights=weights)
    tweedie = oracle.mean_tweedie_deviance(truth, answers, power=1.5, sample_weight=weights)
    agree(found, {"tweedie_deviance": tweedie, **errors(truth, answers, weights)})
    assert ("gamma_deviance" in found) == bool((truth > 0).all())
    agree(
        registry.evaluate("positive", truth + 0.5, answers, weights=weights),
        {"gamma_deviance": oracle.mean_gamma_deviance(truth + 0.5, answers, sample_weight=weights)},
    )


@given(SEEDS)
def test_ranking(seed):
    drawn = Drawn(seed, least=6)
    truth, answers = drawn.random.integers(0, 4, drawn.rows).astype(float), drawn.coarse()
    groups = drawn.random.choice(["a", "b", "c"], drawn.rows)
    members = [groups == name for name in np.unique(groups)]
    found = registry.evaluate("ranking", truth, answers, groups=groups, weights=drawn.weights)
    weights = None if drawn.weights is None else [drawn.weights[rows].mean() for rows in members]

    def mean(function):
        return float(np.average([function(truth[rows], answers[rows]) for rows in members], weights=weights))

    def ndcg(k):  # scikit-learn refuses one row alone: with one that is worth nothing and stands last it has the same gain
        return lambda true, scores: oracle.ndcg_score([[*true, 0]], [[*scores, -1]], k=k)

    agree(
        found,
        {
            "ndcg": mean(ndcg(None)),
            "ndcg_at_10": mean(ndcg(10)),
            "mean_average_precision": mean(lambda true, scores: oracle.average_precision_score(true > 0, scores)),
            "reciprocal_rank": mean(
                lambda true, scores: max((1 / (scores >= score).sum() for hit, score in zip(true > 0, scores, strict=True) if hit), default=0)
            ),
        },
    )
    losses = ranking_metrics.loss_of_rows(truth, answers, groups)
    for rows in members:
        assert losses[rows] == pytest.approx(1 - ndcg(None)(truth[rows], answers[rows]))


@given(SEEDS)
def test_anomaly(seed):
    drawn = Drawn(seed)
    truth, answers, weights = drawn.binary(), drawn.random.permutation(drawn.rows).astype(float), drawn.weights
    both = len(set(truth)) == 2
    best = np.argsort(-answers)[: int(truth.sum())]
    found = registry.evaluate("anomaly", truth, answers, weights=weights)
    agree(
        found,
        {
            "roc_auc": oracle.roc_auc_score(truth, answers, sample_weight=weights) if both else math.nan,
            "average_precision": oracle.average_precision_score(truth, answers, sample_weight=weights) if truth.any() else math.nan,
        },
    )
    agree(
        registry.evaluate("anomaly", truth, answers),
        {"precision_at_share": oracle.precision_score(truth, np.isin(np.arange(drawn.rows), best), zero_division=0) if truth.any() else math.nan},
    )


@given(SEEDS)
def test_clustering(seed):
    drawn = Drawn(seed, least=1)
    truth = np.array([f"kind {each}" for each in drawn.random.integers(0, 3, drawn.rows)], dtype=object)
    clusters = drawn.random.integers(0, 1 + seed % 4, drawn.rows)
    table = oracle.cluster.contingency_matrix(truth, clusters)
    agree(
        registry.evaluate("clustering", truth, clusters),
        {
            "adjusted_rand": oracle.adjusted_rand_score(truth, clusters),
            "normalized_mutual_information": oracle.normalized_mutual_info_score(truth, clusters),
            "purity": float((table**2 / table.sum(axis=0)).sum() / table.sum()),
        },
    )


@given(SEEDS)
def test_forecast(seed):
    drawn = Drawn(seed)
    names = ("1|0.1", "1|0.5", "1|0.9", "2|0.1", "2|0.5", "2|0.9")
    truth, answers = drawn.random.normal(size=(drawn.rows, 2)), drawn.random.normal(size=(drawn.rows, 6))
    truth[0, 1] = np.nan
    weights = np.ones(drawn.rows) if drawn.weights is None else drawn.weights
    first, second = (truth[:, 0], answers[:, :3], weights), (truth[1:, 1], answers[1:, 3:], weights[1:])
    cells = np.concatenate([first[2], second[2]])
    true = np.concatenate([first[0], second[0]])
    answered = np.concatenate([first[1], second[1]])
    agree(
        registry.evaluate("forecast", truth, answers, outputs=names, weights=weights),
        {
            "pinball": np.mean(
                [oracle.mean_pinball_loss(true, answered[:, p], alpha=at, sample_weight=cells) for p, at in enumerate((0.1, 0.5, 0.9))]
            ),
            "mae": oracle.mean_absolute_error(true, answered[:, 1], sample_weight=cells),
            "rmse": oracle.root_mean_squared_error(true, answered[:, 1], sample_weight=cells),
            "mae_first_step": oracle.mean_absolute_error(first[0], first[1][:, 1], sample_weight=first[2]),
            "mae_last_step": oracle.mean_absolute_error(second[0], second[1][:, 1], sample_weight=second[2]),
            "coverage": (covered := np.average((true >= answered[:, 0]) & (true <= answered[:, 2]), weights=cells)),
            "coverage_error": abs(covered - 0.8),
            "interval_width": np.average(
                np.concatenate([answers[:, 2] - answers[:, 0], answers[:, 5] - answers[:, 3]]), weights=[*weights, *weights]
            ),
        },
    )


@given(SEEDS)
def test_embedding(seed):
    drawn = Drawn(seed)
    truth, answers, weights = drawn.random.normal(size=(drawn.rows, 5)), drawn.random.normal(size=(drawn.rows, 5)), drawn.weights
    answers[0] = 0
    agree(
        registry.evaluate("embedding", truth, answers, weights=weights),
        {
            "cosine_distance": np.average(np.diagonal(oracle.pairwise.cosine_distances(truth, answers)), weights=weights),
            "euclidean_distance": np.average(oracle.pairwise.paired_euclidean_distances(truth, answers), weights=weights),
        },
    )


@given(SEEDS)
def test_text_and_custom(seed):
    drawn = Drawn(seed)
    words = np.array(["a", "b", "c d", "d", ""], dtype=object)
    truth, answers, weights = words[drawn.random.integers(0, 5, drawn.rows)], words[drawn.random.integers(0, 5, drawn.rows)], drawn.weights
    equal = oracle.accuracy_score(truth.astype(str), answers.astype(str), sample_weight=weights)
    agree(registry.evaluate("custom", truth, answers, weights=weights), {"exact_match": equal})
    pairs = [(set(left.split()), set(right.split())) for left, right in zip(truth, answers, strict=True)]
    f1 = [2 * len(left & right) / (len(left) + len(right)) if left or right else 1.0 for left, right in pairs]
    mass = np.ones(drawn.rows) if weights is None else weights
    wanted, given_ = (mass @ [len(each) for each in texts] for texts in (truth, answers))
    agree(
        registry.evaluate("text", truth, answers, weights=weights),
        {
            "exact_match": equal,
            "token_f1": np.average(f1, weights=weights),
            "length_ratio_error": abs(given_ / wanted - 1) if wanted else math.nan,
        },
    )


NAMES = {"multiclass": ("a", "b"), "multilabel": ("a", "b"), "quantiles": ("0.1", "0.9"), "forecast": ("1", "2")}
NOTHING = {"text": np.empty(0, dtype=object), "custom": np.empty(0, dtype=object), "clustering": np.empty(0, dtype=object)}


@pytest.mark.parametrize("name", registry.PROBLEMS)
def test_without_rows_nothing_is_defined(name):
    truth = NOTHING.get(name, np.empty((0, 2) if name in ("multilabel", "forecast", "embedding") else 0))
    answers = NOTHING.get(name, np.empty((0, 2) if name in NAMES or name == "embedding" else 0))
    assert registry.evaluate(name, truth, answers, outputs=NAMES.get(name, ())) == {}


@pytest.mark.parametrize("name", [name for name in registry.PROBLEMS if name not in NOTHING])
@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan])
def test_what_is_infinite_or_no_number_is_refused(name, odd):
    several = name in NAMES or name == "embedding"
    truth = np.zeros((3, 2) if name in ("multilabel", "forecast", "embedding") else 3)
    answers = np.full((3, 2) if several else 3, 0.5)
    truth[0] = 1.0
    beside = {"outputs": NAMES.get(name, ()), "groups": np.zeros(3) if name == "ranking" else None}
    assert registry.evaluate(name, truth, answers, **beside)
    answers[1] = odd
    with pytest.raises(InvalidInput, match=r"infinite|no truth or no answer"):
        registry.evaluate(name, truth, answers, **beside)


@pytest.mark.parametrize("name", [name for name in registry.PROBLEMS if name not in ("clustering", "ranking")])
def test_of_rows_that_all_weigh_nothing_nothing_is_defined(name):
    text = name in NOTHING
    truth = np.array(["a", "b"], dtype=object) if text else np.array([0.0, 1.0])
    answers = truth if text else np.array([0.25, 0.75])
    if name in NAMES or name == "embedding":
        answers = np.array([[0.25, 0.75], [0.5, 0.5]])
        truth = answers.round() if name in ("multilabel", "forecast", "embedding") else truth
    found = registry.evaluate(name, truth, answers, outputs=NAMES.get(name, ()), weights=[0.0, 0.0])
    assert found == {}


@pytest.mark.parametrize("name", registry.PROBLEMS)
def test_every_metric_of_every_problem_is_held_against_an_oracle_above(name):
    functions = [inspect.getsource(each) for each in vars(sys.modules[__name__]).values() if inspect.isfunction(each)]
    of_problem = "\n".join(source for source in functions if f'"{name}", ' in source)
    also = inspect.getsource(errors) if "errors(truth" in of_problem else ""
    own = {metric for metric, each in registry.PROBLEMS[name].metrics.items() if not each.compares}
    assert {metric for metric in own if f'"{metric}"' not in of_problem + also} == set()


@pytest.mark.parametrize("seed", range(5))
def test_two_models_without_labels_agree_by_ranks_as_scipy_has_them_and_by_pairs(seed: int) -> None:
    random = np.random.default_rng(seed)
    one = random.integers(0, 9, 60).astype(float)
    other = one * random.choice([-1.0, 1.0]) + random.normal(0, 3, 60).round()
    assert registry.PROBLEMS["anomaly"].agreement is not None
    assert registry.PROBLEMS["anomaly"].agreement(one, other) == pytest.approx(float(stats.spearmanr(one, other).statistic), abs=1e-12)
    assert np.isnan(registry.PROBLEMS["anomaly"].agreement(one, np.ones(60)))
    assert registry.PROBLEMS["clustering"].agreement is not None
    assert registry.PROBLEMS["clustering"].agreement(one.astype(str), (-one).astype(str)) == 1.0
