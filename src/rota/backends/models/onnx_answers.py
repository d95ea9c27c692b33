"""What an ONNX graph answers: which of its outputs, how many numbers, and how they are called where the graph says it.

Source of the operators that name classes: onnx/docs/Operators-ml.md.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from rota.backends.models import number_reading
from rota.backends.models.number_reading import NumberReading
from rota.errors import InvalidInput
from rota.problems.forms import class_name

MOST_NUMBERS = 10_000
_FLOATS = ("tensor(float)", "tensor(double)")
_LABELS = ("classlabels_strings", "classlabels_int64s", "classlabels_ints", "classlabels_string")


@dataclass(frozen=True, slots=True)
class Chosen:
    """The outputs that answer. `width`: how many numbers they give a row, 0 = their shapes do not say it. `says`: their problem, if they say it.

    `order` sorts the names of classes as the keys of maps are taken; None: the output is a tensor, in the graph's own order.
    """

    names: tuple[str, ...]
    width: int
    says: str | None
    order: Callable[[str], Any] | None = None


@dataclass(frozen=True, slots=True)
class GraphAnswers:
    """The outputs that answer, by name, and how their numbers are read; `classes` are the names of two classes where they have any."""

    names: tuple[str, ...]
    reading: NumberReading
    classes: tuple[str, ...] = ()

    def taken(self, answers: Sequence[Any], rows: int) -> np.ndarray:
        """Float64 (rows,) or (rows, outputs) of what the session gave for the outputs."""
        return self.reading.taken(_matrix(answers, rows), rows)


def chosen(outputs: Sequence[Any]) -> Chosen:
    """The outputs that answer: maps by class, or probabilities, or else all that hold numbers."""
    maps = [each for each in outputs if each.type.startswith("seq(map(")]
    if maps:
        return Chosen((maps[0].name,), 0, "multiclass", str if "string" in maps[0].type else int)
    floats = [each for each in outputs if each.type in _FLOATS]
    if not floats:
        raise InvalidInput(
            f"the ONNX model's outputs {[(each.name, each.type) for each in outputs]} hold no numbers to serve; "
            "export a classifier with its probabilities, a regressor with its value"
        )
    probable = [each for each in floats if "prob" in each.name.lower()][:1]
    found = probable or floats
    widths = [_width(each.shape) for each in found]
    has_label = len(found) == 1 and len(outputs) > 1
    return Chosen(tuple(each.name for each in found), 0 if 0 in widths else sum(widths), "multiclass" if probable or has_label else None)


def read(found: Chosen, width: int, classes: tuple[str, ...], problem: str | None) -> GraphAnswers:
    """How the chosen outputs are read; `classes` are the names that the graph has for classes."""
    if width > MOST_NUMBERS:
        raise InvalidInput(f"the ONNX model answers {width} numbers a row; {MOST_NUMBERS} are served", outputs=width)
    classes = tuple(sorted(classes, key=found.order)) if found.order else classes
    several = len(found.names) == width > 1
    names = found.names if several else classes if found.says == "multiclass" else ()
    reading = number_reading.read(width, problem, says="regression" if several else found.says, names=names)
    two = classes if reading.is_binary and len(classes) == 2 and classes != ("0", "1") else ()
    return GraphAnswers(found.names, reading, two)


def counted(answers: Sequence[Any], rows: int) -> int:
    """How many numbers a row has in what a session gave for a number of rows."""
    return int(_matrix(answers, rows).shape[1])


def class_names(graph: Any) -> tuple[str, ...]:
    """The names of classes that the last operator has which knows any."""
    for node in reversed(graph.node):
        for attribute in node.attribute:
            if attribute.name in _LABELS and attribute.type in (onnx.AttributeProto.STRINGS, onnx.AttributeProto.INTS):
                names = [each.decode(errors="replace") for each in attribute.strings] or [class_name(each) for each in attribute.ints]
                if len(set(names)) == len(names) > 1:
                    return tuple(names)
    return ()


def texts(model: Any) -> tuple[str, ...]:
    """Texts that the operators of a graph know, such as the categories of encoders; the names of classes are none of them."""
    found: dict[str, None] = {}
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.STRINGS and attribute.name not in _LABELS:
                found |= dict.fromkeys(each.decode(errors="replace") for each in attribute.strings)
    return tuple(found)


def _matrix(answers: Sequence[Any], rows: int) -> np.ndarray:
    """The numbers of all outputs beside each other, float64 (rows, numbers); of maps in the order of their keys."""
    columns = []
    for each in answers:
        found = np.array([[row[key] for key in sorted(row)] for row in each]) if isinstance(each, list) else np.asarray(each)
        if found.shape[:1] != (rows,):
            raise InvalidInput(f"the ONNX model answered {found.shape} for {rows} rows; its first dimension must be free and count the rows")
        columns.append(found.reshape(rows, -1).astype(np.float64))
    return columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)


def _width(shape: Sequence[Any]) -> int:
    sides = shape[1:]
    if not all(isinstance(side, int) and side > 0 for side in sides):
        return 0
    return int(np.prod(sides, dtype=np.int64)) if sides else 1
