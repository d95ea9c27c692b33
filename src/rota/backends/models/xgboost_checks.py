"""XGBoost's JSON and UBJSON, read strictly and refused where XGBoost's C library would read past an array or never end.

Source of the form: `doc/model.schema` and `src/tree/tree_model.cc` (LoadModel) of XGBoost 3; UBJSON: ubjson.org, draft 12, of which XGBoost
writes the types below, and its typed arrays in big endian.
"""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rota.backends.models.tree_checks import TreeArrays, check_length, check_tree, refuse
from rota.errors import Corrupt

MOST_CATEGORIES = 2**24
"""XGBoost's own limit: categories are numbers that float32 holds exactly."""
_ARRAYS = {ord("d"): ">f4", ord("D"): ">f8", ord("U"): "u1", ord("i"): "i1", ord("I"): ">i2", ord("l"): ">i4", ord("L"): ">i8"}
_NUMBERS = {kind: struct.Struct(">" + code) for kind, code in zip(b"dDUiIlL", "fdBbhiq", strict=True)}
_WORDS: Mapping[int, Any] = {ord("Z"): None, ord("T"): True, ord("F"): False}
_SIZES = {"num_feature": "", "num_class": "0", "num_target": "1"}
_MOST_OUTPUTS = 10_000
_DEEPEST = 32
_NO_PARENT = (2**31 - 1, -1)
_LENGTHS = ("left_children", "right_children", "split_indices", "split_conditions")
_MAYBE = ("default_left", "base_weights", "loss_changes", "sum_hessian", "split_type", "parents")
_OF_VECTORS = ("leaf_weights", "categories", "categories_nodes", "categories_segments", "categories_sizes")


def check_model(data: bytes) -> None:
    """Raise `Corrupt` naming tree and node unless the library can load and walk every tree of a JSON or UBJSON model."""
    try:
        model = _json(data) if data[:1] == b"{" and data[1:2].strip(b' "\t\r\n') == b"" else _Ubjson(data).document()
        learner = model["learner"]
        _check_learner(learner)
    except Corrupt:
        raise
    except RecursionError:
        raise _damaged("it is nested too deeply") from None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, struct.error) as error:
        raise _damaged(f"{type(error).__name__}: {error}"[:300]) from error


def _check_learner(learner: Mapping[str, Any]) -> None:
    parameters = learner["learner_model_param"]
    columns, classes, targets = (_whole(parameters.get(name, default)) for name, default in _SIZES.items())
    groups = max(classes, targets, 1)
    score = parameters.get("base_score", "0")
    if columns < 1 or not 0 <= classes <= _MOST_OUTPUTS or not 1 <= targets <= _MOST_OUTPUTS or len(score.split(",")) not in (1, groups):
        raise _damaged(f"its parameters {dict(parameters)} do not fit together"[:300])
    _check_objective(learner["objective"], classes, targets)
    for name in ("feature_names", "feature_types"):
        if len(learner.get(name, ())) not in (0, columns):
            raise _damaged(f"{name} has {len(learner[name])} entries for {columns} columns")
    booster = learner["gradient_booster"]
    if booster["name"] == "gblinear":
        return
    held = booster["gbtree"]["model"] if booster["name"] == "dart" else booster["model"]
    trees, told = held["trees"], held["gbtree_model_param"]
    parallel = _whole(told.get("num_parallel_tree", "1"))
    if _whole(told["num_trees"]) != len(trees) or len(held["tree_info"]) != len(trees) or (trees and not 0 <= parallel <= len(trees)):
        raise _damaged(f"it holds {len(trees)} trees, says {told}, and tells the outputs of {len(held['tree_info'])}")
    if any(not 0 <= int(group) < groups for group in held["tree_info"]):
        raise _damaged(f"a tree answers for output {max(map(int, held['tree_info']))} of {groups}")
    places = [tree["id"] for tree in trees]
    if sorted(places) != list(range(len(trees))):
        raise _damaged(f"its trees have the numbers {places[:20]}, where each number from 0 to {len(trees) - 1} is the place of one")
    # XGBoost 3.4 keeps the weights of dropped trees beside any trees; before, the booster of the name "dart" had them.
    weights = booster["weight_drop"] if booster["name"] == "dart" else held.get("weight_drop", [])
    if booster["name"] == "dart" or len(weights):
        check_length("the booster", "weight_drop", weights, len(trees))
    _check_rounds(held, len(trees))
    _check_encoding(held.get("cats", {}), columns)
    sizes = {_whole(tree["tree_param"].get("size_leaf_vector", "1")) for tree in trees}
    if not sizes <= {0, 1} and sizes != {groups}:
        raise _damaged(f"its leaves hold {sorted(sizes)[:5]} numbers, where each holds one, or each holds all {groups} of an answer")
    for number, tree in enumerate(trees):
        _check_one(f"tree {number}", tree, columns)


