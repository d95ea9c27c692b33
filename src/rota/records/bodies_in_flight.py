"""The bytes of all request bodies that one process holds at a time, within a bound: many connections together must not fill its memory."""

from collections.abc import MutableMapping
from typing import Any

from rota.errors import Unavailable
from rota.records.limits import BODIES

_HELD = "rota.held_bytes"


class BodiesInFlight:
    """Bodies of one process, of which the largest has `largest_bytes`. For one thread, that of the event loop.

    What has arrived counts, not what is announced: who announces much and sends it slowly keeps nobody else from being answered.
    """

    def __init__(self, largest_bytes: int) -> None:
        self.most_bytes = BODIES * largest_bytes
        self.held_bytes = 0

    def hold(self, scope: MutableMapping[str, Any], size_bytes: int) -> None:
        """Count so many more bytes of a request as held, until `let_go`; raises `Unavailable` when all together would be too many."""
        if self.held_bytes + size_bytes > self.most_bytes:
            raise Unavailable(
                f"bodies of {self.held_bytes} bytes are being answered already, and {self.most_bytes} are held at once; send the request again "
                "in a moment, or raise max_request_mb",
                limit=self.most_bytes,
            )
        scope[_HELD] = scope.get(_HELD, 0) + size_bytes
        self.held_bytes += size_bytes

    def let_go(self, scope: MutableMapping[str, Any]) -> None:
        """The request was answered; what it held counts no more."""
        self.held_bytes -= scope.pop(_HELD, 0)
