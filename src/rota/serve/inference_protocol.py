"""Open Inference Protocol v2: requests of tensors become rows, answers become tensors, as JSON or as bytes behind it; and what describes a model.

Timestamps travel as INT64 microseconds or as BYTES with an ISO 8601 text; a null is a JSON null, and NaN among bytes. Ids of predictions are given
and returned as the parameter "prediction_ids"; the other parameters of a request are returned as they came.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from rota.errors import InvalidInput
from rota.records.limits import TENSORS
from rota.records.values import shown
from rota.serve.predicting import PredictResponse
from rota.serve.tensor_views import InputTensor, TensorView, answered, versions
from rota.serve.tensors import Tensor, as_bytes, check_datatype, elements, values, values_in

EXTENSIONS = ("binary_tensor_data", "model_repository", "model_configuration", "statistics", "logging")
BINARY, BINARY_SIZE, BINARY_OUTPUTS = "binary_data", "binary_data_size", "binary_data_output"
_ASKED = ("prediction_ids", BINARY_OUTPUTS)
"""Parameters of a request that are for the server alone."""
_encode = msgspec.json.Encoder().encode


class UnreadTensor(msgspec.Struct, frozen=True):
    """A tensor with its values unread."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    data: msgspec.Raw = msgspec.Raw()


class UnreadRequest(msgspec.Struct, frozen=True):
    """The body of an inference request of which the values are unread."""

    inputs: tuple[UnreadTensor, ...]


class RequestedOutput(msgspec.Struct, frozen=True):
    """An output that a request asks for, and whether as bytes."""

    name: str
    parameters: Mapping[str, Any] = {}


class InferRequest(msgspec.Struct, frozen=True):
    """The body of an inference request. Of its parameters "prediction_ids" (one for each row) and "binary_data_output" (bool) have a meaning."""

    inputs: tuple[Tensor, ...]
    id: str = ""
    parameters: Mapping[str, Any] = {}
    outputs: tuple[RequestedOutput, ...] = ()


@dataclass(frozen=True, slots=True)
class InferResponse:
    """An answer's body, of which `header_bytes` are JSON and the rest tensors (0: all of it is JSON)."""

    body: bytes
    header_bytes: int = 0


def check_shapes(view: TensorView, tensors: Sequence[Tensor] | Sequence[UnreadTensor], most: int) -> Mapping[str, InputTensor]:
    """The tensors of the model that these are; raises `InvalidInput` for one too many, twice, unknown, or of a shape that it does not take."""
    if len(tensors) > TENSORS:
        raise InvalidInput(f"the request has {len(tensors)} tensors, at most {TENSORS} are taken; send one for each field", limit=TENSORS)
    names = [tensor.name for tensor in tensors]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InvalidInput(f"the request has the tensor {twice[0][:200]!r} {names.count(twice[0])} times; send it once", field=twice[0][:200])
    known = view.chosen(names)
    for tensor in tensors:
        taken = known.get(tensor.name)
        if taken is None:
            named = [each.name for each in view.declared][:50]
            raise InvalidInput(f"there is no input {tensor.name[:200]!r}; the model takes {named}", field=tensor.name[:200])
        shape = tensor.shape
        if not shape or shape[0] < 0 or not taken.takes(shape):
            given = f"{len(shape)} dimensions" if len(shape) > 2 else f"shape {_shown(shape)}"
            raise InvalidInput(f"tensor {tensor.name!r} has {given}; its shape must be {taken.shapes}", field=tensor.name)
        if shape[0] > most:
            raise InvalidInput(
                f"tensor {tensor.name!r} has shape {_shown(shape)}, at most {most} rows are answered at once (max_request_rows); send it in parts",
                field=tensor.name,
                limit=most,
            )
    return known


def check_sizes(request: UnreadRequest) -> None:
    """Raise `InvalidInput` naming the first tensor whose unread values are more than its shape says, by the commas between them."""
    for tensor in request.inputs:
        if not tensor.data:
            continue
        count, commas = elements(tensor.shape), bytes(tensor.data).count(b",")
        if commas + 1 < count or (commas > max(count - 1, 0) and tensor.datatype != "BYTES"):
            raise InvalidInput(
                f"tensor {tensor.name!r} has shape {list(tensor.shape)} and about {commas + 1} values; send as many values as the shape says",
                field=tensor.name,
            )


