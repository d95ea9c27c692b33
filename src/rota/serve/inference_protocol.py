"""Open Inference Protocol v2: one tensor for each request field in; out comes one FP64 tensor "answer", of shape [rows] or [rows, outputs], or
of several classes BYTES "class" and FP64 "probabilities" [rows, classes].

Timestamps travel as INT64 microseconds or as BYTES with an ISO 8601 text; a null is a JSON null. Ids are given and returned
as the parameter "prediction_ids".
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from rota.errors import InvalidInput
from rota.problems import forms, registry
from rota.records.limits import TENSORS
from rota.records.schema import Type
from rota.serve.predicting import PredictResponse
from rota.serve.scoring import LoadedRelease

DATATYPES: Mapping[Type, tuple[str, ...]] = {
    "float": ("FP64", "FP32", "INT64", "INT32"),
    "int": ("INT64", "INT32", "INT16", "INT8"),
    "bool": ("BOOL",),
    "string": ("BYTES",),
    "timestamp": ("INT64", "BYTES"),
}
"""What is accepted for a field; the first is what the metadata names."""


class Tensor(msgspec.Struct, frozen=True):
    """A named column of values, flat, of shape [rows] or [rows, 1]."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    data: list[Any]
    parameters: Mapping[str, Any] = {}


class UnreadTensor(msgspec.Struct, frozen=True):
    """The same with its values unread."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    data: msgspec.Raw


class UnreadRequest(msgspec.Struct, frozen=True):
    """The body of an inference request of which the values are unread."""

    inputs: tuple[UnreadTensor, ...]


class _Shaped(Protocol):
    """A tensor of either kind."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...


class InferParameters(msgspec.Struct, frozen=True):
    """Request parameters; unknown ones are ignored, as the protocol asks."""

    prediction_ids: list[str] | None = None


class InferRequest(msgspec.Struct, frozen=True):
    """The body of an inference request."""

    inputs: tuple[Tensor, ...]
    id: str = ""
    parameters: InferParameters = InferParameters()
    outputs: tuple[Mapping[str, Any], ...] = ()


def check_shapes(tensors: Sequence[_Shaped], most: int) -> None:
    """Raise `InvalidInput` for more tensors than a request may have, and naming the first whose shape is no number of rows up to `most`."""
    if len(tensors) > TENSORS:
        raise InvalidInput(f"the request has {len(tensors)} tensors, at most {TENSORS} are taken; send one for each field", limit=TENSORS)
    for tensor in tensors:
        shape = tensor.shape
        if len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] != 1) or shape[0] < 0:
            shown = f"{len(shape)} dimensions" if len(shape) > 2 else f"shape {list(shape)}"
            raise InvalidInput(f"tensor {tensor.name!r} has {shown}; its shape must be [rows] or [rows, 1]", field=tensor.name)
        if shape[0] > most:
            raise InvalidInput(
                f"tensor {tensor.name!r} has shape {list(shape)}, at most {most} rows are answered at once (max_request_rows); send it in parts",
                field=tensor.name,
                limit=most,
            )


def check_sizes(request: UnreadRequest) -> None:
    """Raise `InvalidInput` naming the first tensor whose unread values are more than its shape says, by the commas between them."""
    for tensor in request.inputs:
        rows, commas = tensor.shape[0], bytes(tensor.data).count(b",")
        if commas + 1 < rows or (commas > max(rows - 1, 0) and tensor.datatype != "BYTES"):
            raise InvalidInput(
                f"tensor {tensor.name!r} has shape {list(tensor.shape)} and about {commas + 1} values; its shape must be [rows] or [rows, 1]",
                field=tensor.name,
            )


def rows_of(request: InferRequest, fields: Mapping[str, Type]) -> list[dict[str, Any]]:
    """The request's tensors as rows; raises `InvalidInput` naming the tensor that does not fit."""
    lengths = {_length(tensor) for tensor in request.inputs}
    if len(lengths) != 1:
        sizes = {tensor.name: len(tensor.data) for tensor in request.inputs}
        raise InvalidInput(f"the input tensors must have the same number of rows; theirs are {sizes}", rows=sizes)
    for tensor in request.inputs:
        accepted = DATATYPES.get(fields[tensor.name], ("BYTES",)) if tensor.name in fields else None
        if accepted and tensor.datatype not in accepted:
            raise InvalidInput(f"tensor {tensor.name!r} has datatype {tensor.datatype!r}; send one of {accepted}", field=tensor.name)
    names = [tensor.name for tensor in request.inputs]
    return [dict(zip(names, values, strict=True)) for values in zip(*(tensor.data for tensor in request.inputs), strict=True)]


