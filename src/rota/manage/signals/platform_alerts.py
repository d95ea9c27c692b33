"""Alerts about the platform itself: one for each of its conditions that is not well, for as long as it lasts."""

from collections.abc import Callable, Collection, Mapping, Sequence

from rota.manage.signals import alerts
from rota.manage.signals.alerts import Breach
from rota.ports.metadata import Batch, Metadata
from rota.records.condition import Condition
from rota.records.time import Micros

PLATFORM = ""
"""The endpoint of an alert that is about the platform, not about one endpoint."""


def settle(metadata: Metadata, conditions: Sequence[Condition], *, actor: str, now_us: Micros, whole: Collection[str] = ()) -> list[str]:
    """Raise an alert for each condition that is not well and has none, resolve those of conditions that are well again.

    An alert that goes on is left as it is: a platform that stays ill writes nothing; only one that became better or worse is changed. A
    thing that `conditions` does not name was not looked at, and its alert stays open; of the parts in `whole` everything was looked at, so
    that a thing of theirs that is not named is well, or no longer there. `actor` is who looked, for the audit log. Returns the ids of new
    alerts; raises `Conflict` when another process settled the same alert at the same moment (look again later).
    """
    standing = {alert.subject: alert for alert in alerts.open_alerts(metadata, PLATFORM)}
    unnamed = [Condition(subject, "well") for subject in standing if subject.partition(":")[0] in whole]
    batch, raised = Batch(), list[str]()
    for condition in {each.name: each for each in [*unnamed, *conditions]}.values():
        alert = standing.get(condition.name)
        if condition.status == "well":
            if alert is not None:
                alerts.resolve(batch, alert, now_us=now_us, actor=actor, reason="the condition is well again")
        elif alert is None:
            new = alerts.raise_or_touch(batch, metadata, PLATFORM, _breach(condition), now_us=now_us, run="")
            raised += [new.id] if new is not None else []
        elif alert.severity != (breach := _breach(condition)).severity:
            alerts.change(batch, alert, breach, now_us=now_us)
    if batch.puts:
        metadata.commit(batch)
    return raised


def collected(sources: Mapping[str, Callable[[], Sequence[Condition]]]) -> list[Condition]:
    """What every source of conditions says; one that cannot say is a condition itself, and hides no other."""
    found = list[Condition]()
    for name, source in sources.items():
        try:
            found += [*source(), Condition(f"conditions:{name}", "well")]
        except Exception as error:  # noqa: BLE001  # told as a condition
            found.append(Condition(f"conditions:{name}", "degraded", f"it cannot be told how {name} is: {type(error).__name__}: {error}"))
    return found


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
