"""Fields as users write them: names of types, Feast's words for the same things, and what Rota has no word for."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Literal, get_args, get_origin

import msgspec

from rota.errors import InvalidInput
from rota.records.record import check_name
from rota.records.schema import Type
from rota.records.time import SECOND_US
from rota.records.value_types import PLAIN, category, check_type, types_in_words

_TYPES: Mapping[object, Type] = {
    **{name: name for name in PLAIN},
    float: "float",
    int: "int",
    bool: "bool",
    str: "string",
    datetime: "timestamp",
    bytes: "bytes",
    list[float]: "float[]",
    list[int]: "int[]",
    "Float32": "float",
    "Float64": "float",
    "Int32": "int",
    "Int64": "int",
    "Bool": "bool",
    "String": "string",
    "UnixTimestamp": "timestamp",
    "Bytes": "bytes",
    "Array(Float32)": "float[]",
    "Array(Float64)": "float[]",
    "Array(Int32)": "int[]",
    "Array(Int64)": "int[]",
}
_NOT_HERE: Mapping[str, tuple[object, str]] = {
    "online": (True, "every feature view can be read online; leave the word out"),
    "offline": (True, "every feature view has a history; leave the word out"),
    "mode": ("python", "write scalar SQL (`rota.sql`) or a Python column function as the feature instead"),
    "stream_source": (None, "a source takes files and pushes alike; give it as `source`"),
    "sources": (None, "a request-time view computes from the request alone; name its fields with `inputs`"),
    "feature_transformation": (None, "write scalar SQL (`rota.sql`) or a Python column function as the feature instead"),
    "udf": (None, "write scalar SQL (`rota.sql`) or a Python column function as the feature instead"),
    "value_type": (None, "the source's fields have the types; leave the word out"),
    "enable_validation": (False, "give the source a `rota.Contract`, which checks every row that comes in"),
}
"""Words of Feast without an equivalent: the value that changes nothing and may stay, and the way out for any other."""

_UNITS_S = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


@dataclass(frozen=True, slots=True)
class Field:
    """A named field and its type, as in a view's `schema`.

    `dtype` is a type name of Rota ("float", "int", "bool", "string", "timestamp", "bytes", "blob", "float[]", "float[384]", "int[]",
    "decimal(12,2)", `rota.category(...)`), a Python type (`list[float]`, `bytes`, a `Literal` or an `Enum` of texts for a category), or Feast's
    "Float32", "Float64", "Int32", "Int64", "String", "Bool", "UnixTimestamp", "Bytes" or "Array(Float32)".

    >>> rota.Field("conv_rate", "Float32").type                          # doctest: +SKIP
    'float'
    """

    name: str
    dtype: object
    description: str = ""

    def __post_init__(self) -> None:
        check_name("field", self.name)
        type_named(self.dtype, of=self.name)

    @property
    def type(self) -> Type:
        return type_named(self.dtype, of=self.name)


@dataclass(frozen=True, slots=True)
class RequestSource:
    """The fields of a request, to be given as the `inputs` of an `OnDemandFeatureView`."""

    name: str
    schema: Sequence[Field]

    def __post_init__(self) -> None:
        check_name("request source", self.name)

    @property
    def fields(self) -> dict[str, Type]:
        return typed(self.schema)


class FeastCompatible(msgspec.StructMeta):
    """The metaclass of definitions that are also written in Feast's words: arguments with an equivalent are taken, others refused with the way out.

    A class says in `_words` how it takes arguments of its own. Reading a stored record does not pass here.
    """

    def __call__(cls, *positional: Any, **keywords: Any) -> Any:  # noqa: N805 - of a metaclass
        placed = dict(zip(cls.__struct_fields__, positional, strict=False))
        if len(placed) < len(positional) or placed.keys() & keywords.keys():
            return super().__call__(*positional, **keywords)  # which says what is wrong with that
        arguments = placed | keywords
        for name, (harmless, advice) in _NOT_HERE.items():
            if name in arguments and name not in cls.__struct_fields__ and arguments.pop(name) != harmless:
                raise InvalidInput(f"{cls.__name__} {arguments.get('name', '')!r} has no word {name!r}: {advice}", word=name)
        return super().__call__(**getattr(cls, "_words", dict)(arguments))


def type_named(dtype: object, *, of: str) -> Type:
    """Rota's name of a type; raises `InvalidInput` for a type that no column of Rota has."""
    found = _TYPES.get(dtype) if isinstance(dtype, Hashable) else None
    if found is not None:
        return found
    try:
        if isinstance(dtype, str):
            return check_type(dtype)
        if get_origin(dtype) is Literal:
            return category(*get_args(dtype))
        if isinstance(dtype, type) and issubclass(dtype, Enum):
            return category(*(member.value for member in dtype))
    except InvalidInput as error:
        raise InvalidInput(f"field {of!r}: {error}, a Python type or Feast's names", **error.facts) from None
    raise InvalidInput(f"field {of!r} has the type {dtype!r}; give one of {types_in_words()}, a Python type or Feast's names")


def typed(fields: Mapping[str, Any] | Sequence[Field]) -> dict[str, Type]:
    """Names and types of fields given as a mapping or as a list of `Field`."""
    if isinstance(fields, Mapping):
        return {name: type_named(dtype, of=name) for name, dtype in fields.items()}
    made = {field.name: field.type for field in fields}
    if len(made) != len(fields):
        raise InvalidInput(f"a field is named twice: {[field.name for field in fields]}")
    return made


def span(duration: str | timedelta | None) -> str | None:
    """A duration as text; None and zero mean "without end", as Feast has it."""
    if not isinstance(duration, timedelta):
        return duration
    if duration < timedelta(0):
        raise InvalidInput(f"the ttl {duration} is negative; give a positive time, or None for values that never expire")
    seconds, rest = divmod(duration // timedelta(microseconds=1), SECOND_US)
    if rest:
        raise InvalidInput(f"the ttl {duration} is no whole number of seconds")
    if not seconds:
        return None
    unit, size = next((unit, size) for unit, size in _UNITS_S if seconds % size == 0)
    return f"{seconds // size}{unit}"
