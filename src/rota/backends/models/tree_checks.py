"""What has to hold of a tree in arrays before a native library walks it: every walk ends, and reads nothing outside of the arrays.

A child has one parent and the root has none, so that a walk never comes back to a node; every index lies within what it points into. A
library trusts the file that it is given here: a child out of range ends the process, a cycle never ends.
"""

from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from rota.errors import Corrupt


@dataclass(frozen=True, slots=True)
class TreeArrays:
    """The inner nodes of one tree: the places of their children (one dimension, -1 or lower = a leaf of its own), and which columns they ask.

    `nodes` are how many places there are; `at` are the places of the inner nodes themselves. `tree` names the tree in messages.
    """

    tree: str
    nodes: int
    at: np.ndarray
    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray


def check_tree(arrays: TreeArrays, columns: int) -> None:
    """Raise `Corrupt` naming tree and node unless every walk from the root ends within the arrays and reads columns below `columns`."""
    for side, children in (("left", arrays.left), ("right", arrays.right)):
        wrong = (children >= arrays.nodes) | (children == 0)
        if wrong.any():
            place = int(np.argmax(wrong))
            refuse(
                arrays.tree, int(arrays.at[place]), f"its {side} child is {int(children[place])}, which is no node of {arrays.nodes} below the root"
            )
    inner = np.concatenate([arrays.left, arrays.right])
    parents = np.concatenate([arrays.at, arrays.at])[inner > 0]
    found, first, counts = np.unique(inner[inner > 0], return_index=True, return_counts=True)
    if (counts > 1).any():
        place = int(np.argmax(counts > 1))
        refuse(
            arrays.tree,
            int(parents[first[place]]),
            f"node {int(found[place])} is the child of {int(counts[place])} nodes, so that a walk may not end",
        )
    check_range(arrays, "it asks column", arrays.feature, columns)


def check_range(arrays: TreeArrays, what: str, values: np.ndarray, end: int) -> None:
    """Raise `Corrupt` unless the values of the inner nodes lie in 0 .. end - 1."""
    wrong = (values < 0) | (values >= end)
    if wrong.any():
        place = int(np.argmax(wrong))
        refuse(arrays.tree, int(arrays.at[place]), f"{what} {int(values[place])}, and there are {end}")


def check_length(tree: str, name: str, values: Any, length: int) -> None:
    """Raise `Corrupt` unless an array of a tree has as many values as the tree needs."""
    if len(values) != length:
        raise Corrupt(f"{tree}: {name} has {len(values)} values where the tree needs {length}; restore the file, or train the model again", tree=tree)


def refuse(tree: str, node: int, why: str) -> NoReturn:
    """The refusal of one node."""
    raise Corrupt(f"{tree}, node {node}: {why}; restore the file, or train the model again", tree=tree, node=node)