def _check_objective(objective: Mapping[str, Any], classes: int, targets: int) -> None:
    """The objectives of classes and of levels have numbers of their own, by which the library walks the answers."""
    name = objective["name"]
    levels = str(objective["quantile_loss_param"]["quantile_alpha"]).strip("[]").split(",") if name == "reg:quantileerror" else [0.0] * targets
    if name.startswith("multi:"):
        fits = classes > 0 and _whole(objective["softmax_multiclass_param"]["num_class"]) == classes
    else:
        fits = len(levels) == targets and all(0 <= float(level) <= 1 for level in levels)
    if not fits:
        raise _damaged(f"its objective {dict(objective)} does not fit {classes} classes and {targets} targets"[:300])


def _check_rounds(held: Mapping[str, Any], trees: int) -> None:
    rounds = [int(place) for place in held.get("iteration_indptr", [])]
    if rounds and (rounds[0] or rounds[-1] != trees or rounds != sorted(rounds)):
        raise _damaged("iteration_indptr does not grow from 0 to the number of trees")


def _check_encoding(cats: Mapping[str, Any], columns: int) -> None:
    """The categories that columns had in training."""
    encoded = cats.get("enc", [])
    if not encoded:
        return
    counts = [max(len(each["offsets"]) - 1, 0) if "offsets" in each else len(each["values"]) for each in encoded]
    segments = [int(place) for place in cats["feature_segments"]]
    fits = len(encoded) == columns and segments == [0, *np.cumsum(counts).tolist()]
    if not fits or sorted(int(place) for place in cats["sorted_idx"]) != sorted(place for count in counts for place in range(count)):
        raise _damaged(f"the categories of its columns do not fit {columns} columns")
    for column, each in enumerate(encoded):
        offsets = [int(place) for place in each.get("offsets", [])]
        if offsets and (offsets[0] or offsets != sorted(offsets) or offsets[-1] > len(each["values"])):
            raise _damaged(f"the categories of column {column} do not fill their bytes")


def _check_one(tree: str, held: Mapping[str, Any], columns: int) -> None:
    told = held["tree_param"]
    nodes, size = _whole(told["num_nodes"]), max(_whole(told.get("size_leaf_vector", "1")), 1)
    if nodes < 1 or _whole(told.get("num_feature", str(columns))) not in (0, columns):
        raise Corrupt(f"{tree}: its tree_param {dict(told)} does not fit a model of {columns} columns", tree=tree)
    for name in (*_LENGTHS, *(name for name in _MAYBE if name in held)):
        check_length(tree, name, held[name], nodes * size if name == "base_weights" else nodes)
    left, right, asked = (_integers(held[name]) for name in ("left_children", "right_children", "split_indices"))
    right = right if size == 1 else _without_places(tree, held, left, right, size)
    if ((left == -1) != (right == -1)).any() or (left < -1).any() or (right < -1).any():
        place = int(np.argmax(((left == -1) != (right == -1)) | (left < -1) | (right < -1)))
        refuse(tree, place, f"its children are {int(left[place])} and {int(right[place])}; a leaf has none of both")
    inner = np.flatnonzero(left != -1)
    check_tree(TreeArrays(tree, nodes, inner, left[inner], right[inner], asked[inner]), columns)
    if "parents" in held:
        _check_parents(tree, _integers(held["parents"]), inner, left, right)
    conditions = np.asarray(held["split_conditions"], dtype=np.float64)[inner]
    if np.isnan(conditions).any():
        refuse(tree, int(inner[np.argmax(np.isnan(conditions))]), "its threshold is no number")
    kinds = _integers(held.get("split_type", np.zeros(nodes, dtype=np.int64)))
    if ((kinds < 0) | (kinds > 1)).any():
        refuse(tree, int(np.argmax((kinds < 0) | (kinds > 1))), "its kind of split is neither 0 (number) nor 1 (category)")
    _check_categories(tree, held, set(np.flatnonzero(kinds == 1).tolist()), nodes)


def _without_places(tree: str, held: Mapping[str, Any], left: np.ndarray, right: np.ndarray, size: int) -> np.ndarray:
    """The right children of a tree whose leaves hold several numbers: a leaf has there its place among the numbers of the leaves."""
    missing = sorted({*_MAYBE, *_OF_VECTORS} - held.keys())
    if missing:
        raise Corrupt(
            f"{tree}: its leaves hold several numbers, and it has no {missing}, without which the library does not read it; "
            "load the model with XGBoost 3.2 and save it again, or restore the file",
            tree=tree,
        )
    leaves = np.flatnonzero(left == -1)
    check_length(tree, "leaf_weights", held["leaf_weights"], len(leaves) * size)
    if not np.array_equal(np.sort(right[leaves]), np.arange(len(leaves))):
        raise Corrupt(f"{tree}: its leaves do not have the places 0 to {len(leaves) - 1}; restore the file", tree=tree)
    inner = right.copy()
    inner[leaves] = -1
    return inner


