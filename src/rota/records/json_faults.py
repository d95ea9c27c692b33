"""Where a JSON body holds a number that JSON has no word for: said by row and field, where a decoder names a byte."""

import json
import math
from collections.abc import Iterator
from typing import Any

LARGEST = 1_000_000
"""Bytes of a body that is read a second time for the place of its fault."""


def unspeakable_number(body: bytes) -> str:
    """A sentence about the first NaN or infinite number of a body that a decoder refused; "" when that was not what was wrong."""
    if len(body) > LARGEST:
        return ""
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    place, value = next(_found(read), ((), 0.0))
    if not place:
        return ""
    return f"{_words(read, place)} is {'NaN' if math.isnan(value) else 'infinite, or out of range'}; send a finite number or null"


def _found(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], float]]:
    if isinstance(value, float) and not math.isfinite(value):
        yield place, value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _found(each, (*place, name))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _found(each, (*place, index))


def _words(read: Any, place: tuple[str | int, ...]) -> str:
    match place:
        case (str(), int(row), str(name)):
            return f"row {row}: field {name[:200]!r}"
        case ("inputs", int(index), "data", int(row), *_):
            return f"row {row}: field {str(read['inputs'][index].get('name'))[:200]!r}"
        case ("entities", str(name), int(row)):
            return f"row {row}: field {name[:200]!r}"
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part[:200]}" for part in place).lstrip(".")
