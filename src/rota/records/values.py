"""Values that come in, each in its declared type: what each accepts (docs/types.md has the table).

float (nan is null), int (64 bits), bool, string (valid Unicode) and timestamp (kept as integer microseconds of the years 1 to 9999); what
lists, categories, decimals, bytes and blobs accept stands in `measured_values`.
Scalars of numpy and pandas count as the Python values that they hold, known by what they can do, for neither is imported; what
means "missing" there is null for every type.
"""

import base64
import math
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from operator import index
from typing import Any
from uuid import UUID

from rota.errors import InvalidInput
from rota.records import measured_values
from rota.records.schema import Type
from rota.records.time import FIRST_US, LAST_US, Micros, from_datetime, parse_time
from rota.records.value_types import family

EXACT = 2**53
"""From here on a float stands for several whole numbers, so it is none of them."""
_LONGEST = 40
"""Digits of a Decimal that may be an integer of 64 bits; more are not worth taking apart."""
_MOST_BITS = 1_100
"""A float reaches 2^1024; a longer integer is not written out."""
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1


def coerce(kind: Type, value: Any) -> Any:
    """One value in its declared type; raises `InvalidInput` with the reason only."""
    return None if value is None else COERCIONS[kind](value)


def measured(value: Any) -> float | None:
    """A number that was counted or measured (a label, an outcome, an answer): as a float, and a bool is 0 or 1 besides."""
    value = plain(value)
    made: float | None = coerce("float", float(value) if isinstance(value, bool) else value)
    return made


def plain(value: Any) -> Any:
    """The Python value of a scalar of numpy, pandas or another library, None for what means "missing"; anything else as it is."""
    kind = type(value)
    if kind is str or kind is int or kind is bool:
        return value
    if getattr(value, "shape", None) == () and hasattr(value, "dtype"):
        return _unwrapped(value)
    if _is_missing(value):
        return None
    if isinstance(value, str):
        return str.__str__(value)
    return float(value) if isinstance(value, float) else index(value) if hasattr(kind, "__index__") and not hasattr(value, "dtype") else value


def whole(value: Any) -> int | None:
    """The integer that a plain value is; None when it is none, or may be any of several."""
    if isinstance(value, int):
        return None if isinstance(value, bool) else value
    if isinstance(value, float):
        return int(value) if abs(value) < EXACT and value.is_integer() else None
    if isinstance(value, Decimal):
        return _whole_decimal(value)
    return value.numerator if isinstance(value, Fraction) and value.denominator == 1 else None


def as_json(value: Any) -> Any:
    """A value of another library (or a moment, Decimal, Fraction, UUID, bytes) as JSON has it, for `json.dumps(default=...)`; else `TypeError`.

    A Decimal that no float holds is a text, bytes are Base64, as decimals and bytes come in.
    """
    known = plain(value)
    if known is None or isinstance(known, bool | int | float | str):
        return None if known is None or known != known else known  # noqa: PLR0124 - nan differs from itself
    if isinstance(known, date):
        return known.isoformat()
    if isinstance(known, Decimal | Fraction):
        integer = whole(known)
        number = coerce("float", known) if integer is None else integer
        return number if integer is not None or isinstance(known, Fraction) or Decimal(repr(number)) == known else str(known)
    if isinstance(known, bytes):
        return base64.b64encode(known).decode()
    if hasattr(known, "tolist") and len(getattr(known, "shape", ())) == 1:
        return known.tolist()
    if isinstance(known, UUID):
        return str(known)
    raise TypeError(f"{shown(value)} cannot be sent as JSON")