def _check_parents(tree: str, parents: np.ndarray, inner: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
    """The library goes up from a node as well as down; what was pruned has a parent too, though none has it as a child."""
    expected = parents.copy()
    expected[left[inner]] = inner
    expected[right[inner]] = inner
    unknown = (parents < 0) | (parents >= len(parents))
    unknown[0] = parents[0] not in _NO_PARENT
    wrong = (parents != expected) | unknown
    if wrong.any():
        refuse(tree, int(np.argmax(wrong)), f"it says that its parent is {int(parents[np.argmax(wrong)])}, which does not have it as a child")


def _check_categories(tree: str, held: Mapping[str, Any], categorical: set[int], nodes: int) -> None:
    """The library goes through the nodes with categories in their order, each with a segment of the list of categories."""
    listed, places = _integers(held.get("categories", [])), _integers(held.get("categories_nodes", []))
    starts, sizes = _integers(held.get("categories_segments", [])), _integers(held.get("categories_sizes", []))
    check_length(tree, "categories_segments", starts, len(places))
    check_length(tree, "categories_sizes", sizes, len(places))
    if (np.diff(places) <= 0).any() or (places < 0).any() or (places >= nodes).any() or not categorical >= set(places.tolist()):
        raise Corrupt(f"{tree}: categories_nodes does not name the nodes that split by categories, in their order; restore the file", tree=tree)
    for node, start, size in zip(places.tolist(), starts.tolist(), sizes.tolist(), strict=True):
        if start < 0 or size < 1 or start + size > len(listed):
            refuse(tree, node, f"its categories are {start} to {start + size} of {len(listed)}")
    if missing := categorical - set(places.tolist()):
        refuse(tree, min(missing), "it splits by categories and has none")
    if len(listed) and (listed.min() < 0 or listed.max() >= MOST_CATEGORIES):
        raise Corrupt(f"{tree}: it names the category {listed.max()}, they go from 0 to {MOST_CATEGORIES - 1}; restore the file", tree=tree)


def _integers(values: Any) -> np.ndarray:
    found = np.asarray(values)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iub"):
        raise ValueError(f"an array of whole numbers holds {found.dtype}")
    return found.astype(np.int64)


def _whole(text: Any) -> int:
    """A whole number, which XGBoost writes as a text."""
    if not isinstance(text, str) or not text.lstrip("-").isdecimal() or len(text) > 10:
        raise ValueError(f"{str(text)[:50]!r} is no whole number")
    return int(text)


def _json(data: bytes) -> Any:
    return json.loads(data, object_pairs_hook=_once)


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has a name twice")
    return found


class _Ubjson:
    """A reader of the UBJSON that XGBoost writes; whatever else is in the bytes is refused."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def document(self) -> Any:
        """The value that fills the bytes."""
        found = self._value(0)
        if self._at != len(self._data):
            raise ValueError(f"{len(self._data) - self._at} bytes follow its end")
        return found

    def _value(self, depth: int) -> Any:
        kind = self._byte()
        if depth > _DEEPEST:
            raise ValueError("it is nested too deeply")
        if kind in _WORDS:
            return _WORDS[kind]
        if kind in _NUMBERS:
            return self._number(kind)
        if kind == ord("S"):
            return self._text()
        if kind == ord("["):
            return self._array(depth)
        if kind == ord("{"):
            return _once(list(self._members(depth)))
        raise ValueError(f"there is no value of type {kind} at byte {self._at - 1}")

    def _members(self, depth: int) -> Iterator[tuple[str, Any]]:
        while not self._ends(ord("}")):
            yield self._text(), self._value(depth + 1)

    def _array(self, depth: int) -> Any:
        if self._ends(ord("$")):
            kind = self._byte()
            self._expect(ord("#"))
            dtype = np.dtype(_ARRAYS[kind])
            count = self._length(dtype.itemsize)
            return np.frombuffer(self._take(count * dtype.itemsize), dtype=dtype)
        if self._ends(ord("#")):
            return [self._value(depth + 1) for _ in range(self._length(1))]
        found = []
        while not self._ends(ord("]")):
            found.append(self._value(depth + 1))
        return found

    def _text(self) -> str:
        return self._take(self._length(1)).decode()

    def _length(self, size: int) -> int:
        self._expect(ord("L"))
        count = int(self._number(ord("L")))
        if not 0 <= count <= (len(self._data) - self._at) // size:
            raise ValueError(f"a length of {count} at byte {self._at} goes beyond the end")
        return count

    def _number(self, kind: int) -> Any:
        form = _NUMBERS[kind]
        return form.unpack(self._take(form.size))[0]

    def _ends(self, byte: int) -> bool:
        found = self._at < len(self._data) and self._data[self._at] == byte
        self._at += found
        return found

    def _expect(self, byte: int) -> None:
        if self._byte() != byte:
            raise ValueError(f"byte {self._at - 1} is not {chr(byte)!r}")

    def _byte(self) -> int:
        return self._take(1)[0]

    def _take(self, size: int) -> bytes:
        found = self._data[self._at : self._at + size]
        if len(found) != size:
            raise ValueError("it ends too early")
        self._at += size
        return found


def _damaged(why: str) -> Corrupt:
    return Corrupt(f"the XGBoost model is damaged: {why}; restore the file, or train the model again")
