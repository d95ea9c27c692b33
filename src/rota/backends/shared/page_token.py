"""The token that asks for a list's next page: the sort values of the last item given, and which list they belong to.

The next page begins behind those values, wherever they stand by then, so items that come or go meanwhile move no other
item onto two pages or onto none.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence

from rota.backends.shared.stored_form import MAX_INTEGER, UNKEEPABLE
from rota.errors import InvalidInput
from rota.ports.metadata import MAX_PAGE

SortValue = str | int | None


def token_of(listing: object, values: Sequence[SortValue]) -> str:
    """The token for what follows the item with these sort values; `listing` is whatever decides which items there are, and their order."""
    return base64.urlsafe_b64encode(json.dumps([_fingerprint(listing), *values]).encode()).decode()


def values_after(listing: object, token: str, types: Sequence[tuple[type, ...]]) -> list[SortValue]:
    """The sort values in a token, each of one of its types; raises `InvalidInput` for a token that another list gave, or nobody."""
    try:
        fingerprint, *values = json.loads(base64.b64decode(token.encode(), altchars=b"-_", validate=True))
    except (ValueError, TypeError, binascii.Error, RecursionError):
        fingerprint, values = None, []
    if isinstance(fingerprint, str) and fingerprint != _fingerprint(listing):
        raise InvalidInput("the page token belongs to another list; keep conditions and order as they were, or begin without it", after=token)
    if fingerprint is None or len(values) != len(types) or not all(map(_fits, values, types)):
        raise InvalidInput(f"page token {token[:80]!r} is none that this list gave; begin without one", after=token)
    return list(values)


def page_limit(limit: int) -> int:
    """How many items a page holds at most."""
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidInput(f"a page of {limit} items cannot be given; ask for 1 to {MAX_PAGE}, and for the next page with `after`", limit=limit)
    return limit


def _fits(value: object, types: tuple[type, ...]) -> bool:
    if type(value) not in types:
        return False
    return UNKEEPABLE.search(value) is None if isinstance(value, str) else not isinstance(value, int) or abs(value) <= MAX_INTEGER


def _fingerprint(listing: object) -> str:
    return hashlib.sha256(repr(listing).encode(errors="surrogatepass")).hexdigest()[:16]
