"""What tensors an endpoint is asked and answers with by the Open Inference Protocol: those of the model itself, or one for each field.

A model that was registered as tensors (ONNX, torch, a signature of tensors, a matrix without names) has its own names, datatypes and shapes, and is
served by them and, as every model, by one tensor for each field of a request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from rota.manage.models import signatures
from rota.problems import forms, registry
from rota.records.model import ModelTensor
from rota.records.release import Route
from rota.records.schema import Type
from rota.records.value_types import family, list_type
from rota.serve.scoring import LoadedRelease, LoadedRoute
from rota.serve.tensors import FLOATS, INTEGERS, NUMPY

DATATYPES: Mapping[Type, tuple[str, ...]] = {
    "float": (*FLOATS, *INTEGERS),
    "int": INTEGERS,
    "bool": ("BOOL",),
    "string": ("BYTES",),
    "timestamp": ("INT64", "BYTES"),
}
"""What is accepted for a field; the first is what the metadata names."""
_ANY = tuple(NUMPY)
_json = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class InputTensor:
    """A tensor that an endpoint takes: `fields` are those of a request that its columns are, in their order. `shape` has -1 for the rows.

    `is_list`: its one field is a list of numbers, of which a row of the tensor is one; -1 for a length that is any.
    """

    name: str
    datatypes: tuple[str, ...]
    shape: tuple[int, ...]
    fields: tuple[str, ...]
    is_list: bool = False

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether an array of this shape holds a row of the fields in each of its rows."""
        if self.is_list:
            return len(shape) == 2 and shape[1] >= 0 and self.shape[1] in (-1, shape[1])
        if len(self.fields) == 1:
            return len(shape) in (1, 2) and (len(shape) == 1 or shape[1] == 1)
        return tuple(shape[1:]) == self.shape[1:]

    @property
    def shapes(self) -> str:
        """The shapes that it takes, for messages."""
        if self.is_list:
            return f"[rows, {'numbers' if self.shape[1] < 0 else self.shape[1]}]"
        return "[rows] or [rows, 1]" if len(self.fields) == 1 else str(["rows", *self.shape[1:]]).replace("'", "")


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """A tensor that an endpoint answers with: `shape` has -1 for the rows, `parameters` say what it means."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TensorView:
    """A release as tensors: `declared` are those that its metadata names, `columns` one for each field, `unit` the field that routing asks for."""

    served: LoadedRelease
    declared: tuple[InputTensor, ...]
    columns: Mapping[str, InputTensor]
    outputs: tuple[OutputTensor, ...]

    def chosen(self, names: Sequence[str]) -> Mapping[str, InputTensor]:
        """The tensors of a request with these names: the declared ones, unless only the columns have one of them."""
        own = {tensor.name: tensor for tensor in self.declared}
        held = {field for tensor in self.declared for field in tensor.fields}
        extra = {name: self.columns[name] for name in names if name not in own and name in self.columns and name not in held}
        if any(name in own for name in names) and all(name in own or name in extra for name in names):
            return own | extra
        return self.columns


def view_of(served: LoadedRelease) -> TensorView:
    """The tensors of a release."""
    columns = {name: _column(name, kind) for name, kind in served.fields.items()}
    declared = tuple(columns.values())
    own = _own_inputs(served.stable.model.bundle.input_tensors, tuple(feature_fields(served.stable)))
    unit = served.release.unit
    if unit and unit not in columns:
        columns[unit] = InputTensor(unit, _ANY, (-1,), (unit,))
    return TensorView(served, own or declared, columns, _outputs(served))


def _column(name: str, kind: Type) -> InputTensor:
    """The tensor of one field: a list's has the numbers of a row in each row, texts and bytes (as Base64) are BYTES, decimals are too."""
    match family(kind):
        case "list":
            of = list_type(kind)
            return InputTensor(name, DATATYPES[of.element], (-1, of.length or -1), (name,), is_list=True)
        case "decimal":
            return InputTensor(name, ("BYTES", "FP64", *INTEGERS), (-1,), (name,))
        case _:
            return InputTensor(name, DATATYPES.get(kind, ("BYTES",)), (-1,), (name,))


def feature_fields(loaded: LoadedRoute) -> list[str]:
    """The request's fields in the order of the model's columns; those that a view computes with come in their own order."""
    bundle = loaded.model.bundle
    plain = {f"{view.name}__{name}": expression.text for view in bundle.features.request_views for name, expression in view.features.items()}
    named = [plain.get(column.name, "").strip('"').replace('""', '"') for column in bundle.transformation.columns]
    return named if set(named) == loaded.fields.keys() - {bundle.group} else []


def pinned(served: LoadedRelease, number: int) -> LoadedRelease | None:
    """A release of which one version answers everything, itself and nothing in its place; None when it is no answering version."""
    routes: list[Route] = [route for route in served.release.routes if route.role != "shadow" and route.number == number]
    if not routes:
        return None
    loaded = served.routes[routes[0]]
    release = msgspec.structs.replace(served.release, headers=())  # no header chooses another one
    return LoadedRelease(release, {routes[0]: loaded}, loaded, (), loaded.fields)


def versions(served: LoadedRelease) -> list[str]:
    """The versions that answer, by number."""
    return [str(number) for number in sorted({route.number for route in served.release.routes if route.role != "shadow"})]


def answered(view: TensorView, answers: Sequence[Any]) -> list[list[Any]]:
    """The elements of each output of a release for answers of rows, in the order of its outputs; None where there is none."""
    bundle = view.served.stable.model.bundle
    form, names = registry.problem_type(bundle.problem).answer, bundle.outputs
    if form is forms.CLASS:
        classes = [None if answer is None else answer["class"] for answer in answers]
        return [classes, [None if answer is None else answer["probabilities"].get(name) for answer in answers for name in names]]
    if names:
        return [[None if answer is None else answer.get(name) for answer in answers for name in names]]
    if form.are_texts:
        return [[answer if answer is None or isinstance(answer, str) else _json(answer).decode() for answer in answers]]
    if form.is_list:
        return [[cell for answer in answers for cell in (answer if answer is not None else [])]]
    return [list(answers)]


def _own_inputs(tensors: Sequence[ModelTensor], fields: Sequence[str]) -> tuple[InputTensor, ...]:
    """The model's own tensors with the fields that their columns are; none where they are not all of them."""
    found, at = [], 0
    for tensor in tensors:
        width = 1
        for length in tensor.shape[1:]:
            width *= length
        datatypes = (tensor.datatype, *(each for each in (*FLOATS, *INTEGERS, "BOOL") if each != tensor.datatype))
        found.append(InputTensor(tensor.name, datatypes if tensor.datatype != "BYTES" else ("BYTES",), tensor.shape, tuple(fields[at : at + width])))
        at += width
    return tuple(found) if at == len(fields) else ()


def _outputs(served: LoadedRelease) -> tuple[OutputTensor, ...]:
    meaning = _meaning(served)
    return tuple(
        OutputTensor(each["name"], each["datatype"], tuple(each["shape"]), meaning) for each in signatures.outputs(served.stable.model.bundle)
    )


def _meaning(served: LoadedRelease) -> dict[str, Any]:
    """What the answer is: a value, or a probability and of which class where the classes have names."""
    bundle = served.stable.model.bundle
    if bundle.outputs:
        return {"problem": bundle.problem, "outputs": list(bundle.outputs)}
    return {"problem": bundle.problem} | ({"classes": list(bundle.classes), "probability_of": bundle.classes[-1]} if bundle.classes else {})
