"""Fitted scikit-learn estimators whose compiled code walks arrays without looking: refused where it would read past them or never end.

Those are trees and forests, histogram boosting, neighbours' trees, support vectors and splines. All other estimators that are
loaded answer by numpy and scipy, which check their indices.
"""

import io
import json
import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from rota import foreign_archives
from rota.backends.models.envelope import LARGEST
from rota.backends.models.tree_checks import TreeArrays, check_range, check_tree, refuse
from rota.errors import Corrupt

_HIGHEST_SPLINE = 20
_LONGEST_HEADER = 12_000
_ARCHIVE = b"PK"
_LARGEST_SCHEMA = 200_000_000


def check_archive(archive: zipfile.ZipFile) -> None:
    """Raise `Corrupt` unless each array of a skops archive has as many values, and each tree as many nodes, as it says.

    A tree that lies cannot even be looked at. Arrays that are named several times are built as often, and count so often; those of
    sparse matrices are archives in themselves.
    """
    if archive.getinfo("schema.json").file_size > _LARGEST_SCHEMA:
        raise _damaged(f"its schema has {archive.getinfo('schema.json').file_size} bytes, at most {_LARGEST_SCHEMA} are read")
    schema = json.loads(archive.read("schema.json"))
    sizes = {name: _array_bytes(archive, name) for name in archive.namelist() if name != "schema.json"}
    held = sum(sizes.get(str(described.get("file")), 0) for described in _dicts(schema))
    if held > LARGEST:
        raise _damaged(f"its arrays have {held} bytes, at most {LARGEST} are held")
    for described in _dicts(schema):
        if described.get("__class__") == "Tree" and "__reduce__" in described:
            state = described["content"]["content"]
            count, file = json.loads(state["node_count"]["content"]), state["nodes"]["file"]
            with archive.open(file) as stream:
                shape = _shape(io.BytesIO(stream.read(4_096)))
            if shape != (count,):
                raise Corrupt(f"a tree says it has {count} nodes and holds {shape}; restore the file, or train the model again")


def check_estimator(parts: Iterable[Any]) -> None:
    """Raise `Corrupt` naming part, tree and node unless every array of the model holds what its compiled code will read.

    `parts` are all objects inside the model: estimators, and the plain objects that they hold.
    """
    for part in parts:
        name = type(part).__name__
        if name in _CHECKS:
            _CHECKS[name](name, part)
        if isinstance(part, BaseEstimator):
            _check_owner(name, part)


def _check_owner(name: str, part: Any) -> None:
    """What the parts of one estimator must have in common: they are called without a look at the width of the matrix."""
    width = getattr(part, "n_features_in_", None)
    tree = vars(part).get("tree_")
    if tree is not None and (tree.n_features != width or not tree.node_count):
        raise _damaged(f"the tree of a {name} reads {tree.n_features} columns in {tree.node_count} nodes, the {name} has {width}")
    members = [each for each in np.ravel(np.array(vars(part).get("estimators_", ()), dtype=object)) if "tree_" in _vars(each)]
    if members and "estimators_features_" not in vars(part) and "n_features_in_" in vars(part):  # votes and stacks call members that look themselves
        wrong = next((place for place, each in enumerate(members) if each.n_features_in_ != width), None)
        if wrong is not None:
            raise _damaged(f"tree {wrong} of the {name} reads {members[wrong].n_features_in_} columns, the {name} has {width}")
    if members and name == "IsolationForest":
        _check_isolation(part, members)
    for field in ("cluster_centers_", "_fit_X"):
        rows = vars(part).get(field)
        if rows is not None and (np.ndim(rows) != 2 or rows.shape[1] != width):
            raise _damaged(f"{field} of the {name} has the shape {np.shape(rows)}, the {name} has {width} columns")
    grown = vars(part).get("n_trees_per_iteration_")
    stages = vars(part).get("estimators_")
    if grown is not None and isinstance(stages, np.ndarray) and (stages.ndim != 2 or stages.shape[1] != grown):
        raise _damaged(f"the {name} has trees in the shape {stages.shape}, and {grown} a round")
    if "_predictors" in vars(part):
        _check_boosting(name, part)
    if "_n_support" in vars(part):
        _check_support(name, part)


