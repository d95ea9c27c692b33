"""A rollout whose time is over while the data have not decided: it is held, with an alert that says what is missing and the ways out."""

import msgspec

from rota.manage.models import delivery_stages
from rota.manage.signals import alerts
from rota.manage.signals.alerts import Breach
from rota.ports.metadata import Batch, Metadata
from rota.records.release import Canary, Rollout
from rota.records.signal import AlertKind
from rota.records.time import DAY_US, HOUR_US, SECOND_US, Micros

KIND: AlertKind = "rollout"


def hold(batch: Batch, metadata: Metadata, rollout: Rollout, strategy: Canary, *, now_us: Micros, is_blocked: bool = False) -> Rollout:
    """Hold a rollout from now on; the record as stored. The alert is new, or the open one of this rollout lasts."""
    held = msgspec.structs.replace(rollout, held_us=now_us)
    batch.put(held, replacing=rollout)
    message = told(held, strategy, is_blocked=is_blocked)
    batch.audit("judge", "rollout.hold", rollout.id, now_us, reason=message)
    evidence = {"rollout": rollout.id, "candidate": rollout.candidate, "missing": rollout.missing}
    alerts.raise_or_touch(batch, metadata, rollout.endpoint, Breach(KIND, rollout.id, "warning", message, evidence), now_us=now_us, run="")
    return held


def go_on(batch: Batch, metadata: Metadata, rollout: Rollout, *, actor: str, reason: str, now_us: Micros) -> Rollout:
    """The record of a rollout that is held no longer, whatever ended it, not stored yet; its alert is resolved."""
    for alert in alerts.open_alerts(metadata, rollout.endpoint):
        if (alert.kind, alert.subject) == (KIND, rollout.id):
            alerts.resolve(batch, alert, now_us=now_us, actor=actor, reason=reason)
    return msgspec.structs.replace(rollout, held_us=None)


def told(rollout: Rollout, strategy: Canary, *, is_blocked: bool = False) -> str:
    """What is missing for a verdict, and the three ways out. `is_blocked`: it is not its time that is over, more of it would not help."""
    longest = duration(delivery_stages.longest_us(strategy))
    since = "now" if is_blocked else f"after {longest}"
    return (
        f"version {rollout.candidate} of {rollout.model!r} is not decided on {since}: {rollout.missing}. "
        f"The split stays and is judged on. `rota rollout promote {rollout.id} --reason ...` delivers it, "
        f"`rota rollout abort {rollout.id} --reason ...` takes it back, `rota rollout resume {rollout.id}` waits for another {longest}"
    )


def duration(length_us: Micros) -> str:
    """A duration as people write it: in the largest unit that is a whole number, or rounded to days, hours or minutes."""
    for unit, size_us in (("d", DAY_US), ("h", HOUR_US), ("m", 60 * SECOND_US)):
        if length_us >= size_us and (length_us % size_us == 0 or length_us >= 3 * size_us):
            return f"{round(length_us / size_us)}{unit}"
    return f"{round(length_us / SECOND_US)}s"
