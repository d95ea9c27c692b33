"""Ensembles of trees as the ONNX operator TreeEnsemble (ai.onnx.ml version 5), in double: thresholds, leaves and sums keep every digit.

The older operators TreeEnsembleClassifier and TreeEnsembleRegressor answer float32, which moves values across thresholds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import numpy_helper

from rota.errors import InvalidInput

LESS_OR_EQUAL, LESS = 0, 1
"""Modes of a node: which values of its column go to the left."""
SUM, AVERAGE = 1, 0
MOST_NODES = 20_000_000
"""Nodes of one ensemble; a protobuf message holds 2 GB."""


@dataclass(frozen=True, slots=True)
class NodeArrays:
    """One tree as arrays by node: `left` is -1 in a leaf, `missing_left` whether NaN goes to the left, `value` what a leaf adds to `target`."""

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    missing_left: np.ndarray
    value: np.ndarray
    target: int = 0


def attributes(trees: Sequence[NodeArrays], *, targets: int, aggregate: int, mode: int = LESS_OR_EQUAL, kind: Any = np.float64) -> dict[str, Any]:
    """The attributes of the operator; raises `InvalidInput` for more nodes than one message holds."""
    nodes = sum(len(tree.left) for tree in trees)
    if nodes > MOST_NODES:
        raise InvalidInput(f"the trees have {nodes} nodes; {MOST_NODES} are converted", nodes=nodes)
    parts = [_parts(tree) for tree in trees]
    inner_before, leaves_before = _before(part["inner"] for part in parts), _before(part["leaves"] for part in parts)

    def joined(name: str) -> np.ndarray:
        return np.concatenate([part[name] for part in parts])

    def placed(side: str) -> list[int]:
        """Where a child lies: among the leaves of all trees, or among the inner nodes."""
        offsets = [np.where(part[f"{side}_is_leaf"], leaves, inner) for part, inner, leaves in zip(parts, inner_before, leaves_before, strict=True)]
        found: list[int] = (joined(side) + np.concatenate(offsets)).tolist()
        return found

    return {
        "aggregate_function": aggregate,
        "post_transform": 0,
        "n_targets": targets,
        "tree_roots": inner_before,
        "nodes_featureids": joined("feature").tolist(),
        "nodes_splits": numpy_helper.from_array(joined("threshold").astype(kind)),
        "nodes_modes": numpy_helper.from_array(np.full(len(joined("feature")), mode, dtype=np.uint8)),
        "nodes_missing_value_tracks_true": joined("missing").tolist(),
        "nodes_truenodeids": placed("left"),
        "nodes_falsenodeids": placed("right"),
        "nodes_trueleafs": joined("left_is_leaf").astype(int).tolist(),
        "nodes_falseleafs": joined("right_is_leaf").astype(int).tolist(),
        "leaf_targetids": joined("target").tolist(),
        "leaf_weights": numpy_helper.from_array(joined("value").astype(kind)),
    }


def _parts(tree: NodeArrays) -> Mapping[str, Any]:
    """A tree with its inner nodes and its leaves counted apart; one that is a single leaf has one inner node with that leaf on both sides."""
    left, right = tree.left.astype(np.int64), tree.right.astype(np.int64)
    is_leaf = left < 0
    if len(left) == 1:
        once, zero = np.ones(1, dtype=bool), np.zeros(1, dtype=np.int64)
        return {
            "inner": 1, "leaves": 1, "feature": zero, "threshold": np.zeros(1), "missing": zero, "left": zero, "right": zero,
            "left_is_leaf": once, "right_is_leaf": once, "target": np.full(1, tree.target), "value": tree.value,
        }  # fmt: skip
    place = np.where(is_leaf, np.cumsum(is_leaf) - 1, np.cumsum(~is_leaf) - 1)
    inner = ~is_leaf
    return {
        "inner": int(inner.sum()), "leaves": int(is_leaf.sum()), "feature": tree.feature[inner].astype(np.int64), "threshold": tree.threshold[inner],
        "missing": tree.missing_left[inner].astype(np.int64), "left": place[left[inner]], "right": place[right[inner]],
        "left_is_leaf": is_leaf[left[inner]], "right_is_leaf": is_leaf[right[inner]],
        "target": np.full(int(is_leaf.sum()), tree.target), "value": tree.value[is_leaf],
    }  # fmt: skip


def _before(counts: Any) -> list[int]:
    """For each tree how many come before it."""
    known = [0, *np.cumsum(list(counts)).tolist()]
    return known[:-1]
