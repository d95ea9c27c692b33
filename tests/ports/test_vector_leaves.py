"""XGBoost's trees whose leaves hold several numbers: one that lacks any of its arrays, which would end the library's process, is refused."""

import json

import numpy as np
import pytest

from rota.backends.models import xgboost_checks
from rota.errors import Corrupt

xgboost = pytest.importorskip("xgboost", reason="pip install 'rota[xgboost]'")
ARRAYS = [
    *("left_children", "right_children", "split_indices", "split_conditions", "default_left", "base_weights", "loss_changes"),
    *("sum_hessian", "split_type", "parents", "leaf_weights", "categories", "categories_nodes", "categories_segments", "categories_sizes"),
]


@pytest.fixture(scope="module")
def model():
    random = np.random.default_rng(3)
    x = random.normal(size=(200, 3))
    rows = xgboost.DMatrix(x, np.c_[x[:, 0], x[:, 1] * 2])
    booster = xgboost.train({"multi_strategy": "multi_output_tree", "tree_method": "hist", "max_depth": 3, "nthread": 1}, rows, 2)
    return json.loads(booster.save_raw("json"))


def trees(model):
    return model["learner"]["gradient_booster"]["model"]["trees"]


def test_a_whole_model_is_read(model):
    assert {tree["tree_param"]["size_leaf_vector"] for tree in trees(model)} == {"2"}
    xgboost_checks.check_model(json.dumps(model).encode())


@pytest.mark.parametrize("name", ARRAYS)
def test_a_tree_that_lacks_an_array_or_a_part_of_one_is_refused(model, name):
    damaged = json.loads(json.dumps(model))
    tree = trees(damaged)[0]
    kept = tree.pop(name)
    with pytest.raises(Corrupt, match=r"tree 0|damaged"):
        xgboost_checks.check_model(json.dumps(damaged).encode())
    if kept:
        tree[name] = kept[:-1]
        with pytest.raises(Corrupt, match=r"tree 0|damaged"):
            xgboost_checks.check_model(json.dumps(damaged).encode())


def test_the_weights_of_dropped_trees_are_one_for_each_tree_wherever_the_library_keeps_them() -> None:
    matrix = np.random.default_rng(0).normal(size=(100, 2))
    options = {"n_estimators": 3, "max_depth": 2, "n_jobs": 1, "verbosity": 0, "rate_drop": 0.5}
    model = json.loads(bytes(xgboost.XGBRegressor(booster="dart", **options).fit(matrix, matrix[:, 0]).get_booster().save_raw("json")))
    xgboost_checks.check_model(json.dumps(model).encode())
    booster = model["learner"]["gradient_booster"]
    holder = booster if "weight_drop" in booster else booster["model"]
    for weights in (holder["weight_drop"][:-1], [*holder["weight_drop"], 1.0]):
        holder["weight_drop"] = weights
        with pytest.raises(Corrupt, match="weight_drop"):
            xgboost_checks.check_model(json.dumps(model).encode())