def is_encodable(value: str) -> bool:
    """Whether a text is valid Unicode: half a surrogate pair is not."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(value: Any) -> str:
    """A value as an error names it, at most about a hundred characters of it."""
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return f"an integer of {value.bit_length()} bits"
    try:
        text = repr(value)
    except ValueError:  # too long an integer within
        text = f"a {type(value).__name__}"
    return text if len(text) <= 100 else text[:100] + "..."


def advice(value: Any) -> str:
    """Why a value that looks right is refused, to be written behind the refusal; often nothing."""
    if isinstance(value, float) and value.is_integer() and abs(value) >= EXACT:
        return ": from 2^53 on a float stands for several integers; send it as an integer"
    return ""


def _float(value: Any) -> float | None:
    if type(value) is float:
        return None if math.isnan(value) else value
    value = plain(value)
    if value is None or isinstance(value, float):
        return value
    if isinstance(value, int | Decimal | Fraction) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isinf(number) or (isinstance(value, Decimal) and value.is_infinite()):
            return number
    raise InvalidInput(f"{shown(value)} is no number" + advice(value))


def _int(value: Any) -> int | None:
    if type(value) is int and _INT_MIN <= value <= _INT_MAX:
        return value
    value = plain(value)
    if value is None:
        return None
    integer = whole(value)
    if integer is None or not _INT_MIN <= integer <= _INT_MAX:
        raise InvalidInput(f"{shown(value)} is no integer of 64 bits" + advice(value))
    return integer


def _bool(value: Any) -> bool | None:
    if type(value) is bool:
        return value
    value = plain(value)
    if value is None:
        return None
    if not isinstance(value, bool) and whole(value) not in (0, 1):
        raise InvalidInput(f"{shown(value)} is neither true nor false")
    return bool(value)


def _string(value: Any) -> str | None:
    if type(value) is str and value.isascii():
        return value
    value = plain(value)
    if isinstance(value, UUID):
        return str(value)
    if value is None or (isinstance(value, str) and (value.isascii() or is_encodable(value))):
        return value
    raise InvalidInput(f"{shown(value)} is no text of valid Unicode")


def _timestamp(value: Any) -> Micros | None:
    if type(value) is int and FIRST_US <= value <= LAST_US:
        return value
    if isinstance(value, str):
        return parse_time(value)
    if type(value) is not datetime:
        value = plain(value)
    if value is None:
        return None
    if isinstance(value, date):
        at_us: Micros | None = from_datetime(value if isinstance(value, datetime) else datetime(value.year, value.month, value.day, tzinfo=UTC))
    else:
        at_us = whole(value)
    if at_us is None or not FIRST_US <= at_us <= LAST_US:
        raise InvalidInput(f"{shown(value)} is no time; give ISO 8601 text or microseconds since 1970-01-01 UTC" + advice(value))
    return at_us


def _whole_decimal(value: Decimal) -> int | None:
    if not value:
        return 0
    if not value.is_finite() or not 0 <= value.adjusted() < _LONGEST:
        return None
    numerator, denominator = value.as_integer_ratio()
    return numerator if denominator == 1 else None


def _unwrapped(value: Any) -> Any:
    """The Python value of a scalar with a dtype (numpy's, or a tensor of no dimensions)."""
    code = getattr(value.dtype, "kind", "")
    if code in "mM" and code and bool(value != value):  # noqa: PLR0124 - NaT differs from itself
        return None
    if code == "M":
        year = int(value.astype("datetime64[Y]").astype("int64")) + 1970
        return value.astype("datetime64[us]").item() if 1 <= year <= 9999 else value
    if code == "m":
        return value
    inner = value.item()
    if type(inner) is type(value):  # a longdouble holds itself
        return plain(float(inner)) if code == "f" else inner
    return plain(inner)


def _is_missing(value: Any) -> bool:
    kind = type(value)
    if isinstance(value, float):
        return math.isnan(value)
    if isinstance(value, Decimal):
        return value.is_nan()
    return kind.__name__ in ("NAType", "NaTType") and kind.__module__.startswith("pandas")


class _Coercions(dict[Type, Callable[[Any], Any]]):
    """A function for each type, made when it is first asked for; types come from definitions, so there are few."""

    def __missing__(self, kind: Type) -> Callable[[Any], Any]:
        self[kind] = made = _measured_coercion(kind)
        return made


def _measured_coercion(kind: Type) -> Callable[[Any], Any]:
    match family(kind):
        case "list":
            return measured_values.list_coercion(kind, _int if kind.startswith("int") else _float, plain)
        case "category":
            return measured_values.category_coercion(kind, _string)
        case "decimal":
            return measured_values.decimal_coercion(kind, plain)
        case "bytes":
            return measured_values.bytes_coercion(plain)
        case _:
            return measured_values.blob_coercion(_string)


COERCIONS = _Coercions({"float": _float, "int": _int, "bool": _bool, "string": _string, "timestamp": _timestamp})
"""`coerce` of each type, for values that are not None."""
