"""Alerts: one per endpoint, kind and subject for as long as the breach lasts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from rota.errors import NotFound, Refused
from rota.ports.metadata import Batch, Metadata
from rota.records.signal import Alert, AlertKind, Event
from rota.records.time import Micros, iso


@dataclass(frozen=True, slots=True)
class Breach:
    """What a monitor or a gate saw; whether it becomes a new alert depends on what is open already."""

    kind: AlertKind
    subject: str
    severity: Literal["warning", "critical"]
    message: str
    evidence: Mapping[str, Any]


def open_alerts(metadata: Metadata, endpoint: str) -> list[Alert]:
    """Alerts of an endpoint that are not resolved, newest first."""
    found = [alert for status in ("open", "acknowledged") for alert in metadata.find(Alert, {"endpoint": endpoint, "status": status})]
    return sorted(found, key=lambda alert: alert.raised_us, reverse=True)


def every_open_alert(metadata: Metadata) -> list[Alert]:
    """The alerts of all endpoints, and of the platform, that are not resolved, newest first."""
    found = [alert for status in ("open", "acknowledged") for alert in metadata.find(Alert, {"status": status})]
    return sorted(found, key=lambda alert: alert.raised_us, reverse=True)


def raise_or_touch(batch: Batch, metadata: Metadata, endpoint: str, breach: Breach, *, now_us: Micros, run: str) -> Alert | None:
    """Add the breach to the batch: a new alert with its event, or that an open one lasts (then None).

    An alert that lasts says so each time, so that a trigger which had to wait (a cool-down, a rollout, a block) gets another chance.
    """
    for alert in open_alerts(metadata, endpoint):
        if (alert.kind, alert.subject) == (breach.kind, breach.subject):
            batch.put(msgspec.structs.replace(alert, last_seen_us=now_us), replacing=alert)
            batch.event(Event("alert.lasting", alert.id, now_us, {"endpoint": endpoint, "kind": alert.kind, "raised_us": alert.raised_us}))
            return None
    alert = Alert(
        id=f"{endpoint}.{breach.kind}.{breach.subject}.{now_us}",
        endpoint=endpoint,
        kind=breach.kind,
        subject=breach.subject,
        severity=breach.severity,
        message=breach.message,
        evidence=breach.evidence,
        raised_us=now_us,
        last_seen_us=now_us,
        monitor_run=run,
    )
    batch.create(alert)
    body = {"endpoint": endpoint, "kind": breach.kind, "subject": breach.subject, "severity": breach.severity, "message": breach.message}
    batch.event(Event("alert.raised", alert.id, now_us, body))
    if run:
        batch.link(f"alert:{alert.id}", [f"run:{run}"], now_us)
    return alert


def change(batch: Batch, alert: Alert, breach: Breach, *, now_us: Micros) -> None:
    """What an open alert is about became better or worse: it has the breach's severity from now on, and a worse one is told like a new one."""
    changed = msgspec.structs.replace(alert, severity=breach.severity, message=breach.message, evidence=breach.evidence, last_seen_us=now_us)
    batch.put(changed, replacing=alert)
    if breach.severity == "critical":
        body = {"endpoint": alert.endpoint, "kind": alert.kind, "subject": alert.subject, "severity": breach.severity, "message": breach.message}
        batch.event(Event("alert.raised", alert.id, now_us, body))


def settle(
    batch: Batch,
    metadata: Metadata,
    endpoint: str,
    breaches: Sequence[Breach],
    *,
    found_well: Callable[[Alert], bool],
    now_us: Micros,
    run: str,
    reason: str,
) -> list[str]:
    """Raise what is new, touch what goes on, resolve what is over: an endpoint's alerts after some of its breaches were looked for.

    Resolved is what `breaches` lacks and `found_well` says was looked for and found well, and an alert of a gate once nothing else
    critical is open; never what was seen at this very moment, by another day of the same run or another monitor. What could not be
    judged stays open. `reason` is the audit entry's. Returns the ids of new alerts.
    """
    seen = {(breach.kind, breach.subject) for breach in breaches}
    raised = [raise_or_touch(batch, metadata, endpoint, breach, now_us=now_us, run=run) for breach in breaches]
    alerts = open_alerts(metadata, endpoint)
    critical = any(alert.severity == "critical" and alert.kind != "gate" for alert in alerts)
    for alert in alerts:
        over = not critical if alert.kind == "gate" else (alert.kind, alert.subject) not in seen
        if over and found_well(alert) and alert.last_seen_us < now_us:
            resolve(batch, alert, now_us=now_us, actor=run, reason=reason)
    return [alert.id for alert in raised if alert is not None]


def resolve(batch: Batch, alert: Alert, *, now_us: Micros, actor: str, reason: str) -> None:
    """Close an alert; its end is an audited act."""
    batch.put(msgspec.structs.replace(alert, status="resolved", resolved_us=now_us), replacing=alert)
    batch.audit(actor, "alert.resolve", alert.id, now_us, reason=reason)


def acknowledge(metadata: Metadata, alert_id: str, *, actor: str, now_us: Micros) -> Alert:
    """Mark an open alert as seen by a person."""
    alert = metadata.get(Alert, alert_id)
    if alert is None:
        raise NotFound(f"there is no alert {alert_id!r}; `rota monitor alerts` lists them", alert=alert_id)
    if alert.status != "open":
        when = f" since {iso(alert.resolved_us)}" if alert.resolved_us is not None else ""
        raise Refused(f"alert {alert_id!r} is {alert.status}{when}; only an open one is acknowledged", alert=alert_id)
    seen = msgspec.structs.replace(alert, status="acknowledged")
    batch = Batch()
    batch.put(seen, replacing=alert)
    batch.audit(actor, "alert.acknowledge", alert_id, now_us)
    metadata.commit(batch)
    return seen
