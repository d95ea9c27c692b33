"""Alerts about the platform itself: one for each of its conditions that is not well, for as long as it lasts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from rota.manage.signals import alerts
from rota.manage.signals.alerts import Breach
from rota.ports.metadata import Batch, Metadata
from rota.records.condition import Condition
from rota.records.signal import Alert
from rota.records.time import Micros

PLATFORM = ""
"""The endpoint of an alert that is about the platform, not about one endpoint."""
EVENT = "event"
"""The part of what happened once: nobody looks again, so its alert ends when a person acknowledges it, or with the event itself."""


@dataclass(frozen=True, slots=True)
class ConditionSource:
    """Who tells how a part of the platform is: everything of its `parts`, so that what it does not name is well or gone; None: not looked yet."""

    tell: Callable[[], Sequence[Condition] | None]
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CollectedConditions:
    """What sources told, and the parts of which everything was looked at: none of a source that could not tell."""

    conditions: list[Condition]
    whole: frozenset[str]


def settle(
    metadata: Metadata,
    conditions: Sequence[Condition],
    *,
    actor: str,
    now_us: Micros,
    is_over: Callable[[str], bool] = lambda _: False,
) -> list[str]:
    """Raise an alert for each condition that is not well and has none, resolve those of conditions that are well again.

    An alert that goes on is left as it is: a platform that stays ill writes nothing; only one that became better or worse is changed. A
    thing that `conditions` does not name was not looked at, and its alert stays open, unless `is_over` says of its name that everything of
    its part was looked at: then it is well, or no longer there. A condition that is well may say why in its message. `actor` is who
    looked, for the audit log. Returns the ids of new alerts; raises `Conflict` when another process settled the same alert at the same
    moment (look again later).
    """
    standing = {alert.subject: alert for alert in alerts.open_alerts(metadata, PLATFORM)}
    unnamed = [Condition(subject, "well") for subject in standing if is_over(subject)]
    batch, raised = Batch(), list[str]()
    for condition in {each.name: each for each in [*unnamed, *conditions]}.values():
        alert = standing.get(condition.name)
        if condition.status == "well":
            if alert is not None:
                alerts.resolve(batch, alert, now_us=now_us, actor=actor, reason=condition.message or "the condition is well again")
        elif alert is None:
            new = alerts.raise_or_touch(batch, metadata, PLATFORM, _breach(condition), now_us=now_us, run="")
            raised += [new.id] if new is not None else []
        elif alert.severity != (breach := _breach(condition)).severity:
            alerts.change(batch, alert, breach, now_us=now_us)
    if batch.puts:
        metadata.commit(batch)
    return raised


def tell_once(batch: Batch, metadata: Metadata, condition: Condition, *, now_us: Micros) -> None:
    """Add the alert of something that happened once to the batch in which it happens."""
    alerts.raise_or_touch(batch, metadata, PLATFORM, _breach(condition), now_us=now_us, run="")


def acknowledge(metadata: Metadata, alert_id: str, *, actor: str, now_us: Micros) -> Alert:
    """Mark an open alert as seen by a person; of what happened once that is the end, acknowledged before or not."""
    alert = metadata.get(Alert, alert_id)
    if alert is None or alert.status == "resolved" or not _happened_once(alert):
        return alerts.acknowledge(metadata, alert_id, actor=actor, now_us=now_us)
    batch = Batch()
    alerts.resolve(batch, alert, now_us=now_us, actor=actor, reason="it was acknowledged")
    metadata.commit(batch)
    return msgspec.structs.replace(alert, status="resolved", resolved_us=now_us)


def forget_events(metadata: Metadata, until: int, *, actor: str, now_us: Micros) -> None:
    """Resolve the alerts of events up to and with a position: they are old enough to be removed."""
    batch = Batch()
    for alert in alerts.open_alerts(metadata, PLATFORM):
        if _happened_once(alert) and int(alert.subject.partition(":")[2]) <= until:
            alerts.resolve(batch, alert, now_us=now_us, actor=actor, reason="the event was removed with others of its time")
    if batch.puts:
        metadata.commit(batch)


def _happened_once(alert: Alert) -> bool:
    part, _, position = alert.subject.partition(":")
    return alert.endpoint == PLATFORM and part == EVENT and position.isdecimal()


def collected(sources: Mapping[str, ConditionSource]) -> CollectedConditions:
    """What every source of conditions says; one that cannot say is a condition itself, and hides no other."""
    found, whole = list[Condition](), set[str]()
    for name, source in sources.items():
        try:
            told = source.tell()
        except Exception as error:  # noqa: BLE001  # told as a condition
            message = f"it cannot be told how {name} is: {type(error).__name__}: {error}; its alerts stay as they are until it can"
            found.append(Condition(f"conditions:{name}", "degraded", message))
        else:
            found += [*(told or ()), Condition(f"conditions:{name}", "well")]
            whole.update(source.parts if told is not None else ())
    return CollectedConditions(found, frozenset(whole))


def standing(metadata: Metadata) -> list[Condition]:
    """What is alerted of now, as the conditions that it came from, newest first."""
    return [
        Condition(alert.subject, "failed" if alert.severity == "critical" else "degraded", alert.message, alert.evidence)
        for alert in alerts.open_alerts(metadata, PLATFORM)
    ]


def _breach(condition: Condition) -> Breach:
    return Breach(
        kind="platform",
        subject=condition.name,
        severity="critical" if condition.status == "failed" else "warning",
        message=condition.message,
        evidence=condition.evidence,
    )
