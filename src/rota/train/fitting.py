"""The user's own step: a training function that is called in a process of its own, with a matrix and nothing to wire."""

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from rota.errors import InvalidInput
from rota.ports.models import ModelFormat, SealedFormat

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Rows:
    """`x`: float64 (rows, columns), NaN = null; `y`: float64 (rows,)."""

    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a training function gets: the training rows, the columns' names, and which columns hold category codes."""

    train: Rows
    columns: tuple[str, ...]
    categorical: tuple[int, ...]


def step(function: F) -> F:
    """Marks a function as a pipeline step; it stays an ordinary function that can be called and tested by itself."""
    if function.__qualname__ != function.__name__:
        raise InvalidInput(f"step {function.__qualname__!r} must be a function at the top level of its module, so that a worker can import it")
    return function


def reference(function: Callable[..., Any]) -> str:
    """Where a worker finds the function: "module:name"."""
    return f"{function.__module__}:{function.__qualname__}"


def fit(arguments: Mapping[str, Any], formats: Mapping[str, ModelFormat]) -> dict[str, Any]:
    """Call the training function named in the arguments and write the fitted model's bytes to `out`.

    `folder` holds x.npy, y.npy and columns.json as `save` wrote them; "pickle" says whether the model may be kept so. Returns the
    format's name and its libraries.
    """
    folder = Path(arguments["folder"])
    columns = json.loads((folder / "columns.json").read_text())
    data = TrainingData(
        Rows(np.load(folder / "x.npy", mmap_mode="r"), np.load(folder / "y.npy")), tuple(columns["names"]), tuple(columns["categorical"])
    )
    module, _, name = str(arguments["train"]).partition(":")
    function = getattr(importlib.import_module(module), name)
    model = function(data, **arguments["parameters"])
    for format_ in formats.values():
        if isinstance(format_, SealedFormat) and not arguments.get("pickle"):
            continue
        if format_.accepts(model):
            Path(arguments["out"]).write_bytes(format_.dumps(model))
            return {"format": format_.name, "libraries": format_.libraries()}
    raise InvalidInput(
        f"training function {arguments['train']!r} returned a {type(model).__module__}.{type(model).__qualname__}, "
        f"which none of the installed formats {sorted(formats)} can keep without running code when it is loaded; install the extra of its "
        "framework, return another model, "
        "or let somebody allow this one: `rota models allow-pickle MODEL --reason ...`"
    )


def save(folder: Path, data: TrainingData) -> None:
    """Write what `fit` reads."""
    np.save(folder / "x.npy", data.train.x)
    np.save(folder / "y.npy", data.train.y)
    (folder / "columns.json").write_text(json.dumps({"names": data.columns, "categorical": data.categorical}))
