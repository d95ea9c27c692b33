"""ONNX graphs: what they hold must end and fit, before onnxruntime is given them.

Trees are walked by the identifiers in their attributes; a loop may be asked for 2**63 rounds; a function of functions of functions is a small
file and an endless graph; a constant shape asks for all memory. Source of the operators: onnx/docs/Operators.md and Operators-ml.md.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from rota.backends.models.tree_checks import TreeArrays, check_length, check_tree
from rota.errors import Corrupt

MOST_ROUNDS = 10_000
"""Rounds of all loops, one inside the other."""
MOST_NODES = 1_000_000
"""Nodes once every function is written out where it is called."""
MOST_CELLS = 100_000_000
"""Cells of a tensor that the graph itself asks for, 800 MB of float64."""
_TREES = frozenset({"TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble"})
_SHAPED = frozenset({"ConstantOfShape", "Expand", "Tile", "Pad", "Range", "OneHot", "Resize", "Upsample", "EyeLike", "RandomNormal", "RandomUniform"})
Widths = Callable[[Any, Any], int]
"""How many columns a node of the model's own graph is given; 0 = that cannot be known."""


def check_graph(model: Any, width_of: Widths) -> None:
    """Raise `Corrupt` naming the node unless every loop, function and tree of the model ends, and what it asks for is bounded."""
    _check_functions(model)
    constants = _constants(model.graph)
    _check_loops(model.graph, constants, 1)
    for function in model.functions:
        _check_loops(function, _constants(function), 1)
    for graph in graphs(model):
        known = constants | _constants(graph)
        for node in graph.node:
            if node.op_type in _SHAPED:
                _check_asked(node, known)
            if node.op_type in _TREES:
                _check_trees(node, width_of(model, node) if graph is model.graph else 0)


def graphs(model: Any) -> Iterator[Any]:
    """The model's graph, its functions, and the graphs inside their nodes; protobuf's decoder bounds how deep they nest."""
    pending = [model.graph, *model.functions]
    while pending:
        graph = pending.pop()
        yield graph
        for attribute in attributes(graph):
            pending += [attribute.g] if attribute.HasField("g") else []
            pending += attribute.graphs


def attributes(graph: Any) -> Iterator[Any]:
    """The attributes of all nodes of a graph."""
    return (attribute for node in graph.node for attribute in node.attribute)


