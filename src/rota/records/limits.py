"""Limits of what comes from outside that no setting changes; docs/settings.md lists them beside those that are settings.

Each is far above what anybody sends on purpose, and keeps one request from costing more than its size.
"""

from dataclasses import dataclass

HEADERS = 200
PIPELINED = 100
FEWEST_BYTES_A_SECOND = 1_000
READ_ON_BYTES = 128_000_000
READ_ON_S = 30.0


@dataclass(frozen=True, slots=True)
class FixedLimit:
    """A row of the table: what is limited, how far, and what happens beyond."""

    what: str
    most: str
    beyond: str


TABLE = (
    FixedLimit("Header lines of a request", f"{HEADERS}", "431"),
    FixedLimit("Requests waiting on one connection for the answer to an earlier one", f"{PIPELINED}", "429"),
    FixedLimit("Slowest sender of a body and slowest reader of an answer", f"{FEWEST_BYTES_A_SECOND:,} bytes a second", "408; closed"),
    FixedLimit(
        "What is read on after a refusal, so that its sender can read the answer", f"{READ_ON_BYTES // 1_000_000} MB, {READ_ON_S:g} seconds", "closed"
    ),
)
