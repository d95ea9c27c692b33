"""The user's own step: a training function that is called in a process of its own, with a matrix and nothing to wire."""

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl

from rota.errors import InvalidInput
from rota.manage.models import model_keeping, parity, probe_rows
from rota.manage.models.parity import AuthorAnswers
from rota.ports.models import ModelFormat, SealedFormat
from rota.records.model import RegistrationParity
from rota.records.record import plain
from rota.records.schema import Type

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Rows:
    """`x`: float64 (rows, columns), NaN = null; `y`: float64 (rows,), (rows, targets) of several targets, or texts (rows,)."""

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
    format's name, its libraries, the model's classes, and how the kept bytes answer beside the model itself; raises `InvalidInput`
    with rows that they answer differently.
    """
    folder = Path(arguments["folder"])
    columns = json.loads((folder / "columns.json").read_text())
    data = TrainingData(
        Rows(np.load(folder / "x.npy", mmap_mode="r"), np.load(folder / "y.npy")), tuple(columns["names"]), tuple(columns["categorical"])
    )
    module, _, name = str(arguments["train"]).partition(":")
    function = getattr(importlib.import_module(module), name)
    model = function(data, **arguments["parameters"])
    try:
        format_, kept = model_keeping.servable(model, formats, allowed=bool(arguments.get("pickle")))
    except InvalidInput as error:
        raise InvalidInput(f"training function {arguments['train']!r} returned a model that cannot be served: {error}", **error.facts) from error
    parity, truth = _compared(format_, model, kept, data, str(arguments.get("problem", "")))
    Path(arguments["out"]).write_bytes(kept)
    told = {"classes": truth.classes, "outputs": truth.outputs, "problem": truth.problem}
    return {"format": format_.name, "libraries": format_.libraries(), "parity": plain(parity), **told}


def _compared(format_: ModelFormat, model: Any, kept: bytes, data: TrainingData, problem: str) -> tuple[RegistrationParity, AuthorAnswers]:
    """The kept bytes beside the model itself, on training rows and on rows made to probe it."""
    opened = format_.unlocked("", kept, "") if isinstance(format_, SealedFormat) else format_
    author, x = opened.author(model), data.train.x
    chosen = x[np.linspace(0, len(x) - 1, min(len(x), probe_rows.MOST_EXAMPLES), dtype=int)] if len(x) else x
    examples = [[None if np.isnan(cell) else float(cell) for cell in row] for row in chosen]
    kinds: list[Type] = ["float"] * len(data.columns)
    inputs = replace(author.inputs, texts={}, thresholds={**author.inputs.thresholds, **_codes(data)})
    rows = probe_rows.rows(probe_rows.columns(data.columns, kinds, inputs, examples), examples)
    truth = parity.ask(author, parity.named(model), rows, examples=len(examples))
    predictor = opened.loads(kept)

    def served(cells: Sequence[Sequence[Any]]) -> np.ndarray:
        return predictor.predict(np.array(cells, dtype=np.float64))

    return parity.compare(truth, served, tolerance=format_.tolerance, problem=problem or None), truth


def _codes(data: TrainingData) -> dict[int, tuple[float, ...]]:
    """The codes of a categorical column, with that of a text which training never saw."""
    most = {column: np.nanmax(data.train.x[:, column], initial=-1) for column in data.categorical} if len(data.train.x) else {}
    return {column: tuple(np.arange(code + 2.0)) for column, code in most.items()}


def targets(labels: pl.Series) -> np.ndarray:
    """The labels of training rows as a training function gets them: float64 (rows,), (rows, targets) of several, or texts (rows,)."""
    if labels.dtype == pl.List:
        return np.array(labels.to_list(), dtype=np.float64)
    return labels.to_numpy().astype(str) if labels.dtype == pl.String else labels.cast(pl.Float64).to_numpy()


def save(folder: Path, data: TrainingData) -> None:
    """Write what `fit` reads."""
    np.save(folder / "x.npy", data.train.x)
    np.save(folder / "y.npy", data.train.y)
    (folder / "columns.json").write_text(json.dumps({"names": data.columns, "categorical": data.categorical}))
