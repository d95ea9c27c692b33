"""LightGBM's model text, read as LightGBM's C library reads it, and refused where the library would read past it or never end.

Source of the form: `src/io/tree.cpp` (Tree::Tree) and `src/boosting/gbdt_model_text.cpp` (LoadModelFromString) of LightGBM 4.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import accumulate

import numpy as np

from rota.backends.models.tree_checks import TreeArrays, check_length, check_range, check_tree, refuse
from rota.errors import Corrupt

_INTEGERS = re.compile(r"[0-9 -]*")
_NUMBERS = re.compile(r"[0-9 .eE+\-naif]*")
_LEAVES = {
    "leaf_value": float, "leaf_weight": float, "leaf_count": int, "leaf_const": float, "num_features": int,
}  # fmt: skip
_SPLITS = {
    "split_feature": int, "split_gain": float, "threshold": float, "decision_type": int, "left_child": int, "right_child": int,
    "internal_value": float, "internal_weight": float, "internal_count": int,
}  # fmt: skip
_OTHERS = {"num_leaves": int, "num_cat": int, "cat_boundaries": int, "cat_threshold": int, "is_linear": int, "leaf_features": int, "leaf_coeff": float, "shrinkage": float}  # fmt: skip  # noqa: E501
_TYPES = {**_LEAVES, **_SPLITS, **_OTHERS}
_NEEDED = ("split_feature", "threshold", "decision_type", "left_child", "right_child")
_CATEGORICAL, _MISSING_KINDS = 1, 3
_LARGEST = 2**31 - 1
_MOST_OUTPUTS = 10_000
_MULTICLASS = re.compile(r"multiclass(?:ova)? num_class:([0-9]{1,9})(?: sigmoid:[0-9.eE+-]+)?")


def check_text(text: str) -> None:
    """Raise `Corrupt` naming tree and node unless the library can load and walk every tree of the text."""
    if "\0" in text or "\r" in text:
        raise _damaged("it holds a byte that ends a text for LightGBM before its end")
    start = text.find("\nTree=") + 1
    header = _header(text[:start] if start else text)
    columns, outputs = _whole(header, "max_feature_idx") + 1, _whole(header, "num_tree_per_iteration", 1)
    if columns < 1 or not 1 <= outputs <= _MOST_OUTPUTS or _whole(header, "num_class", 1) != outputs or not _is_for(header, outputs):
        shown = {name: header.get(name) for name in ("max_feature_idx", "num_tree_per_iteration", "num_class", "objective")}
        raise _damaged(f"its header does not fit together: {shown}")
    places = []
    for number, (place, block) in enumerate(_blocks(text, start) if start else ()):
        places.append(place)
        _check_block(f"tree {number}", block, columns)
    if len(places) % outputs:
        raise _damaged(f"it has {len(places)} trees for {outputs} outputs")
    _check_sizes(header, places, start)


def _is_for(header: Mapping[str, str], outputs: int) -> bool:
    """Whether the objective makes answers of so many outputs: that of classes has a number of its own, by which the library walks the answers."""
    objective = header.get("objective", "")
    if match := _MULTICLASS.fullmatch(objective):
        return outputs > 1 and int(match[1]) == outputs
    return not objective.startswith("multi") and "num_class" not in objective and (outputs == 1 or not objective)


def _blocks(text: str, start: int) -> Iterator[tuple[int, list[str]]]:
    """Where each tree begins, and its lines; the library ends a tree at an empty line only, and reads past the end of the text for one."""
    place, end = start, len(text)
    while place < end and text.startswith("Tree=", place):
        begin, lines = place, list[str]()
        place = _after(text, place)
        while place < end and (line := text[place : _after(text, place)].rstrip("\n")) and "=" in line and not line.startswith("Tree="):
            lines.append(line)
            place = _after(text, place)
        if text[place - 1 : place + 1] != "\n\n":
            raise _damaged(f"the tree at character {begin} does not end with an empty line but with {text[place : place + 30]!r}")
        yield begin, lines
        while place < end and text[place] == "\n":
            place += 1


def _after(text: str, place: int) -> int:
    found = text.find("\n", place)
    return len(text) if found < 0 else found + 1


def _check_sizes(header: Mapping[str, str], places: list[int], start: int) -> None:
    """The library jumps to each tree by the sizes of those before."""
    if "tree_sizes" not in header:
        return
    sizes = [int(size) for size in header["tree_sizes"].split() if size.isdecimal()]
    expected = [start + before for before in accumulate(sizes[:-1], initial=0)] if sizes else []
    if expected != places:
        wrong = next((number for number, (one, other) in enumerate(zip(expected, places, strict=False)) if one != other), len(places))
        raise _damaged(f"its line tree_sizes names {len(sizes)} trees and does not fit tree {wrong} of {len(places)}")


def _check_block(tree: str, lines: list[str], columns: int) -> None:
    values = _values(tree, lines)
    leaves = int(_one(tree, values, "num_leaves"))
    if leaves < 1 or "leaf_value" not in values:
        raise Corrupt(f"{tree}: it has {leaves} leaves and {len(values.get('leaf_value', ()))} values of leaves; restore the file", tree=tree)
    for name in _LEAVES.keys() & values.keys():
        if leaves > 1 or len(values[name]) or name == "leaf_value":  # LightGBM writes no weight of the only leaf, and reads none
            check_length(tree, name, values[name], leaves)
    if leaves > 1:
        for name in (*_NEEDED, *(_SPLITS.keys() & values.keys())):
            check_length(tree, name, values.get(name, ()), leaves - 1)
        _check_splits(tree, values, leaves, columns)
    if "is_linear" in values and _one(tree, values, "is_linear"):
        _check_linear(tree, values, leaves, columns)


def _check_splits(tree: str, values: Mapping[str, np.ndarray], leaves: int, columns: int) -> None:
    left, right = values["left_child"], values["right_child"]
    arrays = TreeArrays(tree, leaves - 1, np.arange(leaves - 1), left, right, values["split_feature"])
    check_tree(arrays, columns)
    for side, children in (("left", left), ("right", right)):
        if (~children >= leaves).any():
            place = int(np.argmax(~children >= leaves))
            refuse(tree, place, f"its {side} child is leaf {int(~children[place])}, and there are {leaves}")
    kinds, bounds = values["decision_type"], values["threshold"]
    check_range(arrays, "its kind of missing values is", (kinds >> 2) & 3, _MISSING_KINDS)
    check_range(arrays, "its decision type is", kinds, 16)
    if np.isnan(bounds).any():  # infinite ones part missing values from all others
        refuse(tree, int(np.argmax(np.isnan(bounds))), "its threshold is no number")
    _check_categories(arrays, values, np.where(kinds & _CATEGORICAL, bounds, -1.0))


def _check_categories(arrays: TreeArrays, values: Mapping[str, np.ndarray], asked: np.ndarray) -> None:
    """`asked` are the places of the sets of categories by which nodes split, -1 where a node splits by a number."""
    sets = int(_one(arrays.tree, values, "num_cat")) if "num_cat" in values else 0
    categorical = asked != -1
    if categorical.any() and ((asked[categorical] < 0).any() or (asked[categorical] >= sets).any() or (asked % 1).any()):
        place = int(np.argmax(categorical & ((asked < 0) | (asked >= sets) | (asked % 1 != 0))))
        refuse(arrays.tree, place, f"it splits by set {asked[place]:g} of categories, and there are {sets}")
    if sets < 0 or (sets and not {"cat_boundaries", "cat_threshold"} <= values.keys()):
        raise Corrupt(f"{arrays.tree}: it has {sets} sets of categories and does not list them; restore the file", tree=arrays.tree)
    if sets:
        boundaries = values["cat_boundaries"]
        check_length(arrays.tree, "cat_boundaries", boundaries, sets + 1)
        check_length(arrays.tree, "cat_threshold", values["cat_threshold"], int(boundaries[-1]))
        if boundaries[0] or (np.diff(boundaries) < 0).any():
            raise Corrupt(f"{arrays.tree}: cat_boundaries do not grow from 0; restore the file", tree=arrays.tree)


def _check_linear(tree: str, values: Mapping[str, np.ndarray], leaves: int, columns: int) -> None:
    for name in ("leaf_const", "num_features"):
        check_length(tree, name, values.get(name, ()), leaves)
    terms = values["num_features"]
    for name in ("leaf_features", "leaf_coeff"):
        check_length(tree, name, values.get(name, ()), int(terms.sum()))
    asked = values.get("leaf_features", np.empty(0, dtype=np.int64))  # none where no leaf has a term
    if (terms < 0).any() or (asked < 0).any() or (asked >= columns).any():
        raise Corrupt(f"{tree}: its linear leaves read a column that is none of {columns}; restore the file", tree=tree)


def _values(tree: str, lines: list[str]) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for line in lines:
        name, _, written = line.partition("=")
        if name not in _TYPES or name in found:
            raise Corrupt(f"{tree}: its line {name[:50]!r} is unknown or there twice; restore the file", tree=tree)
        whole = _TYPES[name] is int
        if not (_INTEGERS if whole else _NUMBERS).fullmatch(written):
            raise _no_number(tree, name, whole=whole)
        try:
            found[name] = np.array(written.split(), dtype=np.int64 if whole else np.float64)
        except (ValueError, OverflowError):
            raise _no_number(tree, name, whole=whole) from None
        limit = 2**32 - 1 if name == "cat_threshold" else _LARGEST  # a set of categories is a set of bits
        if whole and found[name].size and np.abs(found[name]).max() > limit:
            raise Corrupt(f"{tree}: {name} holds a number of more than 32 bits; restore the file", tree=tree)
    return found


def _no_number(tree: str, name: str, *, whole: bool) -> Corrupt:
    return Corrupt(f"{tree}: {name} holds something that is no {'whole ' * whole}number; restore the file", tree=tree)


def _one(tree: str, values: Mapping[str, np.ndarray], name: str) -> float:
    check_length(tree, name, values.get(name, ()), 1)
    return float(values[name][0])


def _header(head: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in head.split("\n"):
        name, _, value = line.partition("=")
        if name and name in found:
            raise _damaged(f"its header has the line {name[:50]!r} twice")
        found[name] = value
    return found


def _whole(header: Mapping[str, str], name: str, default: int = -1) -> int:
    text = header.get(name, str(default))
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise _damaged(f"its header says {name}={text[:50]}")
    return int(text)


def _damaged(why: str) -> Corrupt:
    return Corrupt(f"the LightGBM model is damaged: {why}; restore the file, or train the model again")
