"""Answering a search over values held in memory, in the meaning that `rota.records.filters` gives to conditions, order and pages.

The engines that search by themselves agree with this text; it is their reference.
"""

import base64
import binascii
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import eq, ge, gt, le, lt, ne
from typing import Any, TypeVar

from rota.errors import InvalidInput
from rota.records.filters import Comparison, Entity, Order, Page, Query

T = TypeVar("T")
Fields = Mapping[Entity, Mapping[str, Any]]
"""What an item shows to a search: values by entity and key. A tuple stands for several values, of which any may fit."""

_COMPARED: Mapping[str, Callable[[Any, Any], bool]] = {"=": eq, "!=": ne, ">": gt, ">=": ge, "<": lt, "<=": le}
_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


def matches(comparison: Comparison, fields: Fields) -> bool:
    """Whether one condition holds; a value that is not there fails every condition but IS NULL."""
    value = fields.get(comparison.entity, {}).get(comparison.key)
    if comparison.operator in ("IS NULL", "IS NOT NULL"):
        return (value is None) == (comparison.operator == "IS NULL")
    if isinstance(value, tuple):
        return any(_holds(each, comparison) for each in value)
    return value is not None and _holds(value, comparison)


def found(items: Iterable[T], query: Query, fields: Callable[[T], Fields], *, scope: str = "") -> Page[T]:
    """The page of a query over items that come in their natural order. `query.view` is the caller's to apply.

    `scope` is whatever else decides the result, so that a page token is refused where it does not belong.
    """
    kept = [item for item in items if all(matches(comparison, fields(item)) for comparison in query.where)]
    return paged(ordered(kept, query.order, fields), query, scope=scope)


def ordered(items: Iterable[T], order: Sequence[Order], fields: Callable[[T], Fields]) -> list[T]:
    """The items by the wanted order, equal ones as they came; what has no value comes last in either direction, NaN before it."""
    arranged = list(items)
    for wanted in reversed(order):
        valued: list[tuple[Any, T]] = [(fields(item).get(wanted.entity, {}).get(wanted.key), item) for item in arranged]
        present = [pair for pair in valued if _rank(pair[0]) == 0]
        present.sort(key=lambda pair: pair[0], reverse=wanted.descending)
        arranged = [item for _, item in present]
        arranged += [item for rank in (1, 2) for value, item in valued if _rank(value) == rank]
    return arranged


def paged(items: Sequence[T], query: Query, *, scope: str = "") -> Page[T]:
    """The part of all found items, in order, that a query's `page` and `limit` ask for."""
    start = page_start(query, scope=scope)
    end = start + query.limit
    return Page(list(items[start:end]), page_token(query, end, scope=scope) if len(items) > end else "")


def page_start(query: Query, *, scope: str = "") -> int:
    """How many items lie before the asked page; raises `InvalidInput` for a token that another query gave, or nobody."""
    if not 0 < query.limit <= 2**31:
        raise InvalidInput(f"a page of {query.limit} items cannot be given; ask for 1 or more", limit=query.limit)
    if not query.page:
        return 0
    try:
        start, asked = json.loads(base64.b64decode(query.page.encode(), altchars=b"-_", validate=True))
        valid = type(start) is int and 0 < start < 2**53
    except (ValueError, TypeError, binascii.Error, RecursionError):
        valid, asked = False, ""
    if not valid:
        raise InvalidInput(f"page token {query.page[:80]!r} is none that a search gave; begin without one", page=query.page)
    if asked != _fingerprint(query, scope):
        raise InvalidInput("the page token belongs to another search; keep conditions and order as they were, or begin without it", page=query.page)
    return int(start)


def page_token(query: Query, start: int, *, scope: str = "") -> str:
    """The opaque text that asks for the items of a query from `start` on."""
    return base64.urlsafe_b64encode(json.dumps([start, _fingerprint(query, scope)]).encode()).decode()


def lowered(text: str) -> str:
    """A text with A-Z as a-z, and no other letter changed: what ILIKE compares, the same in every engine."""
    return text.translate(_LOWER)


def _holds(value: Any, comparison: Comparison) -> bool:
    operator, wanted = comparison.operator, comparison.value
    if operator in ("IN", "NOT IN"):
        return (value in tuple(wanted)) == (operator == "IN")  # type: ignore[arg-type]
    if operator == "LIKE":
        return _like(str(value), str(wanted))
    if operator == "ILIKE":
        return _like(lowered(str(value)), lowered(str(wanted)))
    if isinstance(value, str) != isinstance(wanted, str):
        return operator == "!="
    return _COMPARED[operator](value, wanted)


def _like(text: str, pattern: str) -> bool:
    """% stands for any letters, _ for one. Each part takes the leftmost place it fits, which never needs a second look."""
    first, *rest = [_part(part) for part in pattern.split("%")]
    if not rest:
        return first.fullmatch(text) is not None
    head = first.match(text)
    if head is None:
        return False
    at = head.end()
    *middle, last = rest
    for part in middle:
        here = part.search(text, at)
        if here is None:
            return False
        at = here.end()
    # Every letter of a part stands for exactly one of the text, so the last part has one place: the end.
    length = len(pattern) - pattern.rfind("%") - 1
    return len(text) - at >= length and last.fullmatch(text, len(text) - length) is not None


@lru_cache(512)
def _part(part: str) -> re.Pattern[str]:
    return re.compile("".join("." if letter == "_" else re.escape(letter) for letter in part), re.DOTALL)


def _rank(value: Any) -> int:
    if value is None:
        return 2
    return 1 if isinstance(value, float) and math.isnan(value) else 0


def _fingerprint(query: Query, scope: str) -> str:
    text = repr((tuple(query.where), tuple(query.order), query.view, scope))
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]
