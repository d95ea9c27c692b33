"""Rows for a model's author: as a pandas frame where the model was fitted on one, else as a numpy array.

A number is float64 (int64 where the type says so and no cell is null), a text an object, a null NaN, or None where the fitted model
learnt None. Needs pandas only for frames.
"""

import importlib
import importlib.util
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rota.errors import InvalidInput
from rota.ports.models import AuthorRows, ModelInputs
from rota.problems.forms import class_name

_FLOATS = {False: "float64", True: "float32"}


def array(rows: AuthorRows, *, none: Collection[int] = ()) -> np.ndarray:
    """Float64 (rows, columns) where every cell is a number; else an object array. `none` are columns whose nulls are None."""
    if "string" not in rows.types and not none:
        cells = [[np.nan if cell is None else float(cell) for cell in row] for row in rows.cells]
        return np.array(cells, dtype=_FLOATS[rows.narrow]).reshape(len(rows.cells), len(rows.names))
    given = np.empty((len(rows.cells), len(rows.names)), dtype=object)
    for place, kind in enumerate(rows.types):
        given[:, place] = _objects([row[place] for row in rows.cells], is_text=kind == "string", none=place in none)
    return given


def frame(rows: AuthorRows, names: Sequence[str] = (), *, categories: Mapping[int, Sequence[Any]] | None = None, none: Collection[int] = ()) -> Any:
    """A pandas frame; `names` rename and order the columns where they are the same names or as many.

    `categories` are the categories of pandas' category columns, by their place among the rows' columns.
    """
    if importlib.util.find_spec("pandas") is None:
        raise InvalidInput("pandas is not installed, and the model was fitted on a frame with named columns")
    pandas = importlib.import_module("pandas")
    columns = {}
    for place, (name, kind) in enumerate(zip(rows.names, rows.types, strict=True)):
        cells = [row[place] for row in rows.cells]
        if categories and place in categories:
            known = list(categories[place])
            cells = [next((each for each in known if each == cell), None) for cell in cells]  # a whole number may come as a float
            columns[name] = pandas.Categorical(cells, categories=known)
        elif kind == "string" or place in none:
            columns[name] = pandas.Series(_objects(cells, is_text=kind == "string", none=place in none), dtype=object)
        elif kind in ("int", "bool") and None not in cells:
            columns[name] = pandas.Series(cells, dtype="int64" if kind == "int" else "bool")
        else:
            columns[name] = pandas.Series([np.nan if cell is None else float(cell) for cell in cells], dtype=_FLOATS[rows.narrow])
    made = pandas.DataFrame(columns)
    if names and set(names) == set(rows.names):
        return made[list(names)]
    if names and len(names) == len(rows.names):
        made.columns = list(names)
    return made


def class_names(model: Any) -> tuple[str, ...]:
    """The names of a binary classifier's classes in its order; none where they are 0 and 1, or where there are not two."""
    classes = getattr(model, "classes_", None)
    if not isinstance(classes, np.ndarray) or classes.shape != (2,) or [*classes] == [0, 1]:
        return ()
    return tuple(str(each) for each in classes)


def with_classes(inputs: ModelInputs, model: Any) -> ModelInputs:
    """What a booster says of itself, with what its scikit-learn wrapper knows: that it classifies, and how its classes are called."""
    classes = getattr(model, "classes_", None)
    if not hasattr(model, "predict_proba"):
        return inputs
    if inputs.problem == "multiclass" and isinstance(classes, np.ndarray) and classes.shape == (len(inputs.outputs),):
        return replace(inputs, outputs=tuple(class_name(each) for each in classes))
    return inputs if inputs.outputs else replace(inputs, problem="classification", classes=class_names(model))


def positions(cells: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The place of each number among the categories; NaN for another number."""
    order = np.argsort(values)
    places = np.searchsorted(values, cells, sorter=order).clip(max=len(values) - 1)
    return np.where(values[order[places]] == cells, order[places].astype(np.float64), np.nan)


def _objects(cells: Sequence[Any], *, is_text: bool, none: bool) -> np.ndarray:
    null = None if none else np.nan
    found = np.empty(len(cells), dtype=object)
    found[:] = [null if cell is None else cell if is_text else float(cell) for cell in cells]
    return found
