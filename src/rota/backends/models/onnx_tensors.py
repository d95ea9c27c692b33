"""The arrays that an ONNX graph takes and answers with, as the Open Inference Protocol names them."""

from collections.abc import Mapping, Sequence
from typing import Any

from rota.records.model import ModelTensor

DATATYPES: Mapping[str, str] = {
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(int64)": "INT64",
    "tensor(int32)": "INT32",
    "tensor(bool)": "BOOL",
}


def taken(inputs: Sequence[Any], width: int) -> tuple[ModelTensor, ...]:
    """One array of all columns, or one for each column; none when the graph does not say how many there are."""
    if len(inputs) == 1:
        return (ModelTensor(inputs[0].name, DATATYPES[inputs[0].type], (-1, width)),) if width and inputs[0].type in DATATYPES else ()
    if any(each.type not in DATATYPES for each in inputs):
        return ()
    return tuple(ModelTensor(each.name, DATATYPES[each.type], (-1,) if len(each.shape) == 1 else (-1, 1)) for each in inputs)


def answered(outputs: Sequence[Any], names: Sequence[str]) -> ModelTensor | None:
    """The array of the answers, where one alone holds them and the graph says how wide it is."""
    found = [each for each in outputs if each.name in names]
    if len(found) != 1 or found[0].type not in DATATYPES:
        return None
    shape = found[0].shape[1:]
    return ModelTensor(found[0].name, DATATYPES[found[0].type], (-1, *shape)) if all(isinstance(each, int) for each in shape) else None
