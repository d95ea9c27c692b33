"""Replies of the prediction port, and bodies read as JSON: errors are {"error": sentence, "facts": {...}} with the status of `rota.http_status`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from rota.errors import InvalidInput, NotFound, Unavailable
from rota.http_status import status_of
from rota.records.json_depth import check_json
from rota.records.json_faults import unspeakable_number
from rota.records.limits import shortened
from rota.serve.port_access import Refusal

RETRY_AFTER_S = 1
RETRY = ((b"retry-after", b"%d" % RETRY_AFTER_S),)
REFUSED = status_of(InvalidInput(""))
AWAY = status_of(Unavailable(""))
JSON = b"application/json"
T = TypeVar("T")
encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole HTTP response."""

    status: int
    body: bytes
    kind: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Stop(Exception):
    """Ends the handling of a request with a reply."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply


def failure(status: int, message: str, **facts: object) -> Reply:
    """An error with its facts, neither at more length than an error may have."""
    clipped = {name: shortened(value) if isinstance(value, str) else value for name, value in facts.items()}
    return Reply(status, encode({"error": shortened(message), "facts": clipped}))


def not_ready(message: str, **facts: object) -> Reply:
    """503 with Retry-After."""
    return Reply(AWAY, encode({"error": message, "facts": facts}), headers=RETRY)


def because(problems: Sequence[str]) -> str:
    """Problems as the end of a sentence."""
    return f": {'; '.join(problems)}" if problems else ""


def stop_if(refusal: Refusal | None) -> None:
    """Answer a request that may not do what it asks."""
    if refusal is not None:
        reply = failure(refusal.status, refusal.message)
        raise Stop(Reply(reply.status, reply.body, headers=refusal.headers))


def nothing_there() -> NotFound:
    """The error of a path that is not served."""
    return NotFound("there is nothing at this path; predictions are at POST /v1/endpoints/{name}/predict, GET /openapi.json has all paths")


def require(method: str, *allowed: str, known: bool = True) -> None:
    """Raise `NotFound` for a path that is not served, and answer 405 to a method that a path does not take."""
    if not known:
        raise nothing_there()
    if method not in allowed:
        reply = failure(405, f"this path takes {' and '.join(allowed)}, not {method}")
        raise Stop(Reply(405, reply.body, headers=((b"allow", ", ".join(allowed).encode()),)))


def decode(decoder: msgspec.json.Decoder[T], body: bytes, most_rows: int) -> T:
    """A body as JSON of a form; 400 when it is no JSON that is read here, `InvalidInput` when it has another form."""
    try:
        check_json(body, most_rows=most_rows)
    except InvalidInput as error:
        raise Stop(failure(400, f"the body is not JSON that is read here: {error}")) from None
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the body does not have the expected form: {unspeakable_number(body) or error}") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Stop(failure(400, f"the body is not JSON: {unspeakable_number(body) or error}")) from None