def _check_isolation(part: Any, members: Sequence[Any]) -> None:
    """Its trees are given some columns, or all when as many are drawn as there are, without a look at how many they read."""
    width, chosen = part.n_features_in_, part.estimators_features_
    drawn = [width if part._max_features == width else len(each) for each in chosen]  # noqa: SLF001 - by what scikit-learn decides
    if drawn != [each.n_features_in_ for each in members]:
        raise _damaged(f"the trees of the IsolationForest read {[each.n_features_in_ for each in members][:5]} columns and are given {drawn[:5]}")


def _vars(value: Any) -> Mapping[str, Any]:
    """The attributes of an object, none where it has no dictionary."""
    return getattr(value, "__dict__", {})


def _check_decision_tree(name: str, tree: Any) -> None:
    state = tree.__getstate__()
    nodes = state["nodes"]
    inner = np.flatnonzero(nodes["left_child"] != -1)
    split = nodes[inner]
    if (split["left_child"] < 0).any() or (split["right_child"] < 0).any():
        place = int(inner[np.argmax((split["left_child"] < 0) | (split["right_child"] < 0))])
        refuse(name, place, f"its children are {int(nodes['left_child'][place])} and {int(nodes['right_child'][place])}")
    check_tree(TreeArrays(name, len(nodes), inner, split["left_child"], split["right_child"], split["feature"]), tree.n_features)


def _check_boosting(name: str, part: Any) -> None:
    mapper = part._bin_mapper  # noqa: SLF001 - where scikit-learn keeps which columns are categories
    categorical = np.flatnonzero(np.asarray(mapper.is_categorical_))
    width = part.n_features_in_
    if len(mapper.is_categorical_) != width:
        raise _damaged(f"the {name} knows {len(mapper.is_categorical_)} columns and has {width}")
    bins = mapper.bin_thresholds_
    if len(bins) != width or any(((bins[column] < 0) | (bins[column] > 255)).any() for column in categorical):
        raise _damaged(f"the {name} knows the categories of {len(bins)} columns and has {width}, or one lies beyond 255")
    per_round = {len(each) for each in part._predictors}  # noqa: SLF001
    if per_round - {part.n_trees_per_iteration_}:
        raise _damaged(f"the {name} has rounds of {sorted(per_round)} trees, and {part.n_trees_per_iteration_} a round")
    for number, predictor in enumerate(each for grown in part._predictors for each in grown):  # noqa: SLF001
        _check_predictor(f"{name}, tree {number}", predictor, width, categorical)


def _check_predictor(tree: str, predictor: Any, width: int, categorical: np.ndarray) -> None:
    nodes, sets = predictor.nodes, predictor.raw_left_cat_bitsets
    if not len(nodes) or sets.ndim != 2 or sets.shape[1] != 8:
        raise _damaged(f"{tree} has {len(nodes)} nodes and sets of categories of shape {sets.shape}")
    inner = np.flatnonzero(nodes["is_leaf"] == 0)
    split = nodes[inner]
    left, right, asked = (split[name].astype(np.int64) for name in ("left", "right", "feature_idx"))
    arrays = TreeArrays(tree, len(nodes), inner, left, right, asked)
    check_tree(arrays, width)
    by_set = np.flatnonzero(split["is_categorical"] != 0)
    if by_set.size:
        chosen = TreeArrays(tree, len(nodes), inner[by_set], left[by_set], right[by_set], asked[by_set])
        check_range(chosen, "it splits by set", split["bitset_idx"][by_set].astype(np.int64), len(sets))
        wrong = ~np.isin(asked[by_set], categorical)
        if wrong.any():
            refuse(tree, int(chosen.at[np.argmax(wrong)]), f"it splits column {int(chosen.feature[np.argmax(wrong)])} by categories, and it has none")


