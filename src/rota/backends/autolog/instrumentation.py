"""Instrumentation that the autologgers share: replace and restore attributes, describe a model's signature in MLflow's form."""

import json
from typing import Any

import numpy as np

_KINDS = {"b": "boolean", "i": "long", "u": "long", "f": "double", "M": "datetime"}


class Patches:
    """What was replaced, undone in reverse order; an attribute that somebody else has replaced since is left to them."""

    def __init__(self) -> None:
        self._replaced: list[tuple[Any, str, Any, Any]] = []

    def replace(self, owner: Any, name: str, new: Any) -> None:
        """Set an attribute that `owner` itself has."""
        self._replaced.append((owner, name, vars(owner)[name], new))
        setattr(owner, name, new)

    def undo(self) -> None:
        """Put everything back."""
        while self._replaced:
            owner, name, old, new = self._replaced.pop()
            if vars(owner).get(name) is new:
                setattr(owner, name, old)


def signature(rows: Any, answers: Any) -> str:
    """The signature of a model as JSON text {"inputs": JSON text, "outputs": JSON text}: columns or tensor shapes of its inputs and outputs."""
    return json.dumps({"inputs": json.dumps(_described(rows)), "outputs": json.dumps(_described(answers))})


def _described(rows: Any) -> list[dict[str, Any]]:
    names = getattr(rows, "columns", None)
    if names is not None:
        return [{"type": _kind(rows[name].dtype), "name": str(name), "required": True} for name in names]
    array = np.asarray(rows)
    return [{"type": "tensor", "tensor-spec": {"dtype": array.dtype.name, "shape": [-1, *array.shape[1:]]}}]


def _kind(dtype: Any) -> str:
    """pandas' and numpy's types have a kind, polars' a name."""
    kind = getattr(dtype, "kind", None)
    if kind is not None:
        return _KINDS.get(kind, "string")
    text = str(dtype)
    return (
        "long" if "Int" in text else "double" if "Float" in text else "boolean" if text == "Boolean" else "datetime" if "Date" in text else "string"
    )
