"""Tensors of the Open Inference Protocol: datatypes, values in JSON (nested or flat) and as bytes behind the JSON, held to shape and datatype.

A value leaves here as Python has it: a number of its datatype's range and precision, a bool, a text, or None for a JSON null. Bytes are
little-endian, one element after the other; of BYTES each element has its length before it (4 bytes).
"""

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from rota.errors import InvalidInput
from rota.records.values import shown, whole

NUMPY: Mapping[str, str] = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    "BYTES": "O",
}
"""The datatypes of the protocol, each by numpy's name for it."""
FLOATS = ("FP64", "FP32", "FP16")
INTEGERS = ("INT64", "INT32", "INT16", "INT8", "UINT64", "UINT32", "UINT16", "UINT8")
_LENGTH = struct.Struct("<I")


class Tensor(msgspec.Struct, frozen=True, omit_defaults=True):
    """A named array, whose values are `data`, nested by its shape or flat, or bytes behind the JSON as many as `binary_data_size` says."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    data: list[Any] | None = None
    parameters: Mapping[str, Any] = {}


def elements(shape: Sequence[int]) -> int:
    """How many elements a shape has."""
    return math.prod(shape)


def check_datatype(tensor: Tensor) -> None:
    """Raise `InvalidInput` for a datatype that the protocol does not have."""
    if tensor.datatype not in NUMPY:
        raise InvalidInput(f"tensor {tensor.name!r} has datatype {tensor.datatype[:50]!r}; the protocol has {', '.join(NUMPY)}", field=tensor.name)


def values(tensor: Tensor) -> list[Any]:
    """The elements of a tensor sent as JSON; raises `InvalidInput` naming the tensor, and the value that its datatype does not have."""
    if tensor.data is None:
        raise InvalidInput(f"tensor {tensor.name!r} has no data; send it as JSON, or as bytes with binary_data_size", field=tensor.name)
    flat = _flat(tensor)
    if tensor.datatype in FLOATS:
        return _floats(tensor, flat)
    if tensor.datatype == "BOOL":
        return _of_kinds(tensor, flat, (bool,), lambda value: bool(value) if type(value) is int and value in (0, 1) else value)
    if tensor.datatype == "BYTES":
        return _of_kinds(tensor, flat, (str,), lambda value: value)
    return _integers(tensor, flat)


def values_in(tensor: Tensor, data: memoryview) -> list[Any]:
    """The elements of a tensor sent as these bytes; raises `InvalidInput` when they are not as many as its shape says."""
    count = elements(tensor.shape)
    if tensor.datatype == "BYTES":
        return _texts(tensor, data, count)
    kind = np.dtype(NUMPY[tensor.datatype])
    if len(data) != count * kind.itemsize:
        raise InvalidInput(
            f"tensor {tensor.name!r} of shape {list(tensor.shape)} and datatype {tensor.datatype} has {len(data)} bytes; it takes "
            f"{count * kind.itemsize}",
            field=tensor.name,
        )
    if kind == np.bool_:
        kind = np.dtype(np.uint8)
    found: list[Any] = np.frombuffer(data, kind).tolist()
    return list(map(bool, found)) if tensor.datatype == "BOOL" else found


def as_bytes(datatype: str, data: Sequence[Any]) -> bytes:
    """The elements of an output as bytes; a null is NaN where the datatype has one, and an empty text."""
    if datatype == "BYTES":
        texts = [b"" if text is None else text.encode() for text in data]
        return b"".join(part for text in texts for part in (_LENGTH.pack(len(text)), text))
    cells = [math.nan if value is None else value for value in data] if datatype in FLOATS else data
    return np.array(cells, dtype=NUMPY[datatype]).tobytes()


def _flat(tensor: Tensor) -> list[Any]:
    """The data without its nesting, which must be that of the shape where there is any."""
    data, shape = tensor.data or [], tensor.shape
    if not any(type(each) is list for each in data):
        if len(data) != elements(shape):
            raise _misshapen(tensor, f"{len(data)} values")
        return data
    level: list[Any] = [data]
    for length in shape:
        if any(type(each) is not list or len(each) != length for each in level):
            raise _misshapen(tensor, "data that is nested in another way")
        level = [value for each in level for value in each]
    if any(type(each) is list for each in level):
        raise _misshapen(tensor, "data that is nested more deeply")
    return level


def _misshapen(tensor: Tensor, what: str) -> InvalidInput:
    return InvalidInput(
        f"tensor {tensor.name!r} has shape {list(tensor.shape)} and {what}; send as many values as the shape says, flat or nested as it is",
        field=tensor.name,
    )


def _floats(tensor: Tensor, flat: list[Any]) -> list[Any]:
    kinds = set(map(type, flat))
    if not kinds <= {float, int, type(None)}:
        _refuse(tensor, next(value for value in flat if type(value) not in (float, int, type(None))))
    if tensor.datatype == "FP64":
        return flat
    try:
        cells = np.array([math.nan if value is None else value for value in flat], np.float64)
        with np.errstate(over="ignore"):
            narrow = cells.astype(NUMPY[tensor.datatype]).astype(np.float64)
    except OverflowError:
        _refuse(tensor, max((value for value in flat if value is not None), key=abs))
    beyond = np.flatnonzero(np.isinf(narrow) & np.isfinite(cells))
    if beyond.size:
        _refuse(tensor, flat[int(beyond[0])])
    return [None if value is None else cell for value, cell in zip(flat, narrow.tolist(), strict=True)]


def _integers(tensor: Tensor, flat: list[Any]) -> list[Any]:
    found = flat
    if not set(map(type, flat)) <= {int, type(None)}:
        found = [value if value is None or type(value) is bool else whole(value) if type(value) is float else value for value in flat]
        wrong = next((place for place, value in enumerate(found) if type(value) is not int and flat[place] is not None), None)
        if wrong is not None:
            _refuse(tensor, flat[wrong])
    bounds = np.iinfo(NUMPY[tensor.datatype])
    beyond = next((value for value in found if value is not None and not bounds.min <= value <= bounds.max), None)
    if beyond is not None:
        _refuse(tensor, beyond)
    return found


def _of_kinds(tensor: Tensor, flat: list[Any], kinds: tuple[type, ...], read: Any) -> list[Any]:
    if set(map(type, flat)) <= {*kinds, type(None)}:
        return flat
    found = [read(value) for value in flat]
    wrong = next((value for value in found if value is not None and type(value) not in kinds), None)
    if wrong is not None:
        _refuse(tensor, wrong)
    return found


def _texts(tensor: Tensor, data: memoryview, count: int) -> list[Any]:
    found: list[Any] = []
    at, end = 0, len(data)
    while at < end and len(found) <= count:
        if end - at < _LENGTH.size or end - at - _LENGTH.size < (length := _LENGTH.unpack_from(data, at)[0]):
            raise InvalidInput(f"tensor {tensor.name!r}: element {len(found)} is longer than the {end - at} bytes that are left", field=tensor.name)
        at += _LENGTH.size
        try:
            found.append(str(data[at : at + length], "utf-8"))
        except UnicodeDecodeError as error:
            raise InvalidInput(f"tensor {tensor.name!r}: element {len(found)} is no text in UTF-8 ({error.reason})", field=tensor.name) from None
        at += length
    if len(found) != count:
        raise InvalidInput(
            f"tensor {tensor.name!r} has shape {list(tensor.shape)} and {'more' if len(found) > count else len(found)} elements in its bytes; "
            f"it takes {count}",
            field=tensor.name,
        )
    return found


def _refuse(tensor: Tensor, value: Any) -> Any:
    raise InvalidInput(
        f"tensor {tensor.name!r} has datatype {tensor.datatype}, which has no value {shown(value)}", field=tensor.name, seen=shown(value)
    )