def response(name: str, request: InferRequest, predicted: PredictResponse, served: LoadedRelease) -> dict[str, Any]:
    """The body of an inference response."""
    versions = {answer.version for answer in predicted.predictions} or {served.stable.route.number}
    return {
        "model_name": name,
        "model_version": str(versions.pop() if len(versions) == 1 else served.stable.route.number),
        "id": request.id,
        "outputs": _outputs(served, [answer.answer for answer in predicted.predictions]),
        "parameters": {
            "prediction_ids": [answer.prediction_id for answer in predicted.predictions],
            "versions": [answer.version for answer in predicted.predictions],
            "logged": predicted.logged,
            **({"warnings": list(predicted.warnings)} if predicted.warnings else {}),
        },
    }


def model_metadata(name: str, served: LoadedRelease) -> dict[str, Any]:
    """The endpoint's metadata: its versions, input and output tensors."""
    numbers = sorted({route.number for route in served.release.routes if route.role != "shadow"})
    return {
        "name": name,
        "versions": [str(number) for number in numbers],
        "platform": f"rota_{served.stable.model.bundle.format}",
        "inputs": [{"name": field, "datatype": DATATYPES.get(kind, ("BYTES",))[0], "shape": [-1]} for field, kind in served.fields.items()],
        "outputs": [
            {"name": tensor["name"], "datatype": tensor["datatype"], "shape": [-1, *tensor["shape"][1:]], "parameters": _meaning(served)}
            for tensor in _outputs(served, [])
        ],
    }


def server_metadata(version: str) -> dict[str, Any]:
    """The server's metadata."""
    return {"name": "rota", "version": version, "extensions": []}


def _meaning(served: LoadedRelease) -> dict[str, Any]:
    """What the answer is: a value, or a probability and of which class where the classes have names."""
    bundle = served.stable.model.bundle
    if bundle.outputs:
        return {"problem": bundle.problem, "outputs": list(bundle.outputs)}
    return {"problem": bundle.problem} | ({"classes": list(bundle.classes), "probability_of": bundle.classes[-1]} if bundle.classes else {})


def _outputs(served: LoadedRelease, answers: Sequence[Any]) -> list[dict[str, Any]]:
    """Answers as tensors; a row that failed has nulls."""
    bundle = served.stable.model.bundle
    form, names, rows = registry.problem_type(bundle.problem).answer, bundle.outputs, len(answers)
    if form is forms.CLASS:
        classes = [None if answer is None else answer["class"] for answer in answers]
        cells = [None if answer is None else answer["probabilities"].get(name) for answer in answers for name in names]
        return [_tensor("class", "BYTES", [rows], classes), _tensor("probabilities", "FP64", [rows, len(names)], cells)]
    if names:
        cells = [None if answer is None else answer.get(name) for answer in answers for name in names]
        return [_tensor("answer", "FP64", [rows, len(names)], cells)]
    if form in (forms.TEXT, forms.ANY_JSON):
        texts = [answer if answer is None or isinstance(answer, str) else _json(answer).decode() for answer in answers]
        return [_tensor("answer", "BYTES", [rows], texts)]
    return [_tensor("answer", "FP64", [rows], list(answers))]


def _tensor(name: str, datatype: str, shape: list[int], data: list[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


_json = msgspec.json.Encoder().encode


def _length(tensor: Tensor) -> int:
    rows: Sequence[int] = tensor.shape
    if rows[0] != len(tensor.data):
        raise InvalidInput(
            f"tensor {tensor.name!r} has shape {list(rows)} and {len(tensor.data)} values; its shape must be [rows] or [rows, 1]", field=tensor.name
        )
    return rows[0]
