"""Names of types and what they say: `float`, `int`, `bool`, `string`, `timestamp`, and types that are written with their measures.

| name | values |
| --- | --- |
| `float[]`, `int[]` | lists of numbers of any length: histories |
| `float[384]`, `int[24]` | lists of so many numbers: embeddings |
| `category["cash","card"]` | one of the texts of a declared domain |
| `decimal(12,2)` | exact decimal numbers: 12 digits in all, 2 of them behind the point |
| `bytes` | a sequence of bytes: an image, a recording |
| `blob` | the SHA-256 of bytes that the blob store holds, as 64 hexadecimal digits |
"""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from rota.errors import InvalidInput

Type = str
"""The name of a type; `check_type` says what is one."""
Scalar = Literal["float", "int", "bool", "string", "timestamp"]
"""Types that a schema expects of a column; what else there is it expects by sketches of numbers, or as texts."""
Family = Literal["float", "int", "bool", "string", "timestamp", "list", "category", "decimal", "bytes", "blob"]
SCALARS: tuple[Scalar, ...] = ("float", "int", "bool", "string", "timestamp")
PLAIN: tuple[Family, ...] = (*SCALARS, "bytes", "blob")
"""Types whose name says all of them."""
LONGEST_LIST = 65_536
LARGEST_DOMAIN = 10_000
MOST_DIGITS = 38
"""Of a decimal, as in Arrow's decimal128 and in Delta."""
_LIST = re.compile(r"(float|int)\[([0-9]{0,6})\]", re.ASCII)
_DECIMAL = re.compile(r"decimal\(([0-9]{1,2}),([0-9]{1,2})\)", re.ASCII)
_CATEGORY = "category"


@dataclass(frozen=True, slots=True)
class ListType:
    """What a list is of: its numbers, and how many of them; None: any number up to `LONGEST_LIST`."""

    element: Literal["float", "int"]
    length: int | None = None


@dataclass(frozen=True, slots=True)
class DecimalType:
    """The digits of a decimal in all, and those behind the point."""

    precision: int
    scale: int


@lru_cache(maxsize=4_096)
def family(kind: Type) -> Family:
    """What a type is a kind of; raises `InvalidInput` for a text that names no type."""
    if kind in PLAIN:
        return kind
    if _LIST.fullmatch(kind):
        list_type(kind)
        return "list"
    if _DECIMAL.fullmatch(kind):
        decimal_type(kind)
        return "decimal"
    if kind.startswith(_CATEGORY + "["):
        domain(kind)
        return "category"
    raise InvalidInput(f"{kind!r} is no type; the types are {types_in_words()}", type=kind)


def check_type(kind: Type) -> Type:
    """The name of a type as it is kept; raises `InvalidInput` for a text that names none."""
    return category(*domain(kind)) if family(kind) == "category" else kind


@lru_cache(maxsize=4_096)
def list_type(kind: Type) -> ListType:
    """What a list type says; raises `InvalidInput` for another type."""
    found = _LIST.fullmatch(kind)
    if found is None:
        raise InvalidInput(f"{kind!r} is no list of numbers; write float[], float[384], int[] or int[24]", type=kind)
    length = int(found[2]) if found[2] else None
    if length is not None and not 0 < length <= LONGEST_LIST:
        raise InvalidInput(f"the type {kind!r} has lists of {length} numbers; they have 1 to {LONGEST_LIST}", type=kind)
    return ListType("float" if found[1] == "float" else "int", length)


@lru_cache(maxsize=4_096)
def decimal_type(kind: Type) -> DecimalType:
    """What a decimal type says; raises `InvalidInput` for another type."""
    found = _DECIMAL.fullmatch(kind)
    if found is None:
        raise InvalidInput(f"{kind!r} is no decimal; write decimal(12,2): all digits, then those behind the point", type=kind)
    precision, scale = int(found[1]), int(found[2])
    if not 0 < precision <= MOST_DIGITS or scale > precision:
        raise InvalidInput(
            f"{kind!r} has {precision} digits, {scale} behind the point; there are 1 to {MOST_DIGITS}, and no more behind it", type=kind
        )
    return DecimalType(precision, scale)


@lru_cache(maxsize=4_096)
def domain(kind: Type) -> tuple[str, ...]:
    """The texts of a category, in their order; raises `InvalidInput` for another type, and for a domain that is none."""
    try:
        texts = json.loads(kind.removeprefix(_CATEGORY)) if kind.startswith(_CATEGORY + "[") else None
    except json.JSONDecodeError:
        texts = None
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise InvalidInput(f'{kind[:100]!r} is no category; write rota.category("cash", "card"), or category["cash","card"]', type=kind[:100])
    if len(set(texts)) != len(texts):
        twice = sorted({text for text in texts if texts.count(text) > 1})
        raise InvalidInput(f"a category names {twice} twice; name each value once", values=twice)
    if len(texts) > LARGEST_DOMAIN:
        raise InvalidInput(f"a category has {len(texts)} values; at most {LARGEST_DOMAIN} are declared, else it is a string", values=len(texts))
    return tuple(texts)


def category(*values: str) -> Type:
    """The type of a field that holds one of these texts; any other is refused, by name, wherever it comes in.

    >>> rota.category("cash", "card")                                    # doctest: +SKIP
    'category["cash","card"]'
    """
    kind = _CATEGORY + json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    domain(kind)
    return kind


def sql_type(kind: Type) -> Type:
    """The type that expressions see, and that entities are found by: categories and references are texts."""
    return "string" if family(kind) in ("category", "blob") else kind


def width(kind: Type) -> int:
    """How many numbers of a model's matrix a value is; raises `InvalidInput` for what has no number of them, with the way out."""
    match family(kind):
        case "list":
            if (length := list_type(kind).length) is not None:
                return length
            way = "declare its length (float[24]), or write features of it such as array_length(x), array_avg(x), x[1]"
            raise InvalidInput(f"lists of any length ({kind}) are no columns of a matrix; {way}", type=kind)
        case "bytes" | "blob" as given:
            raise InvalidInput(
                f"{given} are no numbers of a matrix; make numbers of them before they reach Rota (an embedding: float[384])", type=kind
            )
        case _:
            return 1


def shown_type(kind: Type) -> str:
    """A type for people: a long domain is cut, with its size."""
    if len(kind) <= 80:
        return kind
    texts = domain(kind)
    return f"category of {len(texts)} values {list(texts[:3])}, ..."


def types_in_words() -> str:
    """The types, for messages."""
    return f'{", ".join(PLAIN)}, float[] and int[] (float[384]: so many), decimal(12,2), category["a","b"]'
