"""Conditions: what a part of the platform knows of its own state, and what a process reports of itself.

The form is that of Kubernetes' conditions: a name, a status, a sentence that a person can act on, and the evidence.
"""

from collections.abc import Mapping
from typing import Any, Literal

from rota.records.record import Record
from rota.records.time import Micros

ConditionStatus = Literal["well", "degraded", "failed"]


class Condition(Record, frozen=True):
    """The state of one part of the platform, as that part saw it last.

    `name` is `<part>` or `<part>:<thing>`, for example "thread:loop" or "journal:predictions". `degraded`: the part goes on and something was
    set apart or is late; `failed`: what the part does is not done. `message` says what was seen and the way out; empty when well.
    """

    name: str
    status: ConditionStatus
    message: str = ""
    evidence: Mapping[str, Any] = {}


class ProcessReport(Record, frozen=True):
    """What one process of the platform said of itself at `at_us`: its conditions, and figures in the units that their names end in."""

    process: str
    kind: Literal["control plane", "worker", "prediction process"]
    host: str
    pid: int
    started_us: Micros
    at_us: Micros
    conditions: tuple[Condition, ...] = ()
    figures: Mapping[str, float] = {}
    home: str = ""
