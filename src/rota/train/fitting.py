"""The user's own step: a training function that is called in a process of its own, with its data and nothing to wire."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import polars as pl

from rota.errors import InvalidInput
from rota.manage.models import loading, model_keeping, parity, probe_rows, transformation
from rota.manage.models.parity import AuthorAnswers
from rota.manage.models.transformation import RowsTransformer
from rota.ports.models import AuthorModel, ModelFormat, Predictor, SealedFormat
from rota.records.model import RegistrationParity, Transformation, TransformedColumn
from rota.records.record import plain
from rota.records.schema import Type
from rota.train import handoff, model_columns
from rota.train.training_data import TrainingData

F = TypeVar("F", bound=Callable[..., Any])


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

    `folder` holds what `handoff.save` wrote; "pickle" says whether the model may be kept so. Returns the format's name, its libraries, the
    columns that the model reads (a `Transformation`), its classes, and how the kept bytes answer beside the model itself; raises
    `InvalidInput` with rows that they answer differently.
    """
    data, fitted = handoff.load(Path(arguments["folder"]))
    module, _, name = str(arguments["train"]).partition(":")
    function = getattr(importlib.import_module(module), name)
    model = function(data, **arguments["parameters"])
    try:
        format_, kept = model_keeping.servable(model, formats, allowed=bool(arguments.get("pickle")))
        opened = loading.reading(format_.unlocked("", kept, "") if isinstance(format_, SealedFormat) else format_, arguments.get("problem"))
        author = opened.author(model)
        columns = model_columns.read(author.inputs, fitted)
    except InvalidInput as error:
        raise InvalidInput(f"training function {arguments['train']!r} returned a model that cannot be served: {error}", **error.facts) from error
    trained = FittedModel(author, parity.named(model), opened.loads(kept), columns)
    parity_, truth = _compared(trained, data, opened.tolerance, str(arguments.get("problem", "")))
    Path(arguments["out"]).write_bytes(kept)
    told = {"classes": truth.classes, "outputs": truth.outputs, "problem": truth.problem}
    return {"format": format_.name, "libraries": format_.libraries(), "transformation": plain(columns), "parity": plain(parity_), **told}


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A fitted model by its author's name, as its author asks it and as it is served, and the columns that it reads."""

    author: AuthorModel
    name: str
    predictor: Predictor
    columns: Transformation


def _compared(trained: FittedModel, data: TrainingData, tolerance: float, problem: str) -> tuple[RegistrationParity, AuthorAnswers]:
    """The kept bytes beside the model itself, on training rows and on rows made to probe it.

    Texts that the model knows or reads as they are come to both as texts; of any other text it was given the codes, and is given them here.
    """
    inputs, columns = trained.author.inputs, transformation.flattened(trained.columns).columns
    coded = [place for place, column in enumerate(columns) if column.type == "string" and not model_columns.is_text(inputs, place)]
    asked = Transformation(tuple(msgspec.structs.replace(column, type="float") if place in coded else column for place, column in enumerate(columns)))
    frame = data.train.frame
    chosen = frame[np.linspace(0, frame.height - 1, min(frame.height, probe_rows.MOST_EXAMPLES), dtype=int)] if frame.height else frame
    frame = transformation.flat(trained.columns, chosen)
    examples = _examples(columns, coded, frame)
    kinds = tuple(_kind(column, frame.schema[column.name], named=bool(inputs.names)) for column in asked.columns)
    codes = {place: tuple(np.arange(len(columns[place].vocabulary) + 1.0)) for place in coded}
    probed = replace(inputs, thresholds={**inputs.thresholds, **codes})
    names = tuple(column.name for column in columns)
    rows = probe_rows.rows(probe_rows.columns(names, kinds, probed, examples), examples)
    truth = parity.named_by(parity.ask(trained.author, trained.name, rows, examples=len(examples)), problem or None)
    transformer = RowsTransformer(asked)

    def served(cells: Sequence[Sequence[Any]]) -> np.ndarray:
        return trained.predictor.predict(transformer.matrix([dict(zip(names, row, strict=True)) for row in cells]))

    found = parity.compare(truth, served, tolerance=tolerance, problem=problem or None)
    unread = [f"{columns[place].name!r}: {inputs.unread[place]}" for place in coded if place in inputs.unread]
    if not found.compared and unread:
        raise InvalidInput(f"the model answers no row that holds codes for texts, and nothing in it says which texts it knows ({'; '.join(unread)})")
    return found, truth


def _examples(columns: Sequence[TransformedColumn], coded: Sequence[int], frame: pl.DataFrame) -> list[list[Any]]:
    """Rows of a frame as the model's author has them: values as they are, codes of texts whose codes it was given, moments as numbers."""
    numbers = transformation.matrix(Transformation(tuple(msgspec.structs.replace(column, raw=False) for column in columns)), frame)
    cells = []
    for place, column in enumerate(columns):
        as_numbers = place in coded or isinstance(frame.schema[column.name], pl.Datetime)
        values = numbers[:, place].tolist() if as_numbers else frame[column.name].to_list()
        cells.append([None if isinstance(value, float) and np.isnan(value) else value for value in values])
    return [list(row) for row in zip(*cells, strict=True)]


def _kind(column: TransformedColumn, dtype: pl.DataType, *, named: bool) -> Type:
    """The type of a column for the model's author: those of the frame where it was fitted on one with names, numbers where on a matrix."""
    if column.type == "string":
        return "string"
    if named and dtype == pl.Boolean:
        return "bool"
    return "int" if named and dtype.is_integer() else "float"
