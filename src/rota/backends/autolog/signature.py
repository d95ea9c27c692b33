"""The signature of a model in MLflow's form: JSON text of {"inputs": JSON text, "outputs": JSON text}."""

import json
from typing import Any

import numpy as np

_KINDS = {"b": "boolean", "i": "long", "u": "long", "f": "double", "M": "datetime"}


def signature(rows: Any, answers: Any) -> str:
    """Of a table or matrix of inputs and of what the model answered to some of them."""
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