def rows_of(view: TensorView, request: InferRequest, most: int, binary: memoryview | None = None) -> list[dict[str, Any]]:
    """The request's tensors as rows, `binary` being the bytes behind its JSON; raises `InvalidInput` naming the tensor that does not fit."""
    known = check_shapes(view, request.inputs, most)
    _check_outputs(view, request.outputs)
    columns: dict[str, Sequence[Any]] = {}
    at = 0
    for tensor in request.inputs:
        taken = known[tensor.name]
        check_datatype(tensor)
        if tensor.datatype not in taken.datatypes:
            raise InvalidInput(f"tensor {tensor.name!r} has datatype {tensor.datatype!r}; send one of {taken.datatypes}", field=tensor.name)
        if (size := _binary_size(tensor)) is None:
            found = values(tensor)
        else:
            if binary is None or size > len(binary) - at:
                raise InvalidInput(f"tensor {tensor.name!r} has {size} bytes; {len(binary or b'') - at} are left behind the JSON", field=tensor.name)
            found = values_in(tensor, binary[at : at + size])
            at += size
        if tensor.datatype == "BOOL" and taken.datatypes[0] != "BOOL":
            found = [None if value is None else int(value) for value in found]
        if taken.is_list:
            columns[taken.fields[0]] = _lists(found, *tensor.shape)
            continue
        width = len(taken.fields)
        columns |= {field: found[place::width] for place, field in enumerate(taken.fields)}
    if len({tensor.shape[0] for tensor in request.inputs}) != 1:
        raise InvalidInput("the tensors must be there and all have the same number of rows", rows=[tensor.shape[0] for tensor in request.inputs][:50])
    if binary is not None and at != len(binary):
        raise InvalidInput(f"{len(binary) - at} bytes behind the JSON belong to no tensor; each tensor sent as bytes has its {BINARY_SIZE}")
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def _lists(found: Sequence[Any], rows: int, width: int) -> list[list[Any] | None]:
    """A list for each row; one of nothing but nulls (NaN among bytes) is null."""
    lists = [list(found[row * width : (row + 1) * width]) for row in range(rows)]
    return [None if width and all(each is None or each != each for each in one) else one for one in lists]  # noqa: PLR0124 - NaN differs from itself


def prediction_ids(request: InferRequest) -> list[str] | None:
    """The ids that the request gives its rows."""
    found = request.parameters.get("prediction_ids")
    if found is not None and not (isinstance(found, list) and all(isinstance(each, str) for each in found)):
        raise InvalidInput("the parameter prediction_ids is a list of texts, one for each row")
    return found