def _check_functions(model: Any) -> None:
    """Functions are written out where they are called: none may call itself, and the whole must stay of a size."""
    functions = {(each.domain, each.name): each for each in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(graph: Any, open_: tuple[tuple[str, str], ...]) -> int:
        total = 0
        for node in graph.node:
            key = (node.domain, node.op_type)
            if key in open_ or len(open_) > 50:
                raise _refused(node, "its function calls itself, or functions nest too deeply")
            if key in functions:
                if key not in sizes:
                    sizes[key] = size(functions[key], (*open_, key))
                total += sizes[key]
            total += 1 + sum(size(inner, open_) for attribute in node.attribute for inner in _inner(attribute))
            if total > MOST_NODES:
                raise _refused(node, f"with its functions written out the graph has more than {MOST_NODES} nodes")
        return total

    size(model.graph, ())


def _check_loops(graph: Any, constants: Mapping[str, np.ndarray], rounds: int) -> None:
    for node in graph.node:
        inside = rounds
        if node.op_type == "Loop":
            most = constants.get(node.input[0]) if node.input and node.input[0] else None
            if most is None or most.size != 1 or int(most.ravel()[0]) * rounds > MOST_ROUNDS:
                shown = "not a constant" if most is None or most.size != 1 else str(int(most.ravel()[0]))
                raise _refused(node, f"its most rounds are {shown}; they must be a constant, and {MOST_ROUNDS} at most with the loops around it")
            inside = rounds * max(int(most.ravel()[0]), 1)
        for attribute in node.attribute:
            for inner in _inner(attribute):
                _check_loops(inner, {**constants, **_constants(inner)}, inside)


def _check_asked(node: Any, constants: Mapping[str, np.ndarray]) -> None:
    """A shape that is a constant of the graph; one that is computed grows with the request, whose size is bounded."""
    given = [constants[name] for name in node.input if name in constants]
    if node.op_type in ("ConstantOfShape", "Expand") and given:
        _check_cells(node, given[-1])
    elif node.op_type == "Tile" and len(node.input) > 1 and node.input[1] in constants:
        _check_cells(node, constants[node.input[1]])
    elif node.op_type in ("Pad", "Upsample", "Resize", "OneHot") and given:
        numbers = [each for each in given[:3] if each.dtype.kind in "iuf" and each.size <= 16]
        for each in numbers:
            _check_cells(node, each[each > 1])
    elif node.op_type == "Range" and len(given) == 3 and all(each.size == 1 for each in given):
        start, limit, step = (float(each.ravel()[0]) for each in given)
        _check_cells(node, np.array([abs((limit - start) / step) if step else np.inf]))
    elif node.op_type.startswith("Random"):
        _check_cells(node, np.array(next((list(each.ints) for each in node.attribute if each.name == "shape"), [0])))


def _check_cells(node: Any, shape: np.ndarray) -> None:
    cells = float(np.prod(np.abs(shape.astype(np.float64)).clip(min=1)))
    if not cells <= MOST_CELLS:
        raise _refused(node, f"it asks for a tensor of {cells:.3g} cells, {MOST_CELLS} are the most")


def _check_trees(node: Any, width: int) -> None:
    values = {each.name: _attribute(each) for each in node.attribute}
    if node.op_type == "TreeEnsemble":
        _check_rooted(node, values, width)
        return
    tree_ids, node_ids = np.asarray(values.get("nodes_treeids", ()), np.int64), np.asarray(values.get("nodes_nodeids", ()), np.int64)
    count, name = len(node_ids), _name(node)
    fields = ("nodes_treeids", "nodes_modes", "nodes_featureids", "nodes_truenodeids", "nodes_falsenodeids")
    for field in fields:
        check_length(name, field, values.get(field, ()), count)
    bounds = values.get("nodes_values", values.get("nodes_values_as_tensor", ()))
    check_length(name, "nodes_values", bounds, count)
    places = {key: place for place, key in enumerate(zip(tree_ids.tolist(), node_ids.tolist(), strict=True))}
    if len(places) != count:
        raise Corrupt(f"{name}: two nodes of a tree have the same number; export the model again", tree=name)
    inner = np.array([place for place, mode in enumerate(values.get("nodes_modes", ())) if mode not in (b"LEAF", "LEAF")], dtype=np.int64)
    yes, no, asked = (np.asarray(values[field], np.int64) for field in ("nodes_truenodeids", "nodes_falsenodeids", "nodes_featureids"))
    for tree in np.unique(tree_ids).tolist():
        own = np.flatnonzero(tree_ids == tree)
        numbers = {int(node_ids[place]): number for number, place in enumerate(own)}
        of_tree = inner[tree_ids[inner] == tree]
        left, right = (np.array([numbers.get(int(ids[place]), len(own)) for place in of_tree], dtype=np.int64) for ids in (yes, no))
        at = np.array([numbers[int(node_ids[place])] for place in of_tree], dtype=np.int64)
        check_tree(TreeArrays(f"{name}, tree {tree}", len(own), at, left, right, asked[of_tree]), _known(node, width))
    _check_leaves(node, values, places)


def _check_leaves(node: Any, values: Mapping[str, Any], places: Mapping[tuple[int, int], int]) -> None:
    """Which outputs the leaves add to."""
    kind = "class" if node.op_type == "TreeEnsembleClassifier" else "target"
    trees, nodes, ids = (np.asarray(values.get(f"{kind}_{field}", ()), np.int64) for field in ("treeids", "nodeids", "ids"))
    weights = values.get(f"{kind}_weights", values.get(f"{kind}_weights_as_tensor", ()))
    for field, each in (("treeids", trees), ("nodeids", nodes), ("weights", weights)):
        check_length(_name(node), f"{kind}_{field}", each, len(ids))
    labels = max(len(values.get("classlabels_int64s", ())), len(values.get("classlabels_strings", ())))
    outputs = max(labels, 1) if kind == "class" else int(values.get("n_targets", 1))
    if len(ids) and (ids.min() < 0 or ids.max() >= outputs or outputs > MOST_ROUNDS):
        raise _refused(node, f"a leaf adds to output {int(ids.max())} of {outputs}")
    if any(key not in places for key in zip(trees.tolist(), nodes.tolist(), strict=True)):
        raise _refused(node, "a leaf's weight names a node that is none of its tree")
    if len(values.get("base_values", ())) > max(outputs, 1):
        raise _refused(node, f"it has {len(values['base_values'])} base values for {outputs} outputs")


def _check_rooted(node: Any, values: Mapping[str, Any], width: int) -> None:
    """The form of ai.onnx.ml 5: children are places, marked as leaves or nodes."""
    name, splits = _name(node), values.get("nodes_splits", ())
    fields = {field: np.asarray(values.get(field, ()), np.int64) for field in ("nodes_featureids", "nodes_truenodeids", "nodes_falsenodeids")}
    leafs = {field: np.asarray(values.get(field, ()), np.int64) for field in ("nodes_trueleafs", "nodes_falseleafs")}
    for field, each in (*fields.items(), *leafs.items(), ("nodes_modes", values.get("nodes_modes", ()))):
        check_length(name, field, each, len(splits))
    leaves, targets = len(values.get("leaf_weights", ())), int(values.get("n_targets", 1))
    ids, roots = np.asarray(values.get("leaf_targetids", ()), np.int64), np.asarray(values.get("tree_roots", ()), np.int64)
    check_length(name, "leaf_targetids", ids, leaves)
    if (leaves and (ids.min() < 0 or ids.max() >= targets)) or targets > MOST_ROUNDS:
        raise _refused(node, f"a leaf adds to an output that is none of {targets}")
    if len(roots) and (roots.min() < 0 or roots.max() >= max(len(splits), 1)):
        raise _refused(node, f"a root is none of {len(splits)} nodes")
    # every root becomes the child of one more node, so that each node has one parent and a walk from each root ends
    shifted, at = [], np.arange(1, len(splits) + 1)
    for side in ("true", "false"):
        children, is_leaf = fields[f"nodes_{side}nodeids"], leafs[f"nodes_{side}leafs"] != 0
        if (children < 0).any() or (children[is_leaf] >= leaves).any():
            raise _refused(node, f"a child on the {side} side is none of {leaves} leaves")
        shifted.append(np.where(is_leaf, -1, children + 1))
    inner = np.concatenate([roots + 1, shifted[0][shifted[0] > 0], shifted[1][shifted[1] > 0]])
    if len(splits) > 1 and len(np.unique(inner)) != len(inner) and any((each > 0).any() for each in shifted):
        raise _refused(node, "a node has two parents, so that a walk may not end")
    check_tree(TreeArrays(name, len(splits) + 1, at, shifted[0], shifted[1], fields["nodes_featureids"]), _known(node, width))


def _known(node: Any, width: int) -> int:
    if not width:
        raise _refused(node, "how many columns it is given cannot be known from the model; give its input a fixed number of columns")
    return width


def _attribute(attribute: Any) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    return numpy_helper.to_array(value).ravel() if isinstance(value, onnx.TensorProto) else value


def _inner(attribute: Any) -> list[Any]:
    return ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs)


def _constants(graph: Any) -> dict[str, np.ndarray]:
    """The small tensors that stand in a graph."""
    found = {each.name: each for each in getattr(graph, "initializer", ())}
    for node in graph.node:
        if node.op_type == "Constant":
            for each in node.attribute:
                if each.name == "value":
                    found[node.output[0]] = each.t
                elif each.name in ("value_int", "value_ints", "value_float"):
                    found[node.output[0]] = numpy_helper.from_array(np.array(_attribute(each)))
    return {name: numpy_helper.to_array(each) for name, each in found.items() if int(np.prod(list(each.dims) or [1])) <= 64 and name}


def _name(node: Any) -> str:
    return f"{node.op_type} {node.name!r}"


def _refused(node: Any, why: str) -> Corrupt:
    return Corrupt(f"the ONNX model's node {_name(node)}: {why}", node=node.name)
