"""Convert an XGBoost booster into one ONNX graph: trees that compare float32 as XGBoost does, sums and the link of its objective in double.

Whether it is exact is for the engine gate to say; what is not written raises `InvalidInput`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from rota.backends.models import onnx_tree_nodes
from rota.backends.models.converted_format import ANSWER, ConvertedFormat
from rota.backends.models.onnx_tree_nodes import LESS, SUM, NodeArrays
from rota.errors import InvalidInput
from rota.ports.models import ConvertedModel

_OPSETS = (("", 21), ("ai.onnx.ml", 5))
_IR_VERSION = 10
_LINKS = {
    "reg:squarederror": "", "reg:absoluteerror": "", "reg:pseudohubererror": "", "binary:logitraw": "", "rank:pairwise": "", "rank:ndcg": "",
    "rank:map": "", "binary:logistic": "Sigmoid", "reg:logistic": "Sigmoid", "count:poisson": "Exp", "reg:gamma": "Exp", "reg:tweedie": "Exp",
    "multi:softprob": "Softmax",
}  # fmt: skip
"""Operators that make answers of sums, by objective."""


def convert(learner: Mapping[str, Any], thresholds: Mapping[int, tuple[float, ...]], *, categories: bool, several: bool) -> ConvertedModel:
    """The graph of a learner in XGBoost's JSON form. `several`: an answer has several numbers."""
    objective = learner["objective"]["name"]
    booster = learner["gradient_booster"]
    if categories or learner.get("attributes", {}):
        raise InvalidInput("its categories, or the number that it takes for a missing value, are not converted")
    name = "dart" if len(booster.get("model", {}).get("weight_drop", ())) else booster["name"]  # XGBoost 3.4 calls it gbtree
    if name != "gbtree" or objective not in _LINKS:
        raise InvalidInput(f"a booster {name} of the objective {objective!r} is not converted")
    model = booster["model"]
    if any(int(tree["tree_param"].get("size_leaf_vector", 0) or 0) > 1 for tree in model["trees"]):
        raise InvalidInput("leaves of several numbers are not converted")
    parameters = learner["learner_model_param"]
    targets = max(int(parameters["num_class"]), int(parameters.get("num_target", 1)), 1)
    trees = [_arrays(tree, int(target)) for tree, target in zip(model["trees"], model["tree_info"], strict=True)]
    if not trees:
        raise InvalidInput("it has no trees")
    width = int(parameters["num_feature"])
    starts = _starts(parameters["base_score"], objective, targets)
    attributes = onnx_tree_nodes.attributes(trees, targets=targets, aggregate=SUM, mode=LESS)
    graph = _graph(attributes, _LINKS[objective], starts, width=width, targets=targets)
    helper.set_model_props(graph, {ANSWER: "all" if several else "one"})
    return ConvertedModel(ConvertedFormat().packed(graph.SerializeToString()), thresholds)


def _arrays(tree: Mapping[str, Any], target: int) -> NodeArrays:
    if any(tree.get("split_type") or []):
        raise InvalidInput("its trees split by sets of categories, which are not converted")
    conditions = np.array(tree["split_conditions"], dtype=np.float32).astype(np.float64)
    left, right = (np.array(tree[side], dtype=np.int64) for side in ("left_children", "right_children"))
    missing = np.array(tree["default_left"], dtype=np.int64)
    return NodeArrays(np.array(tree["split_indices"]), conditions, left, right, missing, conditions, target)


def _starts(text: Any, objective: str, targets: int) -> np.ndarray:
    """What the sums of an answer begin with: the base score as a margin."""
    said = json.loads(text) if isinstance(text, str) else text
    scores = [float(each) for each in (said if isinstance(said, Sequence) else [said])]
    match _LINKS[objective]:
        case "Sigmoid":
            scores = [math.log(each / (1 - each)) for each in scores]
        case "Exp":
            scores = [math.log(each) for each in scores]
    return np.broadcast_to(np.array(scores, dtype=np.float64).reshape(1, -1), (1, targets))


def _graph(attributes: Mapping[str, Any], link: str, starts: np.ndarray, *, width: int, targets: int) -> ModelProto:
    nodes: list[NodeProto] = [
        helper.make_node("Cast", ["rows"], ["narrow"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["narrow"], ["given"], to=TensorProto.DOUBLE),
        helper.make_node("TreeEnsemble", ["given"], ["trees"], domain="ai.onnx.ml", **attributes),
        helper.make_node("Add", ["trees", "starts"], ["sums" if link else "answers"]),
    ]
    if link:
        options: dict[str, Any] = {"axis": 1} if link == "Softmax" else {}
        nodes.append(helper.make_node(link, ["sums"], ["answers"], **options))
    graph = helper.make_graph(
        nodes,
        "xgboost",
        [helper.make_tensor_value_info("rows", TensorProto.DOUBLE, [None, width])],
        [helper.make_tensor_value_info("answers", TensorProto.DOUBLE, [None, targets])],
        [numpy_helper.from_array(np.ascontiguousarray(starts), "starts")],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in _OPSETS]
    return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