def raw_request(view: TensorView, body: bytes) -> InferRequest:
    """The request of which the body is the bytes of the model's only tensor, without any JSON."""
    if len(view.declared) != 1:
        raise InvalidInput(f"the body is all bytes, and the model has {len(view.declared)} inputs; send a JSON header that names them")
    taken = view.declared[0]
    if taken.datatypes[0] == "BYTES":
        raise InvalidInput(f"the body is all bytes, and the input {taken.name!r} is BYTES; send a JSON header that says how long each is")
    datatype = taken.datatypes[0]
    row = elements(taken.shape[1:]) * len(as_bytes(datatype, [0]))
    shape = (len(body) // row, *taken.shape[1:])
    return InferRequest((Tensor(taken.name, shape, datatype, parameters={BINARY_SIZE: len(body)}),))


def response(name: str, view: TensorView, request: InferRequest, predicted: PredictResponse) -> InferResponse:
    """The body of an inference response with the outputs that were asked for, all of them when none was."""
    served = view.served
    numbers = {answer.version for answer in predicted.predictions} or {served.stable.route.number}
    found = dict(zip((output.name for output in view.outputs), answered(view, [each.answer for each in predicted.predictions]), strict=True))
    asked = {each.name: each.parameters for each in request.outputs} or {output.name: {} for output in view.outputs}
    declared = {output.name: output for output in view.outputs}
    rows, outputs, raw = len(predicted.predictions), [], []
    for wanted, options in asked.items():
        output, data = declared[wanted], found[wanted]
        width = len(data) // rows if rows and -1 in output.shape[1:] else 0
        tensor: dict[str, Any] = {"name": wanted, "datatype": output.datatype, "shape": [rows, *(max(each, width) for each in output.shape[1:])]}
        if options.get(BINARY, request.parameters.get(BINARY_OUTPUTS, False)):
            raw.append(as_bytes(output.datatype, data))
            tensor["parameters"] = {BINARY_SIZE: len(raw[-1])}
        else:
            tensor["data"] = data
        outputs.append(tensor)
    header = _encode(
        {
            "model_name": name,
            "model_version": str(numbers.pop() if len(numbers) == 1 else served.stable.route.number),
            "id": request.id,
            "outputs": outputs,
            "parameters": {
                **{key: value for key, value in request.parameters.items() if key not in _ASKED},
                "prediction_ids": [answer.prediction_id for answer in predicted.predictions],
                "versions": [answer.version for answer in predicted.predictions],
                "logged": predicted.logged,
                **({"warnings": list(predicted.warnings)} if predicted.warnings else {}),
            },
        }
    )
    return InferResponse(b"".join((header, *raw)), len(header)) if raw else InferResponse(header)


def model_metadata(name: str, view: TensorView) -> dict[str, Any]:
    """The endpoint's metadata: its versions, input and output tensors."""
    return {
        "name": name,
        "versions": versions(view.served),
        "platform": f"rota_{view.served.stable.model.bundle.format}",
        "inputs": [{"name": tensor.name, "datatype": tensor.datatypes[0], "shape": list(tensor.shape)} for tensor in view.declared],
        "outputs": [
            {"name": each.name, "datatype": each.datatype, "shape": list(each.shape), "parameters": dict(each.parameters)} for each in view.outputs
        ],
    }


def model_config(name: str, view: TensorView) -> dict[str, Any]:
    """The endpoint's configuration in the form of Triton's: `dims` name the rows too, so that max_batch_size is 0."""
    described = model_metadata(name, view)

    def tensors(of: str) -> list[dict[str, Any]]:
        return [{"name": each["name"], "data_type": _config_type(each["datatype"]), "dims": each["shape"]} for each in described[of]]

    release = view.served.release
    return {
        "name": name,
        "platform": described["platform"],
        "backend": "rota",
        "version_policy": {"specific": {"versions": [int(version) for version in described["versions"]]}},
        "max_batch_size": 0,
        "input": tensors("inputs"),
        "output": tensors("outputs"),
        "parameters": {"model": {"string_value": view.served.stable.route.model}, "revision": {"string_value": str(release.revision)}},
    }


def server_metadata(version: str) -> dict[str, Any]:
    """The server's metadata."""
    return {"name": "rota", "version": version, "extensions": list(EXTENSIONS)}


def _shown(shape: Sequence[int]) -> str:
    return f"[{', '.join(map(shown, shape))}]"


def _check_outputs(view: TensorView, outputs: Sequence[RequestedOutput]) -> None:
    known = [output.name for output in view.outputs]
    asked = [output.name for output in outputs]
    for output in outputs:
        if output.name not in known:
            raise InvalidInput(f"there is no output {output.name[:200]!r}; the model answers {known}", field=output.name[:200])
        if asked.count(output.name) > 1:
            raise InvalidInput(f"the output {output.name!r} is asked for {asked.count(output.name)} times; ask once", field=output.name)
        if output.parameters.get("classification"):
            raise InvalidInput(f"output {output.name!r}: classification is not answered here; the outputs name the classes", field=output.name)


def _binary_size(tensor: Tensor) -> int | None:
    """How many bytes behind the JSON are the tensor's; None when it is in the JSON."""
    size = tensor.parameters.get(BINARY_SIZE)
    if size is None:
        return None
    if type(size) is not int or size < 0 or tensor.data is not None:
        raise InvalidInput(f"tensor {tensor.name!r}: {BINARY_SIZE} is a number of bytes, and stands in the place of data", field=tensor.name)
    return size


def _config_type(datatype: str) -> str:
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