def _check_neighbours(name: str, tree: Any) -> None:
    data, order, nodes, bounds, _, levels, count = tree.__getstate__()[:7]
    if not 0 < levels < 48 or count != 2**levels - 1 or len(nodes) != count or bounds.ndim != 3 or bounds.shape[1] != count:
        raise _damaged(f"the {name} has {levels} levels, {count} nodes, {len(nodes)} in its array and bounds of {bounds.shape}")
    if data.ndim != 2 or bounds.shape[2] != data.shape[1] or len(order) != len(data) or not np.array_equal(np.sort(order), np.arange(len(data))):
        raise _damaged(f"the {name} has {data.shape} points, an order of {len(order)} that does not name each once, and bounds of {bounds.shape}")
    starts, ends, leaves = (nodes[field] for field in ("idx_start", "idx_end", "is_leaf"))
    if ((starts < 0) | (ends < starts) | (ends > len(data))).any() or not leaves[count // 2 :].all():
        raise _damaged(f"a node of the {name} holds points outside of its {len(data)}, or the lowest nodes have children")


def _check_support(name: str, part: Any) -> None:
    vectors, counts = part.support_vectors_, part._n_support  # noqa: SLF001 - what the compiled code is given
    classes = len(getattr(part, "classes_", (0, 1)))
    pairs = classes * (classes - 1) // 2
    given = {field: np.asarray(vars(part).get(field, ())) for field in ("_dual_coef_", "_intercept_", "_probA", "_probB")}
    fits = (
        np.ndim(vectors) == 2
        and vectors.shape[1] == part.n_features_in_
        and (np.asarray(counts) >= 0).all()
        and (len(counts) == classes or not hasattr(part, "classes_"))
        and (int(np.sum(counts)) == vectors.shape[0] or not hasattr(part, "classes_"))
        and given["_dual_coef_"].shape == (classes - 1, vectors.shape[0])
        and given["_intercept_"].shape == (pairs,)
        and all(given[field].size in (0, pairs) for field in ("_probA", "_probB"))
        and len(part.support_) == vectors.shape[0]
    )
    if not fits:
        raise _damaged(f"the arrays of the {name} do not fit {np.shape(vectors)} support vectors: { {k: v.shape for k, v in given.items()} }")


def _check_spline(name: str, spline: Any) -> None:
    knots, coefficients, degree = np.asarray(spline.t), np.asarray(spline.c), spline.k
    fits = (
        isinstance(degree, int | np.integer)
        and 0 <= degree <= _HIGHEST_SPLINE
        and knots.ndim == 1
        and np.isfinite(knots).all()
        and (np.diff(knots) >= 0).all()
        and len(knots) >= 2 * degree + 2
        and coefficients.ndim > 0
        and coefficients.shape[0] >= len(knots) - degree - 1
    )
    if not fits:
        raise _damaged(f"a {name} of degree {degree} with {knots.shape} knots and {coefficients.shape} coefficients is none")


_CHECKS = {
    "Tree": _check_decision_tree,
    "KDTree": _check_neighbours,
    "BallTree": _check_neighbours,
    "BSpline": _check_spline,
    "_BSpline": _check_spline,
}


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    pending = [value]
    while pending:
        found = pending.pop()
        if isinstance(found, dict):
            yield found
            pending.extend(found.values())
        elif isinstance(found, list):
            pending.extend(found)


def _array_bytes(archive: zipfile.ZipFile, name: str, *, within: bool = False) -> int:
    """How many bytes an entry has in memory; raises `Corrupt` where its array has another number of values than its header says."""
    size = archive.getinfo(name).file_size
    with archive.open(name) as stream:
        head = stream.read(_LONGEST_HEADER)
    if head.startswith(_ARCHIVE):
        if within:
            raise _damaged(f"its sparse matrix holds another archive, {name}")
        with foreign_archives.opened(archive.read(name), f"the sparse matrix {name} of the skops model", most_bytes=LARGEST) as inner:
            return sum(_array_bytes(inner, each, within=True) for each in inner.namelist())
    if head.startswith(np.lib.format.MAGIC_PREFIX):
        start = io.BytesIO(head)
        shape, dtype = _described(start)
        said = start.tell() + math.prod(shape) * dtype.itemsize
        if said != size:
            raise _damaged(f"the array {name} says it has the shape {shape}, which is {said} bytes with its header, and has {size}")
    return size


def _shape(stream: io.BytesIO) -> tuple[int, ...]:
    return _described(stream)[0]


def _described(stream: io.BytesIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type that the header of numpy's format says."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return tuple(shape), dtype


def _damaged(why: str) -> Corrupt:
    return Corrupt(f"{why}; restore the file, or train the model again")
