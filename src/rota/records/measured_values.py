"""Values of types with measures: what lists of numbers, categories, decimals, bytes and blobs accept (docs/types.md has the table).

A list is a list, a tuple or an array of one dimension whose numbers are all there and finite. A decimal is a number that its digits hold
exactly: a Decimal, an integer, a text of digits, and a float whose shortest text has at most 15 of them, for such a text comes through a float
unchanged. Bytes are bytes, or their Base64 text (RFC 4648), as JSON has them.
"""

import base64
import binascii
import math
import re
from collections.abc import Callable
from decimal import Context, Decimal, Inexact, InvalidOperation
from difflib import get_close_matches
from fractions import Fraction
from typing import Any

from rota.errors import InvalidInput
from rota.records.value_types import LONGEST_LIST, MOST_DIGITS, Type, decimal_type, domain, list_type, shown_type

LARGEST_BYTES = 2**20
"""Of one value; what is larger is put into the blob store and kept by reference."""
_FLOAT_DIGITS = 15
"""A decimal of so many digits is the same after a float (IEEE 754 binary64, DBL_DIG)."""
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,60}(?:\.[0-9]{0,60})?|\.[0-9]{1,60})", re.ASCII)
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})", re.ASCII)
_SHOWN = 5
_EXACT = Context(prec=2 * MOST_DIGITS, traps=[Inexact, InvalidOperation])

Coercion = Callable[[Any], Any]


def list_coercion(kind: Type, scalar: Coercion, plain: Coercion) -> Coercion:
    """What a list type accepts; `scalar` coerces one of its numbers, `plain` tells what means "missing"."""
    of = list_type(kind)
    plain_type: type = float if of.element == "float" else int

    def convert(value: Any) -> list[Any] | None:
        if not isinstance(value, list):
            value = plain(value)
            value = None if value is None else _listed(value, kind)
        if value is None:
            return None
        if (len(value) > LONGEST_LIST) if of.length is None else (len(value) != of.length):
            wanted = f"{of.length} numbers" if of.length is not None else f"at most {LONGEST_LIST} numbers"
            raise InvalidInput(f"a list of {len(value)} numbers is no {kind}, which has {wanted}")
        if plain_type is float and set(map(type, value)) <= {float} and math.isfinite(sum(value)):
            return list(value)
        return [_number(each, place, kind, scalar) for place, each in enumerate(value, start=1)]

    return convert


def category_coercion(kind: Type, text: Coercion) -> Coercion:
    """What a category accepts: a text of its domain; `text` coerces a text."""
    values = frozenset(domain(kind))

    def convert(value: Any) -> str | None:
        if type(value) is str and value in values:
            return value
        found: str | None = text(value)
        if found is None or found in values:
            return found
        raise InvalidInput(outside_domain(found, kind))

    return convert


def outside_domain(value: str, kind: Type) -> str:
    """What to say of a text that a category does not have."""
    texts = domain(kind)
    near = get_close_matches(value, texts[:1_000], n=1)
    shown = ", ".join(map(repr, texts[:_SHOWN])) + (f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else "")
    return f"{value[:100]!r} is outside the domain of its category, which has {shown}" + (f"; did you mean {near[0]!r}?" if near else "")


def decimal_coercion(kind: Type, plain: Coercion) -> Coercion:
    """What a decimal accepts; `plain` unwraps scalars of other libraries."""
    of = decimal_type(kind)
    unit = Decimal(1).scaleb(-of.scale)
    bound = Decimal(10) ** (of.precision - of.scale)

    def convert(value: Any) -> Decimal | None:
        value = plain(value)
        if value is None:
            return None
        number = _decimal(value, kind)
        if abs(number) >= bound:
            raise InvalidInput(f"{_short(value)} is no {kind}: it has more than {of.precision - of.scale} digits before the point")
        try:
            exact = _EXACT.quantize(number, unit)
        except (Inexact, InvalidOperation):
            raise InvalidInput(f"{_short(value)} is no {kind}: it has more than {of.scale} digits behind the point; round it first") from None
        return exact or abs(exact)

    return convert


def bytes_coercion(plain: Coercion) -> Coercion:
    """What bytes accept, as they are or in Base64; `plain` unwraps scalars of other libraries."""

    def convert(value: Any) -> bytes | None:
        value = plain(value)
        if value is None:
            return None
        if not isinstance(value, bytes | bytearray | memoryview | str):
            raise InvalidInput(f"{_short(value)} is no bytes; give bytes, or their Base64 text")
        found = _decoded(value) if isinstance(value, str) else bytes(value)
        if len(found) > LARGEST_BYTES:
            raise InvalidInput(f"{len(found)} bytes are more than the {LARGEST_BYTES} of one value; put them into the blob store and declare a blob")
        return found

    return convert


def blob_coercion(text: Coercion) -> Coercion:
    """A reference to bytes of the blob store: their SHA-256; `text` coerces a text."""

    def convert(value: Any) -> str | None:
        found: str | None = text(value)
        if found is None:
            return None
        digest = _DIGEST.fullmatch(found)
        if digest is None:
            raise InvalidInput(f"{_short(found)} is no blob; give the SHA-256 of the bytes as 64 lower-case hexadecimal digits")
        return digest[1]

    return convert


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput(f"{_short(text)} is no bytes; a text is read as Base64, with its padding") from None


def _listed(value: Any, kind: Type) -> list[Any]:
    if isinstance(value, tuple):
        return list(value)
    shape = getattr(value, "shape", None)
    if hasattr(value, "tolist") and (shape is None or len(shape) == 1):  # an array, a tensor, array.array
        return list(value.tolist())
    if hasattr(value, "to_list"):  # a Series
        return list(value.to_list())
    what = f"an array of {len(shape)} dimensions" if shape else _short(value)
    raise InvalidInput(f"{what} is no {shown_type(kind)}; give a list of numbers")


def _number(value: Any, place: int, kind: Type, scalar: Coercion) -> Any:
    try:
        number = None if value is None else scalar(value)
    except InvalidInput as error:
        raise InvalidInput(f"number {place} of a {kind}: {error}") from None
    if number is None:
        raise InvalidInput(f"number {place} of a {kind} is missing; every number of a list is there, or the list is null")
    if math.isinf(number):
        raise InvalidInput(f"number {place} of a {kind} is infinite; numbers of a list are finite")
    return number


def _decimal(value: Any, kind: Type) -> Decimal:
    if isinstance(value, Decimal) and value.is_finite():
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() < 256:
        return Decimal(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return Decimal(value.strip())
    if isinstance(value, float) and math.isfinite(value):
        number = Decimal(repr(value))
        if len(number.normalize().as_tuple().digits) <= _FLOAT_DIGITS:
            return number
        raise InvalidInput(f"{value!r} is no {kind}: a float of more than {_FLOAT_DIGITS} digits may be another number; send it as a text")
    if isinstance(value, Fraction):
        try:
            return _EXACT.divide(Decimal(value.numerator), Decimal(value.denominator))
        except Inexact:
            pass
    raise InvalidInput(f"{_short(value)} is no {kind}")


def _short(value: Any) -> str:
    try:
        text = repr(value[:100] if isinstance(value, str | bytes) else value)
    except ValueError:
        text = f"a {type(value).__name__}"
    return text if len(text) <= 100 else text[:100] + "..."
