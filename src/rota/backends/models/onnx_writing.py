"""Writes nodes of an ONNX graph in doubles, through the scope and container that skl2onnx gives to a converter."""

from typing import Any

import numpy as np
from skl2onnx.common.data_types import DoubleTensorType
from skl2onnx.proto import onnx_proto

from rota.errors import InvalidInput

_OPSET = 13


def node(scope: Any, container: Any, kind: str, given: list[str], **options: Any) -> str:
    """A node of one output, whose name is returned."""
    found: str = scope.get_unique_variable_name(kind.lower())
    container.add_node(kind, given, [found], op_version=_OPSET, name=scope.get_unique_operator_name(kind), **options)
    return found


def constant(scope: Any, container: Any, numbers: np.ndarray) -> str:
    """Numbers that every row is computed with, in their shape."""
    name: str = scope.get_unique_variable_name("numbers")
    container.add_initializer(name, onnx_proto.TensorProto.DOUBLE, list(numbers.shape), numbers.ravel().tolist())
    return name


def identity(container: Any, given: str, output: Any) -> None:
    """What was computed as one of the operator's own outputs."""
    container.add_node("Identity", [given], [output.full_name], op_version=_OPSET)


def doubles(scope: Any, operator: Any, container: Any) -> str:
    """The operator's one input in doubles."""
    if len(operator.inputs) != 1:
        raise InvalidInput(f"the {type(operator.raw_operator).__name__} reads several inputs at once, which is not converted")
    given = operator.inputs[0]
    if isinstance(given.type, DoubleTensorType):
        return str(given.full_name)
    return node(scope, container, "Cast", [given.full_name], to=onnx_proto.TensorProto.DOUBLE)
